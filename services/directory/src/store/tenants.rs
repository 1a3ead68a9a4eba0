//! Tenants: found, and all of them for the other services.

use chrono::{DateTime, Utc};
use kit::{
    db::{Database, Transaction},
    decide::Step,
    id::TenantId,
    journal::Entry,
};
use proto::common::v1::Actor;
use uuid::Uuid;

use super::{Stored, inconsistent};
use crate::{
    domain::{Tenant, TenantState, TenantWhat},
    events::publish,
};

struct Row {
    id: Uuid,
    revision: i64,
    slug: String,
    display_name: String,
    state: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Tenant {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            state: TenantState::of(&row.state).ok_or_else(|| inconsistent("tenants", row.id, "state"))?,
            id: row.id.into(),
            revision: row.revision,
            slug: row.slug,
            display_name: row.display_name,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Locks the tenant: whoever might take away its last administrator does so first.
///
/// # Errors
/// Fails when the database is away.
pub async fn lock(tx: &mut Transaction, id: TenantId) -> Result<(), sqlx::Error> {
    sqlx::query!("select id from directory.tenants where id = $1 for update", id.0)
        .fetch_optional(tx.connection())
        .await?;
    Ok(())
}

/// A tenant by its slug, whoever asks.
///
/// # Errors
/// Fails when the database is away.
pub async fn by_slug(database: &Database, slug: &str) -> Result<Option<Tenant>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "select id, revision, slug, display_name, state, created_at, updated_at from directory.tenants where slug = $1",
        slug
    )
    .fetch_optional(&database.workers)
    .await?;
    row.map(Tenant::try_from).transpose()
}

/// A page of all tenants, oldest first, after an id.
///
/// # Errors
/// Fails when the database is away.
pub async fn all(database: &Database, after: Option<Uuid>, limit: i64) -> Result<Vec<Tenant>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "select id, revision, slug, display_name, state, created_at, updated_at
         from directory.tenants where $1::uuid is null or id > $1 order by id limit $2",
        after,
        limit
    )
    .fetch_all(&database.workers)
    .await?;
    rows.into_iter().map(Tenant::try_from).collect()
}

impl Stored for Tenant {
    const KIND: &'static str = "tenant";

    async fn find(tx: &mut Transaction, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        let row = sqlx::query_as!(
            Row,
            "select id, revision, slug, display_name, state, created_at, updated_at from directory.tenants where id = $1",
            id
        )
        .fetch_optional(tx.connection())
        .await?;
        row.map(Tenant::try_from).transpose()
    }

    async fn find_for_update(tx: &mut Transaction, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        lock(tx, TenantId(id)).await?;
        Self::find(tx, id).await
    }

    async fn save(
        &self,
        tx: &mut Transaction,
        _tenant: TenantId,
        _steps: &[Step<Self, TenantWhat>],
    ) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "insert into directory.tenants as t (id, revision, slug, display_name, state, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7)
             on conflict (id) do update set revision = $2, display_name = $4, state = $5, updated_at = $7
             where t.revision < $2",
            self.id.0,
            self.revision,
            self.slug,
            self.display_name,
            self.state.name(),
            self.created_at,
            self.updated_at,
        )
        .execute(tx.connection())
        .await?;
        Ok(())
    }

    fn entry(step: &Step<Self, TenantWhat>, actor: &Actor) -> Entry {
        publish::tenant(&step.record, step.what, actor)
    }
}

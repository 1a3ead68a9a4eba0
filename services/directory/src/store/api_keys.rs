//! API keys: found and listed, never with their digest, which a call may write and not read.

use chrono::{DateTime, Utc};
use kit::{
    db::Transaction,
    decide::Step,
    filter::{Expression, Field, Kind},
    id::{PersonId, TenantId},
    journal::Entry,
    problem::Problem,
};
use proto::common::v1::Actor;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::{Stored, inconsistent, page};
use crate::{
    domain::{ApiKey, ApiKeyWhat},
    events::publish,
};

/// What people filter by.
pub const FIELDS: &[Field] = &[
    Field { name: "person_id", column: "person_id", kind: Kind::Uuid },
    Field { name: "active", column: "active", kind: Kind::Boolean },
];

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    revision: i64,
    person_id: Uuid,
    display_name: String,
    scopes: Vec<String>,
    hint: String,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for ApiKey {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let scopes = row.scopes.iter().map(|scope| scope.parse()).collect::<Result<_, _>>();
        Ok(Self {
            scopes: scopes.map_err(|_| inconsistent("api_keys", row.id, "scopes"))?,
            id: row.id.into(),
            revision: row.revision,
            person_id: row.person_id.into(),
            display_name: row.display_name,
            hint: row.hint,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// The keys of a person that are not revoked, locked until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn unrevoked_for_update(tx: &mut Transaction, person_id: PersonId) -> Result<Vec<ApiKey>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "select id, revision, person_id, display_name, scopes, hint, expires_at, revoked_at, created_at, updated_at
         from directory.api_keys where person_id = $1 and revoked_at is null order by id for update",
        person_id.0
    )
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(ApiKey::try_from).collect()
}

/// How many keys of a person work now; the person is locked.
///
/// # Errors
/// Fails when the database is away.
pub async fn count_active(tx: &mut Transaction, person_id: PersonId, now: DateTime<Utc>) -> Result<usize, sqlx::Error> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from directory.api_keys
           where person_id = $1 and revoked_at is null and (expires_at is null or expires_at > $2)"#,
        person_id.0,
        now
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// A page of keys, of one person or of all, newest first, after an id.
///
/// # Errors
/// An invalid filter, or the database is away.
pub async fn list(
    tx: &mut Transaction,
    owner: Option<PersonId>,
    now: DateTime<Utc>,
    filter: Option<&Expression>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<ApiKey>, Problem> {
    let mut query = QueryBuilder::new(
        "select * from (select id, revision, person_id, display_name, scopes, hint, expires_at, revoked_at, created_at, updated_at,
            revoked_at is null and (expires_at is null or expires_at > ",
    );
    query.push_bind(now).push(") as active from directory.api_keys) as k where true");
    if let Some(owner) = owner {
        query.push(" and person_id = ").push_bind(owner.0);
    }
    let rows: Vec<Row> = page(tx, query, FIELDS, filter, after, limit).await?;
    Ok(rows.into_iter().map(ApiKey::try_from).collect::<Result<_, _>>()?)
}

impl Stored for ApiKey {
    const KIND: &'static str = "API key";

    async fn find(tx: &mut Transaction, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        let row = sqlx::query_as!(
            Row,
            "select id, revision, person_id, display_name, scopes, hint, expires_at, revoked_at, created_at, updated_at
             from directory.api_keys where id = $1",
            id
        )
        .fetch_optional(tx.connection())
        .await?;
        row.map(ApiKey::try_from).transpose()
    }

    async fn find_for_update(tx: &mut Transaction, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        sqlx::query!("select id from directory.api_keys where id = $1 for update", id)
            .fetch_optional(tx.connection())
            .await?;
        Self::find(tx, id).await
    }

    async fn save(
        &self,
        tx: &mut Transaction,
        tenant: TenantId,
        steps: &[Step<Self, ApiKeyWhat>],
    ) -> Result<(), sqlx::Error> {
        for step in steps {
            match step.what {
                ApiKeyWhat::Created { digest } => insert(tx, tenant, &step.record, &digest).await?,
                ApiKeyWhat::Revoked => revoke(tx, &step.record).await?,
            }
        }
        Ok(())
    }

    fn entry(step: &Step<Self, ApiKeyWhat>, actor: &Actor) -> Entry {
        publish::api_key(&step.record, step.what, actor)
    }
}

async fn insert(tx: &mut Transaction, tenant: TenantId, key: &ApiKey, digest: &[u8]) -> Result<(), sqlx::Error> {
    let scopes: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
    sqlx::query!(
        "insert into directory.api_keys (id, tenant_id, revision, person_id, display_name, scopes, hint, digest, expires_at,
            revoked_at, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        key.id.0,
        tenant.0,
        key.revision,
        key.person_id.0,
        key.display_name,
        &scopes,
        key.hint,
        digest,
        key.expires_at,
        key.revoked_at,
        key.created_at,
        key.updated_at,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

async fn revoke(tx: &mut Transaction, key: &ApiKey) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update directory.api_keys set revision = $2, revoked_at = $3, updated_at = $4 where id = $1 and revision < $2",
        key.id.0,
        key.revision,
        key.revoked_at,
        key.updated_at,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

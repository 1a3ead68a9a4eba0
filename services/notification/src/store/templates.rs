//! Templates.

use chrono::{DateTime, Utc};
use kit::{
    db::Transaction,
    filter::{Expression, Field, Kind},
    id::Tenant,
    journal::Entry,
    problem::Problem,
};
use proto::common::v1::Actor;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::Stored;
use crate::{
    domain::{Template, TemplateId, TemplateWhat},
    events::publish,
};

/// What people filter by.
pub const FIELDS: &[Field] = &[Field { name: "name", column: "name", kind: Kind::Text }];

/// The constraint that keeps names apart.
pub const NAME_TAKEN: &str = "template_name";

#[derive(Debug, sqlx::FromRow)]
struct Row {
    id: Uuid,
    revision: i64,
    name: String,
    display_name: String,
    subject: String,
    body: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Row> for Template {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.into(),
            revision: row.revision,
            name: row.name,
            display_name: row.display_name,
            subject: row.subject,
            body: row.body,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Finds a template.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(tx: &mut Transaction, id: TemplateId) -> Result<Option<Template>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "select id, revision, name, display_name, subject, body, created_at, updated_at from notification.templates where id = $1",
        id.0
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map(Template::from))
}

/// Finds a template and locks it until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_for_update(tx: &mut Transaction, id: TemplateId) -> Result<Option<Template>, sqlx::Error> {
    sqlx::query!("select id from notification.templates where id = $1 for update", id.0)
        .fetch_optional(tx.connection())
        .await?;
    find(tx, id).await
}

impl Stored for Template {
    type What = TemplateWhat;

    const KIND: &'static str = "template";
    const FIELDS: &'static [Field] = FIELDS;

    async fn find(tx: &mut Transaction, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        find(tx, id.into()).await
    }

    async fn find_for_update(tx: &mut Transaction, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        find_for_update(tx, id.into()).await
    }

    async fn list(
        tx: &mut Transaction,
        filter: Option<&Expression>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Self>, Problem> {
        let query = QueryBuilder::<Postgres>::new("select * from notification.templates where true");
        let rows: Vec<Row> = super::page(tx, query, FIELDS, filter, after, limit).await?;
        Ok(rows.into_iter().map(Template::from).collect())
    }

    fn place(&self) -> (Uuid, i64) {
        (self.id.0, self.revision)
    }

    fn entry(&self, what: &TemplateWhat, actor: &Actor) -> Entry {
        publish::template(self, *what, actor)
    }

    async fn save(&self, tx: &mut Transaction, tenant: &Tenant) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "insert into notification.templates as t (id, tenant_id, revision, name, display_name, subject, body, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             on conflict (id) do update set revision = $3, display_name = $5, subject = $6, body = $7, updated_at = $9 where t.revision < $3",
            self.id.0,
            tenant.id.0,
            self.revision,
            self.name,
            self.display_name,
            self.subject,
            self.body,
            self.created_at,
            self.updated_at
        )
        .execute(tx.connection())
        .await?;
        Ok(())
    }
}

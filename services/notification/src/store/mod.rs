//! SQL and rows. One file a record; [`attempts`] is the log of tries, [`read_models`] what is kept
//! of other services.

pub mod attempts;
pub mod contact_methods;
pub mod deliveries;
pub mod read_models;
pub mod retention;
pub mod rules;
pub mod snapshots;
pub mod templates;

use std::future::Future;

use kit::{
    db::Transaction,
    decide::{Decision, Revised},
    filter::{Expression, Field},
    id::Tenant,
    journal::{self, Cause, Entry},
    problem::Problem,
};
use proto::common::v1::Actor;
use sqlx::{FromRow, Postgres, QueryBuilder, postgres::PgRow};
use uuid::Uuid;

/// The schema.
pub const SCHEMA: &str = "notification";

/// A record that has a row and events.
pub trait Stored: Revised + Clone + Send + Sync + Sized + 'static {
    /// What can happen to it.
    type What: Send + Sync + 'static;

    /// What it is called where it is not found.
    const KIND: &'static str;
    /// What people filter by.
    const FIELDS: &'static [Field];

    /// Finds one in the tenants that the transaction names.
    fn find(tx: &mut Transaction, id: Uuid) -> impl Future<Output = Result<Option<Self>, sqlx::Error>> + Send;

    /// Finds one and locks it until the commit.
    fn find_for_update(
        tx: &mut Transaction,
        id: Uuid,
    ) -> impl Future<Output = Result<Option<Self>, sqlx::Error>> + Send;

    /// A page, newest first, after an id.
    fn list(
        tx: &mut Transaction,
        filter: Option<&Expression>,
        after: Option<Uuid>,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<Self>, Problem>> + Send;

    /// Its id and revision.
    fn place(&self) -> (Uuid, i64);

    /// The journal entry of something that happened to it.
    fn entry(&self, what: &Self::What, actor: &Actor) -> Entry;

    /// Writes the row and sets what timers it needs.
    fn save(&self, tx: &mut Transaction, tenant: &Tenant) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// Saves a decision: the row, its events and their outbox rows, the kept answer, the timers. With
/// [`deliveries::request`], which has a message to keep, the only place that opens a decision.
///
/// # Errors
/// Fails when the database is away, or when the record changed under us.
pub async fn commit<R: Stored>(
    tx: &mut Transaction,
    decision: Decision<R, R::What>,
    cause: &Cause,
) -> Result<R, sqlx::Error> {
    let (record, steps) = decision.open();
    if !steps.is_empty() {
        record.save(tx, &cause.tenant).await?;
    }
    let entries: Vec<Entry> = steps.iter().map(|step| step.record.entry(&step.what, &cause.actor)).collect();
    journal::append(tx, cause, record.place(), &entries);
    Ok(record)
}

/// A row that says what no code of ours writes.
#[derive(Debug, thiserror::Error)]
#[error("row {id} has an impossible {column}")]
struct Inconsistent {
    id: Uuid,
    column: &'static str,
}

fn wrong(id: Uuid, column: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(Inconsistent { id, column }))
}

/// A page of what the query selects, newest first, after an id.
async fn page<Row>(
    tx: &mut Transaction,
    mut query: QueryBuilder<Postgres>,
    fields: &[Field],
    filter: Option<&Expression>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Row>, Problem>
where
    Row: for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    if let Some(after) = after {
        query.push(" and id < ").push_bind(after);
    }
    if let Some(filter) = filter {
        query.push(" and ");
        filter.push_sql(fields, &mut query).map_err(|error| Problem::invalid("filter", error.to_string()))?;
    }
    query.push(" order by id desc limit ").push_bind(limit);
    Ok(query.build_query_as().fetch_all(tx.connection()).await?)
}

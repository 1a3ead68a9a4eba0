//! SQL and rows. A module per noun with its rows, [`sign_in`] for the one question that is asked
//! before a tenant is known, [`snapshot`] for the other services; here the commit that they share.
//!
//! Records are locked in one order, so that no two commands wait for each other: tenant, team,
//! person, membership, API key, and of one kind by id.

pub mod api_keys;
pub mod memberships;
pub mod people;
pub mod retention;
pub mod sign_in;
pub mod snapshot;
pub mod teams;
pub mod tenants;

use std::future::Future;

use kit::{
    db::{Transaction, violates},
    decide::Step,
    filter::{Expression, Field},
    id::TenantId,
    journal::{self, Cause, Entry},
    problem::Problem,
};
use proto::common::v1::Actor;
use sqlx::{FromRow, Postgres, QueryBuilder, postgres::PgRow};
use uuid::Uuid;

use crate::domain::{ApiKey, Decision, Membership, Record};

/// The schema.
pub const SCHEMA: &str = "directory";

/// A column that holds what it must not.
#[derive(Debug, thiserror::Error)]
#[error("directory.{table} {id}: column {column} holds what it must not")]
struct Inconsistent {
    table: &'static str,
    id: Uuid,
    column: &'static str,
}

fn inconsistent(table: &'static str, id: Uuid, column: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(Inconsistent { table, id, column }))
}

/// A record that has a row and events.
pub trait Stored: Record + Send + Sync {
    /// What it is called where it is not found.
    const KIND: &'static str;

    /// Finds one in the tenant that the transaction names.
    fn find(tx: &mut Transaction, id: Uuid) -> impl Future<Output = Result<Option<Self>, sqlx::Error>> + Send;

    /// Finds one and locks it until the commit.
    fn find_for_update(
        tx: &mut Transaction,
        id: Uuid,
    ) -> impl Future<Output = Result<Option<Self>, sqlx::Error>> + Send;

    /// Writes the row as it is after these steps.
    fn save(
        &self,
        tx: &mut Transaction,
        tenant: TenantId,
        steps: &[Step<Self, Self::What>],
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// What is published of a step.
    fn entry(step: &Step<Self, Self::What>, actor: &Actor) -> Entry;
}

/// A record that is listed by a filter.
pub trait Listed: Stored {
    /// What people filter by.
    const FIELDS: &'static [Field];

    /// A page, newest first, after an id.
    fn list(
        tx: &mut Transaction,
        filter: Option<&Expression>,
        after: Option<Uuid>,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<Self>, Problem>> + Send;
}

/// What else a decision brings about, in the same transaction.
#[derive(Debug)]
pub enum Consequence {
    /// A membership changes.
    Membership(Decision<Membership>),
    /// A key changes.
    ApiKey(Decision<ApiKey>),
}

/// Saves a decision: the row, its events and their outbox rows, and the kept answer. Decisions are
/// opened here alone.
///
/// # Errors
/// What is unique exists already, the record changed under us, or the database is away.
pub async fn commit<R>(tx: &mut Transaction, decision: Decision<R>, cause: &Cause) -> Result<R, Problem>
where
    R: Stored,
    R::What: Send + Sync,
{
    commit_with(tx, decision, Vec::new(), cause).await
}

/// Saves a decision with its consequences.
///
/// # Errors
/// As [`commit`].
pub async fn commit_with<R>(
    tx: &mut Transaction,
    decision: Decision<R>,
    consequences: Vec<Consequence>,
    cause: &Cause,
) -> Result<R, Problem>
where
    R: Stored,
    R::What: Send + Sync,
{
    let mut entries = Vec::new();
    let record = write(tx, decision, cause, &mut entries).await?;
    for consequence in consequences {
        match consequence {
            Consequence::Membership(decision) => {
                write(tx, decision, cause, &mut entries).await?;
            }
            Consequence::ApiKey(decision) => {
                write(tx, decision, cause, &mut entries).await?;
            }
        }
    }
    journal::append(tx, cause, (record.id(), record.revision()), &entries);
    Ok(record)
}

async fn write<R>(
    tx: &mut Transaction,
    decision: Decision<R>,
    cause: &Cause,
    entries: &mut Vec<Entry>,
) -> Result<R, Problem>
where
    R: Stored,
    R::What: Send + Sync,
{
    let (record, steps) = decision.open();
    if !steps.is_empty() {
        record.save(tx, cause.tenant.id, &steps).await.map_err(taken)?;
        entries.extend(steps.iter().map(|step| R::entry(step, &cause.actor)));
    }
    Ok(record)
}

/// Says which rule of uniqueness was hit.
fn taken(error: sqlx::Error) -> Problem {
    if violates(&error, "team_name") {
        return Problem::Exists {
            reason: "TEAM_NAME_TAKEN",
            message: "a team of this name exists; take another".to_owned(),
        };
    }
    if violates(&error, "membership_active") {
        let message = "the person is in the team already; change that membership's role".to_owned();
        return Problem::Exists { reason: "MEMBERSHIP_EXISTS", message };
    }
    if violates(&error, "tenant_slug") {
        return Problem::Exists { reason: "TENANT_SLUG_TAKEN", message: "a tenant of this slug exists".to_owned() };
    }
    error.into()
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

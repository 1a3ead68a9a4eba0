//! Integrations: found, listed, and committed with their events.

use kit::{
    db::Transaction,
    filter::{Expression, Field, Kind},
    id::TenantId,
    journal::{self, Cause, Entry},
    problem::Problem,
};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::row::IntegrationRow;
use crate::{
    domain::{Integration, IntegrationId, integration::Decision},
    events::publish,
};

/// The constraint that keeps names apart.
pub const NAME: &str = "integration_name";

/// What people filter by.
pub const FIELDS: &[Field] = &[
    Field { name: "state", column: "state", kind: Kind::Text },
    Field { name: "name", column: "name", kind: Kind::Text },
];

/// Finds an integration.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(tx: &mut Transaction, id: IntegrationId) -> Result<Option<Integration>, sqlx::Error> {
    let row = sqlx::query_as!(
        IntegrationRow,
        "select id, revision, name, display_name, team_id, service_id, open_incident_from, state, key_digest, key_hint, created_at,
            updated_at
         from alert.integrations where id = $1",
        id.0
    )
    .fetch_optional(tx.connection())
    .await?;
    row.map(Integration::try_from).transpose()
}

/// Finds an integration and locks it until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_for_update(tx: &mut Transaction, id: IntegrationId) -> Result<Option<Integration>, sqlx::Error> {
    sqlx::query!("select id from alert.integrations where id = $1 for update", id.0)
        .fetch_optional(tx.connection())
        .await?;
    find(tx, id).await
}

/// Finds an integration by its name in a tenant.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_named(
    tx: &mut Transaction,
    tenant: TenantId,
    name: &str,
) -> Result<Option<Integration>, sqlx::Error> {
    let found = find_all_named(tx, &[tenant.0], &[name.to_owned()]).await?;
    Ok(found.into_iter().next().map(|(_, integration)| integration))
}

/// Finds integrations by tenant and name, pair by pair.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_all_named(
    tx: &mut Transaction,
    tenants: &[Uuid],
    names: &[String],
) -> Result<Vec<(TenantId, Integration)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select i.tenant_id, i.id from alert.integrations i
         join (select distinct * from unnest($1::uuid[], $2::text[]) as w (tenant_id, name)) w
            on i.tenant_id = w.tenant_id and i.name = w.name",
        tenants,
        names
    )
    .fetch_all(tx.connection())
    .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        if let Some(integration) = find(tx, row.id.into()).await? {
            found.push((row.tenant_id.into(), integration));
        }
    }
    Ok(found)
}

/// The integrations of a tenant whose keys are mirrored.
///
/// # Errors
/// Fails when the database is away.
pub async fn all(tx: &mut Transaction, tenant: TenantId) -> Result<Vec<Integration>, sqlx::Error> {
    let rows = sqlx::query_as!(
        IntegrationRow,
        "select id, revision, name, display_name, team_id, service_id, open_incident_from, state, key_digest, key_hint, created_at,
            updated_at
         from alert.integrations where tenant_id = $1 order by id",
        tenant.0
    )
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Integration::try_from).collect()
}

/// A page of integrations, newest first, after an id.
///
/// # Errors
/// An invalid filter, or the database is away.
pub async fn list(
    tx: &mut Transaction,
    filter: &Option<Expression>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Integration>, Problem> {
    let mut query = QueryBuilder::<Postgres>::new("select * from alert.integrations where true");
    if let Some(after) = after {
        query.push(" and id < ").push_bind(after);
    }
    if let Some(filter) = filter {
        query.push(" and ");
        filter.push_sql(FIELDS, &mut query).map_err(|error| Problem::invalid("filter", error.to_string()))?;
    }
    query.push(" order by id desc limit ").push_bind(limit);
    let rows: Vec<IntegrationRow> = query.build_query_as().fetch_all(tx.connection()).await?;
    Ok(rows.into_iter().map(Integration::try_from).collect::<Result<_, _>>()?)
}

/// Saves a decision: the row, its events and their outbox rows, the kept answer. The only place
/// that opens a decision on an integration.
///
/// # Errors
/// Fails when the database is away, when the record changed under us, or when its name is taken.
pub async fn commit(tx: &mut Transaction, decision: Decision, cause: &Cause) -> Result<Integration, sqlx::Error> {
    let (integration, steps) = decision.open();
    if !steps.is_empty() {
        save(tx, &integration, cause).await?;
    }
    let entries: Vec<Entry> =
        steps.iter().map(|step| publish::integration_entry(&step.record, step.what, &cause.actor)).collect();
    journal::append(tx, cause, (integration.id.0, integration.revision), &entries);
    Ok(integration)
}

async fn save(tx: &mut Transaction, integration: &Integration, cause: &Cause) -> Result<(), sqlx::Error> {
    let done = sqlx::query!(
        "insert into alert.integrations as i (id, tenant_id, revision, name, display_name, team_id, service_id, open_incident_from,
            state, key_digest, key_hint, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         on conflict (id) do update set revision = $3, display_name = $5, team_id = $6, service_id = $7, open_incident_from = $8,
            state = $9, key_digest = $10, key_hint = $11, updated_at = $13
         where i.revision < $3",
        integration.id.0,
        cause.tenant.id.0,
        integration.revision,
        integration.name,
        integration.display_name,
        integration.team_id.map(|id| id.0),
        integration.service_id.map(|id| id.0),
        integration.open_incident_from.name(),
        integration.state.name(),
        integration.key.digest.as_slice(),
        integration.key.hint,
        integration.created_at,
        integration.updated_at,
    )
    .execute(tx.connection())
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}

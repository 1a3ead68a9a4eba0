//! Services: found, listed, and committed with their events.

use chrono::{DateTime, Utc};
use kit::{
    db::Transaction,
    filter::{Expression, Field, Kind},
    id::ServiceId,
    journal::{self, Cause, Entry},
    problem::Problem,
};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::Inconsistent;
use crate::{
    domain::{Impact, Service, ServiceDecision, ServiceKind, State},
    events::publish,
};

/// The constraint that keeps names apart.
pub const NAME: &str = "service_name";

/// What people filter by.
pub const FIELDS: &[Field] = &[
    Field {
        name: "state",
        column: "state",
        kind: Kind::Enum(&[("PLANNED", "PLANNED"), ("LIVE", "LIVE"), ("RETIRED", "RETIRED")]),
    },
    Field { name: "kind", column: "kind", kind: Kind::Enum(&[("BUSINESS", "BUSINESS"), ("TECHNICAL", "TECHNICAL")]) },
    Field { name: "name", column: "name", kind: Kind::Text },
    Field { name: "owning_team_id", column: "owning_team_id", kind: Kind::Uuid },
    Field { name: "support_team_id", column: "support_team_id", kind: Kind::Uuid },
];

#[derive(Debug, sqlx::FromRow)]
struct Row {
    id: Uuid,
    revision: i64,
    name: String,
    display_name: String,
    description: String,
    kind: String,
    owning_team_id: Uuid,
    support_team_id: Option<Uuid>,
    impact: Option<i16>,
    state: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Service {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let wrong = |column| Inconsistent { table: "catalog.services", id: row.id, column };
        let impact = match row.impact {
            Some(level) => Some(Impact::of_level(level).ok_or_else(|| wrong("impact"))?),
            None => None,
        };
        Ok(Self {
            kind: ServiceKind::of(&row.kind).ok_or_else(|| wrong("kind"))?,
            state: State::of(&row.state).ok_or_else(|| wrong("state"))?,
            impact,
            id: row.id.into(),
            revision: row.revision,
            name: row.name,
            display_name: row.display_name,
            description: row.description,
            owning_team_id: row.owning_team_id.into(),
            support_team_id: row.support_team_id.map(Into::into),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Finds a service.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(tx: &mut Transaction, id: ServiceId) -> Result<Option<Service>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "select id, revision, name, display_name, description, kind, owning_team_id, support_team_id, impact, state,
                created_at, updated_at
         from catalog.services where id = $1",
        id.0
    )
    .fetch_optional(tx.connection())
    .await?;
    row.map(Service::try_from).transpose()
}

/// Finds a service and locks it until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_for_update(tx: &mut Transaction, id: ServiceId) -> Result<Option<Service>, sqlx::Error> {
    sqlx::query!("select id from catalog.services where id = $1 for update", id.0)
        .fetch_optional(tx.connection())
        .await?;
    find(tx, id).await
}

/// Finds a service and keeps it as it is until the commit: what becomes part of it must not race
/// with its retirement.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_for_share(tx: &mut Transaction, id: ServiceId) -> Result<Option<Service>, sqlx::Error> {
    sqlx::query!("select id from catalog.services where id = $1 for share", id.0)
        .fetch_optional(tx.connection())
        .await?;
    find(tx, id).await
}

/// A page of services, newest first, after an id.
///
/// # Errors
/// An invalid filter, or the database is away.
pub async fn list(
    tx: &mut Transaction,
    filter: &Option<Expression>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Service>, Problem> {
    let mut query = QueryBuilder::<Postgres>::new("select * from catalog.services where true");
    if let Some(after) = after {
        query.push(" and id < ").push_bind(after);
    }
    if let Some(filter) = filter {
        query.push(" and ");
        filter.push_sql(FIELDS, &mut query).map_err(|error| Problem::invalid("filter", error.to_string()))?;
    }
    query.push(" order by id desc limit ").push_bind(limit);
    let rows: Vec<Row> = query.build_query_as().fetch_all(tx.connection()).await?;
    Ok(rows.into_iter().map(Service::try_from).collect::<Result<_, _>>()?)
}

/// Saves a decision: the row, its events and their outbox rows, the kept answer. With its twin for
/// configuration items the only place that opens a decision.
///
/// # Errors
/// Fails when the database is away, or when the name is taken.
pub async fn commit(tx: &mut Transaction, decision: ServiceDecision, cause: &Cause) -> Result<Service, sqlx::Error> {
    let (service, steps) = decision.open();
    if !steps.is_empty() {
        save(tx, &service, cause).await?;
    }
    let entries: Vec<Entry> =
        steps.iter().map(|step| publish::service(&step.record, step.what, &cause.actor)).collect();
    journal::append(tx, cause, (service.id.0, service.revision), &entries);
    Ok(service)
}

async fn save(tx: &mut Transaction, service: &Service, cause: &Cause) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into catalog.services as s (id, tenant_id, revision, name, display_name, description, kind, owning_team_id,
            support_team_id, impact, state, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         on conflict (id) do update set revision = $3, display_name = $5, description = $6, owning_team_id = $8,
            support_team_id = $9, impact = $10, state = $11, updated_at = $13
         where s.revision < $3",
        service.id.0,
        cause.tenant.id.0,
        service.revision,
        service.name,
        service.display_name,
        service.description,
        service.kind.name(),
        service.owning_team_id.0,
        service.support_team_id.map(|team| team.0),
        service.impact.map(Impact::level),
        service.state.name(),
        service.created_at,
        service.updated_at,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

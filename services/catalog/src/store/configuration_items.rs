//! Configuration items: found, listed, and committed with their events.

use chrono::{DateTime, Utc};
use kit::{
    db::Transaction,
    filter::{Expression, Field, Kind},
    id::CiId,
    journal::{self, Cause, Entry},
    problem::Problem,
};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::Inconsistent;
use crate::{
    domain::{ConfigurationItem, ConfigurationItemDecision, State},
    events::publish,
};

/// The constraint that keeps names apart.
pub const NAME: &str = "configuration_item_name";

/// What people filter by.
pub const FIELDS: &[Field] = &[
    Field {
        name: "state",
        column: "state",
        kind: Kind::Enum(&[("PLANNED", "PLANNED"), ("LIVE", "LIVE"), ("RETIRED", "RETIRED")]),
    },
    Field { name: "kind", column: "kind", kind: Kind::Text },
    Field { name: "name", column: "name", kind: Kind::Text },
    Field { name: "service_id", column: "service_id", kind: Kind::Uuid },
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
    service_id: Option<Uuid>,
    state: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for ConfigurationItem {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let wrong = |column| Inconsistent { table: "catalog.configuration_items", id: row.id, column };
        Ok(Self {
            state: State::of(&row.state).ok_or_else(|| wrong("state"))?,
            id: row.id.into(),
            revision: row.revision,
            name: row.name,
            display_name: row.display_name,
            description: row.description,
            kind: row.kind,
            owning_team_id: row.owning_team_id.into(),
            support_team_id: row.support_team_id.map(Into::into),
            service_id: row.service_id.map(Into::into),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Finds a configuration item.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(tx: &mut Transaction, id: CiId) -> Result<Option<ConfigurationItem>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "select id, revision, name, display_name, description, kind, owning_team_id, support_team_id, service_id, state,
                created_at, updated_at
         from catalog.configuration_items where id = $1",
        id.0
    )
    .fetch_optional(tx.connection())
    .await?;
    row.map(ConfigurationItem::try_from).transpose()
}

/// Finds a configuration item and locks it until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_for_update(tx: &mut Transaction, id: CiId) -> Result<Option<ConfigurationItem>, sqlx::Error> {
    sqlx::query!("select id from catalog.configuration_items where id = $1 for update", id.0)
        .fetch_optional(tx.connection())
        .await?;
    find(tx, id).await
}

/// A page of configuration items, newest first, after an id.
///
/// # Errors
/// An invalid filter, or the database is away.
pub async fn list(
    tx: &mut Transaction,
    filter: &Option<Expression>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<ConfigurationItem>, Problem> {
    let mut query = QueryBuilder::<Postgres>::new("select * from catalog.configuration_items where true");
    if let Some(after) = after {
        query.push(" and id < ").push_bind(after);
    }
    if let Some(filter) = filter {
        query.push(" and ");
        filter.push_sql(FIELDS, &mut query).map_err(|error| Problem::invalid("filter", error.to_string()))?;
    }
    query.push(" order by id desc limit ").push_bind(limit);
    let rows: Vec<Row> = query.build_query_as().fetch_all(tx.connection()).await?;
    Ok(rows.into_iter().map(ConfigurationItem::try_from).collect::<Result<_, _>>()?)
}

/// Saves a decision: the row, its events and their outbox rows, the kept answer. With its twin for
/// services the only place that opens a decision.
///
/// # Errors
/// Fails when the database is away, or when the name is taken.
pub async fn commit(
    tx: &mut Transaction,
    decision: ConfigurationItemDecision,
    cause: &Cause,
) -> Result<ConfigurationItem, sqlx::Error> {
    let (item, steps) = decision.open();
    if !steps.is_empty() {
        save(tx, &item, cause).await?;
    }
    let entries: Vec<Entry> =
        steps.iter().map(|step| publish::configuration_item(&step.record, step.what, &cause.actor)).collect();
    journal::append(tx, cause, (item.id.0, item.revision), &entries);
    Ok(item)
}

async fn save(tx: &mut Transaction, item: &ConfigurationItem, cause: &Cause) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into catalog.configuration_items as i (id, tenant_id, revision, name, display_name, description, kind,
            owning_team_id, support_team_id, service_id, state, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
         on conflict (id) do update set revision = $3, display_name = $5, description = $6, kind = $7, owning_team_id = $8,
            support_team_id = $9, service_id = $10, state = $11, updated_at = $13
         where i.revision < $3",
        item.id.0,
        cause.tenant.id.0,
        item.revision,
        item.name,
        item.display_name,
        item.description,
        item.kind,
        item.owning_team_id.0,
        item.support_team_id.map(|team| team.0),
        item.service_id.map(|service| service.0),
        item.state.name(),
        item.created_at,
        item.updated_at,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

//! Changes: found, listed, and committed with their events.

use kit::{
    db::Transaction,
    filter::{Expression, Field, Kind},
    journal::{self, Cause, Entry},
    problem::Problem,
};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::row::Row;
use crate::{
    domain::{Change, Decision, change::ChangeId},
    events::publish,
};

/// What people filter by.
pub const FIELDS: &[Field] = &[
    Field {
        name: "state",
        column: "state",
        kind: Kind::Enum(&[
            ("DRAFT", "DRAFT"),
            ("REQUESTED", "REQUESTED"),
            ("APPROVED", "APPROVED"),
            ("REJECTED", "REJECTED"),
            ("SCHEDULED", "SCHEDULED"),
            ("IN_PROGRESS", "IN_PROGRESS"),
            ("COMPLETED", "COMPLETED"),
            ("FAILED", "FAILED"),
            ("CLOSED", "CLOSED"),
            ("CANCELLED", "CANCELLED"),
        ]),
    },
    Field {
        name: "type",
        column: "type",
        kind: Kind::Enum(&[("STANDARD", "STANDARD"), ("NORMAL", "NORMAL"), ("EMERGENCY", "EMERGENCY")]),
    },
    Field {
        name: "risk",
        column: "risk",
        kind: Kind::Enum(&[("MINOR", "MINOR"), ("SIGNIFICANT", "SIGNIFICANT"), ("MAJOR", "MAJOR")]),
    },
    Field { name: "service_id", column: "service_ids", kind: Kind::Uuids },
    Field { name: "ci_id", column: "ci_ids", kind: Kind::Uuids },
    Field { name: "assigned_team_id", column: "assigned_team_id", kind: Kind::Uuid },
    Field { name: "requester_id", column: "requester_id", kind: Kind::Uuid },
    Field { name: "number", column: "number", kind: Kind::Text },
];

/// Names a change: by id or by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// By id.
    Id(ChangeId),
    /// By the number people say.
    Number(String),
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// Finds a change.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(tx: &mut Transaction, key: &Key) -> Result<Option<Change>, sqlx::Error> {
    let (id, number) = parts(key);
    let row = sqlx::query_as!(
        Row,
        "select id, revision, number, title, description, type, state, risk, reason, implementation_plan, backout_plan,
                test_plan, service_ids, ci_ids, assigned_team_id, requester_id, plan_revision, approver_id, approved_at,
                approved_plan_revision, approval_note, planned_start_at, planned_end_at, started_at, ended_at,
                outcome_notes, review_notes, closed_at, created_at, updated_at
         from change.changes where id = $1 or number = $2",
        id,
        number
    )
    .fetch_optional(tx.connection())
    .await?;
    row.map(Change::try_from).transpose()
}

/// Finds a change and locks it until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_for_update(tx: &mut Transaction, key: &Key) -> Result<Option<Change>, sqlx::Error> {
    let (id, number) = parts(key);
    sqlx::query!("select id from change.changes where id = $1 or number = $2 for update", id, number)
        .fetch_optional(tx.connection())
        .await?;
    find(tx, key).await
}

fn parts(key: &Key) -> (Option<Uuid>, Option<&str>) {
    match key {
        Key::Id(id) => (Some(id.0), None),
        Key::Number(number) => (None, Some(number)),
    }
}

/// A page of changes, newest first, after an id.
///
/// # Errors
/// An invalid filter, or the database is away.
pub async fn list(
    tx: &mut Transaction,
    filter: &Option<Expression>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Change>, Problem> {
    let mut query = QueryBuilder::<Postgres>::new("select * from change.changes where true");
    if let Some(after) = after {
        query.push(" and id < ").push_bind(after);
    }
    if let Some(filter) = filter {
        query.push(" and ");
        filter.push_sql(FIELDS, &mut query).map_err(|error| Problem::invalid("filter", error.to_string()))?;
    }
    query.push(" order by id desc limit ").push_bind(limit);
    let rows: Vec<Row> = query.build_query_as().fetch_all(tx.connection()).await?;
    Ok(rows.into_iter().map(Change::try_from).collect::<Result<_, _>>()?)
}

/// Saves a decision: the row, its events and their outbox rows, the kept answer. The only place
/// that opens a decision.
///
/// # Errors
/// Fails when the database is away, or when the record changed under us.
pub async fn commit(tx: &mut Transaction, decision: Decision, cause: &Cause) -> Result<Change, sqlx::Error> {
    let (change, steps) = decision.open();
    if !steps.is_empty() {
        save(tx, &change, cause).await?;
    }
    let entries: Vec<Entry> = steps.iter().map(|step| publish::entry(&step.record, &step.what, &cause.actor)).collect();
    journal::append(tx, cause, (change.id.0, change.revision), &entries);
    Ok(change)
}

async fn save(tx: &mut Transaction, change: &Change, cause: &Cause) -> Result<(), sqlx::Error> {
    let approval = change.approval.as_ref();
    let services: Vec<Uuid> = change.service_ids.iter().map(|id| id.0).collect();
    let items: Vec<Uuid> = change.ci_ids.iter().map(|id| id.0).collect();
    sqlx::query!(
        "insert into change.changes as c (id, tenant_id, revision, number, title, description, type, state, risk, reason,
            implementation_plan, backout_plan, test_plan, service_ids, ci_ids, assigned_team_id, requester_id, plan_revision,
            approver_id, approved_at, approved_plan_revision, approval_note, planned_start_at, planned_end_at, started_at,
            ended_at, outcome_notes, review_notes, closed_at, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
            $25, $26, $27, $28, $29, $30, $31)
         on conflict (id) do update set revision = $3, title = $5, description = $6, state = $8, risk = $9, reason = $10,
            implementation_plan = $11, backout_plan = $12, test_plan = $13, service_ids = $14, ci_ids = $15,
            assigned_team_id = $16, plan_revision = $18, approver_id = $19, approved_at = $20, approved_plan_revision = $21,
            approval_note = $22, planned_start_at = $23, planned_end_at = $24, started_at = $25, ended_at = $26,
            outcome_notes = $27, review_notes = $28, closed_at = $29, updated_at = $31
         where c.revision < $3",
        change.id.0,
        cause.tenant.id.0,
        change.revision,
        change.number,
        change.title,
        change.description,
        change.kind.name(),
        change.state.name(),
        change.risk.name(),
        change.reason,
        change.implementation_plan,
        change.backout_plan,
        change.test_plan,
        &services,
        &items,
        change.assigned_team_id.map(|id| id.0),
        change.requester_id.0,
        change.plan_revision,
        approval.and_then(|approval| approval.approver_id).map(|id| id.0),
        approval.map(|approval| approval.at),
        approval.map(|approval| approval.plan_revision),
        approval.map(|approval| approval.note.as_str()).unwrap_or_default(),
        change.planned.map(|window| window.start),
        change.planned.map(|window| window.end),
        change.started_at,
        change.ended_at,
        change.outcome_notes,
        change.review_notes,
        change.closed_at,
        change.created_at,
        change.updated_at,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

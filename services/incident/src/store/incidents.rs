//! Incidents: found, listed, and committed with their events.

use kit::{
    db::Transaction,
    filter::{Expression, Field, Kind},
    id::IncidentId,
    journal::{self, Cause, Entry},
    problem::Problem,
    timer,
};
use sqlx::{Postgres, QueryBuilder, types::Json};
use uuid::Uuid;

use super::{
    alerts,
    row::{Link, Row, links},
};
use crate::{
    domain::{Decision, Incident, State},
    events::publish,
};

/// The timer that closes a resolved incident.
pub const AUTO_CLOSE: &str = "auto_close";

/// What people filter by.
pub const FIELDS: &[Field] = &[
    Field { name: "state", column: "state", kind: Kind::Text },
    Field { name: "priority", column: "priority", kind: Kind::Integer },
    Field { name: "assigned_team_id", column: "assigned_team_id", kind: Kind::Uuid },
    Field { name: "assignee_id", column: "assignee_id", kind: Kind::Uuid },
    Field { name: "service_id", column: "service_id", kind: Kind::Uuid },
    Field { name: "ci_id", column: "ci_id", kind: Kind::Uuid },
    Field { name: "category", column: "category", kind: Kind::Text },
    Field { name: "number", column: "number", kind: Kind::Text },
    Field { name: "create_time", column: "created_at", kind: Kind::Time },
];

/// Names an incident: by id or by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// By id.
    Id(IncidentId),
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

/// Finds an incident.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(tx: &mut Transaction, key: &Key) -> Result<Option<Incident>, sqlx::Error> {
    let (id, number) = parts(key);
    let row = sqlx::query_as!(
        Row,
        r#"select id, revision, number, title, description, state, pending_reason, impact, urgency, priority, priority_reason,
                  priority_overridden, category, service_id, ci_id, assigned_team_id, assignee_id, reporter_id, channel,
                  resolution_mode, resolution_code, resolution_notes, acknowledged_by, acknowledged_at, resolved_at, closed_at,
                  reopen_count, taken_over, alerts as "alerts: Json<Vec<Link>>", created_at, updated_at
           from incident.incidents where id = $1 or number = $2"#,
        id,
        number
    )
    .fetch_optional(tx.connection())
    .await?;
    row.map(Incident::try_from).transpose()
}

/// Finds an incident and locks it until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_for_update(tx: &mut Transaction, key: &Key) -> Result<Option<Incident>, sqlx::Error> {
    let (id, number) = parts(key);
    sqlx::query!("select id from incident.incidents where id = $1 or number = $2 for update", id, number)
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

/// A page of incidents, newest first, after an id.
///
/// # Errors
/// An invalid filter, or the database is away.
pub async fn list(
    tx: &mut Transaction,
    filter: &Option<Expression>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Incident>, Problem> {
    let mut query = QueryBuilder::<Postgres>::new("select * from incident.incidents where true");
    if let Some(after) = after {
        query.push(" and id < ").push_bind(after);
    }
    if let Some(filter) = filter {
        query.push(" and ");
        filter.push_sql(FIELDS, &mut query).map_err(|error| Problem::invalid("filter", error.to_string()))?;
    }
    query.push(" order by id desc limit ").push_bind(limit);
    let rows: Vec<Row> = query.build_query_as().fetch_all(tx.connection()).await?;
    Ok(rows.into_iter().map(Incident::try_from).collect::<Result<_, _>>()?)
}

/// Saves a decision: the row, its events and their outbox rows, the kept answer, the timer. The
/// only place that opens a decision.
///
/// # Errors
/// Fails when the database is away, or when the record changed under us.
pub async fn commit(
    tx: &mut Transaction,
    decision: Decision,
    cause: &Cause,
    auto_close_after: chrono::TimeDelta,
) -> Result<Incident, sqlx::Error> {
    let (incident, steps) = decision.open();
    if !steps.is_empty() {
        save(tx, &incident, cause).await?;
        let due = incident
            .resolution
            .as_ref()
            .filter(|_| incident.state == State::Resolved)
            .map(|resolution| resolution.at + auto_close_after);
        timer::set(tx, &cause.tenant, incident.id.0, AUTO_CLOSE, due);
        if incident.state.is_over() {
            alerts::close(tx, incident.id, None).await?;
        }
    }
    let entries: Vec<Entry> = steps.iter().map(|step| publish::entry(&step.record, &step.what, &cause.actor)).collect();
    journal::append(tx, cause, (incident.id.0, incident.revision), &entries);
    Ok(incident)
}

async fn save(tx: &mut Transaction, incident: &Incident, cause: &Cause) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into incident.incidents as i (id, tenant_id, revision, number, title, description, state, pending_reason, impact, urgency,
            priority, priority_reason, priority_overridden, category, service_id, ci_id, assigned_team_id, assignee_id, reporter_id,
            channel, resolution_mode, resolution_code, resolution_notes, acknowledged_by, acknowledged_at, resolved_at, closed_at,
            reopen_count, taken_over, alerts, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26,
            $27, $28, $29, $30, $31, $32)
         on conflict (id) do update set revision = $3, title = $5, description = $6, state = $7, pending_reason = $8, impact = $9,
            urgency = $10, priority = $11, priority_reason = $12, priority_overridden = $13, category = $14, service_id = $15,
            ci_id = $16, assigned_team_id = $17, assignee_id = $18, resolution_mode = $21, resolution_code = $22,
            resolution_notes = $23, acknowledged_by = $24, acknowledged_at = $25, resolved_at = $26, closed_at = $27,
            reopen_count = $28, taken_over = $29, alerts = $30, updated_at = $32
         where i.revision < $3",
        incident.id.0,
        cause.tenant.id.0,
        incident.revision,
        incident.number,
        incident.title,
        incident.description,
        incident.state.name(),
        incident.pending_reason.map(|reason| reason.name()),
        incident.impact.level(),
        incident.urgency.level(),
        incident.priority.level(),
        incident.priority_reason,
        incident.priority_overridden,
        incident.category,
        incident.service_id.map(|id| id.0),
        incident.ci_id.map(|id| id.0),
        incident.assigned_team_id.map(|id| id.0),
        incident.assignee_id.map(|id| id.0),
        incident.reporter_id.map(|id| id.0),
        incident.channel.name(),
        incident.resolution_mode.name(),
        incident.resolution.as_ref().map(|resolution| resolution.code.name()),
        incident.resolution.as_ref().map(|resolution| resolution.notes.as_str()).unwrap_or_default(),
        incident.acknowledgement.map(|acknowledgement| acknowledgement.by.0),
        incident.acknowledgement.map(|acknowledgement| acknowledgement.at),
        incident.resolution.as_ref().map(|resolution| resolution.at),
        incident.closed_at,
        incident.reopen_count,
        incident.taken_over,
        links(incident) as _,
        incident.created_at,
        incident.updated_at,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

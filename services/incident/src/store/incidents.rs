//! Incidents: found, listed, and committed with their events.

use kit::{
    db::Transaction,
    filter::{Expression, Field, Kind},
    gather::Gathered,
    id::{IncidentId, TenantId},
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
    tx.flush().await?;
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
    tx.flush().await?;
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
        let saved = Saved { tenant: cause.tenant.id, incident: incident.clone() };
        tx.gathered().insert(incident.id.0, saved);
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

/// A row that waits for the commit.
struct Saved {
    tenant: TenantId,
    incident: Incident,
}

impl Gathered for Saved {
    async fn write(rows: Vec<Self>, tx: &mut Transaction) -> Result<(), sqlx::Error> {
        let all = || rows.iter().map(|row| &row.incident);
        let resolutions = || all().map(|incident| incident.resolution.as_ref());
        sqlx::query!(
            "insert into incident.incidents as i (id, tenant_id, revision, number, title, description, state, pending_reason, impact, urgency,
                priority, priority_reason, priority_overridden, category, service_id, ci_id, assigned_team_id, assignee_id, reporter_id,
                channel, resolution_mode, resolution_code, resolution_notes, acknowledged_by, acknowledged_at, resolved_at, closed_at,
                reopen_count, taken_over, alerts, created_at, updated_at)
             select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::smallint[], $10::smallint[], $11::smallint[], $12::text[], $13::boolean[], $14::text[], $15::uuid[], $16::uuid[],
                $17::uuid[], $18::uuid[], $19::uuid[], $20::text[], $21::text[], $22::text[], $23::text[], $24::uuid[],
                $25::timestamptz[], $26::timestamptz[], $27::timestamptz[], $28::integer[], $29::boolean[], $30::jsonb[],
                $31::timestamptz[], $32::timestamptz[])
             on conflict (id) do update set revision = excluded.revision, title = excluded.title, description = excluded.description,
                state = excluded.state, pending_reason = excluded.pending_reason, impact = excluded.impact, urgency = excluded.urgency,
                priority = excluded.priority, priority_reason = excluded.priority_reason,
                priority_overridden = excluded.priority_overridden, category = excluded.category, service_id = excluded.service_id,
                ci_id = excluded.ci_id, assigned_team_id = excluded.assigned_team_id, assignee_id = excluded.assignee_id,
                resolution_mode = excluded.resolution_mode, resolution_code = excluded.resolution_code,
                resolution_notes = excluded.resolution_notes, acknowledged_by = excluded.acknowledged_by,
                acknowledged_at = excluded.acknowledged_at, resolved_at = excluded.resolved_at, closed_at = excluded.closed_at,
                reopen_count = excluded.reopen_count, taken_over = excluded.taken_over, alerts = excluded.alerts,
                updated_at = excluded.updated_at
             where i.revision < excluded.revision",
            &all().map(|incident| incident.id.0).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.tenant.0).collect::<Vec<_>>(),
            &all().map(|incident| incident.revision).collect::<Vec<_>>(),
            &all().map(|incident| incident.number.clone()).collect::<Vec<_>>(),
            &all().map(|incident| incident.title.clone()).collect::<Vec<_>>(),
            &all().map(|incident| incident.description.clone()).collect::<Vec<_>>(),
            &all().map(|incident| incident.state.name().to_owned()).collect::<Vec<_>>(),
            &all().map(|incident| incident.pending_reason.map(|reason| reason.name())).collect::<Vec<_>>() as _,
            &all().map(|incident| incident.impact.level()).collect::<Vec<_>>(),
            &all().map(|incident| incident.urgency.level()).collect::<Vec<_>>(),
            &all().map(|incident| incident.priority.level()).collect::<Vec<_>>(),
            &all().map(|incident| incident.priority_reason.clone()).collect::<Vec<_>>(),
            &all().map(|incident| incident.priority_overridden).collect::<Vec<_>>(),
            &all().map(|incident| incident.category.clone()).collect::<Vec<_>>(),
            &all().map(|incident| incident.service_id.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
            &all().map(|incident| incident.ci_id.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
            &all().map(|incident| incident.assigned_team_id.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
            &all().map(|incident| incident.assignee_id.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
            &all().map(|incident| incident.reporter_id.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
            &all().map(|incident| incident.channel.name().to_owned()).collect::<Vec<_>>(),
            &all().map(|incident| incident.resolution_mode.name().to_owned()).collect::<Vec<_>>(),
            &resolutions().map(|resolution| resolution.map(|resolution| resolution.code.name())).collect::<Vec<_>>() as _,
            &resolutions()
                .map(|resolution| resolution.map(|resolution| resolution.notes.clone()).unwrap_or_default())
                .collect::<Vec<_>>(),
            &all().map(|incident| incident.acknowledgement.map(|it| it.by.0)).collect::<Vec<_>>() as &[Option<Uuid>],
            &all().map(|incident| incident.acknowledgement.map(|it| it.at)).collect::<Vec<_>>() as _,
            &resolutions().map(|resolution| resolution.map(|resolution| resolution.at)).collect::<Vec<_>>() as _,
            &all().map(|incident| incident.closed_at).collect::<Vec<_>>() as _,
            &all().map(|incident| incident.reopen_count).collect::<Vec<_>>(),
            &all().map(|incident| incident.taken_over).collect::<Vec<_>>(),
            &all().map(links).collect::<Vec<_>>() as _,
            &all().map(|incident| incident.created_at).collect::<Vec<_>>(),
            &all().map(|incident| incident.updated_at).collect::<Vec<_>>(),
        )
        .execute(tx.connection())
        .await?;
        Ok(())
    }
}

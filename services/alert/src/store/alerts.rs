//! Alerts: found, listed, committed with their events, and measured without.

use kit::{
    db::Transaction,
    filter::{Expression, Field, Kind},
    id::{AlertId, Tenant},
    journal::{self, Cause, Entry},
    problem::Problem,
    timer,
};
use sqlx::{Postgres, QueryBuilder, types::Json};
use uuid::Uuid;

use super::row::{AlertRow, Texts};
use crate::{
    domain::{Alert, Impact, alert::Decision},
    events::publish,
};

/// The timer that clears an alert that is not said again.
pub const EXPIRE: &str = "expire";

/// What people filter by.
pub const FIELDS: &[Field] = &[
    Field { name: "state", column: "state", kind: Kind::Text },
    Field { name: "severity", column: "severity", kind: Kind::Text },
    Field { name: "integration_id", column: "integration_id", kind: Kind::Uuid },
    Field { name: "service_id", column: "service_id", kind: Kind::Uuid },
    Field { name: "ci_id", column: "ci_id", kind: Kind::Uuid },
    Field { name: "dedup_key", column: "dedup_key", kind: Kind::Text },
];

/// Finds an alert.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(tx: &mut Transaction, id: AlertId) -> Result<Option<Alert>, sqlx::Error> {
    Ok(find_all(tx, &[id.0]).await?.pop())
}

/// Finds an alert and locks it until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_for_update(tx: &mut Transaction, id: AlertId) -> Result<Option<Alert>, sqlx::Error> {
    Ok(find_all_for_update(tx, &[id.0]).await?.pop())
}

/// Finds alerts and locks them, in order of id as every transaction does it.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_all_for_update(tx: &mut Transaction, ids: &[Uuid]) -> Result<Vec<Alert>, sqlx::Error> {
    sqlx::query!("select id from alert.alerts where id = any ($1) order by id for update", ids)
        .fetch_all(tx.connection())
        .await?;
    find_all(tx, ids).await
}

async fn find_all(tx: &mut Transaction, ids: &[Uuid]) -> Result<Vec<Alert>, sqlx::Error> {
    let rows = sqlx::query_as!(
        AlertRow,
        r#"select id, revision, integration_id, dedup_key, state, severity, title, description, labels as "labels: Texts",
                  annotations as "annotations: Texts", source_url, group_key, service_id, ci_id, team_id, impact, opens_incident,
                  decision, started_at, cleared_at, clear_reason, occurrence_count, last_seen_at, expires_at, fired_at, heard_at,
                  trace_parent, created_at, updated_at
           from alert.alerts where id = any ($1)"#,
        ids
    )
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Alert::try_from).collect()
}

/// A page of alerts, newest first, after an id.
///
/// # Errors
/// An invalid filter, or the database is away.
pub async fn list(
    tx: &mut Transaction,
    filter: &Option<Expression>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Alert>, Problem> {
    let mut query = QueryBuilder::<Postgres>::new("select * from alert.alerts where true");
    if let Some(after) = after {
        query.push(" and id < ").push_bind(after);
    }
    if let Some(filter) = filter {
        query.push(" and ");
        filter.push_sql(FIELDS, &mut query).map_err(|error| Problem::invalid("filter", error.to_string()))?;
    }
    query.push(" order by id desc limit ").push_bind(limit);
    let rows: Vec<AlertRow> = query.build_query_as().fetch_all(tx.connection()).await?;
    Ok(rows.into_iter().map(Alert::try_from).collect::<Result<_, _>>()?)
}

/// Saves a decision: the row, its events and their outbox rows, the kept answer, the timer. The
/// only place that opens a decision on an alert.
///
/// # Errors
/// Fails when the database is away, or when the record changed under us.
pub async fn commit(tx: &mut Transaction, decision: Decision, cause: &Cause) -> Result<Alert, sqlx::Error> {
    let (alert, steps) = decision.open();
    if !steps.is_empty() {
        save(tx, &alert, cause).await?;
        timer::set(tx, &cause.tenant, alert.id.0, EXPIRE, alert.timer());
    }
    let entries: Vec<Entry> =
        steps.iter().map(|step| publish::alert_entry(&step.record, step.what, &cause.actor)).collect();
    journal::append(tx, cause, (alert.id.0, alert.revision), &entries);
    Ok(alert)
}

async fn save(tx: &mut Transaction, alert: &Alert, cause: &Cause) -> Result<(), sqlx::Error> {
    let done = sqlx::query!(
        "insert into alert.alerts as a (id, tenant_id, revision, integration_id, dedup_key, state, severity, title, description,
            labels, annotations, source_url, group_key, service_id, ci_id, team_id, impact, opens_incident, decision, started_at,
            cleared_at, clear_reason, occurrence_count, last_seen_at, expires_at, fired_at, heard_at, trace_parent, created_at,
            updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25,
            $26, $27, $28, $29, $30)
         on conflict (id) do update set revision = $3, state = $6, severity = $7, title = $8, description = $9, labels = $10,
            annotations = $11, source_url = $12, group_key = $13, opens_incident = $18, decision = $19, cleared_at = $21,
            clear_reason = $22, occurrence_count = $23, last_seen_at = $24, expires_at = $25, fired_at = $26, heard_at = $27,
            updated_at = $30
         where a.revision < $3",
        alert.id.0,
        cause.tenant.id.0,
        alert.revision,
        alert.integration_id.0,
        alert.dedup_key,
        alert.state().name(),
        alert.severity.name(),
        alert.content.title,
        alert.content.description,
        Json(&alert.content.labels) as _,
        Json(&alert.content.annotations) as _,
        alert.content.source_url,
        alert.content.group_key,
        alert.route.service_id.map(|id| id.0),
        alert.route.ci_id.map(|id| id.0),
        alert.route.team_id.map(|id| id.0),
        alert.route.impact.map(Impact::level),
        alert.choice.opens_incident,
        alert.choice.decision,
        alert.started_at,
        alert.cleared.map(|(at, _)| at),
        alert.cleared.map(|(_, reason)| reason.name()),
        alert.occurrence_count,
        alert.last_seen_at,
        alert.expires_at,
        alert.fired_at,
        alert.heard_at,
        alert.trace_parent,
        alert.created_at,
        alert.updated_at,
    )
    .execute(tx.connection())
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}

/// Saves measures in bulk, which make no event and no revision; the timers move along.
///
/// # Errors
/// Fails when the database is away.
pub async fn measure(tx: &mut Transaction, measured: &[(Tenant, Alert)]) -> Result<(), sqlx::Error> {
    if measured.is_empty() {
        return Ok(());
    }
    let alerts = || measured.iter().map(|(_, alert)| alert);
    let expires: Vec<Option<chrono::DateTime<chrono::Utc>>> = alerts().map(|alert| alert.expires_at).collect();
    sqlx::query!(
        "update alert.alerts a set occurrence_count = m.occurrence_count, last_seen_at = m.last_seen_at, expires_at = m.expires_at,
            fired_at = m.fired_at, heard_at = m.heard_at
         from unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[])
            as m (id, occurrence_count, last_seen_at, expires_at, fired_at, heard_at)
         where a.id = m.id",
        &alerts().map(|alert| alert.id.0).collect::<Vec<_>>(),
        &alerts().map(|alert| alert.occurrence_count).collect::<Vec<_>>(),
        &alerts().map(|alert| alert.last_seen_at).collect::<Vec<_>>(),
        &expires as &[Option<chrono::DateTime<chrono::Utc>>],
        &alerts().map(|alert| alert.fired_at).collect::<Vec<_>>(),
        &alerts().map(|alert| alert.heard_at).collect::<Vec<_>>(),
    )
    .execute(tx.connection())
    .await?;
    for (tenant, alert) in measured {
        timer::set(tx, tenant, alert.id.0, EXPIRE, alert.timer());
    }
    Ok(())
}

//! Alerts: found, listed, committed with their events, and measured without.

use kit::{
    db::Transaction,
    filter::{Expression, Field, Kind},
    gather::Gathered,
    id::{AlertId, Tenant, TenantId},
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
    tx.flush().await?;
    Ok(find_all(tx, &[id.0]).await?.pop())
}

/// Finds an alert and locks it until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_for_update(tx: &mut Transaction, id: AlertId) -> Result<Option<Alert>, sqlx::Error> {
    tx.flush().await?;
    Ok(find_all_for_update(tx, &[id.0]).await?.pop())
}

/// Finds alerts and locks them, in order of id as every transaction does it.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_all_for_update(tx: &mut Transaction, ids: &[Uuid]) -> Result<Vec<Alert>, sqlx::Error> {
    tx.flush().await?;
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

/// Saves a decision with the commit: the row, its events and their outbox rows, the kept answer, the
/// timer. The only place that opens a decision on an alert.
pub fn commit(tx: &mut Transaction, decision: Decision, cause: &Cause) -> Alert {
    let (alert, steps) = decision.open();
    if !steps.is_empty() {
        tx.gathered().insert(alert.id.0, Saved { tenant: cause.tenant.id, alert: alert.clone() });
        timer::set(tx, &cause.tenant, alert.id.0, EXPIRE, alert.timer());
    }
    let entries: Vec<Entry> =
        steps.iter().map(|step| publish::alert_entry(&step.record, step.what, &cause.actor)).collect();
    journal::append(tx, cause, (alert.id.0, alert.revision), &entries);
    alert
}

/// A row that waits for the commit.
struct Saved {
    tenant: TenantId,
    alert: Alert,
}

impl Gathered for Saved {
    async fn write(rows: Vec<Self>, tx: &mut Transaction) -> Result<(), sqlx::Error> {
        let all = || rows.iter().map(|row| &row.alert);
        let done = sqlx::query!(
            "insert into alert.alerts as a (id, tenant_id, revision, integration_id, dedup_key, state, severity, title, description,
                labels, annotations, source_url, group_key, service_id, ci_id, team_id, impact, opens_incident, decision, started_at,
                cleared_at, clear_reason, occurrence_count, last_seen_at, expires_at, fired_at, heard_at, trace_parent, created_at,
                updated_at)
             select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::text[], $10::jsonb[], $11::jsonb[], $12::text[], $13::text[], $14::uuid[], $15::uuid[], $16::uuid[],
                $17::smallint[], $18::boolean[], $19::text[], $20::timestamptz[], $21::timestamptz[], $22::text[], $23::bigint[],
                $24::timestamptz[], $25::timestamptz[], $26::timestamptz[], $27::timestamptz[], $28::text[], $29::timestamptz[],
                $30::timestamptz[])
             on conflict (id) do update set revision = excluded.revision, state = excluded.state, severity = excluded.severity,
                title = excluded.title, description = excluded.description, labels = excluded.labels,
                annotations = excluded.annotations, source_url = excluded.source_url, group_key = excluded.group_key,
                opens_incident = excluded.opens_incident, decision = excluded.decision, cleared_at = excluded.cleared_at,
                clear_reason = excluded.clear_reason, occurrence_count = excluded.occurrence_count,
                last_seen_at = excluded.last_seen_at, expires_at = excluded.expires_at, fired_at = excluded.fired_at,
                heard_at = excluded.heard_at, updated_at = excluded.updated_at
             where a.revision < excluded.revision",
            &all().map(|alert| alert.id.0).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.tenant.0).collect::<Vec<_>>(),
            &all().map(|alert| alert.revision).collect::<Vec<_>>(),
            &all().map(|alert| alert.integration_id.0).collect::<Vec<_>>(),
            &all().map(|alert| alert.dedup_key.clone()).collect::<Vec<_>>(),
            &all().map(|alert| alert.state().name().to_owned()).collect::<Vec<_>>(),
            &all().map(|alert| alert.severity.name().to_owned()).collect::<Vec<_>>(),
            &all().map(|alert| alert.content.title.clone()).collect::<Vec<_>>(),
            &all().map(|alert| alert.content.description.clone()).collect::<Vec<_>>(),
            &all().map(|alert| Json(&alert.content.labels)).collect::<Vec<_>>() as _,
            &all().map(|alert| Json(&alert.content.annotations)).collect::<Vec<_>>() as _,
            &all().map(|alert| alert.content.source_url.clone()).collect::<Vec<_>>(),
            &all().map(|alert| alert.content.group_key.clone()).collect::<Vec<_>>(),
            &all().map(|alert| alert.route.service_id.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
            &all().map(|alert| alert.route.ci_id.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
            &all().map(|alert| alert.route.team_id.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
            &all().map(|alert| alert.route.impact.map(Impact::level)).collect::<Vec<_>>() as &[Option<i16>],
            &all().map(|alert| alert.choice.opens_incident).collect::<Vec<_>>(),
            &all().map(|alert| alert.choice.decision.clone()).collect::<Vec<_>>(),
            &all().map(|alert| alert.started_at).collect::<Vec<_>>(),
            &all().map(|alert| alert.cleared.map(|(at, _)| at)).collect::<Vec<_>>() as _,
            &all().map(|alert| alert.cleared.map(|(_, reason)| reason.name())).collect::<Vec<_>>() as _,
            &all().map(|alert| alert.occurrence_count).collect::<Vec<_>>(),
            &all().map(|alert| alert.last_seen_at).collect::<Vec<_>>(),
            &all().map(|alert| alert.expires_at).collect::<Vec<_>>() as _,
            &all().map(|alert| alert.fired_at).collect::<Vec<_>>(),
            &all().map(|alert| alert.heard_at).collect::<Vec<_>>(),
            &all().map(|alert| alert.trace_parent.clone()).collect::<Vec<_>>(),
            &all().map(|alert| alert.created_at).collect::<Vec<_>>(),
            &all().map(|alert| alert.updated_at).collect::<Vec<_>>(),
        )
        .execute(tx.connection())
        .await?;
        if done.rows_affected() == rows.len() as u64 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
    }
}

/// Saves measures in bulk, which make no event and no revision; the timers move along.
///
/// # Errors
/// Fails when the database is away.
pub async fn measure(tx: &mut Transaction, measured: &[(Tenant, Alert)]) -> Result<(), sqlx::Error> {
    tx.flush().await?;
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

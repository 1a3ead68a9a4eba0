//! Clocks: found, listed, and committed with their events and timers.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use kit::{
    db::Transaction,
    filter::{Field, Kind},
    gather::Gathered,
    id::{IncidentId, Tenant, TenantId},
    journal::{self, Cause, Entry},
    problem::Problem,
    timer,
};
use sqlx::{Postgres, QueryBuilder, types::Json};
use uuid::Uuid;

use super::{
    Page,
    row::{self, SegmentColumn, TermColumn, TermsColumn},
};
use crate::{
    domain::{Clock, ClockDecision, ClockId, ClockState, Metric, Priority, Terms, clock::TimerKind},
    events::publish,
};

/// What people filter by.
pub const FIELDS: &[Field] = &[
    Field { name: "state", column: "state", kind: Kind::Text },
    Field { name: "metric", column: "metric", kind: Kind::Text },
    Field { name: "incident_id", column: "incident_id", kind: Kind::Uuid },
    Field { name: "breached", column: "(breached_at is not null)", kind: Kind::Boolean },
    Field { name: "service_id", column: "service_id", kind: Kind::Uuid },
    Field { name: "agreement_id", column: "agreement_id", kind: Kind::Uuid },
    Field { name: "priority", column: "priority", kind: Kind::Integer },
];

#[derive(Debug, sqlx::FromRow)]
struct Row {
    id: Uuid,
    revision: i64,
    incident_id: Uuid,
    incident_number: String,
    agreement_id: Uuid,
    agreement_revision: i64,
    metric: String,
    state: String,
    priority: i16,
    terms: Json<TermsColumn>,
    service_id: Option<Uuid>,
    assigned_team_id: Option<Uuid>,
    segments: Json<Vec<SegmentColumn>>,
    at_risk_at: Option<DateTime<Utc>>,
    breached_at: Option<DateTime<Utc>>,
    provisional: bool,
    stopped_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Clock {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let wrong = row::wrong("clocks", row.id);
        let TermsColumn { name, terms } = row.terms.0;
        let terms = terms.into_iter().map(TermColumn::read).collect::<Option<Vec<_>>>();
        let segments = row.segments.iter().map(SegmentColumn::read).collect::<Option<Vec<_>>>();
        Ok(Self {
            metric: Metric::of(&row.metric).ok_or_else(|| wrong("metric"))?,
            state: ClockState::of(&row.state).ok_or_else(|| wrong("state"))?,
            priority: Priority::of_level(row.priority).ok_or_else(|| wrong("priority"))?,
            segments: segments.ok_or_else(|| wrong("segments"))?,
            terms: Terms {
                agreement_id: row.agreement_id.into(),
                agreement_revision: row.agreement_revision,
                agreement_name: name,
                terms: terms.ok_or_else(|| wrong("terms"))?,
            },
            id: row.id.into(),
            revision: row.revision,
            incident_id: row.incident_id.into(),
            incident_number: row.incident_number,
            service_id: row.service_id.map(Into::into),
            team_id: row.assigned_team_id.map(Into::into),
            at_risk_at: row.at_risk_at,
            breached_at: row.breached_at,
            provisional: row.provisional,
            stopped_at: row.stopped_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Finds a clock.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(tx: &mut Transaction, id: ClockId) -> Result<Option<Clock>, sqlx::Error> {
    let rows = select(tx, &[id.0], None).await?;
    Ok(rows.into_iter().next())
}

/// Finds clocks.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_all(tx: &mut Transaction, ids: &[Uuid]) -> Result<Vec<Clock>, sqlx::Error> {
    select(tx, ids, None).await
}

/// Which incidents of a batch have clocks.
#[derive(Default)]
struct HasClocks(HashMap<IncidentId, bool>);

/// Reads at once which incidents of a batch have clocks.
///
/// # Errors
/// Fails when the database is away.
pub async fn load_any_of_incidents(tx: &mut Transaction, incidents: &[IncidentId]) -> Result<(), sqlx::Error> {
    tx.flush().await?;
    let found = sqlx::query_scalar!(
        "select distinct incident_id from sla.clocks where incident_id = any ($1)",
        &incidents.iter().map(|id| id.0).collect::<Vec<_>>()
    )
    .fetch_all(tx.connection())
    .await?;
    let known = &mut tx.memo::<HasClocks>().0;
    known.extend(incidents.iter().map(|id| (*id, false)));
    known.extend(found.into_iter().map(|id| (id.into(), true)));
    Ok(())
}

/// Whether an incident has clocks.
///
/// # Errors
/// Fails when the database is away.
pub async fn any_of_incident(tx: &mut Transaction, incident: IncidentId) -> Result<bool, sqlx::Error> {
    if !tx.memo::<HasClocks>().0.contains_key(&incident) {
        load_any_of_incidents(tx, &[incident]).await?;
    }
    Ok(tx.memo::<HasClocks>().0.get(&incident).copied().unwrap_or_default())
}

/// The clocks of an incident, in order of id, locked until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn of_incident_for_update(tx: &mut Transaction, incident: IncidentId) -> Result<Vec<Clock>, sqlx::Error> {
    tx.flush().await?;
    sqlx::query!("select id from sla.clocks where incident_id = $1 order by id for update", incident.0)
        .fetch_all(tx.connection())
        .await?;
    select(tx, &[], Some(incident.0)).await
}

async fn select(tx: &mut Transaction, ids: &[Uuid], incident: Option<Uuid>) -> Result<Vec<Clock>, sqlx::Error> {
    tx.flush().await?;
    let rows = sqlx::query_as!(
        Row,
        r#"select id, revision, incident_id, incident_number, agreement_id, agreement_revision, metric, state, priority,
                  terms as "terms: Json<TermsColumn>", service_id, assigned_team_id,
                  segments as "segments: Json<Vec<SegmentColumn>>", at_risk_at, breached_at, provisional, stopped_at,
                  created_at, updated_at
           from sla.clocks where id = any ($1) or incident_id = $2 order by id"#,
        ids,
        incident
    )
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Clock::try_from).collect()
}

/// A page of clocks, newest first.
///
/// # Errors
/// An invalid filter, or the database is away.
pub async fn list(tx: &mut Transaction, page: &Page) -> Result<Vec<Clock>, Problem> {
    let mut query = QueryBuilder::<Postgres>::new("select * from sla.clocks where true");
    if let Some(after) = page.after {
        query.push(" and id < ").push_bind(after);
    }
    if let Some(filter) = &page.filter {
        query.push(" and ");
        filter.push_sql(FIELDS, &mut query).map_err(|error| Problem::invalid("filter", error.to_string()))?;
    }
    query.push(" order by id desc limit ").push_bind(page.limit);
    let rows: Vec<Row> = query.build_query_as().fetch_all(tx.connection()).await?;
    Ok(rows.into_iter().map(Clock::try_from).collect::<Result<_, _>>()?)
}

/// Saves a decision with the commit: the row, its events and their outbox rows, the timers.
pub fn commit(tx: &mut Transaction, decision: ClockDecision, cause: &Cause) -> Clock {
    let (clock, steps) = decision.open();
    if !steps.is_empty() {
        save(tx, &clock, cause);
        set_timers(tx, &cause.tenant, &clock);
    }
    let entries: Vec<Entry> = steps.iter().map(|step| publish::clock(&step.record, &step.what, &cause.actor)).collect();
    journal::append(tx, cause, (clock.id.0, clock.revision), &entries);
    clock
}

fn set_timers(tx: &mut Transaction, tenant: &Tenant, clock: &Clock) {
    for kind in TimerKind::ALL {
        timer::set(tx, tenant, clock.id.0, kind.name(), clock.waits_for(*kind));
    }
}

/// A row that waits for the commit.
struct Saved {
    tenant: TenantId,
    clock: Clock,
}

fn save(tx: &mut Transaction, clock: &Clock, cause: &Cause) {
    if let Some(has) = tx.memo::<HasClocks>().0.get_mut(&clock.incident_id) {
        *has = true;
    }
    tx.gathered::<Saved>().insert(clock.id.0, Saved { tenant: cause.tenant.id, clock: clock.clone() });
}

impl Gathered for Saved {
    async fn write(rows: Vec<Self>, tx: &mut Transaction) -> Result<(), sqlx::Error> {
        let all = || rows.iter().map(|row| &row.clock);
        let terms = |clock: &Clock| TermsColumn {
            name: clock.terms.agreement_name.clone(),
            terms: clock.terms.terms.iter().map(Into::into).collect(),
        };
        let segments = |clock: &Clock| clock.segments.iter().map(Into::into).collect::<Vec<SegmentColumn>>();
        sqlx::query!(
            "insert into sla.clocks as c (id, tenant_id, revision, incident_id, incident_number, agreement_id,
                agreement_revision, metric, state, priority, terms, service_id, assigned_team_id, segments, at_risk_at,
                breached_at, provisional, stopped_at, created_at, updated_at)
             select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[], $6::uuid[], $7::bigint[],
                $8::text[], $9::text[], $10::smallint[], $11::jsonb[], $12::uuid[], $13::uuid[], $14::jsonb[],
                $15::timestamptz[], $16::timestamptz[], $17::boolean[], $18::timestamptz[], $19::timestamptz[],
                $20::timestamptz[])
             on conflict (id) do update set revision = excluded.revision, state = excluded.state, priority = excluded.priority,
                service_id = excluded.service_id, assigned_team_id = excluded.assigned_team_id,
                segments = excluded.segments, at_risk_at = excluded.at_risk_at, breached_at = excluded.breached_at,
                provisional = excluded.provisional, stopped_at = excluded.stopped_at, updated_at = excluded.updated_at
             where c.revision < excluded.revision",
            &all().map(|clock| clock.id.0).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.tenant.0).collect::<Vec<_>>(),
            &all().map(|clock| clock.revision).collect::<Vec<_>>(),
            &all().map(|clock| clock.incident_id.0).collect::<Vec<_>>(),
            &all().map(|clock| clock.incident_number.clone()).collect::<Vec<_>>(),
            &all().map(|clock| clock.terms.agreement_id.0).collect::<Vec<_>>(),
            &all().map(|clock| clock.terms.agreement_revision).collect::<Vec<_>>(),
            &all().map(|clock| clock.metric.name().to_owned()).collect::<Vec<_>>(),
            &all().map(|clock| clock.state.name().to_owned()).collect::<Vec<_>>(),
            &all().map(|clock| clock.priority.level()).collect::<Vec<_>>(),
            &all().map(|clock| Json(terms(clock))).collect::<Vec<_>>() as _,
            &all().map(|clock| clock.service_id.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
            &all().map(|clock| clock.team_id.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
            &all().map(|clock| Json(segments(clock))).collect::<Vec<_>>() as _,
            &all().map(|clock| clock.at_risk_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
            &all().map(|clock| clock.breached_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
            &all().map(|clock| clock.provisional).collect::<Vec<_>>(),
            &all().map(|clock| clock.stopped_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
            &all().map(|clock| clock.created_at).collect::<Vec<_>>(),
            &all().map(|clock| clock.updated_at).collect::<Vec<_>>()
        )
        .execute(tx.connection())
        .await?;
        Ok(())
    }
}

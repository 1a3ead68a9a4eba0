//! Calendars: found, listed, and committed with their events.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, Utc};
use kit::{
    db::Transaction,
    filter::{Field, Kind},
    journal::{self, Cause, Entry},
    problem::Problem,
};
use sqlx::{Postgres, QueryBuilder, types::Json};
use uuid::Uuid;

use super::{
    Page,
    row::{self, HoursColumn},
};
use crate::{
    domain::{Calendar, CalendarDecision, CalendarId, CalendarState, agreement::Calendars},
    events::publish,
};

/// What people filter by.
pub const FIELDS: &[Field] = &[
    Field { name: "state", column: "state", kind: Kind::Text },
    Field { name: "name", column: "name", kind: Kind::Text },
];

#[derive(Debug, sqlx::FromRow)]
struct Row {
    id: Uuid,
    revision: i64,
    name: String,
    display_name: String,
    time_zone: String,
    hours: Json<Vec<HoursColumn>>,
    holidays: Vec<NaiveDate>,
    state: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Calendar {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let wrong = row::wrong("calendars", row.id);
        Ok(Self {
            schedule: row::schedule(&row.time_zone, &row.hours, row.holidays).ok_or_else(|| wrong("hours"))?,
            state: CalendarState::of(&row.state).ok_or_else(|| wrong("state"))?,
            id: row.id.into(),
            revision: row.revision,
            name: row.name,
            display_name: row.display_name,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Finds a calendar.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(tx: &mut Transaction, id: CalendarId) -> Result<Option<Calendar>, sqlx::Error> {
    Ok(find_all(tx, &[id]).await?.remove(&id))
}

/// Finds calendars.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_all(tx: &mut Transaction, ids: &[CalendarId]) -> Result<Calendars, sqlx::Error> {
    let asked: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"select id, revision, name, display_name, time_zone, hours as "hours: Json<Vec<HoursColumn>>", holidays, state,
                  created_at, updated_at
           from sla.calendars where id = any ($1)"#,
        &asked
    )
    .fetch_all(tx.connection())
    .await?;
    let found = rows.into_iter().map(|row| Calendar::try_from(row).map(|calendar| (calendar.id, calendar)));
    found.collect()
}

/// As [`find_all`], asked once a transaction: for a batch of events.
///
/// # Errors
/// Fails when the database is away.
pub async fn recall_all(tx: &mut Transaction, ids: &[CalendarId]) -> Result<Calendars, sqlx::Error> {
    if let Some(calendars) = tx.memo::<Recalled>().0.get(ids) {
        return Ok(calendars.clone());
    }
    let calendars = find_all(tx, ids).await?;
    tx.memo::<Recalled>().0.insert(ids.to_vec(), calendars.clone());
    Ok(calendars)
}

#[derive(Default)]
struct Recalled(HashMap<Vec<CalendarId>, Calendars>);

/// Finds calendars and keeps them from being changed until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_all_for_share(tx: &mut Transaction, ids: &[CalendarId]) -> Result<Calendars, sqlx::Error> {
    let locked: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query!("select id from sla.calendars where id = any ($1) order by id for share", &locked)
        .fetch_all(tx.connection())
        .await?;
    find_all(tx, ids).await
}

/// Finds a calendar and locks it until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_for_update(tx: &mut Transaction, id: CalendarId) -> Result<Option<Calendar>, sqlx::Error> {
    sqlx::query!("select id from sla.calendars where id = $1 for update", id.0).fetch_optional(tx.connection()).await?;
    find(tx, id).await
}

/// The calendar of a name.
///
/// # Errors
/// Fails when the database is away.
pub async fn id_of_name(tx: &mut Transaction, name: &str) -> Result<Option<CalendarId>, sqlx::Error> {
    let id = sqlx::query_scalar!("select id from sla.calendars where name = $1", name)
        .fetch_optional(tx.connection())
        .await?;
    Ok(id.map(Into::into))
}

/// The name of an active agreement that uses a calendar.
///
/// # Errors
/// Fails when the database is away.
pub async fn user(tx: &mut Transaction, id: CalendarId) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "select display_name from sla.agreements
         where state = 'ACTIVE' and exists (select from jsonb_array_elements(targets) t where t ->> 'calendar_id' = $1)
         order by id limit 1",
        id.to_string()
    )
    .fetch_optional(tx.connection())
    .await
}

/// A page of calendars, newest first.
///
/// # Errors
/// An invalid filter, or the database is away.
pub async fn list(tx: &mut Transaction, page: &Page) -> Result<Vec<Calendar>, Problem> {
    let mut query = QueryBuilder::<Postgres>::new("select * from sla.calendars where true");
    if let Some(after) = page.after {
        query.push(" and id < ").push_bind(after);
    }
    if let Some(filter) = &page.filter {
        query.push(" and ");
        filter.push_sql(FIELDS, &mut query).map_err(|error| Problem::invalid("filter", error.to_string()))?;
    }
    query.push(" order by id desc limit ").push_bind(page.limit);
    let rows: Vec<Row> = query.build_query_as().fetch_all(tx.connection()).await?;
    Ok(rows.into_iter().map(Calendar::try_from).collect::<Result<_, _>>()?)
}

/// Saves a decision: the row, its events and their outbox rows, the kept answer.
///
/// # Errors
/// Fails when the database is away, or the name is taken.
pub async fn commit(tx: &mut Transaction, decision: CalendarDecision, cause: &Cause) -> Result<Calendar, sqlx::Error> {
    let (calendar, steps) = decision.open();
    if !steps.is_empty() {
        save(tx, &calendar, cause).await?;
    }
    let entries: Vec<Entry> =
        steps.iter().map(|step| publish::calendar(&step.record, step.what, &cause.actor)).collect();
    journal::append(tx, cause, (calendar.id.0, calendar.revision), &entries);
    Ok(calendar)
}

async fn save(tx: &mut Transaction, calendar: &Calendar, cause: &Cause) -> Result<(), sqlx::Error> {
    let hours: Vec<HoursColumn> = calendar.schedule.hours().iter().map(Into::into).collect();
    let holidays: Vec<NaiveDate> = calendar.schedule.holidays().iter().copied().collect();
    sqlx::query!(
        "insert into sla.calendars as c (id, tenant_id, revision, name, display_name, time_zone, hours, holidays, state,
            created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         on conflict (id) do update set revision = $3, display_name = $5, time_zone = $6, hours = $7, holidays = $8,
            state = $9, updated_at = $11
         where c.revision < $3",
        calendar.id.0,
        cause.tenant.id.0,
        calendar.revision,
        calendar.name,
        calendar.display_name,
        calendar.schedule.zone().name(),
        Json(hours) as _,
        &holidays,
        calendar.state.name(),
        calendar.created_at,
        calendar.updated_at,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

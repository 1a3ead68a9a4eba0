//! Deliveries, their messages and their timers. How often one was tried and when it is tried next
//! are measures: written here without a revision.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use kit::{
    db::Transaction,
    filter::{Expression, Field, Kind},
    gather::Gathered,
    id::{IncidentId, Tenant, TenantId},
    journal::{self, Cause, Entry},
    problem::Problem,
    timer,
};
use proto::common::v1::Actor;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::{Stored, wrong};
use crate::{
    domain::{
        Delivery, DeliveryId, DeliveryWhat, Message, Method,
        delivery::{Decision, FIRST, State},
        event,
    },
    events::publish,
};

/// The timer of the next attempt.
pub const SEND: &str = "send";
/// The timer that finds an attempt whose process ended.
pub const RECOVER: &str = "recover";
/// The timer of the repeat.
pub const REPEAT: &str = "repeat";

/// What people filter by.
pub const FIELDS: &[Field] = &[
    Field {
        name: "state",
        column: "state",
        kind: Kind::Enum(&[
            ("PENDING", "PENDING"),
            ("DELIVERED", "DELIVERED"),
            ("FAILED", "FAILED"),
            ("CANCELLED", "CANCELLED"),
        ]),
    },
    Field { name: "method", column: "method", kind: Kind::Enum(&[("MAIL", "MAIL"), ("WEBHOOK", "WEBHOOK")]) },
    Field { name: "person_id", column: "person_id", kind: Kind::Uuid },
    Field { name: "rule_id", column: "rule_id", kind: Kind::Uuid },
    Field { name: "subject_record_id", column: "subject_record_id", kind: Kind::Uuid },
    Field { name: "event_type", column: "event_type", kind: Kind::Text },
];

const COLUMNS: &str = "id, revision, rule_id, event_id, event_type, subject_record_id, subject_record_number, incident_id, person_id,
    contact_method_id, method, sequence, repeat_after_seconds, state, reason, attempt_count, next_attempt_at, delivered_at, created_at,
    updated_at";

#[derive(Debug, sqlx::FromRow)]
struct Row {
    id: Uuid,
    revision: i64,
    rule_id: Option<Uuid>,
    event_id: Uuid,
    event_type: String,
    subject_record_id: Uuid,
    subject_record_number: String,
    incident_id: Option<Uuid>,
    person_id: Uuid,
    contact_method_id: Uuid,
    method: String,
    sequence: i32,
    repeat_after_seconds: i64,
    state: String,
    reason: String,
    attempt_count: i32,
    next_attempt_at: Option<DateTime<Utc>>,
    delivered_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Delivery {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            method: Method::of(&row.method).ok_or_else(|| wrong(row.id, "method"))?,
            state: State::of(&row.state).ok_or_else(|| wrong(row.id, "state"))?,
            id: row.id.into(),
            revision: row.revision,
            rule_id: row.rule_id.map(Into::into),
            event_id: row.event_id,
            event_type: row.event_type,
            subject_record_id: row.subject_record_id,
            subject_record_number: row.subject_record_number,
            incident_id: row.incident_id.map(Into::into),
            person_id: row.person_id.into(),
            contact_method_id: row.contact_method_id.into(),
            sequence: row.sequence,
            repeat_after_seconds: row.repeat_after_seconds,
            reason: row.reason,
            attempt_count: row.attempt_count,
            next_attempt_at: row.next_attempt_at,
            delivered_at: row.delivered_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Finds a delivery.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(tx: &mut Transaction, id: DeliveryId) -> Result<Option<Delivery>, sqlx::Error> {
    tx.flush().await?;
    let row = sqlx::query_as!(
        Row,
        "select id, revision, rule_id, event_id, event_type, subject_record_id, subject_record_number, incident_id, person_id,
                contact_method_id, method, sequence, repeat_after_seconds, state, reason, attempt_count, next_attempt_at, delivered_at,
                created_at, updated_at
         from notification.deliveries where id = $1",
        id.0
    )
    .fetch_optional(tx.connection())
    .await?;
    row.map(Delivery::try_from).transpose()
}

/// Finds a delivery and locks it until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_for_update(tx: &mut Transaction, id: DeliveryId) -> Result<Option<Delivery>, sqlx::Error> {
    Ok(find_all_for_update(tx, &[id]).await?.pop())
}

/// Finds deliveries, in order of id, and locks them until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_all_for_update(tx: &mut Transaction, ids: &[DeliveryId]) -> Result<Vec<Delivery>, sqlx::Error> {
    tx.flush().await?;
    let rows = sqlx::query_as!(
        Row,
        "select id, revision, rule_id, event_id, event_type, subject_record_id, subject_record_number, incident_id, person_id,
                contact_method_id, method, sequence, repeat_after_seconds, state, reason, attempt_count, next_attempt_at, delivered_at,
                created_at, updated_at
         from notification.deliveries where id = any ($1) order by id for update",
        &ids.iter().map(|id| id.0).collect::<Vec<_>>()
    )
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Delivery::try_from).collect()
}

/// The pending deliveries about a record, or about an incident and its clocks, locked until the
/// commit in order of id.
///
/// # Errors
/// Fails when the database is away.
pub async fn pending_about(
    tx: &mut Transaction,
    tenant: TenantId,
    record: Uuid,
    incident: Option<IncidentId>,
) -> Result<Vec<Delivery>, sqlx::Error> {
    tx.flush().await?;
    let rows = sqlx::query_as!(
        Row,
        "select id, revision, rule_id, event_id, event_type, subject_record_id, subject_record_number, incident_id, person_id,
                contact_method_id, method, sequence, repeat_after_seconds, state, reason, attempt_count, next_attempt_at, delivered_at,
                created_at, updated_at
         from notification.deliveries
         where tenant_id = $1 and state = 'PENDING' and (subject_record_id = $2 or incident_id = $3) order by id for update",
        tenant.0,
        record,
        incident.map(|incident| incident.0)
    )
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Delivery::try_from).collect()
}

/// Tells no more about an incident once more.
///
/// # Errors
/// Fails when the database is away.
pub async fn end_repeats(tx: &mut Transaction, tenant: TenantId, incident: IncidentId) -> Result<(), sqlx::Error> {
    // Those that were asked for in this very batch, too.
    tx.flush().await?;
    sqlx::query!(
        "delete from notification.timer where tenant_id = $1 and kind = 'repeat'
         and record_id in (select id from notification.deliveries where tenant_id = $1 and incident_id = $2)",
        tenant.0,
        incident.0
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Who was told that a clock was breached: the latest message of each way.
///
/// # Errors
/// Fails when the database is away.
pub async fn told_of_breach(tx: &mut Transaction, tenant: TenantId, clock: Uuid) -> Result<Vec<Delivery>, sqlx::Error> {
    tx.flush().await?;
    let rows = sqlx::query_as!(
        Row,
        "select distinct on (contact_method_id) id, revision, rule_id, event_id, event_type, subject_record_id, subject_record_number,
                incident_id, person_id, contact_method_id, method, sequence, repeat_after_seconds, state, reason, attempt_count,
                next_attempt_at, delivered_at, created_at, updated_at
         from notification.deliveries
         where tenant_id = $1 and subject_record_id = $2 and event_type = $3 and state = 'DELIVERED' order by contact_method_id, id desc",
        tenant.0,
        clock,
        event::CLOCK_BREACHED
    )
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Delivery::try_from).collect()
}

/// By which ways events are told already.
#[derive(Default)]
struct Told(HashMap<Uuid, Vec<Uuid>>);

/// Reads at once by which ways the events of a batch are told already. The event alone is asked for:
/// with the tenant beside it a plan made while the table was empty may take another index.
///
/// # Errors
/// Fails when the database is away.
pub async fn load_ways_told(tx: &mut Transaction, events: Vec<Uuid>) -> Result<(), sqlx::Error> {
    let found = sqlx::query!(
        "select event_id, contact_method_id from notification.deliveries where event_id = any ($1) and sequence = 1",
        &events
    )
    .fetch_all(tx.connection())
    .await?;
    let told = &mut tx.memo::<Told>().0;
    told.extend(events.into_iter().map(|event| (event, Vec::new())));
    for row in found {
        told.entry(row.event_id).or_default().push(row.contact_method_id);
    }
    Ok(())
}

/// By which ways an event is told already.
///
/// # Errors
/// Fails when the database is away.
pub async fn ways_told(tx: &mut Transaction, event: Uuid) -> Result<Vec<Uuid>, sqlx::Error> {
    if !tx.memo::<Told>().0.contains_key(&event) {
        load_ways_told(tx, vec![event]).await?;
    }
    Ok(tx.memo::<Told>().0.get(&event).cloned().unwrap_or_default())
}

/// Saves a new delivery with its message.
pub fn request(tx: &mut Transaction, decision: Decision, message: Message, cause: &Cause) -> Delivery {
    let (delivery, steps) = decision.open();
    delivery.write(tx, &cause.tenant, message);
    let entries: Vec<Entry> = steps.iter().map(|step| step.record.entry(&step.what, &cause.actor)).collect();
    journal::append(tx, cause, delivery.place(), &entries);
    delivery
}

/// The message of a delivery.
///
/// # Errors
/// Fails when the database is away.
pub async fn message(tx: &mut Transaction, id: DeliveryId) -> Result<Message, sqlx::Error> {
    tx.flush().await?;
    sqlx::query_as!(
        Message,
        r#"select message_subject as subject, message_body as body from notification.deliveries where id = $1"#,
        id.0
    )
    .fetch_one(tx.connection())
    .await
}

/// Notes how often it was tried and when it is looked at next.
///
/// # Errors
/// Fails when the database is away.
pub async fn note_attempt(
    tx: &mut Transaction,
    id: DeliveryId,
    count: i32,
    next: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update notification.deliveries set attempt_count = $2, next_attempt_at = $3 where id = $1",
        id.0,
        count,
        next
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Lets a delivery that waited in line be tried now. False when it no longer waits.
///
/// # Errors
/// Fails when the database is away.
pub async fn promote(pool: &sqlx::PgPool, id: DeliveryId, now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update notification.timer set due_at = $2 where record_id = $1 and kind = 'send' and due_at > $2",
        id.0,
        now
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

impl Delivery {
    fn set_timers(&self, tx: &mut Transaction, tenant: &Tenant) {
        match self.state {
            State::Pending => {
                timer::set(tx, tenant, self.id.0, SEND, self.next_attempt_at);
                if self.sequence == FIRST && self.repeat_after_seconds > 0 {
                    let due = self.created_at + chrono::TimeDelta::seconds(self.repeat_after_seconds);
                    timer::set(tx, tenant, self.id.0, REPEAT, Some(due));
                }
            }
            State::Delivered | State::Failed | State::Cancelled => {
                timer::set(tx, tenant, self.id.0, SEND, None);
                timer::set(tx, tenant, self.id.0, RECOVER, None);
                if self.state == State::Cancelled {
                    timer::set(tx, tenant, self.id.0, REPEAT, None);
                }
            }
        }
    }
}

impl Stored for Delivery {
    type What = DeliveryWhat;

    const KIND: &'static str = "delivery";
    const FIELDS: &'static [Field] = FIELDS;

    async fn find(tx: &mut Transaction, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        find(tx, id.into()).await
    }

    async fn find_for_update(tx: &mut Transaction, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        find_for_update(tx, id.into()).await
    }

    async fn list(
        tx: &mut Transaction,
        filter: Option<&Expression>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Self>, Problem> {
        let query = QueryBuilder::<Postgres>::new(format!("select {COLUMNS} from notification.deliveries where true"));
        let rows: Vec<Row> = super::page(tx, query, FIELDS, filter, after, limit).await?;
        Ok(rows.into_iter().map(Delivery::try_from).collect::<Result<_, _>>()?)
    }

    fn place(&self) -> (Uuid, i64) {
        (self.id.0, self.revision)
    }

    fn entry(&self, what: &DeliveryWhat, actor: &Actor) -> Entry {
        publish::delivery(self, *what, actor)
    }

    async fn save(&self, tx: &mut Transaction, tenant: &Tenant) -> Result<(), sqlx::Error> {
        self.write(tx, tenant, Message { subject: String::new(), body: String::new() });
        Ok(())
    }
}

/// A row that waits for the commit.
struct Saved {
    tenant: TenantId,
    delivery: Delivery,
    message: Message,
}

impl Delivery {
    /// Writes the row with the commit and sets the timers. The message is that of the first time.
    fn write(&self, tx: &mut Transaction, tenant: &Tenant, message: Message) {
        let rows = tx.gathered::<Saved>();
        match rows.get_mut(&self.id.0) {
            Some(saved) => saved.delivery = self.clone(),
            None => {
                rows.insert(self.id.0, Saved { tenant: tenant.id, delivery: self.clone(), message });
            }
        }
        self.set_timers(tx, tenant);
    }
}

impl Gathered for Saved {
    async fn write(rows: Vec<Self>, tx: &mut Transaction) -> Result<(), sqlx::Error> {
        let all = || rows.iter().map(|row| &row.delivery);
        sqlx::query!(
            "insert into notification.deliveries as d (id, tenant_id, revision, rule_id, event_id, event_type, subject_record_id,
                subject_record_number, incident_id, person_id, contact_method_id, method, sequence, repeat_after_seconds, state, reason,
                attempt_count, next_attempt_at, delivered_at, message_subject, message_body, created_at, updated_at)
             select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::uuid[], $6::text[], $7::uuid[], $8::text[],
                $9::uuid[], $10::uuid[], $11::uuid[], $12::text[], $13::integer[], $14::bigint[], $15::text[], $16::text[],
                $17::integer[], $18::timestamptz[], $19::timestamptz[], $20::text[], $21::text[], $22::timestamptz[], $23::timestamptz[])
             on conflict (id) do update set revision = excluded.revision, state = excluded.state, reason = excluded.reason,
                next_attempt_at = excluded.next_attempt_at, delivered_at = excluded.delivered_at, updated_at = excluded.updated_at
             where d.revision < excluded.revision",
            &all().map(|delivery| delivery.id.0).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.tenant.0).collect::<Vec<_>>(),
            &all().map(|delivery| delivery.revision).collect::<Vec<_>>(),
            &all().map(|delivery| delivery.rule_id.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
            &all().map(|delivery| delivery.event_id).collect::<Vec<_>>(),
            &all().map(|delivery| delivery.event_type.clone()).collect::<Vec<_>>(),
            &all().map(|delivery| delivery.subject_record_id).collect::<Vec<_>>(),
            &all().map(|delivery| delivery.subject_record_number.clone()).collect::<Vec<_>>(),
            &all().map(|delivery| delivery.incident_id.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
            &all().map(|delivery| delivery.person_id.0).collect::<Vec<_>>(),
            &all().map(|delivery| delivery.contact_method_id.0).collect::<Vec<_>>(),
            &all().map(|delivery| delivery.method.name().to_owned()).collect::<Vec<_>>(),
            &all().map(|delivery| delivery.sequence).collect::<Vec<_>>(),
            &all().map(|delivery| delivery.repeat_after_seconds).collect::<Vec<_>>(),
            &all().map(|delivery| delivery.state.name().to_owned()).collect::<Vec<_>>(),
            &all().map(|delivery| delivery.reason.clone()).collect::<Vec<_>>(),
            &all().map(|delivery| delivery.attempt_count).collect::<Vec<_>>(),
            &all().map(|delivery| delivery.next_attempt_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
            &all().map(|delivery| delivery.delivered_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
            &rows.iter().map(|row| row.message.subject.clone()).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.message.body.clone()).collect::<Vec<_>>(),
            &all().map(|delivery| delivery.created_at).collect::<Vec<_>>(),
            &all().map(|delivery| delivery.updated_at).collect::<Vec<_>>()
        )
        .execute(tx.connection())
        .await?;
        Ok(())
    }
}

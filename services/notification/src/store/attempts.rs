//! The log of tries. A row is committed before anything is sent, and closed with what came of it.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use kit::{db::Transaction, gather::Gathered, journal};
use uuid::Uuid;

use super::wrong;
use crate::{
    domain::{ContactMethodId, DeliveryId, Message, Method, Outcome},
    send::{Report, slots},
};

/// How many tries of a delivery are shown.
const SHOWN: i64 = 20;

/// A try, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// 1 is the first.
    pub number: i32,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// How.
    pub outcome: Option<String>,
    /// What the receiver or the network said.
    pub detail: String,
}

/// What is needed to send.
#[derive(Debug, Clone)]
pub struct Job {
    /// By which way.
    pub contact_method_id: ContactMethodId,
    /// What kind of way.
    pub method: Method,
    /// The mail address or the URL.
    pub address: String,
    /// The sealed secret of a webhook.
    pub sealed_secret: Option<Vec<u8>>,
    /// What mails about the same thing have in common.
    pub thread: Uuid,
    /// When the delivery was asked for.
    pub created_at: DateTime<Utc>,
    /// What to say.
    pub message: Message,
    /// The event that it is about.
    pub event_id: Uuid,
    /// Its type.
    pub event_type: String,
    /// The trace in which it was asked for.
    pub trace_parent: String,
}

/// An attempt that begins with the commit.
struct Begun {
    attempt: slots::Attempt,
    claimant: Uuid,
    now: DateTime<Utc>,
    next: DateTime<Utc>,
}

/// Notes with the commit that an attempt begins, and when its delivery is looked at next.
pub fn begin(tx: &mut Transaction, attempt: &slots::Attempt, claimant: Uuid, now: DateTime<Utc>, next: DateTime<Utc>) {
    let begun = Begun { attempt: attempt.clone(), claimant, now, next };
    tx.gathered::<Begun>().insert(attempt.delivery.0, begun);
}

impl Gathered for Begun {
    async fn write(rows: Vec<Self>, tx: &mut Transaction) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "with begun as (
                insert into notification.attempts (tenant_id, delivery_id, number, claimant, started_at, detail)
                select *, '' from unnest($1::uuid[], $2::uuid[], $3::integer[], $4::uuid[], $5::timestamptz[]))
             update notification.deliveries d set attempt_count = w.number, next_attempt_at = w.next
             from unnest($2::uuid[], $3::integer[], $6::timestamptz[]) as w (id, number, next) where d.id = w.id",
            &rows.iter().map(|row| row.attempt.tenant.id.0).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.attempt.delivery.0).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.attempt.number).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.claimant).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.now).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.next).collect::<Vec<_>>()
        )
        .execute(tx.connection())
        .await?;
        Ok(())
    }
}

/// What to send for attempts that this process began and that are still open and wanted.
///
/// # Errors
/// Fails when the database is away.
pub async fn jobs(
    tx: &mut Transaction,
    attempts: &[slots::Attempt],
    claimant: Uuid,
) -> Result<HashMap<DeliveryId, Job>, sqlx::Error> {
    tx.flush().await?;
    let rows = sqlx::query!(
        r#"select d.id, d.contact_method_id, d.method, c.address, c.sealed_secret, coalesce(d.incident_id, d.subject_record_id) as "thread!",
                  d.created_at, d.message_subject, d.message_body, d.event_id, d.event_type
           from unnest($1::uuid[], $2::integer[]) as w (delivery_id, number)
           join notification.attempts a on a.delivery_id = w.delivery_id and a.number = w.number
           join notification.deliveries d on d.id = a.delivery_id
           join notification.contact_methods c on c.id = d.contact_method_id
           where a.claimant = $3 and a.outcome is null and d.state = 'PENDING'"#,
        &attempts.iter().map(|attempt| attempt.delivery.0).collect::<Vec<_>>(),
        &attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(),
        claimant
    )
    .fetch_all(tx.connection())
    .await?;
    let mut traces = journal::traces(tx, super::SCHEMA, &rows.iter().map(|row| row.id).collect::<Vec<_>>()).await?;
    rows.into_iter()
        .map(|row| {
            let job = Job {
                contact_method_id: row.contact_method_id.into(),
                method: Method::of(&row.method).ok_or_else(|| wrong(row.id, "method"))?,
                address: row.address,
                sealed_secret: row.sealed_secret,
                thread: row.thread,
                created_at: row.created_at,
                message: Message { subject: row.message_subject, body: row.message_body },
                event_id: row.event_id,
                event_type: row.event_type,
                trace_parent: traces.remove(&row.id).unwrap_or_default(),
            };
            Ok((row.id.into(), job))
        })
        .collect()
}

/// The lease by which others see that a process that sends still lives.
#[must_use]
pub fn lease_of(claimant: Uuid) -> String {
    format!("sender:{claimant}")
}

/// When an attempt was begun, if the process that began it still lives.
///
/// # Errors
/// Fails when the database is away.
pub async fn begun_by_the_living(
    tx: &mut Transaction,
    attempt: &slots::Attempt,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    tx.flush().await?;
    let found = sqlx::query_scalar!(
        "select a.started_at from notification.attempts a join notification.lease l on l.name = 'sender:' || a.claimant
         where a.delivery_id = $1 and a.number = $2 and l.expires_at > clock_timestamp()",
        attempt.delivery.0,
        attempt.number
    );
    found.fetch_optional(tx.connection()).await
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub struct Ended<'a> {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// Which attempt.
    pub number: i32,
    /// How.
    pub outcome: Outcome,
    /// What the receiver or the network said.
    pub detail: &'a str,
    /// When; nobody knows when its process ended.
    pub at: Option<DateTime<Utc>>,
}

impl<'a> Ended<'a> {
    /// The end that a report tells of.
    #[must_use]
    pub fn new(attempt: &slots::Attempt, report: &'a Report, at: DateTime<Utc>) -> Self {
        let Report { outcome, detail } = report;
        Self { delivery: attempt.delivery, number: attempt.number, outcome: *outcome, detail, at: Some(at) }
    }
}

/// Closes attempts. Says which deliveries' attempts were still open.
///
/// # Errors
/// Fails when the database is away.
pub async fn end(tx: &mut Transaction, ended: &[Ended<'_>]) -> Result<HashSet<DeliveryId>, sqlx::Error> {
    tx.flush().await?;
    let closed = sqlx::query_scalar!(
        "update notification.attempts a set outcome = w.outcome, detail = w.detail, ended_at = w.ended_at
         from unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::timestamptz[]) as w (delivery_id, number, outcome, detail, ended_at)
         where a.delivery_id = w.delivery_id and a.number = w.number and a.outcome is null returning a.delivery_id",
        &ended.iter().map(|ended| ended.delivery.0).collect::<Vec<_>>(),
        &ended.iter().map(|ended| ended.number).collect::<Vec<_>>(),
        &ended.iter().map(|ended| ended.outcome.name().to_owned()).collect::<Vec<_>>(),
        &ended.iter().map(|ended| ended.detail.to_owned()).collect::<Vec<_>>(),
        &ended.iter().map(|ended| ended.at).collect::<Vec<_>>() as _
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(closed.into_iter().map(Into::into).collect())
}

/// Closes attempts of this process that are not carried out, since their deliveries were cancelled
/// meanwhile.
///
/// # Errors
/// Fails when the database is away.
pub async fn withdraw(
    tx: &mut Transaction,
    attempts: &[&slots::Attempt],
    claimant: Uuid,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update notification.attempts a set outcome = 'refused', detail = 'no longer needed; not sent', ended_at = $4
         from unnest($1::uuid[], $2::integer[]) as w (delivery_id, number)
         where a.delivery_id = w.delivery_id and a.number = w.number and a.claimant = $3 and a.outcome is null",
        &attempts.iter().map(|attempt| attempt.delivery.0).collect::<Vec<_>>(),
        &attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(),
        claimant,
        now
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The last tries of a delivery, oldest first.
///
/// # Errors
/// Fails when the database is away.
pub async fn list(tx: &mut Transaction, delivery: DeliveryId) -> Result<Vec<Attempt>, sqlx::Error> {
    let mut attempts = sqlx::query_as!(
        Attempt,
        "select number, started_at, ended_at, outcome, detail from notification.attempts where delivery_id = $1 order by number desc limit $2",
        delivery.0,
        SHOWN
    )
    .fetch_all(tx.connection())
    .await?;
    attempts.reverse();
    Ok(attempts)
}

//! The log of tries. A row is committed before anything is sent, and closed with what came of it.

use chrono::{DateTime, Utc};
use kit::{db::Transaction, id::TenantId};
use uuid::Uuid;

use super::wrong;
use crate::{
    domain::{ContactMethodId, DeliveryId, Message, Method, Outcome},
    send::slots,
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
}

/// Notes that an attempt begins.
///
/// # Errors
/// Fails when the database is away.
pub async fn begin(
    tx: &mut Transaction,
    tenant: TenantId,
    delivery: DeliveryId,
    number: i32,
    claimant: Uuid,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into notification.attempts (tenant_id, delivery_id, number, claimant, started_at, detail) values ($1, $2, $3, $4, $5, '')",
        tenant.0,
        delivery.0,
        number,
        claimant,
        now
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// What to send for an attempt that this process began and that is still open.
///
/// # Errors
/// Fails when the database is away.
pub async fn job(tx: &mut Transaction, attempt: &slots::Attempt, claimant: Uuid) -> Result<Option<Job>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select d.contact_method_id, d.method, c.address, c.sealed_secret, coalesce(d.incident_id, d.subject_record_id) as "thread!",
                  d.created_at, d.message_subject, d.message_body
           from notification.attempts a
           join notification.deliveries d on d.id = a.delivery_id
           join notification.contact_methods c on c.id = d.contact_method_id
           where a.tenant_id = $1 and a.delivery_id = $2 and a.number = $3 and a.claimant = $4 and a.outcome is null and d.state = 'PENDING'"#,
        attempt.tenant.id.0,
        attempt.delivery.0,
        attempt.number,
        claimant
    )
    .fetch_optional(tx.connection())
    .await?;
    row.map(|row| {
        Ok(Job {
            contact_method_id: row.contact_method_id.into(),
            method: Method::of(&row.method).ok_or_else(|| wrong(attempt.delivery.0, "method"))?,
            address: row.address,
            sealed_secret: row.sealed_secret,
            thread: row.thread,
            created_at: row.created_at,
            message: Message { subject: row.message_subject, body: row.message_body },
        })
    })
    .transpose()
}

/// Closes an attempt. False when it was closed before.
///
/// # Errors
/// Fails when the database is away.
pub async fn end(
    tx: &mut Transaction,
    delivery: DeliveryId,
    number: i32,
    outcome: Outcome,
    detail: &str,
    ended_at: Option<DateTime<Utc>>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update notification.attempts set outcome = $3, detail = $4, ended_at = $5 where delivery_id = $1 and number = $2 and outcome is null",
        delivery.0,
        number,
        outcome.name(),
        detail,
        ended_at
    )
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Closes an attempt of this process that was not carried out, since its delivery was cancelled
/// meanwhile.
///
/// # Errors
/// Fails when the database is away.
pub async fn withdraw(
    tx: &mut Transaction,
    attempt: &slots::Attempt,
    claimant: Uuid,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update notification.attempts set outcome = 'refused', detail = 'no longer needed; not sent', ended_at = $4
         where delivery_id = $1 and number = $2 and claimant = $3 and outcome is null",
        attempt.delivery.0,
        attempt.number,
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

//! The raw intake: every message kept before anything is made of it, and what could not be used.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use kit::{db::Transaction, id::TenantId};
use prost::bytes::Bytes;
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::IntegrationId;

/// Where a message stands in the life of the intake stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Which life of the stream: its creation, in nanoseconds.
    pub incarnation: i64,
    /// The place in it.
    pub sequence: i64,
    /// When the stream took it.
    pub at: DateTime<Utc>,
}

/// A message as it is kept.
#[derive(Debug, Clone)]
pub struct Raw {
    /// Where it stands.
    pub place: Place,
    /// Its subject.
    pub subject: String,
    /// The tenant, if the subject names one.
    pub tenant: Option<TenantId>,
    /// The integration, if the subject names one.
    pub integration: Option<IntegrationId>,
    /// The format it is read as.
    pub format: &'static str,
    /// The headers that say what it is.
    pub headers: BTreeMap<String, String>,
    /// The body as it came.
    pub body: Bytes,
}

/// Something that could not be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// The id.
    pub id: Uuid,
    /// The tenant, if it is known.
    pub tenant: Option<TenantId>,
    /// The integration, if it is known.
    pub integration: Option<IntegrationId>,
    /// The message it came with.
    pub place: Place,
    /// The format it claimed.
    pub format: &'static str,
    /// Which field or limit.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
    /// The text as it came, cut.
    pub raw: String,
    /// When it came.
    pub received_at: DateTime<Utc>,
}

/// A rejected alert as it is shown.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Shown {
    /// The id.
    pub id: Uuid,
    /// The integration, if it is known.
    pub integration_id: Option<Uuid>,
    /// The format it claimed.
    pub format: String,
    /// Which field or limit.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
    /// The text as it came, cut.
    pub raw: String,
    /// When it came.
    pub received_at: DateTime<Utc>,
}

/// Keeps messages, and says which are new, by incarnation and sequence: the others were delivered
/// before.
///
/// # Errors
/// Fails when the database is away.
pub async fn keep(tx: &mut Transaction, messages: &[Raw]) -> Result<HashSet<(i64, i64)>, sqlx::Error> {
    let subjects: Vec<String> = messages.iter().map(|message| message.subject.clone()).collect();
    let tenants: Vec<Option<Uuid>> = messages.iter().map(|message| message.tenant.map(|id| id.0)).collect();
    let integrations: Vec<Option<Uuid>> = messages.iter().map(|message| message.integration.map(|id| id.0)).collect();
    let formats: Vec<String> = messages.iter().map(|message| message.format.to_owned()).collect();
    let headers: Vec<Json<&BTreeMap<String, String>>> = messages.iter().map(|message| Json(&message.headers)).collect();
    let bodies: Vec<Vec<u8>> = messages.iter().map(|message| message.body.to_vec()).collect();
    let rows = sqlx::query!(
        "insert into alert.intake (incarnation, sequence, received_at, subject, tenant_id, integration_id, format, headers, body, outcome)
         select m.*, '' from unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::text[], $5::uuid[], $6::uuid[], $7::text[],
            $8::jsonb[], $9::bytea[]) as m (incarnation, sequence, received_at, subject, tenant_id, integration_id, format, headers, body)
         on conflict do nothing returning incarnation, sequence",
        &messages.iter().map(|message| message.place.incarnation).collect::<Vec<_>>(),
        &messages.iter().map(|message| message.place.sequence).collect::<Vec<_>>(),
        &messages.iter().map(|message| message.place.at).collect::<Vec<_>>(),
        &subjects,
        &tenants as &[Option<Uuid>],
        &integrations as &[Option<Uuid>],
        &formats,
        &headers as _,
        &bodies,
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(|row| (row.incarnation, row.sequence)).collect())
}

/// Says of messages what came of them, where that is not plainly all of it.
///
/// # Errors
/// Fails when the database is away.
pub async fn explain(tx: &mut Transaction, outcomes: &[(Place, String)]) -> Result<(), sqlx::Error> {
    if outcomes.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update alert.intake i set outcome = o.outcome
         from unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::text[]) as o (incarnation, sequence, received_at, outcome)
         where i.incarnation = o.incarnation and i.sequence = o.sequence and i.received_at = o.received_at",
        &outcomes.iter().map(|(place, _)| place.incarnation).collect::<Vec<_>>(),
        &outcomes.iter().map(|(place, _)| place.sequence).collect::<Vec<_>>(),
        &outcomes.iter().map(|(place, _)| place.at).collect::<Vec<_>>(),
        &outcomes.iter().map(|(_, outcome)| outcome.clone()).collect::<Vec<_>>(),
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Keeps what could not be used, with the reason.
///
/// # Errors
/// Fails when the database is away.
pub async fn reject(tx: &mut Transaction, rejected: &[Rejected]) -> Result<(), sqlx::Error> {
    for one in rejected {
        sqlx::query!(
            "insert into alert.rejected_alerts (id, tenant_id, integration_id, incarnation, sequence, format, field, reason, raw, received_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            one.id,
            one.tenant.map(|id| id.0),
            one.integration.map(|id| id.0),
            one.place.incarnation,
            one.place.sequence,
            one.format,
            one.field,
            one.reason,
            one.raw,
            one.received_at,
        )
        .execute(tx.connection())
        .await?;
    }
    Ok(())
}

/// A page of what could not be used, newest first, after an id.
///
/// # Errors
/// Fails when the database is away.
pub async fn rejected(
    tx: &mut Transaction,
    integration: Option<IntegrationId>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Shown>, sqlx::Error> {
    sqlx::query_as!(
        Shown,
        "select id, integration_id, format, field, reason, raw, received_at from alert.rejected_alerts
         where ($1::uuid is null or integration_id = $1) and ($2::uuid is null or id < $2) order by id desc limit $3",
        integration.map(|id| id.0),
        after,
        limit
    )
    .fetch_all(tx.connection())
    .await
}

//! History. A commit writes the record, then its events here; the outbox row follows each journal
//! row in the same statement, while the record's lock is held, so that the feed keeps their order.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use proto::common::v1::{Actor, FeedEntry};
use sqlx::{AssertSqlSafe, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    bus,
    caller::{Call, system},
    consumer::Delivered,
    db::Transaction,
    id::Tenant,
    request,
    trace::{self, Kind},
};

/// Why something is written: who, when, under which request, in which trace.
#[derive(Debug, Clone)]
pub struct Cause {
    /// The tenant.
    pub tenant: Tenant,
    /// Who did it.
    pub actor: Actor,
    /// When, by domain time.
    pub at: DateTime<Utc>,
    /// The call, when there was one; its answer is kept.
    pub call: Option<Call>,
    /// W3C trace context.
    pub trace_parent: String,
}

impl Cause {
    /// A person's call.
    #[must_use]
    pub fn call(call: &Call, at: DateTime<Utc>) -> Self {
        Self {
            tenant: call.tenant().clone(),
            actor: call.actor(),
            at,
            call: Some(call.clone()),
            trace_parent: call.trace_parent.clone(),
        }
    }

    /// An event of another service, by a rule of this one.
    #[must_use]
    pub fn event(service: &str, rule: &str, event: &Delivered, at: DateTime<Utc>) -> Self {
        Self {
            tenant: event.tenant.clone(),
            actor: system(service, rule, Some(event.event_id)),
            at,
            call: None,
            trace_parent: event.trace_parent.clone(),
        }
    }

    /// The same, as the first step of a trace.
    #[must_use]
    pub fn traced(self) -> Self {
        let first = trace::begin("kit", Kind::Internal, &self.trace_parent, || format!("due {}", self.actor.rule));
        Self { trace_parent: first.trace_parent().unwrap_or_default(), ..self }
    }

    /// A timer, by a rule; `at` is the instant it was due.
    #[must_use]
    pub fn timer(service: &str, rule: &str, tenant: Tenant, at: DateTime<Utc>) -> Self {
        Self { tenant, actor: system(service, rule, None), at, call: None, trace_parent: String::new() }
    }
}

/// One event to be written.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The record.
    pub record_id: Uuid,
    /// The revision that the event made.
    pub revision: i64,
    /// What happened, such as `opened`; the last token of the subject.
    pub kind: &'static str,
    /// The encoded event message.
    pub body: Vec<u8>,
}

/// Has events written with their outbox rows, and the answer kept under the request's key. The
/// answer kept is the record at `answer`, its id and revision, since the journal has it whole.
///
/// They are written before the commit, which fails when a revision is already taken.
pub fn append(tx: &mut Transaction, cause: &Cause, answer: (Uuid, i64), entries: &[Entry]) {
    tx.writes.append(cause, entries);
    if let Some(call) = &cause.call {
        request::keep(tx, call, answer, cause.at);
    }
}

/// The columns of a journal row, as [`read`] wants them, for the alias `j`.
pub(crate) const COLUMNS: &str =
    "j.tenant_id, j.tenant, j.record_id, j.revision, j.event_id, j.type, j.body, j.at, j.trace_parent, j.request_id";

/// Reads a journal row; `position` comes from the feed, or is 0.
pub(crate) fn read(row: &PgRow, position: i64) -> Result<FeedEntry, sqlx::Error> {
    Ok(FeedEntry {
        position,
        tenant_id: row.try_get::<Uuid, _>("tenant_id")?.to_string(),
        tenant: row.try_get("tenant")?,
        record_id: row.try_get::<Uuid, _>("record_id")?.to_string(),
        revision: row.try_get("revision")?,
        event_id: row.try_get::<Uuid, _>("event_id")?.to_string(),
        r#type: row.try_get("type")?,
        at: Some(bus::timestamp(row.try_get("at")?)),
        body: row.try_get::<Vec<u8>, _>("body")?.into(),
        trace_parent: row.try_get::<Option<String>, _>("trace_parent")?.unwrap_or_default(),
        request_id: row.try_get::<Option<String>, _>("request_id")?.unwrap_or_default(),
    })
}

/// The history of one record, oldest first, from after a revision on.
///
/// # Errors
/// Fails when the database is away.
pub async fn history(
    tx: &mut Transaction,
    schema: &'static str,
    record_id: Uuid,
    after_revision: i64,
    limit: i64,
) -> Result<Vec<FeedEntry>, sqlx::Error> {
    let statement = format!(
        "select {COLUMNS} from {schema}.journal j where j.record_id = $1 and j.revision > $2 order by j.revision limit $3"
    );
    let rows = sqlx::query(AssertSqlSafe(statement))
        .bind(record_id)
        .bind(after_revision)
        .bind(limit)
        .fetch_all(tx.connection())
        .await?;
    rows.iter().map(|row| read(row, 0)).collect()
}

/// The trace in which each of these records was made, by record; nothing while nothing is traced.
///
/// # Errors
/// Fails when the database is away.
pub async fn traces(
    tx: &mut Transaction,
    schema: &'static str,
    records: &[Uuid],
) -> Result<HashMap<Uuid, String>, sqlx::Error> {
    if !trace::on() {
        return Ok(HashMap::new());
    }
    let statement = format!(
        "select record_id, trace_parent from {schema}.journal where record_id = any ($1) and revision = 1 and trace_parent is not null"
    );
    Ok(sqlx::query_as(AssertSqlSafe(statement)).bind(records).fetch_all(tx.connection()).await?.into_iter().collect())
}

/// The event that made a revision of a record.
///
/// # Errors
/// Fails when the database is away.
pub async fn at_revision(
    tx: &mut Transaction,
    schema: &'static str,
    record_id: Uuid,
    revision: i64,
) -> Result<Option<FeedEntry>, sqlx::Error> {
    let statement = format!("select {COLUMNS} from {schema}.journal j where j.record_id = $1 and j.revision = $2");
    let row =
        sqlx::query(AssertSqlSafe(statement)).bind(record_id).bind(revision).fetch_optional(tx.connection()).await?;
    row.map(|row| read(&row, 0)).transpose()
}

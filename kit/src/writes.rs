//! What the event path writes in a transaction, gathered until its commit and written in one
//! statement: journal and outbox rows, timers, the kept answer. One statement for a whole batch of
//! events is what makes a consumer fast.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use proto::common::v1::{Actor, ActorKind};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::{
    db::Transaction,
    id::Tenant,
    journal::{Cause, Entry},
};

/// A record and what its timer is for.
type TimerKey = (Uuid, &'static str);

/// What waits for the commit.
#[derive(Debug)]
pub(crate) struct Writes {
    schema: &'static str,
    journal: Journal,
    timers: BTreeMap<TimerKey, (Tenant, Option<DateTime<Utc>>)>,
    kept: Option<Kept>,
}

/// Columns of journal rows, in the order of the events.
#[derive(Debug, Default)]
struct Journal {
    tenant_ids: Vec<Uuid>,
    tenants: Vec<String>,
    record_ids: Vec<Uuid>,
    revisions: Vec<i64>,
    event_ids: Vec<Uuid>,
    kinds: Vec<&'static str>,
    bodies: Vec<Vec<u8>>,
    actors: Vec<String>,
    at: Vec<DateTime<Utc>>,
    request_ids: Vec<Option<String>>,
    trace_parents: Vec<Option<String>>,
}

/// Where an answer stands.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) tenant: Uuid,
    pub(crate) caller: String,
    pub(crate) method: &'static str,
    pub(crate) request_id: String,
    pub(crate) digest: Vec<u8>,
    pub(crate) answer: (Uuid, i64),
    pub(crate) at: DateTime<Utc>,
}

impl Writes {
    pub(crate) fn new(schema: &'static str) -> Self {
        Self { schema, journal: Journal::default(), timers: BTreeMap::new(), kept: None }
    }

    #[cfg(mutants)]
    pub(crate) fn schema(&self) -> &'static str {
        self.schema
    }

    pub(crate) fn take(&mut self) -> Self {
        let schema = self.schema;
        std::mem::replace(self, Self::new(schema))
    }

    pub(crate) fn append(&mut self, cause: &Cause, entries: &[Entry]) {
        for entry in entries {
            let journal = &mut self.journal;
            journal.tenant_ids.push(cause.tenant.id.0);
            journal.tenants.push(cause.tenant.slug.clone());
            journal.record_ids.push(entry.record_id);
            journal.revisions.push(entry.revision);
            journal.event_ids.push(crate::id::draw());
            journal.kinds.push(entry.kind);
            journal.bodies.push(entry.body.clone());
            journal.actors.push(actor_text(&cause.actor));
            journal.at.push(cause.at);
            journal
                .request_ids
                .push(cause.call.as_ref().and_then(|call| call.request.as_ref()).map(|key| key.id.clone()));
            journal.trace_parents.push(Some(cause.trace_parent.clone()).filter(|trace| !trace.is_empty()));
        }
    }

    /// The last word about a timer counts.
    pub(crate) fn set_timer(
        &mut self,
        tenant: &Tenant,
        record_id: Uuid,
        kind: &'static str,
        due_at: Option<DateTime<Utc>>,
    ) {
        self.timers.insert((record_id, kind), (tenant.clone(), due_at));
    }

    pub(crate) fn keep(&mut self, kept: Kept) {
        self.kept = Some(kept);
    }

    /// Writes all of it. Only the parts that there are: a worker may not write kept answers.
    pub(crate) async fn write(self, tx: &mut Transaction) -> Result<(), sqlx::Error> {
        #[cfg(mutants)]
        if crate::planted!("journal_outside_transaction")
            && let Some(tenant) = self.journal.tenant_ids.first().copied()
        {
            let mut other = tx.another(tenant.into()).await?;
            let journal = Self { journal: self.journal, ..Self::new(self.schema) };
            journal.write_parts(&mut other).await?;
            sqlx::raw_sql("commit").execute(other.connection()).await?;
            let rest = Self { timers: self.timers, kept: self.kept, ..Self::new(self.schema) };
            return rest.write_parts(tx).await;
        }
        self.write_parts(tx).await
    }

    async fn write_parts(self, tx: &mut Transaction) -> Result<(), sqlx::Error> {
        let Self { schema, journal, timers, kept } = self;
        let (set, unset): (Vec<_>, Vec<_>) = timers.into_iter().partition(|(_, (_, due_at))| due_at.is_some());
        let mut parts = Vec::new();
        let mut next = 0_usize;
        let mut bind = || {
            next += 1;
            format!("${next}")
        };
        if !journal.event_ids.is_empty() {
            let [t, s, r, v, e, k, b, a, at, q, p] = std::array::from_fn(|_| bind());
            parts.push(format!(
                "journal as (
                    insert into {schema}.journal (tenant_id, tenant, record_id, revision, event_id, type, body, actor, at, request_id, trace_parent)
                    select * from unnest({t}::uuid[], {s}::text[], {r}::uuid[], {v}::bigint[], {e}::uuid[], {k}::text[], {b}::bytea[], {a}::text[], {at}::timestamptz[], {q}::text[], {p}::text[])),
                 outbox as (
                    insert into {schema}.outbox (tenant_id, record_id, revision)
                    select o.tenant_id, o.record_id, o.revision
                    from unnest({t}::uuid[], {r}::uuid[], {v}::bigint[]) with ordinality as o (tenant_id, record_id, revision, place)
                    order by o.place)"
            ));
        }
        if !unset.is_empty() {
            let [r, k] = std::array::from_fn(|_| bind());
            parts.push(format!(
                "unset as (
                    delete from {schema}.timer t using unnest({r}::uuid[], {k}::text[]) as u (record_id, kind)
                    where t.record_id = u.record_id and t.kind = u.kind)"
            ));
        }
        if !set.is_empty() {
            let [t, s, r, k, d] = std::array::from_fn(|_| bind());
            parts.push(format!(
                "timers as (
                    insert into {schema}.timer (tenant_id, tenant, record_id, kind, due_at)
                    select * from unnest({t}::uuid[], {s}::text[], {r}::uuid[], {k}::text[], {d}::timestamptz[])
                    on conflict (record_id, kind) do update set due_at = excluded.due_at, retry_at = null)"
            ));
        }
        if kept.is_some() {
            let values: [String; 8] = std::array::from_fn(|_| bind());
            parts.push(format!(
                "request as (
                    insert into {schema}.request (tenant_id, caller, method, request_id, digest, record_id, revision, at)
                    values ({}))",
                values.join(", ")
            ));
        }
        if parts.is_empty() {
            return Ok(());
        }
        let statement = format!("with {} select", parts.join(", "));
        let mut query = sqlx::query(AssertSqlSafe(statement));
        if !journal.event_ids.is_empty() {
            query = query
                .bind(journal.tenant_ids)
                .bind(journal.tenants)
                .bind(journal.record_ids)
                .bind(journal.revisions)
                .bind(journal.event_ids)
                .bind(journal.kinds)
                .bind(journal.bodies)
                .bind(journal.actors)
                .bind(journal.at)
                .bind(journal.request_ids)
                .bind(journal.trace_parents);
        }
        if !unset.is_empty() {
            let (records, kinds): (Vec<Uuid>, Vec<&str>) = unset.iter().map(|(key, _)| *key).unzip();
            query = query.bind(records).bind(kinds);
        }
        if !set.is_empty() {
            let (records, kinds): (Vec<Uuid>, Vec<&str>) = set.iter().map(|(key, _)| *key).unzip();
            query = query
                .bind(set.iter().map(|(_, (tenant, _))| tenant.id.0).collect::<Vec<_>>())
                .bind(set.iter().map(|(_, (tenant, _))| tenant.slug.clone()).collect::<Vec<_>>())
                .bind(records)
                .bind(kinds)
                .bind(set.iter().map(|(_, (_, due_at))| *due_at).collect::<Vec<_>>());
        }
        let answered = kept.is_some();
        if let Some(kept) = kept {
            query = query
                .bind(kept.tenant)
                .bind(kept.caller)
                .bind(kept.method)
                .bind(kept.request_id)
                .bind(kept.digest)
                .bind(kept.answer.0)
                .bind(kept.answer.1)
                .bind(kept.at);
        }
        query.execute(tx.connection()).await?;
        if answered {
            crate::fail_point!("command.before_commit");
        }
        Ok(())
    }
}

/// The actor as one column: `person:<id>`, `system:<service>/<rule>`.
fn actor_text(actor: &Actor) -> String {
    match actor.kind() {
        ActorKind::System => format!("system:{}/{}", actor.id, actor.rule),
        ActorKind::Person | ActorKind::Unspecified => format!("person:{}", actor.id),
    }
}

//! Retention: what is past its period goes, and nothing grows without bound.
//!
//! Only the owner of a schema prunes, and the provisioner alone acts as owner: no service may delete
//! a record or a journal row, whatever becomes of it. A round takes each schema in turn: first
//! records that ended long ago, in small batches ([`batches`]); then partitions that go by age
//! ([`slices`]) and by position ([`feeds`]); last the journals of records that are gone
//! ([`journals`]). Every step may be cut off anywhere and is taken up by the next round.
//!
//! A journal row never goes before its record, nor while the feed names it; a feed never before the
//! services that follow it have read it. What is held goes not at all: each transaction reads the
//! holds again under the lock that whoever places one takes.

mod batches;
mod feeds;
pub mod holds;
mod journals;
mod periods;
mod slices;
mod swap;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use chrono::{DateTime, Utc};
use kit::clock::{Clock as _, DatabaseClock};
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::partitions::Kept;
use crate::settings::retention::Retention;
use holds::Holds;

/// Not at once: a start has better things to do.
const FIRST_AFTER: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_secs(600);
/// How long a lock is waited for, and with it everybody who comes after.
const LOCK_TIMEOUT_MS: u32 = 500;
/// How long work of our own may block those who write into the same partition.
const TRIES: usize = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(700);

/// What a round did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Records deleted.
    pub records: u64,
    /// Other rows deleted.
    pub rows: u64,
    /// Partitions dropped.
    pub dropped: Vec<String>,
    /// Partitions rewritten without what is past.
    pub rewritten: Vec<String>,
    /// What failed, in words; tried again in the next round.
    pub failed: Vec<String>,
}

/// Prunes, round by round.
#[derive(Debug)]
pub struct Pruner {
    pool: PgPool,
    retention: Retention,
    kept: Vec<Kept>,
    stop: CancellationToken,
    /// What was looked at in vain, so that it is not looked at again before anything changed.
    looked: BTreeMap<String, String>,
}

/// One round, at one instant, under the holds that were there when it began.
struct Round<'a> {
    pool: &'a PgPool,
    retention: &'a Retention,
    kept: &'a [Kept],
    stop: &'a CancellationToken,
    looked: &'a mut BTreeMap<String, String>,
    now: DateTime<Utc>,
    tenants: BTreeMap<String, Uuid>,
    holds: Holds,
    report: Report,
}

/// Prunes every ten minutes until it is stopped, by the database's time.
pub async fn keep_pruned(pool: PgPool, retention: Retention, kept: &[Kept], stop: CancellationToken) {
    let clock = DatabaseClock::default();
    let mut pruner = Pruner::new(pool.clone(), retention, kept.to_vec(), stop.clone());
    let mut ticks = interval_at(Instant::now() + FIRST_AFTER, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // A wall clock that jumped must not decide what is past.
        if let Err(error) = clock.synchronise(&pool).await {
            tracing::warn!(%error, "nothing is pruned while the database's time cannot be asked for");
            continue;
        }
        match pruner.round(clock.now()).await {
            Ok(report) if report == Report::default() => {}
            Ok(report) => tracing::info!(
                records = report.records,
                rows = report.rows,
                dropped = report.dropped.join(" "),
                rewritten = report.rewritten.join(" "),
                failed = report.failed.len(),
                "pruned what was past"
            ),
            Err(error) => tracing::error!(error = format!("{error:#}"), "cannot prune; trying again"),
        }
    }
}

impl Pruner {
    /// Prepares it; `pool` is of a user who may act as every schema's owner.
    pub fn new(pool: PgPool, retention: Retention, kept: Vec<Kept>, stop: CancellationToken) -> Self {
        Self { pool, retention, kept, stop, looked: BTreeMap::new() }
    }

    /// Prunes what is past at `now`, in all schemas; what fails in one stops no other.
    ///
    /// # Errors
    /// Fails when the database is away.
    pub async fn round(&mut self, now: DateTime<Utc>) -> anyhow::Result<Report> {
        let holds = Holds::load(&self.pool, &self.kept).await.context("cannot read the holds")?;
        let tenants = periods::tenants(&self.pool, &self.retention).await.context("cannot read the tenants")?;
        let mut round = Round {
            pool: &self.pool,
            retention: &self.retention,
            kept: &self.kept,
            stop: &self.stop,
            looked: &mut self.looked,
            now,
            tenants,
            holds,
            report: Report::default(),
        };
        for (schema, says) in self.kept.clone() {
            let steps = async {
                round.leftovers(schema, says).await?;
                round.records(schema, says).await?;
                round.event_path(schema).await?;
                round.slices(schema, says).await?;
                round.feed(schema).await?;
                round.journal(schema).await
            };
            if let Err(error) = steps.await {
                tracing::warn!(schema, error = format!("{error:#}"), "cannot prune; trying again in the next round");
                round.report.failed.push(format!("{schema}: {error:#}"));
            }
            if round.stop.is_cancelled() {
                break;
            }
        }
        Ok(round.report)
    }
}

impl Round<'_> {
    /// Begins a transaction as the schema's owner, in which no hold can be placed.
    async fn begin(&self, schema: &str) -> anyhow::Result<Transaction<'static, Postgres>> {
        let mut tx = self.pool.begin().await.context("cannot begin")?;
        self.holds.still_stand(&mut tx).await?;
        let statement = format!("set local role \"{schema}_owner\"; set local lock_timeout = {LOCK_TIMEOUT_MS}");
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *tx).await?;
        Ok(tx)
    }

    /// Whether this was looked at before and was as it is now.
    fn seen(&self, what: &str, state: &str) -> bool {
        self.looked.get(what).is_some_and(|before| before == state)
    }

    /// Remembers that there is no more to do about it while it is so.
    fn look(&mut self, what: String, state: String) {
        self.looked.insert(what, state);
    }
}

/// `lock_not_available` and `deadlock_detected`: somebody works there, and we give way.
fn gives_way(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<sqlx::Error>().and_then(sqlx::Error::as_database_error).and_then(|e| e.code());
    matches!(code.as_deref(), Some("55P03" | "40P01"))
}

//! Timers are rows; a sweep takes what is due, once, whoever else sweeps. It takes no input, is
//! idempotent, and stamps what happened with the instant that was due. A restart loses nothing.

use std::{collections::HashSet, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    clock::{self, Clock},
    consumer::Failure,
    db::{Database, Transaction},
    id::{Tenant, TenantId},
    metrics,
    vital::Pulse,
};

const BATCH: i64 = 200;
/// How long a timer that failed is left alone.
const RETRY: TimeDelta = TimeDelta::seconds(5);
const POLL: Duration = Duration::from_secs(1);

/// A timer that is due.
#[derive(Debug, Clone)]
pub struct Timer {
    /// The tenant.
    pub tenant: Tenant,
    /// The record.
    pub record_id: Uuid,
    /// What it is for, such as `auto_close`.
    pub kind: String,
    /// The instant it was due.
    pub due_at: DateTime<Utc>,
}

/// Sets or clears a record's timer of a kind, with the commit of the change.
pub fn set(tx: &mut Transaction, tenant: &Tenant, record_id: Uuid, kind: &'static str, due_at: Option<DateTime<Utc>>) {
    tx.writes.set_timer(tenant, record_id, kind, due_at);
}

/// What a service does when a timer is due.
pub trait Due: Send + Sync + 'static {
    /// Before the transaction of some due timers: what must be caught up with first. `Ok(false)`
    /// leaves them for later.
    fn prepare<'a>(&'a self, timers: &'a [Timer]) -> BoxFuture<'a, bool> {
        let _ = timers;
        Box::pin(async { true })
    }

    /// Reads what the timers of a batch need, at once, into the transaction's memo.
    fn load<'a>(&'a self, tx: &'a mut Transaction, timers: &'a [Timer]) -> BoxFuture<'a, Result<(), Failure>> {
        let _ = (tx, timers);
        Box::pin(async { Ok(()) })
    }

    /// Applies one timer, whose row is already taken; judges the record anew, since what was due
    /// may no longer be.
    fn fire<'a>(
        &'a self,
        tx: &'a mut Transaction,
        timer: &'a Timer,
        now: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<(), Failure>>;

    /// After the commit: wake who waits.
    fn fired(&self);
}

/// The sweep of one service.
pub struct Sweep {
    database: Database,
    table: &'static str,
    clock: Arc<dyn Clock>,
    wake: Arc<Notify>,
    pulse: Arc<Pulse>,
}

impl Sweep {
    /// Prepares the sweep over the timers of one table's records, such as `incident.incidents`.
    #[must_use]
    pub fn new(database: Database, table: &'static str, clock: Arc<dyn Clock>) -> Self {
        let pulse = Pulse::new(database.schema, "sweep");
        Self { database, table, clock, wake: Arc::default(), pulse }
    }

    /// Its sign of life: given with each round that went through.
    #[must_use]
    pub fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Wakes it, because a timer was set.
    #[must_use]
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Works for ever.
    pub async fn run(&self, due: &dyn Due) {
        loop {
            let next = match self.run_once(due).await {
                Ok(next) => {
                    self.pulse.beat();
                    next
                }
                Err(error) => {
                    tracing::warn!(service = self.database.schema, %error, "sweep pauses");
                    None
                }
            };
            let at = next.unwrap_or_else(|| self.clock.now() + TimeDelta::hours(1));
            tokio::select! {
                () = self.clock.sleep_until(at) => {}
                () = self.wake.notified() => {}
                () = clock::pause(POLL) => {}
            }
        }
    }

    /// Fires all that is due, and says when the next is.
    ///
    /// # Errors
    /// Fails when the database is away.
    pub async fn run_once(&self, due: &dyn Due) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
        while self.clock.trusted() {
            let now = self.clock.now();
            let (timers, next) = self.peek(now).await?;
            if timers.is_empty() {
                return Ok(next);
            }
            if !due.prepare(&timers).await {
                return Ok(Some(now + TimeDelta::seconds(1)));
            }
            if self.fire(due, &timers, now).await.is_err() {
                for timer in &timers {
                    if let Err(failure) = self.fire(due, std::slice::from_ref(timer), now).await {
                        tracing::error!(service = self.database.schema, record_id = %timer.record_id, kind = timer.kind, %failure, "timer failed; tried again in 5 s");
                        self.postpone(timer, now).await?;
                    }
                }
            }
            due.fired();
        }
        Ok(None)
    }

    /// What is due, and when the next of the others is; those that failed are found by the poll.
    async fn peek(&self, now: DateTime<Utc>) -> Result<(Vec<Timer>, Option<DateTime<Utc>>), sqlx::Error> {
        let statement = format!(
            "(select tenant_id, tenant, record_id, kind, due_at from {0}.timer
              where due_at <= $1 and (retry_at is null or retry_at <= $1) order by due_at limit {BATCH})
             union all
             (select tenant_id, tenant, record_id, kind, due_at from {0}.timer
              where due_at > $1 and retry_at is null order by due_at limit 1)",
            self.database.schema
        );
        let rows = sqlx::query(AssertSqlSafe(statement)).bind(now).fetch_all(&self.database.workers).await?;
        let (mut timers, mut next) = (Vec::with_capacity(rows.len()), None);
        for row in &rows {
            let due_at = row.try_get("due_at")?;
            if due_at > now {
                next = Some(due_at);
                continue;
            }
            let tenant = Tenant { id: TenantId(row.try_get("tenant_id")?), slug: row.try_get("tenant")? };
            timers.push(Timer { tenant, record_id: row.try_get("record_id")?, kind: row.try_get("kind")?, due_at });
        }
        Ok((timers, next))
    }

    /// Takes the rows with compare-and-set and applies what was really taken, in one transaction.
    async fn fire(&self, due: &dyn Due, timers: &[Timer], now: DateTime<Utc>) -> Result<(), Failure> {
        let mut tx = self.database.begin_worker(timers.iter().map(|timer| timer.tenant.id)).await?;
        // The records first and in order of id, as every command does it: no deadlock.
        let records: Vec<Uuid> = timers.iter().map(|timer| timer.record_id).collect();
        let lock = format!("select from {} where id = any ($1) order by id for update", self.table);
        sqlx::query(AssertSqlSafe(lock)).bind(records).execute(tx.connection()).await?;
        let taken = self.claim(&mut tx, timers).await?;
        due.load(&mut tx, timers).await?;
        for timer in timers {
            if taken.contains(&(timer.record_id, timer.kind.clone())) || crate::planted!("timer_without_compare") {
                due.fire(&mut tx, timer, now).await?;
                metrics::get().timer_lateness(self.database.schema, &timer.kind, (now - timer.due_at).as_seconds_f64());
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Which of them nobody else took or moved.
    async fn claim(&self, tx: &mut Transaction, timers: &[Timer]) -> Result<HashSet<(Uuid, String)>, sqlx::Error> {
        let statement = format!(
            "delete from {}.timer t using unnest($1::uuid[], $2::text[], $3::timestamptz[]) as due (record_id, kind, due_at)
             where t.record_id = due.record_id and t.kind = due.kind and t.due_at = due.due_at returning t.record_id, t.kind",
            self.database.schema
        );
        let rows: Vec<(Uuid, String)> = sqlx::query_as(AssertSqlSafe(statement))
            .bind(timers.iter().map(|timer| timer.record_id).collect::<Vec<_>>())
            .bind(timers.iter().map(|timer| timer.kind.clone()).collect::<Vec<_>>())
            .bind(timers.iter().map(|timer| timer.due_at).collect::<Vec<_>>())
            .fetch_all(tx.connection())
            .await?;
        Ok(rows.into_iter().collect())
    }

    async fn postpone(&self, timer: &Timer, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
        let statement = format!(
            "update {}.timer set retry_at = $4 where record_id = $1 and kind = $2 and due_at = $3",
            self.database.schema
        );
        sqlx::query(AssertSqlSafe(statement))
            .bind(timer.record_id)
            .bind(&timer.kind)
            .bind(timer.due_at)
            .bind(now + RETRY)
            .execute(&self.database.workers)
            .await?;
        Ok(())
    }
}

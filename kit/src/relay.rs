//! The relay: one active per service. It empties the outbox into the densely numbered feed, then
//! publishes each event once, without waiting, and moves its position as the stream acknowledges.
//!
//! Taking never waits for publishing. With NATS away it goes on numbering and keeps no bodies; what
//! was not published is read from the feed later. Each second it says its position, and only after
//! a take: the heartbeat.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{Client, connection::State, jetstream};
use futures::{FutureExt, StreamExt, stream::FuturesOrdered};
use prost::Message as _;
use proto::common::v1::{FeedEntry, PositionResponse};
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::{Notify, mpsc, watch};

use crate::{
    bus, clock,
    db::Database,
    feed, journal,
    lease::{self, Lease, Lost, RENEWAL},
    metrics,
    problem::BoxError,
    trace::{self, Kind},
    vital::{Lag, Pulse},
};

const TAKE_AT_MOST: i64 = 500;
const UNACKNOWLEDGED_AT_MOST: usize = 1_000;
const POLL: Duration = Duration::from_millis(200);
const GATHER: Duration = Duration::from_millis(50);

/// Wakes the relay after a commit; carries no data, and may be lost.
#[derive(Debug, Clone)]
pub struct Wake {
    notify: Arc<Notify>,
    here: Arc<AtomicBool>,
    bus: Client,
    subject: String,
}

impl Wake {
    /// Says that something was committed.
    pub fn wake(&self) {
        self.notify.notify_one();
        if !self.here.load(Ordering::Relaxed) && self.bus.connection_state() == State::Connected {
            let (bus, subject) = (self.bus.clone(), self.subject.clone());
            tokio::spawn(async move {
                // Lost wake-ups cost one poll interval.
                let _ = bus.publish(subject, "".into()).await;
            });
        }
    }
}

/// The relay of one service.
#[derive(Debug)]
pub struct Relay {
    service: &'static str,
    holder: String,
    database: Database,
    bus: Client,
    wake: Wake,
    head: watch::Sender<i64>,
    /// What the lease says is acknowledged, as this process wrote it last.
    saved: AtomicI64,
    pulse: Arc<Pulse>,
    lag: Arc<Lag>,
    #[cfg(mutants)]
    last_seq: std::sync::atomic::AtomicI64,
}

impl Relay {
    /// Prepares the relay; [`Relay::run`] does the work.
    #[must_use]
    pub fn new(database: Database, bus: Client, holder: String) -> Self {
        let service = database.schema;
        let wake = Wake {
            notify: Arc::default(),
            here: Arc::default(),
            bus: bus.clone(),
            subject: bus::wake_subject(service),
        };
        Self {
            service,
            holder,
            database,
            bus,
            wake,
            head: watch::channel(0).0,
            saved: AtomicI64::new(0),
            pulse: Pulse::new(service, metrics::RELAY),
            lag: Lag::new(service, metrics::RELAY),
            #[cfg(mutants)]
            last_seq: Default::default(),
        }
    }

    /// Wakes it.
    #[must_use]
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// The head of the feed, as this process knows it.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }

    /// Its sign of life: given with each heartbeat, and by a replica that stands by with each answer
    /// to its asking for the lease.
    #[must_use]
    pub fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Works for ever; whoever drops it stops it.
    pub async fn run(&self) {
        loop {
            let standby = self.stand_by();
            let answered = || self.pulse.beat();
            let lease = tokio::select! {
                lease = Lease::acquire(&self.database.workers, self.service, "relay", &self.holder, answered) => lease,
                () = standby => continue,
            };
            self.wake.here.store(true, Ordering::Relaxed);
            let ended = self.active(&lease).await;
            self.wake.here.store(false, Ordering::Relaxed);
            self.lag.rest();
            if let Err(error) = ended {
                tracing::warn!(service = self.service, %error, "relay pauses");
            }
            clock::pause(POLL).await;
        }
    }

    /// Lets go of the lease, at a clean stop.
    pub async fn release(&self) {
        if let Ok(Some(lease)) = Lease::try_acquire(&self.database.workers, self.service, "relay", &self.holder).await {
            lease.release(&self.database.workers).await;
        }
    }

    /// Follows the active relay's heartbeat, so that `Watch` wakes here too.
    async fn stand_by(&self) {
        let Ok(mut beats) = self.bus.subscribe(bus::heartbeat_subject(self.service)).await else {
            return clock::pause(RENEWAL).await;
        };
        while let Some(message) = beats.next().await {
            if let Ok(beat) = PositionResponse::decode(message.payload) {
                self.head.send_replace(beat.head_position);
            }
        }
    }

    async fn active(&self, lease: &Lease) -> Result<(), BoxError> {
        // Before the first take compares with it.
        self.saved.store(lease.position, Ordering::Relaxed);
        let (batches, receiver) = mpsc::channel(16);
        tokio::select! {
            ended = self.take_for_ever(lease, &batches) => ended,
            ended = self.publish_for_ever(lease, receiver) => ended,
        }
    }

    async fn take_for_ever(&self, lease: &Lease, batches: &mpsc::Sender<Vec<FeedEntry>>) -> Result<(), BoxError> {
        let mut wakes = self.bus.subscribe(bus::wake_subject(self.service)).await?;
        let head = feed::extent(&self.database.workers, self.service).await?.head;
        self.head.send_replace(head);
        let mut beat: Option<Instant> = None;
        loop {
            let due = beat.is_none_or(|at| at.elapsed() >= RENEWAL);
            let taken = self.take(lease, due).await?;
            let full = i64::try_from(taken.len()).unwrap_or(TAKE_AT_MOST) == TAKE_AT_MOST;
            if let Some(last) = taken.last() {
                self.head.send_replace(last.position);
                // When the publisher is behind, it reads from the feed.
                let _ = batches.try_send(taken);
            }
            if due {
                self.beat(lease).await;
                self.pulse.beat();
                beat = Some(Instant::now());
            }
            if full {
                continue;
            }
            tokio::select! {
                () = self.wake.notify.notified() => {}
                Some(_) = wakes.next() => {}
                () = clock::pause(POLL) => {}
            }
        }
    }

    /// Takes what waits, in one statement that is a transaction of its own: the lease's row is locked
    /// and renewed, when there is something to take or it is `due`, and without it nothing is taken.
    async fn take(&self, lease: &Lease, due: bool) -> Result<Vec<FeedEntry>, BoxError> {
        let schema = self.service;
        // Before the statement: what is saved while it runs is no loss.
        let saved = self.saved.load(Ordering::Relaxed);
        #[cfg(mutants)]
        let after = self.last_seq().await?;
        #[cfg(not(mutants))]
        let after = "";
        let statement = format!(
            "with held as (
                {} and ($4 or exists (select from {schema}.outbox)) returning position),
             taken as (
                delete from {schema}.outbox
                where exists (select from held) and seq = any (array (select seq from {schema}.outbox {after} order by seq limit {TAKE_AT_MOST}))
                returning seq, tenant_id, record_id, revision),
             base as (
                select greatest((select max(position) from {schema}.feed), (select position from held), 0) as position),
             numbered as (
                insert into {schema}.feed (position, tenant_id, record_id, revision, epoch, at)
                select base.position + row_number() over (order by taken.seq), taken.tenant_id, taken.record_id, taken.revision, $3, clock_timestamp()
                from taken cross join base
                returning position, record_id, revision)
             select h.held as acknowledged, n.position, {}
             from (select (select position from held) as held) h
             left join (numbered n join {schema}.journal j on j.record_id = n.record_id and j.revision = n.revision) on true
             order by n.position",
            lease.renewal(),
            journal::COLUMNS
        );
        let rows = sqlx::query(AssertSqlSafe(statement))
            .bind(&lease.name)
            .bind(&lease.holder)
            .bind(lease.epoch)
            .bind(due)
            .fetch_all(&self.database.workers)
            .await?;
        let mut entries = Vec::with_capacity(rows.len());
        for row in &rows {
            match row.try_get::<Option<i64>, _>("acknowledged")? {
                Some(acknowledged) if acknowledged < saved => {
                    return Err("the stream lost what it had acknowledged; publishing it again".into());
                }
                None if due => return Err(Lost(lease.name.clone()).into()),
                Some(_) | None => {}
            }
            if let Some(position) = row.try_get("position")? {
                entries.push(journal::read(row, position)?);
            }
        }
        if !entries.is_empty() {
            crate::fail_point!("relay.in_take");
        }
        Ok(entries)
    }

    /// The fault of a cursor over a sequence: rows that commit late are behind it.
    #[cfg(mutants)]
    async fn last_seq(&self) -> Result<String, BoxError> {
        if !crate::planted!("feed_by_last_seq") {
            return Ok(String::new());
        }
        let schema = self.service;
        let last = self.last_seq.load(Ordering::Relaxed);
        let statement = format!(
            "select max(seq) from (select seq from {schema}.outbox where seq > {last} order by seq limit {TAKE_AT_MOST}) s"
        );
        let taken: Option<i64> = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(&self.database.workers).await?;
        let taken = taken.unwrap_or(last);
        self.last_seq.store(taken, Ordering::Relaxed);
        Ok(format!("where seq > {last} and seq <= {taken}"))
    }

    async fn beat(&self, lease: &Lease) {
        let beat = PositionResponse { incarnation: lease.incarnation.to_string(), head_position: *self.head.borrow() };
        if self.bus.connection_state() == State::Connected {
            // A lost heartbeat makes consumers read the feed; that is its purpose.
            let _ = self.bus.publish(bus::heartbeat_subject(self.service), beat.encode_to_vec().into()).await;
        }
    }

    async fn publish_for_ever(
        &self,
        lease: &Lease,
        mut batches: mpsc::Receiver<Vec<FeedEntry>>,
    ) -> Result<(), BoxError> {
        let stream = jetstream::ContextBuilder::new()
            .timeout(Duration::from_secs(5))
            .max_ack_inflight(2 * UNACKNOWLEDGED_AT_MOST)
            .build(self.bus.clone());
        let mut acknowledged = lease.position;
        let mut next = acknowledged + 1;
        let mut waiting = FuturesOrdered::new();
        let mut gather = tokio::time::interval(GATHER);
        gather.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.lag.note(acknowledged, (*self.head.borrow()).max(acknowledged));
            let room = waiting.len() < UNACKNOWLEDGED_AT_MOST && self.bus.connection_state() == State::Connected;
            tokio::select! {
                biased;
                _ = gather.tick() => {
                    if *self.head.borrow() >= next && batches.is_empty() && room {
                        for entry in feed::page(&self.database.workers, self.service, next - 1, 200).await? {
                            next = entry.position + 1;
                            waiting.push_back(self.publish(&stream, lease, &entry).await);
                        }
                    }
                    if self.saved.load(Ordering::Relaxed) != acknowledged {
                        crate::fail_point!("relay.after_publish");
                        self.save(lease, acknowledged).await?;
                    }
                }
                Some((position, acknowledgement)) = waiting.next(), if !waiting.is_empty() => match acknowledgement {
                    Ok(()) => acknowledged = position,
                    Err(error) => {
                        tracing::warn!(service = self.service, position, %error, "not acknowledged; publishing again from there");
                        waiting = FuturesOrdered::new();
                        next = acknowledged + 1;
                        clock::pause(POLL).await;
                    }
                },
                Some(batch) = batches.recv(), if room => {
                    if crate::planted!("relay_marks_before_publish")
                        && let Some(last) = batch.last()
                    {
                        self.save(lease, last.position).await?;
                    }
                    crate::fail_point!("relay.after_take");
                    for entry in batch {
                        if entry.position == next {
                            waiting.push_back(self.publish(&stream, lease, &entry).await);
                            next += 1;
                        }
                    }
                }
            }
        }
    }

    async fn publish(
        &self,
        stream: &jetstream::Context,
        lease: &Lease,
        entry: &FeedEntry,
    ) -> futures::future::BoxFuture<'static, (i64, Result<(), BoxError>)> {
        let position = entry.position;
        let subject = bus::subject(&entry.tenant, self.service, &entry.r#type);
        let mut headers = bus::headers(self.service, lease.incarnation, entry);
        let mut step =
            trace::child(self.service, Kind::Producer, &entry.trace_parent, || format!("publish {}", self.service));
        if let Some(carried) = step.trace_parent() {
            bus::describe(&mut step, "send", "publish", &subject, &entry.event_id);
            headers.insert("traceparent", carried.as_str());
        }
        let sent = stream.publish_with_headers(subject, headers, entry.body.clone()).await;
        metrics::get().relay_published(self.service, 1);
        async move {
            let acknowledgement = match sent {
                Ok(acknowledgement) => acknowledgement.await.map(|_| ()).map_err(BoxError::from),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = &acknowledgement {
                step.fail(error.to_string());
            }
            drop(step);
            (position, acknowledgement)
        }
        .boxed()
    }

    /// Without waiting for the disk: what is lost is published once more.
    async fn save(&self, lease: &Lease, position: i64) -> Result<(), BoxError> {
        let statement = format!(
            "with s as materialized (select set_config('synchronous_commit', 'off', true))
             update {}.lease set position = $1 where name = 'relay' and {} and position = $4 and exists (select from s)",
            self.service,
            lease::mine()
        );
        let done = sqlx::query(AssertSqlSafe(statement))
            .bind(position)
            .bind(&lease.holder)
            .bind(lease.epoch)
            .bind(self.saved.load(Ordering::Relaxed))
            .execute(&self.database.workers)
            .await?;
        if done.rows_affected() != 1 {
            // Taken by another, or set back because the stream lost something: either way, begin anew.
            return Err(Lost(lease.name.clone()).into());
        }
        self.saved.store(position, Ordering::Relaxed);
        Ok(())
    }
}

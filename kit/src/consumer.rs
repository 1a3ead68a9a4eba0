//! Following another service: each of its events applied once, in order, whatever NATS does.
//!
//! One active loop per (service, source), by lease. The lease row's position is cursor, dedup and
//! fence in one: it moves in the transaction of the effects. What arrives on NATS and is the next
//! is applied; a gap, a heartbeat ahead of us, or no heartbeat at all is answered by reading the
//! owner's `Feed`. An event that fails for its own sake goes to the dead letters after five tries.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{Client, Subscriber, connection::State};
use chrono::{DateTime, Utc};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use prost::{Message as _, bytes::Bytes};
use proto::common::v1::{FeedEntry, PositionResponse, SnapshotEntry};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::{
    bus, clock,
    db::{Database, Transaction, is_away, tenants_of},
    dead_letter,
    id::{Tenant, TenantId},
    lease::{Lease, Lost, RENEWAL},
    metrics,
    peer::Peers,
    problem::{BoxError, Problem, chain},
    service::Readiness,
};

const BATCH: usize = 200;
const PENDING_AT_MOST: usize = 2_000;
const TRIES: i32 = 5;
const PAGE: i32 = 500;
/// How long a heartbeat may be ahead of us before we read the feed.
const BEHIND: Duration = Duration::from_millis(100);
/// How long without a heartbeat before we read the feed regularly.
const SILENCE: Duration = Duration::from_millis(1_500);
const POLL: Duration = Duration::from_millis(200);

/// An event of another service.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// The service that said it.
    pub source: &'static str,
    /// Its place in that service's feed.
    pub position: i64,
    /// The tenant.
    pub tenant: Tenant,
    /// The record it happened to.
    pub record_id: Uuid,
    /// The revision it made.
    pub revision: i64,
    /// The event.
    pub event_id: Uuid,
    /// What happened, such as `opened`.
    pub kind: String,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The encoded event message.
    pub body: Bytes,
    /// W3C trace context.
    pub trace_parent: String,
}

impl Delivered {
    /// Reads a feed entry.
    ///
    /// # Errors
    /// Fails when an id or the time is none.
    pub fn read(source: &'static str, entry: FeedEntry) -> Result<Self, BoxError> {
        Ok(Self {
            source,
            position: entry.position,
            tenant: Tenant { id: TenantId::from_str(&entry.tenant_id)?, slug: entry.tenant },
            record_id: Uuid::from_str(&entry.record_id)?,
            revision: entry.revision,
            event_id: Uuid::from_str(&entry.event_id)?,
            kind: entry.r#type,
            at: entry.at.as_ref().and_then(bus::time).ok_or("the event has no time")?,
            body: entry.body,
            trace_parent: entry.trace_parent,
        })
    }
}

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something needed is away; wait and try again, it does not count.
    #[error("waiting: {0}")]
    Away(#[source] BoxError),
    /// The event itself is at fault; counted.
    #[error("{0}")]
    Event(#[source] BoxError),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        if is_away(&error) { Self::Away(error.into()) } else { Self::Event(error.into()) }
    }
}

impl From<prost::DecodeError> for Failure {
    fn from(error: prost::DecodeError) -> Self {
        Self::Event(error.into())
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        if matches!(problem, Problem::Unavailable(..) | Problem::Exhausted(_)) {
            Self::Away(problem.into())
        } else {
            Self::Event(problem.into())
        }
    }
}

/// What a service does with another's events.
pub trait Follower: Send + Sync + 'static {
    /// Before the transaction: asks owners for what the read models lack, and keeps the answers.
    fn prepare<'a>(&'a self, event: &'a Delivered) -> BoxFuture<'a, Result<(), Failure>> {
        let _ = event;
        Box::pin(async { Ok(()) })
    }

    /// Applies one event in the transaction that moves the position. A type it does not know is a
    /// plain change of the record.
    fn apply<'a>(&'a self, tx: &'a mut Transaction, event: &'a Delivered) -> BoxFuture<'a, Result<(), Failure>>;

    /// Takes a record of the source into the read model, where its revision is newer; at the first
    /// start and at a rebuild. A service without a read model of the source does nothing.
    fn snapshot<'a>(
        &'a self,
        tx: &'a mut Transaction,
        tenant: &'a Tenant,
        entry: &'a SnapshotEntry,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        let _ = (tx, tenant, entry);
        Box::pin(async { Ok(()) })
    }

    /// After a commit: wake who waits.
    fn applied(&self);
}

/// Follows one source.
pub struct Consumer {
    service: &'static str,
    source: &'static str,
    name: String,
    holder: String,
    database: Database,
    bus: Client,
    peers: Peers,
    readiness: Readiness,
    follower: Arc<dyn Follower>,
}

impl Consumer {
    /// Prepares to follow `source`.
    #[must_use]
    pub fn new(
        database: Database,
        source: &'static str,
        holder: String,
        bus: Client,
        peers: Peers,
        readiness: Readiness,
        follower: Arc<dyn Follower>,
    ) -> Self {
        let service = database.schema;
        let name = format!("consumer:{source}");
        readiness.waits_for(service, &name, "starting");
        Self { service, source, name, holder, database, bus, peers, readiness, follower }
    }

    /// Works for ever; whoever drops it stops it.
    pub async fn run(&self) {
        loop {
            if let Err(error) = self.hold().await {
                let reason = chain(error.as_ref());
                tracing::warn!(service = self.service, source = self.source, reason, "consumer pauses");
                self.readiness.waits_for(self.service, &self.name, &reason);
            }
            clock::pause(POLL).await;
        }
    }

    async fn hold(&self) -> Result<(), BoxError> {
        let mut lease = loop {
            if let Some(lease) =
                Lease::try_acquire(&self.database.workers, self.service, &self.name, &self.holder).await?
            {
                break lease;
            }
            // Another replica follows; this one is ready to take over.
            self.readiness.ready(self.service, &self.name);
            clock::pause(RENEWAL).await;
        };
        if !lease.bootstrapped {
            self.readiness.waits_for(self.service, &self.name, "filling the read model");
            self.bootstrap(&mut lease).await?;
        }
        self.readiness.ready(self.service, &self.name);
        Follow {
            consumer: self,
            position: lease.position,
            lease,
            pending: BTreeMap::new(),
            head: 0,
            heard: None,
            gap_since: None,
        }
        .run()
        .await
    }

    /// Lets go of the lease, at a clean stop.
    pub async fn release(&self) {
        if let Ok(Some(lease)) =
            Lease::try_acquire(&self.database.workers, self.service, &self.name, &self.holder).await
        {
            lease.release(&self.database.workers).await;
        }
    }

    /// Stores the owner's position once, then fills the read model; after a crash the filling
    /// begins again and the position stays.
    async fn bootstrap(&self, lease: &mut Lease) -> Result<(), BoxError> {
        if lease.position == 0 {
            let owner = self.peers.position(self.source).await?;
            let statement = format!(
                "update {}.lease set position = $1, incarnation = $2 where name = $3 and holder = $4 and epoch = $5",
                self.service
            );
            let incarnation = Uuid::from_str(&owner.incarnation)?;
            sqlx::query(AssertSqlSafe(statement))
                .bind(owner.head_position)
                .bind(incarnation)
                .bind(&lease.name)
                .bind(&lease.holder)
                .bind(lease.epoch)
                .execute(&self.database.workers)
                .await?;
            lease.position = owner.head_position;
            lease.incarnation = incarnation;
        }
        self.fill(lease).await?;
        let statement = format!(
            "update {}.lease set bootstrapped = true where name = $1 and holder = $2 and epoch = $3",
            self.service
        );
        sqlx::query(AssertSqlSafe(statement))
            .bind(&lease.name)
            .bind(&lease.holder)
            .bind(lease.epoch)
            .execute(&self.database.workers)
            .await?;
        lease.bootstrapped = true;
        Ok(())
    }

    /// Pages the owner's records into the read model; touches no position.
    async fn fill(&self, lease: &Lease) -> Result<(), BoxError> {
        let mut tenants = Vec::new();
        let mut page_token = String::new();
        loop {
            let page = self.peers.snapshot(self.source, None, page_token).await?;
            for entry in page.entries {
                tenants.push(Tenant { id: TenantId::from_str(&entry.tenant_id)?, slug: entry.tenant });
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        for tenant in tenants {
            let mut page_token = String::new();
            loop {
                let page = self.peers.snapshot(self.source, Some(tenant.id), page_token).await?;
                let mut tx = self.database.begin_worker([tenant.id]).await?;
                if !lease.hold(&mut tx).await? {
                    return Err(Lost(lease.name.clone()).into());
                }
                for entry in &page.entries {
                    self.follower.snapshot(&mut tx, &tenant, entry).await?;
                }
                tx.commit().await?;
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// A held lease, being worked.
struct Follow<'a> {
    consumer: &'a Consumer,
    lease: Lease,
    position: i64,
    pending: BTreeMap<i64, Delivered>,
    head: i64,
    heard: Option<Instant>,
    gap_since: Option<Instant>,
}

impl Follow<'_> {
    async fn run(mut self) -> Result<(), BoxError> {
        let this = self.consumer;
        let mut events = this.bus.subscribe(format!("itsm.*.{}.>", this.source)).await?;
        let mut beats = this.bus.subscribe(bus::heartbeat_subject(this.source)).await?;
        let mut renewed = Instant::now();
        self.catch_up().await?;
        loop {
            let before = self.position;
            self.apply_pending().await?;
            if self.position != before {
                // Behind, but coming along: no reason to ask the owner.
                self.gap_since = None;
            }
            metrics::get().consumer_lag(
                this.service,
                this.source,
                u64::try_from(self.head - self.position).unwrap_or(0),
            );
            let behind = self.head > self.position || !self.pending.is_empty();
            self.gap_since = behind.then(|| self.gap_since.unwrap_or_else(Instant::now));
            let silent = self.heard.is_none_or(|at| at.elapsed() > SILENCE);
            let overdue = self.gap_since.is_some_and(|since| since.elapsed() >= BEHIND);
            if overdue || silent {
                self.catch_up().await?;
            }
            if renewed.elapsed() >= RENEWAL {
                self.renew().await?;
                self.replay().await?;
                renewed = Instant::now();
            }
            let patience = if behind {
                BEHIND
            } else if silent {
                POLL
            } else {
                RENEWAL
            };
            tokio::select! {
                biased;
                message = events.next() => self.receive(&message.ok_or("NATS closed the subscription")?, &mut events),
                beat = beats.next() => self.hear(&beat.ok_or("NATS closed the subscription")?)?,
                () = clock::pause(patience) => {}
            }
        }
    }

    /// Takes a message and whatever else is already there.
    fn receive(&mut self, first: &async_nats::Message, events: &mut Subscriber) {
        self.take(first);
        while self.pending.len() < BATCH {
            match events.next().now_or_never() {
                Some(Some(message)) => self.take(&message),
                _ => break,
            }
        }
    }

    fn take(&mut self, message: &async_nats::Message) {
        let this = self.consumer;
        let dropped = |reason: &'static str| metrics::get().consumer_dropped(this.service, this.source, reason);
        let Some((incarnation, entry)) = bus::entry(this.source, message) else {
            tracing::warn!(service = this.service, source = this.source, subject = %message.subject, "a message that is no event was dropped");
            return dropped("envelope");
        };
        if incarnation != self.lease.incarnation {
            return dropped("incarnation");
        }
        if entry.position <= self.position {
            return dropped("repeat");
        }
        if self.pending.len() >= PENDING_AT_MOST {
            return dropped("full");
        }
        self.head = self.head.max(entry.position);
        match Delivered::read(this.source, entry) {
            Ok(event) => {
                self.pending.insert(event.position, event);
            }
            Err(_) => dropped("envelope"),
        }
    }

    fn hear(&mut self, message: &async_nats::Message) -> Result<(), BoxError> {
        let Ok(beat) = PositionResponse::decode(message.payload.clone()) else {
            metrics::get().consumer_dropped(self.consumer.service, self.consumer.source, "heartbeat");
            return Ok(());
        };
        self.check(&beat.incarnation, beat.head_position, 0)?;
        self.head = self.head.max(beat.head_position);
        self.heard = Some(Instant::now());
        Ok(())
    }

    /// Whether the source is still the one that was followed.
    fn check(&self, incarnation: &str, head: i64, first: i64) -> Result<(), BoxError> {
        let source = self.consumer.source;
        if incarnation != self.lease.incarnation.to_string() || head < self.position {
            return Err(format!(
                "{source} was restored to an earlier state; run `itsm read-model rebuild --adopt {source}`"
            )
            .into());
        }
        if first > self.position + 1 {
            return Err(format!(
                "{source} no longer keeps what was not read; run `itsm read-model rebuild --adopt {source}`"
            )
            .into());
        }
        Ok(())
    }

    async fn apply_pending(&mut self) -> Result<(), BoxError> {
        loop {
            self.pending = self.pending.split_off(&(self.position + 1));
            let mut batch = Vec::new();
            while batch.len() < BATCH {
                let next = self.position + 1 + i64::try_from(batch.len())?;
                match self.pending.remove(&next) {
                    Some(event) => batch.push(event),
                    None => break,
                }
            }
            if batch.is_empty() {
                return Ok(());
            }
            self.apply(batch, false).await?;
        }
    }

    /// Reads the owner's feed until there is no more.
    async fn catch_up(&mut self) -> Result<(), BoxError> {
        let this = self.consumer;
        loop {
            let page = match this.peers.feed(this.source, self.position, PAGE).await {
                Ok(page) => page,
                Err(status)
                    if this.bus.connection_state() == State::Connected
                        && self.heard.is_some_and(|at| at.elapsed() < SILENCE)
                        && self.head <= self.position =>
                {
                    // The owner's gRPC is away, yet NATS says that nothing is missing.
                    tracing::debug!(source = this.source, %status, "feed not reachable");
                    return Ok(());
                }
                Err(status) => return Err(status.into()),
            };
            self.check(&page.incarnation, page.head_position, page.first_position)?;
            self.head = self.head.max(page.head_position);
            if page.entries.is_empty() {
                self.gap_since = None;
                return Ok(());
            }
            let mut batch = Vec::new();
            for entry in page.entries {
                if entry.position != self.position + 1 + i64::try_from(batch.len())? {
                    return Err(format!("{}'s feed has a hole at {}", this.source, entry.position).into());
                }
                batch.push(Delivered::read(this.source, entry)?);
                if batch.len() == BATCH {
                    self.apply(std::mem::take(&mut batch), true).await?;
                }
            }
            if !batch.is_empty() {
                self.apply(batch, true).await?;
            }
            self.renew().await?;
        }
    }

    async fn renew(&self) -> Result<(), BoxError> {
        if self.lease.renew(&self.consumer.database.workers).await? {
            return Ok(());
        }
        Err("somebody asked to fill the read model again".into())
    }

    /// Applies what a person asked to apply again, in order; what fails is set aside once more, and
    /// with it what stands behind it.
    async fn replay(&self) -> Result<(), BoxError> {
        let this = self.consumer;
        let mut refused = Vec::new();
        for (entry, at) in dead_letter::asked(&this.database.workers, this.service, this.source).await? {
            let event = Delivered::read(this.source, entry)?;
            if refused.contains(&event.record_id) {
                continue;
            }
            let mut tx = this.database.begin_worker([event.tenant.id]).await?;
            if !self.lease.hold(&mut tx).await? {
                return Err(Lost(self.lease.name.clone()).into());
            }
            let applied = async {
                guard(this.follower.prepare(&event)).await?;
                guard(this.follower.apply(&mut tx, &event)).await
            };
            match applied.await {
                Ok(()) => {
                    dead_letter::remove(&mut tx, this.service, this.source, at).await?;
                    tx.commit().await?;
                    this.follower.applied();
                    tracing::info!(service = this.service, source = this.source, position = at, "event applied again");
                }
                Err(Failure::Away(error)) => return Err(error),
                Err(Failure::Event(error)) => {
                    drop(tx);
                    refused.push(event.record_id);
                    dead_letter::refuse(
                        &this.database.workers,
                        this.service,
                        this.source,
                        event.record_id,
                        &chain(error.as_ref()),
                    )
                    .await?;
                }
            }
        }
        Ok(())
    }

    /// Applies a batch in one transaction; taken apart, one transaction an event, when it fails.
    async fn apply(&mut self, batch: Vec<Delivered>, from_feed: bool) -> Result<(), BoxError> {
        let Err(failure) = self.try_batch(&batch).await else {
            return Ok(());
        };
        if let Failure::Away(error) = failure {
            return Err(error);
        }
        for event in batch {
            if let Err(failure) = self.try_batch(std::slice::from_ref(&event)).await {
                match failure {
                    Failure::Away(error) => return Err(error),
                    Failure::Event(error) => self.insist(event, from_feed, error).await?,
                }
            }
        }
        Ok(())
    }

    async fn try_batch(&mut self, batch: &[Delivered]) -> Result<(), Failure> {
        let this = self.consumer;
        let to = batch.last().map_or(self.position, |event| event.position);
        for event in batch {
            guard(this.follower.prepare(event)).await?;
        }
        let mut tx = this.database.begin_worker(tenants_of(batch.iter().map(|event| &event.tenant))).await?;
        if !self.lease.advance(&mut tx, self.position, to).await? {
            return Err(Failure::Away(Lost(self.lease.name.clone()).into()));
        }
        let records: Vec<Uuid> = batch.iter().map(|event| event.record_id).collect();
        let parked = dead_letter::parked(&mut tx, this.service, this.source, &records).await?;
        for event in batch {
            if parked.contains(&event.record_id) {
                dead_letter::file(&mut tx, this.service, event, "an earlier event of this record is set aside").await?;
            } else {
                guard(this.follower.apply(&mut tx, event)).await?;
            }
        }
        tx.commit().await?;
        self.position = to;
        this.follower.applied();
        metrics::get().consumer_applied(this.service, this.source, u64::try_from(batch.len()).unwrap_or(0));
        Ok(())
    }

    /// Tries an event that failed by itself, counted, each count committed before its try; sets it
    /// aside after the last.
    async fn insist(&mut self, event: Delivered, from_feed: bool, mut error: BoxError) -> Result<(), BoxError> {
        let this = self.consumer;
        let event = if from_feed { event } else { self.read_again(event.position).await? };
        let count = format!(
            "insert into {0}.attempt as a (source, position, tries, last_error, at) values ($1, $2, 1, $3, clock_timestamp())
             on conflict (source, position) do update set tries = a.tries + 1, last_error = $3, at = clock_timestamp() returning tries",
            this.service
        );
        loop {
            let reason = chain(error.as_ref());
            let tries: i32 = sqlx::query_scalar(AssertSqlSafe(count.as_str()))
                .bind(this.source)
                .bind(event.position)
                .bind(&reason)
                .fetch_one(&this.database.workers)
                .await?;
            if tries > TRIES {
                return self.set_aside(&event, &reason).await;
            }
            clock::pause(Duration::from_millis(50) * u32::try_from(tries).unwrap_or(1)).await;
            match self.try_batch(std::slice::from_ref(&event)).await {
                Ok(()) => return Ok(()),
                Err(Failure::Away(error)) => return Err(error),
                Err(Failure::Event(again)) => error = again,
            }
        }
    }

    async fn read_again(&self, position: i64) -> Result<Delivered, BoxError> {
        let this = self.consumer;
        let page = this.peers.feed(this.source, position - 1, 1).await?;
        let entry = page.entries.into_iter().next().filter(|entry| entry.position == position);
        Delivered::read(this.source, entry.ok_or_else(|| format!("{}'s feed has no position {position}", this.source))?)
    }

    async fn set_aside(&mut self, event: &Delivered, reason: &str) -> Result<(), BoxError> {
        let this = self.consumer;
        let mut tx = this.database.begin_worker([event.tenant.id]).await?;
        if !self.lease.advance(&mut tx, self.position, event.position).await? {
            return Err(Lost(self.lease.name.clone()).into());
        }
        dead_letter::file(&mut tx, this.service, event, reason).await?;
        tx.commit().await?;
        self.position = event.position;
        tracing::error!(service = this.service, source = this.source, position = event.position, event_id = %event.event_id, reason, "event set aside");
        let set_aside = dead_letter::count(&this.database.workers, this.service).await?;
        metrics::get().dead_letters(this.service, u64::try_from(set_aside).unwrap_or(0));
        Ok(())
    }
}

/// A panic in a follower is the event's fault.
async fn guard(work: BoxFuture<'_, Result<(), Failure>>) -> Result<(), Failure> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| Err(Failure::Event("panicked".into())))
}

//! A held lease, being worked: what arrives is applied in order, what is missing is fetched, what
//! cannot be applied is counted and set aside.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use async_nats::{Subscriber, connection::State};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use prost::Message as _;
use proto::common::v1::PositionResponse;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{Consumer, Delivered, Failure};
use crate::{
    bus, clock,
    db::tenants_of,
    dead_letter,
    lease::{Lease, Lost, RENEWAL},
    metrics,
    problem::{BoxError, chain},
    trace::{self, Kind},
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

/// A held lease, being worked.
pub(super) struct Follow<'a> {
    consumer: &'a Consumer,
    lease: Lease,
    position: i64,
    pending: BTreeMap<i64, Delivered>,
    head: i64,
    heard: Option<Instant>,
    gap_since: Option<Instant>,
    /// Whether its position was compared with a heartbeat or the feed since its last sign of life.
    compared: bool,
}

impl<'a> Follow<'a> {
    /// Begins where the lease says.
    pub(super) fn new(consumer: &'a Consumer, lease: Lease) -> Self {
        Self {
            consumer,
            position: lease.position,
            lease,
            pending: BTreeMap::new(),
            head: 0,
            heard: None,
            gap_since: None,
            compared: false,
        }
    }

    /// Works until something must be judged anew.
    pub(super) async fn run(mut self) -> Result<(), BoxError> {
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
            this.lag.note(self.position, self.head.max(self.position));
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
                beat = beats.next() => self.hear(&beat.ok_or("NATS closed the subscription")?),
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
        if entry.position <= self.position && !crate::planted!("no_position_check") {
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

    fn hear(&mut self, message: &async_nats::Message) {
        let Ok(beat) = PositionResponse::decode(message.payload.clone()) else {
            metrics::get().consumer_dropped(self.consumer.service, self.consumer.source, "heartbeat");
            return;
        };
        if beat.incarnation != self.lease.incarnation.to_string() || beat.head_position < self.position {
            // Older than events that overtook it on the way, or the owner was restored: only a
            // fresh answer of the owner can tell, so ask for one.
            self.heard = None;
            return;
        }
        self.head = self.head.max(beat.head_position);
        self.heard = Some(Instant::now());
        self.compared = true;
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
            if !crate::planted!("no_position_check") {
                self.pending = self.pending.split_off(&(self.position + 1));
            }
            let mut batch = Vec::new();
            if crate::planted!("no_position_check" | "gap_ignored")
                && let Some((_, event)) = self.pending.pop_first()
            {
                self.apply(vec![event], false).await?;
                continue;
            }
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
            self.compared = true;
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

    /// Alive is who holds the lease, and knows how far it is from the end.
    async fn renew(&mut self) -> Result<(), BoxError> {
        if !self.lease.renew(&self.consumer.database.workers).await? {
            return Err("somebody asked to fill the read model again".into());
        }
        if std::mem::take(&mut self.compared) {
            self.consumer.pulse.beat();
        }
        Ok(())
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
                let one = std::slice::from_ref(&event);
                guard(this.follower.prepare(one)).await?;
                guard(this.follower.load(&mut tx, one)).await?;
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
        let traces = batch.iter().map(|event| event.trace_parent.as_str());
        let mut whole =
            trace::joined(this.service, Kind::Consumer, traces, || format!("process batch {}", this.source));
        whole.set("messaging.batch.message_count", i64::try_from(batch.len()).unwrap_or(i64::MAX));
        let prepared = guard(this.follower.prepare(batch));
        if whole.is_some() {
            trace::within(&whole, prepared).await?;
        } else {
            trace::under(batch.first().map_or("", |event| &event.trace_parent), prepared).await?;
        }
        let mut tx = this.database.begin_worker(tenants_of(batch.iter().map(|event| &event.tenant))).await?;
        let Some(some_aside) = self.lease.advance(&mut tx, self.position, to).await? else {
            return Err(Failure::Away(Lost(self.lease.name.clone()).into()));
        };
        if crate::planted!("position_in_own_transaction") {
            tx.commit().await?;
            tx = this.database.begin_worker(tenants_of(batch.iter().map(|event| &event.tenant))).await?;
        }
        let mut parked = Vec::new();
        if some_aside {
            let records: Vec<Uuid> = batch.iter().map(|event| event.record_id).collect();
            parked = dead_letter::parked(&mut tx, this.service, this.source, &records).await?;
        }
        guard(this.follower.load(&mut tx, batch)).await?;
        for event in batch {
            if parked.contains(&event.record_id) {
                dead_letter::file(&mut tx, this.service, event, "an earlier event of this record is set aside").await?;
            } else {
                let (mut step, event) = event.step(this.service, &whole);
                let applied = trace::within(&step, guard(this.follower.apply(&mut tx, &event))).await;
                if let Err(failure) = &applied {
                    step.fail(failure.to_string());
                }
                applied?;
            }
        }
        crate::fail_point!("consumer.before_commit");
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
        if self.lease.advance(&mut tx, self.position, event.position).await?.is_none() {
            return Err(Lost(self.lease.name.clone()).into());
        }
        dead_letter::file(&mut tx, this.service, event, reason).await?;
        tx.commit().await?;
        self.position = event.position;
        tracing::error!(service = this.service, source = this.source, position = event.position, event_id = %event.event_id, tenant = event.tenant.slug, record_id = %event.record_id, trace_id = trace::id(&event.trace_parent), reason, "event set aside");
        Ok(())
    }
}

/// A panic in a follower is the event's fault.
async fn guard(work: BoxFuture<'_, Result<(), Failure>>) -> Result<(), Failure> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| Err(Failure::Event("panicked".into())))
}

//! Following another service: each of its events applied once, in order, whatever NATS does.
//!
//! One active loop per (service, source), by lease. The lease row's position is cursor, dedup and
//! fence in one: it moves in the transaction of the effects. What arrives on NATS and is the next
//! is applied; a gap, a heartbeat ahead of us, or no heartbeat at all is answered by reading the
//! owner's `Feed`. An event that fails for its own sake goes to the dead letters after five tries.

mod follow;

use std::{borrow::Cow, str::FromStr, sync::Arc, time::Duration};

use async_nats::Client;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use prost::bytes::Bytes;
use proto::common::v1::{FeedEntry, SnapshotEntry};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use self::follow::Follow;
use crate::{
    bus, clock,
    db::{Database, Transaction, is_away},
    id::{Tenant, TenantId},
    lease::{Lease, Lost, RENEWAL},
    peer::Peers,
    problem::{BoxError, Problem, chain},
    service::Readiness,
    trace::{self, Kind, Span},
    vital::{Lag, Pulse},
};

/// How long a consumer that failed pauses.
const PAUSE: Duration = Duration::from_millis(200);

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

impl Delivered {
    /// Its processing at `service` as a step of its trace, part of a batch, and the event as what
    /// comes of it shall see it.
    fn step(&self, service: &'static str, batch: &Span) -> (Span, Cow<'_, Self>) {
        let name = || format!("process {}.{}", self.source, self.kind);
        let mut step = trace::child(service, Kind::Consumer, &self.trace_parent, name);
        let Some(trace_parent) = step.trace_parent() else { return (step, Cow::Borrowed(self)) };
        step.link(batch);
        let subject = bus::subject(&self.tenant.slug, self.source, &self.kind);
        bus::describe(&mut step, "process", "process", &subject, &self.event_id.to_string());
        (step, Cow::Owned(Self { trace_parent, ..self.clone() }))
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
    /// Before the transaction of a batch: asks owners for what the read models lack, and keeps the
    /// answers.
    fn prepare<'a>(&'a self, events: &'a [Delivered]) -> BoxFuture<'a, Result<(), Failure>> {
        let _ = events;
        Box::pin(async { Ok(()) })
    }

    /// Reads what the events of a batch need, at once, into the transaction's memo.
    fn load<'a>(&'a self, tx: &'a mut Transaction, events: &'a [Delivered]) -> BoxFuture<'a, Result<(), Failure>> {
        let _ = (tx, events);
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
    pulse: Arc<Pulse>,
    lag: Arc<Lag>,
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
        let (pulse, lag) = (Pulse::new(service, name.clone()), Lag::new(service, source));
        readiness.watch(&pulse);
        Self { service, source, name, holder, database, bus, peers, readiness, follower, pulse, lag }
    }

    /// Works for ever; whoever drops it stops it.
    pub async fn run(&self) {
        loop {
            let ended = self.hold().await;
            self.lag.rest();
            if let Err(error) = ended {
                let reason = chain(error.as_ref());
                tracing::warn!(service = self.service, source = self.source, reason, "consumer pauses");
                self.readiness.waits_for(self.service, &self.name, &reason);
            }
            clock::pause(PAUSE).await;
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
            self.pulse.beat();
            self.readiness.ready(self.service, &self.name);
            clock::pause(RENEWAL).await;
        };
        if !lease.bootstrapped {
            self.readiness.waits_for(self.service, &self.name, "filling the read model");
            self.bootstrap(&mut lease).await?;
        }
        self.readiness.ready(self.service, &self.name);
        Follow::new(self, lease).run().await
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

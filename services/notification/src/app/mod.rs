//! The use cases: load, decide, commit. The one path for calls ([`commands`], [`ways`]), events of
//! other services ([`by_event`]) and due timers ([`by_timer`]); [`sending`] carries out what is due.

pub mod by_event;
pub mod by_timer;
pub mod commands;
pub mod defaults;
pub mod knowledge;
pub mod matching;
pub mod sending;
pub mod ways;

use std::sync::Arc;

use kit::{
    caller::{Call, Person},
    clock::Clock,
    db::{Database, Transaction, uncancelled},
    decide::Decision,
    filter::Expression,
    id::TenantId,
    journal::{self, Cause},
    peer::Peers,
    problem::{BoxError, Problem},
    relay::{Relay, Wake},
    request::{self, Done},
    service::{Context, Tasks},
    watch,
};
use proto::common::v1::FeedEntry;
use tokio::sync::Notify;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use crate::{
    config::Settings,
    domain::Refusal,
    seal::Sealer,
    send::{
        address::{AllowList, system_lookup},
        mail::Mailer,
        webhook::Poster,
    },
    store::{self, SCHEMA, Stored, attempts, snapshots},
};

/// Why a use case did nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule of the domain.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Anything else.
    #[error(transparent)]
    Problem(#[from] Problem),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Problem(error.into())
    }
}

/// Which record a command is about.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The record.
    pub id: Uuid,
    /// The revision that it must have, if the caller cares.
    pub revision: Option<i64>,
}

/// The notification service.
#[derive(Clone)]
pub struct App {
    pub(crate) database: Database,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) peers: Peers,
    pub(crate) tasks: Tasks,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) poster: Poster,
    pub(crate) mailer: Mailer,
    pub(crate) outbound: Arc<sending::Outbound>,
    pub(crate) caught_up: Arc<knowledge::CaughtUp>,
    asked_for: Arc<knowledge::AskedFor>,
    relay: Wake,
    head: tokio::sync::watch::Receiver<i64>,
    timers: Arc<Notify>,
}

impl App {
    /// Puts the use cases together.
    ///
    /// # Errors
    /// Fails for settings that cannot be used.
    pub fn new(context: &Context, settings: &Settings, relay: &Relay, timers: Arc<Notify>) -> Result<Self, BoxError> {
        let allow = AllowList::read(&settings.webhook_allow)?;
        Ok(Self {
            database: context.database.clone(),
            clock: Arc::clone(&context.clock),
            peers: context.peers.clone(),
            tasks: context.tasks.clone(),
            sealer: Arc::new(Sealer::new(settings.secret_key.expose())?),
            poster: Poster::new(allow, system_lookup())?,
            mailer: Mailer::new(settings)?,
            outbound: Arc::default(),
            caught_up: Arc::default(),
            asked_for: Arc::default(),
            relay: relay.wake(),
            head: relay.head(),
            timers,
        })
    }

    /// Wakes who waits for what was committed.
    pub fn committed(&self) {
        self.relay.wake();
        self.timers.notify_one();
    }

    /// One command on one record: loads it, checks who and which revision, lets the domain decide,
    /// commits. The same request again gets the first answer.
    async fn command<R: Stored>(
        &self,
        call: Call,
        target: Target,
        permit: fn(&Person, &R) -> Result<(), Problem>,
        decide: impl FnOnce(&R, chrono::DateTime<chrono::Utc>) -> Result<Decision<R, R::What>, Refusal> + Send + 'static,
    ) -> Result<Done<R>, Error> {
        let app = self.clone();
        uncancelled(async move {
            let now = app.clock.now();
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let record: R = app.load(&mut tx, &call, target, permit).await?;
                let decision = decide(&record, now)?;
                Ok(Done::Now(store::commit(&mut tx, decision, &Cause::call(&call, now)).await?))
            }
            .await;
            let done = tx.end::<_, Error>(outcome).await?;
            app.committed();
            Ok(done)
        })
        .await
    }

    /// Loads a record for a change by a caller.
    async fn load<R: Stored>(
        &self,
        tx: &mut Transaction,
        call: &Call,
        target: Target,
        permit: fn(&Person, &R) -> Result<(), Problem>,
    ) -> Result<R, Error> {
        let found = R::find_for_update(tx, target.id).await?;
        let record = found.ok_or_else(|| Problem::not_found(R::KIND, target.id))?;
        permit(&call.person, &record)?;
        let (_, current) = record.place();
        match target.revision {
            Some(given) if given != current => Err(Problem::Stale { current, given }.into()),
            _ => Ok(record),
        }
    }

    /// Returns a record.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn get<R: Stored>(&self, tenant: TenantId, id: Uuid) -> Result<R, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let found = R::find(&mut tx, id).await?;
        tx.commit().await?;
        Ok(found.ok_or_else(|| Problem::not_found(R::KIND, id))?)
    }

    /// The tries of a delivery.
    ///
    /// # Errors
    /// Fails when the database is away.
    pub async fn attempts(
        &self,
        tenant: TenantId,
        delivery: crate::domain::DeliveryId,
    ) -> Result<Vec<attempts::Attempt>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let attempts = attempts::list(&mut tx, delivery).await?;
        tx.commit().await?;
        Ok(attempts)
    }

    /// Lists records, newest first.
    ///
    /// # Errors
    /// An invalid filter, or the database is away.
    pub async fn list<R: Stored>(
        &self,
        tenant: TenantId,
        filter: Option<Expression>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<R>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let records = R::list(&mut tx, filter.as_ref(), after, limit).await;
        Ok(tx.end(records).await?)
    }

    /// The history of a record, oldest first.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn history<R: Stored>(
        &self,
        tenant: TenantId,
        id: Uuid,
        after_revision: i64,
        limit: i64,
    ) -> Result<Vec<FeedEntry>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let outcome = async {
            R::find(&mut tx, id).await?.ok_or_else(|| Problem::not_found(R::KIND, id))?;
            Ok(journal::history(&mut tx, SCHEMA, id, after_revision, limit).await?)
        }
        .await;
        tx.end(outcome).await
    }

    /// Every event of the tenant, from somewhere on.
    ///
    /// # Errors
    /// An expired cursor, or the database is away.
    pub async fn watch(
        &self,
        tenant: TenantId,
        from: watch::From,
    ) -> Result<ReceiverStream<Result<watch::Watched, Problem>>, Error> {
        Ok(watch::open(self.database.clone(), tenant, from, self.head.clone(), self.tasks.stopping()).await?)
    }

    /// A page of a tenant's records of every kind, for the other services.
    ///
    /// # Errors
    /// Fails when the database is away.
    pub async fn snapshot(
        &self,
        tenant: TenantId,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<snapshots::AnyRecord>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let records = snapshots::page(&mut tx, tenant, after, limit).await?;
        tx.commit().await?;
        Ok(records)
    }

    /// One record of any kind, for the other services.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn lookup(&self, tenant: TenantId, id: Uuid) -> Result<snapshots::AnyRecord, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let found = snapshots::find(&mut tx, id).await?;
        tx.commit().await?;
        Ok(found.ok_or_else(|| Problem::not_found("record", id))?)
    }
}

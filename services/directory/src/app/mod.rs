//! The use cases: load, decide, commit. A module per noun; [`sign_in`] says who a key belongs to,
//! [`provision`] makes the first tenant, [`credential`] is the text of a key.

pub mod api_keys;
pub mod credential;
pub mod memberships;
pub mod people;
pub mod provision;
pub mod sign_in;
pub mod teams;
pub mod tenants;

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use kit::{
    caller::{Call, Person as Caller},
    clock::Clock,
    db::{Database, Transaction, uncancelled},
    filter::Expression,
    id::TenantId,
    journal::{self, Cause},
    problem::Problem,
    relay::{Relay, Wake},
    request::{self, Done},
    service::{Context, Tasks},
    token::Signer,
    watch,
};
use proto::common::v1::FeedEntry;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use crate::{
    config::Settings,
    domain::Refusal,
    store::{
        Listed, SCHEMA, Stored,
        snapshot::{self, AnyRecord},
        tenants as tenant_rows,
    },
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

/// The outcome of a command.
pub type Answer<R> = Result<Done<R>, Error>;

/// Which record a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<I> {
    /// The record.
    pub id: I,
    /// The revision that it must have, if the caller cares.
    pub revision: Option<i64>,
}

impl<I: Copy + Into<Uuid> + fmt::Display> Target<I> {
    /// Demands that the record was found, with the revision that the caller knows.
    fn check<R: Stored>(&self, found: Option<R>) -> Result<R, Problem> {
        let record = found.ok_or_else(|| Problem::not_found(R::KIND, self.id))?;
        match self.revision {
            Some(given) if given != record.revision() => Err(Problem::Stale { current: record.revision(), given }),
            _ => Ok(record),
        }
    }

    /// Loads the record for a change.
    async fn load<R: Stored>(&self, tx: &mut Transaction) -> Result<R, Problem> {
        let found = R::find_for_update(tx, self.id.into()).await?;
        self.check(found)
    }
}

/// A command under way: one transaction of one call at one instant.
struct Work {
    tx: Transaction,
    call: Call,
    cause: Cause,
    now: DateTime<Utc>,
    settings: Settings,
}

/// The directory service.
#[derive(Clone)]
pub struct App {
    pub(crate) database: Database,
    clock: Arc<dyn Clock>,
    settings: Settings,
    signer: Arc<Signer>,
    tasks: Tasks,
    relay: Wake,
    head: tokio::sync::watch::Receiver<i64>,
}

impl App {
    /// Puts the use cases together.
    #[must_use]
    pub fn new(context: &Context, settings: Settings, signer: Signer, relay: &Relay) -> Self {
        Self {
            database: context.database.clone(),
            clock: Arc::clone(&context.clock),
            settings,
            signer: Arc::new(signer),
            tasks: context.tasks.clone(),
            relay: relay.wake(),
            head: relay.head(),
        }
    }

    /// One command: the same request again gets the first answer, otherwise the work is done and
    /// committed.
    async fn command<R, W>(&self, call: Call, work: W) -> Answer<R>
    where
        R: Send + 'static,
        W: for<'a> FnOnce(&'a mut Work) -> BoxFuture<'a, Result<R, Error>> + Send + 'static,
    {
        let app = self.clone();
        uncancelled(async move {
            let now = app.clock.now();
            let mut tx = app.database.begin(call.tenant().id).await?;
            if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                tx.rollback().await?;
                return Ok(Done::Before(kept));
            }
            let cause = Cause::call(&call, now);
            let mut state = Work { tx, call, cause, now, settings: app.settings.clone() };
            match work(&mut state).await {
                Ok(record) => {
                    state.tx.commit().await?;
                    app.relay.wake();
                    Ok(Done::Now(record))
                }
                Err(error) => {
                    // Rolled back rather than dropped: a refusal must not cost the connection. When
                    // the database is the reason, the first error tells more than the second.
                    let _ = state.tx.rollback().await;
                    Err(error)
                }
            }
        })
        .await
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

    /// Lists records, newest first.
    ///
    /// # Errors
    /// An invalid filter, or the database is away.
    pub async fn list<R: Listed>(
        &self,
        tenant: TenantId,
        filter: Option<Expression>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<R>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let records = R::list(&mut tx, filter.as_ref(), after, limit).await?;
        tx.commit().await?;
        Ok(records)
    }

    /// The history of a record that the caller may see, oldest first.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn history<R: Stored>(
        &self,
        caller: &Caller,
        id: Uuid,
        after_revision: i64,
        limit: i64,
        visible: fn(&R, &Caller) -> bool,
    ) -> Result<Vec<FeedEntry>, Error> {
        let mut tx = self.database.begin(caller.tenant.id).await?;
        let found = R::find(&mut tx, id).await?.filter(|record| visible(record, caller));
        let entries = match &found {
            Some(record) => journal::history(&mut tx, SCHEMA, record.id(), after_revision, limit).await?,
            None => Vec::new(),
        };
        tx.commit().await?;
        if found.is_none() {
            return Err(Problem::not_found(R::KIND, id).into());
        }
        Ok(entries)
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

    /// A page of all tenants, oldest first, for the other services.
    ///
    /// # Errors
    /// The database is away.
    pub async fn tenants(&self, after: Option<Uuid>, limit: i64) -> Result<Vec<crate::domain::Tenant>, Error> {
        Ok(tenant_rows::all(&self.database, after, limit).await?)
    }

    /// A page of a tenant's records of every kind but keys, oldest first, for the other services.
    ///
    /// # Errors
    /// The database is away.
    pub async fn snapshot(&self, tenant: TenantId, after: Option<Uuid>, limit: i64) -> Result<Vec<AnyRecord>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let records = snapshot::page(&mut tx, tenant, after, limit).await?;
        tx.commit().await?;
        Ok(records)
    }

    /// A record of a tenant of any kind but keys, for the other services.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn lookup(&self, tenant: TenantId, id: Uuid) -> Result<AnyRecord, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let found = snapshot::find(&mut tx, id).await?;
        tx.commit().await?;
        Ok(found.ok_or_else(|| Problem::not_found("record", id))?)
    }
}

//! The use cases: load, decide, commit. The one path for every call, a module a noun
//! ([`services`], [`configuration_items`]).

pub mod configuration_items;
pub mod services;

use std::sync::Arc;

use kit::{
    caller::Call,
    clock::Clock,
    db::Database,
    id::{TeamId, TenantId},
    peer::Peers,
    problem::Problem,
    relay::{Relay, Wake},
    request::Done,
    service::{Context, Tasks},
    watch,
};
use proto::common::v1::Role;
use tokio_stream::wrappers::ReceiverStream;

use crate::{domain::Refusal, events::consume, store::read_models};

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

/// What a use case answers.
pub type Answer<T> = Result<Done<T>, Error>;

/// Which record a command is about.
#[derive(Debug, Clone, Copy)]
pub struct Target<Id> {
    /// The record.
    pub id: Id,
    /// The revision that it must have, if the caller cares.
    pub revision: Option<i64>,
}

impl<Id> Target<Id> {
    /// Checks that the caller may change a record of these teams, and means the one there is.
    fn check(&self, call: &Call, teams: &[TeamId], current: i64) -> Result<(), Problem> {
        call.person.require(Role::Manager, teams)?;
        match self.revision {
            Some(given) if given != current => Err(Problem::Stale { current, given }),
            _ => Ok(()),
        }
    }
}

/// The catalog service.
#[derive(Clone)]
pub struct App {
    pub(crate) database: Database,
    clock: Arc<dyn Clock>,
    peers: Peers,
    tasks: Tasks,
    relay: Wake,
    head: tokio::sync::watch::Receiver<i64>,
}

impl App {
    /// Puts the use cases together.
    #[must_use]
    pub fn new(context: &Context, relay: &Relay) -> Self {
        Self {
            database: context.database.clone(),
            clock: Arc::clone(&context.clock),
            peers: context.peers.clone(),
            tasks: context.tasks.clone(),
            relay: relay.wake(),
            head: relay.head(),
        }
    }

    /// Wakes who waits for what was committed.
    pub fn committed(&self) {
        self.relay.wake();
    }

    /// Every event of the tenant's services and configuration items, from somewhere on.
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

    /// Checks a team that a command names; asks the directory when it is not known yet.
    async fn check_team(&self, tenant: TenantId, id: TeamId, field: &'static str) -> Result<(), Problem> {
        let mut tx = self.database.begin(tenant).await?;
        let mut known = read_models::find_team(&mut tx, tenant, id).await?;
        tx.commit().await?;
        if known.is_none()
            && let Some(entry) = self.peers.lookup("directory", tenant, id.0).await?
        {
            let mut tx = self.database.begin(tenant).await?;
            consume::keep_directory(&mut tx, tenant, &entry.body)
                .await
                .map_err(|failure| Problem::Internal(failure.into()))?;
            known = read_models::find_team(&mut tx, tenant, id).await?;
            tx.commit().await?;
        }
        match known {
            Some(team) if team.active => Ok(()),
            Some(_) => Err(Problem::invalid(field, format!("{id} no longer takes part"))),
            None => Err(Problem::invalid(field, format!("there is no team {id}"))),
        }
    }
}

//! The use cases: load, decide, commit. The one path for every call ([`commands`]).

pub mod commands;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use kit::{
    caller::{Call, Person},
    clock::Clock,
    db::{Database, Transaction, uncancelled},
    filter::Expression,
    id::TenantId,
    journal::{self, Cause},
    number::Numbers,
    peer::Peers,
    problem::Problem,
    relay::{Relay, Wake},
    request::{self, Done},
    service::{Context, Tasks},
    watch,
};
use proto::common::v1::{FeedEntry, Role};
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use crate::{
    domain::{Change, Decision, Refusal},
    events::consume,
    store::{
        SCHEMA,
        changes::{self, Key},
        read_models::{self, Noun},
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

/// Which change a command is about.
#[derive(Debug, Clone)]
pub struct Target {
    /// The change.
    pub key: Key,
    /// The revision that it must have, if the caller cares.
    pub revision: Option<i64>,
}

/// The change service.
#[derive(Clone)]
pub struct App {
    pub(crate) database: Database,
    clock: Arc<dyn Clock>,
    peers: Peers,
    tasks: Tasks,
    numbers: Arc<Numbers>,
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
            numbers: Arc::new(Numbers::new(context.database.clone(), "CHG")),
            relay: relay.wake(),
            head: relay.head(),
        }
    }

    /// Wakes who waits for what was committed.
    pub fn committed(&self) {
        self.relay.wake();
    }

    /// One command on one change, by who holds the role in its team: loads it, checks who and which
    /// revision, lets the domain decide, commits. The same request again gets the first answer.
    async fn command(
        &self,
        call: Call,
        role: Role,
        target: Target,
        decide: impl FnOnce(&Change, &Person, DateTime<Utc>) -> Result<Decision, Refusal> + Send + 'static,
    ) -> Result<Done<Change>, Error> {
        let app = self.clone();
        uncancelled(async move {
            let now = app.clock.now();
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let change = load(&mut tx, &call, role, &target).await?;
                let decision = decide(&change, &call.person, now)?;
                Ok(Done::Now(changes::commit(&mut tx, decision, &Cause::call(&call, now)).await?))
            }
            .await;
            let done = tx.end::<_, Error>(outcome).await?;
            app.committed();
            Ok(done)
        })
        .await
    }

    /// Returns a change.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn get(&self, tenant: TenantId, key: Key) -> Result<Change, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let found = changes::find(&mut tx, &key).await?;
        tx.commit().await?;
        Ok(found.ok_or_else(|| Problem::not_found("change", key))?)
    }

    /// Lists changes, newest first.
    ///
    /// # Errors
    /// An invalid filter, or the database is away.
    pub async fn list(
        &self,
        tenant: TenantId,
        filter: Option<Expression>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Change>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let changes = changes::list(&mut tx, &filter, after, limit).await?;
        tx.commit().await?;
        Ok(changes)
    }

    /// The history of a change, oldest first.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn history(
        &self,
        tenant: TenantId,
        key: Key,
        after_revision: i64,
        limit: i64,
    ) -> Result<Vec<FeedEntry>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let outcome = async {
            let change = changes::find(&mut tx, &key).await?.ok_or_else(|| Problem::not_found("change", key))?;
            Ok(journal::history(&mut tx, SCHEMA, change.id.0, after_revision, limit).await?)
        }
        .await;
        tx.end(outcome).await
    }

    /// Every event of the tenant's changes, from somewhere on.
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

    /// Checks what a command names; asks the owner for what is not known yet.
    async fn check(&self, tenant: TenantId, noun: Noun, ids: &[Uuid], field: &str) -> Result<(), Problem> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut tx = self.database.begin(tenant).await?;
        let mut known = read_models::find(&mut tx, tenant, noun, ids).await?;
        tx.commit().await?;
        let missing: Vec<Uuid> = ids.iter().copied().filter(|id| !known.iter().any(|(it, _)| it == id)).collect();
        if !missing.is_empty() {
            self.ask(tenant, noun, &missing).await?;
            let mut tx = self.database.begin(tenant).await?;
            known = read_models::find(&mut tx, tenant, noun, ids).await?;
            tx.commit().await?;
        }
        for id in ids {
            match known.iter().find(|(it, _)| it == id) {
                Some((_, true)) => {}
                Some((_, false)) => return Err(Problem::invalid(field, format!("{id} no longer takes part"))),
                None => return Err(Problem::invalid(field, format!("there is no {} {id}", noun.name()))),
            }
        }
        Ok(())
    }

    /// Asks the owner, and keeps the answers.
    async fn ask(&self, tenant: TenantId, noun: Noun, ids: &[Uuid]) -> Result<(), Problem> {
        let mut answers = Vec::new();
        for id in ids {
            // Whoever names what does not exist is told so by the first of it.
            let Some(answer) = self.peers.lookup(noun.owner(), tenant, *id).await? else { break };
            answers.push(answer);
        }
        let mut tx = self.database.begin(tenant).await?;
        for answer in answers {
            let kept = match noun {
                Noun::Service | Noun::ConfigurationItem => consume::keep_catalog(&mut tx, tenant, &answer.body).await,
                Noun::Team => consume::keep_directory(&mut tx, tenant, &answer.body).await,
            };
            kept.map_err(|failure| Problem::Internal(failure.into()))?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Loads a change for a change by a caller.
async fn load(tx: &mut Transaction, call: &Call, role: Role, target: &Target) -> Result<Change, Error> {
    let found = changes::find_for_update(tx, &target.key).await?;
    let change = found.ok_or_else(|| Problem::not_found("change", &target.key))?;
    call.person.require(role, &change.teams())?;
    match target.revision {
        Some(given) if given != change.revision => Err(Problem::Stale { current: change.revision, given }.into()),
        _ => Ok(change),
    }
}

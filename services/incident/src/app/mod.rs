//! The use cases: load, decide, commit. The one path for calls ([`commands`]), events of other
//! services ([`by_event`]) and due timers ([`by_timer`]).

pub mod by_event;
pub mod by_timer;
pub mod commands;

use std::sync::Arc;

use kit::{
    caller::{Call, Person},
    clock::Clock,
    db::{Transaction, uncancelled},
    filter::Expression,
    id::{PersonId, ServiceId, TeamId, TenantId},
    journal::{self, Cause},
    number::Numbers,
    peer::Peers,
    problem::Problem,
    relay::Wake,
    request::{self, Done},
    service::{Context, Tasks},
    watch,
};
use proto::common::v1::{FeedEntry, Role};
use tokio::sync::Notify;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    config::Settings,
    domain::{Decision, Incident, Refusal},
    events::consume,
    store::{self, SCHEMA, incidents::Key, read_models::MemberKind},
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

/// Which incident a command is about.
#[derive(Debug, Clone)]
pub struct Target {
    /// The incident.
    pub key: Key,
    /// The revision that it must have, if the caller cares.
    pub revision: Option<i64>,
}

/// The incident service.
#[derive(Clone)]
pub struct App {
    pub(crate) database: kit::db::Database,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) peers: Peers,
    pub(crate) settings: Settings,
    pub(crate) tasks: Tasks,
    numbers: Arc<Numbers>,
    relay: Wake,
    head: tokio::sync::watch::Receiver<i64>,
    timers: Arc<Notify>,
}

impl App {
    /// Puts the use cases together.
    #[must_use]
    pub fn new(context: &Context, settings: Settings, relay: &kit::relay::Relay, timers: Arc<Notify>) -> Self {
        Self {
            database: context.database.clone(),
            clock: Arc::clone(&context.clock),
            peers: context.peers.clone(),
            settings,
            tasks: context.tasks.clone(),
            numbers: Arc::new(Numbers::new(context.database.clone(), "INC")),
            relay: relay.wake(),
            head: relay.head(),
            timers,
        }
    }

    /// Wakes who waits for what was committed.
    pub fn committed(&self) {
        self.relay.wake();
        self.timers.notify_one();
    }

    /// One command on one incident: loads it, checks who and which revision, lets the domain
    /// decide, commits. The same request again gets the first answer.
    async fn command(
        &self,
        call: Call,
        target: Target,
        decide: impl FnOnce(&Incident, &Person, chrono::DateTime<chrono::Utc>) -> Result<Decision, Refusal> + Send + 'static,
    ) -> Result<Done<Incident>, Error> {
        let app = self.clone();
        uncancelled(async move {
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let incident = app.load(&mut tx, &call, &target).await?;
                // Only now that the lock shows to others that something is being done here: a service
                // that asks for the position at a due time then waits for what was done before it.
                let now = app.clock.now();
                let decision = decide(&incident, &call.person, now)?;
                Ok(Done::Now(app.commit(&mut tx, decision, &Cause::call(&call, now)).await?))
            }
            .await;
            let done = tx.end::<_, Error>(outcome).await?;
            app.committed();
            Ok(done)
        })
        .await
    }

    /// Loads an incident for a change by a caller.
    async fn load(&self, tx: &mut Transaction, call: &Call, target: &Target) -> Result<Incident, Error> {
        let found = store::incidents::find_for_update(tx, &target.key).await?;
        let incident = found.ok_or_else(|| Problem::not_found("incident", &target.key))?;
        call.person.require(Role::Responder, &incident.teams())?;
        match target.revision {
            Some(given) if given != incident.revision => {
                Err(Problem::Stale { current: incident.revision, given }.into())
            }
            _ => Ok(incident),
        }
    }

    pub(crate) async fn commit(
        &self,
        tx: &mut Transaction,
        decision: Decision,
        cause: &Cause,
    ) -> Result<Incident, sqlx::Error> {
        store::incidents::commit(tx, decision, cause, self.settings.auto_close_after.delta()).await
    }

    /// Returns an incident.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn get(&self, tenant: TenantId, key: Key) -> Result<Incident, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let found = store::incidents::find(&mut tx, &key).await?;
        tx.commit().await?;
        Ok(found.ok_or_else(|| Problem::not_found("incident", key))?)
    }

    /// Lists incidents, newest first.
    ///
    /// # Errors
    /// An invalid filter, or the database is away.
    pub async fn list(
        &self,
        tenant: TenantId,
        filter: Option<Expression>,
        after: Option<uuid::Uuid>,
        limit: i64,
    ) -> Result<Vec<Incident>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let incidents = store::incidents::list(&mut tx, &filter, after, limit).await?;
        tx.commit().await?;
        Ok(incidents)
    }

    /// The history of an incident, oldest first.
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
            let found = store::incidents::find(&mut tx, &key).await?;
            let incident = found.ok_or_else(|| Problem::not_found("incident", key))?;
            Ok(journal::history(&mut tx, SCHEMA, incident.id.0, after_revision, limit).await?)
        }
        .await;
        tx.end(outcome).await
    }

    /// Every event of the tenant's incidents, from somewhere on.
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

    /// Checks a service that a command names; asks the catalog when it is not known yet.
    async fn check_service(&self, tenant: TenantId, id: ServiceId) -> Result<store::read_models::Service, Error> {
        if let Some(service) = self.known_service(tenant, id).await? {
            return Ok(service);
        }
        Err(Problem::invalid("incident.service_id", format!("there is no service {id}")).into())
    }

    /// A service by the read model, else by the catalog, whose answer is kept.
    pub(crate) async fn known_service(
        &self,
        tenant: TenantId,
        id: ServiceId,
    ) -> Result<Option<store::read_models::Service>, Problem> {
        let mut tx = self.database.begin(tenant).await?;
        let known = store::read_models::find_service(&mut tx, tenant, id).await?;
        tx.commit().await?;
        if known.is_some() {
            return Ok(known);
        }
        let Some(entry) = self.peers.lookup("catalog", tenant, id.0).await? else { return Ok(None) };
        let mut tx = self.database.begin(tenant).await?;
        consume::keep_catalog(&mut tx, tenant, &entry.body)
            .await
            .map_err(|failure| Problem::Internal(failure.into()))?;
        let known = store::read_models::find_service(&mut tx, tenant, id).await?;
        tx.commit().await?;
        Ok(known)
    }

    /// Checks a person or team that a command names; asks the directory when it is not known yet.
    async fn check_member(
        &self,
        tenant: TenantId,
        kind: MemberKind,
        id: uuid::Uuid,
        field: &'static str,
    ) -> Result<(), Error> {
        let mut tx = self.database.begin(tenant).await?;
        let mut known = store::read_models::find_member(&mut tx, tenant, kind, id).await?;
        tx.commit().await?;
        if known.is_none()
            && let Some(entry) = self.peers.lookup("directory", tenant, id).await?
        {
            let mut tx = self.database.begin(tenant).await?;
            consume::keep_directory(&mut tx, tenant, &entry.body)
                .await
                .map_err(|failure| Problem::Internal(failure.into()))?;
            known = store::read_models::find_member(&mut tx, tenant, kind, id).await?;
            tx.commit().await?;
        }
        match known {
            Some(member) if member.active => Ok(()),
            Some(_) => Err(Problem::invalid(field, format!("{id} no longer takes part")).into()),
            None => Err(Problem::invalid(field, format!("there is no {} {id}", kind.name().to_lowercase())).into()),
        }
    }

    async fn check_team(&self, tenant: TenantId, id: Option<TeamId>, field: &'static str) -> Result<(), Error> {
        match id {
            Some(id) => self.check_member(tenant, MemberKind::Team, id.0, field).await,
            None => Ok(()),
        }
    }

    async fn check_person(&self, tenant: TenantId, id: Option<PersonId>, field: &'static str) -> Result<(), Error> {
        match id {
            Some(id) => self.check_member(tenant, MemberKind::Person, id.0, field).await,
            None => Ok(()),
        }
    }
}

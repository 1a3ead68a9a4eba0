//! The use cases: load, decide, commit. The one path for calls ([`commands`]), events of other
//! services ([`by_event`]) and due timers ([`by_timer`]); [`seed`] gives a fresh tenant what it
//! starts with.

pub mod by_event;
pub mod by_timer;
pub mod commands;
pub mod seed;

use std::sync::Arc;

use kit::{
    clock::Clock,
    db::Transaction,
    id::{ServiceId, TenantId},
    journal,
    peer::Peers,
    problem::Problem,
    relay::Wake,
    service::{Context, Tasks},
    watch,
};
use proto::common::v1::FeedEntry;
use tokio::sync::Notify;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use crate::{
    config::Settings,
    domain::{self, Agreement, AgreementId, Calendar, CalendarId, ClockId, Refusal, Target, agreement::Calendars},
    events::consume,
    store::{self, Page, SCHEMA},
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

/// The sla service.
#[derive(Clone)]
pub struct App {
    pub(crate) database: kit::db::Database,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) peers: Peers,
    pub(crate) settings: Settings,
    pub(crate) tasks: Tasks,
    catching_up: Arc<by_timer::CatchingUp>,
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
            catching_up: Arc::default(),
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

    /// Returns an agreement.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn agreement(&self, tenant: TenantId, id: AgreementId) -> Result<Agreement, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let found = store::agreements::find(&mut tx, id).await?;
        tx.commit().await?;
        Ok(found.ok_or_else(|| Problem::not_found("agreement", id))?)
    }

    /// Lists agreements, newest first.
    ///
    /// # Errors
    /// An invalid filter, or the database is away.
    pub async fn agreements(&self, tenant: TenantId, page: &Page) -> Result<Vec<Agreement>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let agreements = store::agreements::list(&mut tx, page).await?;
        tx.commit().await?;
        Ok(agreements)
    }

    /// Returns a calendar.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn calendar(&self, tenant: TenantId, id: CalendarId) -> Result<Calendar, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let found = store::calendars::find(&mut tx, id).await?;
        tx.commit().await?;
        Ok(found.ok_or_else(|| Problem::not_found("calendar", id))?)
    }

    /// Lists calendars, newest first.
    ///
    /// # Errors
    /// An invalid filter, or the database is away.
    pub async fn calendars(&self, tenant: TenantId, page: &Page) -> Result<Vec<Calendar>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let calendars = store::calendars::list(&mut tx, page).await?;
        tx.commit().await?;
        Ok(calendars)
    }

    /// Returns a clock.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn clock(&self, tenant: TenantId, id: ClockId) -> Result<domain::Clock, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let found = store::clocks::find(&mut tx, id).await?;
        tx.commit().await?;
        Ok(found.ok_or_else(|| Problem::not_found("clock", id))?)
    }

    /// Lists clocks, newest first.
    ///
    /// # Errors
    /// An invalid filter, or the database is away.
    pub async fn clocks(&self, tenant: TenantId, page: &Page) -> Result<Vec<domain::Clock>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let clocks = store::clocks::list(&mut tx, page).await?;
        tx.commit().await?;
        Ok(clocks)
    }

    /// The history of a record, oldest first; the caller has seen to it that there is one.
    ///
    /// # Errors
    /// The database is away.
    pub async fn history(
        &self,
        tenant: TenantId,
        record_id: Uuid,
        after_revision: i64,
        limit: i64,
    ) -> Result<Vec<FeedEntry>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let entries = journal::history(&mut tx, SCHEMA, record_id, after_revision, limit).await?;
        tx.commit().await?;
        Ok(entries)
    }

    /// Every event of the tenant's records, from somewhere on.
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

    /// Checks a service that an agreement is for; asks the catalog when it is not known yet.
    async fn check_service(&self, tenant: TenantId, id: Option<ServiceId>) -> Result<(), Error> {
        let Some(id) = id else { return Ok(()) };
        let field = "agreement.service_id";
        match self.known_service(tenant, id).await? {
            Some(service) if service.retired => {
                Err(Problem::invalid(field, format!("the service {} is out of use", service.name)).into())
            }
            Some(_) => Ok(()),
            None => Err(Problem::invalid(field, format!("there is no service {id}")).into()),
        }
    }

    /// A service by the read model, else by the catalog, whose answer is kept.
    async fn known_service(
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
}

/// The calendars that targets name, kept from being retired until the commit.
async fn calendars_of(tx: &mut Transaction, targets: &[Target]) -> Result<Calendars, Error> {
    let mut ids: Vec<CalendarId> = targets.iter().filter_map(|target| target.calendar_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let calendars = store::calendars::find_all_for_share(tx, &ids).await?;
    match ids.iter().find(|id| !calendars.contains_key(id)) {
        Some(unknown) => {
            Err(Problem::invalid("agreement.targets.calendar_id", format!("there is no calendar {unknown}")).into())
        }
        None => Ok(calendars),
    }
}

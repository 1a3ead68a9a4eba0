//! The use cases: load, decide, commit. The one path for calls ([`commands`]), the intake
//! ([`by_intake`]) and due timers ([`by_timer`]); [`keys`] makes keys and says which are valid,
//! `progress` how far the intake is taken.

pub mod by_intake;
pub mod by_timer;
pub mod commands;
pub mod keys;
mod progress;

use std::sync::Arc;

use kit::{
    caller::Call,
    clock::Clock,
    db::Database,
    filter::Expression,
    id::{AlertId, ServiceId, TeamId, TenantId},
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

use self::progress::Progress;
use crate::{
    config::Settings,
    domain::{Alert, Integration, IntegrationId, Refusal},
    events::consume,
    store::{self, SCHEMA, intake::Shown},
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
pub struct Target<I> {
    /// The record.
    pub id: I,
    /// The revision that it must have, if the caller cares.
    pub revision: Option<i64>,
}

/// The alert service.
#[derive(Clone)]
pub struct App {
    pub(crate) database: Database,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) peers: Peers,
    pub(crate) settings: Settings,
    pub(crate) tasks: Tasks,
    relay: Wake,
    head: tokio::sync::watch::Receiver<i64>,
    timers: Arc<Notify>,
    keys: Arc<Notify>,
    pub(crate) progress: Arc<Progress>,
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
            relay: relay.wake(),
            head: relay.head(),
            timers,
            keys: Arc::default(),
            progress: Arc::default(),
        }
    }

    /// Wakes who waits for what was committed.
    pub fn committed(&self) {
        self.relay.wake();
        self.timers.notify_one();
    }

    /// Wakes the mirror of keys.
    pub fn keys_changed(&self) {
        self.keys.notify_one();
    }

    /// Waits until keys may have changed.
    pub(crate) fn keys_to_change(&self) -> Arc<Notify> {
        Arc::clone(&self.keys)
    }

    /// Returns an alert.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn get_alert(&self, tenant: TenantId, id: AlertId) -> Result<Alert, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let found = store::alerts::find(&mut tx, id).await?;
        tx.commit().await?;
        Ok(found.ok_or_else(|| Problem::not_found("alert", id))?)
    }

    /// Lists alerts, newest first.
    ///
    /// # Errors
    /// An invalid filter, or the database is away.
    pub async fn list_alerts(
        &self,
        tenant: TenantId,
        filter: Option<Expression>,
        after: Option<uuid::Uuid>,
        limit: i64,
    ) -> Result<Vec<Alert>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let alerts = store::alerts::list(&mut tx, &filter, after, limit).await?;
        tx.commit().await?;
        Ok(alerts)
    }

    /// The history of an alert, oldest first.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn alert_history(
        &self,
        tenant: TenantId,
        id: AlertId,
        after_revision: i64,
        limit: i64,
    ) -> Result<Vec<FeedEntry>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let alert = store::alerts::find(&mut tx, id).await?.ok_or_else(|| Problem::not_found("alert", id))?;
        let entries = journal::history(&mut tx, SCHEMA, alert.id.0, after_revision, limit).await?;
        tx.commit().await?;
        Ok(entries)
    }

    /// Returns an integration.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn get_integration(&self, tenant: TenantId, id: IntegrationId) -> Result<Integration, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let found = store::integrations::find(&mut tx, id).await?;
        tx.commit().await?;
        Ok(found.ok_or_else(|| Problem::not_found("integration", id))?)
    }

    /// Lists integrations, newest first.
    ///
    /// # Errors
    /// An invalid filter, or the database is away.
    pub async fn list_integrations(
        &self,
        tenant: TenantId,
        filter: Option<Expression>,
        after: Option<uuid::Uuid>,
        limit: i64,
    ) -> Result<Vec<Integration>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let integrations = store::integrations::list(&mut tx, &filter, after, limit).await?;
        tx.commit().await?;
        Ok(integrations)
    }

    /// The history of an integration, oldest first.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn integration_history(
        &self,
        tenant: TenantId,
        id: IntegrationId,
        after_revision: i64,
        limit: i64,
    ) -> Result<Vec<FeedEntry>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let integration =
            store::integrations::find(&mut tx, id).await?.ok_or_else(|| Problem::not_found("integration", id))?;
        let entries = journal::history(&mut tx, SCHEMA, integration.id.0, after_revision, limit).await?;
        tx.commit().await?;
        Ok(entries)
    }

    /// Lists what came in and could not be used, newest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn list_rejected(
        &self,
        tenant: TenantId,
        integration: Option<IntegrationId>,
        after: Option<uuid::Uuid>,
        limit: i64,
    ) -> Result<Vec<Shown>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let rejected = store::intake::rejected(&mut tx, integration, after, limit).await?;
        tx.commit().await?;
        Ok(rejected)
    }

    /// Every event of the tenant's alerts and integrations, from somewhere on.
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
    async fn check_service(&self, tenant: TenantId, id: Option<ServiceId>) -> Result<(), Error> {
        const FIELD: &str = "integration.service_id";
        let Some(id) = id else { return Ok(()) };
        let mut tx = self.database.begin(tenant).await?;
        let mut known = store::read_models::find_service(&mut tx, tenant, id).await?;
        tx.commit().await?;
        if known.is_none()
            && let Some(entry) = self.peers.lookup("catalog", tenant, id.0).await?
        {
            let mut tx = self.database.begin(tenant).await?;
            consume::keep_catalog(&mut tx, tenant, &entry.body)
                .await
                .map_err(|failure| Problem::Internal(failure.into()))?;
            known = store::read_models::find_service(&mut tx, tenant, id).await?;
            tx.commit().await?;
        }
        match known {
            Some(true) => Ok(()),
            Some(false) => Err(Problem::invalid(FIELD, format!("the service {id} is out of use")).into()),
            None => Err(Problem::invalid(FIELD, format!("there is no service {id}")).into()),
        }
    }

    /// Checks a team that a command names; asks the directory when it is not known yet.
    async fn check_team(&self, call: &Call, id: Option<TeamId>) -> Result<(), Error> {
        const FIELD: &str = "integration.team_id";
        let Some(id) = id else { return Ok(()) };
        let tenant = call.tenant();
        let mut tx = self.database.begin(tenant.id).await?;
        let mut known = store::read_models::find_team(&mut tx, tenant.id, id).await?;
        tx.commit().await?;
        if known.is_none()
            && let Some(entry) = self.peers.lookup("directory", tenant.id, id.0).await?
        {
            let mut tx = self.database.begin(tenant.id).await?;
            consume::keep_directory(&mut tx, tenant, &entry.body)
                .await
                .map_err(|failure| Problem::Internal(failure.into()))?;
            known = store::read_models::find_team(&mut tx, tenant.id, id).await?;
            tx.commit().await?;
        }
        match known {
            Some(true) => Ok(()),
            Some(false) => Err(Problem::invalid(FIELD, format!("the team {id} no longer takes part")).into()),
            None => Err(Problem::invalid(FIELD, format!("there is no team {id}")).into()),
        }
    }
}

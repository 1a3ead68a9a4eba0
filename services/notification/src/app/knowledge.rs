//! What must be known before an event is told or a command obeyed: people and teams, incidents.
//! What the read models lack is asked of its owner before the transaction opens.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use kit::{
    clock,
    consumer::{Delivered, Failure},
    db::Transaction,
    id::{IncidentId, PersonId, TeamId, TenantId},
    problem::Problem,
};
use uuid::Uuid;

use super::{App, Error};
use crate::{
    domain::event::CLOCK_BREACH_WITHDRAWN,
    events::consume,
    store::{deliveries, read_models, rules},
};

/// How long an event waits for the directory's news; then it is told to whom we know.
const PATIENCE: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(20);
/// By how much the clocks of two services may differ.
const SKEW: TimeDelta = TimeDelta::milliseconds(20);
/// How long it is remembered which events rules ask for; telling itself always looks.
const REMEMBERED: Duration = Duration::from_secs(1);

/// Up to which instant everything that the directory said is known to be applied here.
#[derive(Debug, Default)]
pub struct CaughtUp(Mutex<Option<DateTime<Utc>>>);

/// Which events rules ask for, by tenant and type, and when that was looked up.
pub type AskedFor = Mutex<HashMap<(TenantId, String), (Instant, bool)>>;

impl App {
    /// Waits until what the directory said before these events is known here: somebody who joined the
    /// team a moment ago is told. Only for events that a rule asks for.
    ///
    /// # Errors
    /// Waits while the database is away.
    pub async fn know_recipients(&self, events: &[Delivered]) -> Result<(), Failure> {
        let known = *self.caught_up.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wanted = false;
        for event in events {
            if known.is_none_or(|known| event.at + SKEW >= known) && self.is_asked_for(event).await? {
                wanted = true;
                break;
            }
        }
        if !wanted {
            return Ok(());
        }
        let asked_at = self.clock.now();
        let began = Instant::now();
        let head = match self.peers.position("directory").await {
            Ok(position) => position.head_position,
            Err(status) => {
                tracing::warn!(%status, "the directory cannot be asked; telling whom we know");
                return Ok(());
            }
        };
        while read_models::applied(&self.database.workers, "directory").await? < head {
            if began.elapsed() > PATIENCE {
                tracing::warn!(head, "the directory's news do not come; telling whom we know");
                return Ok(());
            }
            clock::pause(STEP).await;
        }
        *self.caught_up.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked_at);
        Ok(())
    }

    /// Reads at once what telling the events of a batch needs.
    ///
    /// # Errors
    /// Waits while the database is away.
    pub async fn read_ahead(
        &self,
        tx: &mut Transaction,
        events: &[Delivered],
        incidents: &[(TenantId, IncidentId)],
    ) -> Result<(), Failure> {
        if !incidents.is_empty() {
            read_models::load_incidents(tx, incidents).await?;
        }
        let mut told = Vec::new();
        for event in events {
            if !rules::applying(tx, event.tenant.id, &event_type(event)).await?.is_empty() {
                told.push(event.event_id);
            }
        }
        if !told.is_empty() {
            deliveries::load_ways_told(tx, told).await?;
        }
        Ok(())
    }

    /// Whether a rule may ask for an event.
    async fn is_asked_for(&self, event: &Delivered) -> Result<bool, Failure> {
        let key = (event.tenant.id, event_type(event));
        let remembered = self.asked_for.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some((_, asked)) = remembered.filter(|(at, _)| at.elapsed() < REMEMBERED) {
            return Ok(asked);
        }
        let mut tx = self.database.begin_worker([event.tenant.id]).await?;
        let asked = !rules::applying(&mut tx, event.tenant.id, &key.1).await?.is_empty();
        tx.commit().await?;
        let mut all = self.asked_for.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
        all.insert(key, (Instant::now(), asked));
        Ok(asked)
    }

    /// Asks for the incident that an event's clock belongs to, when its own events are not here yet
    /// and somebody is to be told.
    ///
    /// # Errors
    /// Waits while the database is away.
    pub async fn know_incident(&self, event: &Delivered, id: IncidentId) -> Result<(), Failure> {
        if event_type(event) != CLOCK_BREACH_WITHDRAWN && !self.is_asked_for(event).await? {
            return Ok(());
        }
        let tenant = &event.tenant;
        let mut tx = self.database.begin_worker([tenant.id]).await?;
        let known = read_models::find_incident(&mut tx, tenant.id, id).await?.is_some();
        tx.commit().await?;
        if known {
            return Ok(());
        }
        let entry = match self.peers.lookup("incident", tenant.id, id.0).await {
            Ok(entry) => entry,
            // Only its title is missing then.
            Err(problem) => {
                tracing::debug!(%problem, incident_id = %id, "the incident cannot be asked for");
                None
            }
        };
        if let Some(entry) = entry
            && let Some(incident) = consume::asked_incident(&entry.body)?
        {
            let mut tx = self.database.begin_worker([tenant.id]).await?;
            read_models::keep_incident(&mut tx, tenant.id, &incident);
            tx.commit().await?;
        }
        Ok(())
    }

    /// Checks a person that a command names; asks the directory when they are not known yet.
    pub(super) async fn check_person(&self, tenant: TenantId, id: PersonId, field: &str) -> Result<(), Error> {
        let mut tx = self.database.begin(tenant).await?;
        let mut active = read_models::person_active(&mut tx, tenant, id).await?;
        tx.commit().await?;
        if active.is_none() && self.ask_directory(tenant, id.0).await? {
            let mut tx = self.database.begin(tenant).await?;
            active = read_models::person_active(&mut tx, tenant, id).await?;
            tx.commit().await?;
        }
        judge(active, field, format!("person {id}"))
    }

    /// Checks a team that a command names; asks the directory when it is not known yet.
    pub(super) async fn check_team(&self, tenant: TenantId, id: TeamId, field: &str) -> Result<(), Error> {
        let mut tx = self.database.begin(tenant).await?;
        let mut active = read_models::team_active(&mut tx, tenant, id).await?;
        tx.commit().await?;
        if active.is_none() && self.ask_directory(tenant, id.0).await? {
            let mut tx = self.database.begin(tenant).await?;
            active = read_models::team_active(&mut tx, tenant, id).await?;
            tx.commit().await?;
        }
        judge(active, field, format!("team {id}"))
    }

    /// Asks the directory for a record and keeps the answer. False when there is none.
    async fn ask_directory(&self, tenant: TenantId, id: Uuid) -> Result<bool, Error> {
        let Some(entry) = self.peers.lookup("directory", tenant, id).await? else { return Ok(false) };
        let mut tx = self.database.begin(tenant).await?;
        consume::keep_directory(&mut tx, tenant, &entry.body)
            .await
            .map_err(|failure| Problem::Internal(failure.into()))?;
        tx.commit().await?;
        Ok(true)
    }
}

fn judge(active: Option<bool>, field: &str, what: String) -> Result<(), Error> {
    match active {
        Some(true) => Ok(()),
        Some(false) => Err(Problem::invalid(field, format!("{what} no longer takes part")).into()),
        None => Err(Problem::invalid(field, format!("there is no {what}")).into()),
    }
}

/// The event's name in rules, `<service>.<type>`.
pub(super) fn event_type(event: &Delivered) -> String {
    format!("{}.{}", event.source, event.kind)
}

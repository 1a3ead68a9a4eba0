//! What events of other services make of incidents: an alert opens one, joins one, clears, rises.

use kit::{
    consumer::{Delivered, Failure},
    db::Transaction,
    id::{AlertId, CiId, IncidentId, ServiceId, TeamId},
    journal::Cause,
    metrics,
};

use super::App;
use crate::{
    domain::{Channel, Impact, Incident, NewIncident, ResolutionMode, Urgency},
    store::{self, incidents::Key},
};

/// What this service needs to know of an alert.
#[derive(Debug, Clone)]
pub struct Alert {
    /// The alert.
    pub id: AlertId,
    /// Integration and dedup key: what makes firing again the same condition.
    pub condition: String,
    /// One line.
    pub title: String,
    /// More.
    pub description: String,
    /// How soon it hurts, from the severity.
    pub urgency: Urgency,
    /// How much business is hurt, from the service.
    pub impact: Option<Impact>,
    /// The service.
    pub service_id: Option<ServiceId>,
    /// The configuration item.
    pub ci_id: Option<CiId>,
    /// The team to tell.
    pub team_id: Option<TeamId>,
    /// Whether it opens an incident, or is only kept.
    pub opens_incident: bool,
}

impl App {
    /// A condition started to fire: it continues the incident it belonged to, inside the reopen
    /// window, or opens a new one.
    ///
    /// # Errors
    /// Waits while the database is away.
    pub async fn alert_raised(&self, tx: &mut Transaction, event: &Delivered, alert: Alert) -> Result<(), Failure> {
        if !alert.opens_incident {
            return Ok(());
        }
        let tenant = event.tenant.id;
        let open = store::alerts::open_incident_of_condition(tx, tenant, alert.id, &alert.condition).await?;
        if open.is_some_and(|(_, own)| own) {
            return Ok(());
        }
        let now = self.clock.now();
        if let Some((id, _)) = open
            && let Some(incident) = store::incidents::find_for_update(tx, &Key::Id(id)).await?
            && let Some(decision) = incident.alert_refired(alert.id, self.settings.reopen_window.delta(), now)
        {
            store::alerts::link_free(tx, tenant, alert.id, incident.id, alert.condition);
            self.commit(tx, decision, &Cause::event("incident", "condition_fires_again", event, now)).await?;
            return Ok(());
        }
        let number = self.numbers.next(tenant).await?;
        let decision = Incident::open(
            NewIncident {
                id: IncidentId::draw(),
                number,
                title: alert.title,
                description: alert.description,
                impact: alert.impact.unwrap_or(Impact::Moderate),
                urgency: alert.urgency,
                category: String::new(),
                service_id: alert.service_id,
                ci_id: alert.ci_id,
                team_id: alert.team_id,
                reporter_id: None,
                channel: Channel::Alert,
                resolution_mode: ResolutionMode::Automatic,
                alert_id: Some(alert.id),
            },
            now,
        );
        let incident = self.commit(tx, decision, &Cause::event("incident", "alert_opens_incident", event, now)).await?;
        store::alerts::link_free(tx, tenant, alert.id, incident.id, alert.condition);
        metrics::get().alert_to_incident((now - event.at).as_seconds_f64().max(0.0));
        Ok(())
    }

    /// A condition is over: the incident resolves by itself with its last alert.
    ///
    /// # Errors
    /// Waits while the database is away.
    pub async fn alert_cleared(&self, tx: &mut Transaction, event: &Delivered, alert: AlertId) -> Result<(), Failure> {
        self.on_incident_of(tx, event, alert, "last_alert_cleared", |incident, now| incident.alert_cleared(alert, now))
            .await
    }

    /// The source calls it more urgent. An alert that was only kept may open an incident now.
    ///
    /// # Errors
    /// Waits while the database is away.
    pub async fn alert_severity_changed(
        &self,
        tx: &mut Transaction,
        event: &Delivered,
        alert: Alert,
    ) -> Result<(), Failure> {
        let (id, urgency) = (alert.id, alert.urgency);
        self.alert_raised(tx, event, alert).await?;
        self.on_incident_of(tx, event, id, "severity_rose", |incident, now| incident.alert_rose(urgency, now)).await
    }

    async fn on_incident_of(
        &self,
        tx: &mut Transaction,
        event: &Delivered,
        alert: AlertId,
        rule: &str,
        decide: impl FnOnce(&Incident, chrono::DateTime<chrono::Utc>) -> crate::domain::Decision + Send,
    ) -> Result<(), Failure> {
        let Some(id) = store::alerts::open_incident_of_alert(tx, event.tenant.id, alert).await? else { return Ok(()) };
        let Some(incident) = store::incidents::find_for_update(tx, &Key::Id(id)).await? else { return Ok(()) };
        let now = self.clock.now();
        let decision = decide(&incident, now);
        if !decision.is_unchanged() {
            self.commit(tx, decision, &Cause::event("incident", rule, event, now)).await?;
        }
        Ok(())
    }
}

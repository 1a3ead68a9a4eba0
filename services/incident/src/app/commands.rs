//! What people ask for: one method a verb, each a decision of the domain.

use kit::{
    caller::Call,
    db::uncancelled,
    id::{AlertId, IncidentId, PersonId, TeamId},
    journal::Cause,
    problem::Problem,
    request::{self, Done},
};

use super::{App, Error, Target};
use crate::{
    domain::{
        Channel, Impact, Incident, NewIncident, PendingReason, Priority, Refusal, ResolutionCode, ResolutionMode,
        Urgency, verbs::Update,
    },
    store::{self, SCHEMA, incidents::Key},
};

/// What a caller says of a new incident.
#[derive(Debug, Clone)]
pub struct Create {
    /// One line.
    pub title: String,
    /// More.
    pub description: String,
    /// How much business is hurt; the service's impact when not said, else moderate.
    pub impact: Option<Impact>,
    /// How soon it hurts.
    pub urgency: Urgency,
    /// What kind of trouble.
    pub category: String,
    /// The service that suffers.
    pub service_id: Option<kit::id::ServiceId>,
    /// The configuration item at fault.
    pub ci_id: Option<kit::id::CiId>,
    /// The team that shall have it; the service's support team when not said.
    pub team_id: Option<TeamId>,
    /// Who reported it; the caller when not said.
    pub reporter_id: Option<PersonId>,
    /// How it came.
    pub channel: Channel,
    /// Who resolves it.
    pub resolution_mode: ResolutionMode,
}

type Answer = Result<Done<Incident>, Error>;

impl App {
    /// Opens an incident.
    ///
    /// # Errors
    /// An unknown service, team or person; or the database is away.
    pub async fn create(&self, call: Call, create: Create) -> Answer {
        let app = self.clone();
        uncancelled(async move {
            let tenant = call.tenant().id;
            let service = match create.service_id {
                Some(id) => Some(app.check_service(tenant, id).await?),
                None => None,
            };
            app.check_team(tenant, create.team_id, "incident.assigned_team_id").await?;
            app.check_person(tenant, create.reporter_id, "incident.reporter_id").await?;
            let number = app.numbers.next(tenant).await?;
            let now = app.clock.now();
            let mut tx = app.database.begin(tenant).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let decision = Incident::open(
                    NewIncident {
                        id: IncidentId::draw(),
                        number,
                        title: create.title,
                        description: create.description,
                        impact: create
                            .impact
                            .or(service.and_then(|service| service.impact))
                            .unwrap_or(Impact::Moderate),
                        urgency: create.urgency,
                        category: create.category,
                        service_id: create.service_id,
                        ci_id: create.ci_id,
                        team_id: create.team_id.or(service.and_then(|service| service.support_team_id)),
                        reporter_id: create.reporter_id.or(Some(call.person.id)),
                        channel: create.channel,
                        resolution_mode: create.resolution_mode,
                        alert_id: None,
                    },
                    now,
                );
                let incident = app.commit(&mut tx, decision, &Cause::call(&call, now)).await?;
                Ok(Done::Now(incident))
            }
            .await;
            let done = tx.end::<_, Error>(outcome).await?;
            app.committed();
            Ok(done)
        })
        .await
    }

    /// Changes fields.
    ///
    /// # Errors
    /// Stale, over, or an unknown service.
    pub async fn update(&self, call: Call, target: Target, update: Update) -> Answer {
        if let Some(Some(service)) = update.service_id {
            self.check_service(call.tenant().id, service).await?;
        }
        self.command(call, target, move |incident, _, now| incident.update(update, now)).await
    }

    /// Says that somebody has seen it.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn acknowledge(&self, call: Call, target: Target) -> Answer {
        self.command(call, target, |incident, by, now| incident.acknowledge(by.id, now)).await
    }

    /// Gives it to a team, a person, or both.
    ///
    /// # Errors
    /// An unknown team or person, or as the domain refuses.
    pub async fn assign(
        &self,
        call: Call,
        target: Target,
        team: Option<TeamId>,
        assignee: Option<PersonId>,
        note: String,
    ) -> Answer {
        self.check_team(call.tenant().id, team, "team_id").await?;
        self.check_person(call.tenant().id, assignee, "assignee_id").await?;
        self.command(call, target, move |incident, _, now| incident.assign(team, assignee, note, now)).await
    }

    /// Says that work has begun.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn start(&self, call: Call, target: Target, note: String) -> Answer {
        self.command(call, target, |incident, _, now| incident.start(note, now)).await
    }

    /// Lets it wait.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn hold(&self, call: Call, target: Target, reason: PendingReason, note: String) -> Answer {
        self.command(call, target, move |incident, _, now| incident.hold(reason, note, now)).await
    }

    /// Goes on with work after waiting.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn resume(&self, call: Call, target: Target, note: String) -> Answer {
        self.command(call, target, |incident, _, now| incident.resume(note, now)).await
    }

    /// Says that service is restored.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn resolve(&self, call: Call, target: Target, code: ResolutionCode, notes: String) -> Answer {
        self.command(call, target, move |incident, _, now| incident.resolve(code, notes, now)).await
    }

    /// Ends it for good.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn close(&self, call: Call, target: Target, note: String) -> Answer {
        self.command(call, target, |incident, _, now| incident.close(note, now)).await
    }

    /// Says that it was none.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn cancel(&self, call: Call, target: Target, reason: String) -> Answer {
        self.command(call, target, |incident, _, now| incident.cancel(reason, now)).await
    }

    /// Takes it up again.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn reopen(&self, call: Call, target: Target, reason: String) -> Answer {
        let window = self.settings.reopen_window.delta();
        self.command(call, target, move |incident, by, now| incident.reopen(by.id, reason, window, now)).await
    }

    /// Adds a note.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn add_note(&self, call: Call, target: Target, text: String) -> Answer {
        self.command(call, target, |incident, _, now| Ok(incident.add_note(text, now))).await
    }

    /// Sets the priority by hand.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn override_priority(&self, call: Call, target: Target, priority: Priority, reason: String) -> Answer {
        self.command(call, target, move |incident, _, now| incident.override_priority(priority, reason, now)).await
    }

    /// Adds an alert that belongs to it.
    ///
    /// # Errors
    /// An alert that belongs to another open incident, or as the domain refuses.
    pub async fn link_alert(&self, call: Call, target: Target, alert: AlertId) -> Answer {
        let app = self.clone();
        uncancelled(async move {
            let tenant = call.tenant().id;
            let active = app.known_alert(tenant, alert).await?;
            let now = app.clock.now();
            let mut tx = app.database.begin(tenant).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let incident = app.load(&mut tx, &call, &target).await?;
                let decision = incident.link_alert(alert, active, now)?;
                if !decision.is_unchanged() && !store::alerts::link(&mut tx, tenant, alert, incident.id, "").await? {
                    let other = match store::alerts::open_incident_of_alert(&mut tx, tenant, alert).await? {
                        Some(id) => {
                            store::incidents::find(&mut tx, &Key::Id(id)).await?.map(|incident| incident.number)
                        }
                        None => None,
                    };
                    return Err(Refusal::AlertElsewhere(other.unwrap_or_default()).into());
                }
                let incident = app.commit(&mut tx, decision, &Cause::call(&call, now)).await?;
                Ok(Done::Now(incident))
            }
            .await;
            let done = tx.end::<_, Error>(outcome).await?;
            app.committed();
            Ok(done)
        })
        .await
    }

    /// Takes away an alert that does not belong to it.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn unlink_alert(&self, call: Call, target: Target, alert: AlertId) -> Answer {
        let app = self.clone();
        uncancelled(async move {
            let now = app.clock.now();
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let incident = app.load(&mut tx, &call, &target).await?;
                let decision = incident.unlink_alert(alert, now)?;
                store::alerts::close(&mut tx, incident.id, Some(alert)).await?;
                let incident = app.commit(&mut tx, decision, &Cause::call(&call, now)).await?;
                Ok(Done::Now(incident))
            }
            .await;
            let done = tx.end::<_, Error>(outcome).await?;
            app.committed();
            Ok(done)
        })
        .await
    }

    /// Whether an alert that a command names is active; it must be known to the alert service.
    async fn known_alert(&self, tenant: kit::id::TenantId, alert: AlertId) -> Result<bool, Error> {
        let entry = self.peers.lookup("alert", tenant, alert.0).await?;
        let entry = entry.ok_or_else(|| Problem::invalid("alert_id", format!("there is no alert {alert}")))?;
        Ok(crate::events::consume::alert_is_active(&entry.body).map_err(Problem::from)?)
    }
}

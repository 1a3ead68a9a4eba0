//! What events of other services make of deliveries: rules ask for new ones, news end old ones.

use std::collections::HashSet;

use kit::{
    consumer::{Delivered, Failure},
    db::Transaction,
    id::{IncidentId, PersonId, TenantId},
    journal::Cause,
};
use uuid::Uuid;

use super::{App, knowledge::event_type, matching};
use crate::{
    domain::{
        Attention, ContactMethod, Delivery, DeliveryId, Message, Method, Rule, Subject,
        delivery::NewDelivery,
        event::{CLOCK_BREACH_WITHDRAWN, CLOCK_BREACHED},
    },
    render::{self, About, Source},
    store::{self, contact_methods, deliveries, read_models, rules, templates},
};

impl App {
    /// Something happened to an incident. What waits about it is cancelled when somebody has seen
    /// it or it is over; what says that itself is asked for afterwards.
    ///
    /// # Errors
    /// Waits while the database is away.
    pub async fn incident_changed(
        &self,
        tx: &mut Transaction,
        event: &Delivered,
        incident: &read_models::Incident,
        subject: &Subject,
    ) -> Result<(), Failure> {
        let known = read_models::find_incident(tx, event.tenant.id, incident.id).await?;
        read_models::keep_incident(tx, event.tenant.id, incident);
        if known
            .as_ref()
            .is_some_and(|known| known.revision > incident.revision && known.attention > incident.attention)
        {
            // Old news, read again at the first start: somebody has seen it since.
            return Ok(());
        }
        let before = known.map_or(Attention::Wanted, |known| known.attention);
        if incident.attention > before {
            let reason = match incident.attention {
                Attention::Wanted | Attention::Acknowledged => "somebody has seen the incident".to_owned(),
                Attention::Over => format!("the incident is {}", subject.state.to_lowercase()),
            };
            self.cancel_waiting(tx, event, subject.id, Some(incident.id), &reason).await?;
            deliveries::end_repeats(tx, event.tenant.id, incident.id).await?;
        }
        self.tell(tx, event, subject).await
    }

    /// Something happened to an alert.
    ///
    /// # Errors
    /// Waits while the database is away.
    pub async fn alert_changed(
        &self,
        tx: &mut Transaction,
        event: &Delivered,
        subject: &Subject,
    ) -> Result<(), Failure> {
        if event.kind == "cleared" {
            self.cancel_waiting(tx, event, subject.id, None, "the alert cleared").await?;
        }
        self.tell(tx, event, subject).await
    }

    /// Something happened to a clock. A breach that is withdrawn is not told any more, and whoever
    /// was told is told so.
    ///
    /// # Errors
    /// Waits while the database is away.
    pub async fn clock_changed(
        &self,
        tx: &mut Transaction,
        event: &Delivered,
        mut subject: Subject,
    ) -> Result<(), Failure> {
        let withdrawn = event_type(event) == CLOCK_BREACH_WITHDRAWN;
        if !withdrawn && rules::applying(tx, event.tenant.id, &event_type(event)).await?.is_empty() {
            return Ok(());
        }
        if let Some(incident) = subject.incident_id
            && let Some(incident) = read_models::find_incident(tx, event.tenant.id, incident).await?
        {
            subject.title = incident.title;
            subject.assignee_id = incident.assignee_id;
        }
        if withdrawn {
            self.cancel_waiting(tx, event, subject.id, None, "the breach was withdrawn").await?;
            let told = deliveries::told_of_breach(tx, event.tenant.id, subject.id).await?;
            let people: Vec<PersonId> = told.iter().map(|delivery| delivery.person_id).collect();
            let ways: HashSet<_> = told.iter().map(|delivery| delivery.contact_method_id).collect();
            let usable = contact_methods::usable(tx, event.tenant.id, &people, &[]).await?;
            for way in usable.iter().filter(|way| ways.contains(&way.id)) {
                let about = about(event, CLOCK_BREACH_WITHDRAWN, &subject, CLOCK_BREACHED);
                let (message, _) = message(&about, None, way.method);
                self.request(tx, event, None, way, &subject, message, format!("told of {CLOCK_BREACHED}"));
            }
        }
        self.tell(tx, event, &subject).await
    }

    /// Asks for the deliveries that rules want for an event: each way of each person once.
    ///
    /// # Errors
    /// Waits while the database is away.
    pub async fn tell(&self, tx: &mut Transaction, event: &Delivered, subject: &Subject) -> Result<(), Failure> {
        let (tenant, event_type) = (event.tenant.id, event_type(event));
        let rules = rules::applying(tx, tenant, &event_type).await?;
        let mut told: HashSet<Uuid> = match rules.is_empty() {
            true => return Ok(()),
            false => deliveries::ways_told(tx, event.event_id).await?.into_iter().collect(),
        };
        for rule in rules.iter().filter(|rule| matching::passes(&rule.wording.filter, subject)) {
            let (ways, remark) = self.ways(tx, tenant, rule, subject).await?;
            if ways.is_empty() {
                tracing::warn!(rule_id = %rule.id, event_id = %event.event_id, event_type, "nobody can be told");
            }
            let template = match rule.wording.template_id {
                Some(id) => templates::find(tx, id).await?,
                None => None,
            };
            let source = template.as_ref().map(|template| Source { subject: &template.subject, body: &template.body });
            for way in ways {
                if !told.insert(way.id.0) {
                    continue;
                }
                let about = about(event, &event_type, subject, &rule.wording.display_name);
                let (message, complaint) = message(&about, source, way.method);
                let reason = format!("rule \"{}\"{remark}{complaint}", rule.wording.display_name);
                self.request(tx, event, Some(rule), &way, subject, message, reason);
            }
        }
        Ok(())
    }

    /// The ways by which a rule tells: of whom it names, else of the administrators.
    async fn ways(
        &self,
        tx: &mut Transaction,
        tenant: TenantId,
        rule: &Rule,
        subject: &Subject,
    ) -> Result<(Vec<ContactMethod>, &'static str), sqlx::Error> {
        let wanted = &rule.wording.recipients;
        let methods: Vec<Method> = rule.wording.methods.iter().copied().collect();
        let mut teams = wanted.team_ids.clone();
        teams.extend(subject.assigned_team_id.filter(|_| wanted.assigned_team));
        let mut people = wanted.person_ids.clone();
        people.extend(subject.assignee_id.filter(|_| wanted.assignee));
        let people = read_models::people(tx, tenant, &people, &teams).await?;
        let ways = contact_methods::usable(tx, tenant, &people, &methods).await?;
        if !ways.is_empty() || !wanted.else_administrators {
            return Ok((ways, ""));
        }
        let administrators = read_models::administrators(tx, tenant).await?;
        let ways = contact_methods::usable(tx, tenant, &administrators, &methods).await?;
        Ok((ways, "; nobody else can be told"))
    }

    #[expect(clippy::too_many_arguments, reason = "each is one fact of the delivery")]
    fn request(
        &self,
        tx: &mut Transaction,
        event: &Delivered,
        rule: Option<&Rule>,
        way: &ContactMethod,
        subject: &Subject,
        message: Message,
        reason: String,
    ) {
        let now = self.clock.now();
        let new = NewDelivery {
            id: DeliveryId::draw(),
            rule_id: rule.map(|rule| rule.id),
            event_id: event.event_id,
            event_type: event_type(event),
            subject_record_id: subject.id,
            subject_record_number: subject.number.clone(),
            incident_id: subject.incident_id,
            person_id: way.person_id,
            contact_method_id: way.id,
            method: way.method,
            repeat_after_seconds: rule.map_or(0, |rule| rule.wording.repeat_after_seconds),
            reason,
        };
        let by = rule.map_or_else(|| "told_again".to_owned(), |rule| rule.id.to_string());
        let cause = Cause::event("notification", &by, event, now);
        deliveries::request(tx, Delivery::request(new, now), message, &cause);
    }

    /// Cancels what waits about a record, or about an incident and its clocks.
    async fn cancel_waiting(
        &self,
        tx: &mut Transaction,
        event: &Delivered,
        record: Uuid,
        incident: Option<IncidentId>,
        reason: &str,
    ) -> Result<(), Failure> {
        let now = self.clock.now();
        for delivery in deliveries::pending_about(tx, event.tenant.id, record, incident).await? {
            let decision = delivery.cancel(reason.to_owned(), now).map_err(|refusal| Failure::Event(refusal.into()))?;
            store::commit(tx, decision, &Cause::event("notification", "no_longer_needed", event, now)).await?;
        }
        Ok(())
    }
}

fn about<'a>(event: &Delivered, event_type: &'a str, subject: &'a Subject, rule: &'a str) -> About<'a> {
    About { event_id: event.event_id, event_type, at: event.at, subject, rule }
}

/// The message by a rule's template, else the built-in one: a page is never lost for its text.
fn message(about: &About<'_>, source: Option<Source<'_>>, method: Method) -> (Message, &'static str) {
    let (message, complaint) = match source.map(|source| render::message(source, about)) {
        None => (render::builtin(about), ""),
        Some(Ok(message)) => (message, ""),
        Some(Err(error)) => {
            tracing::warn!(%error, event_id = %about.event_id, "a template failed; the built-in text is sent");
            (render::builtin(about), "; its template failed")
        }
    };
    let message = match method {
        Method::Mail => message,
        Method::Webhook => Message { body: render::webhook(about, &message), subject: message.subject },
    };
    (message, complaint)
}

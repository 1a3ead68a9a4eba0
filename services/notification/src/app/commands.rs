//! What people ask for about rules, templates and deliveries.

use kit::{
    caller::{Call, Person},
    db::{uncancelled, violates},
    id::TenantId,
    journal::Cause,
    problem::Problem,
    request::{self, Done},
};
use proto::common::v1::Role;

use super::{App, Error, Target, matching};
use crate::{
    domain::{
        Delivery, Rule, RuleId, Template, TemplateId,
        rule::{Recipients, Wording},
        template::Update,
    },
    render::{self, RenderError, Source},
    store::{self, SCHEMA, rules, templates},
};

/// What a caller says of a new template.
#[derive(Debug, Clone)]
pub struct CreateTemplate {
    /// The short name.
    pub name: String,
    /// The name people read.
    pub display_name: String,
    /// The template of the subject line.
    pub subject: String,
    /// The template of the text.
    pub body: String,
}

/// What an update of a rule changes; what is none stays.
#[derive(Debug, Clone, Default)]
pub struct UpdateRule {
    /// The name people read.
    pub display_name: Option<String>,
    /// The event.
    pub event_type: Option<String>,
    /// Which records.
    pub filter: Option<String>,
    /// Whom.
    pub recipients: Option<Recipients>,
    /// By which ways.
    pub methods: Option<std::collections::BTreeSet<crate::domain::Method>>,
    /// The text.
    pub template_id: Option<Option<TemplateId>>,
    /// When to tell once more.
    pub repeat_after_seconds: Option<i64>,
}

impl UpdateRule {
    fn of(self, wording: &Wording) -> Wording {
        let now = wording.clone();
        Wording {
            display_name: self.display_name.unwrap_or(now.display_name),
            event_type: self.event_type.unwrap_or(now.event_type),
            filter: self.filter.unwrap_or(now.filter),
            recipients: self.recipients.unwrap_or(now.recipients),
            methods: self.methods.unwrap_or(now.methods),
            template_id: self.template_id.unwrap_or(now.template_id),
            repeat_after_seconds: self.repeat_after_seconds.unwrap_or(now.repeat_after_seconds),
        }
    }
}

fn manager<R>(person: &Person, _: &R) -> Result<(), Problem> {
    person.require(Role::Manager, &[])
}

fn responder(person: &Person, delivery: &Delivery) -> Result<(), Problem> {
    if person.id == delivery.person_id { Ok(()) } else { person.require(Role::Responder, &[]) }
}

fn broken(error: &RenderError) -> Problem {
    match error {
        RenderError::Subject(reason) => Problem::invalid("template.subject", reason),
        RenderError::Body(reason) => Problem::invalid("template.body", reason),
    }
}

/// Says which rule of uniqueness was hit.
fn taken(error: sqlx::Error) -> Problem {
    if violates(&error, templates::NAME_TAKEN) {
        let message = "a template of this name exists; take another".to_owned();
        return Problem::Exists { reason: "TEMPLATE_NAME_TAKEN", message };
    }
    error.into()
}

fn source(template: &Template) -> Source<'_> {
    Source { subject: &template.subject, body: &template.body }
}

impl App {
    /// Tries a rule as it would be: its filter, the people and teams it names, its template.
    async fn try_rule(&self, tenant: TenantId, wording: &Wording) -> Result<(), Error> {
        matching::read(&wording.filter).map_err(|error| Problem::invalid("rule.filter", error.to_string()))?;
        for team in &wording.recipients.team_ids {
            self.check_team(tenant, *team, "rule.recipients.team_ids").await?;
        }
        for person in &wording.recipients.person_ids {
            self.check_person(tenant, *person, "rule.recipients.person_ids").await?;
        }
        if let Some(id) = wording.template_id {
            let template = match self.get::<Template>(tenant, id.0).await {
                Err(Error::Problem(Problem::NotFound { .. })) => {
                    return Err(Problem::invalid("rule.template_id", format!("there is no template {id}")).into());
                }
                found => found?,
            };
            let tried = render::try_on_sample(source(&template), &wording.event_type);
            tried.map_err(|error| {
                Problem::invalid("rule.template_id", format!("does not fit {}: {error}", wording.event_type))
            })?;
        }
        Ok(())
    }

    /// Creates a rule.
    ///
    /// # Errors
    /// A rule that could not work, or no right to.
    pub async fn create_rule(&self, call: Call, wording: Wording) -> Result<Done<Rule>, Error> {
        let app = self.clone();
        uncancelled(async move {
            call.person.require(Role::Manager, &[])?;
            let now = app.clock.now();
            let decision = Rule::create(RuleId::draw(), wording.clone(), now)?;
            app.try_rule(call.tenant().id, &wording).await?;
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                Ok(Done::Now(store::commit(&mut tx, decision, &Cause::call(&call, now)).await?))
            }
            .await;
            let done = tx.end::<_, Error>(outcome).await?;
            app.committed();
            Ok(done)
        })
        .await
    }

    /// Changes a rule.
    ///
    /// # Errors
    /// A rule that could not work, stale, or no right to.
    pub async fn update_rule(&self, call: Call, target: Target, update: UpdateRule) -> Result<Done<Rule>, Error> {
        let now: Rule = self.get(call.tenant().id, target.id).await?;
        self.try_rule(call.tenant().id, &update.clone().of(&now.wording)).await?;
        self.command(call, target, manager, move |rule: &Rule, now| rule.update(update.of(&rule.wording), now)).await
    }

    /// Applies a rule no more.
    ///
    /// # Errors
    /// Not found, stale, or no right to.
    pub async fn disable_rule(&self, call: Call, target: Target) -> Result<Done<Rule>, Error> {
        self.command(call, target, manager, |rule: &Rule, now| Ok(rule.disable(now))).await
    }

    /// Applies a rule again.
    ///
    /// # Errors
    /// Not found, stale, or no right to.
    pub async fn enable_rule(&self, call: Call, target: Target) -> Result<Done<Rule>, Error> {
        self.command(call, target, manager, |rule: &Rule, now| Ok(rule.enable(now))).await
    }

    /// Creates a template.
    ///
    /// # Errors
    /// A template that does not render, a name that is taken, or no right to.
    pub async fn create_template(&self, call: Call, create: CreateTemplate) -> Result<Done<Template>, Error> {
        let app = self.clone();
        uncancelled(async move {
            call.person.require(Role::Manager, &[])?;
            let wanted = Source { subject: &create.subject, body: &create.body };
            render::try_on_any_sample(wanted).map_err(|error| broken(&error))?;
            let now = app.clock.now();
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let CreateTemplate { name, display_name, subject, body } = create;
                let decision = Template::create(TemplateId::draw(), name, display_name, subject, body, now);
                let committed = store::commit(&mut tx, decision, &Cause::call(&call, now)).await;
                Ok(Done::Now(committed.map_err(taken)?))
            }
            .await;
            let done = tx.end::<_, Error>(outcome).await?;
            app.committed();
            Ok(done)
        })
        .await
    }

    /// Changes a template; it must still fit the rules that use it.
    ///
    /// # Errors
    /// A template that does not render, stale, or no right to.
    pub async fn update_template(&self, call: Call, target: Target, update: Update) -> Result<Done<Template>, Error> {
        let tenant = call.tenant().id;
        let now: Template = self.get(tenant, target.id).await?;
        let wanted = now.update(update.clone(), now.updated_at);
        render::try_on_any_sample(source(wanted.record())).map_err(|error| broken(&error))?;
        let mut tx = self.database.begin(tenant).await?;
        let events = rules::events_with_template(&mut tx, tenant, now.id).await?;
        tx.commit().await?;
        for event in events {
            render::try_on_sample(source(wanted.record()), &event).map_err(|error| broken(&error))?;
        }
        self.command(call, target, manager, move |template: &Template, now| Ok(template.update(update, now))).await
    }

    /// Does not send a delivery any more.
    ///
    /// # Errors
    /// Over already, not found, stale, or no right to.
    pub async fn cancel_delivery(&self, call: Call, target: Target) -> Result<Done<Delivery>, Error> {
        self.command(call, target, responder, |delivery: &Delivery, now| {
            delivery.cancel("cancelled by a person".to_owned(), now)
        })
        .await
    }
}

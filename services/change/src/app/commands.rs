//! What people ask for: one method a verb, each a decision of the domain. Working on a change needs
//! a responder of its team; deciding on it, a manager.

use kit::{
    caller::Call,
    db::uncancelled,
    id::TenantId,
    journal::Cause,
    problem::Problem,
    request::{self, Done},
};
use proto::common::v1::Role;
use uuid::Uuid;

use super::{App, Error, Target};
use crate::{
    domain::{
        Change, NewChange, Update,
        change::{ChangeId, Window},
    },
    store::{SCHEMA, changes, read_models::Noun},
};

type Answer = Result<Done<Change>, Error>;

impl App {
    /// Writes a change down, asked for by the caller.
    ///
    /// # Errors
    /// An unknown service, configuration item or team; or the database is away.
    pub async fn create(&self, call: Call, new: NewChange) -> Answer {
        let app = self.clone();
        uncancelled(async move {
            let tenant = call.tenant().id;
            let teams: Vec<_> = new.assigned_team_id.into_iter().collect();
            let (services, items) = (bare(&new.service_ids), bare(&new.ci_ids));
            app.check_named(tenant, Some(&services), Some(&items), Some(&bare(&teams))).await?;
            let number = app.numbers.next(tenant).await?;
            let now = app.clock.now();
            let mut tx = app.database.begin(tenant).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                call.person.require(Role::Responder, &teams)?;
                let decision = Change::draft(ChangeId::draw(), number, call.person.id, new, now);
                Ok(Done::Now(changes::commit(&mut tx, decision, &Cause::call(&call, now)).await?))
            }
            .await;
            let done = tx.end::<_, Error>(outcome).await?;
            app.committed();
            Ok(done)
        })
        .await
    }

    /// Changes fields; editing the plan of what was approved voids the approval.
    ///
    /// # Errors
    /// Stale, an unknown service, configuration item or team, or as the domain refuses.
    pub async fn update(&self, call: Call, target: Target, update: Update) -> Answer {
        let services = update.service_ids.as_deref().map(bare);
        let items = update.ci_ids.as_deref().map(bare);
        let teams: Option<Vec<Uuid>> = update.assigned_team_id.flatten().map(|team| vec![team.0]);
        self.check_named(call.tenant().id, services.as_deref(), items.as_deref(), teams.as_deref()).await?;
        self.command(call, Role::Responder, target, move |change, _, now| change.update(update, now)).await
    }

    async fn check_named(
        &self,
        tenant: TenantId,
        services: Option<&[Uuid]>,
        items: Option<&[Uuid]>,
        teams: Option<&[Uuid]>,
    ) -> Result<(), Problem> {
        self.check(tenant, Noun::Service, services.unwrap_or_default(), "change.service_ids").await?;
        self.check(tenant, Noun::ConfigurationItem, items.unwrap_or_default(), "change.ci_ids").await?;
        self.check(tenant, Noun::Team, teams.unwrap_or_default(), "change.assigned_team_id").await
    }

    /// Asks for approval; a standard change is approved at once.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn request(&self, call: Call, target: Target) -> Answer {
        self.command(call, Role::Responder, target, |change, _, now| change.request(now)).await
    }

    /// Approves it as it is planned now.
    ///
    /// # Errors
    /// As the domain refuses, also the requester who administers the tenant.
    pub async fn approve(&self, call: Call, target: Target, note: String) -> Answer {
        self.command(call, Role::Manager, target, |change, by, now| change.approve(by.id, note, now)).await
    }

    /// Refuses it.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn reject(&self, call: Call, target: Target, reason: String) -> Answer {
        self.command(call, Role::Manager, target, |change, _, now| change.reject(reason, now)).await
    }

    /// Gives it a time, or another.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn schedule(&self, call: Call, target: Target, window: Window) -> Answer {
        self.command(call, Role::Responder, target, move |change, _, now| change.schedule(window, now)).await
    }

    /// Says that it is being carried out.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn start(&self, call: Call, target: Target) -> Answer {
        self.command(call, Role::Responder, target, |change, _, now| change.start(now)).await
    }

    /// Says that it is done as planned.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn complete(&self, call: Call, target: Target, notes: String) -> Answer {
        self.command(call, Role::Responder, target, |change, _, now| change.complete_as_planned(notes, now)).await
    }

    /// Says that it was not done as planned.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn fail(&self, call: Call, target: Target, notes: String) -> Answer {
        self.command(call, Role::Responder, target, |change, _, now| change.fail(notes, now)).await
    }

    /// Ends it for good.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn close(&self, call: Call, target: Target, notes: String) -> Answer {
        self.command(call, Role::Responder, target, |change, _, now| change.close(notes, now)).await
    }

    /// Gives it up.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn cancel(&self, call: Call, target: Target, reason: String) -> Answer {
        self.command(call, Role::Responder, target, |change, _, now| change.cancel(reason, now)).await
    }
}

fn bare<T: Copy + Into<Uuid>>(ids: &[T]) -> Vec<Uuid> {
    ids.iter().map(|id| (*id).into()).collect()
}

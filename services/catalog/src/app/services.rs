//! What people ask of services: one method a verb, each a decision of the domain.

use chrono::{DateTime, Utc};
use kit::{
    caller::Call,
    db::{uncancelled, violates},
    filter::Expression,
    id::{ServiceId, TenantId},
    journal::{self, Cause},
    problem::Problem,
    request::{self, Done},
};
use proto::common::v1::{FeedEntry, Role};

use super::{Answer, App, Error, Target};
use crate::{
    domain::{NewService, Refusal, Service, ServiceDecision, service::Update},
    store::{SCHEMA, services},
};

impl App {
    /// Creates a service.
    ///
    /// # Errors
    /// A name that is taken, an unknown team, or the database is away.
    pub async fn create_service(&self, call: Call, new: NewService) -> Answer<Service> {
        let app = self.clone();
        uncancelled(async move {
            let tenant = call.tenant().id;
            app.check_team(tenant, new.owning_team_id, "service.owning_team_id").await?;
            if let Some(team) = new.support_team_id {
                app.check_team(tenant, team, "service.support_team_id").await?;
            }
            let now = app.clock.now();
            let mut tx = app.database.begin(tenant).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let decision = Service::create(ServiceId::draw(), new, now);
                call.person.require(Role::Manager, &decision.record().teams())?;
                let name = decision.record().name.clone();
                let committed = services::commit(&mut tx, decision, &Cause::call(&call, now)).await;
                Ok(Done::Now(committed.map_err(|error| taken(error, &name))?))
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
    /// Stale, retired, or an unknown team.
    pub async fn update_service(&self, call: Call, target: Target<ServiceId>, update: Update) -> Answer<Service> {
        let tenant = call.tenant().id;
        if let Some(team) = update.owning_team_id {
            self.check_team(tenant, team, "service.owning_team_id").await?;
        }
        if let Some(Some(team)) = update.support_team_id {
            self.check_team(tenant, team, "service.support_team_id").await?;
        }
        self.on_service(call, target, move |service, now| service.update(update, now)).await
    }

    /// Puts a planned service into use.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn activate_service(&self, call: Call, target: Target<ServiceId>) -> Answer<Service> {
        self.on_service(call, target, |service, now| service.activate(now)).await
    }

    /// Takes a service out of use.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn retire_service(&self, call: Call, target: Target<ServiceId>) -> Answer<Service> {
        self.on_service(call, target, |service, now| service.retire(now)).await
    }

    /// One command on one service: loads it, checks who and which revision, lets the domain decide,
    /// commits. The same request again gets the first answer.
    async fn on_service(
        &self,
        call: Call,
        target: Target<ServiceId>,
        decide: impl FnOnce(&Service, DateTime<Utc>) -> Result<ServiceDecision, Refusal> + Send + 'static,
    ) -> Answer<Service> {
        let app = self.clone();
        uncancelled(async move {
            let now = app.clock.now();
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let found = services::find_for_update(&mut tx, target.id).await?;
                let service = found.ok_or_else(|| Problem::not_found("service", target.id))?;
                target.check(&call, &service.teams(), service.revision)?;
                let decision = decide(&service, now)?;
                Ok(Done::Now(services::commit(&mut tx, decision, &Cause::call(&call, now)).await?))
            }
            .await;
            let done = tx.end::<_, Error>(outcome).await?;
            app.committed();
            Ok(done)
        })
        .await
    }

    /// Returns a service.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn service(&self, tenant: TenantId, id: ServiceId) -> Result<Service, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let found = services::find(&mut tx, id).await?;
        tx.commit().await?;
        Ok(found.ok_or_else(|| Problem::not_found("service", id))?)
    }

    /// Lists services, newest first.
    ///
    /// # Errors
    /// An invalid filter, or the database is away.
    pub async fn services(
        &self,
        tenant: TenantId,
        filter: Option<Expression>,
        after: Option<uuid::Uuid>,
        limit: i64,
    ) -> Result<Vec<Service>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let services = services::list(&mut tx, &filter, after, limit).await?;
        tx.commit().await?;
        Ok(services)
    }

    /// The history of a service, oldest first.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn service_history(
        &self,
        tenant: TenantId,
        id: ServiceId,
        after_revision: i64,
        limit: i64,
    ) -> Result<Vec<FeedEntry>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let outcome = async {
            services::find(&mut tx, id).await?.ok_or_else(|| Problem::not_found("service", id))?;
            Ok(journal::history(&mut tx, SCHEMA, id.0, after_revision, limit).await?)
        }
        .await;
        tx.end(outcome).await
    }
}

fn taken(error: sqlx::Error, name: &str) -> Problem {
    if violates(&error, services::NAME) {
        let message = format!("there is a service named {name} already; names are never given again");
        return Problem::Exists { reason: "SERVICE_NAME_TAKEN", message };
    }
    error.into()
}

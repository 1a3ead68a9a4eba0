//! What people ask of configuration items: one method a verb, each a decision of the domain.

use chrono::{DateTime, Utc};
use kit::{
    caller::Call,
    db::{Transaction, uncancelled, violates},
    filter::Expression,
    id::{CiId, ServiceId, TenantId},
    journal::{self, Cause},
    problem::Problem,
    request::{self, Done},
};
use proto::common::v1::{FeedEntry, Role};

use super::{Answer, App, Error, Target};
use crate::{
    domain::{
        ConfigurationItem, ConfigurationItemDecision, NewConfigurationItem, Refusal, State, configuration_item::Update,
    },
    store::{SCHEMA, configuration_items, services},
};

impl App {
    /// Creates a configuration item.
    ///
    /// # Errors
    /// A name that is taken, an unknown team or service, or the database is away.
    pub async fn create_configuration_item(&self, call: Call, new: NewConfigurationItem) -> Answer<ConfigurationItem> {
        let app = self.clone();
        uncancelled(async move {
            let tenant = call.tenant().id;
            app.check_team(tenant, new.owning_team_id, "configuration_item.owning_team_id").await?;
            if let Some(team) = new.support_team_id {
                app.check_team(tenant, team, "configuration_item.support_team_id").await?;
            }
            let now = app.clock.now();
            let mut tx = app.database.begin(tenant).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                if let Some(service) = new.service_id {
                    check_service(&mut tx, service).await?;
                }
                let decision = ConfigurationItem::create(CiId::draw(), new, now);
                call.person.require(Role::Manager, &decision.record().teams())?;
                let name = decision.record().name.clone();
                let committed = configuration_items::commit(&mut tx, decision, &Cause::call(&call, now)).await;
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
    /// Stale, retired, or an unknown team or service.
    pub async fn update_configuration_item(
        &self,
        call: Call,
        target: Target<CiId>,
        update: Update,
    ) -> Answer<ConfigurationItem> {
        let tenant = call.tenant().id;
        if let Some(team) = update.owning_team_id {
            self.check_team(tenant, team, "configuration_item.owning_team_id").await?;
        }
        if let Some(Some(team)) = update.support_team_id {
            self.check_team(tenant, team, "configuration_item.support_team_id").await?;
        }
        let service = update.service_id.flatten();
        self.on_configuration_item(call, target, service, move |item, now| item.update(update, now)).await
    }

    /// Puts a planned item into use.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn activate_configuration_item(&self, call: Call, target: Target<CiId>) -> Answer<ConfigurationItem> {
        self.on_configuration_item(call, target, None, |item, now| item.activate(now)).await
    }

    /// Takes an item out of use.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn retire_configuration_item(&self, call: Call, target: Target<CiId>) -> Answer<ConfigurationItem> {
        self.on_configuration_item(call, target, None, |item, now| item.retire(now)).await
    }

    /// One command on one item, and on the service that it shall be part of: loads it, checks who
    /// and which revision, lets the domain decide, commits. The same request again gets the first
    /// answer.
    async fn on_configuration_item(
        &self,
        call: Call,
        target: Target<CiId>,
        service: Option<ServiceId>,
        decide: impl FnOnce(&ConfigurationItem, DateTime<Utc>) -> Result<ConfigurationItemDecision, Refusal>
        + Send
        + 'static,
    ) -> Answer<ConfigurationItem> {
        let app = self.clone();
        uncancelled(async move {
            let now = app.clock.now();
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let found = configuration_items::find_for_update(&mut tx, target.id).await?;
                let item = found.ok_or_else(|| Problem::not_found("configuration item", target.id))?;
                target.check(&call, &item.teams(), item.revision)?;
                if let Some(service) = service.filter(|service| item.service_id != Some(*service)) {
                    check_service(&mut tx, service).await?;
                }
                let decision = decide(&item, now)?;
                Ok(Done::Now(configuration_items::commit(&mut tx, decision, &Cause::call(&call, now)).await?))
            }
            .await;
            let done = tx.end::<_, Error>(outcome).await?;
            app.committed();
            Ok(done)
        })
        .await
    }

    /// Returns a configuration item.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn configuration_item(&self, tenant: TenantId, id: CiId) -> Result<ConfigurationItem, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let found = configuration_items::find(&mut tx, id).await?;
        tx.commit().await?;
        Ok(found.ok_or_else(|| Problem::not_found("configuration item", id))?)
    }

    /// Lists configuration items, newest first.
    ///
    /// # Errors
    /// An invalid filter, or the database is away.
    pub async fn configuration_items(
        &self,
        tenant: TenantId,
        filter: Option<Expression>,
        after: Option<uuid::Uuid>,
        limit: i64,
    ) -> Result<Vec<ConfigurationItem>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let items = configuration_items::list(&mut tx, &filter, after, limit).await?;
        tx.commit().await?;
        Ok(items)
    }

    /// The history of a configuration item, oldest first.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn configuration_item_history(
        &self,
        tenant: TenantId,
        id: CiId,
        after_revision: i64,
        limit: i64,
    ) -> Result<Vec<FeedEntry>, Error> {
        let mut tx = self.database.begin(tenant).await?;
        let outcome = async {
            let found = configuration_items::find(&mut tx, id).await?;
            found.ok_or_else(|| Problem::not_found("configuration item", id))?;
            Ok(journal::history(&mut tx, SCHEMA, id.0, after_revision, limit).await?)
        }
        .await;
        tx.end(outcome).await
    }
}

/// Checks the service that an item shall be part of, and keeps it as it is until the commit.
async fn check_service(tx: &mut Transaction, id: ServiceId) -> Result<(), Error> {
    match services::find_for_share(tx, id).await? {
        Some(service) if service.state == State::Retired => Err(Refusal::ServiceRetired(service.name).into()),
        Some(_) => Ok(()),
        None => Err(Problem::invalid("configuration_item.service_id", format!("there is no service {id}")).into()),
    }
}

fn taken(error: sqlx::Error, name: &str) -> Problem {
    if violates(&error, configuration_items::NAME) {
        let message = format!("there is a configuration item named {name} already; names are never given again");
        return Problem::Exists { reason: "CONFIGURATION_ITEM_NAME_TAKEN", message };
    }
    error.into()
}

//! What people ask for: one method a verb, each a decision of the domain.

use kit::{
    caller::Call,
    db::{uncancelled, violates},
    id::{AlertId, TeamId},
    journal::Cause,
    problem::Problem,
    request::{self, Done},
};
use proto::common::v1::Role;

use super::{App, Error, Target, keys};
use crate::{
    domain::{
        Alert, Integration, IntegrationId, Refusal,
        integration::{Change, Decision, Key, NewIntegration},
    },
    store::{self, SCHEMA, integrations::NAME},
};

/// An integration and its new key, which is shown this once: a request repeated gets none.
#[derive(Debug)]
pub struct Keyed {
    /// The integration.
    pub done: Done<Integration>,
    /// Its new key.
    pub key: String,
}

type Answer = Result<Done<Integration>, Error>;

impl App {
    /// Creates an integration with its first key.
    ///
    /// # Errors
    /// A name that is taken, an unknown team or service, or the database is away.
    pub async fn create_integration(&self, call: Call, new: NewIntegration) -> Result<Keyed, Error> {
        let app = self.clone();
        uncancelled(async move {
            let tenant = call.tenant().id;
            call.person.require(Role::Manager, &teams(new.team_id))?;
            app.check_team(&call, new.team_id).await?;
            app.check_service(tenant, new.service_id).await?;
            let key = keys::make()?;
            let now = app.clock.now();
            let mut tx = app.database.begin(tenant).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Keyed { done: Done::Before(kept), key: String::new() });
                }
                store::read_models::keep_tenant(&mut tx, call.tenant(), 0, true).await?;
                let name = new.name.clone();
                let decision = Integration::create(IntegrationId::draw(), new, keys::kept(&key), now);
                let integration = match store::integrations::commit(&mut tx, decision, &Cause::call(&call, now)).await {
                    Err(error) if violates(&error, NAME) => return Err(Refusal::NameTaken(name).into()),
                    committed => committed?,
                };
                Ok(Keyed { done: Done::Now(integration), key })
            }
            .await;
            let done = tx.end::<_, Error>(outcome).await?;
            app.committed();
            app.keys_changed();
            Ok(done)
        })
        .await
    }

    /// Changes fields.
    ///
    /// # Errors
    /// Stale, an unknown team or service, or the database is away.
    pub async fn update_integration(&self, call: Call, target: Target<IntegrationId>, change: Change) -> Answer {
        self.check_team(&call, change.team_id.flatten()).await?;
        self.check_service(call.tenant().id, change.service_id.flatten()).await?;
        self.on_integration(call, target, move |integration, now| integration.change(change, now)).await
    }

    /// Makes a new key; the old one holds no longer.
    ///
    /// # Errors
    /// Stale, not found, or the database is away.
    pub async fn rotate_key(&self, call: Call, target: Target<IntegrationId>) -> Result<Keyed, Error> {
        let key = keys::make()?;
        let kept: Key = keys::kept(&key);
        let done = self.on_integration(call, target, move |integration, now| integration.rotate_key(kept, now)).await?;
        let key = if matches!(done, Done::Now(_)) { key } else { String::new() };
        Ok(Keyed { done, key })
    }

    /// Refuses its key from now on.
    ///
    /// # Errors
    /// Stale, not found, or the database is away.
    pub async fn disable_integration(&self, call: Call, target: Target<IntegrationId>) -> Answer {
        self.on_integration(call, target, |integration, now| integration.disable(now)).await
    }

    /// Takes alerts again.
    ///
    /// # Errors
    /// Stale, not found, or the database is away.
    pub async fn enable_integration(&self, call: Call, target: Target<IntegrationId>) -> Answer {
        self.on_integration(call, target, |integration, now| integration.enable(now)).await
    }

    /// Clears an alert by hand.
    ///
    /// # Errors
    /// Stale, not found, or the database is away.
    pub async fn clear_alert(&self, call: Call, target: Target<AlertId>) -> Result<Done<Alert>, Error> {
        let app = self.clone();
        uncancelled(async move {
            let now = app.clock.now();
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let found = store::alerts::find_for_update(&mut tx, target.id).await?;
                let alert = found.ok_or_else(|| Problem::not_found("alert", target.id))?;
                call.person.require(Role::Responder, &teams(alert.route.team_id))?;
                current(target.revision, alert.revision)?;
                let decision = alert.clear_by_person(now);
                let alert = store::alerts::commit(&mut tx, decision, &Cause::call(&call, now));
                Ok(Done::Now(alert))
            }
            .await;
            let done = tx.end::<_, Error>(outcome).await?;
            app.committed();
            Ok(done)
        })
        .await
    }

    /// One command on one integration: loads it, checks who and which revision, lets the domain
    /// decide, commits. The same request again gets the first answer.
    async fn on_integration(
        &self,
        call: Call,
        target: Target<IntegrationId>,
        decide: impl FnOnce(&Integration, chrono::DateTime<chrono::Utc>) -> Decision + Send + 'static,
    ) -> Answer {
        let app = self.clone();
        uncancelled(async move {
            let now = app.clock.now();
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let found = store::integrations::find_for_update(&mut tx, target.id).await?;
                let integration = found.ok_or_else(|| Problem::not_found("integration", target.id))?;
                call.person.require(Role::Manager, &teams(integration.team_id))?;
                current(target.revision, integration.revision)?;
                let decision = decide(&integration, now);
                let integration = store::integrations::commit(&mut tx, decision, &Cause::call(&call, now)).await?;
                Ok(Done::Now(integration))
            }
            .await;
            let done = tx.end::<_, Error>(outcome).await?;
            app.committed();
            app.keys_changed();
            Ok(done)
        })
        .await
    }
}

fn teams(team: Option<TeamId>) -> Vec<TeamId> {
    team.into_iter().collect()
}

fn current(given: Option<i64>, current: i64) -> Result<(), Problem> {
    match given {
        Some(given) if given != current => Err(Problem::Stale { current, given }),
        Some(_) | None => Ok(()),
    }
}

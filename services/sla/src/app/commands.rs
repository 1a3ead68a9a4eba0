//! What people ask for: one method a verb, each a decision of the domain.

use chrono::{DateTime, Utc};
use kit::{
    caller::Call,
    db::{Transaction, uncancelled, violates},
    journal::Cause,
    problem::Problem,
    request::{self, Done},
};
use proto::common::v1::Role;

use super::{App, Error, calendars_of};
use crate::{
    domain::{
        Agreement, AgreementId, AgreementState, Calendar, CalendarDecision, CalendarId, Refusal,
        agreement::{AgreementUpdate, NewAgreement},
        calendar::{CalendarUpdate, NewCalendar},
    },
    store::{self, SCHEMA},
};

/// Which record a command is about.
#[derive(Debug, Clone, Copy)]
pub struct Target<Id> {
    /// The record.
    pub id: Id,
    /// The revision that it must have, if the caller cares.
    pub revision: Option<i64>,
}

type Answer<T> = Result<Done<T>, Error>;

/// Agreements and calendars belong to the tenant: a manager of any team may write them.
fn may_write(call: &Call) -> Result<(), Problem> {
    call.person.require(Role::Manager, &[])
}

fn fresh<Id>(target: &Target<Id>, current: i64) -> Result<(), Problem> {
    match target.revision {
        Some(given) if given != current => Err(Problem::Stale { current, given }),
        _ => Ok(()),
    }
}

impl App {
    /// Writes an agreement, as a draft.
    ///
    /// # Errors
    /// An unknown service or calendar, or as the domain refuses.
    pub async fn create_agreement(&self, call: Call, wanted: NewAgreement) -> Answer<Agreement> {
        may_write(&call)?;
        let app = self.clone();
        uncancelled(async move {
            app.check_service(call.tenant().id, wanted.service_id).await?;
            let now = app.clock.now();
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let calendars = calendars_of(&mut tx, &wanted.targets).await?;
                let decision = Agreement::create(AgreementId::draw(), wanted, &calendars, now)?;
                let agreement = store::agreements::commit(&mut tx, decision, &Cause::call(&call, now)).await?;
                Ok(Done::Now(agreement))
            }
            .await;
            app.end(tx, outcome).await
        })
        .await
    }

    /// Changes fields of an agreement.
    ///
    /// # Errors
    /// Stale, an unknown calendar, or as the domain refuses.
    pub async fn update_agreement(
        &self,
        call: Call,
        target: Target<AgreementId>,
        update: AgreementUpdate,
    ) -> Answer<Agreement> {
        may_write(&call)?;
        let app = self.clone();
        uncancelled(async move {
            let now = app.clock.now();
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let agreement = load_agreement(&mut tx, &target).await?;
                let calendars = calendars_of(&mut tx, update.targets.as_ref().unwrap_or(&agreement.targets)).await?;
                let decision = agreement.update(update, &calendars, now)?;
                let agreement = store::agreements::commit(&mut tx, decision, &Cause::call(&call, now)).await?;
                Ok(Done::Now(agreement))
            }
            .await;
            app.end(tx, outcome).await
        })
        .await
    }

    /// Lets an agreement start clocks; the active one of its service and kind is retired.
    ///
    /// # Errors
    /// Stale, or as the domain refuses.
    pub async fn activate_agreement(&self, call: Call, target: Target<AgreementId>) -> Answer<Agreement> {
        may_write(&call)?;
        let app = self.clone();
        uncancelled(async move {
            let now = app.clock.now();
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let agreement = load_agreement(&mut tx, &target).await?;
                let cause = Cause::call(&call, now);
                let agreement = activate(&mut tx, &agreement, &cause, now).await?;
                Ok(Done::Now(agreement))
            }
            .await;
            app.end(tx, outcome).await
        })
        .await
    }

    /// Lets an agreement start no more clocks.
    ///
    /// # Errors
    /// Stale, or not found.
    pub async fn retire_agreement(&self, call: Call, target: Target<AgreementId>) -> Answer<Agreement> {
        may_write(&call)?;
        let app = self.clone();
        uncancelled(async move {
            let now = app.clock.now();
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let agreement = load_agreement(&mut tx, &target).await?;
                let decision = agreement.retire(now);
                let agreement = store::agreements::commit(&mut tx, decision, &Cause::call(&call, now)).await?;
                Ok(Done::Now(agreement))
            }
            .await;
            app.end(tx, outcome).await
        })
        .await
    }

    /// Creates a calendar.
    ///
    /// # Errors
    /// The name is taken, or as the domain refuses.
    pub async fn create_calendar(&self, call: Call, wanted: NewCalendar) -> Answer<Calendar> {
        may_write(&call)?;
        let app = self.clone();
        uncancelled(async move {
            let now = app.clock.now();
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let name = wanted.name.clone();
                let decision = Calendar::create(CalendarId::draw(), wanted, now)?;
                let saved = store::calendars::commit(&mut tx, decision, &Cause::call(&call, now)).await;
                let calendar = saved.map_err(|error| {
                    if violates(&error, "calendar_name") { Refusal::NameTaken(name).into() } else { Error::from(error) }
                })?;
                Ok(Done::Now(calendar))
            }
            .await;
            app.end(tx, outcome).await
        })
        .await
    }

    /// Changes fields of a calendar.
    ///
    /// # Errors
    /// Stale, or as the domain refuses.
    pub async fn update_calendar(
        &self,
        call: Call,
        target: Target<CalendarId>,
        update: CalendarUpdate,
    ) -> Answer<Calendar> {
        self.on_calendar(call, target, |calendar, _, now| calendar.update(update, now)).await
    }

    /// Takes a calendar out of use.
    ///
    /// # Errors
    /// Stale, or still used by an active agreement.
    pub async fn retire_calendar(&self, call: Call, target: Target<CalendarId>) -> Answer<Calendar> {
        self.on_calendar(call, target, |calendar, user, now| calendar.retire(user, now)).await
    }

    async fn on_calendar(
        &self,
        call: Call,
        target: Target<CalendarId>,
        decide: impl FnOnce(&Calendar, Option<String>, DateTime<Utc>) -> Result<CalendarDecision, Refusal> + Send + 'static,
    ) -> Answer<Calendar> {
        may_write(&call)?;
        let app = self.clone();
        uncancelled(async move {
            let now = app.clock.now();
            let mut tx = app.database.begin(call.tenant().id).await?;
            let outcome = async {
                if let Some(kept) = request::kept(&mut tx, SCHEMA, &call).await? {
                    return Ok(Done::Before(kept));
                }
                let found = store::calendars::find_for_update(&mut tx, target.id).await?;
                let calendar = found.ok_or_else(|| Problem::not_found("calendar", target.id))?;
                fresh(&target, calendar.revision)?;
                let user = store::calendars::user(&mut tx, calendar.id).await?;
                let decision = decide(&calendar, user, now)?;
                let calendar = store::calendars::commit(&mut tx, decision, &Cause::call(&call, now)).await?;
                Ok(Done::Now(calendar))
            }
            .await;
            app.end(tx, outcome).await
        })
        .await
    }

    /// Commits what went well and wakes who waits for it; rolls back what was refused.
    pub(super) async fn end<T>(&self, tx: Transaction, outcome: Result<T, Error>) -> Result<T, Error> {
        let done = tx.end(outcome).await?;
        self.committed();
        Ok(done)
    }
}

async fn load_agreement(tx: &mut Transaction, target: &Target<AgreementId>) -> Result<Agreement, Error> {
    let found = store::agreements::find_for_update(tx, target.id).await?;
    let agreement = found.ok_or_else(|| Problem::not_found("agreement", target.id))?;
    fresh(target, agreement.revision)?;
    Ok(agreement)
}

/// Activates an agreement that is locked with all of its service and kind.
pub(super) async fn activate(
    tx: &mut Transaction,
    agreement: &Agreement,
    cause: &Cause,
    now: DateTime<Utc>,
) -> Result<Agreement, Error> {
    let calendars = calendars_of(tx, &agreement.targets).await?;
    let decision = agreement.activate(&calendars, now)?;
    if !decision.is_unchanged() {
        let active = store::agreements::active_for(tx, cause.tenant.id, agreement.service_id).await?;
        let same = |other: &&Agreement| other.kind == agreement.kind && other.service_id == agreement.service_id;
        for other in active.iter().filter(same).filter(|other| other.state == AgreementState::Active) {
            // The answer that is kept under the request's key is the activated one.
            let retired = Cause { call: None, ..cause.clone() };
            store::agreements::commit(tx, other.retire(now), &retired).await?;
        }
    }
    Ok(store::agreements::commit(tx, decision, cause).await?)
}

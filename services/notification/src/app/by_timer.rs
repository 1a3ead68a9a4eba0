//! What is done when a timer is due: an attempt begins, one that never ended is found, a message
//! is repeated. An attempt only begins here, its row committed; [`super::sending`] carries it out.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use kit::{
    consumer::Failure,
    db::Transaction,
    journal::Cause,
    timer::{self, Due, Timer},
};

use super::App;
use crate::{
    domain::{
        Attention, ContactMethod, Delivery, DeliveryId, Message, Method, Outcome, Refusal,
        contact_method::State as WayState,
        delivery::{Decision, Ended, State},
    },
    send::{
        address::check_url,
        slots::{Attempt, Endpoint, Waiting, Wish},
    },
    store::{
        self, attempts, contact_methods,
        deliveries::{self, RECOVER, REPEAT, SEND},
        read_models,
    },
};

/// After this time an attempt whose end nobody noted is taken for lost; longer than any attempt.
const LOST_AFTER: TimeDelta = TimeDelta::seconds(60);
/// How often it is asked before whether its process still lives.
const LOOK_EVERY: TimeDelta = TimeDelta::seconds(5);
/// How long a delivery that finds no room waits, unless it is called before.
const NO_ROOM: TimeDelta = TimeDelta::seconds(5);

fn fault(refusal: Refusal) -> Failure {
    Failure::Event(refusal.into())
}

impl App {
    /// Begins the next attempt, unless it is of no use any more or there is no room.
    async fn begin_attempt(&self, tx: &mut Transaction, timer: &Timer, now: DateTime<Utc>) -> Result<(), Failure> {
        let Some(delivery) = pending(tx, timer).await? else { return Ok(()) };
        let way = contact_methods::recall(tx, delivery.contact_method_id).await?;
        if let Some(decision) = of_no_use(tx, timer, &delivery, way.as_ref(), now).await? {
            store::commit(tx, decision, &Cause::timer("notification", "unreachable", timer.tenant.clone(), now))
                .await?;
            return Ok(());
        }
        let host = match (delivery.method, way) {
            (Method::Webhook, Some(way)) => {
                check_url(&way.address, self.poster.allow()).map(|target| target.endpoint()).unwrap_or_default()
            }
            (Method::Webhook | Method::Mail, _) => String::new(),
        };
        let number = delivery.attempt_count + 1;
        let attempt = Attempt { tenant: timer.tenant.clone(), delivery: delivery.id, number };
        let endpoint = Endpoint::of(delivery.method, host);
        match self.outbound.slots.hold(&attempt, endpoint.clone()) {
            Wish::NoRoom => {
                timer::set(tx, &timer.tenant, delivery.id.0, SEND, Some(now + NO_ROOM));
                self.outbound.wait(Waiting { delivery: delivery.id, endpoint });
                return Ok(());
            }
            Wish::Held => self.outbound.claim(attempt.clone()),
            Wish::HeldBefore => {}
        }
        attempts::begin(tx, &attempt, self.outbound.claimant, now, now + LOST_AFTER);
        timer::set(tx, &timer.tenant, delivery.id.0, RECOVER, Some(now + LOOK_EVERY));
        if kit::planted!("send_before_attempt")
            && let Some(job) =
                attempts::jobs(tx, std::slice::from_ref(&attempt), self.outbound.claimant).await?.remove(&delivery.id)
        {
            let report = self.send(&attempt, job).await;
            kit::fail_point!("delivery.after_send");
            attempts::end(tx, &[attempts::Ended::new(&attempt, &report, now)]).await?;
            self.ended(tx, &timer.tenant, &delivery, report.outcome, &report.detail, now).await?;
        }
        Ok(())
    }

    /// Finds an attempt whose process ended before it could say how: the same message goes out
    /// again, with the same id.
    async fn recover(&self, tx: &mut Transaction, timer: &Timer, now: DateTime<Utc>) -> Result<(), Failure> {
        let Some(delivery) = pending(tx, timer).await? else { return Ok(()) };
        let attempt = Attempt { tenant: timer.tenant.clone(), delivery: delivery.id, number: delivery.attempt_count };
        let lost_at = match attempts::begun_by_the_living(tx, &attempt).await? {
            Some(started_at) => started_at + LOST_AFTER,
            None => now,
        };
        if self.outbound.slots.holds(&attempt) || now < lost_at {
            let again = (now + LOOK_EVERY).min(lost_at.max(now + TimeDelta::seconds(1)));
            timer::set(tx, &timer.tenant, delivery.id.0, RECOVER, Some(again));
            return Ok(());
        }
        let detail = "the process ended before the outcome was noted";
        let (outcome, at) = (Outcome::Unknown, None);
        let ended = attempts::Ended { delivery: delivery.id, number: attempt.number, outcome, detail, at };
        if !attempts::end(tx, &[ended]).await?.is_empty() {
            self.count(delivery.method, Outcome::Unknown);
            self.ended(tx, &timer.tenant, &delivery, Outcome::Unknown, detail, now).await?;
        }
        Ok(())
    }

    /// Tells once more, unless somebody has seen the incident.
    async fn repeat(&self, tx: &mut Transaction, timer: &Timer, now: DateTime<Utc>) -> Result<(), Failure> {
        let Some(first) = deliveries::find_for_update(tx, timer.record_id.into()).await? else { return Ok(()) };
        if let Some(incident) = first.incident_id
            && let Some(incident) = read_models::find_incident(tx, timer.tenant.id, incident).await?
            && incident.attention != Attention::Wanted
        {
            return Ok(());
        }
        let Some(decision) = first.repeat(DeliveryId::draw(), now) else { return Ok(()) };
        let message = deliveries::message(tx, first.id).await?;
        let message = Message { subject: format!("Reminder: {}", message.subject), ..message };
        let cause = Cause::timer("notification", "repeat", timer.tenant.clone(), timer.due_at).traced();
        deliveries::request(tx, decision, message, &cause);
        Ok(())
    }

    /// What follows from the end of an attempt, in the transaction that notes it.
    pub(super) async fn ended(
        &self,
        tx: &mut Transaction,
        tenant: &kit::id::Tenant,
        delivery: &Delivery,
        outcome: Outcome,
        detail: &str,
        now: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        match delivery.attempt_ended(outcome, detail, now) {
            Ended::Over(decision) => {
                store::commit(tx, *decision, &Cause::timer("notification", "sent", tenant.clone(), now)).await?;
            }
            Ended::Again(at) => {
                deliveries::note_attempt(tx, delivery.id, delivery.attempt_count, at).await?;
                timer::set(tx, tenant, delivery.id.0, RECOVER, None);
                timer::set(tx, tenant, delivery.id.0, SEND, Some(at));
            }
            Ended::Late => {}
        }
        Ok(())
    }
}

async fn of_no_use(
    tx: &mut Transaction,
    timer: &Timer,
    delivery: &Delivery,
    way: Option<&ContactMethod>,
    now: DateTime<Utc>,
) -> Result<Option<Decision>, Failure> {
    if read_models::person_active(tx, timer.tenant.id, delivery.person_id).await? == Some(false) {
        return delivery.cancel("the person no longer takes part".to_owned(), now).map(Some).map_err(fault);
    }
    match way {
        Some(way) if way.state == WayState::Active => Ok(None),
        Some(way) => {
            delivery.fail(format!("the contact method is disabled: {}", way.state_reason), now).map(Some).map_err(fault)
        }
        None => delivery.fail("the contact method is gone".to_owned(), now).map(Some).map_err(fault),
    }
}

async fn pending(tx: &mut Transaction, timer: &Timer) -> Result<Option<Delivery>, sqlx::Error> {
    let id = timer.record_id.into();
    let found = match tx.memo::<Loaded>().0.remove(&id) {
        Some(loaded) => Some(loaded),
        None => deliveries::find_for_update(tx, id).await?,
    };
    Ok(found.filter(|delivery| delivery.state == State::Pending))
}

/// The deliveries of a batch of timers, as they were before any of them.
#[derive(Default)]
struct Loaded(HashMap<DeliveryId, Delivery>);

impl Due for App {
    fn load<'a>(&'a self, tx: &'a mut Transaction, timers: &'a [Timer]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let ids: Vec<DeliveryId> = timers.iter().map(|timer| timer.record_id.into()).collect();
            let found = deliveries::find_all_for_update(tx, &ids).await?;
            tx.memo::<Loaded>().0 = found.into_iter().map(|delivery| (delivery.id, delivery)).collect();
            Ok(())
        })
    }

    fn fire<'a>(
        &'a self,
        tx: &'a mut Transaction,
        timer: &'a Timer,
        now: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            match timer.kind.as_str() {
                SEND => self.begin_attempt(tx, timer, now).await,
                RECOVER => self.recover(tx, timer, now).await,
                REPEAT => self.repeat(tx, timer, now).await,
                other => Err(Failure::Event(format!("no such timer: {other}").into())),
            }
        })
    }

    fn fired(&self) {
        self.outbound.hand_over();
        self.committed();
    }
}

//! Carrying out attempts: outside of any transaction, concurrent and bounded, each outcome then
//! committed. An attempt's row stands before it is carried out, so that a crash in between sends
//! the same message once more, with the same id, and never loses one.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kit::{clock, journal::Cause, metrics, problem::BoxError};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::App;
use crate::{
    domain::{Method, Outcome},
    send::{
        Report, mail,
        slots::{Attempt, Slots, Waiting},
    },
    store::{
        self, attempts, contact_methods,
        deliveries::{self, find_for_update},
    },
};

/// How often the database is asked again before an attempt is left to be found by its timer.
const TRIES: u32 = 8;
const STEP: Duration = Duration::from_millis(200);

/// What is on its way out of this process.
#[derive(Debug)]
pub struct Outbound {
    /// This process, in the attempt log: what another life of it began is not carried out here.
    pub claimant: Uuid,
    /// Who is on the way, and who waits in line.
    pub slots: Slots,
    claimed: Mutex<Vec<Attempt>>,
    waiting: Mutex<Vec<Waiting>>,
    ready: Mutex<Vec<Attempt>>,
    wake: Notify,
    under_way: TaskTracker,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            claimant: kit::id::draw(),
            slots: Slots::default(),
            claimed: Mutex::default(),
            waiting: Mutex::default(),
            ready: Mutex::default(),
            wake: Notify::new(),
            under_way: TaskTracker::new(),
        }
    }
}

fn take<T>(list: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Outbound {
    /// Remembers an attempt whose row is not committed yet.
    pub fn claim(&self, attempt: Attempt) {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
    }

    /// Remembers a delivery that found no room, and whose timer is not committed yet.
    pub fn wait(&self, waiting: Waiting) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(waiting);
    }

    /// After the commit, or after its failure: whether the row is there is asked before sending.
    pub fn hand_over(&self) {
        for waiting in take(&self.waiting) {
            self.slots.line_up(waiting);
        }
        let claimed = take(&self.claimed);
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).extend(claimed);
        self.wake.notify_one();
    }

    /// Waits for what is under way.
    pub async fn drain(&self) {
        self.under_way.close();
        self.under_way.wait().await;
    }
}

/// Gives the slot back whatever happens.
struct Held<'a> {
    app: &'a App,
    attempt: &'a Attempt,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.app.outbound.slots.release(self.attempt);
    }
}

impl App {
    /// Carries out what is handed over, for ever.
    ///
    /// # Errors
    /// Never; the signature is that of a task.
    pub async fn send_for_ever(self: Arc<Self>) -> Result<(), BoxError> {
        loop {
            self.outbound.wake.notified().await;
            for attempt in take(&self.outbound.ready) {
                let app = Arc::clone(&self);
                self.outbound.under_way.spawn(async move { app.carry_out(&attempt).await });
            }
            // Who is called is fired again, which leads here again: the line moves while there is room.
            if self.call_next().await {
                self.committed();
            }
        }
    }

    async fn carry_out(&self, attempt: &Attempt) {
        let held = Held { app: self, attempt };
        if let Some(job) = self.insist("read", attempt, || self.job(attempt)).await.flatten() {
            let method = job.method;
            let report = self.send(attempt, job).await;
            kit::fail_point!("delivery.after_send");
            self.count(method, report.outcome);
            tracing::info!(
                delivery_id = %attempt.delivery,
                attempt = attempt.number,
                outcome = report.outcome.name(),
                detail = report.detail,
                "attempt ended"
            );
            self.insist("note", attempt, || self.record_outcome(attempt, &report)).await;
        }
        drop(held);
        self.call_next().await;
        self.committed();
    }

    /// Tries database work again for a while.
    async fn insist<T, F>(&self, what: &str, attempt: &Attempt, work: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        for number in 1..=TRIES {
            match work().await {
                Ok(done) => return Some(done),
                Err(error) => {
                    tracing::warn!(delivery_id = %attempt.delivery, %error, "cannot {what} an attempt; trying again");
                    clock::pause(STEP * number).await;
                }
            }
        }
        tracing::error!(delivery_id = %attempt.delivery, "an attempt is left to be found by its timer");
        None
    }

    async fn job(&self, attempt: &Attempt) -> Result<Option<attempts::Job>, sqlx::Error> {
        let mut tx = self.database.begin_worker([attempt.tenant.id]).await?;
        let job = attempts::job(&mut tx, attempt, self.outbound.claimant).await?;
        if job.is_none() {
            attempts::withdraw(&mut tx, attempt, self.outbound.claimant, self.clock.now()).await?;
        }
        tx.commit().await?;
        Ok(job)
    }

    pub(super) async fn send(&self, attempt: &Attempt, job: attempts::Job) -> Report {
        match job.method {
            Method::Mail => {
                let (thread, at) = (job.thread, job.created_at);
                self.mailer
                    .send(&mail::Mail { id: attempt.delivery, thread, to: job.address, at, message: job.message })
                    .await
            }
            Method::Webhook => {
                let secret = job.sealed_secret.as_deref().map(|sealed| self.sealer.open(sealed, job.contact_method_id));
                match secret {
                    Some(Ok(secret)) => {
                        self.poster
                            .post(attempt.delivery, &job.address, &secret, job.message.body, self.clock.now())
                            .await
                    }
                    Some(Err(_)) | None => {
                        tracing::error!(contact_method_id = %job.contact_method_id, "a signing secret cannot be opened");
                        Report {
                            outcome: Outcome::Retry(None),
                            detail: "the signing secret cannot be opened".to_owned(),
                        }
                    }
                }
            }
        }
    }

    /// Notes how an attempt ended, and what follows. A receiver that is gone is not asked again.
    async fn record_outcome(&self, attempt: &Attempt, report: &Report) -> Result<(), sqlx::Error> {
        let now = self.clock.now();
        let mut tx = self.database.begin_worker([attempt.tenant.id]).await?;
        let found = find_for_update(&mut tx, attempt.delivery).await?;
        let ended =
            attempts::end(&mut tx, attempt.delivery, attempt.number, report.outcome, &report.detail, Some(now)).await?;
        if let Some(delivery) = found.filter(|_| ended) {
            self.ended(&mut tx, &attempt.tenant, &delivery, report.outcome, &report.detail, now).await?;
            if report.outcome == Outcome::Gone
                && let Some(way) = contact_methods::find_for_update(&mut tx, delivery.contact_method_id).await?
            {
                let cause = Cause::timer("notification", "receiver_gone", attempt.tenant.clone(), now);
                store::commit(&mut tx, way.disable("the receiver answered 410 Gone".to_owned(), now), &cause).await?;
            }
        }
        tx.commit().await
    }

    /// Calls the next in line that is still wanted.
    async fn call_next(&self) -> bool {
        while let Some(delivery) = self.outbound.slots.next() {
            match deliveries::promote(&self.database.workers, delivery, self.clock.now()).await {
                Ok(true) => return true,
                Ok(false) => {}
                // Its own timer comes within seconds.
                Err(error) => {
                    tracing::debug!(%error, "the next in line is not called");
                    return false;
                }
            }
        }
        false
    }

    pub(super) fn count(&self, method: Method, outcome: Outcome) {
        let method = match method {
            Method::Mail => "mail",
            Method::Webhook => "webhook",
        };
        metrics::get().delivery(method, outcome.name());
    }
}

//! Carrying out attempts: outside of any transaction, concurrent and bounded, each outcome then
//! committed. An attempt's row stands before it is carried out, so that a crash in between sends
//! the same message once more, with the same id, and never loses one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::DateTime;
use kit::{
    clock,
    journal::Cause,
    lease::{Lease, RENEWAL},
    metrics,
    problem::BoxError,
    trace::{self, Kind, Span},
};
use tokio::sync::{Notify, mpsc};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::App;
use crate::{
    domain::{DeliveryId, Method, Outcome},
    send::{
        Report, mail,
        slots::{Attempt, Slots, Waiting},
    },
    store::{self, attempts, contact_methods, deliveries},
};

/// How often the database is asked again before an attempt is left to be found by its timer.
const TRIES: u32 = 8;
const STEP: Duration = Duration::from_millis(200);
/// How many outcomes are noted in one transaction.
const NOTED_AT_ONCE: usize = 100;
/// After how long in line it is asked again whether a message is still wanted.
const STALE: Duration = Duration::from_secs(1);

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

/// An attempt on its way; whatever happens, its place is given back.
struct Held {
    app: Arc<App>,
    attempt: Attempt,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.app.outbound.slots.release(&self.attempt);
    }
}

/// An attempt that was carried out, to be noted.
struct Sent {
    held: Held,
    report: Report,
}

impl App {
    /// Carries out what is handed over, for ever.
    ///
    /// # Errors
    /// Never; the signature is that of a task.
    pub async fn send_for_ever(self: Arc<Self>) -> Result<(), BoxError> {
        let (sent, to_note) = mpsc::channel(NOTED_AT_ONCE);
        let app = Arc::clone(&self);
        self.outbound.under_way.spawn(async move { app.note_all(to_note).await });
        loop {
            self.outbound.wake.notified().await;
            let ready = take(&self.outbound.ready);
            if !ready.is_empty() {
                let (app, sent) = (Arc::clone(&self), sent.clone());
                self.outbound.under_way.spawn(async move { app.carry_out(ready, sent).await });
            }
            // Who is called is fired again, which leads here again: the line moves while there is room.
            if self.call_next().await {
                self.committed();
            }
        }
    }

    /// Shows to others that this process lives, for ever: so what it began is not taken for lost.
    ///
    /// # Errors
    /// Never; the signature is that of a task.
    pub async fn live_for_ever(self: Arc<Self>, holder: String) -> Result<(), BoxError> {
        let (name, pool) = (attempts::lease_of(self.outbound.claimant), &self.database.workers);
        loop {
            let lease = Lease::acquire(pool, store::SCHEMA, &name, &holder, || ()).await;
            while lease.renew(pool).await.is_ok() {
                clock::pause(RENEWAL).await;
            }
        }
    }

    /// Sends all that are still wanted, side by side.
    async fn carry_out(self: Arc<Self>, attempts: Vec<Attempt>, sent: mpsc::Sender<Sent>) {
        let held: Vec<Held> =
            attempts.iter().map(|attempt| Held { app: Arc::clone(&self), attempt: attempt.clone() }).collect();
        let Some(mut jobs) = self.insist("read", || self.jobs(&attempts)).await else { return };
        for held in held {
            if let Some(job) = jobs.remove(&held.attempt.delivery) {
                let (app, sent) = (Arc::clone(&self), sent.clone());
                self.outbound.under_way.spawn(async move { app.carry_out_one(held, job, sent).await });
            }
        }
    }

    async fn carry_out_one(&self, held: Held, job: attempts::Job, sent: mpsc::Sender<Sent>) {
        let (method, asked) = (job.method, Instant::now());
        let turn = self.outbound.slots.turn(&held.attempt).await;
        if asked.elapsed() > STALE {
            // It waited behind others; nobody is told what is no longer so.
            let attempts = std::slice::from_ref(&held.attempt);
            match self.insist("read", || self.jobs(attempts)).await {
                Some(jobs) if !jobs.is_empty() => {}
                Some(_) | None => return,
            }
        }
        let mut step = step(&held.attempt, &job);
        let (event, event_type, traced) = (job.event_id, job.event_type.clone(), job.trace_parent.clone());
        let report = trace::within(&step, self.send(&held.attempt, job)).await;
        kit::fail_point!("delivery.after_send");
        note_end(&mut step, &report);
        drop(step);
        self.count(method, report.outcome);
        if report.outcome == Outcome::Delivered {
            self.measure(method, event, &event_type);
        }
        tracing::info!(
            delivery_id = %held.attempt.delivery,
            tenant = held.attempt.tenant.slug,
            trace_id = trace::id(&traced),
            attempt = held.attempt.number,
            outcome = report.outcome.name(),
            detail = report.detail,
            "attempt ended"
        );
        drop(turn);
        if sent.send(Sent { held, report }).await.is_err() {
            tracing::error!("nobody notes attempts any more");
        }
    }

    /// Notes what was sent, as many together as came while the last were noted.
    async fn note_all(self: Arc<Self>, mut sent: mpsc::Receiver<Sent>) {
        let mut together = Vec::new();
        while sent.recv_many(&mut together, NOTED_AT_ONCE).await > 0 {
            if self.note_together(&together).await.is_none() {
                for one in &together {
                    self.note_together(std::slice::from_ref(one)).await;
                }
            }
            together.clear();
            if self.outbound.slots.anyone_in_line() {
                self.outbound.wake.notify_one();
            }
            self.committed();
        }
    }

    async fn note_together(&self, sent: &[Sent]) -> Option<()> {
        self.insist("note", || self.note(sent)).await
    }

    /// Tries database work again for a while.
    async fn insist<T, F>(&self, what: &str, work: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        for number in 1..=TRIES {
            match work().await {
                Ok(done) => return Some(done),
                Err(error) => {
                    tracing::warn!(%error, "cannot {what} attempts; trying again");
                    clock::pause(STEP * number).await;
                }
            }
        }
        tracing::error!("attempts are left to be found by their timers");
        None
    }

    /// What to send. Attempts that are not wanted any more are closed.
    async fn jobs(&self, attempts: &[Attempt]) -> Result<HashMap<DeliveryId, attempts::Job>, sqlx::Error> {
        let mut tx = self.database.begin_worker(attempts.iter().map(|attempt| attempt.tenant.id)).await?;
        let jobs = attempts::jobs(&mut tx, attempts, self.outbound.claimant).await?;
        let unwanted: Vec<&Attempt> = attempts.iter().filter(|attempt| !jobs.contains_key(&attempt.delivery)).collect();
        if !unwanted.is_empty() {
            attempts::withdraw(&mut tx, &unwanted, self.outbound.claimant, self.clock.now()).await?;
        }
        tx.commit().await?;
        Ok(jobs)
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

    /// Notes how attempts ended, and what follows. A receiver that is gone is not asked again.
    async fn note(&self, sent: &[Sent]) -> Result<(), sqlx::Error> {
        let now = self.clock.now();
        let by_delivery: HashMap<DeliveryId, &Sent> =
            sent.iter().map(|sent| (sent.held.attempt.delivery, sent)).collect();
        let mut tx = self.database.begin_worker(sent.iter().map(|sent| sent.held.attempt.tenant.id)).await?;
        let ids: Vec<DeliveryId> = by_delivery.keys().copied().collect();
        let found = deliveries::find_all_for_update(&mut tx, &ids).await?;
        let ended: Vec<_> =
            sent.iter().map(|sent| attempts::Ended::new(&sent.held.attempt, &sent.report, now)).collect();
        let open = attempts::end(&mut tx, &ended).await?;
        for delivery in found.into_iter().filter(|delivery| open.contains(&delivery.id)) {
            let Some(Sent { held, report }) = by_delivery.get(&delivery.id) else { continue };
            self.ended(&mut tx, &held.attempt.tenant, &delivery, report.outcome, &report.detail, now).await?;
            if report.outcome == Outcome::Gone
                && let Some(way) = contact_methods::find_for_update(&mut tx, delivery.contact_method_id).await?
            {
                let cause = Cause::timer("notification", "receiver_gone", held.attempt.tenant.clone(), now);
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
        metrics::get().delivery(label(method), outcome.name());
    }

    /// How long after the event its message was accepted; the event's id says when it was written.
    fn measure(&self, method: Method, event: Uuid, event_type: &str) {
        let event_type = match event_type {
            "alert.raised" => "alert.raised",
            "incident.opened" => "incident.opened",
            _ => "other",
        };
        let written = event.get_timestamp().map(|at| at.to_unix());
        let written = written.and_then(|(seconds, nanos)| DateTime::from_timestamp(seconds.try_into().ok()?, nanos));
        if let Some(written) = written {
            let seconds = (self.clock.now() - written).as_seconds_f64().max(0.0);
            metrics::get().event_to_delivery(label(method), event_type, seconds);
        }
    }
}

/// A way as metrics name it.
fn label(method: Method) -> &'static str {
    match method {
        Method::Mail => "mail",
        Method::Webhook => "webhook",
    }
}

/// The attempt as a step of the trace in which its delivery was asked for. Of an address only the
/// host is told: the rest of a URL may be a secret, and a mail address is somebody's.
fn step(attempt: &Attempt, job: &attempts::Job) -> Span {
    let name = || match job.method {
        Method::Mail => "send mail".to_owned(),
        Method::Webhook => "POST".to_owned(),
    };
    let mut step = trace::child("notification", Kind::Client, &job.trace_parent, name);
    if step.is_some() {
        step.set("itsm.delivery.id", attempt.delivery.to_string());
        step.set("itsm.delivery.attempt", i64::from(attempt.number));
        if let (Method::Webhook, Ok(url)) = (job.method, reqwest::Url::parse(&job.address)) {
            step.set("http.request.method", "POST");
            step.set("server.address", url.host_str().unwrap_or_default().to_owned());
            step.set("server.port", i64::from(url.port_or_known_default().unwrap_or_default()));
        }
    }
    step
}

fn note_end(step: &mut Span, report: &Report) {
    let status = report.detail.strip_prefix("HTTP ").and_then(|rest| rest.split(' ').next()?.parse::<i64>().ok());
    if let Some(status) = status {
        step.set("http.response.status_code", status);
    }
    step.set("itsm.delivery.outcome", report.outcome.name());
    if report.outcome != Outcome::Delivered {
        step.fail(report.detail.clone());
    }
}

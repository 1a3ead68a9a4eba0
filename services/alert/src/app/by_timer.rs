//! What is done when a timer is due: an alert that was not said again is cleared.

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use kit::{
    consumer::Failure,
    db::Transaction,
    journal::Cause,
    timer::{Due, Timer},
};

use super::App;
use crate::store::{self, alerts::EXPIRE};

impl App {
    async fn expire(&self, tx: &mut Transaction, timer: &Timer, now: DateTime<Utc>) -> Result<(), Failure> {
        let Some(alert) = store::alerts::find_for_update(tx, timer.record_id.into()).await? else { return Ok(()) };
        let decision = alert.expire(now);
        if !decision.is_unchanged() {
            let cause = Cause::timer("alert", EXPIRE, timer.tenant.clone(), decision.record().updated_at).traced();
            store::alerts::commit(tx, decision, &cause);
        }
        Ok(())
    }
}

impl Due for App {
    /// Waits until what was said before they were due is taken, and, after the intake was away,
    /// until sources had the time to repeat themselves.
    fn prepare<'a>(&'a self, timers: &'a [Timer]) -> BoxFuture<'a, bool> {
        let repeated = self.progress.repeated(self.clock.now(), self.settings.expiry_grace.delta());
        let reached = timers.iter().all(|timer| self.progress.reached(timer.due_at));
        Box::pin(async move { repeated && reached })
    }

    fn fire<'a>(
        &'a self,
        tx: &'a mut Transaction,
        timer: &'a Timer,
        now: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            match timer.kind.as_str() {
                EXPIRE => self.expire(tx, timer, now).await,
                other => Err(Failure::Event(format!("no such timer: {other}").into())),
            }
        })
    }

    fn fired(&self) {
        self.committed();
    }
}

//! What is done when a timer is due: resolved incidents are closed.

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use kit::{
    consumer::Failure,
    db::Transaction,
    journal::Cause,
    timer::{Due, Timer},
};

use super::App;
use crate::{
    domain::State,
    store::{
        self,
        incidents::{AUTO_CLOSE, Key},
    },
};

impl App {
    async fn close_by_itself(&self, tx: &mut Transaction, timer: &Timer) -> Result<(), Failure> {
        let found = store::incidents::find_for_update(tx, &Key::Id(timer.record_id.into())).await?;
        let Some(incident) = found.filter(|incident| incident.state == State::Resolved) else { return Ok(()) };
        let decision = incident.close("Closed by itself, since nobody objected.".to_owned(), timer.due_at);
        let decision = decision.map_err(|refusal| Failure::Event(refusal.into()))?;
        let cause = Cause::timer("incident", "auto_close", timer.tenant.clone(), timer.due_at).traced();
        self.commit(tx, decision, &cause).await?;
        Ok(())
    }
}

impl Due for App {
    fn fire<'a>(
        &'a self,
        tx: &'a mut Transaction,
        timer: &'a Timer,
        _now: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            match timer.kind.as_str() {
                AUTO_CLOSE => self.close_by_itself(tx, timer).await,
                other => Err(Failure::Event(format!("no such timer: {other}").into())),
            }
        })
    }

    fn fired(&self) {
        self.committed();
    }
}

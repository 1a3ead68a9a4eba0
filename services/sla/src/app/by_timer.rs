//! What is done when a timer is due: a clock is at risk, or breached. Before that is told, this
//! service catches up with what the incident service has said by then; when that stays out of
//! reach, it is told as provisional.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use kit::{
    clock::pause,
    consumer::Failure,
    db::Transaction,
    id::{IncidentId, TeamId, Tenant},
    journal::Cause,
    problem::{BoxError, chain},
    timer::{Due, Timer},
};
use uuid::Uuid;

use super::App;
use crate::{
    domain::{Clock, clock::TimerKind},
    store,
};

/// How long one sweep waits for the consumer before it comes back later.
const PATIENCE: Duration = Duration::from_secs(2);
/// By how much the clocks of two services may differ.
const SKEW: Duration = Duration::from_millis(50);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Since when catching up fails, by the machine's time, and whether what is due is told without it.
#[derive(Debug, Default)]
pub struct CatchingUp {
    failing_since: Mutex<Option<Instant>>,
    provisional: AtomicBool,
}

impl App {
    pub(super) fn due(&self, kind: TimerKind, tenant: &Tenant, at: DateTime<Utc>) -> Cause {
        Cause::timer("sla", kind.name(), tenant.clone(), at)
    }

    /// Waits until this service has applied what the incident service had said when asked. False
    /// when it did not get there in time.
    async fn caught_up(&self) -> Result<bool, BoxError> {
        // So that what the owner's clock calls in time has begun there when it is asked.
        pause(SKEW).await;
        let owner = self.peers.settled_position("incident").await?;
        let incarnation: Uuid = owner.incarnation.parse()?;
        let began = Instant::now();
        loop {
            let position = store::read_models::followed_incidents(&self.database.workers, incarnation).await?;
            if position.is_some_and(|position| position >= owner.head_position) {
                return Ok(true);
            }
            if began.elapsed() >= PATIENCE {
                return Ok(false);
            }
            pause(LOOK_EVERY).await;
        }
    }

    async fn tell(&self, tx: &mut Transaction, timer: &Timer, now: DateTime<Utc>) -> Result<(), Failure> {
        let Some((clock, team)) = tx.memo::<Loaded>().0.get(&timer.record_id).cloned() else { return Ok(()) };
        let Some((kind, due)) = clock.next_due().filter(|(_, due)| *due <= now) else { return Ok(()) };
        let decision = clock.tick(now, self.catching_up.provisional.load(Ordering::Relaxed), team);
        let clock = store::clocks::commit(tx, decision, &self.due(kind, &timer.tenant, due).traced());
        // Both of its timers may be due.
        tx.memo::<Loaded>().0.insert(timer.record_id, (clock, team));
        Ok(())
    }
}

/// The clocks of a batch of timers, which the sweep has locked, with the teams that have their incidents.
#[derive(Default)]
struct Loaded(HashMap<Uuid, (Clock, Option<TeamId>)>);

impl Due for App {
    fn load<'a>(&'a self, tx: &'a mut Transaction, timers: &'a [Timer]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async {
            let ids: Vec<Uuid> = timers.iter().map(|timer| timer.record_id).collect();
            let clocks = store::clocks::find_all(tx, &ids).await?;
            let incidents: Vec<IncidentId> = clocks.iter().map(|clock| clock.incident_id).collect();
            let teams = store::read_models::teams_of_incidents(tx, &incidents).await?;
            let loaded = clocks.into_iter().map(|clock| (clock.id.0, (teams.get(&clock.incident_id).copied(), clock)));
            tx.memo::<Loaded>().0 = loaded.map(|(id, (team, clock))| (id, (clock, team))).collect();
            Ok(())
        })
    }

    fn prepare<'a>(&'a self, _timers: &'a [Timer]) -> BoxFuture<'a, bool> {
        Box::pin(async {
            let state = &self.catching_up;
            let reason = match self.caught_up().await {
                Ok(true) => {
                    *state.failing_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    state.provisional.store(false, Ordering::Relaxed);
                    return true;
                }
                Ok(false) => "this service is behind".to_owned(),
                Err(error) => chain(error.as_ref()),
            };
            let since =
                *state.failing_since.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
            let provisional = since.elapsed() >= self.settings.provisional_after.duration();
            if provisional && !state.provisional.swap(true, Ordering::Relaxed) {
                tracing::warn!(service = "sla", reason, "telling what is due as provisional");
            }
            provisional
        })
    }

    fn fire<'a>(
        &'a self,
        tx: &'a mut Transaction,
        timer: &'a Timer,
        now: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            match TimerKind::of(&timer.kind) {
                Some(_) => self.tell(tx, timer, now).await,
                None => Err(Failure::Event(format!("no such timer: {}", timer.kind).into())),
            }
        })
    }

    fn fired(&self) {
        self.committed();
    }
}

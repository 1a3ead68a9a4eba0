//! What incidents make of clocks: opening starts them, whatever follows moves them.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use kit::{
    consumer::{Delivered, Failure},
    db::Transaction,
    journal::Cause,
};

use super::App;
use crate::{
    domain::{Agreement, CalendarId, Clock, ClockId, Metric, Seen},
    store,
};

impl App {
    /// An incident opened: a clock starts for each target of each agreement that covers it. Of each
    /// kind that is its service's agreement, else the default.
    ///
    /// # Errors
    /// Waits while the database is away.
    pub async fn incident_opened(&self, tx: &mut Transaction, event: &Delivered, seen: &Seen) -> Result<(), Failure> {
        store::read_models::keep_incident(tx, event.tenant.id, &seen.incident);
        if store::clocks::any_of_incident(tx, seen.incident.id).await? {
            return Ok(());
        }
        let agreements =
            covering(store::agreements::recall_active_for(tx, event.tenant.id, seen.incident.service_id).await?);
        let targets = agreements.iter().flat_map(|agreement| &agreement.targets);
        let ids: Vec<CalendarId> = targets.filter_map(|target| target.calendar_id).collect();
        let calendars = store::calendars::recall_all(tx, &ids).await?;
        let cause = Cause::event("sla", "incident_opened", event, seen.at);
        for agreement in &agreements {
            for metric in Metric::ALL {
                if let Some(terms) = agreement.terms(*metric, &calendars) {
                    let decision = Clock::start(ClockId::draw(), *metric, terms, seen);
                    store::clocks::commit(tx, decision, &cause);
                }
            }
        }
        Ok(())
    }

    /// Something happened to an incident: what was due before it is told, then its clocks follow.
    ///
    /// # Errors
    /// Waits while the database is away.
    pub async fn incident_changed(&self, tx: &mut Transaction, event: &Delivered, seen: &Seen) -> Result<(), Failure> {
        store::read_models::keep_incident(tx, event.tenant.id, &seen.incident);
        let cause = Cause::event("sla", &format!("incident_{}", event.kind), event, seen.at);
        for mut clock in store::clocks::of_incident_for_update(tx, seen.incident.id).await? {
            // What is due at the very instant is not past: to the microsecond is in time.
            let before = seen.at - TimeDelta::microseconds(1);
            while let Some((kind, due)) = clock.next_due().filter(|(_, due)| *due <= before) {
                let decision = clock.tick(before, false, seen.incident.team_id);
                let cause = Cause { trace_parent: event.trace_parent.clone(), ..self.due(kind, &event.tenant, due) };
                clock = store::clocks::commit(tx, decision, &cause);
            }
            let decision = clock.observe(seen);
            if !decision.is_unchanged() {
                store::clocks::commit(tx, decision, &cause);
            }
        }
        Ok(())
    }
}

/// Of each kind the agreement that covers an incident: its service's, else the default.
fn covering(active: Vec<Agreement>) -> Vec<Agreement> {
    let mut chosen = BTreeMap::new();
    for agreement in active {
        let own = agreement.service_id.is_some();
        if own || !chosen.contains_key(&agreement.kind) {
            chosen.insert(agreement.kind, agreement);
        }
    }
    chosen.into_values().collect()
}

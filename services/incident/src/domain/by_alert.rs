//! What alerts do to an incident. Alerts may come late and again, so nothing here is refused: what
//! no longer fits changes nothing.

use chrono::{DateTime, TimeDelta, Utc};
use kit::id::AlertId;

use super::{
    Decision,
    incident::{ALERTS_AT_MOST, AlertLink, Incident, Resolution, ResolutionCode, What},
    priority::Urgency,
    state::{Move, State},
};

impl Incident {
    /// An alert cleared. When it was the last one, the incident resolves by itself, unless a
    /// person took it over.
    pub fn alert_cleared(&self, alert_id: AlertId, now: DateTime<Utc>) -> Decision {
        let Some(place) = self.alerts.iter().position(|link| link.alert_id == alert_id && link.active) else {
            return Decision::unchanged(self.clone());
        };
        let mut next = self.at(now);
        next.alerts[place].active = false;
        let decision = Decision::of(next.clone(), What::AlertCleared(alert_id));
        if next.alerts.iter().any(|link| link.active) || !next.resolves_by_itself() {
            return decision;
        }
        match next.moved(Move::Resolve, now) {
            Ok(mut resolved) => {
                let notes = "The last alert cleared.".to_owned();
                resolved.resolution = Some(Resolution { code: ResolutionCode::ClearedByMonitoring, notes, at: now });
                decision.then(resolved, What::Resolved)
            }
            Err(_) => decision,
        }
    }

    /// A condition that belongs to this incident fires again, as a new alert. A resolved incident
    /// is reopened inside its window; outside of it, and when it is over, `None`: open a new one.
    #[must_use]
    pub fn alert_refired(&self, alert_id: AlertId, window: TimeDelta, now: DateTime<Utc>) -> Option<Decision> {
        if self.alerts.iter().any(|link| link.alert_id == alert_id) {
            return Some(Decision::unchanged(self.clone()));
        }
        if self.state.is_over() || self.alerts.len() >= ALERTS_AT_MOST {
            return None;
        }
        let mut next = self.at(now);
        let resolved = self.state == State::Resolved;
        if resolved {
            next = self.reopened(window, now).ok()?;
            if self.acknowledgement.is_none() {
                // Nobody has seen it yet.
                next.state = State::New;
            }
        }
        next.alerts.push(AlertLink { alert_id, active: true, linked_at: now });
        Some(if resolved {
            let reason = "The condition fires again.".to_owned();
            Decision::of(next.clone(), What::Reopened { reason }).then(next, What::AlertRefired(alert_id))
        } else {
            Decision::of(next, What::AlertRefired(alert_id))
        })
    }

    /// The source calls it more urgent; it never becomes less urgent by itself.
    pub fn alert_rose(&self, urgency: Urgency, now: DateTime<Utc>) -> Decision {
        if self.state.is_over() || self.state == State::Resolved || urgency >= self.urgency || self.priority_overridden
        {
            return Decision::unchanged(self.clone());
        }
        let update = super::verbs::Update { urgency: Some(urgency), ..Default::default() };
        self.update(update, now).unwrap_or_else(|_| Decision::unchanged(self.clone()))
    }
}

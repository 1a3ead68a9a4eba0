//! What a signal means: which episode it belongs to, or that it is too old to mean anything.
//!
//! Signals come late, twice and in any order, so they are judged by the source's own time, never
//! by when they came. Two facts decide: the newest start that was said and the newest end that was
//! said. Both only grow, so for any order and any repetition of the same signals the condition ends
//! up the same: it holds if and only if the newest start lies after the newest end. (How many
//! episodes were told on the way may differ: an end that came too late to part two of them leaves
//! them one.) What a person or the passing of time ended is not the source's word, so there the
//! time at which a signal came in, or until which it holds, decides.

use chrono::{DateTime, Utc};

use super::{Alert, ClearReason, IntegrationId, Repeat, Route, Said, Severity, Signal, State, alert::Decision};

/// A dedup key of an integration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// The newest end that the source said.
    pub cleared_at: Option<DateTime<Utc>>,
    /// Its latest alert.
    pub latest: Option<Alert>,
}

/// What a signal comes to.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "what was heard takes effect only when it is saved"]
pub enum Heard {
    /// Nothing, for this reason.
    Nothing(Stale),
    /// Only measures moved.
    Measured(Box<Alert>),
    /// Something happened.
    Told(Box<Decision>),
}

/// Why a signal means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stale {
    /// It fired before the end that is already known.
    #[error("fired at {0}, before an end that is known")]
    FiredBeforeEnd(DateTime<Utc>),
    /// It came in before a person cleared it.
    #[error("came in before a person cleared it at {0}")]
    BeforePerson(DateTime<Utc>),
    /// It holds no longer than what has expired.
    #[error("says nothing about the time after it expired at {0}")]
    BeforeExpiry(DateTime<Utc>),
    /// It ended before the newest start.
    #[error("ended at {0}, before it fired again")]
    EndedBeforeStart(DateTime<Utc>),
    /// It ended, and nothing is active.
    #[error("nothing is active that could end")]
    NothingActive,
}

/// What the integration says about its alerts.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The integration.
    pub id: IntegrationId,
    /// Its name.
    pub name: &'a str,
    /// The least severity that opens an incident.
    pub open_from: Severity,
}

impl Condition {
    /// The alert that fires, if one.
    #[must_use]
    pub fn active(&self) -> Option<&Alert> {
        self.latest.as_ref().filter(|alert| alert.state() == State::Active)
    }

    /// What was due before an instant, and so happens before whatever comes then: the active alert
    /// may have expired.
    #[must_use]
    pub fn due_before(&self, instant: DateTime<Utc>) -> Option<Decision> {
        self.active().map(|alert| alert.expire(instant)).filter(|decision| !decision.is_unchanged())
    }

    /// Takes a signal. `route` and `id` are asked for only when an alert is raised.
    pub fn hear(
        &mut self,
        source: Source<'_>,
        signal: &Signal,
        raise: impl FnOnce() -> (kit::id::AlertId, Route),
        now: DateTime<Utc>,
    ) -> Heard {
        let heard = match signal.said {
            Said::Cleared { ended_at } => {
                let heard = self.ended(ended_at, now);
                self.cleared_at = self.cleared_at.max(Some(ended_at));
                heard
            }
            Said::Firing { expires_at } => match (self.stale(signal, expires_at), self.active()) {
                (Some(stale), _) => Heard::Nothing(stale),
                (None, Some(active)) => match active.repeat((source.name, source.open_from), signal, now) {
                    Repeat::Measured(alert) => Heard::Measured(alert),
                    Repeat::Told(decision) => Heard::Told(decision),
                },
                (None, None) => {
                    let (id, route) = raise();
                    Heard::Told(Box::new(Alert::raise(
                        id,
                        (source.id, source.name, source.open_from),
                        signal,
                        route,
                        now,
                    )))
                }
            },
        };
        match &heard {
            Heard::Nothing(_) => {}
            Heard::Measured(alert) => self.latest = Some((**alert).clone()),
            Heard::Told(decision) => self.latest = Some(decision.record().clone()),
        }
        heard
    }

    fn ended(&self, ended_at: DateTime<Utc>, now: DateTime<Utc>) -> Heard {
        match self.active() {
            None => Heard::Nothing(Stale::NothingActive),
            Some(active) if ended_at < active.fired_at => Heard::Nothing(Stale::EndedBeforeStart(ended_at)),
            Some(active) => Heard::Told(Box::new(active.clear_by_source(ended_at, now))),
        }
    }

    /// Why a signal that fires is too old to mean anything, if it is.
    fn stale(&self, signal: &Signal, expires_at: Option<DateTime<Utc>>) -> Option<Stale> {
        if self.cleared_at.is_some_and(|end| signal.starts_at <= end) {
            return Some(Stale::FiredBeforeEnd(signal.starts_at));
        }
        let latest = self.latest.as_ref()?;
        let (at, reason) = latest.cleared?;
        match reason {
            // The newest end is in `cleared_at`.
            ClearReason::Source => None,
            ClearReason::Person => (signal.received_at <= at).then_some(Stale::BeforePerson(at)),
            ClearReason::Expired => {
                let known = (signal.starts_at, signal.received_at) <= (latest.fired_at, latest.heard_at);
                let ends = expires_at.is_some_and(|end| end <= at);
                (known || ends).then_some(Stale::BeforeExpiry(at))
            }
        }
    }
}

#[cfg(test)]
#[path = "condition_tests.rs"]
mod tests;

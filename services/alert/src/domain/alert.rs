//! An alert: one episode in which a condition holds. How often it is said is a measure, which
//! moves without event or revision; what it is and how bad are state.

use chrono::{DateTime, TimeDelta, Utc};
use kit::{decide::Revised, id::AlertId};

use super::{Content, IntegrationId, Route, Said, Severity, Signal, choose, routing::Choice};

/// How long at least between two `repeated` events of an alert.
const BETWEEN_REPEATED: TimeDelta = TimeDelta::minutes(1);

/// What may happen to an alert in which state, and where that leads; all else is refused or of no
/// effect. A new alert is active. README and tests read this table.
pub const MOVES: [(State, Verb, State); 5] = [
    (State::Active, Verb::Repeat, State::Active),
    (State::Active, Verb::ChangeSeverity, State::Active),
    (State::Active, Verb::ClearBySource, State::Cleared),
    (State::Active, Verb::Expire, State::Cleared),
    (State::Active, Verb::ClearByPerson, State::Cleared),
];

kit::words!(
    /// Where an alert stands.
    State {
        /// It fires.
        Active = "ACTIVE",
        /// It is over.
        Cleared = "CLEARED",
    }
);

kit::words!(
    /// What may happen to an alert.
    Verb {
        /// The source says it again.
        Repeat = "repeat",
        /// The source says that it is worse, or less bad.
        ChangeSeverity = "change_severity",
        /// The source says that it is over.
        ClearBySource = "clear_by_source",
        /// It was not said again in time.
        Expire = "expire",
        /// A person says that it is over.
        ClearByPerson = "clear_by_person",
    }
);

kit::words!(
    /// Why an alert is over.
    ClearReason {
        /// The source said so.
        Source = "SOURCE",
        /// It was not said again in time.
        Expired = "EXPIRED",
        /// A person said so.
        Person = "PERSON",
    }
);

/// What happened to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It began.
    Raised,
    /// It was said again.
    Repeated,
    /// It is worse, or less bad.
    SeverityChanged {
        /// What it was.
        from: Severity,
    },
    /// It is over.
    Cleared,
}

/// The outcome of a verb on an alert.
pub type Decision = kit::decide::Decision<Alert, What>;

/// One episode in which a condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// The id.
    pub id: AlertId,
    /// Counts the changes.
    pub revision: i64,
    /// The integration it came by. Never changes.
    pub integration_id: IntegrationId,
    /// What makes it the same condition. Never changes.
    pub dedup_key: String,
    /// When and why it was over, if it is.
    pub cleared: Option<(DateTime<Utc>, ClearReason)>,
    /// How bad the source says it is.
    pub severity: Severity,
    /// What the source says in words.
    pub content: Content,
    /// Where it belongs. Never changes: whoever was told stays the one to tell.
    pub route: Route,
    /// Whether it opens an incident, and why.
    pub choice: Choice,
    /// When it began, by the source. Never changes.
    pub started_at: DateTime<Utc>,
    /// A measure: how often it was said.
    pub occurrence_count: i64,
    /// A measure: when it was last said.
    pub last_seen_at: DateTime<Utc>,
    /// A measure: when it is over by itself; none means never.
    pub expires_at: Option<DateTime<Utc>>,
    /// A measure: the newest start that the source said; an end before it belongs to the past.
    pub fired_at: DateTime<Utc>,
    /// A measure: when the signal with that start came in.
    pub heard_at: DateTime<Utc>,
    /// W3C trace context of the intake that raised it. Never changes.
    pub trace_parent: String,
    /// When it was raised.
    pub created_at: DateTime<Utc>,
    /// When its latest event happened.
    pub updated_at: DateTime<Utc>,
}

impl Revised for Alert {
    fn revision_mut(&mut self) -> &mut i64 {
        &mut self.revision
    }
}

/// What a repeat comes to.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a repeat takes effect only when it is saved"]
pub enum Repeat {
    /// Only measures moved.
    Measured(Box<Alert>),
    /// It is worth an event.
    Told(Box<Decision>),
}

impl Alert {
    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        if self.cleared.is_some() { State::Cleared } else { State::Active }
    }

    /// Raises an alert by a signal that fires.
    pub fn raise(
        id: AlertId,
        integration: (IntegrationId, &str, Severity),
        signal: &Signal,
        route: Route,
        now: DateTime<Utc>,
    ) -> Decision {
        let (integration_id, name, open_from) = integration;
        let unborn = Self {
            id,
            revision: 0,
            integration_id,
            dedup_key: signal.dedup_key.clone(),
            cleared: None,
            severity: signal.severity,
            content: signal.content.clone(),
            route,
            choice: choose(signal.severity, open_from, name, None),
            started_at: signal.starts_at,
            occurrence_count: 1,
            last_seen_at: signal.received_at,
            expires_at: signal.expires_at(),
            fired_at: signal.starts_at,
            heard_at: signal.received_at,
            trace_parent: signal.trace_parent.clone(),
            created_at: now,
            updated_at: now,
        };
        Decision::of(unborn, What::Raised)
    }

    /// Takes the same condition said again, while it is active. A signal older than what is known
    /// only counts. A change of severity is always told, a plain repeat at most once a minute.
    pub fn repeat(&self, integration: (&str, Severity), signal: &Signal, now: DateTime<Utc>) -> Repeat {
        let newest = (signal.starts_at, signal.received_at) >= (self.fired_at, self.heard_at);
        let mut next = self.clone();
        next.occurrence_count += 1;
        next.last_seen_at = self.last_seen_at.max(signal.received_at);
        if newest {
            next.fired_at = signal.starts_at;
            next.heard_at = signal.received_at;
            next.expires_at = signal.expires_at();
        }
        let worse_or_less = newest && signal.severity != self.severity;
        if !worse_or_less && now - self.updated_at < BETWEEN_REPEATED {
            return Repeat::Measured(Box::new(next));
        }
        next.updated_at = now;
        if newest {
            next.content = signal.content.clone();
        }
        if !worse_or_less {
            return Repeat::Told(Box::new(Decision::unchanged(self.clone()).then(next, What::Repeated)));
        }
        let opened_as = self.choice.opens_incident.then_some(self.severity);
        next.severity = signal.severity;
        next.choice = choose(signal.severity, integration.1, integration.0, opened_as);
        let decision = Decision::unchanged(self.clone()).then(next, What::SeverityChanged { from: self.severity });
        Repeat::Told(Box::new(decision))
    }

    /// The source says that it was over at `ended_at`.
    pub fn clear_by_source(&self, ended_at: DateTime<Utc>, now: DateTime<Utc>) -> Decision {
        self.clear(ended_at, ClearReason::Source, now)
    }

    /// A person says that it is over.
    pub fn clear_by_person(&self, now: DateTime<Utc>) -> Decision {
        self.clear(now, ClearReason::Person, now)
    }

    /// It was not said again until its end, if that has come; stamped with the instant due.
    pub fn expire(&self, now: DateTime<Utc>) -> Decision {
        match self.expires_at {
            Some(due) if due <= now => self.clear(due, ClearReason::Expired, due),
            Some(_) | None => Decision::unchanged(self.clone()),
        }
    }

    fn clear(&self, at: DateTime<Utc>, reason: ClearReason, now: DateTime<Utc>) -> Decision {
        if self.cleared.is_some() {
            return Decision::unchanged(self.clone());
        }
        let next = Self { cleared: Some((at, reason)), updated_at: now, ..self.clone() };
        Decision::unchanged(self.clone()).then(next, What::Cleared)
    }

    /// When the timer `expire` is due.
    #[must_use]
    pub fn timer(&self) -> Option<DateTime<Utc>> {
        if self.cleared.is_some() { None } else { self.expires_at }
    }
}

impl Signal {
    fn expires_at(&self) -> Option<DateTime<Utc>> {
        match self.said {
            Said::Firing { expires_at } => expires_at,
            Said::Cleared { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::integration::INTEGRATION_MOVES;

    #[test]
    fn the_readme_has_the_tables_that_the_code_has() {
        let readme = include_str!("../../README.md");
        let alerts = MOVES.map(|(from, verb, to)| (from.name(), verb.name(), to.name()));
        let integrations = INTEGRATION_MOVES.map(|(from, verb, to)| (from.name(), verb.name(), to.name()));
        let rows: Vec<String> =
            alerts.iter().chain(&integrations).map(|(from, verb, to)| format!("| {from} | {verb} | {to} |")).collect();
        for row in &rows {
            assert!(readme.contains(row), "{row}");
        }
        let written = readme.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| from")).count();
        assert_eq!(written, rows.len());
    }
}

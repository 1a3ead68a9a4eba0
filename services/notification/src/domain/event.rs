//! What can be told about: the events of the services that this one follows, in the words of a
//! subject line.

kit::words!(
    /// What kind of record an event is about.
    Kind {
        /// An incident.
        Incident = "incident",
        /// An alert.
        Alert = "alert",
        /// A clock of an incident.
        Clock = "clock",
        /// A change.
        Change = "change",
        /// The way itself, in a test message.
        Test = "test",
    }
);

/// An event that people can be told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Its name, `<service>.<type>`.
    pub event_type: &'static str,
    /// What kind of record it is about.
    pub kind: Kind,
    /// What happened, in words.
    pub phrase: &'static str,
}

const fn told(event_type: &'static str, kind: Kind, phrase: &'static str) -> Told {
    Told { event_type, kind, phrase }
}

/// The event of a test message; no rule can name it.
pub const TEST: &str = "notification.test";
/// A clock ran out.
pub const CLOCK_BREACHED: &str = "sla.clock_breached";
/// A clock did not run out after all.
pub const CLOCK_BREACH_WITHDRAWN: &str = "sla.clock_breach_withdrawn";

/// Every event that a rule can name.
pub const EVENTS: &[Told] = &[
    told("incident.opened", Kind::Incident, "opened"),
    told("incident.acknowledged", Kind::Incident, "acknowledged"),
    told("incident.assigned", Kind::Incident, "assigned"),
    told("incident.started", Kind::Incident, "in progress"),
    told("incident.held", Kind::Incident, "waiting"),
    told("incident.resumed", Kind::Incident, "in progress again"),
    told("incident.resolved", Kind::Incident, "resolved"),
    told("incident.closed", Kind::Incident, "closed"),
    told("incident.cancelled", Kind::Incident, "cancelled"),
    told("incident.reopened", Kind::Incident, "reopened"),
    told("incident.noted", Kind::Incident, "has a new note"),
    told("incident.changed", Kind::Incident, "changed"),
    told("incident.priority_changed", Kind::Incident, "has another priority"),
    told("incident.alert_linked", Kind::Incident, "has another alert"),
    told("incident.alert_cleared", Kind::Incident, "has an alert less"),
    told("incident.alert_unlinked", Kind::Incident, "has an alert less"),
    told("incident.alert_refired", Kind::Incident, "fires again"),
    told("alert.raised", Kind::Alert, "raised"),
    told("alert.repeated", Kind::Alert, "still fires"),
    told("alert.severity_changed", Kind::Alert, "has another severity"),
    told("alert.cleared", Kind::Alert, "cleared"),
    told("sla.clock_started", Kind::Clock, "started"),
    told("sla.clock_paused", Kind::Clock, "paused"),
    told("sla.clock_resumed", Kind::Clock, "goes on"),
    told("sla.clock_recomputed", Kind::Clock, "has another target"),
    told("sla.clock_at_risk", Kind::Clock, "at risk"),
    told(CLOCK_BREACHED, Kind::Clock, "breached"),
    told(CLOCK_BREACH_WITHDRAWN, Kind::Clock, "not breached after all"),
    told("sla.clock_met", Kind::Clock, "met"),
    told("sla.clock_cancelled", Kind::Clock, "cancelled"),
    told("change.drafted", Kind::Change, "drafted"),
    told("change.changed", Kind::Change, "changed"),
    told("change.approval_voided", Kind::Change, "needs approval again"),
    told("change.requested", Kind::Change, "waits for approval"),
    told("change.approved", Kind::Change, "approved"),
    told("change.rejected", Kind::Change, "rejected"),
    told("change.scheduled", Kind::Change, "scheduled"),
    told("change.started", Kind::Change, "started"),
    told("change.completed", Kind::Change, "completed"),
    told("change.failed", Kind::Change, "failed"),
    told("change.closed", Kind::Change, "closed"),
    told("change.cancelled", Kind::Change, "cancelled"),
];

/// The event of a name.
#[must_use]
pub fn find(event_type: &str) -> Option<&'static Told> {
    EVENTS.iter().find(|told| told.event_type == event_type)
}

/// The names of all, for a refusal.
#[must_use]
pub fn names() -> String {
    EVENTS.iter().map(|told| told.event_type).collect::<Vec<_>>().join(", ")
}

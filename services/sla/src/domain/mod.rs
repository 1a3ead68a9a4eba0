//! What was agreed and whether it is kept. Pure: record, command and now in, decision out.
//!
//! [`schedule`] is business time, the one place where local times become instants. [`calendar`]
//! and [`agreement`] are what people write; [`clock`] is a fold over the events of an incident,
//! by the course in [`incident`]; [`explanation`] says in words how a clock got its due time.

pub mod agreement;
pub mod calendar;
pub mod clock;
pub mod explanation;
pub mod incident;
pub mod refusal;
pub mod schedule;

pub use agreement::{Agreement, AgreementKind, AgreementState, AgreementWhat, Target};
pub use calendar::{Calendar, CalendarState, CalendarWhat};
pub use clock::{Clock, ClockState, ClockWhat, Metric, Segment, SegmentReason, Term, Terms};
pub use incident::{Incident, IncidentState, Priority, Seen};
pub use refusal::Refusal;
pub use schedule::{Hours, Schedule};

kit::id!(
    /// An agreement.
    AgreementId
);
kit::id!(
    /// A calendar.
    CalendarId
);
kit::id!(
    /// A clock.
    ClockId
);

/// The outcome of a verb on an agreement.
pub type AgreementDecision = kit::decide::Decision<Agreement, AgreementWhat>;
/// The outcome of a verb on a calendar.
pub type CalendarDecision = kit::decide::Decision<Calendar, CalendarWhat>;
/// The outcome of an event or a due instant on a clock.
pub type ClockDecision = kit::decide::Decision<Clock, ClockWhat>;

//! Why something is refused: one variant a reason, told with what would be right.

use super::incident::Priority;

/// Why a verb is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The agreement is retired.
    #[error("the agreement is retired; create a new one")]
    AgreementRetired,
    /// The agreement has no target.
    #[error("the agreement has no target; give it one for at least one priority before it starts clocks")]
    NoTarget,
    /// A target is so large, or its calendar so small, that it never comes.
    #[error("the target of {} is not reached within ten years of its calendar; make it shorter, or give it another calendar", .0.name())]
    NeverDue(Priority),
    /// A target names a calendar that is retired.
    #[error("the calendar {0} is retired; name another")]
    TargetCalendarRetired(String),
    /// The calendar is retired.
    #[error("the calendar is retired; create a new one")]
    CalendarRetired,
    /// The calendar has no working time.
    #[error("the calendar has no working time within ten years; give it hours that are not all holidays")]
    NeverWorks,
    /// The calendar is used.
    #[error("the agreement {0} is active and uses the calendar; retire or change it first")]
    CalendarInUse(String),
    /// There is such a calendar.
    #[error("there is a calendar named {0} already")]
    NameTaken(String),
}

//! Why a verb is refused: one variant a reason.

use super::delivery::State;

/// Why a verb is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The delivery is no longer pending.
    #[error("the delivery is {}; only a pending one can be cancelled", .0.name())]
    DeliveryOver(State),
    /// The contact method is disabled.
    #[error("the contact method is disabled: {0}; enable it first")]
    MethodDisabled(String),
    /// An event that nobody can be told about.
    #[error("there is no event `{0}` to tell about; known: {known}", known = super::event::names())]
    UnknownEvent(String),
    /// The rule names nobody.
    #[error("says nobody; set one of assigned_team, assignee, team_ids, person_ids, else_administrators")]
    NobodyToTell,
    /// Nobody can acknowledge what the event is about.
    #[error("`{0}` is about nothing that can be acknowledged; only incident and sla events repeat")]
    NothingToAcknowledge(String),
}

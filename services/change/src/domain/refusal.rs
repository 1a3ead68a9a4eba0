//! Why a verb is refused: one variant a reason.

use super::{
    change::ChangeType,
    state::{Move, State, legal},
};

/// Why a verb is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The move is not legal in this state.
    #[error(
        "{} is not possible while the {} change is {}; legal now: {}",
        by.name(),
        kind.name().to_lowercase(),
        state.name(),
        legal(*kind, *state)
    )]
    IllegalMove {
        /// How it is authorised.
        kind: ChangeType,
        /// Where it stands.
        state: State,
        /// What was wanted.
        by: Move,
    },
    /// The change is over.
    #[error("the change is {}; nothing about it changes any more", .0.name())]
    Over(State),
    /// The plan is being carried out, or was.
    #[error("the change is {}; its plan can no longer be edited: {}", state.name(), fields.join(", "))]
    PlanFixed {
        /// Where it stands.
        state: State,
        /// The fields of the plan that were to change.
        fields: Vec<&'static str>,
    },
    /// What approval is asked for is not written down.
    #[error("write these first: {}", .0.join(", "))]
    PlanIncomplete(Vec<&'static str>),
    /// Whoever asks for a change does not approve it.
    #[error("the requester of a change cannot approve it; ask a manager of the assigned team")]
    SelfApproval,
    /// An approved change is not rejected any more.
    #[error("the change is approved; cancel it, or edit its plan to void the approval")]
    AlreadyApproved,
    /// The plan as it is now is not approved.
    #[error("the change is not approved as it is planned now; ask for approval: approve")]
    NotApproved,
    /// It would be over before it starts.
    #[error("planned_end_time must be after planned_start_time")]
    EndsBeforeStart,
    /// Nobody said what came of it.
    #[error("a failed change needs outcome_notes: what came of it")]
    OutcomeNotesMissing,
    /// Nobody said what was learnt.
    #[error("a failed or emergency change needs review_notes to be closed: what was learnt")]
    ReviewNotesMissing,
}

//! The life of a change (ITIL change enablement) as one table, which code, tests and the README
//! share. A row holds for the types that it names.

use super::change::ChangeType;

kit::words!(
    /// Where a change stands.
    State {
        /// Being written.
        Draft = "DRAFT",
        /// Waits for approval.
        Requested = "REQUESTED",
        /// May be scheduled.
        Approved = "APPROVED",
        /// Refused; edit and request again.
        Rejected = "REJECTED",
        /// Has a time.
        Scheduled = "SCHEDULED",
        /// Being carried out.
        InProgress = "IN_PROGRESS",
        /// Done as planned.
        Completed = "COMPLETED",
        /// Not done as planned.
        Failed = "FAILED",
        /// Reviewed and over.
        Closed = "CLOSED",
        /// Given up.
        Cancelled = "CANCELLED",
    }
);

impl State {
    /// Whether it is over for good.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Closed | Self::Cancelled)
    }

    /// Whether the plan is being carried out or was, so that it stays as it is.
    #[must_use]
    pub const fn has_begun(self) -> bool {
        matches!(self, Self::InProgress | Self::Completed | Self::Failed | Self::Closed)
    }
}

kit::words!(
    /// What moves a change from state to state.
    Move {
        /// Approval is asked for.
        Request = "request",
        /// It is approved: by a person, or by its type.
        Approve = "approve",
        /// It is refused.
        Reject = "reject",
        /// It gets a time.
        Schedule = "schedule",
        /// It is being carried out.
        Start = "start",
        /// It is done as planned.
        Complete = "complete",
        /// It is not done as planned.
        Fail = "fail",
        /// It ends for good.
        Close = "close",
        /// It is given up.
        Cancel = "cancel",
        /// Its plan is edited, so the approval no longer holds.
        Void = "void",
    }
);

use ChangeType::{Emergency, Normal, Standard};

const ANY: &[ChangeType] = &[Standard, Normal, Emergency];
const BY_PEOPLE: &[ChangeType] = &[Normal, Emergency];

/// The life: from which state which move leads where, for which types. What is not here is refused.
/// A standard change is approved by its type in the decision that requests it. An emergency change
/// may begin before it is approved, and is approved without a move from there on. Editing the plan
/// of a standard change leads back to the draft, since what was authorised beforehand is another.
pub const LIFE: &[(State, Move, State, &[ChangeType])] = &[
    (State::Draft, Move::Request, State::Requested, ANY),
    (State::Draft, Move::Cancel, State::Cancelled, ANY),
    (State::Requested, Move::Approve, State::Approved, ANY),
    (State::Requested, Move::Reject, State::Rejected, BY_PEOPLE),
    (State::Requested, Move::Schedule, State::Scheduled, &[Emergency]),
    (State::Requested, Move::Start, State::InProgress, &[Emergency]),
    (State::Requested, Move::Cancel, State::Cancelled, ANY),
    (State::Rejected, Move::Request, State::Requested, BY_PEOPLE),
    (State::Rejected, Move::Cancel, State::Cancelled, BY_PEOPLE),
    (State::Approved, Move::Schedule, State::Scheduled, ANY),
    (State::Approved, Move::Start, State::InProgress, &[Standard, Emergency]),
    (State::Approved, Move::Void, State::Draft, &[Standard]),
    (State::Approved, Move::Void, State::Requested, BY_PEOPLE),
    (State::Approved, Move::Cancel, State::Cancelled, ANY),
    (State::Scheduled, Move::Approve, State::Scheduled, &[Emergency]),
    (State::Scheduled, Move::Reject, State::Rejected, &[Emergency]),
    (State::Scheduled, Move::Schedule, State::Scheduled, ANY),
    (State::Scheduled, Move::Start, State::InProgress, ANY),
    (State::Scheduled, Move::Void, State::Draft, &[Standard]),
    (State::Scheduled, Move::Void, State::Requested, &[Normal]),
    (State::Scheduled, Move::Void, State::Scheduled, &[Emergency]),
    (State::Scheduled, Move::Cancel, State::Cancelled, ANY),
    (State::InProgress, Move::Approve, State::InProgress, &[Emergency]),
    (State::InProgress, Move::Complete, State::Completed, ANY),
    (State::InProgress, Move::Fail, State::Failed, ANY),
    (State::Completed, Move::Approve, State::Completed, &[Emergency]),
    (State::Completed, Move::Close, State::Closed, ANY),
    (State::Failed, Move::Approve, State::Failed, &[Emergency]),
    (State::Failed, Move::Close, State::Closed, ANY),
];

/// Where a move leads, if it is legal.
#[must_use]
pub fn target(kind: ChangeType, from: State, by: Move) -> Option<State> {
    LIFE.iter()
        .find(|(state, step, _, kinds)| *state == from && *step == by && kinds.contains(&kind))
        .map(|(_, _, to, _)| *to)
}

/// The moves that are legal now, as people type them; voiding is an effect of editing, not a verb.
#[must_use]
pub fn legal(kind: ChangeType, from: State) -> String {
    let moves: Vec<&str> = LIFE
        .iter()
        .filter(|(state, step, _, kinds)| *state == from && *step != Move::Void && kinds.contains(&kind))
        .map(|(_, step, _, _)| step.name())
        .collect();
    if moves.is_empty() { "nothing".to_owned() } else { moves.join(", ") }
}

//! Why a verb is refused: one variant a reason.

use super::state::{Move, State, legal};

/// Why a verb is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The move is not legal in this state.
    #[error("{} is not possible while the incident is {}; legal now: {}", by.name(), state.name(), legal(*state))]
    IllegalMove {
        /// Where it stands.
        state: State,
        /// What was wanted.
        by: Move,
    },
    /// The incident is over.
    #[error("the incident is {}; nothing about it changes any more", .0.name())]
    Over(State),
    /// The reopen window has passed.
    #[error("the incident was resolved more than {window_minutes} minutes ago; open a new one")]
    ReopenWindowPassed {
        /// How long an incident may be reopened, in minutes.
        window_minutes: i64,
    },
    /// The alert already belongs to another open incident.
    #[error("the alert belongs to incident {0}, which is open; unlink it there first")]
    AlertElsewhere(String),
    /// The alert does not belong to this incident.
    #[error("the alert does not belong to this incident")]
    AlertNotLinked,
    /// There are too many alerts.
    #[error("an incident holds at most {0} alerts")]
    TooManyAlerts(usize),
}

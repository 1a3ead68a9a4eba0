//! Why a verb is refused: one variant a reason.

use super::state::{Move, State, legal};

/// Why a verb is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The move is not legal in this state.
    #[error("{} is not possible while it is {}; legal now: {}", by.name(), state.name(), legal(*state))]
    IllegalMove {
        /// Where it stands.
        state: State,
        /// What was wanted.
        by: Move,
    },
    /// The record is out of use.
    #[error("it is RETIRED; nothing about it changes any more")]
    Retired,
    /// The service that an item shall be part of is out of use.
    #[error("the service {0} is RETIRED; an item can only become part of a service that is planned or in use")]
    ServiceRetired(String),
}

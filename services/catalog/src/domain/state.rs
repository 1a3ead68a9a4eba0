//! The life of a service or configuration item as one table, which code, tests and the README share.

kit::words!(
    /// Where a service or item stands.
    State {
        /// Not in use yet.
        Planned = "PLANNED",
        /// In use.
        Live = "LIVE",
        /// Out of use; history stays.
        Retired = "RETIRED",
    }
);

kit::words!(
    /// What moves a service or item from state to state.
    Move {
        /// It goes into use.
        Activate = "activate",
        /// It goes out of use.
        Retire = "retire",
    }
);

/// The life: from which state which move leads where. What is not here is refused.
pub const LIFE: &[(State, Move, State)] = &[
    (State::Planned, Move::Activate, State::Live),
    (State::Planned, Move::Retire, State::Retired),
    (State::Live, Move::Retire, State::Retired),
];

/// Where a move leads, if it is legal.
#[must_use]
pub fn target(from: State, by: Move) -> Option<State> {
    LIFE.iter().find(|(state, step, _)| *state == from && *step == by).map(|(_, _, to)| *to)
}

/// The moves that are legal now, as people type them.
#[must_use]
pub fn legal(from: State) -> String {
    let moves: Vec<&str> = LIFE.iter().filter(|(state, _, _)| *state == from).map(|(_, step, _)| step.name()).collect();
    if moves.is_empty() { "nothing".to_owned() } else { moves.join(", ") }
}

/// Where a record begins: in use, unless it is only planned.
#[must_use]
pub const fn first(planned: bool) -> State {
    if planned { State::Planned } else { State::Live }
}

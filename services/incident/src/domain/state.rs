//! The life of an incident (ITIL incident management) as one table, which code, tests and the
//! README share.

kit::words!(
    /// Where an incident stands, in the order of the life.
    State {
        /// Nobody has it.
        New = "NEW",
        /// Somebody has it.
        Assigned = "ASSIGNED",
        /// Somebody works on it.
        InProgress = "IN_PROGRESS",
        /// It waits for something outside.
        Pending = "PENDING",
        /// Service is restored; the user may object.
        Resolved = "RESOLVED",
        /// Over for good.
        Closed = "CLOSED",
        /// It was none.
        Cancelled = "CANCELLED",
    }
);

kit::words!(
    /// What moves an incident from state to state.
    Move {
        /// Somebody has seen it.
        Acknowledge = "acknowledge",
        /// It is given to a team or a person.
        Assign = "assign",
        /// Work begins.
        Start = "start",
        /// It waits.
        Hold = "hold",
        /// Work goes on.
        Resume = "resume",
        /// Service is restored.
        Resolve = "resolve",
        /// It ends for good.
        Close = "close",
        /// It was none.
        Cancel = "cancel",
        /// It comes back.
        Reopen = "reopen",
    }
);

impl State {
    /// Whether it is over for good.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Closed | Self::Cancelled)
    }
}

/// The life: from which state which move leads where. What is not here is refused.
pub const LIFE: &[(State, Move, State)] = &[
    (State::New, Move::Acknowledge, State::Assigned),
    (State::New, Move::Assign, State::Assigned),
    (State::New, Move::Start, State::InProgress),
    (State::New, Move::Hold, State::Pending),
    (State::New, Move::Resolve, State::Resolved),
    (State::New, Move::Cancel, State::Cancelled),
    (State::Assigned, Move::Acknowledge, State::Assigned),
    (State::Assigned, Move::Assign, State::Assigned),
    (State::Assigned, Move::Start, State::InProgress),
    (State::Assigned, Move::Hold, State::Pending),
    (State::Assigned, Move::Resolve, State::Resolved),
    (State::Assigned, Move::Cancel, State::Cancelled),
    (State::InProgress, Move::Acknowledge, State::InProgress),
    (State::InProgress, Move::Assign, State::InProgress),
    (State::InProgress, Move::Hold, State::Pending),
    (State::InProgress, Move::Resolve, State::Resolved),
    (State::InProgress, Move::Cancel, State::Cancelled),
    (State::Pending, Move::Acknowledge, State::Pending),
    (State::Pending, Move::Assign, State::Pending),
    (State::Pending, Move::Resume, State::InProgress),
    (State::Pending, Move::Resolve, State::Resolved),
    (State::Pending, Move::Cancel, State::Cancelled),
    (State::Resolved, Move::Close, State::Closed),
    (State::Resolved, Move::Reopen, State::Assigned),
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

//! The lives of the records, one table each. What is not in a table changes nothing: each of these
//! moves has one goal, so a move that leads nowhere has its effect already.

kit::words!(
    /// What moves a record from state to state.
    Move {
        /// A person leaves.
        Deactivate = "deactivate",
        /// A person comes back.
        Reactivate = "reactivate",
        /// A team is dissolved.
        Retire = "retire",
        /// A membership ends.
        End = "end",
    }
);

kit::words!(
    /// Whether a tenant may be used.
    TenantState {
        /// In use.
        Active = "ACTIVE",
        /// Its keys are refused.
        Suspended = "SUSPENDED",
    }
);

kit::words!(
    /// Whether a person takes part.
    PersonState {
        /// Takes part.
        Active = "ACTIVE",
        /// Left; keys are refused, history stays.
        Deactivated = "DEACTIVATED",
    }
);

kit::words!(
    /// Whether a team takes part.
    TeamState {
        /// Takes part.
        Active = "ACTIVE",
        /// Dissolved; history stays.
        Retired = "RETIRED",
    }
);

kit::words!(
    /// Whether a membership holds.
    MembershipState {
        /// Holds.
        Active = "ACTIVE",
        /// Over.
        Ended = "ENDED",
    }
);

/// The life of a person: from which state which move leads where.
pub const PERSON_LIFE: &[(PersonState, Move, PersonState)] = &[
    (PersonState::Active, Move::Deactivate, PersonState::Deactivated),
    (PersonState::Deactivated, Move::Reactivate, PersonState::Active),
];

/// The life of a team.
pub const TEAM_LIFE: &[(TeamState, Move, TeamState)] = &[(TeamState::Active, Move::Retire, TeamState::Retired)];

/// The life of a membership.
pub const MEMBERSHIP_LIFE: &[(MembershipState, Move, MembershipState)] =
    &[(MembershipState::Active, Move::End, MembershipState::Ended)];

/// Where a move leads; nowhere when its effect holds already.
#[must_use]
pub fn target<S: Copy + PartialEq>(life: &[(S, Move, S)], from: S, by: Move) -> Option<S> {
    life.iter().find(|(state, step, _)| *state == from && *step == by).map(|(_, _, to)| *to)
}

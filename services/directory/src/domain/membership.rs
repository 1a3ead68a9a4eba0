//! A membership: a person's role in a team.

use chrono::{DateTime, Utc};
use kit::id::{PersonId, TeamId};

use super::{
    Decision, Person, Refusal, Team,
    state::{MEMBERSHIP_LIFE, MembershipState, Move, target},
};

kit::id!(
    /// A membership.
    MembershipId
);

kit::words!(
    /// What a person may do in a team; each role includes those before it.
    TeamRole {
        /// Reads.
        Viewer = "VIEWER",
        /// Works on records.
        Responder = "RESPONDER",
        /// Also decides, and says who belongs to the team.
        Manager = "MANAGER",
    }
);

impl TeamRole {
    /// The number, as on the wire and in SQL.
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            Self::Viewer => 1,
            Self::Responder => 2,
            Self::Manager => 3,
        }
    }

    /// The role of a number.
    #[must_use]
    pub fn of_number(number: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.number() == number)
    }
}

/// A person's role in a team.
#[derive(Debug, Clone, PartialEq)]
pub struct Membership {
    /// The id.
    pub id: MembershipId,
    /// Counts the changes.
    pub revision: i64,
    /// The team.
    pub team_id: TeamId,
    /// The person.
    pub person_id: PersonId,
    /// What the person may do there.
    pub role: TeamRole,
    /// Whether it holds.
    pub state: MembershipState,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// What happened to a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MembershipWhat {
    /// A person joined.
    Started,
    /// The role changed.
    Changed,
    /// The person left.
    Ended,
}

/// What is needed to start a membership.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMembership {
    /// The id.
    pub id: MembershipId,
    /// What the person may do there.
    pub role: TeamRole,
}

super::record!(Membership, MembershipWhat);

impl Membership {
    /// A person joins a team.
    ///
    /// # Errors
    /// Refused for a retired team and for a deactivated person.
    pub fn start(
        new: NewMembership,
        team: &Team,
        person: &Person,
        now: DateTime<Utc>,
    ) -> Result<Decision<Self>, Refusal> {
        team.active()?;
        person.active()?;
        let membership = Self {
            id: new.id,
            revision: 0,
            team_id: team.id,
            person_id: person.id,
            role: new.role,
            state: MembershipState::Active,
            created_at: now,
            updated_at: now,
        };
        Ok(Decision::of(membership, MembershipWhat::Started))
    }

    /// Changes the role.
    ///
    /// # Errors
    /// Refused when it has ended.
    pub fn update(&self, role: Option<TeamRole>, now: DateTime<Utc>) -> Result<Decision<Self>, Refusal> {
        if self.state == MembershipState::Ended {
            return Err(Refusal::MembershipEnded);
        }
        match role {
            Some(role) if role != self.role => Ok(Decision::of(Self { role, ..self.at(now) }, MembershipWhat::Changed)),
            Some(_) | None => Ok(Decision::unchanged(self.clone())),
        }
    }

    /// Ends it.
    pub fn end(&self, now: DateTime<Utc>) -> Decision<Self> {
        match target(MEMBERSHIP_LIFE, self.state, Move::End) {
            Some(state) => Decision::of(Self { state, ..self.at(now) }, MembershipWhat::Ended),
            None => Decision::unchanged(self.clone()),
        }
    }

    fn at(&self, now: DateTime<Utc>) -> Self {
        Self { updated_at: now.max(self.updated_at), ..self.clone() }
    }
}

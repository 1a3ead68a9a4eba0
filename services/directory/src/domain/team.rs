//! A team: people who share work.

use chrono::{DateTime, Utc};
use kit::id::TeamId;

use super::{
    Decision, Refusal,
    state::{Move, TEAM_LIFE, TeamState, target},
};

/// People who share work.
#[derive(Debug, Clone, PartialEq)]
pub struct Team {
    /// The id.
    pub id: TeamId,
    /// Counts the changes.
    pub revision: i64,
    /// The short name, unique in the tenant.
    pub name: String,
    /// The name people read.
    pub display_name: String,
    /// What the team does.
    pub description: String,
    /// Whether it takes part.
    pub state: TeamState,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// What happened to a team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TeamWhat {
    /// It was created.
    Created,
    /// It was changed.
    Changed,
    /// It was dissolved.
    Retired,
}

/// What is needed to create a team.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTeam {
    /// The id.
    pub id: TeamId,
    /// The short name.
    pub name: String,
    /// The name people read.
    pub display_name: String,
    /// What the team does.
    pub description: String,
}

/// What an update changes; what is none stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TeamUpdate {
    /// The name people read.
    pub display_name: Option<String>,
    /// What the team does.
    pub description: Option<String>,
}

super::record!(Team, TeamWhat);

impl Team {
    /// Creates a team.
    pub fn create(new: NewTeam, now: DateTime<Utc>) -> Decision<Self> {
        let team = Self {
            id: new.id,
            revision: 0,
            name: new.name,
            display_name: new.display_name,
            description: new.description,
            state: TeamState::Active,
            created_at: now,
            updated_at: now,
        };
        Decision::of(team, TeamWhat::Created)
    }

    /// Changes fields.
    ///
    /// # Errors
    /// Refused for a retired team.
    pub fn update(&self, update: TeamUpdate, now: DateTime<Utc>) -> Result<Decision<Self>, Refusal> {
        self.active()?;
        let mut next = self.at(now);
        next.display_name = update.display_name.unwrap_or_else(|| next.display_name.clone());
        next.description = update.description.unwrap_or_else(|| next.description.clone());
        if (Self { updated_at: self.updated_at, ..next.clone() }) == *self {
            return Ok(Decision::unchanged(self.clone()));
        }
        Ok(Decision::of(next, TeamWhat::Changed))
    }

    /// Dissolves it. Its memberships end with it, in the same transaction.
    pub fn retire(&self, now: DateTime<Utc>) -> Decision<Self> {
        match target(TEAM_LIFE, self.state, Move::Retire) {
            Some(state) => Decision::of(Self { state, ..self.at(now) }, TeamWhat::Retired),
            None => Decision::unchanged(self.clone()),
        }
    }

    /// Demands that the team takes part.
    pub(super) fn active(&self) -> Result<(), Refusal> {
        if self.state == TeamState::Active { Ok(()) } else { Err(Refusal::TeamRetired(self.id)) }
    }

    fn at(&self, now: DateTime<Utc>) -> Self {
        Self { updated_at: now.max(self.updated_at), ..self.clone() }
    }
}

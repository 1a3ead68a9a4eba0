//! A service: the record, what can happen to it, and its verbs.

use chrono::{DateTime, Utc};
use kit::{
    decide::{Decision, Revised},
    id::{ServiceId, TeamId},
};

use super::{
    ServiceDecision,
    refusal::Refusal,
    state::{Move, State, first, target},
};

kit::words!(
    /// Who a service is for.
    ServiceKind {
        /// Customers use it.
        Business = "BUSINESS",
        /// Other services use it.
        Technical = "TECHNICAL",
    }
);

kit::words!(
    /// How much business is hurt when it fails.
    Impact {
        /// The whole organisation or a vital business function.
        Extensive = "EXTENSIVE",
        /// Several teams or an important service.
        Significant = "SIGNIFICANT",
        /// One team or a minor service.
        Moderate = "MODERATE",
        /// A single person.
        Minor = "MINOR",
    }
);

impl Impact {
    /// 1 is the widest.
    #[must_use]
    pub const fn level(self) -> i16 {
        match self {
            Self::Extensive => 1,
            Self::Significant => 2,
            Self::Moderate => 3,
            Self::Minor => 4,
        }
    }

    /// The impact of a level.
    #[must_use]
    pub fn of_level(level: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|impact| impact.level() == level)
    }
}

/// A service that users get, or that other services stand on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The id.
    pub id: ServiceId,
    /// Counts the changes.
    pub revision: i64,
    /// The short name, by which alerts find it; never changes.
    pub name: String,
    /// The name people read.
    pub display_name: String,
    /// What it is.
    pub description: String,
    /// Who it is for; never changes.
    pub kind: ServiceKind,
    /// The team that answers for it.
    pub owning_team_id: TeamId,
    /// The team that its incidents go to; none means the owning team.
    pub support_team_id: Option<TeamId>,
    /// The impact of its failure, when it was said.
    pub impact: Option<Impact>,
    /// Where it stands.
    pub state: State,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl Revised for Service {
    fn revision_mut(&mut self) -> &mut i64 {
        &mut self.revision
    }
}

/// What happened to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It was created.
    Created,
    /// Fields were changed.
    Changed,
    /// It went into use.
    Activated,
    /// It went out of use.
    Retired,
}

/// What is needed to create a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewService {
    /// The short name.
    pub name: String,
    /// The name people read.
    pub display_name: String,
    /// What it is.
    pub description: String,
    /// Who it is for.
    pub kind: ServiceKind,
    /// The team that answers for it.
    pub owning_team_id: TeamId,
    /// The team that its incidents go to.
    pub support_team_id: Option<TeamId>,
    /// The impact of its failure.
    pub impact: Option<Impact>,
    /// Whether it is not in use yet.
    pub planned: bool,
}

/// What an update changes; what is none stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// The name people read.
    pub display_name: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// The team that answers for it.
    pub owning_team_id: Option<TeamId>,
    /// The team that its incidents go to.
    pub support_team_id: Option<Option<TeamId>>,
    /// The impact of its failure.
    pub impact: Option<Option<Impact>>,
}

impl Service {
    /// Creates a service, in use unless it is only planned.
    pub fn create(id: ServiceId, new: NewService, now: DateTime<Utc>) -> ServiceDecision {
        let service = Self {
            id,
            revision: 0,
            name: new.name,
            display_name: new.display_name,
            description: new.description,
            kind: new.kind,
            owning_team_id: new.owning_team_id,
            support_team_id: new.support_team_id,
            impact: new.impact,
            state: first(new.planned),
            created_at: now,
            updated_at: now,
        };
        Decision::of(service, What::Created)
    }

    /// The teams that may change it.
    #[must_use]
    pub fn teams(&self) -> Vec<TeamId> {
        std::iter::once(self.owning_team_id).chain(self.support_team_id).collect()
    }

    /// Puts it into use.
    ///
    /// # Errors
    /// Refused when it is retired.
    pub fn activate(&self, now: DateTime<Utc>) -> Result<ServiceDecision, Refusal> {
        self.moved(Move::Activate, State::Live, What::Activated, now)
    }

    /// Takes it out of use; legal from every state, and once.
    ///
    /// # Errors
    /// None by the life as it is.
    pub fn retire(&self, now: DateTime<Utc>) -> Result<ServiceDecision, Refusal> {
        self.moved(Move::Retire, State::Retired, What::Retired, now)
    }

    fn moved(&self, by: Move, wanted: State, what: What, now: DateTime<Utc>) -> Result<ServiceDecision, Refusal> {
        if self.state == wanted {
            return Ok(Decision::unchanged(self.clone()));
        }
        let state = target(self.state, by).ok_or(Refusal::IllegalMove { state: self.state, by })?;
        Ok(Decision::of(Self { state, updated_at: now.max(self.updated_at), ..self.clone() }, what))
    }

    /// Changes fields.
    ///
    /// # Errors
    /// Refused when it is retired.
    pub fn update(&self, update: Update, now: DateTime<Utc>) -> Result<ServiceDecision, Refusal> {
        if self.state == State::Retired {
            return Err(Refusal::Retired);
        }
        let next = Self {
            display_name: update.display_name.unwrap_or_else(|| self.display_name.clone()),
            description: update.description.unwrap_or_else(|| self.description.clone()),
            owning_team_id: update.owning_team_id.unwrap_or(self.owning_team_id),
            support_team_id: update.support_team_id.unwrap_or(self.support_team_id),
            impact: update.impact.unwrap_or(self.impact),
            ..self.clone()
        };
        if next == *self {
            return Ok(Decision::unchanged(next));
        }
        Ok(Decision::of(Self { updated_at: now.max(self.updated_at), ..next }, What::Changed))
    }
}

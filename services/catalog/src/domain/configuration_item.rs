//! A configuration item: the record, what can happen to it, and its verbs.

use chrono::{DateTime, Utc};
use kit::{
    decide::{Decision, Revised},
    id::{CiId, ServiceId, TeamId},
};

use super::{
    ConfigurationItemDecision,
    refusal::Refusal,
    state::{Move, State, first, target},
};

/// Something that a service is made of: a host, a database, a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationItem {
    /// The id.
    pub id: CiId,
    /// Counts the changes.
    pub revision: i64,
    /// The short name, by which alerts find it; never changes.
    pub name: String,
    /// The name people read.
    pub display_name: String,
    /// What it is.
    pub description: String,
    /// What it is, in one word, such as `host`.
    pub kind: String,
    /// The team that answers for it.
    pub owning_team_id: TeamId,
    /// The team that its incidents go to; none means the owning team.
    pub support_team_id: Option<TeamId>,
    /// The service it is part of.
    pub service_id: Option<ServiceId>,
    /// Where it stands.
    pub state: State,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl Revised for ConfigurationItem {
    fn revision_mut(&mut self) -> &mut i64 {
        &mut self.revision
    }
}

/// What happened to a configuration item.
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

/// What is needed to create a configuration item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewConfigurationItem {
    /// The short name.
    pub name: String,
    /// The name people read.
    pub display_name: String,
    /// What it is.
    pub description: String,
    /// What it is, in one word.
    pub kind: String,
    /// The team that answers for it.
    pub owning_team_id: TeamId,
    /// The team that its incidents go to.
    pub support_team_id: Option<TeamId>,
    /// The service it is part of.
    pub service_id: Option<ServiceId>,
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
    /// What it is, in one word.
    pub kind: Option<String>,
    /// The team that answers for it.
    pub owning_team_id: Option<TeamId>,
    /// The team that its incidents go to.
    pub support_team_id: Option<Option<TeamId>>,
    /// The service it is part of.
    pub service_id: Option<Option<ServiceId>>,
}

impl ConfigurationItem {
    /// Creates a configuration item, in use unless it is only planned.
    pub fn create(id: CiId, new: NewConfigurationItem, now: DateTime<Utc>) -> ConfigurationItemDecision {
        let item = Self {
            id,
            revision: 0,
            name: new.name,
            display_name: new.display_name,
            description: new.description,
            kind: new.kind,
            owning_team_id: new.owning_team_id,
            support_team_id: new.support_team_id,
            service_id: new.service_id,
            state: first(new.planned),
            created_at: now,
            updated_at: now,
        };
        Decision::of(item, What::Created)
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
    pub fn activate(&self, now: DateTime<Utc>) -> Result<ConfigurationItemDecision, Refusal> {
        self.moved(Move::Activate, State::Live, What::Activated, now)
    }

    /// Takes it out of use; legal from every state, and once.
    ///
    /// # Errors
    /// None by the life as it is.
    pub fn retire(&self, now: DateTime<Utc>) -> Result<ConfigurationItemDecision, Refusal> {
        self.moved(Move::Retire, State::Retired, What::Retired, now)
    }

    fn moved(
        &self,
        by: Move,
        wanted: State,
        what: What,
        now: DateTime<Utc>,
    ) -> Result<ConfigurationItemDecision, Refusal> {
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
    pub fn update(&self, update: Update, now: DateTime<Utc>) -> Result<ConfigurationItemDecision, Refusal> {
        if self.state == State::Retired {
            return Err(Refusal::Retired);
        }
        let next = Self {
            display_name: update.display_name.unwrap_or_else(|| self.display_name.clone()),
            description: update.description.unwrap_or_else(|| self.description.clone()),
            kind: update.kind.unwrap_or_else(|| self.kind.clone()),
            owning_team_id: update.owning_team_id.unwrap_or(self.owning_team_id),
            support_team_id: update.support_team_id.unwrap_or(self.support_team_id),
            service_id: update.service_id.unwrap_or(self.service_id),
            ..self.clone()
        };
        if next == *self {
            return Ok(Decision::unchanged(next));
        }
        Ok(Decision::of(Self { updated_at: now.max(self.updated_at), ..next }, What::Changed))
    }
}

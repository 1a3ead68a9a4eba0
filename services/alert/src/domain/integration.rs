//! An integration: a source of alerts with its own key. Only the digest of the key is known here.

use chrono::{DateTime, Utc};
use kit::{
    decide::Revised,
    id::{ServiceId, TeamId},
};

use super::Severity;

kit::id!(
    /// An integration.
    IntegrationId
);

/// What may happen to an integration in which state, and where that leads. A new one is active.
/// README and tests read this table.
pub const INTEGRATION_MOVES: [(IntegrationState, IntegrationVerb, IntegrationState); 6] = [
    (IntegrationState::Active, IntegrationVerb::Change, IntegrationState::Active),
    (IntegrationState::Disabled, IntegrationVerb::Change, IntegrationState::Disabled),
    (IntegrationState::Active, IntegrationVerb::RotateKey, IntegrationState::Active),
    (IntegrationState::Disabled, IntegrationVerb::RotateKey, IntegrationState::Disabled),
    (IntegrationState::Active, IntegrationVerb::Disable, IntegrationState::Disabled),
    (IntegrationState::Disabled, IntegrationVerb::Enable, IntegrationState::Active),
];

kit::words!(
    /// Whether an integration takes alerts.
    IntegrationState {
        /// It does.
        Active = "ACTIVE",
        /// Its key is refused.
        Disabled = "DISABLED",
    }
);

kit::words!(
    /// What may happen to an integration.
    IntegrationVerb {
        /// Its fields change.
        Change = "change",
        /// It gets a new key.
        RotateKey = "rotate_key",
        /// Its key is refused from now on.
        Disable = "disable",
        /// It takes alerts again.
        Enable = "enable",
    }
);

/// What happened to an integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntegrationWhat {
    /// It was created.
    Created,
    /// Its fields changed.
    Changed,
    /// It got a new key.
    KeyRotated,
    /// It was disabled.
    Disabled,
    /// It was enabled again.
    Enabled,
}

/// The outcome of a verb on an integration.
pub type Decision = kit::decide::Decision<Integration, IntegrationWhat>;

/// A key as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// SHA-256 of the key.
    pub digest: [u8; 32],
    /// Its first characters, to recognise it by.
    pub hint: String,
}

/// A source of alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integration {
    /// The id.
    pub id: IntegrationId,
    /// Counts the changes.
    pub revision: i64,
    /// The slug, unique in the tenant. Never changes.
    pub name: String,
    /// The name people read.
    pub display_name: String,
    /// The team of alerts whose service is not known.
    pub team_id: Option<TeamId>,
    /// The service of alerts that name none.
    pub service_id: Option<ServiceId>,
    /// The least severity that opens an incident.
    pub open_incident_from: Severity,
    /// Whether it takes alerts.
    pub state: IntegrationState,
    /// Its key.
    pub key: Key,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl Revised for Integration {
    fn revision_mut(&mut self) -> &mut i64 {
        &mut self.revision
    }
}

/// What a new integration is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIntegration {
    /// The slug.
    pub name: String,
    /// The name people read.
    pub display_name: String,
    /// The team of alerts whose service is not known.
    pub team_id: Option<TeamId>,
    /// The service of alerts that name none.
    pub service_id: Option<ServiceId>,
    /// The least severity that opens an incident.
    pub open_incident_from: Severity,
}

/// Which fields get which values; none stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The name people read.
    pub display_name: Option<String>,
    /// The team, or that there is none.
    pub team_id: Option<Option<TeamId>>,
    /// The service, or that there is none.
    pub service_id: Option<Option<ServiceId>>,
    /// The least severity that opens an incident.
    pub open_incident_from: Option<Severity>,
}

impl Integration {
    /// Creates an integration with its first key.
    pub fn create(id: IntegrationId, new: NewIntegration, key: Key, now: DateTime<Utc>) -> Decision {
        let unborn = Self {
            id,
            revision: 0,
            name: new.name,
            display_name: new.display_name,
            team_id: new.team_id,
            service_id: new.service_id,
            open_incident_from: new.open_incident_from,
            state: IntegrationState::Active,
            key,
            created_at: now,
            updated_at: now,
        };
        Decision::of(unborn, IntegrationWhat::Created)
    }

    /// Changes fields.
    pub fn change(&self, change: Change, now: DateTime<Utc>) -> Decision {
        let next = Self {
            display_name: change.display_name.unwrap_or_else(|| self.display_name.clone()),
            team_id: change.team_id.unwrap_or(self.team_id),
            service_id: change.service_id.unwrap_or(self.service_id),
            open_incident_from: change.open_incident_from.unwrap_or(self.open_incident_from),
            ..self.clone()
        };
        if next == *self {
            return Decision::unchanged(next);
        }
        self.becomes(next, IntegrationWhat::Changed, now)
    }

    /// Gets a new key; the old one holds no longer.
    pub fn rotate_key(&self, key: Key, now: DateTime<Utc>) -> Decision {
        self.becomes(Self { key, ..self.clone() }, IntegrationWhat::KeyRotated, now)
    }

    /// Refuses its key from now on.
    pub fn disable(&self, now: DateTime<Utc>) -> Decision {
        match self.state {
            IntegrationState::Disabled => Decision::unchanged(self.clone()),
            IntegrationState::Active => {
                let next = Self { state: IntegrationState::Disabled, ..self.clone() };
                self.becomes(next, IntegrationWhat::Disabled, now)
            }
        }
    }

    /// Takes alerts again.
    pub fn enable(&self, now: DateTime<Utc>) -> Decision {
        match self.state {
            IntegrationState::Active => Decision::unchanged(self.clone()),
            IntegrationState::Disabled => {
                let next = Self { state: IntegrationState::Active, ..self.clone() };
                self.becomes(next, IntegrationWhat::Enabled, now)
            }
        }
    }

    fn becomes(&self, next: Self, what: IntegrationWhat, now: DateTime<Utc>) -> Decision {
        Decision::unchanged(self.clone()).then(Self { updated_at: now, ..next }, what)
    }
}

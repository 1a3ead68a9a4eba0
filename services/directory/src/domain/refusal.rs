//! Why a verb is refused: one variant a reason.

use kit::id::{PersonId, TeamId};

use super::scope::Scope;

/// Why a verb is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody would be left to administer the tenant.
    #[error("this is the last active administrator of the tenant; make somebody else an administrator first")]
    LastAdministrator,
    /// The person does not take part.
    #[error("person {0} is deactivated; reactivate the person first")]
    PersonDeactivated(PersonId),
    /// A program has no mail address.
    #[error("a service account has no mail address")]
    ServiceAccountEmail,
    /// The team was dissolved.
    #[error("team {0} is retired; nothing about it changes any more")]
    TeamRetired(TeamId),
    /// The membership is over.
    #[error("the membership has ended; create a new one")]
    MembershipEnded,
    /// There are too many keys.
    #[error("the person has {0} active keys, which is the most; revoke one first")]
    TooManyKeys(usize),
    /// The key that is used may not do what the new one would.
    #[error("the key in use is limited to {0}; a key made with it must have scopes within these")]
    ScopeTooWide(String),
    /// The key would not work at all.
    #[error("the key would be expired from the beginning; its expire_time must be in the future")]
    ExpiryPast,
}

impl Refusal {
    /// The refusal of a scope that goes beyond these.
    pub(super) fn too_wide(granted: &[Scope]) -> Self {
        Self::ScopeTooWide(granted.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    }
}

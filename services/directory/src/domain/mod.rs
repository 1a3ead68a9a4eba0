//! Who there is and what may happen to them. Pure: state, command and now in, decision out.
//!
//! A module per noun with its record and verbs; [`state`] has the lives as tables, [`scope`] what a
//! key may be limited to, [`refusal`] why a verb is refused.

pub mod api_key;
pub mod membership;
pub mod person;
pub mod refusal;
pub mod scope;
pub mod state;
pub mod team;
pub mod tenant;

pub use api_key::{ApiKey, ApiKeyId, ApiKeyWhat, NewApiKey};
pub use membership::{Membership, MembershipId, MembershipWhat, NewMembership, TeamRole};
pub use person::{NewPerson, Person, PersonKind, PersonUpdate, PersonWhat, Private};
pub use refusal::Refusal;
pub use scope::Scope;
pub use state::{MembershipState, Move, PersonState, TeamState, TenantState};
pub use team::{NewTeam, Team, TeamUpdate, TeamWhat};
pub use tenant::{NewTenant, Tenant, TenantWhat};

/// The outcome of a verb on a record.
pub type Decision<R> = kit::decide::Decision<R, <R as Record>::What>;

/// A record of the directory: all have an id and a revision, and something happens to them.
pub trait Record: kit::decide::Revised + Clone {
    /// What can happen to it.
    type What;

    /// Its id.
    fn id(&self) -> uuid::Uuid;

    /// Its revision.
    fn revision(&self) -> i64;
}

/// Says of a record what all records have.
macro_rules! record {
    ($record:ident, $what:ident) => {
        impl kit::decide::Revised for $record {
            fn revision_mut(&mut self) -> &mut i64 {
                &mut self.revision
            }
        }

        impl super::Record for $record {
            type What = $what;

            fn id(&self) -> uuid::Uuid {
                self.id.into()
            }

            fn revision(&self) -> i64 {
                self.revision
            }
        }
    };
}
use record;

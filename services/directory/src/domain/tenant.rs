//! A tenant: one organisation.

use chrono::{DateTime, Utc};
use kit::id::TenantId;

use super::{Decision, state::TenantState};

/// One organisation; nobody sees across tenants.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    /// The id.
    pub id: TenantId,
    /// Counts the changes.
    pub revision: i64,
    /// The name in subjects.
    pub slug: String,
    /// The name people read.
    pub display_name: String,
    /// Whether it may be used.
    pub state: TenantState,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// What happened to a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantWhat {
    /// It was created.
    Created,
    /// It was changed.
    Changed,
}

/// What is needed to create a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTenant {
    /// The id.
    pub id: TenantId,
    /// The name in subjects.
    pub slug: String,
    /// The name people read.
    pub display_name: String,
}

super::record!(Tenant, TenantWhat);

impl Tenant {
    /// Creates a tenant.
    pub fn create(new: NewTenant, now: DateTime<Utc>) -> Decision<Self> {
        let tenant = Self {
            id: new.id,
            revision: 0,
            slug: new.slug,
            display_name: new.display_name,
            state: TenantState::Active,
            created_at: now,
            updated_at: now,
        };
        Decision::of(tenant, TenantWhat::Created)
    }

    /// Gives it another name to read.
    pub fn rename(&self, display_name: Option<String>, now: DateTime<Utc>) -> Decision<Self> {
        let display_name = display_name.unwrap_or_else(|| self.display_name.clone());
        if display_name == self.display_name {
            return Decision::unchanged(self.clone());
        }
        let next = Self { display_name, updated_at: now.max(self.updated_at), ..self.clone() };
        Decision::of(next, TenantWhat::Changed)
    }
}

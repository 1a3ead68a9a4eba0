//! An API key, without its secret: that is shown once and known to nobody afterwards.

use chrono::{DateTime, Utc};
use kit::id::PersonId;

use super::{Decision, Person, Refusal, scope::Scope};

kit::id!(
    /// An API key.
    ApiKeyId
);

/// A credential.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiKey {
    /// The id.
    pub id: ApiKeyId,
    /// Counts the changes.
    pub revision: i64,
    /// Whose key it is.
    pub person_id: PersonId,
    /// What it is for.
    pub display_name: String,
    /// What it is limited to; empty means nothing.
    pub scopes: Vec<Scope>,
    /// The first characters, to recognise it by.
    pub hint: String,
    /// When it stops working; none means never.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKeyWhat {
    /// It was created.
    Created {
        /// SHA-256 of the secret: for the row, in no event.
        digest: [u8; 32],
    },
    /// It was revoked.
    Revoked,
}

/// What is needed to create a key.
#[derive(Debug, Clone, PartialEq)]
pub struct NewApiKey {
    /// The id.
    pub id: ApiKeyId,
    /// What it is for.
    pub display_name: String,
    /// What it is limited to.
    pub scopes: Vec<Scope>,
    /// The first characters.
    pub hint: String,
    /// When it stops working.
    pub expires_at: Option<DateTime<Utc>>,
    /// SHA-256 of the secret.
    pub digest: [u8; 32],
}

/// What a person's keys are held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyLimit {
    /// How many keys the person has that work now.
    pub active: usize,
    /// How many there may be.
    pub most: usize,
}

super::record!(ApiKey, ApiKeyWhat);

impl ApiKey {
    /// Creates a key for a person, by a key that is itself limited to `granted`.
    ///
    /// # Errors
    /// Refused for a deactivated person, for one who has the most keys already, for an expiry in
    /// the past, and when it could do more than the key that makes it.
    pub fn create(
        new: NewApiKey,
        owner: &Person,
        limit: KeyLimit,
        granted: &[Scope],
        now: DateTime<Utc>,
    ) -> Result<Decision<Self>, Refusal> {
        owner.active()?;
        if limit.active >= limit.most {
            return Err(Refusal::TooManyKeys(limit.active));
        }
        if !Scope::narrows(granted, &new.scopes) {
            return Err(Refusal::too_wide(granted));
        }
        if new.expires_at.is_some_and(|at| at <= now) {
            return Err(Refusal::ExpiryPast);
        }
        let key = Self {
            id: new.id,
            revision: 0,
            person_id: owner.id,
            display_name: new.display_name,
            scopes: new.scopes,
            hint: new.hint,
            expires_at: new.expires_at,
            revoked_at: None,
            created_at: now,
            updated_at: now,
        };
        Ok(Decision::of(key, ApiKeyWhat::Created { digest: new.digest }))
    }

    /// Revokes it, for ever.
    pub fn revoke(&self, now: DateTime<Utc>) -> Decision<Self> {
        if self.revoked_at.is_some() {
            return Decision::unchanged(self.clone());
        }
        let now = now.max(self.updated_at);
        Decision::of(Self { revoked_at: Some(now), updated_at: now, ..self.clone() }, ApiKeyWhat::Revoked)
    }

    /// Whether it works at an instant, as far as the key itself goes.
    #[must_use]
    pub fn works(&self, now: DateTime<Utc>) -> bool {
        works(self.expires_at, self.revoked_at, now)
    }
}

/// Whether a key with these times works at an instant.
#[must_use]
pub fn works(expires_at: Option<DateTime<Utc>>, revoked_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    revoked_at.is_none() && expires_at.is_none_or(|at| now < at)
}

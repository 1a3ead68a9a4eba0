//! A person: a human being or a service account.

use std::fmt;

use chrono::{DateTime, Utc};
use kit::id::PersonId;

use super::{
    Decision, Refusal,
    state::{Move, PERSON_LIFE, PersonState, target},
};

/// A name or an address of a person: kept in a column, never in an event, and masked in a log.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Private(String);

impl Private {
    /// Keeps a text from logs.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for its column and for those who may read it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Private {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "***" })
    }
}

kit::words!(
    /// Who is meant by a person.
    PersonKind {
        /// A human being.
        Human = "HUMAN",
        /// A program with its own rights.
        ServiceAccount = "SERVICE_ACCOUNT",
    }
);

/// Someone who acts.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// The id.
    pub id: PersonId,
    /// Counts the changes.
    pub revision: i64,
    /// A human being or a service account.
    pub kind: PersonKind,
    /// The name people read.
    pub display_name: Private,
    /// The mail address; empty when there is none.
    pub email: Private,
    /// An IANA time zone; empty means UTC.
    pub time_zone: String,
    /// Whether the person administers the tenant.
    pub administrator: bool,
    /// Whether the person takes part.
    pub state: PersonState,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// What happened to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersonWhat {
    /// It was created.
    Created,
    /// It was changed.
    Changed,
    /// It left.
    Deactivated,
    /// It came back.
    Reactivated,
}

/// What is needed to create a person.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPerson {
    /// The id.
    pub id: PersonId,
    /// A human being or a service account.
    pub kind: PersonKind,
    /// The name people read.
    pub display_name: Private,
    /// The mail address; empty when there is none.
    pub email: Private,
    /// An IANA time zone; empty means UTC.
    pub time_zone: String,
    /// Whether the person administers the tenant.
    pub administrator: bool,
}

/// What an update changes; what is none stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PersonUpdate {
    /// The name people read.
    pub display_name: Option<Private>,
    /// The mail address.
    pub email: Option<Private>,
    /// An IANA time zone.
    pub time_zone: Option<String>,
    /// Whether the person administers the tenant.
    pub administrator: Option<bool>,
}

super::record!(Person, PersonWhat);

type Verdict = Result<Decision<Person>, Refusal>;

impl Person {
    /// Creates a person.
    ///
    /// # Errors
    /// Refused for a service account with a mail address.
    pub fn create(new: NewPerson, now: DateTime<Utc>) -> Verdict {
        let person = Self {
            id: new.id,
            revision: 0,
            kind: new.kind,
            display_name: new.display_name,
            email: new.email,
            time_zone: new.time_zone,
            administrator: new.administrator,
            state: PersonState::Active,
            created_at: now,
            updated_at: now,
        };
        person.consistent()?;
        Ok(Decision::of(person, PersonWhat::Created))
    }

    /// Changes fields. `others` says how many other active administrators the tenant has.
    ///
    /// # Errors
    /// Refused for a deactivated person, for the last administrator who would be none any more, and
    /// for a service account's mail address.
    pub fn update(&self, update: PersonUpdate, others: usize, now: DateTime<Utc>) -> Verdict {
        self.active()?;
        let mut next = self.at(now);
        next.display_name = update.display_name.unwrap_or_else(|| next.display_name.clone());
        next.email = update.email.unwrap_or_else(|| next.email.clone());
        next.time_zone = update.time_zone.unwrap_or_else(|| next.time_zone.clone());
        next.administrator = update.administrator.unwrap_or(next.administrator);
        next.consistent()?;
        if self.administrates() && !next.administrates() && others == 0 {
            return Err(Refusal::LastAdministrator);
        }
        if (Self { updated_at: self.updated_at, ..next.clone() }) == *self {
            return Ok(Decision::unchanged(self.clone()));
        }
        Ok(Decision::of(next, PersonWhat::Changed))
    }

    /// Ends a person's part. Memberships and keys end with it, in the same transaction.
    ///
    /// # Errors
    /// Refused for the last active administrator.
    pub fn deactivate(&self, others: usize, now: DateTime<Utc>) -> Verdict {
        let Some(state) = target(PERSON_LIFE, self.state, Move::Deactivate) else {
            return Ok(Decision::unchanged(self.clone()));
        };
        if self.administrates() && others == 0 {
            return Err(Refusal::LastAdministrator);
        }
        Ok(Decision::of(Self { state, ..self.at(now) }, PersonWhat::Deactivated))
    }

    /// Lets a person take part again, without the memberships and keys of before.
    pub fn reactivate(&self, now: DateTime<Utc>) -> Decision<Self> {
        match target(PERSON_LIFE, self.state, Move::Reactivate) {
            Some(state) => Decision::of(Self { state, ..self.at(now) }, PersonWhat::Reactivated),
            None => Decision::unchanged(self.clone()),
        }
    }

    /// Whether the person administers the tenant now.
    #[must_use]
    pub fn administrates(&self) -> bool {
        self.administrator && self.state == PersonState::Active
    }

    /// Demands that the person takes part.
    pub(super) fn active(&self) -> Result<(), Refusal> {
        if self.state == PersonState::Active { Ok(()) } else { Err(Refusal::PersonDeactivated(self.id)) }
    }

    fn consistent(&self) -> Result<(), Refusal> {
        if self.kind == PersonKind::ServiceAccount && !self.email.expose().is_empty() {
            return Err(Refusal::ServiceAccountEmail);
        }
        Ok(())
    }

    fn at(&self, now: DateTime<Utc>) -> Self {
        Self { updated_at: now.max(self.updated_at), ..self.clone() }
    }
}

//! A way to reach a person. Its signing secret is no part of the record: it is sealed beside it.

use chrono::{DateTime, Utc};
use kit::{
    decide::{self, Revised},
    id::PersonId,
};

use super::{ContactMethodId, Refusal};

kit::words!(
    /// By which way.
    Method {
        /// By mail.
        Mail = "MAIL",
        /// By a signed HTTP POST.
        Webhook = "WEBHOOK",
    }
);

kit::words!(
    /// Whether a way may be used.
    State {
        /// Yes.
        Active = "ACTIVE",
        /// No: by a person, or because the receiver is gone.
        Disabled = "DISABLED",
    }
);

/// A way to reach a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactMethod {
    /// The id.
    pub id: ContactMethodId,
    /// Counts the changes.
    pub revision: i64,
    /// Whom it reaches.
    pub person_id: PersonId,
    /// By which way.
    pub method: Method,
    /// What it is.
    pub display_name: String,
    /// The mail address or the URL; never in an event.
    pub address: String,
    /// Whether it may be used.
    pub state: State,
    /// Why it is disabled.
    pub state_reason: String,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl Revised for ContactMethod {
    fn revision_mut(&mut self) -> &mut i64 {
        &mut self.revision
    }
}

/// What happened to a contact method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContactMethodWhat {
    /// It was added.
    Created,
    /// It was changed.
    Changed,
    /// It is used no more.
    Disabled,
    /// It is used again.
    Enabled,
}

/// The outcome of a verb on a contact method.
pub type Decision = decide::Decision<ContactMethod, ContactMethodWhat>;

/// What is needed to add a contact method.
#[derive(Debug, Clone)]
pub struct NewContactMethod {
    /// Its id.
    pub id: ContactMethodId,
    /// Whom it reaches.
    pub person_id: PersonId,
    /// By which way.
    pub method: Method,
    /// What it is.
    pub display_name: String,
    /// The mail address or the URL.
    pub address: String,
}

impl ContactMethod {
    /// Adds a way.
    pub fn create(new: NewContactMethod, now: DateTime<Utc>) -> Decision {
        let method = Self {
            id: new.id,
            revision: 0,
            person_id: new.person_id,
            method: new.method,
            display_name: new.display_name,
            address: new.address,
            state: State::Active,
            state_reason: String::new(),
            created_at: now,
            updated_at: now,
        };
        Decision::of(method, ContactMethodWhat::Created)
    }

    fn at(&self, now: DateTime<Utc>) -> Self {
        Self { updated_at: now.max(self.updated_at), ..self.clone() }
    }

    /// Changes the name or the address; what is none stays.
    pub fn update(&self, display_name: Option<String>, address: Option<String>, now: DateTime<Utc>) -> Decision {
        let mut next = self.at(now);
        next.display_name = display_name.unwrap_or(next.display_name);
        next.address = address.unwrap_or(next.address);
        if (&next.display_name, &next.address) == (&self.display_name, &self.address) {
            return Decision::unchanged(self.clone());
        }
        Decision::of(next, ContactMethodWhat::Changed)
    }

    /// Uses it no more.
    pub fn disable(&self, reason: String, now: DateTime<Utc>) -> Decision {
        if self.state == State::Disabled {
            return Decision::unchanged(self.clone());
        }
        Decision::of(Self { state: State::Disabled, state_reason: reason, ..self.at(now) }, ContactMethodWhat::Disabled)
    }

    /// Uses it again.
    pub fn enable(&self, now: DateTime<Utc>) -> Decision {
        if self.state == State::Active {
            return Decision::unchanged(self.clone());
        }
        Decision::of(
            Self { state: State::Active, state_reason: String::new(), ..self.at(now) },
            ContactMethodWhat::Enabled,
        )
    }

    /// Demands that it may be used.
    ///
    /// # Errors
    /// Refused while it is disabled.
    pub fn usable(&self) -> Result<(), Refusal> {
        match self.state {
            State::Active => Ok(()),
            State::Disabled => Err(Refusal::MethodDisabled(self.state_reason.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn mail() -> ContactMethod {
        let new = NewContactMethod {
            id: ContactMethodId::draw(),
            person_id: PersonId::draw(),
            method: Method::Mail,
            display_name: "work".to_owned(),
            address: "ann@example.com".to_owned(),
        };
        ContactMethod::create(new, at(0)).record().clone()
    }

    #[test]
    fn a_disabled_way_says_why_and_an_enabled_one_no_longer() {
        let disabled = mail().disable("the receiver is gone".to_owned(), at(1)).record().clone();
        assert_eq!(disabled.usable(), Err(Refusal::MethodDisabled("the receiver is gone".to_owned())));
        assert!(disabled.disable("again".to_owned(), at(2)).is_unchanged());
        let enabled = disabled.enable(at(3));
        assert_eq!((enabled.record().state_reason.as_str(), enabled.record().revision), ("", 3));
        assert!(enabled.record().enable(at(4)).is_unchanged());
    }

    #[test]
    fn an_update_that_changes_nothing_is_none() {
        let mail = mail();
        assert!(mail.update(Some("work".to_owned()), None, at(1)).is_unchanged());
        let changed = mail.update(None, Some("bob@example.com".to_owned()), at(1));
        assert_eq!(
            (changed.record().address.as_str(), changed.record().display_name.as_str()),
            ("bob@example.com", "work")
        );
    }
}

//! What administrators can do to people. The tenant is locked before an administrator may be lost,
//! so that two who demote each other at the same time do not both succeed.

use futures::FutureExt;
use kit::{caller::Call, id::PersonId};

use super::{Answer, App, Target};
use crate::{
    domain::{NewPerson, Person, PersonKind, PersonUpdate, Private},
    store::{self, Consequence, api_keys, memberships, people, tenants},
};

/// What a caller says of a new person.
#[derive(Debug, Clone, PartialEq)]
pub struct CreatePerson {
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

impl CreatePerson {
    pub(super) fn with_new_id(self) -> NewPerson {
        NewPerson {
            id: PersonId::draw(),
            kind: self.kind,
            display_name: self.display_name,
            email: self.email,
            time_zone: self.time_zone,
            administrator: self.administrator,
        }
    }
}

impl App {
    /// Creates a person.
    ///
    /// # Errors
    /// As the domain refuses.
    pub async fn create_person(&self, call: Call, create: CreatePerson) -> Answer<Person> {
        self.command(call, move |work| {
            async move {
                let decision = Person::create(create.with_new_id(), work.now)?;
                Ok(store::commit(&mut work.tx, decision, &work.cause).await?)
            }
            .boxed()
        })
        .await
    }

    /// Changes fields.
    ///
    /// # Errors
    /// Not found, stale, or as the domain refuses.
    pub async fn update_person(&self, call: Call, target: Target<PersonId>, update: PersonUpdate) -> Answer<Person> {
        self.command(call, move |work| {
            async move {
                let demotes = update.administrator == Some(false);
                if demotes {
                    tenants::lock(&mut work.tx, work.call.tenant().id).await?;
                }
                let person: Person = target.load(&mut work.tx).await?;
                let others = if demotes { people::other_administrators(&mut work.tx, person.id).await? } else { 0 };
                let decision = person.update(update, others, work.now)?;
                Ok(store::commit(&mut work.tx, decision, &work.cause).await?)
            }
            .boxed()
        })
        .await
    }

    /// Ends a person's part, with the memberships and keys.
    ///
    /// # Errors
    /// Not found, stale, or the last administrator.
    pub async fn deactivate_person(&self, call: Call, target: Target<PersonId>) -> Answer<Person> {
        self.command(call, move |work| {
            async move {
                let (tx, now) = (&mut work.tx, work.now);
                tenants::lock(tx, work.call.tenant().id).await?;
                let person: Person = target.load(tx).await?;
                let others = people::other_administrators(tx, person.id).await?;
                let decision = person.deactivate(others, now)?;
                let mut consequences = Vec::new();
                if !decision.is_unchanged() {
                    let memberships = memberships::active_for_update(tx, Some(person.id), None).await?;
                    consequences.extend(memberships.iter().map(|one| Consequence::Membership(one.end(now))));
                    let keys = api_keys::unrevoked_for_update(tx, person.id).await?;
                    consequences.extend(keys.iter().map(|key| Consequence::ApiKey(key.revoke(now))));
                }
                Ok(store::commit_with(tx, decision, consequences, &work.cause).await?)
            }
            .boxed()
        })
        .await
    }

    /// Lets a person take part again.
    ///
    /// # Errors
    /// Not found, or stale.
    pub async fn reactivate_person(&self, call: Call, target: Target<PersonId>) -> Answer<Person> {
        self.command(call, move |work| {
            async move {
                let person: Person = target.load(&mut work.tx).await?;
                let decision = person.reactivate(work.now);
                Ok(store::commit(&mut work.tx, decision, &work.cause).await?)
            }
            .boxed()
        })
        .await
    }
}

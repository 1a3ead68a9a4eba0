//! Keys: a person makes and revokes her own, administrators anybody's. Whose key it is not, for them
//! it does not exist.

use chrono::{DateTime, Utc};
use futures::FutureExt;
use kit::{
    caller::{Call, Person as Caller},
    config::Secret,
    filter::Expression,
    id::PersonId,
    problem::Problem,
};
use uuid::Uuid;

use super::{Answer, App, Error, Target, credential::Credential};
use crate::{
    domain::{ApiKey, ApiKeyId, NewApiKey, Person, Scope, api_key::KeyLimit},
    store::{self, Stored, api_keys},
};

/// What a caller says of a new key.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateKey {
    /// Whose key it is; the caller's own when not said.
    pub person_id: Option<PersonId>,
    /// What it is for.
    pub display_name: String,
    /// What it is limited to.
    pub scopes: Vec<Scope>,
    /// When it stops working.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Whether a key exists for a caller.
#[must_use]
pub fn visible(key: &ApiKey, caller: &Caller) -> bool {
    caller.administrator || key.person_id == caller.id
}

impl App {
    /// Creates a key, and returns it with its text, which is shown this once.
    ///
    /// # Errors
    /// For somebody else as no administrator, an unknown person, or as the domain refuses.
    pub async fn create_key(&self, call: Call, create: CreateKey) -> Answer<(ApiKey, Secret)> {
        let owner = create.person_id.unwrap_or(call.person.id);
        if owner != call.person.id && !call.person.administrator {
            return Err(Problem::Denied("only an administrator makes keys for others".to_owned()).into());
        }
        let granted = scopes(&call.person)?;
        let credential = Credential::draw()?;
        self.command(call, move |work| {
            async move {
                let tx = &mut work.tx;
                let person = Person::find_for_update(tx, owner.0).await?;
                let person = person
                    .ok_or_else(|| Problem::invalid("api_key.person_id", format!("there is no person {owner}")))?;
                let limit = KeyLimit {
                    active: api_keys::count_active(tx, owner, work.now).await?,
                    most: work.settings.keys_per_person.into(),
                };
                let new = NewApiKey {
                    id: credential.id(),
                    display_name: create.display_name,
                    scopes: create.scopes,
                    hint: credential.hint(),
                    expires_at: create.expires_at,
                    digest: credential.digest(),
                };
                let decision = ApiKey::create(new, &person, limit, &granted, work.now)?;
                let key = store::commit(tx, decision, &work.cause).await?;
                Ok((key, credential.text()))
            }
            .boxed()
        })
        .await
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// Not found, or stale.
    pub async fn revoke_key(&self, call: Call, target: Target<ApiKeyId>) -> Answer<ApiKey> {
        self.command(call, move |work| {
            async move {
                let found = ApiKey::find_for_update(&mut work.tx, target.id.0).await?;
                let key = target.check(found.filter(|key| visible(key, &work.call.person)))?;
                let decision = key.revoke(work.now);
                Ok(store::commit(&mut work.tx, decision, &work.cause).await?)
            }
            .boxed()
        })
        .await
    }

    /// Returns a key that the caller may see.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn get_key(&self, caller: &Caller, id: ApiKeyId) -> Result<ApiKey, Error> {
        let key: ApiKey = self.get(caller.tenant.id, id.0).await?;
        if visible(&key, caller) { Ok(key) } else { Err(Problem::not_found(ApiKey::KIND, id).into()) }
    }

    /// Lists keys, newest first: all to administrators, to others their own.
    ///
    /// # Errors
    /// An invalid filter, or the database is away.
    pub async fn list_keys(
        &self,
        caller: &Caller,
        filter: Option<Expression>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<ApiKey>, Error> {
        let owner = (!caller.administrator).then_some(caller.id);
        let mut tx = self.database.begin(caller.tenant.id).await?;
        let keys = api_keys::list(&mut tx, owner, self.clock.now(), filter.as_ref(), after, limit).await?;
        tx.commit().await?;
        Ok(keys)
    }
}

/// What the caller's own key is limited to.
fn scopes(caller: &Caller) -> Result<Vec<Scope>, Problem> {
    let scopes = caller.scopes.iter().map(|scope| scope.parse()).collect::<Result<_, _>>();
    scopes.map_err(|error: crate::domain::scope::NoScope| Problem::Internal(error.into()))
}

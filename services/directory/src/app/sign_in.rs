//! Who a key belongs to. Every reason to refuse one looks alike, in the answer and in time.

use chrono::{DateTime, Utc};
use kit::{
    caller::Person as Caller,
    id::{PersonId, Tenant, TenantId},
};

use super::{App, Error, credential::Credential};
use crate::{
    api::convert::records,
    domain::Person,
    store::sign_in::{self, Found},
};

/// A key was good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// The inner token.
    pub token: String,
    /// When the token stops working.
    pub expires_at: DateTime<Utc>,
    /// The slug of the tenant.
    pub tenant: String,
}

/// Kept of no secret: compared with where there is no key, so that the comparison is made anyway.
const NO_DIGEST: [u8; 32] = [0; 32];

impl App {
    /// Exchanges a key for an inner token. Nothing for a text that is no key, a key that is unknown,
    /// expired or revoked, a person who left, or a tenant that is suspended.
    ///
    /// # Errors
    /// The database is away.
    pub async fn authenticate(&self, text: &str) -> Result<Option<SignedIn>, Error> {
        let given = Credential::parse(text);
        let credential = given.clone().unwrap_or_else(Credential::nobodys);
        let found = sign_in::find(&self.database, credential.id()).await?;
        let now = self.clock.now();
        let fits = credential.fits(found.as_ref().map_or(NO_DIGEST.as_slice(), |found| &found.digest));
        let good = bool::from(fits) && given.is_some();
        let Some(found) = found.filter(|found| good && found.usable(now)) else { return Ok(None) };
        let life = self.settings.token_life.delta();
        // A token does not outlive its key.
        let life = found.expires_at.map_or(life, |at| life.min(at - now));
        let caller = caller(found, &credential);
        let token = self.signer.inner_token(&caller, now, life);
        Ok(Some(SignedIn { token, expires_at: now + life, tenant: caller.tenant.slug }))
    }

    /// The caller's own record, for the name.
    ///
    /// # Errors
    /// Not found, or the database is away.
    pub async fn caller(&self, caller: &Caller) -> Result<Person, Error> {
        self.get(caller.tenant.id, caller.id.0).await
    }
}

fn caller(found: Found, credential: &Credential) -> Caller {
    Caller {
        tenant: Tenant { id: TenantId(found.tenant_id), slug: found.slug },
        id: PersonId(found.person_id),
        administrator: found.administrator,
        teams: found.teams.into_iter().map(|(team, role)| (team.into(), records::role(role))).collect(),
        scopes: found.scopes,
        key_id: credential.id().to_string(),
    }
}

//! Keys of integrations: made here, shown once, kept as digests.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kit::{
    caller::system,
    db::{uncancelled, violates},
    id::Tenant,
    journal::Cause,
    problem::Problem,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{App, Error};
use crate::{
    domain::{
        Integration, IntegrationId, IntegrationState, Severity,
        integration::{Key, NewIntegration},
    },
    store::{self, integrations::NAME},
};

/// How every key begins, so that a leaked one is found by scanners.
const PREFIX: &str = "itsm_int_";
/// How much of a key people may see.
const HINT_CHARACTERS: usize = 13;

/// Makes a key.
///
/// # Errors
/// Fails when the machine gives no random bytes.
pub(crate) fn make() -> Result<String, Problem> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| Problem::Internal(error.to_string().into()))?;
    Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// A key as far as it is kept.
#[must_use]
pub fn kept(key: &str) -> Key {
    Key { digest: Sha256::digest(key.as_bytes()).into(), hint: key.chars().take(HINT_CHARACTERS).collect() }
}

/// What the gateway needs to know of a key; the JSON value in the bucket `integration_keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    tenant: String,
    tenant_id: String,
    integration: String,
    integration_id: String,
    /// `active`, or `disabled`: known, and refused alike.
    state: &'static str,
}

impl App {
    /// Sees to it that an integration exists, for set-up: with this key, or a new one. Returns the
    /// key when the integration was newly made; one that exists stays as it is.
    ///
    /// # Errors
    /// The database is away.
    pub async fn ensure_integration(
        &self,
        tenant: Tenant,
        name: &str,
        display_name: &str,
        key: Option<String>,
    ) -> Result<Option<String>, Error> {
        let (app, name, display_name) = (self.clone(), name.to_owned(), display_name.to_owned());
        uncancelled(async move {
            let now = app.clock.now();
            let mut tx = app.database.begin(tenant.id).await?;
            store::read_models::keep_tenant(&mut tx, &tenant, 0, true).await?;
            if store::integrations::find_named(&mut tx, tenant.id, &name).await?.is_some() {
                tx.commit().await?;
                return Ok(None);
            }
            let key = match key {
                Some(key) => key,
                None => make()?,
            };
            let new = NewIntegration {
                name,
                display_name,
                team_id: None,
                service_id: None,
                open_incident_from: Severity::Medium,
            };
            let decision = Integration::create(IntegrationId::draw(), new, kept(&key), now);
            let actor = system("alert", "set_up", None);
            let cause = Cause { tenant, actor, at: now, call: None, trace_parent: String::new() };
            match store::integrations::commit(&mut tx, decision, &cause).await {
                Ok(_) => tx.commit().await?,
                // Another made it meanwhile.
                Err(error) if violates(&error, NAME) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            app.committed();
            app.keys_changed();
            Ok(Some(key))
        })
        .await
    }

    /// What the gateway needs to know of every key, by digest in hexadecimal.
    ///
    /// # Errors
    /// The database is away.
    pub(crate) async fn keys_shown(&self) -> Result<BTreeMap<String, Shown>, sqlx::Error> {
        let tenants = store::read_models::tenants(&self.database.workers).await?;
        let mut shown = BTreeMap::new();
        let mut tx = self.database.begin_worker(tenants.iter().map(|known| known.tenant.id)).await?;
        for known in &tenants {
            for integration in store::integrations::all(&mut tx, known.tenant.id).await? {
                let active = known.active && integration.state == IntegrationState::Active;
                let value = Shown {
                    tenant: known.tenant.slug.clone(),
                    tenant_id: known.tenant.id.to_string(),
                    integration: integration.name,
                    integration_id: integration.id.to_string(),
                    state: if active { "active" } else { "disabled" },
                };
                shown.insert(data_encoding::HEXLOWER.encode(&integration.key.digest), value);
            }
        }
        tx.commit().await?;
        Ok(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_random_and_kept_as_digests() {
        let (one, other) = (make().unwrap(), make().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), PREFIX.len() + 43);
        assert_eq!(kept(&one).digest, kept(&one).digest);
        assert_ne!(kept(&one).digest, kept(&other).digest);
        assert!(one.starts_with(&kept(&one).hint) && kept(&one).hint.len() == HINT_CHARACTERS);
    }
}

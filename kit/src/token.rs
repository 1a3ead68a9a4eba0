//! Signed tokens inside: the inner token, by which `directory` says who a caller is, and the
//! service token, by which one service calls another. One form, one algorithm (Ed25519), no
//! choice for whoever forges: the header is compared to the letter.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use proto::common::v1::Role;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    caller::{Caller, Person},
    id::Tenant,
};

const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT"}"#;
/// How far clocks may be apart.
const LEEWAY: TimeDelta = TimeDelta::seconds(10);
/// How long a service token lasts.
const SERVICE_TOKEN_LIFE: TimeDelta = TimeDelta::seconds(60);
/// The audience of inner tokens.
const INNER: &str = "itsm";
const KEPT_TOKENS: usize = 10_000;

/// Why a token was refused; the caller is told only that it was.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Not of the form.
    #[error("the token is malformed")]
    Malformed,
    /// Signed by somebody else.
    #[error("the token's signature does not fit")]
    Signature,
    /// Over, or not yet.
    #[error("the token is expired or not yet valid")]
    Expired,
    /// For somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// A signing key is unusable.
    #[error("the signing key is unusable")]
    Key,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    exp: i64,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<Who>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Who {
    person: uuid::Uuid,
    tenant: uuid::Uuid,
    slug: String,
    administrator: bool,
    teams: Vec<(uuid::Uuid, i32)>,
    scopes: Vec<String>,
    key: String,
}

/// A service's own signing key.
pub struct Signer {
    service: String,
    key: Ed25519KeyPair,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer from the 32 bytes of a seed.
    ///
    /// # Errors
    /// Fails when the seed is not one.
    pub fn new(service: impl Into<String>, seed: &[u8]) -> Result<Self, TokenError> {
        Ok(Self {
            service: service.into(),
            key: Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| TokenError::Key)?,
        })
    }

    /// The public key, 32 bytes.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        self.key.public_key().as_ref().to_vec()
    }

    fn sign(&self, claims: &Claims) -> String {
        let body = serde_json::to_vec(claims).unwrap_or_default();
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(body));
        let signature = self.key.sign(input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// The token by which this service calls another.
    #[must_use]
    pub fn service_token(&self, audience: &str, now: DateTime<Utc>) -> String {
        self.sign(&Claims {
            iss: self.service.clone(),
            aud: audience.to_owned(),
            iat: now.timestamp(),
            exp: (now + SERVICE_TOKEN_LIFE).timestamp(),
            who: None,
        })
    }

    /// The inner token that says who a caller is.
    #[must_use]
    pub fn inner_token(&self, person: &Person, now: DateTime<Utc>, life: TimeDelta) -> String {
        self.sign(&Claims {
            iss: self.service.clone(),
            aud: INNER.to_owned(),
            iat: now.timestamp(),
            exp: (now + life).timestamp(),
            who: Some(Who {
                person: person.id.0,
                tenant: person.tenant.id.0,
                slug: person.tenant.slug.clone(),
                administrator: person.administrator,
                teams: person.teams.iter().map(|(team, role)| (team.0, *role as i32)).collect(),
                scopes: person.scopes.clone(),
                key: person.key_id.clone(),
            }),
        })
    }
}

/// Checks tokens at one service.
#[derive(Debug)]
pub struct Verifier {
    audience: String,
    keys: HashMap<String, Vec<u8>>,
    kept: Mutex<HashMap<[u8; 32], (Caller, i64)>>,
}

impl Verifier {
    /// A verifier for the service `audience`, with the public keys of every service by name.
    #[must_use]
    pub fn new(audience: impl Into<String>, keys: HashMap<String, Vec<u8>>) -> Self {
        Self { audience: audience.into(), keys, kept: Mutex::new(HashMap::new()) }
    }

    /// Who a token says the caller is. Answers are kept by digest until the token expires.
    ///
    /// # Errors
    /// Says why the token is refused; for the log, not for the caller.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Caller, TokenError> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((caller, expires)) = kept.get(&digest) {
            return if now.timestamp() <= *expires { Ok(caller.clone()) } else { Err(TokenError::Expired) };
        }
        let (caller, expires) = self.judge(token, now)?;
        if kept.len() >= KEPT_TOKENS {
            kept.retain(|_, (_, expires)| *expires >= now.timestamp());
            if kept.len() >= KEPT_TOKENS {
                kept.clear();
            }
        }
        kept.insert(digest, (caller.clone(), expires));
        Ok(caller)
    }

    fn judge(&self, token: &str, now: DateTime<Utc>) -> Result<(Caller, i64), TokenError> {
        let (input, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, body) = input.split_once('.').ok_or(TokenError::Malformed)?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Malformed);
        if decode(header)? != HEADER.as_bytes() {
            return Err(TokenError::Malformed);
        }
        let claims: Claims = serde_json::from_slice(&decode(body)?).map_err(|_| TokenError::Malformed)?;
        let key = self.keys.get(&claims.iss).ok_or(TokenError::Signature)?;
        UnparsedPublicKey::new(&ED25519, key)
            .verify(input.as_bytes(), &decode(signature)?)
            .map_err(|_| TokenError::Signature)?;
        if now.timestamp() > claims.exp || now + LEEWAY < DateTime::from_timestamp(claims.iat, 0).unwrap_or_default() {
            return Err(TokenError::Expired);
        }
        match claims.who {
            Some(who) if claims.aud == INNER && claims.iss == "directory" => {
                let role = |number: i32| Role::try_from(number).unwrap_or(Role::Unspecified);
                let person = Person {
                    tenant: Tenant { id: who.tenant.into(), slug: who.slug },
                    id: who.person.into(),
                    administrator: who.administrator,
                    teams: who.teams.into_iter().map(|(team, number)| (team.into(), role(number))).collect(),
                    scopes: who.scopes,
                    key_id: who.key,
                };
                Ok((Caller::Person(Arc::new(person)), claims.exp))
            }
            None if claims.aud == self.audience => Ok((Caller::Service(claims.iss), claims.exp)),
            Some(_) | None => Err(TokenError::Audience),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{PersonId, TenantId};

    fn signer(name: &str, byte: u8) -> Signer {
        Signer::new(name, &[byte; 32]).unwrap()
    }

    fn verifier() -> Verifier {
        Verifier::new(
            "sla",
            HashMap::from([
                ("directory".to_owned(), signer("directory", 1).public_key()),
                ("incident".to_owned(), signer("incident", 2).public_key()),
            ]),
        )
    }

    fn person() -> Person {
        Person {
            tenant: Tenant { id: TenantId::draw(), slug: "default".to_owned() },
            id: PersonId::draw(),
            administrator: false,
            teams: vec![(crate::id::TeamId::draw(), Role::Responder)],
            scopes: vec![],
            key_id: "k".to_owned(),
        }
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    #[test]
    fn an_inner_token_says_who_and_only_from_the_directory() {
        let person = person();
        let token = signer("directory", 1).inner_token(&person, at(0), TimeDelta::seconds(60));
        assert_eq!(verifier().verify(&token, at(1)), Ok(Caller::Person(Arc::new(person.clone()))));
        let forged = signer("incident", 2).inner_token(&person, at(0), TimeDelta::seconds(60));
        assert_eq!(verifier().verify(&forged, at(1)), Err(TokenError::Audience));
        let stolen_name = signer("directory", 3).inner_token(&person, at(0), TimeDelta::seconds(60));
        assert_eq!(verifier().verify(&stolen_name, at(1)), Err(TokenError::Signature));
    }

    #[test]
    fn a_token_ends_also_when_it_was_kept() {
        let token = signer("incident", 2).service_token("sla", at(0));
        let verifier = verifier();
        assert_eq!(verifier.verify(&token, at(1)), Ok(Caller::Service("incident".to_owned())));
        assert_eq!(verifier.verify(&token, at(61)), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_for_another_service_or_with_another_header_is_refused() {
        assert_eq!(
            verifier().verify(&signer("incident", 2).service_token("change", at(0)), at(1)),
            Err(TokenError::Audience)
        );
        let token = signer("incident", 2).service_token("sla", at(0));
        let rest = token.split_once('.').unwrap().1;
        let none = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
        assert_eq!(verifier().verify(&none, at(1)), Err(TokenError::Malformed));
        assert_eq!(verifier().verify("garbage", at(1)), Err(TokenError::Malformed));
    }
}

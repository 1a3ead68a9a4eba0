//! Who asks: a credential of the outside becomes the signed token that services understand. What a
//! credential is worth is decided by `directory` alone; here its word is kept for two seconds, so
//! that a revoked key ends everywhere within five. Absent, malformed, unknown, expired and revoked
//! credentials are refused alike.

pub mod cache;
pub mod directory;
pub mod guard;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use kit::access;
use tonic::{Code, Status};

/// The longest credential that is looked at.
const CREDENTIAL_LIMIT: usize = 512;

/// A credential as the caller sent it. It prints as nothing, so that no log can hold it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(String);

impl Credential {
    /// Takes the credential out of `Authorization: Bearer`.
    pub fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(Refusal::Denied) };
        let text = value.to_str().map_err(|_| Refusal::Denied)?;
        match text.split_once(' ') {
            Some((scheme, credential))
                if scheme.eq_ignore_ascii_case("bearer")
                    && (1..=CREDENTIAL_LIMIT).contains(&credential.len())
                    && credential.bytes().all(|b| b.is_ascii_graphic()) =>
            {
                Ok(Self(credential.to_owned()))
            }
            _ => Err(Refusal::Denied),
        }
    }

    /// The text, for the one who judges it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// What a good credential is exchanged for.
#[derive(Debug, Clone)]
pub struct Granted {
    /// `Bearer` and the inner token, marked as sensitive.
    pub authorization: HeaderValue,
    /// The tenant's slug.
    pub tenant: Arc<str>,
}

/// Why a credential is not exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is no good; which way is not told.
    Denied,
    /// Nobody can say now.
    Away,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Denied => access::unauthenticated(),
            Refusal::Away => {
                access::status(Code::Unavailable, "UNAVAILABLE", "credentials cannot be checked now; try again")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Result<Credential, Refusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        Credential::of(&headers)
    }

    #[test]
    fn one_bearer_credential_is_taken_and_nothing_else() {
        assert_eq!(of(&["Bearer itsm_a_b"]).unwrap().expose(), "itsm_a_b");
        assert_eq!(of(&["bearer x"]).unwrap().expose(), "x");
        let long = format!("Bearer {}", "a".repeat(CREDENTIAL_LIMIT + 1));
        for bad in
            [&[][..], &["itsm_a"], &["Basic abc"], &["Bearer "], &["Bearer a b"], &["Bearer a", "Bearer a"], &[&long]]
        {
            assert_eq!(of(bad).unwrap_err(), Refusal::Denied, "{bad:?}");
        }
    }

    #[test]
    fn a_credential_prints_as_nothing() {
        assert!(!format!("{:?}", of(&["Bearer secret"]).unwrap()).contains("secret"));
    }
}

//! The text of an API key: `itsm_<id>_<secret>`, the id as 32 hexadecimal digits, the secret as
//! 32 random bytes in base64url. The secret leaves by [`Credential::text`] alone.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kit::{config::Secret, problem::Problem};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use uuid::Uuid;

use crate::domain::ApiKeyId;

const PREFIX: &str = "itsm_";
const ID_DIGITS: usize = 32;
/// How much of a key may be shown, to recognise it by: prefix and the first digits of the id.
const HINT: usize = 13;

/// A key as its holder has it.
#[derive(Clone)]
pub struct Credential {
    id: ApiKeyId,
    secret: [u8; 32],
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Credential {
    /// Draws a new key.
    ///
    /// # Errors
    /// Fails when the system gives no randomness.
    pub fn draw() -> Result<Self, Problem> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| Problem::Internal(error.into()))?;
        Ok(Self { id: ApiKeyId::draw(), secret })
    }

    /// Reads a key; nothing for a text that is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_at_checked(ID_DIGITS)?;
        if !id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
            return None;
        }
        let secret = URL_SAFE_NO_PAD.decode(secret.strip_prefix('_')?).ok()?;
        Some(Self { id: ApiKeyId(Uuid::parse_str(id).ok()?), secret: secret.try_into().ok()? })
    }

    /// Stands in for a text that is no key, so that it costs the same time.
    #[must_use]
    pub const fn nobodys() -> Self {
        Self { id: ApiKeyId(Uuid::nil()), secret: [0; 32] }
    }

    /// The id of the key.
    #[must_use]
    pub const fn id(&self) -> ApiKeyId {
        self.id
    }

    /// What is kept of the secret.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    /// Whether this is the key that a digest was kept of, in a time that does not tell.
    #[must_use]
    pub fn fits(&self, digest: &[u8]) -> Choice {
        self.digest().as_slice().ct_eq(digest)
    }

    /// The first characters, which hold nothing of the secret.
    #[must_use]
    pub fn hint(&self) -> String {
        let mut text = format!("{PREFIX}{}", self.id.0.simple());
        text.truncate(HINT);
        text
    }

    /// The key itself, for its holder.
    #[must_use]
    pub fn text(&self) -> Secret {
        Secret::new(format!("{PREFIX}{}_{}", self.id.0.simple(), URL_SAFE_NO_PAD.encode(self.secret)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_reads_back_and_its_hint_begins_it() {
        let key = Credential::draw().unwrap();
        let text = key.text();
        let read = Credential::parse(text.expose()).unwrap();
        assert_eq!((read.id, read.secret), (key.id, key.secret));
        assert_eq!(text.expose().len(), 5 + 32 + 1 + 43);
        assert!(text.expose().starts_with(&key.hint()));
        assert_eq!(key.hint().len(), 13);
        assert!(bool::from(read.fits(&key.digest())));
        assert!(!bool::from(Credential::draw().unwrap().fits(&key.digest())));
        assert!(!bool::from(key.fits(&key.digest()[..31])));
    }

    #[test]
    fn a_secret_is_never_printed() {
        let key = Credential { id: ApiKeyId(Uuid::nil()), secret: [7; 32] };
        let printed = format!("{key:?} {:?} {}", key.text(), key.text());
        assert!(!printed.contains(&URL_SAFE_NO_PAD.encode([7; 32])), "{printed}");
    }

    #[test]
    fn other_texts_are_no_keys() {
        let key = Credential::draw().unwrap();
        let text = key.text();
        let text = text.expose();
        let wrong = [
            String::new(),
            "itsm_".to_owned(),
            text.to_uppercase(),
            text[1..].to_owned(),
            text[..text.len() - 1].to_owned(),
            format!("{text}A"),
            format!("{text}="),
            text.replacen('_', "-", 1),
            format!("itsm_{}", key.id),
            format!("itsm_{}", "ä".repeat(60)),
        ];
        for wrong in wrong {
            assert!(Credential::parse(&wrong).is_none(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_is_written_the_same(text in "itsm_[0-9a-f]{32}_[A-Za-z0-9_-]{42,44}|.{0,90}") {
            if let Some(key) = Credential::parse(&text) {
                let written = key.text();
                prop_assert_eq!(written.expose(), text);
            }
        }
    }
}

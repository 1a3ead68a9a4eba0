//! The signing secrets of webhooks: drawn here, sealed with the installation's key, opened only to
//! sign. A sealed secret is bound to its contact method and opens for no other.

use std::str::FromStr;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    rand,
};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::domain::ContactMethodId;

/// How many random bytes a signing secret has.
const SECRET_LENGTH: usize = 24;
const PREFIX: &str = "whsec_";

/// Why sealing or opening failed; says nothing of what was sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key in the settings is none.
    #[error("notification.secret_key: must be 32 bytes, as base64 or as 64 hexadecimal digits")]
    Key,
    /// There was no randomness, or the bytes are not what was sealed with this key.
    #[error("a signing secret cannot be sealed or opened with notification.secret_key")]
    Unusable,
}

/// Seals and opens signing secrets.
pub struct Sealer {
    key: RandomizedNonceKey,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

/// The secret with which a receiver checks what it gets: `whsec_` and the base64 of 24 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret([u8; SECRET_LENGTH]);

impl std::fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningSecret")
    }
}

impl SigningSecret {
    /// Draws a new one.
    ///
    /// # Errors
    /// Fails without randomness.
    pub fn draw() -> Result<Self, SealError> {
        let mut bytes = [0; SECRET_LENGTH];
        rand::fill(&mut bytes).map_err(|_| SealError::Unusable)?;
        Ok(Self(bytes))
    }

    /// As the receiver writes it into its settings; for the one answer that shows it.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.0))
    }

    /// The key of the signature.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for SigningSecret {
    type Err = SealError;

    fn from_str(text: &str) -> Result<Self, SealError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SealError::Unusable)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| SealError::Unusable)?;
        Ok(Self(bytes.try_into().map_err(|_| SealError::Unusable)?))
    }
}

impl Sealer {
    /// A sealer with the key of the settings.
    ///
    /// # Errors
    /// Fails when the text is no key.
    pub fn new(key: &str) -> Result<Self, SealError> {
        let bytes = from_hex(key).or_else(|| STANDARD.decode(key).ok()).filter(|bytes| bytes.len() == 32);
        let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes.ok_or(SealError::Key)?).map_err(|_| SealError::Key)?;
        Ok(Self { key })
    }

    /// Seals: the nonce, then the sealed bytes with their tag.
    ///
    /// # Errors
    /// Fails without randomness.
    pub fn seal(&self, secret: &SigningSecret, owner: ContactMethodId) -> Result<Vec<u8>, SealError> {
        let mut sealed = secret.0.to_vec();
        let nonce = self.key.seal_in_place_append_tag(Aad::from(owner.0.as_bytes()), &mut sealed);
        let nonce = nonce.map_err(|_| SealError::Unusable)?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// Opens what was sealed for this contact method.
    ///
    /// # Errors
    /// Fails for anything else.
    pub fn open(&self, sealed: &[u8], owner: ContactMethodId) -> Result<SigningSecret, SealError> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Unusable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Unusable)?;
        let mut rest = rest.to_vec();
        let opened = self.key.open_in_place(nonce, Aad::from(owner.0.as_bytes()), &mut rest);
        let opened: &[u8] = opened.map_err(|_| SealError::Unusable)?;
        Ok(SigningSecret(opened.try_into().map_err(|_| SealError::Unusable)?))
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let whole = text.len() == 64 && text.is_ascii();
    whole.then(|| (0..32).map(|place| u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn a_secret_opens_for_its_owner_with_its_key_alone() {
        let (sealer, owner) = (Sealer::new(KEY).unwrap(), ContactMethodId::draw());
        let secret = SigningSecret::draw().unwrap();
        let sealed = sealer.seal(&secret, owner).unwrap();
        assert_eq!(sealer.open(&sealed, owner).unwrap(), secret);
        assert_ne!(sealer.seal(&secret, owner).unwrap(), sealed);
        assert!(!sealed.windows(8).any(|window| secret.bytes().starts_with(window)));
        assert!(sealer.open(&sealed, ContactMethodId::draw()).is_err());
        assert!(Sealer::new(&STANDARD.encode([7; 32])).unwrap().open(&sealed, owner).is_err());
        assert!(sealer.open(&sealed[..11], owner).is_err());
    }

    #[test]
    fn a_key_has_32_bytes_in_one_of_two_forms() {
        assert!(Sealer::new(&STANDARD.encode([7; 32])).is_ok());
        for text in ["", "short", &STANDARD.encode([7; 31]), &KEY[1..], &format!("{}zz", &KEY[2..])] {
            assert!(Sealer::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_reads_back_as_written() {
        let secret = SigningSecret::draw().unwrap();
        assert_eq!(secret.expose().parse::<SigningSecret>().unwrap(), secret);
        assert!("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse::<SigningSecret>().is_err());
    }
}

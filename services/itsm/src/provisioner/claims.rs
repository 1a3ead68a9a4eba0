//! What NATS believes about operators, accounts and users: claims, signed by hand.
//!
//! Pure: keys, times and subjects come in, text goes out. It refuses what NATS would read the other
//! way round: an empty allow list there means that everything is allowed.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use nkeys::KeyPair;
use serde_json::{Value, json};
use sha2::{Digest, Sha512_256};

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// See the module's text.
    #[error("the allow list of {0} is empty, which NATS reads as everything")]
    EmptyAllowList(String),
    /// The key cannot sign.
    #[error("cannot sign: {0}")]
    Key(#[from] nkeys::error::Error),
    /// It was not written by us.
    #[error("not a token: {0}")]
    Malformed(&'static str),
}

/// What one direction of a user's traffic may touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allow {
    /// These subjects; never empty.
    Only(Vec<String>),
    /// No subject at all.
    Nothing,
    /// Every subject of the account; for the provisioner alone.
    Everything,
}

impl Allow {
    /// These subjects alone.
    pub fn only<S: Into<String>>(subjects: impl IntoIterator<Item = S>) -> Self {
        Self::Only(subjects.into_iter().map(Into::into).collect())
    }

    fn claim(&self, whose: &str) -> Result<Value, ClaimsError> {
        match self {
            Self::Only(subjects) if subjects.is_empty() => Err(ClaimsError::EmptyAllowList(whose.to_owned())),
            Self::Only(subjects) => Ok(json!({"allow": subjects})),
            Self::Nothing => Ok(json!({"deny": [">"]})),
            Self::Everything => Ok(json!({"allow": [">"]})),
        }
    }
}

/// What a user may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Subjects it may publish to.
    pub publish: Allow,
    /// Subjects it may subscribe to.
    pub subscribe: Allow,
}

impl Rights {
    /// The claim for a user, or for those of an account who have none of their own.
    pub fn claim(&self, whose: &str) -> Result<(Value, Value), ClaimsError> {
        Ok((self.publish.claim(whose)?, self.subscribe.claim(whose)?))
    }
}

/// How two accounts meet at a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests go in, answers come out.
    Service,
    /// Messages come out.
    Stream,
}

impl Kind {
    /// The word in the claim.
    pub fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Stream => "stream",
        }
    }
}

/// Signs claims of a kind for a subject.
pub fn sign(issuer: &KeyPair, subject: &str, name: &str, issued_at: i64, nats: Value) -> Result<String, ClaimsError> {
    let mut nats = nats;
    nats["version"] = json!(2);
    let mut claims = json!({
        "iat": issued_at,
        "iss": issuer.public_key(),
        "name": name,
        "sub": subject,
        "nats": nats,
    });
    let digest = Sha512_256::digest(claims.to_string().as_bytes());
    claims["jti"] = json!(BASE32_NOPAD.encode(&digest));
    let head = BASE64URL_NOPAD.encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let input = format!("{head}.{}", BASE64URL_NOPAD.encode(claims.to_string().as_bytes()));
    let signature = BASE64URL_NOPAD.encode(&issuer.sign(input.as_bytes())?);
    Ok(format!("{input}.{signature}"))
}

/// The operator about itself.
pub fn operator(operator: &KeyPair, system_account: &str, issued_at: i64) -> Result<String, ClaimsError> {
    let nats = json!({"type": "operator", "system_account": system_account});
    sign(operator, &operator.public_key(), "itsm", issued_at, nats)
}

/// A user of an account. With a signing key of the account as issuer, the account is named.
pub fn user(
    issuer: &KeyPair,
    account: &str,
    user: &str,
    name: &str,
    rights: &Rights,
    issued_at: i64,
) -> Result<String, ClaimsError> {
    sign(issuer, user, name, issued_at, user_claim(issuer, account, name, rights)?)
}

fn user_claim(issuer: &KeyPair, account: &str, name: &str, rights: &Rights) -> Result<Value, ClaimsError> {
    let (publish, subscribe) = rights.claim(name)?;
    let mut nats = json!({
        "type": "user", "subs": -1, "data": -1, "payload": -1, "pub": publish, "sub": subscribe, "version": 2,
    });
    if issuer.public_key() != account {
        nats["issuer_account"] = json!(account);
    }
    Ok(nats)
}

/// Whether a token says exactly this about a user, whenever it was signed.
pub fn says_the_same(
    token: &str,
    issuer: &KeyPair,
    account: &str,
    name: &str,
    rights: &Rights,
) -> Result<bool, ClaimsError> {
    let claims = payload(token)?;
    let same_issuer = claims["iss"] == json!(issuer.public_key()) && claims["name"] == json!(name);
    Ok(same_issuer && claims["nats"] == user_claim(issuer, account, name, rights)?)
}

/// The exporter's permission for an importer to use a subject.
pub fn activation(
    exporter: &KeyPair,
    importer: &str,
    subject: &str,
    kind: Kind,
    issued_at: i64,
) -> Result<String, ClaimsError> {
    let nats = json!({"type": "activation", "subject": subject, "kind": kind.word()});
    sign(exporter, importer, subject, issued_at, nats)
}

/// The operator's order to forget accounts.
pub fn deletion(operator: &KeyPair, accounts: &[String], issued_at: i64) -> Result<String, ClaimsError> {
    let nats = json!({"type": "generic", "accounts": accounts});
    sign(operator, &operator.public_key(), "deletion", issued_at, nats)
}

/// The claims of a token, its signature checked against the issuer it names.
pub fn payload(token: &str) -> Result<Value, ClaimsError> {
    let (input, signature) = token.rsplit_once('.').ok_or(ClaimsError::Malformed("no signature"))?;
    let (_, body) = input.split_once('.').ok_or(ClaimsError::Malformed("no body"))?;
    let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| ClaimsError::Malformed("not base64"));
    let claims: Value =
        serde_json::from_slice(&decode(body)?).map_err(|_| ClaimsError::Malformed("the body is not JSON"))?;
    let issuer = claims["iss"].as_str().ok_or(ClaimsError::Malformed("no issuer"))?;
    KeyPair::from_public_key(issuer)?.verify(input.as_bytes(), &decode(signature)?)?;
    Ok(claims)
}

/// A credentials file, as every NATS client reads it.
pub fn credentials(token: &str, seed: &str) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

/// Token and seed out of a credentials file.
pub fn parse_credentials(text: &str) -> Option<(&str, &str)> {
    let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("-----"));
    Some((lines.next()?, lines.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights() -> Rights {
        Rights { publish: Allow::only(["alerts.acme.demo"]), subscribe: Allow::Nothing }
    }

    #[test]
    fn a_signed_token_verifies_and_a_changed_one_does_not() {
        let account = KeyPair::new_account();
        let key = KeyPair::new_user();
        let token = user(&account, &account.public_key(), &key.public_key(), "demo", &rights(), 1_700_000_000).unwrap();
        let claims = payload(&token).unwrap();
        assert_eq!(claims["sub"], json!(key.public_key()));
        assert_eq!(claims["iat"], json!(1_700_000_000));
        assert_eq!(claims["nats"]["pub"], json!({"allow": ["alerts.acme.demo"]}));
        assert_eq!(claims["nats"]["sub"], json!({"deny": [">"]}));
        assert_eq!(claims["nats"].get("issuer_account"), None);
        let parts: Vec<&str> = token.split('.').collect();
        let forged = String::from_utf8(BASE64URL_NOPAD.decode(parts[1].as_bytes()).unwrap()).unwrap();
        let forged = BASE64URL_NOPAD.encode(forged.replace("acme", "evil").as_bytes());
        let forged = format!("{}.{forged}.{}", parts[0], parts[2]);
        assert!(matches!(payload(&forged), Err(ClaimsError::Key(_))));
    }

    #[test]
    fn an_empty_allow_list_is_refused() {
        let account = KeyPair::new_account();
        for (publish, subscribe) in [(Allow::only::<String>([]), Allow::Nothing), (Allow::Nothing, Allow::Only(vec![]))]
        {
            let rights = Rights { publish, subscribe };
            let refused = user(&account, &account.public_key(), "U", "demo", &rights, 0).unwrap_err();
            assert!(matches!(refused, ClaimsError::EmptyAllowList(whose) if whose == "demo"));
        }
    }

    #[test]
    fn a_signing_key_names_its_account_and_changed_rights_are_noticed() {
        let account = KeyPair::new_account().public_key();
        let signing = KeyPair::new_account();
        let key = KeyPair::new_user().public_key();
        let token = user(&signing, &account, &key, "incident", &rights(), 5).unwrap();
        assert_eq!(payload(&token).unwrap()["nats"]["issuer_account"], json!(account));
        assert!(says_the_same(&token, &signing, &account, "incident", &rights()).unwrap());
        let more = Rights { subscribe: Allow::only(["_INBOX_x.>"]), ..rights() };
        assert!(!says_the_same(&token, &signing, &account, "incident", &more).unwrap());
        let other = KeyPair::new_account();
        assert!(!says_the_same(&token, &other, &account, "incident", &rights()).unwrap());
    }

    #[test]
    fn a_credentials_file_is_read_back() {
        let text = credentials("a.b.c", "SUAB");
        assert_eq!(parse_credentials(&text), Some(("a.b.c", "SUAB")));
        assert_eq!(parse_credentials("nothing"), None);
        assert!(text.starts_with("-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n\n"));
    }
}

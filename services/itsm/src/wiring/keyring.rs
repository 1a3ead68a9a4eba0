//! What the parts of an installation know of each other: the signing keys by which services trust
//! each other's tokens, and the passwords of the database roles.
//!
//! It reads and makes files and never sends anything. A process that runs some services needs the
//! seeds of those alone, and the public keys of all.

use std::{
    collections::{BTreeMap, HashMap},
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use kit::{
    config::Secret,
    token::{Signer, Verifier},
};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use super::GATEWAY;
use crate::embedded::folder::{make_folder, random_once, read_text, write_private};

const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 16;

/// The signing keys.
#[derive(Debug)]
pub struct Keyring {
    signers: HashMap<&'static str, [u8; KEY_BYTES]>,
    public: HashMap<String, Vec<u8>>,
}

impl Keyring {
    /// Reads the keys of a folder and makes those of which there is neither half.
    ///
    /// # Errors
    /// Fails when a file is damaged, or missing where it cannot be made.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let names = || proto::SERVICES.into_iter().chain([GATEWAY]);
        let public_path = |name: &str| folder.join(format!("{name}.pub"));
        let _lock = if names().all(|name| public_path(name).exists()) {
            None
        } else {
            make_folder(folder, 0o700)?;
            Some(lock(&folder.join("lock"))?)
        };
        let mut keyring = Self { signers: HashMap::new(), public: HashMap::new() };
        for name in names() {
            let (seed_path, public_path) = (folder.join(format!("{name}.seed")), public_path(name));
            let public = read_text(&public_path)?;
            if public.is_none() || seed_path.exists() {
                let seed = random_once::<KEY_BYTES>(&seed_path)?;
                let key = Signer::new(name, &seed)?.public_key();
                match &public {
                    None => write_private(&public_path, format!("{}\n", HEXLOWER.encode(&key)).as_bytes())?,
                    Some(text) if decode(text) == Some(key) => {}
                    Some(_) => bail!("{} does not belong to {}", public_path.display(), seed_path.display()),
                }
                keyring.signers.insert(name, seed);
            }
            let text = read_text(&public_path)?.unwrap_or_default();
            let key = decode(&text).with_context(|| format!("{} holds no public key", public_path.display()))?;
            keyring.public.insert(name.to_owned(), key);
        }
        Ok(keyring)
    }

    /// Signs as a service.
    ///
    /// # Errors
    /// Fails when this process has not the service's seed.
    pub fn signer(&self, service: &'static str) -> anyhow::Result<Signer> {
        let seed = self.signers.get(service).with_context(|| {
            format!("the signing key of {service} is missing: {service}.seed in the folder of signing keys")
        })?;
        Ok(Signer::new(service, seed)?)
    }

    /// Checks tokens as a service.
    pub fn verifier(&self, service: &str) -> Verifier {
        Verifier::new(service, self.public.clone())
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    HEXLOWER.decode(text.trim().as_bytes()).ok().filter(|key| key.len() == KEY_BYTES)
}

/// Two processes that start at once must not both draw.
fn lock(path: &Path) -> anyhow::Result<Flock<std::fs::File>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let locked = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno);
    locked.with_context(|| format!("cannot lock {}", path.display()))
}

/// The passwords of the database roles: given, or made from the secret key, so that whoever
/// migrates and whoever logs in need not tell each other.
#[derive(Clone)]
pub struct Passwords {
    secret: [u8; KEY_BYTES],
    given: BTreeMap<String, Secret>,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}

impl Passwords {
    /// Passwords made from this key, but for the given ones.
    pub fn new(secret: [u8; KEY_BYTES], given: BTreeMap<String, Secret>) -> Self {
        Self { secret, given }
    }

    /// The password of a role.
    pub fn of(&self, role: &str) -> String {
        match self.given.get(role) {
            Some(password) => password.expose().to_owned(),
            None => self.digest("password", role),
        }
    }

    /// What Postgres keeps of the password, so that it need not be told the password itself.
    /// Iterations only slow the guessing of passwords that can be guessed. Ours are 256 random
    /// bits, and a start makes dozens of connections; given ones are Postgres' own to hash.
    pub fn kept(&self, role: &str) -> String {
        if self.given.contains_key(role) {
            return self.of(role);
        }
        let salt = &self.mac("salt", role)[..SALT_BYTES];
        // One iteration of PBKDF2, as RFC 5802 has it: the first block, xor nothing.
        let salted = hmac(self.of(role).as_bytes(), &[salt, &1_u32.to_be_bytes()]);
        let stored = Sha256::digest(hmac(&salted, &[b"Client Key"]));
        let server = hmac(&salted, &[b"Server Key"]);
        let [salt, stored, server] = [salt, &stored, &server].map(|bytes| STANDARD.encode(bytes));
        format!("SCRAM-SHA-256$1:{salt}${stored}:{server}")
    }

    /// A keyed digest of a text: tells whether it changed, and nothing else to who reads it.
    pub fn mark(&self, text: &str) -> String {
        self.digest("mark", text)
    }

    fn digest(&self, purpose: &str, text: &str) -> String {
        HEXLOWER.encode(&self.mac(purpose, text))
    }

    fn mac(&self, purpose: &str, text: &str) -> [u8; KEY_BYTES] {
        hmac(&self.secret, &[b"itsm database ", purpose.as_bytes(), b"\0", text.as_bytes()])
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; KEY_BYTES] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use kit::caller::Caller;

    #[test]
    fn keys_are_drawn_once_and_services_trust_each_other() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("keys");
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let token = Keyring::open(&folder).unwrap().signer("incident").unwrap().service_token("sla", now);
        let again = Keyring::open(&folder).unwrap();
        let caller = again.verifier("sla").verify(&token, now).unwrap();
        assert_eq!(caller, Caller::Service("incident".to_owned()));
        assert!(again.verifier("change").verify(&token, now).is_err());
    }

    #[test]
    fn a_process_with_some_seeds_signs_as_those_alone() {
        let temporary = tempfile::tempdir().unwrap();
        drop(Keyring::open(temporary.path()).unwrap());
        std::fs::remove_file(temporary.path().join("sla.seed")).unwrap();
        let keyring = Keyring::open(temporary.path()).unwrap();
        assert!(keyring.signer("incident").is_ok());
        let refused = keyring.signer("sla").unwrap_err().to_string();
        assert!(refused.contains("sla.seed"), "{refused}");
        assert!(!temporary.path().join("sla.seed").exists(), "a known key was drawn anew");
    }

    #[test]
    fn halves_that_do_not_fit_are_refused() {
        let temporary = tempfile::tempdir().unwrap();
        drop(Keyring::open(temporary.path()).unwrap());
        std::fs::copy(temporary.path().join("sla.pub"), temporary.path().join("incident.pub")).unwrap();
        assert!(Keyring::open(temporary.path()).unwrap_err().to_string().contains("incident.pub"));
    }

    #[test]
    fn passwords_differ_by_role_and_key_and_given_ones_win() {
        let given = BTreeMap::from([("sla".to_owned(), Secret::new("theirs"))]);
        let passwords = Passwords::new([1; 32], given);
        assert_eq!(passwords.of("sla"), "theirs");
        assert_ne!(passwords.of("incident"), passwords.of("incident_worker"));
        assert_ne!(passwords.of("incident"), Passwords::new([2; 32], BTreeMap::new()).of("incident"));
        assert_ne!(passwords.of("incident"), passwords.mark("incident"));
        assert!(!format!("{passwords:?}").contains('1'));
    }
}

//! The keys that NATS trusts, kept in the data folder, and everything that is signed with them.
//!
//! Offline: it writes files and makes tokens, and never speaks to a server. Whoever can read the
//! folder `keys` can become any user of any account, so nothing else is handed a seed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use nkeys::{KeyPair, KeyPairType};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::claims::{self, Kind, Rights};
use super::rights;
use super::unix_now;
use crate::embedded::folder::{DataPaths, make_folder, read_text, write_private};
use crate::embedded::nats::Trust;

/// The seeds of the operator and of its own accounts, in the folder of keys.
const SEEDS: [&str; 4] = ["operator.seed", "system.seed", "services.seed", "services-signing.seed"];

/// A durable consumer that a client outside uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutsideConsumer {
    /// Whose events it delivers.
    pub tenant: String,
    /// The service that says them.
    pub service: String,
    /// What the tenant calls it.
    pub name: String,
}

impl OutsideConsumer {
    /// A consumer of a tenant for the events of a service.
    pub fn new(tenant: &str, service: &str, name: &str) -> anyhow::Result<Self> {
        if rights::service(service).is_none() {
            let known: Vec<&str> = rights::SERVICES.iter().map(|service| service.name).collect();
            bail!("there are no events of `{service}`; services with events are {}", known.join(", "));
        }
        let [tenant, name] = [slug(tenant)?, slug(name)?].map(str::to_owned);
        Ok(Self { tenant, service: service.to_owned(), name })
    }

    /// Its name in NATS, which no other tenant's consumer has: a slug has no underscore.
    pub fn durable(&self) -> String {
        format!("ext-{}_{}", self.tenant, self.name)
    }

    /// The stream it reads.
    pub fn stream(&self) -> String {
        self.service.to_ascii_uppercase()
    }

    /// The subjects it delivers.
    pub fn filter(&self) -> String {
        format!("itsm.{}.{}.>", self.tenant, self.service)
    }
}

/// What was given out and taken back, for the accounts as they have to be pushed again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    tenants: BTreeMap<String, Tenant>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Tenant {
    /// Kept for its revocations only: there is no account.
    removed: bool,
    /// Public keys of users by what they are for.
    users: BTreeMap<String, String>,
    /// Revoked public keys and since when.
    revocations: BTreeMap<String, i64>,
    consumers: Vec<OutsideConsumer>,
}

/// The state, held against other processes until it is dropped.
pub struct Locked {
    /// To read and change; [`Authority::save`] keeps it.
    pub state: State,
    _lock: Flock<File>,
}

/// The holder of operator, system and account keys.
#[derive(Debug)]
pub struct Authority {
    paths: DataPaths,
    operator: KeyPair,
    system: KeyPair,
    services: KeyPair,
    /// Signs the services' users, so that the account's own seed can stay away from them.
    services_signing: KeyPair,
}

impl Authority {
    /// Takes the keys of a data folder, making them the first time.
    pub fn open(paths: &DataPaths) -> anyhow::Result<Self> {
        let folder = paths.nats_keys();
        for private in [folder.clone(), paths.nats_creds(), paths.nats_creds().join("tenants"), folder.join("tenants")]
        {
            make_folder(&private, 0o700)?;
        }
        let [operator, system, services, services_signing] = SEEDS;
        Ok(Self {
            paths: paths.clone(),
            operator: seed_once(&folder.join(operator), KeyPairType::Operator)?,
            system: seed_once(&folder.join(system), KeyPairType::Account)?,
            services: seed_once(&folder.join(services), KeyPairType::Account)?,
            services_signing: seed_once(&folder.join(services_signing), KeyPairType::Account)?,
        })
    }

    /// Takes the seeds of a folder that cannot be written, such as mounted secrets, as those of the data
    /// folder. What the data folder has already must be the same: a server trusts one operator alone.
    pub fn adopt(paths: &DataPaths, from: &Path) -> anyhow::Result<()> {
        make_folder(&paths.nats(), 0o700)?;
        make_folder(&paths.nats_keys(), 0o700)?;
        for name in SEEDS {
            let (given, own) = (from.join(name), paths.nats_keys().join(name));
            let seed = read_text(&given)?.with_context(|| format!("{} is not there", given.display()))?;
            match read_text(&own)? {
                None => write_private(&own, format!("{}\n", seed.trim()).as_bytes())?,
                Some(kept) if kept.trim() == seed.trim() => {}
                Some(_) => bail!(
                    "{} is another than {}: the operator's keys were changed under accounts that exist",
                    given.display(),
                    own.display()
                ),
            }
        }
        Ok(())
    }

    /// What a server needs to trust what is signed here.
    pub fn trust(&self) -> anyhow::Result<Trust> {
        Ok(Trust {
            operator: claims::operator(&self.operator, &self.system.public_key(), unix_now())?,
            system_account: self.system.public_key(),
            preload: vec![
                (self.system.public_key(), self.system_account()?),
                (self.services.public_key(), self.services_account()?),
            ],
        })
    }

    /// The credentials file of a user inside the services' account.
    pub fn credentials_path(&self, user: &str) -> PathBuf {
        self.paths.nats_creds().join(format!("{user}.creds"))
    }

    /// Where the credentials of a tenant's users are.
    pub fn tenant_credentials_folder(&self, tenant: &str) -> PathBuf {
        self.paths.nats_creds().join("tenants").join(tenant)
    }

    /// Writes the credentials of every service, of the gateway and of the provisioner. A user's
    /// key stays the same while its file is there; its rights are those of this build.
    pub fn issue_internal(&self) -> anyhow::Result<()> {
        let services = rights::SERVICES.iter().map(|service| (service.name, rights::of_service(service)));
        let others = [(rights::GATEWAY, rights::of_gateway()), ("provisioner", rights::of_provisioner())];
        let account = self.services.public_key();
        for (name, rights) in services.chain(others) {
            self.issue(&self.services_signing, &account, name, &rights, None, &self.credentials_path(name))?;
        }
        let system = self.credentials_path("system");
        self.issue(&self.system, &self.system.public_key(), "system", &rights::of_system(), None, &system)?;
        Ok(())
    }

    /// Writes a credentials file and returns its user's public key. A user that is known, but not
    /// this file's, gets a new key: the old one is the caller's to revoke.
    fn issue(
        &self,
        issuer: &KeyPair,
        account: &str,
        name: &str,
        rights: &Rights,
        known: Option<&str>,
        path: &Path,
    ) -> anyhow::Result<String> {
        let text = read_text(path)?.unwrap_or_default();
        let mut kept = None;
        if let Some((token, seed)) = claims::parse_credentials(&text)
            && let Ok(key) = KeyPair::from_seed(seed)
            && known.is_none_or(|known| known == key.public_key())
        {
            let same_subject = claims::payload(token).is_ok_and(|claims| claims["sub"] == json!(key.public_key()));
            if same_subject && claims::says_the_same(token, issuer, account, name, rights)? {
                return Ok(key.public_key());
            }
            kept = Some(key);
        }
        let key = kept.unwrap_or_else(KeyPair::new_user);
        let token = claims::user(issuer, account, &key.public_key(), name, rights, unix_now())?;
        write_private(path, claims::credentials(&token, &key.seed()?).as_bytes())?;
        Ok(key.public_key())
    }

    /// Takes the state for a change. Other processes that want it wait.
    pub async fn lock(&self) -> anyhow::Result<Locked> {
        let path = self.paths.nats_keys().join("lock");
        let lock = tokio::task::spawn_blocking(move || -> anyhow::Result<Flock<File>> {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true).mode(0o600);
            let file = options.open(&path).with_context(|| format!("cannot open {}", path.display()))?;
            Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, errno)| errno)
                .with_context(|| format!("cannot lock {}", path.display()))
        })
        .await
        .context("cannot wait for the lock of the accounts")??;
        Ok(Locked { state: self.state()?, _lock: lock })
    }

    /// The state as it was last saved.
    pub fn state(&self) -> anyhow::Result<State> {
        match read_text(&self.state_path())? {
            None => Ok(State::default()),
            Some(text) => {
                serde_json::from_str(&text).with_context(|| format!("{} is damaged", self.state_path().display()))
            }
        }
    }

    /// Keeps a changed state. Before anything built on it is pushed: what the server believes can
    /// then be made again.
    pub fn save(&self, locked: &Locked) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(&locked.state).context("cannot write the accounts")?;
        Ok(write_private(&self.state_path(), text.as_bytes())?)
    }

    fn state_path(&self) -> PathBuf {
        self.paths.nats_keys().join("accounts.json")
    }

    /// Adds a tenant; false when it is there.
    pub fn add_tenant(&self, locked: &mut Locked, tenant: &str) -> anyhow::Result<bool> {
        let tenant = slug(tenant)?;
        self.tenant_key(tenant)?;
        let added = !locked.state.tenants().any(|known| known == tenant);
        locked.state.tenants.entry(tenant.to_owned()).or_default().removed = false;
        Ok(added)
    }

    /// Forgets a tenant and returns the order to the server. Its key stays, for its return.
    pub fn remove_tenant(&self, locked: &mut Locked, tenant: &str) -> anyhow::Result<String> {
        let key = self.tenant_key(slug(tenant)?)?;
        if let Some(row) = locked.state.tenants.get_mut(tenant) {
            // Whoever held credentials does not get in again when the tenant returns.
            let revoked: Vec<String> = std::mem::take(&mut row.users).into_values().collect();
            row.revocations.extend(revoked.into_iter().map(|user| (user, unix_now())));
            row.consumers.clear();
            row.removed = true;
        }
        Ok(claims::deletion(&self.operator, &[key.public_key()], unix_now())?)
    }

    /// Writes credentials for a user of a tenant. `purpose` is what it is known and revoked by.
    pub fn issue_tenant_user(
        &self,
        locked: &mut Locked,
        tenant: &str,
        purpose: &str,
        rights: &Rights,
        path: &Path,
    ) -> anyhow::Result<()> {
        let key = self.tenant_key(slug(tenant)?)?;
        let Some(row) = locked.state.tenants.get_mut(tenant).filter(|row| !row.removed) else {
            bail!("there is no tenant `{tenant}`");
        };
        // A user unknown or revoked gets a key of its own, whatever stands in the file.
        let known = row.users.get(purpose).map_or("", String::as_str);
        let user = self.issue(&key, &key.public_key(), purpose, rights, Some(known), path)?;
        if let Some(before) = row.users.insert(purpose.to_owned(), user.clone())
            && before != user
        {
            row.revocations.insert(before, unix_now());
        }
        Ok(())
    }

    /// Takes a user's rights back; false when there is none of that purpose.
    pub fn revoke_tenant_user(&self, locked: &mut Locked, tenant: &str, purpose: &str) -> bool {
        let Some(row) = locked.state.tenants.get_mut(tenant) else { return false };
        let Some(user) = row.users.remove(purpose) else { return false };
        row.revocations.insert(user, unix_now());
        true
    }

    /// Adds a durable consumer for a tenant; false when it is there.
    pub fn add_consumer(&self, locked: &mut Locked, consumer: &OutsideConsumer) -> anyhow::Result<bool> {
        let Some(row) = locked.state.tenants.get_mut(&consumer.tenant).filter(|row| !row.removed) else {
            bail!("there is no tenant `{}`", consumer.tenant);
        };
        if let Some(other) = row.consumers.iter().find(|other| other.name == consumer.name) {
            if other == consumer {
                return Ok(false);
            }
            bail!("tenant `{}` has a consumer `{}` already, for events of {}", other.tenant, other.name, other.service);
        }
        row.consumers.push(consumer.clone());
        Ok(true)
    }

    /// Every account as it has to be on the server.
    pub fn accounts(&self, state: &State) -> anyhow::Result<Vec<String>> {
        let mut accounts = vec![self.services_account()?];
        for tenant in state.tenants() {
            accounts.push(self.tenant_account(state, tenant)?);
        }
        Ok(accounts)
    }

    fn system_account(&self) -> anyhow::Result<String> {
        let nats = json!({"type": "account", "limits": limits(false), "exports": [], "imports": []});
        Ok(claims::sign(&self.operator, &self.system.public_key(), "SYS", unix_now(), nats)?)
    }

    fn services_account(&self) -> anyhow::Result<String> {
        let service =
            |subject: &str| json!({"name": subject, "subject": subject, "type": "service", "token_req": true});
        let mut next = service("$JS.API.CONSUMER.MSG.NEXT.*.*");
        next["response_type"] = json!("Stream");
        let nats = json!({
            "type": "account",
            "limits": limits(true),
            "signing_keys": [self.services_signing.public_key()],
            "exports": [
                service("alerts.*.>"),
                {"name": "events", "subject": "itsm.*.>", "type": "stream", "token_req": true},
                next,
                service("$JS.API.CONSUMER.INFO.*.*"),
                service("$JS.ACK.*.*.>"),
            ],
            "imports": [],
        });
        Ok(claims::sign(&self.operator, &self.services.public_key(), "SERVICES", unix_now(), nats)?)
    }

    /// A tenant's account: it may hand alerts in and hear its own events, and exports nothing.
    pub fn tenant_account(&self, state: &State, tenant: &str) -> anyhow::Result<String> {
        let Some(row) = state.tenants.get(tenant) else { bail!("there is no tenant `{tenant}`") };
        let account = self.tenant_key(tenant)?.public_key();
        let mut imports = vec![
            self.import(&account, &format!("alerts.{tenant}.>"), Kind::Service, None)?,
            self.import(&account, &format!("itsm.{tenant}.>"), Kind::Stream, None)?,
        ];
        for consumer in &row.consumers {
            let of = format!("{}.{}", consumer.stream(), consumer.durable());
            for call in ["CONSUMER.MSG.NEXT", "CONSUMER.INFO"] {
                // Under $JS.API the server would answer itself, for an account without JetStream.
                let local = format!("{}.{call}.{of}", rights::OUTSIDE_API);
                imports.push(self.import(&account, &format!("$JS.API.{call}.{of}"), Kind::Service, Some(local))?);
            }
            imports.push(self.import(&account, &format!("$JS.ACK.{of}.>"), Kind::Service, None)?);
        }
        let (publish, subscribe) = rights::of_tenant(tenant).claim(tenant)?;
        let nats = json!({
            "type": "account",
            "limits": limits(false),
            "default_permissions": {"pub": publish, "sub": subscribe},
            "exports": [],
            "imports": imports,
            "revocations": row.revocations,
        });
        Ok(claims::sign(&self.operator, &account, tenant, unix_now(), nats)?)
    }

    fn import(&self, account: &str, subject: &str, kind: Kind, local: Option<String>) -> anyhow::Result<Value> {
        let token = claims::activation(&self.services, account, subject, kind, unix_now())?;
        let mut import = json!({
            "name": subject,
            "subject": subject,
            "account": self.services.public_key(),
            "type": kind.word(),
            "token": token,
        });
        if let Some(local) = local {
            import["local_subject"] = json!(local);
        }
        Ok(import)
    }

    fn tenant_key(&self, tenant: &str) -> anyhow::Result<KeyPair> {
        seed_once(&self.paths.nats_keys().join("tenants").join(format!("{tenant}.seed")), KeyPairType::Account)
    }
}

impl State {
    /// The tenants, by slug.
    pub fn tenants(&self) -> impl Iterator<Item = &str> {
        self.tenants.iter().filter(|(_, tenant)| !tenant.removed).map(|(slug, _)| slug.as_str())
    }

    /// The durable consumers of all tenants.
    pub fn consumers(&self) -> impl Iterator<Item = &OutsideConsumer> {
        self.tenants.values().flat_map(|tenant| &tenant.consumers)
    }
}

/// Limits of an account; only the services' has JetStream.
fn limits(services: bool) -> Value {
    let stored = if services { -1 } else { 0 };
    // A tenant's message is at most an intake body and its headers.
    let (connections, payload_bytes) = if services { (-1, -1) } else { (200, 1_114_112) };
    json!({
        "subs": -1, "data": -1, "payload": payload_bytes, "imports": -1, "exports": -1, "wildcards": true,
        "conn": connections, "leaf": 0, "mem_storage": 0, "disk_storage": stored, "streams": stored, "consumer": stored,
    })
}

/// Checks a name that becomes part of a subject and of a path: `[a-z0-9-]{1,40}`.
pub fn slug(name: &str) -> anyhow::Result<&str> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > 40 || !name.bytes().all(fits) {
        bail!("`{name}` is not a name: use 1 to 40 of a-z, 0-9 and -");
    }
    Ok(name)
}

fn seed_once(path: &Path, kind: KeyPairType) -> anyhow::Result<KeyPair> {
    let prefix = kind.clone();
    let key = match read_text(path)? {
        Some(text) => KeyPair::from_seed(text.trim()).with_context(|| format!("{} holds no seed", path.display()))?,
        None => {
            let key = KeyPair::new(kind);
            write_private(path, format!("{}\n", key.seed()?).as_bytes())?;
            key
        }
    };
    if key.key_pair_type() != prefix {
        bail!("{} holds a seed of another kind", path.display());
    }
    Ok(key)
}

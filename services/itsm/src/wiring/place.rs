//! Where things are: the names of an installation's files, sockets, roles and credentials, for the
//! commands that do not hold the data folder to themselves.
//!
//! It finds and names; it starts nothing.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use data_encoding::HEXLOWER;
use kit::{bus::BusOptions, clock::pause, config::Secret, db::Database, service::unix_addresses};
use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnectOptions;

use super::keyring::Passwords;
use crate::{
    embedded::folder::{DataFolder, DataPaths, FolderError, make_folder, random_once, read_text},
    provisioner::{authority::Authority, connection::Access},
    settings::Settings,
};

/// A socket's path must fit `sockaddr_un`, its closing zero included.
const SOCKET_PATH_MAX_BYTES: usize = 107;
const MADE_WITHIN: Duration = Duration::from_secs(10);

/// The names in a data folder, which is made where there is none. Unlike [`DataFolder::open`] it
/// leaves the folder to others too.
///
/// # Errors
/// Fails when the folder is somebody else's.
pub async fn shared_folder(root: &Path) -> anyhow::Result<DataPaths> {
    let deadline = Instant::now() + MADE_WITHIN;
    while !root.join("version").exists() {
        match DataFolder::open(root) {
            Ok(folder) => return Ok(folder.paths().clone()),
            // Another process is just making it.
            Err(FolderError::InUse { .. }) if Instant::now() < deadline => pause(Duration::from_millis(20)).await,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(DataPaths::new(root)?)
}

/// Reads the secret key: of a file, or of the data folder.
///
/// # Errors
/// Fails when the file is missing or holds something else.
pub fn secret_key(settings: &Settings, paths: &DataPaths) -> anyhow::Result<[u8; 32]> {
    match &settings.secrets.key_file {
        Some(path) if !path.exists() => bail!("the file of the secret key, {}, is not there", path.display()),
        Some(path) => Ok(random_once::<32>(path)?),
        None => Ok(random_once::<32>(&paths.secret_key())?),
    }
}

/// The passwords of the database roles.
///
/// # Errors
/// As [`secret_key`].
pub fn passwords(settings: &Settings, paths: &DataPaths) -> anyhow::Result<Passwords> {
    Ok(Passwords::new(secret_key(settings, paths)?, settings.database.passwords.clone()))
}

/// The database of a URL.
///
/// # Errors
/// Fails when it is none; the URL itself stays out of the text, since it may hold a password.
pub fn database_at(url: &Secret) -> anyhow::Result<PgConnectOptions> {
    use std::str::FromStr;
    PgConnectOptions::from_str(url.expose()).map_err(|_| {
        anyhow::anyhow!(
            "the URL of the database is not of the form postgres://user:password@host:port/name, or, for a socket, \
                 postgres://user:password@localhost/name?host=/folder"
        )
    })
}

/// The two ways of a service into its schema.
pub fn service_database(schema: &'static str, options: &PgConnectOptions, passwords: &Passwords) -> Database {
    let login = |role: &str| {
        let options = options.clone().username(role).password(&passwords.of(role));
        options.application_name(&format!("itsm {role}"))
    };
    Database::new(schema, login(schema), login(&format!("{schema}_worker")))
}

/// A NATS, and how each part gets in.
#[derive(Debug, Clone)]
pub struct Bus {
    url: String,
    credentials: Option<PathBuf>,
    certificates: Option<PathBuf>,
    authority: Option<Arc<Authority>>,
}

impl Bus {
    /// A server that trusts our keys.
    pub fn operated(url: String, authority: Arc<Authority>) -> Self {
        Self { url, credentials: None, certificates: None, authority: Some(authority) }
    }

    /// The server that the settings or the data folder name.
    ///
    /// # Errors
    /// Fails when neither does.
    pub fn find(settings: &Settings, paths: &DataPaths) -> anyhow::Result<Self> {
        let here = read_text(&paths.nats_url())?.map(|url| url.trim().to_owned());
        let url = match settings.nats.url.expose() {
            "" => here.clone().with_context(|| {
                format!(
                    "no NATS: set NATS_URL, or give the data folder of a running `itsm up` ({} is not one)",
                    paths.root().display()
                )
            })?,
            url => url.to_owned(),
        };
        let ours = here.as_deref() == Some(&url) && paths.nats_keys().join("operator.seed").exists();
        let authority = match &settings.nats.operator_keys_folder {
            Some(keys) => {
                Authority::adopt(paths, keys)?;
                let authority = Authority::open(paths)?;
                // Its own credentials and the system's, which nobody else has.
                authority.issue_internal()?;
                Some(Arc::new(authority))
            }
            None if ours => Some(Arc::new(Authority::open(paths)?)),
            None => None,
        };
        let nats = &settings.nats;
        let (credentials, certificates) = (nats.credentials_folder.clone(), nats.certificates_folder.clone());
        Ok(Self { url, credentials, certificates, authority })
    }

    /// How a part connects.
    pub fn options(&self, part: &str) -> BusOptions {
        let given = self.credentials.as_ref().map(|folder| folder.join(format!("{part}.creds")));
        let ours = || self.authority.as_ref().map(|authority| authority.credentials_path(part));
        let certificates_folder = self.certificates.clone();
        BusOptions { url: self.url.clone(), credentials: given.or_else(ours), certificates_folder }
    }

    /// How the provisioner connects.
    pub fn access(&self) -> Access {
        let (url, certificates) = (self.url.clone(), self.certificates.clone());
        match &self.authority {
            Some(authority) => Access::Operator { url, authority: Arc::clone(authority), certificates },
            None => Access::Plain { url, certificates },
        }
    }
}

/// The folder of the services' sockets: inside the data folder, or, where that path is too long
/// for a socket, a short one that is ours alone.
///
/// # Errors
/// Fails when somebody else has the short one.
pub fn socket_folder(paths: &DataPaths) -> anyhow::Result<PathBuf> {
    let inside = paths.run();
    let longest = proto::SERVICES.iter().map(|name| name.len()).max().unwrap_or_default() + "/.sock".len();
    if inside.as_os_str().len() + longest < SOCKET_PATH_MAX_BYTES {
        make_folder(&inside, 0o700)?;
        return Ok(inside);
    }
    let digest = Sha256::digest(inside.as_os_str().as_encoded_bytes());
    let short = PathBuf::from(format!("/tmp/itsm-run-{}", HEXLOWER.encode(&digest[..8])));
    // Anyone may make names in /tmp: one that another user made first is not taken.
    match fs::symlink_metadata(&short) {
        Ok(there) if there.is_dir() && there.uid() == nix::unistd::geteuid().as_raw() => {}
        Ok(_) => bail!("{} is in the way and not ours; remove it", short.display()),
        Err(_) => fs::create_dir(&short).with_context(|| format!("cannot make {}", short.display()))?,
    }
    make_folder(&short, 0o700)?;
    Ok(short)
}

/// Where each service is reached.
pub fn addresses(sockets: &Path, given: &BTreeMap<String, String>) -> HashMap<String, String> {
    let mut addresses = unix_addresses(sockets);
    addresses.extend(given.iter().map(|(name, address)| (name.clone(), address.clone())));
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_is_made_once_and_then_shared() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("var");
        let paths = shared_folder(&root).await.unwrap();
        let held = DataFolder::open(&root).unwrap();
        assert_eq!(shared_folder(&root).await.unwrap(), paths);
        let key = secret_key(&Settings::default(), &paths).unwrap();
        assert_eq!(key, secret_key(&Settings::default(), held.paths()).unwrap());
        std::fs::write(temporary.path().join("other"), "x").unwrap();
        assert!(shared_folder(temporary.path()).await.is_err(), "took somebody else's folder");
    }

    #[test]
    fn a_missing_secret_key_is_not_drawn_where_it_was_named() {
        let temporary = tempfile::tempdir().unwrap();
        let paths = DataPaths::new(temporary.path()).unwrap();
        let mut settings = Settings::default();
        settings.secrets.key_file = Some(temporary.path().join("absent"));
        assert!(secret_key(&settings, &paths).unwrap_err().to_string().contains("absent"));
        assert!(!temporary.path().join("absent").exists());
    }

    #[test]
    fn sockets_fit_also_below_a_long_path() {
        let temporary = tempfile::tempdir().unwrap();
        let long = DataPaths::new(&temporary.path().join("x".repeat(120))).unwrap();
        let folder = socket_folder(&long).unwrap();
        assert!(folder.join("notification.sock").as_os_str().len() < SOCKET_PATH_MAX_BYTES, "{}", folder.display());
        assert_eq!(socket_folder(&long).unwrap(), folder);
        std::fs::remove_dir(&folder).unwrap();
        let short = DataPaths::new(temporary.path()).unwrap();
        assert_eq!(socket_folder(&short).unwrap(), short.run());
    }

    #[test]
    fn a_wrong_url_is_not_repeated() {
        let refused = database_at(&Secret::new("postgre://u:hunter2@h:x/d")).unwrap_err();
        assert!(!format!("{refused:#}").contains("hunter2"), "{refused:#}");
    }

    #[test]
    fn nats_is_found_by_the_settings_or_the_folder() {
        let temporary = tempfile::tempdir().unwrap();
        let paths = DataPaths::new(temporary.path()).unwrap();
        assert!(Bus::find(&Settings::default(), &paths).unwrap_err().to_string().contains("NATS_URL"));
        fs::write(paths.nats_url(), "nats://127.0.0.1:1\n").unwrap();
        let found = Bus::find(&Settings::default(), &paths).unwrap();
        assert_eq!(found.options("sla").url, "nats://127.0.0.1:1");
        assert!(found.options("sla").credentials.is_none());
        let mut settings = Settings::default();
        settings.nats.url = Secret::new("nats://elsewhere:2");
        settings.nats.credentials_folder = Some("/creds".into());
        let options = Bus::find(&settings, &paths).unwrap().options("sla");
        assert_eq!(
            (options.url.as_str(), options.credentials),
            ("nats://elsewhere:2", Some("/creds/sla.creds".into()))
        );
    }

    #[test]
    fn the_provisioner_takes_the_operators_keys_from_its_secrets() {
        let temporary = tempfile::tempdir().unwrap();
        let made = DataFolder::open(&temporary.path().join("made")).unwrap();
        let public = |paths: &DataPaths| Authority::open(paths).unwrap().trust().unwrap().system_account;
        let trusted = public(made.paths());
        let own = DataFolder::open(&temporary.path().join("own")).unwrap();
        let mut settings = Settings::default();
        settings.nats.url = Secret::new("nats://elsewhere:2");
        settings.nats.operator_keys_folder = Some(made.nats_keys());
        let find = |settings: &Settings| Bus::find(settings, own.paths());
        assert!(matches!(find(&settings).unwrap().access(), Access::Operator { .. }));
        assert_eq!(public(own.paths()), trusted);
        assert!(own.nats_creds().join("system.creds").exists() && own.nats_creds().join("provisioner.creds").exists());
        assert!(find(&settings).is_ok(), "the next start refuses what it took");

        let other = DataFolder::open(&temporary.path().join("other")).unwrap();
        drop(Authority::open(other.paths()).unwrap());
        settings.nats.operator_keys_folder = Some(other.nats_keys());
        assert!(find(&settings).unwrap_err().to_string().contains("operator.seed"));
        assert_eq!(public(own.paths()), trusted);
        settings.nats.operator_keys_folder = Some(temporary.path().join("none"));
        assert!(find(&settings).unwrap_err().to_string().contains("is not there"));
    }
}

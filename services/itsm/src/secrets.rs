//! `itsm secrets`: what an installation of several processes needs and nobody else may know, in a
//! folder with a folder for each process.
//!
//! Every secret is drawn here, so that nothing starts with one that somebody else knows too. What is
//! there stays; what is missing is made again, so that removing a file and running this again
//! replaces it; certificates that end within a month are issued anew. Each folder holds what its process may know and no more.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::lchown,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;
use data_encoding::HEXLOWER;
use kit::token::Signer;

use crate::{
    embedded::{
        folder::{DataFolder, make_folder, random_once, read_text, write_private},
        nats::{self, Site},
    },
    pki,
    provisioner::authority::Authority,
    wiring::{GATEWAY, PROVISIONER, SERVICES, keyring::Passwords},
};

const POSTGRES: &str = "postgres";
const NATS: &str = "nats";
const MIGRATE: &str = "migrate";
const PROVISION: &str = "provision";
/// The data folder of the provisioner: the keys that NATS trusts, and what it was told of tenants.
const AUTHORITY: &str = "authority";
/// The authority that the parts know each other by, and all that it issued.
const PKI: &str = "pki";
const CERTIFICATES: &str = "certificates";
/// Where the first administrator's key will be.
const ADMIN: &str = "admin";
/// Whose roles the makers of tenants use.
const DIRECTORY: &str = "directory";
/// Who seals what is stored for others.
const NOTIFICATION: &str = "notification";
/// Who shows the numbers, where that is run.
const GRAFANA: &str = "grafana";
/// What the files say about the port that NATS' own image listens on.
const NATS_PORT: u16 = 4222;
const NATS_MONITORING: &str = "127.0.0.1:8222";

/// Makes the secrets of an installation of several processes: a folder for each.
#[derive(Debug, Args)]
#[command(after_help = "Example, for docker-compose.yml:\n  itsm secrets ./secrets --owner 10001\n\n\
                        Run again it keeps what is there, and makes again what was removed.")]
pub struct Options {
    /// The folder to make them in.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The user id, as a number, that the files shall belong to. Needs the right to give files away.
    #[arg(long, value_name = "UID")]
    owner: Option<u32>,
    /// Where the processes reach the database; may end in parameters, such as `?sslmode=verify-full`.
    #[arg(long, value_name = "HOST:PORT/NAME", default_value = "postgres:5432/itsm")]
    database: String,
    /// The database's administrator.
    #[arg(long, value_name = "NAME", default_value = "itsm")]
    database_user: String,
    /// Where the processes reach NATS: the setting `nats.url` of all of them.
    #[arg(long, value_name = "URL", default_value = "nats://nats:4222")]
    nats: String,
    /// The folder in which NATS keeps its data, as NATS itself sees it.
    #[arg(long, value_name = "DIR", default_value = "/data")]
    nats_data: PathBuf,
}

/// `itsm secrets`.
///
/// # Errors
/// Fails when the folder cannot be written, or a file in it is damaged.
pub fn run(options: &Options) -> anyhow::Result<String> {
    let root = std::path::absolute(&options.folder).context("cannot find the current folder")?;
    // Whoever starts the containers has to pass through, and sees no names.
    make_folder(&root, 0o711)?;
    let place = Place { root };
    let parts = SERVICES.iter().map(|service| service.name).chain([GATEWAY]);
    for name in [POSTGRES, NATS, MIGRATE, PROVISION, PROVISIONER, ADMIN, GRAFANA].into_iter().chain(parts.clone()) {
        make_folder(&place.of(name), 0o700)?;
    }
    database(&place, options)?;
    random_once::<32>(&place.of(NOTIFICATION).join("sealing.key"))?;
    random_once::<24>(&place.of(GRAFANA).join("password"))?;
    signing_keys(&place, parts.clone())?;
    accounts(&place, parts, options)?;
    certificates(&place)?;
    if let Some(owner) = options.owner {
        give(&place.root, owner).context("cannot give the files to their owner; run this as root")?;
    }
    Ok(format!("the secrets are in {}", place.root.display()))
}

/// The folder of all processes' folders.
struct Place {
    root: PathBuf,
}

impl Place {
    fn of(&self, process: &str) -> PathBuf {
        self.root.join(process)
    }
}

/// The administrator's password, and those of the roles: made from a secret key that whoever migrates
/// has alone.
fn database(place: &Place, options: &Options) -> anyhow::Result<()> {
    let password = HEXLOWER.encode(&random_once::<24>(&place.of(POSTGRES).join("password"))?);
    if options.database.contains('@') || options.database_user.contains(['@', ':', '/', '?']) {
        bail!("the database is given as HOST:PORT/NAME and its user by name, both without a password");
    }
    let url = format!("postgres://{}:{password}@{}\n", options.database_user, options.database);
    for name in [MIGRATE, PROVISIONER] {
        keep(&place.of(name).join("database.url"), &url)?;
    }
    let passwords = Passwords::new(random_once::<32>(&place.of(MIGRATE).join("secret.key"))?, BTreeMap::new());
    let own = SERVICES.iter().map(|service| (service.name, service.name));
    for (process, schema) in own.chain([(PROVISION, DIRECTORY), (PROVISIONER, DIRECTORY)]) {
        for role in [schema.to_owned(), format!("{schema}_worker")] {
            let path = place.of(process).join(format!("{role}.password"));
            keep(&path, &format!("{}\n", passwords.of(&role)))?;
        }
    }
    Ok(())
}

/// Each service has its own seed, and everybody the public keys of all.
fn signing_keys(place: &Place, parts: impl Iterator<Item = &'static str> + Clone) -> anyhow::Result<()> {
    let keys = |process: &str| place.of(process).join("keys");
    let mut public = Vec::new();
    for name in parts.clone() {
        make_folder(&keys(name), 0o700)?;
        let seed = random_once::<32>(&keys(name).join(format!("{name}.seed")))?;
        public.push((name, format!("{}\n", HEXLOWER.encode(&Signer::new(name, &seed)?.public_key()))));
    }
    make_folder(&keys(PROVISIONER), 0o700)?;
    for process in parts.chain([PROVISIONER]) {
        for (name, key) in &public {
            keep(&keys(process).join(format!("{name}.pub")), key)?;
        }
    }
    Ok(())
}

/// The keys that NATS trusts, each part's credentials, and the configuration of the server. What is
/// signed says what this build's parts may do, so it is written anew where that changed.
fn accounts(place: &Place, parts: impl Iterator<Item = &'static str>, options: &Options) -> anyhow::Result<()> {
    let folder = DataFolder::open(&place.of(AUTHORITY))?;
    let authority = Authority::open(&folder)?;
    authority.issue_internal()?;
    keep(&folder.nats_url(), &format!("{}\n", options.nats))?;
    for name in parts {
        let credentials = read_text(&authority.credentials_path(name))?.unwrap_or_default();
        make_folder(&place.of(name).join(NATS), 0o700)?;
        keep(&place.of(name).join(NATS).join(format!("{name}.creds")), &credentials)?;
    }
    let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, NATS_PORT));
    let site = Site { name: "itsm", listen, monitoring: NATS_MONITORING, folder: &options.nats_data };
    keep(&place.of(NATS).join("nats.conf"), &nats::render(&site, &authority.trust()?)?)
}

/// By what the parts know each other. The authority's key stays where certificates are made.
fn certificates(place: &Place) -> anyhow::Result<()> {
    let authority = place.of(PKI);
    pki::keep(&authority)?;
    let hand_out = |process: &str, files: &[String]| -> anyhow::Result<()> {
        let folder = place.of(process).join(CERTIFICATES);
        make_folder(&folder, 0o700)?;
        for file in files {
            keep(&folder.join(file), &read_text(&authority.join(file))?.unwrap_or_default())?;
        }
        Ok(())
    };
    let trusted = || "ca.crt".to_owned();
    for name in pki::known() {
        hand_out(name, &[trusted(), format!("{name}.key"), format!("{name}.crt")])?;
    }
    [MIGRATE, PROVISION].iter().try_for_each(|process| hand_out(process, &[trusted()]))
}

/// Writes a file unless it says this already.
fn keep(path: &Path, text: &str) -> anyhow::Result<()> {
    if read_text(path)?.as_deref() != Some(text) {
        write_private(path, text.as_bytes())?;
    }
    Ok(())
}

fn give(path: &Path, owner: u32) -> anyhow::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), owner)?;
        }
    }
    lchown(path, Some(owner), Some(owner)).with_context(|| format!("cannot give {} away", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wiring::keyring::Keyring;
    use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

    fn options(folder: &Path) -> Options {
        Options {
            folder: folder.to_path_buf(),
            owner: Some(nix::unistd::geteuid().as_raw()),
            database: "postgres:5432/itsm".to_owned(),
            database_user: "itsm".to_owned(),
            nats: "nats://nats:4222".to_owned(),
            nats_data: "/data".into(),
        }
    }

    fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o077;
            if path.is_dir() {
                found.extend(files(&path));
            } else {
                assert_eq!(mode, 0, "{} is open to others", path.display());
                found.insert(path.clone(), fs::read_to_string(&path).unwrap());
            }
        }
        found
    }

    fn names(folder: &Path) -> BTreeSet<String> {
        let below = |path: PathBuf| path.strip_prefix(folder).unwrap().display().to_string();
        let secret = |name: &String| !name.ends_with(".pub") && !name.ends_with(".crt");
        files(folder).into_keys().map(below).filter(secret).collect()
    }

    #[test]
    fn each_process_knows_what_it_needs_and_no_more() {
        let temporary = tempfile::tempdir().unwrap();
        run(&options(temporary.path())).unwrap();
        let of = |process: &str| names(&temporary.path().join(process));
        let service = |name: &str| {
            let files = ["{}.password", "{}_worker.password", "certificates/{}.key", "keys/{}.seed", "nats/{}.creds"];
            files.map(|file| file.replace("{}", name)).into_iter().collect::<BTreeSet<_>>()
        };
        assert_eq!(of("incident"), service("incident"));
        let mut notification = service("notification");
        notification.insert("sealing.key".to_owned());
        assert_eq!(of("notification"), notification);
        assert_eq!(
            of("gateway"),
            ["certificates/gateway.key", "keys/gateway.seed", "nats/gateway.creds"].map(str::to_owned).into()
        );
        assert_eq!(of("migrate"), ["database.url", "secret.key"].map(str::to_owned).into());
        assert_eq!(of("nats"), ["certificates/nats.key", "nats.conf"].map(str::to_owned).into());
        let authority = fs::read_to_string(temporary.path().join("pki/ca.key")).unwrap();
        assert_eq!(files(temporary.path()).values().filter(|text| **text == authority).count(), 1);
        assert!(of("authority").contains("nats/keys/operator.seed"));
        let seeds = files(temporary.path()).into_iter().filter(|(path, text)| {
            let authority = path.starts_with(temporary.path().join("authority"));
            !authority && (text.contains("-SEED") || text.starts_with("SO") || text.starts_with("SA"))
        });
        assert!(seeds.count() == 0, "a key of an account or of the operator left the authority");
    }

    #[test]
    fn services_trust_each_other_and_the_database_gets_the_same_passwords() {
        let temporary = tempfile::tempdir().unwrap();
        run(&options(temporary.path())).unwrap();
        let keyring = |process: &str| Keyring::open(&temporary.path().join(process).join("keys")).unwrap();
        let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let token = keyring("incident").signer("incident").unwrap().service_token("sla", now);
        assert!(keyring("sla").verifier("sla").verify(&token, now).is_ok());
        assert!(keyring("sla").signer("incident").is_err(), "sla can sign as incident");
        let read = |path: &str| fs::read_to_string(temporary.path().join(path)).unwrap();
        let secret = random_once::<32>(&temporary.path().join("migrate/secret.key")).unwrap();
        let passwords = Passwords::new(secret, BTreeMap::new());
        assert_eq!(read("sla/sla_worker.password").trim(), passwords.of("sla_worker"));
        assert_eq!(read("provision/directory.password").trim(), passwords.of("directory"));
        let url = format!("postgres://itsm:{}@postgres:5432/itsm", read("postgres/password").trim());
        assert_eq!(read("migrate/database.url").trim(), url);
    }

    #[test]
    fn what_is_there_stays_and_what_was_removed_is_drawn_anew() {
        let temporary = tempfile::tempdir().unwrap();
        run(&options(temporary.path())).unwrap();
        let before = files(temporary.path());
        let seed = temporary.path().join("sla/keys/sla.seed");
        fs::remove_file(&seed).unwrap();
        run(&options(temporary.path())).unwrap();
        let after = files(temporary.path());
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
        for (path, text) in &after {
            let name = path.file_name().unwrap().to_string_lossy();
            // The process that wrote it last, and claims that say when they were signed.
            if name != "lock" && name != "nats.conf" {
                let anew = *path == seed || name == "sla.pub";
                assert_eq!(before[path] != *text, anew, "{}", path.display());
            }
        }
    }
}

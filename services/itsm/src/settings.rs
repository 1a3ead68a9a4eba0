//! All settings of the binary in one type: a section for each part, each with its defaults.
//!
//! It only says what there is. Reading is `kit::config`'s, the meaning of a service's section that
//! service's. `deploy/config/itsm.toml` shows every key; a test holds it to the defaults here.

pub mod retention;
pub mod tls;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use kit::{
    config::{ConfigError, Secret},
    telemetry::Format,
};
use serde::{Deserialize, Serialize};

use crate::{embedded::folder::DataPaths, observe};
use retention::Retention;
use tls::Tls;

/// Variables that other tools use too, or that are nicer to say, and the keys they set.
const ALIASES: [(&str, &str); 5] = [
    ("DATABASE_URL", "ITSM_DATABASE__URL"),
    ("NATS_URL", "ITSM_NATS__URL"),
    ("RUST_LOG", "ITSM_LOG__FILTER"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "ITSM_TRACING__OTLP_ENDPOINT"),
    ("ITSM_SECRET_KEY_FILE", "ITSM_SECRETS__KEY_FILE"),
];

/// Everything that can be set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What is logged, and how.
    pub log: Log,
    /// Where this process shows its numbers.
    pub metrics: observe::Metrics,
    /// Where its spans go.
    pub tracing: observe::Tracing,
    /// Where the keys are that nothing else may see.
    pub secrets: Secrets,
    /// Which Postgres.
    pub database: Database,
    /// Which NATS.
    pub nats: Nats,
    /// Where the services are, when they do not share a data folder.
    pub services: Services,
    /// How calls between services over TCP are kept from others.
    pub tls: Tls,
    /// How long things are kept.
    pub retention: Retention,
    /// The edge.
    pub gateway: gateway::Settings,
    /// Tenants, people, teams and keys.
    pub directory: directory::Settings,
    /// Business services and configuration items.
    pub catalog: catalog::Settings,
    /// Alerts and their intake.
    pub alert: alert::Settings,
    /// Incidents.
    pub incident: incident::Settings,
    /// Changes.
    pub change: change::Settings,
    /// Service levels.
    pub sla: sla::Settings,
    /// Messages to people and webhooks.
    pub notification: notification::Settings,
}

impl Settings {
    /// The settings with what depends on the place filled in where nothing else was said.
    #[must_use]
    pub fn at(mut self, paths: &DataPaths, secret: &[u8]) -> Self {
        let notification = &mut self.notification;
        if notification.mail_folder == notification::Settings::default().mail_folder {
            notification.mail_folder = paths.mail();
        }
        if notification.secret_key.is_empty() {
            notification.secret_key = Secret::new(HEXLOWER.encode(secret));
        }
        self
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// Levels by part of the program, such as `info,sqlx=debug`; empty means warnings at a terminal
    /// and `info` elsewhere. The variable `RUST_LOG` sets it too.
    pub filter: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text at a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Log {
    /// The form, now that it is known where standard error goes.
    pub fn format(&self) -> Format {
        match self.format {
            LogFormat::Json => Format::Json,
            LogFormat::Text => Format::Text,
            LogFormat::Auto if std::io::stderr().is_terminal() => Format::Text,
            LogFormat::Auto => Format::Json,
        }
    }

    /// Starts the log of the process.
    ///
    /// # Errors
    /// A filter that cannot be read.
    pub fn start(&self) -> anyhow::Result<()> {
        let at_terminal = self.filter.is_empty() && std::io::stderr().is_terminal();
        kit::telemetry::init(self.format(), if at_terminal { "warn" } else { &self.filter })?;
        Ok(())
    }
}

/// Where the keys are that nothing else may see.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Secrets {
    /// A file with 64 hexadecimal digits. It seals stored secrets and makes the passwords of the
    /// database roles, so all processes of an installation need the same. Default: `secret.key` in
    /// the data folder, drawn at the first start. The variable `ITSM_SECRET_KEY_FILE` sets it too.
    pub key_file: Option<PathBuf>,
    /// A folder with `<service>.seed` (the signing key of each service that this process runs) and
    /// `<service>.pub` (the public keys of all). Default: `keys` in the data folder, made there.
    pub signing_keys_folder: Option<PathBuf>,
}

/// Which Postgres.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// The database, as `postgres://user:password@host:port/name`. Empty: `itsm up` runs a Postgres
    /// of its own. `migrate`, `provision` and the provisioner use its user, who may create roles
    /// and schemas; services replace user and password by their own. `DATABASE_URL` sets it too.
    pub url: Secret,
    /// Passwords of roles by name, where they shall not come from the secret key.
    pub passwords: BTreeMap<String, Secret>,
    /// How many connections each role may have, over all replicas. A service's process takes up to
    /// 8 for each of its two roles.
    pub role_connections: u16,
    /// A folder with Postgres binaries for `itsm up`. Default: looked for in PATH and where
    /// distributions put them.
    pub binaries: Option<PathBuf>,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: Secret::default(), passwords: BTreeMap::new(), role_connections: 40, binaries: None }
    }
}

/// Which NATS.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nats {
    /// The server, as `nats://user:password@host:port`. Empty: `itsm up` runs a nats-server of its
    /// own, and `itsm serve` finds that by `nats.url` in the data folder. `NATS_URL` sets it too.
    pub url: Secret,
    /// A folder with `<service>.creds`, where the server wants credentials. Default: those of the
    /// data folder when it has the keys that the server trusts, else none.
    pub credentials_folder: Option<PathBuf>,
    /// A folder with `ca.crt` and, of each part that the process runs, `<part>.crt` and `<part>.key`,
    /// where the server speaks TLS and asks for certificates. They are read at each connect. Default:
    /// none, and what the URL says.
    pub certificates_folder: Option<PathBuf>,
    /// A folder with the seeds of the operator and of its accounts, as `itsm secrets` makes them, for the
    /// provisioner alone: it takes them into its data folder, where it keeps the tenants' accounts.
    /// Default: those of the data folder.
    pub operator_keys_folder: Option<PathBuf>,
    /// How many servers keep a copy of each stream: 1, or 3 in a cluster.
    pub replicas: usize,
    /// The nats-server binary for `itsm up`. Default: looked for in PATH and in `.tools/bin`.
    pub binary: Option<PathBuf>,
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            credentials_folder: None,
            certificates_folder: None,
            operator_keys_folder: None,
            replicas: 1,
            binary: None,
        }
    }
}

/// Where the services are, when they do not share a data folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Services {
    /// The address at which a service of this process listens, by its name. Default: a Unix socket
    /// in the data folder. Beyond loopback it needs certificates, see [`Tls`].
    pub listen: BTreeMap<String, SocketAddr>,
    /// Where a service is reached, by its name, as `https://host:port` (with certificates),
    /// `http://host:port` or `unix:/path`. Default: its socket in the data folder.
    pub addresses: BTreeMap<String, String>,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// They cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A name that is none of a service.
    #[error("`{section}.{name}`: there is no such service; services are {known}")]
    Service {
        /// The section.
        section: &'static str,
        /// The name found.
        name: String,
        /// The names there are.
        known: String,
    },
    /// Streams are kept once or three times.
    #[error("`nats.replicas` must be 1, or 3 in a cluster; it is {0}")]
    Replicas(usize),
    /// Periods that do not go together.
    #[error(transparent)]
    Retention(#[from] retention::Disorder),
    /// Calls that others could read.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// A ratio that is none.
    #[error(transparent)]
    Ratio(#[from] observe::Ratio),
}

/// Reads the settings from a file, if one is given, and from variables.
///
/// # Errors
/// Says which key is wrong, and what would be right.
pub fn load(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Settings, Error> {
    let variables = named(environment).into_iter().map(|variable| (variable.name, variable.value));
    let settings: Settings = kit::config::load(file, variables)?;
    let known = || proto::SERVICES.iter().copied();
    let named = settings.services.listen.keys().map(|name| ("services.listen", name));
    let named = named.chain(settings.services.addresses.keys().map(|name| ("services.addresses", name)));
    for (section, name) in named {
        if !known().any(|service| service == name) {
            let known = known().collect::<Vec<_>>().join(", ");
            return Err(Error::Service { section, name: name.clone(), known });
        }
    }
    if ![1, 3].contains(&settings.nats.replicas) {
        return Err(Error::Replicas(settings.nats.replicas));
    }
    settings.retention.check()?;
    settings.tls.check(&settings.services)?;
    settings.tracing.check()?;
    Ok(settings)
}

/// A variable of the environment.
#[derive(Debug)]
pub struct Variable {
    /// Its full name.
    pub name: String,
    /// The name by which it was given.
    pub given: String,
    /// Its value, as it was written.
    pub value: String,
}

/// The variables with the aliases under their full names; a full name that is set itself wins, and
/// an empty alias says nothing.
pub fn named(environment: impl Iterator<Item = (String, String)>) -> Vec<Variable> {
    let variables: Vec<(String, String)> = environment.collect();
    let set: BTreeSet<String> = variables.iter().map(|(name, _)| name.to_uppercase()).collect();
    let full_name = |name: &str| ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, full)| *full);
    variables
        .into_iter()
        .filter_map(|(given, value)| match full_name(&given) {
            Some(full) if set.contains(full) || value.is_empty() => None,
            Some(full) => Some(Variable { name: full.to_owned(), given, value }),
            None => Some(Variable { name: given.clone(), given, value }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::{Table, Value};

    const SAMPLE: &str = include_str!("../../../deploy/config/itsm.toml");

    fn from(file: &str, variables: &[(&str, &str)]) -> Result<Settings, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("itsm.toml");
        std::fs::write(&path, file).unwrap();
        load(Some(&path), variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_sample_names_every_key_with_its_default() {
        let defaults = Table::try_from(Settings::default()).unwrap();
        let written: Table = SAMPLE.parse().unwrap();
        assert_eq!(written, defaults, "deploy/config/itsm.toml is not what the program does without it");
    }

    /// What has no default stands there as a comment: `# key = value`.
    #[test]
    fn the_samples_comments_are_settings_too() {
        let shown: String = SAMPLE
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => rest,
                _ => line,
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let settings = from(&shown, &[]).unwrap();
        assert!(settings.secrets.key_file.is_some() && settings.secrets.signing_keys_folder.is_some());
        assert!(settings.database.binaries.is_some() && settings.nats.binary.is_some());
        assert!(settings.nats.credentials_folder.is_some() && settings.gateway.tls_cert.is_some());
        assert!(settings.metrics.listen.is_some());
        assert!(settings.nats.operator_keys_folder.is_some() && settings.nats.certificates_folder.is_some());
        assert!(!settings.services.listen.is_empty() && !settings.services.addresses.is_empty());
        assert!(settings.tls.certificates_folder.is_some());
        assert!(!settings.database.passwords.is_empty() && !settings.retention.tenants.is_empty());
    }

    /// What Kubernetes gives the pods; the files they name are the mounted secrets.
    #[test]
    fn the_settings_for_kubernetes_load() {
        const MOUNTED: &str = "/run/secrets/itsm";
        let secrets = tempfile::tempdir().unwrap();
        let here = secrets.path().to_str().unwrap();
        for name in ["database.url", "directory.password", "directory_worker.password", "sla.password", "smtp-url"] {
            std::fs::write(secrets.path().join(name), format!("{name} of a secret\n")).unwrap();
        }
        let load = |file: &str, variables: &[(&str, &str)]| {
            let variables: Vec<_> =
                variables.iter().map(|(name, value)| (*name, value.replace(MOUNTED, here))).collect();
            let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            from(&file.replace(MOUNTED, here), &variables).unwrap()
        };

        let variables = [
            ("ITSM_DATABASE__PASSWORDS__SLA__FILE", "/run/secrets/itsm/sla.password"),
            ("ITSM_NOTIFICATION__SMTP_URL__FILE", "/run/secrets/itsm/smtp-url"),
        ];
        let service = load(include_str!("../../../deploy/config/kubernetes.toml"), &variables);
        assert_eq!(service.database.passwords["sla"].expose(), "sla.password of a secret");
        assert_eq!(service.notification.smtp_url.expose(), "smtp-url of a secret");
        assert!(!service.database.url.expose().contains('@'), "a service's own settings hold a password");
        for name in proto::SERVICES {
            assert_eq!(service.services.listen[name].port(), 9100);
            assert_eq!(service.services.addresses[name], format!("https://itsm-{name}:9100"));
        }
        service.gateway.check().unwrap();

        let provisioner = load(include_str!("../../../deploy/config/kubernetes-provisioner.toml"), &[]);
        assert!(provisioner.nats.operator_keys_folder.is_some() && provisioner.database.passwords.len() == 2);
        let migrate = load(include_str!("../../../deploy/config/kubernetes-migrate.toml"), &[]);
        assert!(migrate.secrets.key_file.is_some());
        for settings in [provisioner, migrate] {
            assert_eq!(settings.database.url.expose(), "database.url of a secret");
        }
    }

    #[test]
    fn the_containers_settings_lead_to_every_service() {
        let settings = from(include_str!("../../../deploy/compose/itsm.toml"), &[]).unwrap();
        let names: Vec<&str> = settings.services.listen.keys().map(String::as_str).collect();
        assert_eq!(BTreeSet::from_iter(names), BTreeSet::from(proto::SERVICES));
        for (name, address) in &settings.services.addresses {
            let port = settings.services.listen[name].port();
            assert!(address.ends_with(&format!("://{name}:{port}")), "{address}");
        }
        assert_eq!(settings.services.addresses.len(), settings.services.listen.len());
        assert_eq!(settings.gateway.check(), Ok(()));
    }

    #[test]
    fn each_key_of_the_sample_is_explained() {
        let mut explained = false;
        for line in SAMPLE.lines() {
            match line.chars().next() {
                None => explained = false,
                Some('#') => explained = true,
                Some('[') => {}
                Some(_) => assert!(explained, "nothing explains `{line}`"),
            }
        }
    }

    #[test]
    fn well_known_variables_are_read_and_full_names_win() {
        let settings = from("", &[("DATABASE_URL", "postgres:///a"), ("NATS_URL", ""), ("RUST_LOG", "debug")]).unwrap();
        assert_eq!((settings.database.url.expose(), settings.nats.url.expose()), ("postgres:///a", ""));
        assert_eq!(settings.log.filter, "debug");
        let both = [("DATABASE_URL", "postgres:///a"), ("ITSM_DATABASE__URL", "postgres:///b")];
        assert_eq!(from("", &both).unwrap().database.url.expose(), "postgres:///b");
        let file = "[database]\nurl = 'postgres:///file'";
        assert_eq!(from(file, &[("DATABASE_URL", "")]).unwrap().database.url.expose(), "postgres:///file");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let said = |file: &str| from(file, &[]).unwrap_err().to_string();
        assert!(said("[incidnt]").contains("did you mean `incident`?"));
        assert!(said("[services.listen]\nincidents = '127.0.0.1:1'").contains("`services.listen.incidents`"));
        assert!(said("[nats]\nreplicas = 2").contains("nats.replicas"));
        assert!(said("[services.listen]\nsla = '0.0.0.0:1'").contains("`services.listen.sla`"));
        assert!(said("[retention]\nfeeds = '7d'").contains("`retention.feeds`"));
        assert!(said("[tracing]\nsample_ratio = 2.0").contains("tracing.sample_ratio"));
    }

    #[test]
    fn secrets_do_not_show() {
        let settings =
            from("[database]\nurl = 'postgres://u:hunter2@h/d'\npasswords = { a = 'hunter2' }", &[]).unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
        assert!(!matches!(Value::try_from(&settings), Ok(value) if value.to_string().contains("hunter2")));
    }
}

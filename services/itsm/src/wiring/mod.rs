//! How services are put together in one process: the table of them, what each is started with, and
//! the order in which they stop. Here is the only place that knows all services.
//!
//! It decides nothing about records and does not know whether its servers are embedded or not.

pub mod keyring;
pub mod place;
pub mod process;
pub mod steward;

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use kit::{problem::BoxError, retention::Retention, service::Context};
use sqlx::migrate::Migrator;

use crate::{
    provisioner::{partitions::Kept, rights},
    settings::Settings,
};
use keyring::Keyring;

/// The name of the edge among the parts of an installation.
pub const GATEWAY: &str = kit::tls::GATEWAY;
/// The name of the maker of streams and partitions among the parts of an installation.
pub const PROVISIONER: &str = "provisioner";

/// A service that owns data.
pub struct Service {
    /// Its name: schema, database role, NATS user, section of the settings.
    pub name: &'static str,
    /// Its schema.
    pub migrator: &'static Migrator,
    /// What it says about how long its things are needed.
    pub retention: &'static Retention,
    start: for<'a> fn(Context, &'a Parts, &'a mut Apps) -> BoxFuture<'a, Result<(), BoxError>>,
}

/// What some services need besides their context.
pub struct Parts {
    /// All settings.
    pub settings: Settings,
    /// The signing keys.
    pub keyring: Keyring,
}

/// The services of this process that the process itself speaks to.
#[derive(Default)]
pub struct Apps {
    /// Who there is.
    pub directory: Option<Arc<directory::App>>,
    /// Where alerts come in.
    pub alert: Option<Arc<alert::App>>,
    /// Agreements and clocks.
    pub sla: Option<Arc<sla::App>>,
    /// Who is told.
    pub notification: Option<Arc<notification::App>>,
}

/// Every service that owns data, in the order in which they start: a row each.
pub const SERVICES: &[Service] = &[
    Service {
        name: "directory",
        migrator: &directory::MIGRATOR,
        retention: &directory::store::retention::RETENTION,
        start: |context, parts, apps| {
            async move {
                let signer = parts.keyring.signer("directory")?;
                apps.directory = Some(directory::start(context, parts.settings.directory.clone(), signer).await?);
                Ok(())
            }
            .boxed()
        },
    },
    Service {
        name: "catalog",
        migrator: &catalog::MIGRATOR,
        retention: &catalog::store::retention::RETENTION,
        start: |context, parts, _| {
            async move { catalog::start(context, parts.settings.catalog.clone()).await.map(drop) }.boxed()
        },
    },
    Service {
        name: "alert",
        migrator: &alert::MIGRATOR,
        retention: &alert::store::retention::RETENTION,
        start: |context, parts, apps| {
            async move {
                apps.alert = Some(alert::start(context, parts.settings.alert.clone()).await?);
                Ok(())
            }
            .boxed()
        },
    },
    Service {
        name: "incident",
        migrator: &incident::MIGRATOR,
        retention: &incident::store::retention::RETENTION,
        start: |context, parts, _| {
            async move { incident::start(context, parts.settings.incident.clone()).await.map(drop) }.boxed()
        },
    },
    Service {
        name: "change",
        migrator: &change::MIGRATOR,
        retention: &change::store::retention::RETENTION,
        start: |context, parts, _| {
            async move { change::start(context, parts.settings.change.clone()).await.map(drop) }.boxed()
        },
    },
    Service {
        name: "sla",
        migrator: &sla::MIGRATOR,
        retention: &sla::store::retention::RETENTION,
        start: |context, parts, apps| {
            async move {
                apps.sla = Some(sla::start(context, parts.settings.sla.clone()).await?);
                Ok(())
            }
            .boxed()
        },
    },
    Service {
        name: "notification",
        migrator: &notification::MIGRATOR,
        retention: &notification::store::retention::RETENTION,
        start: |context, parts, apps| {
            async move {
                apps.notification = Some(notification::start(context, parts.settings.notification.clone()).await?);
                Ok(())
            }
            .boxed()
        },
    },
];

/// The service of this name.
pub fn service(name: &str) -> Option<&'static Service> {
    SERVICES.iter().find(|service| service.name == name)
}

/// The names of the schemas.
pub fn schemas() -> &'static [&'static str] {
    static NAMES: std::sync::OnceLock<Vec<&'static str>> = std::sync::OnceLock::new();
    NAMES.get_or_init(|| SERVICES.iter().map(|service| service.name).collect())
}

/// The schemas with how long their things are needed, for who keeps their partitions and prunes.
pub fn kept() -> &'static [Kept] {
    static KEPT: std::sync::OnceLock<Vec<Kept>> = std::sync::OnceLock::new();
    KEPT.get_or_init(|| SERVICES.iter().map(|service| (service.name, service.retention)).collect())
}

/// Who may call a service: those that follow it, and the edge.
pub fn callers(service: &str) -> Vec<&'static str> {
    let followers = rights::SERVICES.iter().filter(|other| other.sources.contains(&service));
    followers.map(|follower| follower.name).chain([GATEWAY]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    use regex::Regex;

    #[test]
    fn every_service_of_the_contract_has_its_row() {
        assert_eq!(schemas(), proto::SERVICES);
        for service in SERVICES {
            assert_eq!(service.migrator.table_name, format!("{}._migrations", service.name));
            assert!(rights::service(service.name).is_some(), "{} has no subjects", service.name);
        }
    }

    /// The text of every source file of a service.
    fn sources(folder: &Path) -> String {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let text = |path: std::path::PathBuf| match path.is_dir() {
            true => sources(&path),
            false => fs::read_to_string(path).unwrap(),
        };
        entries.map(text).collect()
    }

    /// A right that nobody uses is one to lose; a call without one hangs or is refused.
    #[test]
    fn rights_are_those_that_services_use() {
        let call = Regex::new(r#"(?:follow|lookup|position|snapshot|feed)\(\s*"([a-z]+)""#).unwrap();
        for service in rights::SERVICES {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(service.name).join("src");
            let text = sources(&folder);
            let used: BTreeSet<&str> = call.captures_iter(&text).map(|found| found.extract::<1>().1[0]).collect();
            assert_eq!(used, service.sources.iter().copied().collect(), "{}", service.name);
        }
    }

    #[test]
    fn callers_are_those_who_follow_and_the_edge() {
        assert_eq!(callers("notification"), [GATEWAY]);
        assert_eq!(callers("incident"), ["sla", "notification", GATEWAY]);
    }
}

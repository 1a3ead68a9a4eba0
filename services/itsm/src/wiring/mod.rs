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

use crate::{provisioner::partitions::Kept, settings::Settings};
use keyring::Keyring;

/// The name of the edge among the parts of an installation.
pub const GATEWAY: &str = "gateway";
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_of_the_contract_has_its_row() {
        assert_eq!(schemas(), proto::SERVICES);
        for service in SERVICES {
            assert_eq!(service.migrator.table_name, format!("{}._migrations", service.name));
            assert!(crate::provisioner::rights::service(service.name).is_some(), "{} has no subjects", service.name);
        }
    }
}

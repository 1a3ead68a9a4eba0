//! The two things that everything else stands on, each brought up by itself: the database and NATS.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use futures::future::FutureExt as _;
use kit::{
    clock::{DatabaseClock, pause},
    db::{Database, is_away},
    id::Tenant,
    service::Readiness,
};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{progress::Progress, servers::Watched};
use crate::{
    embedded::{folder::DataFolder, nats::Nats, postgres::Postgres},
    migrate,
    provision::{self, ADMINISTRATOR_EMAIL, Administrator, FIRST_TENANT, SeedMark},
    provisioner::{authority::Authority, reconcile},
    settings::Settings,
    wiring::place::{Bus, database_at, passwords, service_database},
};

/// How long somebody else's database may take to answer.
const DATABASE_WITHIN: Duration = Duration::from_secs(60);

/// The first tenant, and whether it was made now.
pub struct First {
    /// Which one.
    pub tenant: Tenant,
    /// Whether it was made now.
    pub made: bool,
    /// Whether it still lacks what it shall start with.
    pub bare: bool,
}

/// A database that is ready: migrated, with its first tenant.
pub struct DatabaseUp {
    /// The server, where it is ours.
    pub server: Option<Watched>,
    /// How its administrator connects.
    pub options: PgConnectOptions,
    /// The way into the schema of the directory.
    pub directory: Database,
    /// The first tenant.
    pub first_tenant: First,
}

/// Starts Postgres or waits for the one that is given, migrates it and makes the first tenant.
///
/// # Errors
/// Says which step failed; what it started has then been stopped.
pub async fn database(
    folder: &Arc<DataFolder>,
    settings: &Settings,
    seed: bool,
    progress: &Progress,
    (readiness, failed): (&Readiness, &CancellationToken),
) -> anyhow::Result<DatabaseUp> {
    let mut server = None;
    let options = if settings.database.url.is_empty() {
        let binaries = settings.database.binaries.clone();
        let start = {
            let folder = Arc::clone(folder);
            move || {
                let (folder, binaries) = (Arc::clone(&folder), binaries.clone());
                async move { Postgres::start(&folder, binaries.as_deref()).await }.boxed()
            }
        };
        let postgres = progress.step("Postgres", start()).await.context("cannot start Postgres")?;
        let options = postgres.admin_options();
        server = Some(Watched::new(postgres, Box::new(start), readiness.clone(), failed.clone()));
        options
    } else {
        let options = database_at(&settings.database.url)?;
        progress.step("database", wait_for(&options)).await?;
        options
    };
    let made = async {
        let passwords = passwords(settings, folder)?;
        let migrated = migrate::run(&options, &passwords, settings.database.role_connections);
        progress.step("schemas", migrated).await.context("cannot migrate the database")?;
        let directory = service_database("directory", &options, &passwords);
        let first = progress.step("first tenant", first_tenant(&directory, folder, seed)).await?;
        Ok((directory, first))
    };
    match made.await {
        Ok((directory, first_tenant)) => Ok(DatabaseUp { server, options, directory, first_tenant }),
        Err(error) => {
            if let Some(server) = server {
                server.stop().await?;
            }
            Err(error)
        }
    }
}

async fn first_tenant(directory: &Database, folder: &DataFolder, seed: bool) -> anyhow::Result<First> {
    let clock = DatabaseClock::default();
    clock.synchronise(&directory.calls).await.context("the directory cannot use its database role")?;
    let wanted = Administrator { tenant: FIRST_TENANT, name: "Administrator", email: ADMINISTRATOR_EMAIL, team: seed };
    let mark = SeedMark::of(folder);
    let begun = mark.is_set();
    if seed {
        mark.set()?;
    }
    let (tenant, made) = provision::first_administrator(directory, &clock, wanted, &folder.admin_key()).await?;
    let bare = seed && (made || begun);
    if !bare {
        mark.remove()?;
    }
    Ok(First { tenant, made, bare })
}

/// Waits for a database of somebody else that does not answer yet.
async fn wait_for(options: &PgConnectOptions) -> anyhow::Result<()> {
    let deadline = Instant::now() + DATABASE_WITHIN;
    loop {
        match PgConnection::connect_with(options).await {
            Ok(connection) => return Ok(connection.close().await?),
            Err(error) if is_away(&error) && Instant::now() < deadline => pause(Duration::from_millis(250)).await,
            Err(error) => return Err(error).context("cannot reach the database that DATABASE_URL names"),
        }
    }
}

/// A NATS that is ready: with its accounts and streams.
pub struct NatsUp {
    /// The server, where it is ours.
    pub server: Option<Watched>,
    /// Its provisioner.
    pub provisioner: reconcile::Provisioner,
    /// How each part gets in.
    pub bus: Bus,
}

/// Starts NATS or takes the one that is given, and makes accounts and streams.
///
/// # Errors
/// Says which step failed; what it started has then been stopped.
pub async fn nats(
    folder: &Arc<DataFolder>,
    settings: &Settings,
    progress: &Progress,
    (readiness, failed): (&Readiness, &CancellationToken),
) -> anyhow::Result<NatsUp> {
    let mut server = None;
    let bus = if settings.nats.url.is_empty() {
        let authority = Arc::new(Authority::open(folder)?);
        authority.issue_internal()?;
        let start = {
            let (folder, authority, binary) =
                (Arc::clone(folder), Arc::clone(&authority), settings.nats.binary.clone());
            move || {
                let (folder, authority, binary) = (Arc::clone(&folder), Arc::clone(&authority), binary.clone());
                async move { Nats::start(&folder, binary.as_deref(), &authority.trust()?).await }.boxed()
            }
        };
        let nats = progress.step("NATS", start()).await.context("cannot start NATS")?;
        let url = nats.url().to_owned();
        let bus = Bus::operated(url.clone(), authority);
        let again = move || {
            let (started, url) = (start(), url.clone());
            async move {
                let nats = started.await?;
                if nats.url() != url {
                    // Everybody goes on trying at the old one.
                    nats.stop().await?;
                    bail!("another program took the port of NATS, {url}");
                }
                Ok(nats)
            }
            .boxed()
        };
        server = Some(Watched::new(nats, Box::new(again), readiness.clone(), failed.clone()));
        bus
    } else {
        Bus::find(settings, folder)?
    };
    let wanted = reconcile::Settings {
        access: bus.access(),
        replicas: settings.nats.replicas,
        marks_path: Some(folder.nats().join("streams.json")),
    };
    match progress.step("streams", reconcile::Provisioner::start(wanted)).await {
        Ok(provisioner) => Ok(NatsUp { server, provisioner, bus }),
        Err(error) => {
            if let Some(server) = server {
                server.stop().await?;
            }
            Err(error.context("cannot make the streams"))
        }
    }
}

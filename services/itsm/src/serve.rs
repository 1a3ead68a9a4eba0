//! `itsm serve`: some services in one process, with servers that are there already.
//!
//! They find each other by their sockets in one data folder, or by addresses in the settings.

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use clap::{Args, builder::PossibleValuesParser};
use data_encoding::HEXLOWER;
use kit::{
    clock::pause,
    service::{Readiness, Tasks},
};
use sqlx::postgres::PgConnectOptions;

use crate::{
    health, observe,
    provisioner::reconcile,
    settings::Settings,
    signals::Signals,
    wiring::{
        GATEWAY, PROVISIONER, SERVICES,
        place::{Bus, database_at, passwords, service_database, shared_folder},
        process::Process,
        service, steward,
    },
};

const POLL: Duration = Duration::from_millis(20);
const PROVISIONER_STOPS_WITHIN: Duration = Duration::from_secs(3);

/// Runs some services, with the database and the NATS that are there.
#[derive(Debug, Args)]
#[command(
    after_help = "Example, one process each, on one machine:\n  export DATABASE_URL=postgres://admin@db/itsm NATS_URL=nats://nats:4222\n  \
                        itsm migrate\n  itsm serve provisioner\n  itsm serve directory incident\n  itsm serve gateway"
)]
pub struct Options {
    /// What to run: services by name, `provisioner`, `gateway`, or `all`.
    #[arg(required = true, value_name = "NAME", value_parser = PossibleValuesParser::new(names()))]
    names: Vec<String>,
    /// The folder with keys and sockets, shared by all processes on this machine.
    #[arg(long, value_name = "DIR", default_value = "./var")]
    data: PathBuf,
}

const ALL: &str = "all";

fn names() -> Vec<&'static str> {
    SERVICES.iter().map(|service| service.name).chain([PROVISIONER, GATEWAY, ALL]).collect()
}

impl Options {
    /// What the process is called where several are watched.
    pub fn process_name(&self) -> String {
        match self.names.as_slice() {
            [name] if name != ALL => format!("itsm-{name}"),
            _ => "itsm".to_owned(),
        }
    }

    fn runs(&self, name: &str) -> bool {
        self.names.iter().any(|wanted| wanted == name || wanted == ALL)
    }
}

/// `itsm serve`.
///
/// # Errors
/// Says what could not be started, or what ended; the rest has then been stopped.
pub async fn run(options: Options, settings: Settings) -> anyhow::Result<ExitCode> {
    settings.gateway.check().context("the settings of the gateway")?;
    let mut signals = Signals::new()?;
    let paths = shared_folder(&options.data).await?;
    let needs_database = options.runs(PROVISIONER) || SERVICES.iter().any(|service| options.runs(service.name));
    let database = match settings.database.url.is_empty() {
        true if needs_database => bail!("no database: set DATABASE_URL"),
        true => None,
        false => Some(database_at(&settings.database.url)?),
    };
    let bus = Bus::find(&settings, &paths)?;
    let holder = holder()?;
    let directory = match &database {
        Some(database) => Some(service_database("directory", database, &passwords(&settings, &paths)?)),
        None => None,
    };
    let wanted = reconcile::Settings {
        access: bus.access(),
        replicas: settings.nats.replicas,
        marks_path: Some(paths.nats().join("streams.json")),
    };
    let readiness = Readiness::default();
    let _port = observe::port::open(settings.metrics.listen, &readiness).await?;
    let retention = settings.retention.clone();
    let mut process = Process::new(settings, &paths, bus, holder.clone(), readiness.clone())?;
    let outcome = async {
        start(&mut process, &options, database.as_ref()).await?;
        let beside = Tasks::default();
        let provisioner = async {
            match (directory, &database) {
                (Some(directory), Some(database)) if options.runs(PROVISIONER) => {
                    let owner = (steward::owner_pool(database), retention);
                    readiness.waits_for(PROVISIONER, "streams", "the lease, or NATS");
                    steward::run_one_of_several(wanted, directory, owner, holder, beside.stopping(), &readiness).await
                }
                _ => std::future::pending().await,
            }
        };
        tokio::pin!(provisioner);
        let failed = process.failed();
        let announced = async {
            while !readiness.waiting().is_empty() {
                pause(POLL).await;
            }
            announce(&options.names)?;
            std::future::pending::<anyhow::Result<()>>().await
        };
        let outcome = tokio::select! {
            signal = signals.next() => {
                tracing::info!(signal, "stopping");
                Ok(())
            }
            () = failed => Err(anyhow::anyhow!("a task ended that must not; see the log")),
            ended = &mut provisioner => ended.context("the provisioner ended"),
            ended = announced => ended,
            () = health::keep(&paths, &options.names, &readiness) => Ok(()),
        };
        beside.stopping().cancel();
        if options.runs(PROVISIONER) && outcome.is_ok() {
            // So that another can take the lease at once.
            drop(tokio::time::timeout(PROVISIONER_STOPS_WITHIN, provisioner).await);
        }
        outcome
    }
    .await;
    process.stop().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn start(process: &mut Process, options: &Options, database: Option<&PgConnectOptions>) -> anyhow::Result<()> {
    for name in SERVICES.iter().map(|service| service.name) {
        if options.runs(name)
            && let (Some(service), Some(database)) = (service(name), database)
        {
            process.start_service(service, database).await?;
        }
    }
    if options.runs(GATEWAY) {
        let gateway = process.start_gateway().await?;
        tracing::info!(url = gateway.url(), "the gateway listens");
    }
    Ok(())
}

/// Among replicas: the machine's or pod's name, for people, and a random part, since a killed
/// process' namesake must not be taken for it.
fn holder() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 4];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    let host = nix::sys::utsname::uname().context("the system does not say its name")?;
    Ok(format!("{}-{}", host.nodename().to_string_lossy(), HEXLOWER.encode(&bytes)))
}

fn announce(names: &[String]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready {}", names.join(" ")).and_then(|()| out.flush()).context("cannot write to standard output")
}

//! `itsm up`: everything on one machine, in one process, with servers of its own.
//!
//! It brings things up in the order in which they need each other, and takes them down in the
//! other one. What the parts do is theirs.

mod bring;
mod progress;
mod ready;
mod servers;

use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Args;
use kit::service::{Readiness, Tasks};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    demo,
    embedded::{
        child::end_leftovers,
        folder::{DataFolder, write_private},
    },
    observe,
    provision::{self, DEMO_INTEGRATION},
    provisioner::reconcile,
    settings::Settings,
    signals::Signals,
    wiring::{SERVICES, process::Process, steward},
};
use progress::Progress;
use servers::Watched;

const PROVISIONER_STOPS_WITHIN: Duration = Duration::from_secs(2);

/// Starts everything on this machine and prints `ready http://ADDR`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  itsm up\n  itsm up --demo\n  itsm up --data /srv/itsm --listen 0.0.0.0:8080 --behind-proxy\n\n\
                        DATABASE_URL and NATS_URL replace the embedded servers.\n\
                        Exit codes: 0 after Ctrl-C or SIGTERM, 1 when something failed."
)]
pub struct Options {
    /// The folder that keeps everything.
    #[arg(long, value_name = "DIR", default_value = "./var")]
    data: PathBuf,
    /// The address of the one public port; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Play a night of alerts through the public API once it is ready.
    #[arg(long)]
    demo: bool,
    /// Make tenant and administrator only: no team, agreement, rule and integration.
    #[arg(long, conflicts_with = "demo")]
    no_seed: bool,
    /// A proxy in front ends TLS, so an address beyond loopback may go without.
    #[arg(long)]
    behind_proxy: bool,
    /// The certificate chain of the port, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl Options {
    /// What the command line says goes before what the settings say.
    fn over(&self, mut settings: Settings) -> Settings {
        let gateway = &mut settings.gateway;
        gateway.listen = self.listen.unwrap_or(gateway.listen);
        gateway.behind_proxy |= self.behind_proxy;
        if self.tls_cert.is_some() {
            (gateway.tls_cert, gateway.tls_key) = (self.tls_cert.clone(), self.tls_key.clone());
        }
        if self.demo {
            // The demo's own receiver listens on loopback.
            settings.notification.webhook_allow.push("127.0.0.0/8".to_owned());
        }
        settings
    }
}

/// `itsm up`.
///
/// # Errors
/// Says what could not be started; what was started has then been stopped.
pub async fn run(options: Options, settings: Settings) -> anyhow::Result<ExitCode> {
    let settings = options.over(settings);
    // Before anything is started: an address that will be refused is refused at once.
    settings.gateway.check().context("the settings of the gateway")?;
    refuse_taken(settings.gateway.listen)?;
    let mut signals = Signals::new()?;
    let folder = Arc::new(DataFolder::open(&options.data)?);
    let metrics = settings.metrics.listen;
    let progress = Progress::begin(settings.log.format());
    let mut up = Up::new(Arc::clone(&folder));
    let _port = observe::port::open(metrics, &up.readiness).await?;
    let brought = tokio::select! {
        biased;
        signal = signals.next() => Ok(Some(signal)),
        brought = up.bring(&options, settings, &progress) => brought.map(|()| None),
    };
    progress.end();
    let outcome = match brought {
        Ok(None) => up.stay(&options, &mut signals).await,
        Ok(Some(signal)) => {
            tracing::info!(signal, "stopping before everything was up");
            Ok(())
        }
        Err(error) => Err(error),
    };
    up.stop().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Says at once, and not after everything was started, that the address cannot be listened on.
fn refuse_taken(address: SocketAddr) -> anyhow::Result<()> {
    TcpListener::bind(address).map(drop).with_context(|| format!("cannot listen on {address}"))
}

/// What is up.
struct Up {
    folder: Arc<DataFolder>,
    readiness: Readiness,
    failed: CancellationToken,
    url: String,
    process: Option<Process>,
    beside: Tasks,
    provisioner: Option<reconcile::Provisioner>,
    nats: Option<Watched>,
    postgres: Option<Watched>,
}

impl Up {
    fn new(folder: Arc<DataFolder>) -> Self {
        Self {
            folder,
            readiness: Readiness::default(),
            failed: CancellationToken::new(),
            url: String::new(),
            process: None,
            beside: Tasks::default(),
            provisioner: None,
            nats: None,
            postgres: None,
        }
    }

    async fn bring(&mut self, options: &Options, settings: Settings, progress: &Progress) -> anyhow::Result<()> {
        end_leftovers(&self.folder.pids()).await.context("what an earlier run left behind is still there")?;
        let (database_settings, nats_settings) = (settings.clone(), settings.clone());
        let retention = settings.retention.clone();
        let (folder, readiness, failed) = (&self.folder, &self.readiness, &self.failed);
        let (postgres, nats) = tokio::join!(
            bring::database(folder, &database_settings, !options.no_seed, progress, (readiness, failed)),
            bring::nats(folder, &nats_settings, progress, (readiness, failed)),
        );
        // Both first, so that what did start is stopped when the other did not.
        let (postgres, nats) = match (postgres, nats) {
            (Ok(postgres), Ok(nats)) => (postgres, nats),
            (Ok(postgres), Err(error)) => {
                self.postgres = postgres.server;
                return Err(error);
            }
            (Err(error), Ok(nats)) => {
                (self.nats, self.provisioner) = (nats.server, Some(nats.provisioner));
                return Err(error);
            }
            (Err(error), Err(other)) => {
                tracing::error!(error = format!("{other:#}"), "NATS could not be started either");
                return Err(error);
            }
        };
        (self.postgres, self.nats) = (postgres.server, nats.server);
        let provisioner = self.provisioner.insert(nats.provisioner);
        let holder = self.folder.id().to_owned();
        let process = Process::new(settings, &self.folder, nats.bus, holder, self.readiness.clone())?;
        let process = self.process.insert(process);
        let first = postgres.first_tenant;
        progress
            .step("services", async {
                for service in SERVICES {
                    process.start_service(service, &postgres.options).await?;
                }
                let owner = (steward::owner_pool(&postgres.options), retention);
                steward::keep(provisioner, owner, postgres.directory, &self.beside);
                if first.bare {
                    provision::seed(process, &self.folder, &first.tenant).await.context("cannot seed the tenant")?;
                }
                if let Some(accounts) = provisioner.accounts() {
                    let slug = &first.tenant.slug;
                    steward::ensure_account(accounts, slug).await?;
                    accounts.issue_publisher(slug, DEMO_INTEGRATION, &self.folder.alerts_creds()).await?;
                }
                Ok(())
            })
            .await?;
        let gateway = process.start_gateway().await?;
        self.url = gateway.url();
        progress.step("answers", ready::wait(&gateway, &self.readiness, progress)).await?;
        if !first.made && !self.folder.admin_key().exists() {
            progress.say("the directory was there before: admin.key is not made anew");
        }
        tracing::info!(ready_ms = u64::try_from(progress.elapsed().as_millis()).unwrap_or(u64::MAX), "ready");
        Ok(())
    }

    /// Says that it is ready and waits until it shall end.
    async fn stay(&self, options: &Options, signals: &mut Signals) -> anyhow::Result<()> {
        // For clients beside it.
        write_private(&self.folder.root().join("url"), self.url.as_bytes())?;
        announce(&format!("ready {}", self.url))?;
        let failed = async {
            match &self.process {
                Some(process) => process.failed().await,
                None => std::future::pending().await,
            }
        };
        let demo = async {
            if options.demo {
                self.play().await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            signal = signals.next() => {
                tracing::info!(signal, "stopping");
                Ok(())
            }
            () = failed => bail!("a task ended that must not; see the log"),
            () = self.beside.failed() => bail!("the provisioner ended; see the log"),
            () = self.failed.cancelled() => bail!("an embedded server does not stay up; see the log"),
            () = demo => Ok(()),
        }
    }

    async fn play(&self) {
        let played = async {
            let path = self.folder.admin_key();
            let key = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            demo::run(&self.url, key.trim(), self.folder.root()).await
        };
        // What is up stays up, whatever the demo says.
        if let Err(error) = played.await {
            tracing::error!(error = format!("{error:#}"), "the demo did not come to its end");
        }
    }

    /// In order: intake and calls first, then the services, then what they stand on.
    async fn stop(self) {
        let begun = Instant::now();
        if let Some(process) = self.process {
            process.stop().await;
        }
        let provisioner = async {
            self.beside.stop().await;
            if let Some(provisioner) = self.provisioner {
                provisioner.stop().await;
            }
        };
        if tokio::time::timeout(PROVISIONER_STOPS_WITHIN, provisioner).await.is_err() {
            tracing::warn!("the provisioner was cut off");
        }
        for (name, server) in [("NATS", self.nats), ("Postgres", self.postgres)] {
            if let Some(server) = server
                && let Err(error) = server.stop().await
            {
                tracing::error!(server = name, error = format!("{error:#}"), "did not stop");
            }
        }
        tracing::info!(took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), "stopped");
    }
}

/// Tells whoever started us, on a line of its own.
fn announce(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write to standard output")
}

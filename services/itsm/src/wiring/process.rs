//! The services of one process: started one by one from the same parts, stopped in order.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    future::Future,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use kit::{
    bus,
    clock::{Clock, DatabaseClock, pause},
    peer::Peers,
    service::{Context, Listen, Readiness, Tasks},
    tls::Certificates,
    token::Verifier,
};
use nix::fcntl::{Flock, FlockArg};
use sqlx::{PgPool, postgres::PgConnectOptions};

use super::{
    Apps, GATEWAY, Parts, Service, callers,
    keyring::{Keyring, Passwords},
    place::{Bus, addresses, secret_key, service_database, socket_folder},
};
use crate::{embedded::folder::DataPaths, settings::Settings};

/// How often the clock is held to the database's.
const CLOCK_EVERY: Duration = Duration::from_secs(30);
/// Calls under way and work in hand get this long each.
const GATEWAY_STOPS_WITHIN: Duration = Duration::from_secs(3);
const SERVICES_STOP_WITHIN: Duration = Duration::from_secs(4);

/// The services of this process.
pub struct Process {
    parts: Parts,
    passwords: Passwords,
    bus: Bus,
    sockets: PathBuf,
    holder: String,
    addresses: HashMap<String, String>,
    clock: Arc<DatabaseClock>,
    clock_kept: bool,
    readiness: Readiness,
    services: Tasks,
    gateway: Tasks,
    apps: Apps,
    _sockets_held: Vec<Flock<File>>,
}

impl Process {
    /// Prepares a process that starts nothing yet. `holder` is its name among replicas;
    /// `readiness` is shared with what else the process waits for.
    ///
    /// # Errors
    /// Fails when keys or folders cannot be used.
    pub fn new(
        settings: Settings,
        paths: &DataPaths,
        bus: Bus,
        holder: String,
        readiness: Readiness,
    ) -> anyhow::Result<Self> {
        let keys = settings.secrets.signing_keys_folder.clone().unwrap_or_else(|| paths.keys());
        let sockets = socket_folder(paths)?;
        let secret = secret_key(&settings, paths)?;
        Ok(Self {
            passwords: Passwords::new(secret, settings.database.passwords.clone()),
            bus,
            holder,
            addresses: addresses(&sockets, &settings.services.addresses),
            sockets,
            clock: Arc::new(DatabaseClock::default()),
            clock_kept: false,
            readiness,
            services: Tasks::default(),
            gateway: Tasks::default(),
            apps: Apps::default(),
            parts: Parts { keyring: Keyring::open(&keys)?, settings: settings.at(paths, &secret) },
            _sockets_held: Vec::new(),
        })
    }

    /// Starts a service in the database that `options` lead to, whatever their user.
    ///
    /// # Errors
    /// Fails when another process runs it here, or as the service says.
    pub async fn start_service(&mut self, service: &'static Service, options: &PgConnectOptions) -> anyhow::Result<()> {
        let name = service.name;
        let database = service_database(name, options, &self.passwords);
        self.keep_clock(database.calls.clone());
        let certificates = self.certificates(name)?;
        let listen = match (self.parts.settings.services.listen.get(name), &certificates) {
            (Some(address), Some(certificates)) => Listen::Tls(*address, Arc::clone(certificates)),
            (Some(address), None) => Listen::Tcp(*address),
            (None, _) => {
                self._sockets_held.push(hold(&self.sockets, name)?);
                Listen::Unix(self.sockets.join(format!("{name}.sock")))
            }
        };
        let context = Context {
            service: name,
            clock: self.clock(),
            database,
            bus: bus::connect(name, &self.bus.options(name)).await.context("cannot use the credentials for NATS")?,
            peers: self.peers(name, certificates.as_ref())?,
            verifier: Arc::new(self.parts.keyring.verifier(name)),
            listen,
            holder: self.holder.clone(),
            readiness: self.readiness.clone(),
            tasks: self.services.clone(),
        };
        let started = (service.start)(context, &self.parts, &mut self.apps).await;
        started.map_err(|error| anyhow!(error)).with_context(|| format!("cannot start {name}"))
    }

    /// Starts the one public port.
    ///
    /// # Errors
    /// Fails when the settings do not go together or the address is taken.
    pub async fn start_gateway(&mut self) -> anyhow::Result<gateway::Running> {
        let context = gateway::Context {
            bus: bus::connect(GATEWAY, &self.bus.options(GATEWAY))
                .await
                .context("cannot use the credentials for NATS")?,
            peers: self.peers(GATEWAY, self.certificates(GATEWAY)?.as_ref())?,
            readiness: self.readiness.clone(),
            tasks: self.gateway.clone(),
        };
        let started = gateway::start(self.parts.settings.gateway.clone(), context).await;
        started.map_err(|error| anyhow!(error)).context("cannot start the gateway")
    }

    fn peers(&self, name: &'static str, certificates: Option<&Arc<Certificates>>) -> anyhow::Result<Peers> {
        let signer = self.parts.keyring.signer(name)?;
        Peers::new(signer, self.clock(), &self.addresses, certificates).context("an address in [services.addresses]")
    }

    /// By what others over TCP know a part, and it them, if the settings say so.
    fn certificates(&self, name: &'static str) -> anyhow::Result<Option<Arc<Certificates>>> {
        let Some(folder) = &self.parts.settings.tls.certificates_folder else { return Ok(None) };
        let certificates = Certificates::open(folder, name, callers(name))?;
        self.services.spawn(name, "certificates", Arc::clone(&certificates).keep_fresh());
        Ok(Some(certificates))
    }

    /// Domain time.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Who a token of this installation says the caller is.
    pub fn verifier(&self) -> Verifier {
        self.parts.keyring.verifier(GATEWAY)
    }

    /// The services it runs.
    pub fn apps(&self) -> &Apps {
        &self.apps
    }

    /// Comes when a task ended by itself, which ends the process.
    pub fn failed(&self) -> impl Future<Output = ()> + Send + use<> {
        let (services, gateway) = (self.services.clone(), self.gateway.clone());
        async move {
            tokio::select! {
                () = services.failed() => {}
                () = gateway.failed() => {}
            }
        }
    }

    /// Stops taking calls and alerts, lets what is under way end, and then stops the services.
    pub async fn stop(self) {
        for (part, tasks, within) in
            [("gateway", &self.gateway, GATEWAY_STOPS_WITHIN), ("services", &self.services, SERVICES_STOP_WITHIN)]
        {
            if tokio::time::timeout(within, tasks.stop()).await.is_err() {
                tracing::warn!(part, "cut off what was not done in time");
            }
        }
    }

    /// Holds the clock to the database's for as long as the process runs.
    fn keep_clock(&mut self, pool: PgPool) {
        if std::mem::replace(&mut self.clock_kept, true) {
            return;
        }
        let (clock, readiness) = (Arc::clone(&self.clock), self.readiness.clone());
        readiness.waits_for("itsm", "clock", "the database's time");
        self.services.spawn("itsm", "clock", async move {
            loop {
                match clock.synchronise(&pool).await {
                    Ok(()) => {
                        readiness.ready("itsm", "clock");
                        pause(CLOCK_EVERY).await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the database's time cannot be asked for");
                        pause(Duration::from_secs(1)).await;
                    }
                }
            }
        });
    }
}

/// The right to listen on a service's socket: whoever binds removes a socket that is there, so two
/// processes would each take it from the other.
fn hold(folder: &Path, service: &str) -> anyhow::Result<Flock<File>> {
    let path = folder.join(format!("{service}.lock"));
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EWOULDBLOCK => anyhow!("another process runs {service} in {}", folder.display()),
        errno => anyhow!(errno).context(format!("cannot lock {}", path.display())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_one_owner() {
        let temporary = tempfile::tempdir().unwrap();
        let held = hold(temporary.path(), "sla").unwrap();
        assert!(hold(temporary.path(), "sla").unwrap_err().to_string().contains("another process runs sla"));
        hold(temporary.path(), "incident").unwrap();
        drop(held);
        hold(temporary.path(), "sla").unwrap();
    }
}

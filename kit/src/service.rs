//! How a service is put together: what it is given, how its tasks run, how its gRPC is served, how
//! it says that it is ready, and how it stops.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::Client;
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{service::Routes, transport::Server};

use crate::{
    access::AccessLayer,
    clock::{self, Clock},
    consumer::{Consumer, Follower},
    db::Database,
    metrics,
    peer::Peers,
    problem::BoxError,
    relay::Relay,
    timer::{Due, Sweep},
    tls::Certificates,
    token::Verifier,
    vital::{Pulse, STUCK_AFTER},
};

/// How often it is measured what waits in the database.
const MEASURED_EVERY: Duration = Duration::from_secs(5);

/// Everything a service is given.
#[derive(Clone)]
pub struct Context {
    /// Its name and schema.
    pub service: &'static str,
    /// Domain time.
    pub clock: Arc<dyn Clock>,
    /// Its two ways into its schema.
    pub database: Database,
    /// NATS.
    pub bus: Client,
    /// The other services.
    pub peers: Peers,
    /// Who checks tokens.
    pub verifier: Arc<Verifier>,
    /// Where it listens.
    pub listen: Listen,
    /// Its name among replicas, for leases.
    pub holder: String,
    /// What it waits for.
    pub readiness: Readiness,
    /// Its tasks.
    pub tasks: Tasks,
}

/// Where a service listens.
#[derive(Clone)]
pub enum Listen {
    /// On a Unix socket in the data folder.
    Unix(PathBuf),
    /// On an address, for whoever reaches it.
    Tcp(SocketAddr),
    /// On an address, for those whose certificates may call.
    Tls(SocketAddr, Arc<Certificates>),
}

/// The tasks of a process: one that ends by itself ends the process, the supervisor restarts it.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    stop: CancellationToken,
    failed: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    /// Runs a task until the stop.
    pub fn spawn(
        &self,
        service: &'static str,
        name: &'static str,
        work: impl Future<Output = Result<(), BoxError>> + Send + 'static,
    ) {
        let (stop, failed) = (self.stop.clone(), self.failed.clone());
        self.tracker.spawn(async move {
            let work = std::panic::AssertUnwindSafe(work);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                ended = futures::FutureExt::catch_unwind(work) => match ended {
                    Ok(Ok(())) => tracing::error!(service, task = name, "a task ended"),
                    Ok(Err(error)) => tracing::error!(service, task = name, %error, "a task failed"),
                    Err(_) => tracing::error!(service, task = name, "a task panicked"),
                },
            }
            failed.cancel();
        });
    }

    /// Runs a last piece of work at the stop.
    pub fn at_stop(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            stop.cancelled().await;
            // Others' work goes on meanwhile; this must not hold the process.
            let _ = tokio::time::timeout(Duration::from_secs(3), work).await;
        });
    }

    /// The sign to stop.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Comes when a task ended by itself.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Stops all tasks and waits for them, ten seconds at most.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(Duration::from_secs(10), self.tracker.wait()).await.is_err() {
            tracing::warn!("some tasks did not stop in time");
        }
    }
}

/// What each part of each service waits for; shared by all services of a process.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    waiting: Arc<Mutex<BTreeMap<String, String>>>,
    pulses: Arc<Mutex<Vec<Arc<Pulse>>>>,
}

impl Readiness {
    /// Has a part count as waited for whenever it gives no sign of life.
    pub fn watch(&self, pulse: &Arc<Pulse>) {
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(pulse));
    }

    /// This part waits, for this reason.
    pub fn waits_for(&self, service: &str, part: &str, reason: &str) {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(format!("{service} {part}"), reason.to_owned());
    }

    /// This part is ready.
    pub fn ready(&self, service: &str, part: &str) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&format!("{service} {part}"));
    }

    /// What is waited for, by part; empty means ready.
    #[must_use]
    pub fn waiting(&self) -> BTreeMap<String, String> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for pulse in self.pulses.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let age = pulse.age();
            if age > STUCK_AFTER {
                let reason = || format!("a sign of life; the last came {} s ago", age.as_secs());
                waiting.entry(format!("{} {}", pulse.service, pulse.part)).or_insert_with(reason);
            }
        }
        waiting
    }
}

impl Context {
    /// Starts the relay, and returns it.
    #[must_use]
    pub fn start_relay(&self) -> Arc<Relay> {
        let relay = Arc::new(Relay::new(self.database.clone(), self.bus.clone(), self.holder.clone()));
        self.readiness.watch(&relay.pulse());
        self.watch_backlog();
        let (running, stopping) = (Arc::clone(&relay), Arc::clone(&relay));
        self.tasks.spawn(self.service, "relay", async move {
            running.run().await;
            Ok(())
        });
        self.tasks.at_stop(async move { stopping.release().await });
        relay
    }

    /// Measures what waits in the database, for the metrics.
    fn watch_backlog(&self) {
        let (database, clock) = (self.database.clone(), Arc::clone(&self.clock));
        self.tasks.spawn(self.service, "backlog", async move {
            loop {
                match database.backlog(clock.now()).await {
                    Ok(backlog) => metrics::get().backlog(database.schema, backlog),
                    Err(error) => tracing::debug!(service = database.schema, %error, "the backlog is not known"),
                }
                database.count_connections();
                clock::pause(MEASURED_EVERY).await;
            }
        });
    }

    /// Follows another service.
    pub fn follow(&self, source: &'static str, follower: Arc<dyn Follower>) {
        let consumer = Arc::new(Consumer::new(
            self.database.clone(),
            source,
            self.holder.clone(),
            self.bus.clone(),
            self.peers.clone(),
            self.readiness.clone(),
            follower,
        ));
        let stopping = Arc::clone(&consumer);
        self.tasks.spawn(self.service, "consumer", async move {
            consumer.run().await;
            Ok(())
        });
        self.tasks.at_stop(async move { stopping.release().await });
    }

    /// Sweeps the timers.
    pub fn sweep(&self, sweep: Arc<Sweep>, due: Arc<dyn Due>) {
        self.readiness.watch(&sweep.pulse());
        self.tasks.spawn(self.service, "sweep", async move {
            sweep.run(due.as_ref()).await;
            Ok(())
        });
    }

    /// Serves gRPC behind the door until the stop.
    ///
    /// # Errors
    /// Fails when the address cannot be bound.
    pub async fn serve(&self, routes: Routes) -> Result<(), BoxError> {
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let router = Server::builder()
            // The gateway comes by one connection, with every caller's streams in it.
            .max_concurrent_streams(1_024)
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .concurrency_limit_per_connection(256)
            .layer(AccessLayer::new(self.service, Arc::clone(&self.verifier), Arc::clone(&self.clock)))
            .add_routes(routes)
            .add_service(health);
        let stopping = self.tasks.stopping();
        match &self.listen {
            Listen::Unix(path) => {
                if let Err(error) = std::fs::remove_file(path)
                    && error.kind() != std::io::ErrorKind::NotFound
                {
                    return Err(error.into());
                }
                let listener = UnixListener::bind(path)?;
                self.serving(async move {
                    router.serve_with_incoming_shutdown(UnixListenerStream::new(listener), stopping.cancelled()).await
                });
            }
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                self.serving(async move {
                    router.serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopping.cancelled()).await
                });
            }
            Listen::Tls(address, certificates) => {
                let incoming = Arc::clone(certificates).incoming(TcpListener::bind(address).await?);
                self.serving(async move { router.serve_with_incoming_shutdown(incoming, stopping.cancelled()).await });
            }
        }
        Ok(())
    }

    /// Keeps serving through the stop, so that calls under way are answered.
    fn serving(&self, work: impl Future<Output = Result<(), tonic::transport::Error>> + Send + 'static) {
        let (service, stop, failed) = (self.service, self.tasks.stopping(), self.tasks.failed.clone());
        self.tasks.tracker.spawn(async move {
            if let Err(error) = work.await {
                tracing::error!(service, %error, "gRPC ended");
            }
            if !stop.is_cancelled() {
                failed.cancel();
            }
        });
    }
}

/// The addresses of services in a data folder.
#[must_use]
pub fn unix_addresses(folder: &std::path::Path) -> HashMap<String, String> {
    proto::SERVICES
        .iter()
        .map(|service| ((*service).to_owned(), format!("unix:{}", folder.join(format!("{service}.sock")).display())))
        .collect()
}

//! The gateway: the one public port. It speaks REST and gRPC, takes alerts in, and keeps no record
//! of its own.
//!
//! A request comes in at `server`, which gives it an id and hands it to the part that answers:
//!
//! - `forward` passes gRPC on as bytes;
//! - `rest` turns HTTP and JSON into the same RPCs, by the contract's descriptors alone;
//! - `intake` takes alerts and puts them into the intake stream;
//! - `steps` puts them into traces;
//! - `page` shows what is here, and answers probes.
//!
//! The first two ask `auth` who the caller is: a credential becomes the signed inner token, which
//! every service checks itself. So the gateway decides nothing about records, and there is no code
//! for any single RPC in it: one that is declared is served.

mod auth;
mod body;
mod config;
mod forward;
mod intake;
mod page;
mod request;
mod rest;
mod server;
mod steps;
mod tls;
mod turns;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::body::Bytes;
use kit::{
    clock::pause,
    peer::Peers,
    problem::BoxError,
    service::{Readiness, Tasks},
};
use prost_reflect::DescriptorPool;
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Status};

pub use config::{Error as SettingsError, Settings};

use auth::{cache::Keyring, directory::Directory};
use intake::{Intake, keys::Keys, publish::Publisher};

/// Everything the gateway is given.
#[derive(Clone)]
pub struct Context {
    /// NATS, by the user `gateway`.
    pub bus: async_nats::Client,
    /// The services, called as `gateway`.
    pub peers: Peers,
    /// What it waits for.
    pub readiness: Readiness,
    /// Its tasks.
    pub tasks: Tasks,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

/// A running gateway. It stops with the tasks of its context.
#[derive(Debug)]
pub struct Running {
    /// Where it listens; the port that was chosen where the settings said 0.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
}

impl Running {
    /// The URL of the port.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.address)
    }
}

/// What every part of the gateway shares.
#[derive(Debug)]
struct App {
    routes: rest::routes::Table,
    openapi: Bytes,
    peers: Peers,
    keyring: Arc<Keyring>,
    intake: Intake,
    budget: body::Budget,
    readiness: Readiness,
    stopping: CancellationToken,
    requests: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    turns: turns::Turns,
    tls: bool,
}

impl App {
    /// A place for one more stream.
    fn stream_permit(&self) -> Result<OwnedSemaphorePermit, Status> {
        let full =
            || kit::access::status(Code::Unavailable, "TOO_MANY_STREAMS", "too many streams are open; try again later");
        self.streams.clone().try_acquire_owned().map_err(|_| full())
    }
}

/// Starts the gateway: it listens when this returns, and says by its readiness when it can answer.
///
/// # Errors
/// Fails when the settings do not go together, the contract cannot be served, or the address is taken.
pub async fn start(settings: Settings, context: Context) -> Result<Running, BoxError> {
    settings.check()?;
    let acceptor = match (&settings.tls_cert, &settings.tls_key) {
        (Some(certificate), Some(key)) => Some(tls::acceptor(certificate, key)?),
        _ => None,
    };
    let pool = DescriptorPool::decode(proto::DESCRIPTOR_SET)?;
    let routes = rest::routes::Table::read(&pool)?;
    let document = rest::openapi::document(&pool, &routes, env!("CARGO_PKG_VERSION"));
    let keys = Arc::new(Keys::default());
    let app = Arc::new(App {
        routes,
        openapi: Bytes::from(serde_json::to_vec(&document)?),
        keyring: Arc::new(Keyring::new(Arc::new(Directory(context.peers.clone())))),
        peers: context.peers.clone(),
        intake: Intake::new(keys.clone(), Publisher::new(context.bus.clone())),
        budget: body::Budget::default(),
        readiness: context.readiness.clone(),
        stopping: context.tasks.stopping(),
        requests: Arc::new(Semaphore::new(settings.requests)),
        streams: Arc::new(Semaphore::new(settings.streams)),
        turns: turns::Turns::new(settings.calls_per_tenant, settings.waiting_per_tenant),
        tls: acceptor.is_some(),
    });
    let listener =
        TcpListener::bind(settings.listen).await.map_err(|error| format!("listen on {}: {error}", settings.listen))?;
    let running = Running { address: listener.local_addr()?, tls: acceptor.is_some() };

    let (bus, readiness) = (context.bus.clone(), context.readiness.clone());
    readiness.waits_for("gateway", "intake", "the integration keys");
    context.tasks.spawn("gateway", "keys", async move {
        intake::keys::watch(keys, bus, readiness).await;
        Ok(())
    });
    context.readiness.waits_for("gateway", "credentials", "directory");
    tokio::spawn(wait_for_directory(context.peers, context.readiness, context.tasks.stopping()));

    let open = TaskTracker::new();
    let acceptor = server::Acceptor {
        tls: acceptor,
        port: server::Port::new(app),
        stopping: context.tasks.stopping(),
        open: open.clone(),
    };
    context.tasks.spawn("gateway", "port", async move {
        acceptor.run(listener, settings.connections).await;
        Ok(())
    });
    context.tasks.at_stop(async move {
        open.close();
        open.wait().await;
    });
    tracing::info!(address = %running.address, tls = running.tls, "the gateway listens");
    Ok(running)
}

/// Waits until directory answers for the first time. Later it may go away: what needs it says so
/// then, and what does not goes on.
async fn wait_for_directory(peers: Peers, readiness: Readiness, stopping: CancellationToken) {
    while peers.position("directory").await.is_err() {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = pause(Duration::from_millis(100)) => {}
        }
    }
    readiness.ready("gateway", "credentials");
}

//! The loop that keeps accounts and streams as they have to be, and tells the relays what was lost.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::accounts::Accounts;
use super::authority::OutsideConsumer;
use super::connection::{Access, Connection, connect};
use super::streams::{Streams, ensure_outside_consumer};

const EVERY: Duration = Duration::from_secs(2);
const FIRST_ROUND_WITHIN: Duration = Duration::from_secs(30);

/// How often each service's event stream came back empty or short in this process's life. [`set_back`]
/// acts whenever a number is another one than it last acted on, so that none is missed.
pub type Losses = BTreeMap<&'static str, u64>;

/// What the provisioner has to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which NATS.
    pub access: Access,
    /// Copies of each stream: 1, or 3 in a cluster.
    pub replicas: usize,
    /// Keeps what was seen of the streams over a restart.
    pub marks_path: Option<PathBuf>,
}

/// A running provisioner.
#[derive(Debug)]
pub struct Provisioner {
    accounts: Option<Accounts>,
    jetstream: jetstream::Context,
    replicas: usize,
    losses: watch::Receiver<Losses>,
    healthy: watch::Receiver<bool>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Round {
    accounts: Option<Accounts>,
    streams: Streams,
    losses: watch::Sender<Losses>,
}

impl Provisioner {
    /// Connects, pushes the accounts and does a first round, so that everything is there when it
    /// returns; then goes on by itself.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        wait_for_server(&settings.access).await?;
        let accounts = Accounts::connect(&settings.access).await?;
        if let Some(accounts) = &accounts {
            accounts.push_all().await.context("cannot push the accounts")?;
        }
        let connection = connect(&settings.access, "provisioner").await?;
        let jetstream = jetstream::new(connection.client.clone());
        let streams = Streams::new(jetstream.clone(), settings.replicas, settings.marks_path)?;
        let (sender, losses) = watch::channel(Losses::new());
        let mut round = Round { accounts: accounts.clone(), streams, losses: sender };
        round.first().await?;
        let (health, healthy) = watch::channel(true);
        let stop = CancellationToken::new();
        let task = tokio::spawn(keep(round, connection, health, stop.clone()));
        Ok(Self { accounts, jetstream, replicas: settings.replicas, losses, healthy, stop, task })
    }

    /// The accounts, where they are ours.
    pub fn accounts(&self) -> Option<&Accounts> {
        self.accounts.as_ref()
    }

    /// Which event streams came back empty or short.
    pub fn recreated(&self) -> watch::Receiver<Losses> {
        self.losses.clone()
    }

    /// Whether the last round went through: false while NATS is away.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "asked by tests; NATS away stops no command, so readiness does not wait for it")
    )]
    pub fn healthy(&self) -> watch::Receiver<bool> {
        self.healthy.clone()
    }

    /// Makes a durable consumer for a client outside and returns the file with its credentials,
    /// where accounts are ours. For a program that is not the provisioner itself, see
    /// [`create_consumer`].
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the command that makes a consumer runs beside, by the function of this name")
    )]
    pub async fn create_consumer(&self, consumer: &OutsideConsumer) -> anyhow::Result<Option<PathBuf>> {
        create(self.accounts.as_ref(), &self.jetstream, self.replicas, consumer).await
    }

    /// Ends the loop; the streams stay.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the provisioner ended badly");
        }
    }
}

/// What `itsm consumer create` does beside a running provisioner: both keep what they change under
/// the same lock, and the running one makes the consumer again should it ever be missing.
pub async fn create_consumer(
    access: &Access,
    replicas: usize,
    consumer: &OutsideConsumer,
) -> anyhow::Result<Option<PathBuf>> {
    let accounts = Accounts::connect(access).await?;
    let connection = connect(access, "provisioner").await?;
    create(accounts.as_ref(), &jetstream::new(connection.client), replicas, consumer).await
}

async fn create(
    accounts: Option<&Accounts>,
    jetstream: &jetstream::Context,
    replicas: usize,
    consumer: &OutsideConsumer,
) -> anyhow::Result<Option<PathBuf>> {
    let credentials = match accounts {
        Some(accounts) => Some(accounts.issue_consumer(consumer).await?),
        None => None,
    };
    ensure_outside_consumer(jetstream, replicas, consumer).await?;
    Ok(credentials)
}

/// Waits as long as nobody answers at all; a server that answers and is not fit is an error.
async fn wait_for_server(access: &Access) -> anyhow::Result<()> {
    let mut ticks = interval(EVERY);
    let mut told = false;
    loop {
        ticks.tick().await;
        match connect(access, "provisioner").await {
            Ok(_) => return Ok(()),
            Err(error) if is_away(&error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(error = format!("{error:#}"), "waiting for NATS");
                }
            }
            Err(error) => return Err(error),
        }
    }
}

fn is_away(error: &anyhow::Error) -> bool {
    use async_nats::ConnectErrorKind::{Dns, Io, TimedOut};
    matches!(error.downcast_ref::<async_nats::ConnectError>().map(|error| error.kind()), Some(Dns | Io | TimedOut))
}

/// Has the relays publish the last hour again whose streams came back empty or short, in whatever
/// process they run: their leases are set back. Ends with the provisioner.
pub async fn set_back(mut losses: watch::Receiver<Losses>, owner: PgPool) {
    let mut done = Losses::new();
    loop {
        let wanted = losses.borrow_and_update().clone();
        let mut failed = false;
        for (service, times) in wanted {
            if done.get(service) == Some(&times) {
                continue;
            }
            match set_back_relay(&owner, service).await {
                Ok(()) => {
                    tracing::info!(service, "the stream came back short; its last hour is published again");
                    done.insert(service, times);
                }
                Err(error) => {
                    tracing::warn!(service, %error, "the relay cannot be set back; trying again");
                    failed = true;
                }
            }
        }
        if failed {
            kit::clock::pause(EVERY).await;
        } else if losses.changed().await.is_err() {
            return;
        }
    }
}

async fn set_back_relay(owner: &PgPool, service: &str) -> Result<(), sqlx::Error> {
    let statement = format!(
        "update {service}.lease set position = least(position,
            coalesce((select min(position) - 1 from {service}.feed where at > clock_timestamp() - interval '1 hour'), position))
         where name = 'relay'"
    );
    sqlx::query(AssertSqlSafe(statement)).execute(owner).await?;
    Ok(())
}

impl Round {
    /// A cluster that is still choosing its leaders refuses for a while.
    async fn first(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + FIRST_ROUND_WITHIN;
        let mut ticks = interval(EVERY);
        loop {
            ticks.tick().await;
            match self.run().await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(error) => tracing::warn!(error = format!("{error:#}"), "cannot make the streams yet"),
            }
        }
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let outside: Vec<OutsideConsumer> = match &self.accounts {
            Some(accounts) => accounts.authority().state()?.consumers().cloned().collect(),
            None => Vec::new(),
        };
        let lost = self.streams.reconcile(&outside).await?;
        if !lost.is_empty() {
            self.losses.send_modify(|losses| {
                for service in lost {
                    *losses.entry(service).or_default() += 1;
                }
            });
        }
        Ok(())
    }
}

async fn keep(mut round: Round, mut connection: Connection, health: watch::Sender<bool>, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut system_connects = round.accounts.as_ref().map(Accounts::connects);
    let mut pushed = system_connects.as_mut().map_or(0, |connects| *connects.borrow_and_update());
    connection.connects.mark_unchanged();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
            Ok(()) = connection.connects.changed() => {}
            Some(Ok(())) = async { Some(system_connects.as_mut()?.changed().await) } => {}
        }
        let step = async {
            if let (Some(accounts), Some(connects)) = (&round.accounts, &mut system_connects) {
                let reached = *connects.borrow_and_update();
                if reached != pushed {
                    let count = accounts.push_all().await.context("cannot push the accounts")?;
                    tracing::info!(count, "pushed the accounts again");
                    pushed = reached;
                }
            }
            round.run().await
        };
        let done = tokio::select! {
            () = stop.cancelled() => return,
            done = step => done,
        };
        let well = done.is_ok();
        // Said once when it begins and once when it ends, not every round.
        match (done, health.send_replace(well)) {
            (Err(error), true) => {
                tracing::error!(error = format!("{error:#}"), "cannot keep the streams; trying again")
            }
            (Ok(()), false) => tracing::info!("the streams are as they should be again"),
            _ => {}
        }
    }
}

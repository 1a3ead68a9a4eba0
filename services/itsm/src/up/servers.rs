//! The embedded servers of `itsm up`, watched: one that dies is started again, a few times.
//!
//! Clients reconnect by themselves, so a server must come back where it was.

use std::{process::ExitStatus, time::Duration};

use futures::future::{BoxFuture, FutureExt as _};
use kit::{clock::pause, service::Readiness};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::embedded::{nats::Nats, postgres::Postgres};

/// Deaths in a row that are endured; one that lived this long begins a new row.
const DEATHS_ENDURED: u32 = 5;
const LIVED_LONG: Duration = Duration::from_secs(60);

/// A server that can be watched.
pub trait Server: Send + Sync + Sized + 'static {
    /// What people call it.
    const NAME: &'static str;
    /// Resolves when it has ended.
    fn exited(&self) -> BoxFuture<'static, ExitStatus>;
    /// The end of its log.
    fn log_tail(&self) -> String;
    /// Ends it.
    fn stop(self) -> BoxFuture<'static, anyhow::Result<()>>;
}

impl Server for Postgres {
    const NAME: &'static str = "Postgres";

    fn exited(&self) -> BoxFuture<'static, ExitStatus> {
        Postgres::exited(self).boxed()
    }

    fn log_tail(&self) -> String {
        Postgres::log_tail(self)
    }

    fn stop(self) -> BoxFuture<'static, anyhow::Result<()>> {
        Postgres::stop(self).boxed()
    }
}

impl Server for Nats {
    const NAME: &'static str = "NATS";

    fn exited(&self) -> BoxFuture<'static, ExitStatus> {
        Nats::exited(self).boxed()
    }

    fn log_tail(&self) -> String {
        Nats::log_tail(self)
    }

    fn stop(self) -> BoxFuture<'static, anyhow::Result<()>> {
        Nats::stop(self).boxed()
    }
}

/// How a server is started again.
pub type Start<S> = Box<dyn Fn() -> BoxFuture<'static, anyhow::Result<S>> + Send + Sync>;

/// A server under watch.
pub struct Watched {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Watched {
    /// Watches a running server; `failed` is told when it cannot be kept running.
    pub fn new<S: Server>(first: S, start: Start<S>, readiness: Readiness, failed: CancellationToken) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(watch(first, start, readiness, failed, stop.clone()));
        Self { stop, task }
    }

    /// Ends the server in its own way and waits for it.
    ///
    /// # Errors
    /// Fails when it does not end.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.task.await?
    }
}

async fn watch<S: Server>(
    mut server: S,
    start: Start<S>,
    readiness: Readiness,
    failed: CancellationToken,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut deaths = 0;
    loop {
        let began = Instant::now();
        let status = tokio::select! {
            () = stop.cancelled() => return server.stop().await,
            status = server.exited() => status,
        };
        if began.elapsed() > LIVED_LONG {
            deaths = 0;
        }
        tracing::error!(server = S::NAME, %status, log = server.log_tail(), "an embedded server died");
        readiness.waits_for("itsm", S::NAME, "it died and is being started again");
        server = loop {
            deaths += 1;
            if deaths > DEATHS_ENDURED {
                tracing::error!(server = S::NAME, "it does not stay up: giving up");
                failed.cancel();
                return Ok(());
            }
            let again = async {
                pause(Duration::from_millis(50) * 2_u32.pow(deaths)).await;
                start().await
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                again = again => match again {
                    Ok(server) => break server,
                    Err(error) => tracing::error!(server = S::NAME, error = format!("{error:#}"), "cannot start it again"),
                },
            }
        };
        tracing::warn!(server = S::NAME, "started again");
        readiness.ready("itsm", S::NAME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::process::ExitStatusExt,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    /// Dies when it is told to, or at once.
    struct Mortal(CancellationToken);

    impl Server for Mortal {
        const NAME: &'static str = "mortal";

        fn exited(&self) -> BoxFuture<'static, ExitStatus> {
            let end = self.0.clone();
            async move {
                end.cancelled().await;
                ExitStatus::from_raw(9)
            }
            .boxed()
        }

        fn log_tail(&self) -> String {
            String::new()
        }

        fn stop(self) -> BoxFuture<'static, anyhow::Result<()>> {
            async { Ok(()) }.boxed()
        }
    }

    fn counting(starts: &Arc<AtomicU32>, dead: bool) -> Start<Mortal> {
        let starts = Arc::clone(starts);
        Box::new(move || {
            starts.fetch_add(1, Ordering::SeqCst);
            let end = CancellationToken::new();
            if dead {
                end.cancel();
            }
            async move { Ok(Mortal(end)) }.boxed()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn one_death_is_survived_and_readiness_tells_of_it() {
        let (starts, failed, readiness) = (Arc::default(), CancellationToken::new(), Readiness::default());
        let end = CancellationToken::new();
        let watched = Watched::new(Mortal(end.clone()), counting(&starts, false), readiness.clone(), failed.clone());
        end.cancel();
        while readiness.waiting().is_empty() {
            tokio::task::yield_now().await;
        }
        while !readiness.waiting().is_empty() {
            pause(Duration::from_millis(10)).await;
        }
        assert_eq!(starts.load(Ordering::SeqCst), 1);
        assert!(!failed.is_cancelled());
        watched.stop().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_stay_up_is_given_up() {
        let (starts, failed) = (Arc::default(), CancellationToken::new());
        let end = CancellationToken::new();
        end.cancel();
        let watched = Watched::new(Mortal(end), counting(&starts, true), Readiness::default(), failed.clone());
        failed.cancelled().await;
        assert_eq!(starts.load(Ordering::SeqCst), DEATHS_ENDURED);
        watched.stop().await.unwrap();
    }
}

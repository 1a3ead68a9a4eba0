//! The provisioner as a part of a process: streams and accounts kept, partitions made ahead, what is
//! past pruned, relays told what to publish again, and, where there may be several, one at a time.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context;
use kit::{
    clock::pause,
    db::Database,
    lease::{Lease, Lost, RENEWAL},
    service::{Readiness, Tasks},
};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio_util::sync::CancellationToken;

use super::{PROVISIONER, kept};
use crate::provisioner::{
    accounts::Accounts,
    partitions::keep_partitions,
    reconcile::{Provisioner, Settings, set_back},
    retention::keep_pruned,
};
use crate::settings::retention::Retention;

/// How soon a new tenant has its account.
const TENANTS_EVERY: Duration = Duration::from_secs(5);
const TENANTS_PAGE: i64 = 500;

/// What the provisioner needs in the database.
pub fn owner_pool(admin: &PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(3)
        .idle_timeout(Duration::from_secs(30))
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy_with(admin.clone().options([("timezone", "UTC"), ("lock_timeout", "2000")]))
}

/// Runs what goes on beside a provisioner, as tasks of `tasks`.
pub fn keep(provisioner: &Provisioner, (owner, retention): (PgPool, Retention), directory: Database, tasks: &Tasks) {
    if let Some(accounts) = provisioner.accounts().cloned() {
        tasks.spawn(PROVISIONER, "accounts", async move {
            keep_accounts(&accounts, &directory).await;
            Ok(())
        });
    }
    let (pool, stop) = (owner.clone(), tasks.stopping());
    tasks.spawn(PROVISIONER, "partitions", async move {
        keep_partitions(pool, kept(), stop).await;
        Ok(())
    });
    let (losses, pool) = (provisioner.recreated(), owner.clone());
    tasks.spawn(PROVISIONER, "losses", async move {
        set_back(losses, pool).await;
        Ok(())
    });
    let stop = tasks.stopping();
    tasks.spawn(PROVISIONER, "retention", async move {
        keep_pruned(owner, retention, kept(), stop).await;
        Ok(())
    });
}

/// Runs a provisioner while this process holds the lease for it, for ever: replicas wait.
///
/// # Errors
/// Fails when the server is not fit.
pub async fn run_one_of_several(
    settings: Settings,
    directory: Database,
    owner: (PgPool, Retention),
    holder: String,
    stopping: CancellationToken,
    readiness: &Readiness,
) -> anyhow::Result<()> {
    loop {
        if let Ok(None) = Lease::try_acquire(&directory.workers, "directory", PROVISIONER, &holder).await {
            // Another does it; this one stands by, and takes over by itself.
            readiness.ready(PROVISIONER, "streams");
        }
        let lease = tokio::select! {
            lease = Lease::acquire(&directory.workers, "directory", PROVISIONER, &holder, || ()) => lease,
            () = stopping.cancelled() => return Ok(()),
        };
        let tasks = Tasks::default();
        let started = tokio::select! {
            started = Provisioner::start(settings.clone()) => started.context("cannot make the streams")?,
            () = stopping.cancelled() => {
                lease.release(&directory.workers).await;
                return Ok(());
            }
        };
        readiness.ready(PROVISIONER, "streams");
        keep(&started, owner.clone(), directory.clone(), &tasks);
        let ended = tokio::select! {
            () = tasks.failed() => Some(Err(anyhow::anyhow!("a task of the provisioner ended"))),
            () = lost(&lease, &directory.workers) => None,
            () = stopping.cancelled() => Some(Ok(())),
        };
        // Before what they listen to.
        tasks.stop().await;
        started.stop().await;
        lease.release(&directory.workers).await;
        match ended {
            Some(ended) => return ended,
            None => tracing::warn!("the provisioner's lease was lost; waiting for it again"),
        }
    }
}

/// Gives every tenant its account and its reader, for ever.
async fn keep_accounts(accounts: &Accounts, directory: &Database) {
    let mut known = BTreeSet::new();
    let mut well = true;
    loop {
        let round = async {
            for slug in tenants(directory).await? {
                if !known.contains(&slug) {
                    ensure_account(accounts, &slug).await?;
                    known.insert(slug);
                }
            }
            anyhow::Ok(())
        };
        let done = round.await;
        let was_well = std::mem::replace(&mut well, done.is_ok());
        if let (Err(error), true) = (done, was_well) {
            tracing::error!(error = format!("{error:#}"), "cannot keep the tenants' accounts; trying again");
        }
        pause(TENANTS_EVERY).await;
    }
}

/// Gives a tenant its account and the credentials of its reader.
///
/// # Errors
/// Fails when NATS is away.
pub async fn ensure_account(accounts: &Accounts, slug: &str) -> anyhow::Result<()> {
    accounts.ensure_tenant(slug).await?;
    accounts.issue_reader(slug).await?;
    Ok(())
}

async fn tenants(directory: &Database) -> anyhow::Result<Vec<String>> {
    let mut slugs = Vec::new();
    let mut after = None;
    loop {
        let page = directory::store::tenants::all(directory, after, TENANTS_PAGE).await?;
        after = page.last().map(|tenant| tenant.id.0);
        slugs.extend(page.into_iter().map(|tenant| tenant.slug));
        if after.is_none() {
            return Ok(slugs);
        }
    }
}

/// Renews the lease; returns when it is another's. Streams are set, not changed step by step, so a
/// holder that learns it late does no harm.
async fn lost(lease: &Lease, pool: &PgPool) {
    loop {
        pause(RENEWAL).await;
        match lease.renew(pool).await {
            Ok(_) => {}
            Err(error) if error.is::<Lost>() => return,
            Err(error) => tracing::warn!(%error, "the provisioner's lease cannot be renewed"),
        }
    }
}

//! The mirror of keys: the key-value bucket `integration_keys`, from which the gateway learns which
//! keys are valid, so that intake goes on while this service or its database is down.
//!
//! The bucket holds digests, never keys. It is written after each commit that changes keys, and
//! wholly at start and whenever it was made anew; the key `complete` comes last, so that a gateway
//! knows that nothing is missing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_nats::jetstream::{self, kv::Store};
use chrono::{DateTime, Utc};
use futures::StreamExt;
use kit::{
    clock,
    problem::{BoxError, chain},
    service::Context,
};

use crate::app::{App, keys::Shown};

/// The bucket that the provisioner makes.
const BUCKET: &str = "integration_keys";
/// The mark that nothing is missing.
const COMPLETE: &str = "complete";
/// How often the bucket is looked at, whether it was made anew.
const LOOK: Duration = Duration::from_secs(2);
/// How many looks between two comparisons with the database that nothing asked for: another
/// replica's change is mirrored by that one, and this heals what it could not write.
const LOOKS_A_COMPARISON: u32 = 15;

/// Mirrors the keys until the stop.
pub fn start(context: &Context, app: &Arc<App>) {
    let (readiness, app) = (context.readiness.clone(), Arc::clone(app));
    let jetstream = jetstream::new(context.bus.clone());
    readiness.waits_for("alert", "keys", "starting");
    context.tasks.spawn("alert", "keys", async move {
        let mut mirror = Mirror { app, jetstream, bucket_made_at: None, written: BTreeMap::new() };
        let changed = mirror.app.keys_to_change();
        let mut looks = 0;
        loop {
            match mirror.look(looks == 0).await {
                Ok(()) => {
                    readiness.ready("alert", "keys");
                    looks = (looks + 1) % LOOKS_A_COMPARISON;
                }
                Err(error) => {
                    let reason = chain(error.as_ref());
                    tracing::warn!(service = "alert", reason, "keys are not mirrored");
                    readiness.waits_for("alert", "keys", &reason);
                    looks = 0;
                }
            }
            tokio::select! {
                () = changed.notified() => looks = 0,
                () = clock::pause(LOOK) => {}
            }
        }
    });
}

struct Mirror {
    app: Arc<App>,
    jetstream: jetstream::Context,
    /// Which life of the bucket was written.
    bucket_made_at: Option<DateTime<Utc>>,
    /// What was written to it.
    written: BTreeMap<String, Shown>,
}

impl Mirror {
    /// Looks whether the bucket was made anew, and writes what is missing.
    async fn look(&mut self, compare: bool) -> Result<(), BoxError> {
        let bucket = self.jetstream.get_key_value(BUCKET).await?;
        let made_at = bucket.stream.cached_info().created;
        if self.bucket_made_at != Some(made_at) {
            self.bucket_made_at = None;
            self.write_all(&bucket).await?;
            self.bucket_made_at = Some(made_at);
            return Ok(());
        }
        if compare { self.write_changes(&bucket).await } else { Ok(()) }
    }

    /// Writes every key and the mark; takes out what is no longer a key.
    async fn write_all(&mut self, bucket: &Store) -> Result<(), BoxError> {
        self.written.clear();
        self.write_changes(bucket).await?;
        let prefix = &bucket.prefix;
        let mut subjects = bucket.stream.info_with_subjects(format!("{prefix}>")).await?;
        while let Some(subject) = subjects.next().await {
            let (subject, _) = subject?;
            let Some(name) = subject.strip_prefix(prefix.as_str()) else { continue };
            if name != COMPLETE && !self.written.contains_key(name) {
                bucket.purge(name).await?;
            }
        }
        bucket.put(COMPLETE, "true".into()).await?;
        tracing::info!(service = "alert", keys = self.written.len(), "keys mirrored");
        Ok(())
    }

    /// Writes what differs from the database, until nothing does: what another replica committed
    /// meanwhile must not be overwritten by what was read before.
    async fn write_changes(&mut self, bucket: &Store) -> Result<(), BoxError> {
        loop {
            let wanted = self.app.keys_shown().await?;
            if wanted == self.written {
                return Ok(());
            }
            // First what is refused from now on.
            let gone: Vec<String> = self.written.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
            for name in gone {
                bucket.purge(&name).await?;
                self.written.remove(&name);
            }
            for (name, shown) in wanted {
                if self.written.get(&name) != Some(&shown) {
                    bucket.put(&name, serde_json::to_vec(&shown)?.into()).await?;
                    self.written.insert(name, shown);
                }
            }
        }
    }
}

//! The integration keys, mirrored by the alert service as digests into a key-value bucket and
//! watched into memory, so that intake works while Postgres and every service are away. Until the
//! mirror is whole nobody is told that a key is unknown; a running gateway keeps what it had.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, atomic::Ordering},
    time::Duration,
};

use async_nats::{
    Client,
    jetstream::{
        self,
        kv::{Entry, Operation},
    },
};
use futures::StreamExt as _;
use http::StatusCode;
use kit::service::Readiness;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::rest::problem::Problem;

/// The bucket.
pub const BUCKET: &str = "integration_keys";
/// The key that is written last, when the mirror is whole.
pub const COMPLETE: &str = "complete";
/// How often a lost connection is looked for.
const LOOK: Duration = Duration::from_millis(250);
/// How often the watch is checked against the bucket.
const CHECK: Duration = Duration::from_secs(1);
/// The longest key that is looked at.
const KEY_LIMIT: usize = 256;

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Integration {
    /// The slug of the tenant.
    pub tenant: String,
    /// The id of the tenant.
    pub tenant_id: uuid::Uuid,
    /// The slug of the integration.
    pub integration: String,
    /// The id of the integration.
    pub integration_id: uuid::Uuid,
    /// `active`, or anything else for not.
    pub state: String,
}

impl Integration {
    /// Slugs become subjects, so nothing else may pass here whoever wrote it.
    fn is_usable(&self) -> bool {
        let is_slug = |text: &str| {
            (1..=40).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        self.state == "active" && is_slug(&self.tenant) && is_slug(&self.integration)
    }
}

type Map = HashMap<String, Arc<Integration>>;

/// The keys, as last seen.
#[derive(Debug, Default)]
pub struct Keys {
    current: RwLock<Option<Map>>,
}

impl Keys {
    /// What a key stands for. Unknown and disabled keys are refused alike.
    pub fn find(&self, key: &str) -> Result<Arc<Integration>, Problem> {
        let digest = if key.len() <= KEY_LIMIT { hex(&Sha256::digest(key.as_bytes())) } else { String::new() };
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let Some(map) = current.as_ref() else {
            return Err(Problem::unavailable(
                "INTAKE_UNAVAILABLE",
                "the integration keys are not loaded yet; send it again",
            ));
        };
        map.get(&digest)
            .filter(|integration| integration.is_usable())
            .cloned()
            .ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "UNKNOWN_KEY", "this integration key is not valid"))
    }

    fn replace(&self, map: Map) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(map);
    }

    /// Applies one change to what is there; before there is anything, there is nothing to change.
    fn apply(&self, entry: &Entry) {
        if let Some(map) = self.current.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            apply(map, entry);
        }
    }
}

fn apply(map: &mut Map, entry: &Entry) {
    if entry.key == COMPLETE {
        return;
    }
    match (entry.operation, serde_json::from_slice::<Integration>(&entry.value)) {
        (Operation::Put, Ok(integration)) => {
            map.insert(entry.key.clone(), Arc::new(integration));
        }
        (Operation::Put, Err(error)) => {
            tracing::error!(%error, revision = entry.revision, "an integration key does not decode; it is refused");
            map.remove(&entry.key);
        }
        (Operation::Delete | Operation::Purge, _) => {
            map.remove(&entry.key);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Watches the bucket for as long as the gateway runs.
pub async fn watch(keys: Arc<Keys>, client: Client, readiness: Readiness) {
    let mut pause = Duration::from_millis(50);
    loop {
        match session(&keys, &client, &readiness).await {
            Ok(()) => pause = Duration::from_millis(50),
            Err(error) => {
                tracing::debug!(error, "the integration keys cannot be watched yet");
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
        kit::clock::pause(pause).await;
    }
}

/// One watch, until the connection is lost or the bucket has more than it tells. A watch that lives
/// on through a reconnection is silent for ten seconds or for ever, and one whose bucket was made
/// anew as well.
async fn session(keys: &Keys, client: &Client, readiness: &Readiness) -> Result<(), String> {
    let connects = || client.statistics().connects.load(Ordering::Relaxed);
    let connection = connects();
    let store = jetstream::new(client.clone()).get_key_value(BUCKET).await.map_err(|e| e.to_string())?;
    let created = store.stream.cached_info().created;
    let mut entries = store.watch_with_history(">").await.map_err(|e| e.to_string())?;
    let mut mirror = Mirror::default();
    let (mut look, mut check) = (tokio::time::interval(LOOK), tokio::time::interval(CHECK));
    let mut missing = false;
    loop {
        tokio::select! {
            entry = entries.next() => {
                let entry = entry.ok_or("the watch ended")?.map_err(|e| e.to_string())?;
                // What is in use follows at once: a revoked key must not wait for the mirror to be whole.
                keys.apply(&entry);
                if let Some(whole) = mirror.take(&entry) {
                    tracing::info!(keys = whole.len(), "integration keys loaded");
                    keys.replace(whole);
                    readiness.ready("gateway", "intake");
                }
            }
            _ = look.tick() => if connects() != connection {
                return Ok(());
            },
            _ = check.tick() => {
                let info = tokio::time::timeout(CHECK, store.stream.get_info()).await;
                let info = info.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
                let behind = info.state.last_sequence > mirror.seen;
                if info.created != created || (behind && missing) {
                    return Err("the bucket has more than the watch told".to_owned());
                }
                missing = behind;
            }
        }
    }
}

/// The bucket as one watch tells it, until it has told all.
#[derive(Debug, Default)]
struct Mirror {
    fresh: Map,
    complete: bool,
    handed_over: bool,
    seen: u64,
}

impl Mirror {
    /// Takes an entry; answers the whole map once, when nothing of it is missing.
    fn take(&mut self, entry: &Entry) -> Option<Map> {
        self.seen = self.seen.max(entry.revision);
        if self.handed_over {
            return None;
        }
        apply(&mut self.fresh, entry);
        if entry.key == COMPLETE {
            self.complete = entry.operation == Operation::Put;
        }
        self.handed_over = self.complete && entry.delta == 0;
        self.handed_over.then(|| std::mem::take(&mut self.fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integration(state: &str) -> Integration {
        serde_json::from_value(serde_json::json!({
            "tenant": "default", "tenantId": uuid::Uuid::nil(), "integration": "demo",
            "integrationId": uuid::Uuid::nil(), "state": state
        }))
        .unwrap()
    }

    #[test]
    fn unknown_and_disabled_keys_are_refused_alike_and_nothing_before_the_mirror_is_whole() {
        let keys = Keys::default();
        assert_eq!(keys.find("k").unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
        let digest = |key: &str| hex(&Sha256::digest(key));
        keys.replace(HashMap::from([
            (digest("good"), Arc::new(integration("active"))),
            (digest("off"), Arc::new(integration("disabled"))),
        ]));
        assert_eq!(keys.find("good").unwrap().integration, "demo");
        let unknown = keys.find("nobody").unwrap_err();
        assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);
        assert_eq!(keys.find("off").unwrap_err(), unknown);
        assert_eq!(keys.find("").unwrap_err(), unknown);
        assert_eq!(keys.find(&"k".repeat(10_000)).unwrap_err(), unknown);
    }

    #[test]
    fn a_slug_that_would_be_another_subject_is_refused() {
        for bad in ["", "a.b", "*", ">", "A", "a b"] {
            assert!(!Integration { tenant: bad.to_owned(), ..integration("active") }.is_usable(), "{bad}");
        }
    }
}

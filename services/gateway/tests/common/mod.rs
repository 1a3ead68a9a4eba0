//! What the gateway's tests share: a NATS server of their own, services that answer as told, and a
//! running gateway.

#![allow(dead_code, reason = "each test binary uses its part")]
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

pub mod nats;
pub mod upstream;

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use gateway::{Context, Running, Settings};
use kit::{
    clock::DatabaseClock,
    peer::Peers,
    service::{Readiness, Tasks},
    token::Signer,
};

pub use nats::Nats;
pub use upstream::Upstream;

/// A gateway with all it needs.
pub struct World {
    pub nats: Nats,
    pub upstream: Upstream,
    pub running: Running,
    pub readiness: Readiness,
    pub tasks: Tasks,
    pub http: reqwest::Client,
}

impl World {
    pub async fn new() -> Self {
        Self::with(Settings::default()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let nats = Nats::start();
        let upstream = Upstream::start().await;
        let addresses = HashMap::from([
            ("directory".to_owned(), upstream.url()),
            ("incident".to_owned(), upstream.url()),
            ("change".to_owned(), "http://127.0.0.1:1".to_owned()),
        ]);
        let signer = Signer::new("gateway", &[7; 32]).unwrap();
        let context = Context {
            bus: nats.connect().await,
            peers: Peers::new(signer, Arc::new(DatabaseClock::default()), &addresses, None).unwrap(),
            readiness: Readiness::default(),
            tasks: Tasks::default(),
        };
        let (readiness, tasks) = (context.readiness.clone(), context.tasks.clone());
        let settings = Settings { listen: ([127, 0, 0, 1], 0).into(), ..settings };
        let running = gateway::start(settings, context).await.unwrap();
        Self { nats, upstream, running, readiness, tasks, http: client() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.url())
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(self.url(path)).bearer_auth("itsm_good")
    }

    pub fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.http.post(self.url(path)).bearer_auth("itsm_good").body(body)
    }

    pub fn take(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.http.post(self.url(&format!("/intake/demo-key/{path}"))).body(body)
    }
}

/// A client that trusts the tests' own certificate and no other.
fn client() -> reqwest::Client {
    let certificate = reqwest::Certificate::from_pem(include_bytes!("../fixtures/tls-test-only.crt.pem")).unwrap();
    reqwest::Client::builder().tls_certs_only([certificate]).build().unwrap()
}

/// A file of the tests.
pub fn fixture(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Waits for a condition, ten seconds at most.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        kit::clock::pause(Duration::from_millis(20)).await;
    }
}

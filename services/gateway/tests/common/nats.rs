//! A NATS server with the intake stream and the bucket of keys, in a folder that goes with it.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use async_nats::{
    Client,
    jetstream::{self, kv, stream},
};
use sha2::{Digest as _, Sha256};

pub struct Nats {
    child: Option<Child>,
    folder: tempfile::TempDir,
    port: u16,
}

fn binary() -> PathBuf {
    match std::env::var_os("ITSM_NATS_SERVER") {
        Some(path) => path.into(),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/nats-server"),
    }
}

impl Nats {
    pub fn start() -> Self {
        // The port stays the same over a restart, so it is chosen here and not by the server.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut nats = Self { child: None, folder: tempfile::tempdir().unwrap(), port };
        nats.resume();
        nats
    }

    pub fn resume(&mut self) {
        let store = self.folder.path().join("js");
        let child = Command::new(binary())
            .args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-js", "-sd"])
            .arg(store)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{}: {error}; run `make up` once", binary().display())));
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub async fn connect(&self) -> Client {
        let options = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .reconnect_delay_callback(|_| Duration::from_millis(50));
        options.connect(format!("nats://127.0.0.1:{}", self.port)).await.unwrap()
    }

    pub async fn jetstream(&self) -> jetstream::Context {
        let client = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .connect(format!("nats://127.0.0.1:{}", self.port))
            .await
            .unwrap();
        super::eventually("NATS is up", || async {
            client.flush().await.is_ok() && client.connection_state() == async_nats::connection::State::Connected
        })
        .await;
        jetstream::new(client)
    }

    /// The intake stream, with room for so many messages of one subject.
    pub async fn intake_stream(&self, messages_per_subject: i64) -> stream::Stream {
        let config = stream::Config {
            name: "ALERTS".into(),
            subjects: vec!["alerts.*.*".into()],
            discard: stream::DiscardPolicy::New,
            discard_new_per_subject: true,
            max_messages_per_subject: messages_per_subject,
            ..Default::default()
        };
        self.jetstream().await.create_stream(config).await.unwrap()
    }

    /// The bucket of keys.
    pub async fn bucket(&self) -> kv::Store {
        let config = kv::Config { bucket: "integration_keys".into(), ..Default::default() };
        self.jetstream().await.create_key_value(config).await.unwrap()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Puts a key into the bucket as the alert service does.
pub async fn put_key(bucket: &kv::Store, key: &str, state: &str) {
    let value = serde_json::json!({
        "tenant": "default", "tenantId": uuid::Uuid::nil(), "integration": "demo", "integrationId": uuid::Uuid::nil(), "state": state
    });
    let digest: String = Sha256::digest(key).iter().map(|b| format!("{b:02x}")).collect();
    bucket.put(digest, value.to_string().into()).await.unwrap();
}

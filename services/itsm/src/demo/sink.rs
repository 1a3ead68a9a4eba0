//! The receiver of the webhook: listens on loopback for as long as the demo lasts, and checks what
//! a careful receiver checks, the signature of Standard Webhooks.

use std::{net::Ipv4Addr, time::Instant};

use anyhow::Context as _;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tokio::{
    net::TcpListener,
    sync::mpsc::{self, Receiver, Sender},
    task::JoinHandle,
};

/// How many messages may wait to be looked at; more are turned away.
const WAITING_AT_MOST: usize = 64;

/// One message as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// When.
    pub at: Instant,
    headers: HeaderMap,
    body: Bytes,
}

/// A receiver that listens.
#[derive(Debug)]
pub struct Sink {
    url: String,
    received: Receiver<Received>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Sink {
    /// Listens on a free port of loopback.
    pub async fn open() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("cannot listen on loopback")?;
        let url = format!("http://{}/pager", listener.local_addr().context("cannot listen on loopback")?);
        let (sender, received) = mpsc::channel(WAITING_AT_MOST);
        let router = Router::new().fallback(receive).with_state(sender);
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, received, server })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// The next message.
    pub async fn next(&mut self) -> Option<Received> {
        self.received.recv().await
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(sender): State<Sender<Received>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    match sender.try_send(Received { at: Instant::now(), headers, body }) {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

impl Received {
    /// Whether the message speaks of something.
    pub fn mentions(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(text)
    }

    /// Whether the sender had the secret, by `webhook-id`, `webhook-timestamp` and the body.
    pub fn signed_with(&self, secret: &str) -> bool {
        let header = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Ok(key) = STANDARD.decode(secret.trim_start_matches("whsec_")) else { return false };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else { return false };
        mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
        mac.update(&self.body);
        header("webhook-signature").split(' ').filter_map(|signature| signature.strip_prefix("v1,")).any(|signature| {
            STANDARD.decode(signature).is_ok_and(|signature| mac.clone().verify_slice(&signature).is_ok())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(id: &str, signature: &str, body: &'static [u8]) -> Received {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", "1614265330".parse().unwrap());
        headers.insert("webhook-signature", signature.parse().unwrap());
        Received { at: Instant::now(), headers, body: Bytes::from_static(body) }
    }

    #[test]
    fn only_the_holder_of_the_secret_can_sign() {
        // The example of the Standard Webhooks specification.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let body = br#"{"test": 2432232314}"#;
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        assert!(received(id, signature, body).signed_with(secret));
        assert!(received(id, &format!("v1,AAAA {signature}"), body).signed_with(secret));
        assert!(!received("msg_other", signature, body).signed_with(secret));
        assert!(!received(id, signature, b"{}").signed_with(secret));
        assert!(!received(id, signature, body).signed_with("whsec_AAAA"));
    }
}

//! The small port of a process that is not the gateway: numbers for Prometheus and answers for
//! probes. It shows nothing of any record, and takes nothing.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use kit::service::Readiness;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};

/// Answers on the address that the settings name, if they name one, until the handle is dropped.
///
/// # Errors
/// Fails when the address is taken.
pub async fn open(listen: Option<SocketAddr>, readiness: &Readiness) -> anyhow::Result<Option<Open>> {
    let Some(address) = listen else { return Ok(None) };
    let listener = TcpListener::bind(address).await.with_context(|| format!("`metrics.listen`: {address}"))?;
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || Json(json!({"status": "ok"}))))
        .route("/readyz", get(ready))
        .with_state(readiness.clone());
    tracing::info!(address = %listener.local_addr().unwrap_or(address), "metrics are shown");
    Ok(Some(Open(tokio::spawn(async move { axum::serve(listener, router).await }))))
}

/// An open port.
#[derive(Debug)]
pub struct Open(JoinHandle<std::io::Result<()>>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn metrics() -> impl IntoResponse {
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], kit::metrics::render())
}

async fn ready(State(readiness): State<Readiness>) -> impl IntoResponse {
    let waiting = readiness.waiting();
    let status = if waiting.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": waiting.is_empty(), "waitingFor": waiting})))
}

//! What a process shows of itself to those who watch it: its numbers on a port, its spans to a
//! collector. Nothing here may hold up or fail what is watched.

pub mod port;
mod spans;

use std::{future::Future, net::SocketAddr};

use serde::{Deserialize, Serialize};

/// Where the numbers of a process are shown, beside the gateway's own port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// The address that answers `/metrics`, `/healthz` and `/readyz`. Default: none.
    pub listen: Option<SocketAddr>,
}

/// Where spans go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tracing {
    /// The collector that takes OTLP by gRPC, as `http://host:4317` or `https://host:4317`. Empty:
    /// nothing is traced. `OTEL_EXPORTER_OTLP_ENDPOINT` sets it too.
    pub otlp_endpoint: String,
    /// Which part of the traces that begin here is kept, 0 to 1. One that a caller began is kept as
    /// the caller says.
    pub sample_ratio: f64,
}

impl Default for Tracing {
    fn default() -> Self {
        Self { otlp_endpoint: String::new(), sample_ratio: 1.0 }
    }
}

/// A ratio that is none.
#[derive(Debug, thiserror::Error)]
#[error("`tracing.sample_ratio` must be from 0 to 1; it is {0}")]
pub struct Ratio(f64);

impl Tracing {
    /// Judges the settings.
    ///
    /// # Errors
    /// A ratio that is none.
    pub fn check(&self) -> Result<(), Ratio> {
        if (0.0..=1.0).contains(&self.sample_ratio) { Ok(()) } else { Err(Ratio(self.sample_ratio)) }
    }
}

/// Does the work of a process named `name` with its spans sent on, and sends the last of them.
///
/// # Errors
/// As the work ends, or when the collector's address is none.
pub async fn traced<T>(
    settings: Tracing,
    name: String,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let provider = spans::start(&settings, name)?;
    let ended = work.await;
    if let Some(provider) = provider {
        spans::stop(provider).await;
    }
    ended
}

//! Into the intake stream, and nothing said to the sender before the stream has it for good.

use std::time::Duration;

use alert_formats::Format;
use async_nats::{
    Client, HeaderMap,
    connection::State,
    jetstream::{self, context::PublishError},
};
use axum::body::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use http::HeaderValue;
use kit::trace::{self, Kind};

use super::keys::Integration;
use crate::rest::problem::Problem;

/// How long the stream may take to acknowledge.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// JetStream's error for a stream that takes no more, in whole or from this subject.
const STREAM_FULL: usize = 10_077;

/// Publishes to the intake stream.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    jetstream: jetstream::Context,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

impl Publisher {
    /// A publisher by this client.
    pub fn new(client: Client) -> Self {
        Self { jetstream: jetstream::new(client.clone()), client }
    }

    /// Publishes a body as one message; answers the intake id once the stream has it.
    pub async fn publish(
        &self,
        integration: &Integration,
        format: Format,
        body: Bytes,
        received_at: DateTime<Utc>,
        trace: Option<&HeaderValue>,
    ) -> Result<String, Problem> {
        // The client would queue it for later, when nobody waits for the answer any more.
        if self.client.connection_state() != State::Connected {
            return Err(away("NATS is not connected"));
        }
        let intake_id = kit::id::draw().to_string();
        let mut headers = HeaderMap::new();
        headers.insert("Itsm-Format", format.as_str());
        headers.insert("Itsm-Intake-Id", intake_id.as_str());
        headers.insert("Itsm-Receive-Time", received_at.to_rfc3339_opts(SecondsFormat::Micros, true));
        let subject = format!("alerts.{}.{}", integration.tenant, integration.integration);
        let mut step = trace::child("gateway", Kind::Producer, &trace::current(), || "publish ALERTS".to_owned());
        kit::bus::describe(&mut step, "send", "publish", &subject, &intake_id);
        let carried = step.trace_parent();
        if let Some(trace) = carried.as_deref().or_else(|| trace.and_then(|v| v.to_str().ok())) {
            headers.insert("traceparent", trace);
        }
        let published = async {
            let ack = self.jetstream.publish_with_headers(subject, headers, body).await?;
            ack.await
        };
        let answer = match tokio::time::timeout(ACK_TIMEOUT, published).await {
            Ok(Ok(_)) => Ok(intake_id),
            Ok(Err(error)) => Err(refused(&error)),
            Err(_) => Err(away("the stream did not acknowledge in time")),
        };
        if let Err(problem) = &answer {
            step.fail(problem.reason.to_string());
        }
        answer
    }
}

/// Why the stream did not take it. Never a silent drop: the sender is told to come again.
fn refused(error: &PublishError) -> Problem {
    use std::error::Error as _;
    let code = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>()).map(|e| e.error_code());
    if code.is_some_and(|code| code.0 == STREAM_FULL as u64) {
        tracing::warn!(%error, "the intake stream is full");
        return Problem {
            retry_after: Some(Duration::from_secs(5)),
            ..Problem::unavailable("INTAKE_FULL", "the intake is full; send it again")
        };
    }
    away(&error.to_string())
}

fn away(cause: &str) -> Problem {
    tracing::warn!(cause, "an alert was not taken");
    Problem::unavailable("INTAKE_UNAVAILABLE", "alerts cannot be stored at the moment; send it again")
}

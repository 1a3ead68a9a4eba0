//! Alerts come in: one POST is one message of the intake stream, answered only when the stream has
//! it for good. The body is read once to tell the sender what of it is usable; what it means is the
//! alert service's to say, which reads the same bytes again. Nothing of a body that is refused as a
//! whole is stored, and nothing that was acknowledged is lost.

mod alertmanager;
mod cloudevents;
mod generic;
mod gzip;
pub mod keys;
mod prometheus;
pub mod publish;

use std::sync::Arc;

use alert_formats::{Format, Parsed, Refused};
use axum::{
    body::{Body, Bytes},
    response::Response,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, request::Parts};
use serde_json::json;

use self::{keys::Integration, publish::Publisher};
use crate::{
    body::{self, Budget},
    request::{RequestId, trace_parent},
    rest::problem::{Problem, Violation},
};

/// How many POSTs may be under way.
const IN_FLIGHT_LIMIT: usize = 1_024;

/// Where a POST goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Alertmanager,
    Prometheus,
    Generic,
    CloudEvents,
}

impl Source {
    fn of(path: &str) -> Option<Self> {
        match path {
            alertmanager::PATH => Some(Self::Alertmanager),
            prometheus::PATH => Some(Self::Prometheus),
            generic::PATH => Some(Self::Generic),
            cloudevents::PATH => Some(Self::CloudEvents),
            _ => None,
        }
    }

    fn format(self) -> Format {
        match self {
            Self::Alertmanager => Format::AlertmanagerWebhook,
            Self::Prometheus => Format::PrometheusAlerts,
            Self::Generic => Format::Generic,
            Self::CloudEvents => Format::CloudEvents,
        }
    }

    /// The body as it goes into the stream.
    fn prepare(self, headers: &HeaderMap, body: Bytes) -> Result<Bytes, Problem> {
        match self {
            Self::CloudEvents => cloudevents::prepare(headers, body),
            Self::Alertmanager | Self::Prometheus | Self::Generic => Ok(body),
        }
    }

    /// What the sender is told when the stream has it.
    fn accepted(self, parsed: &Parsed, intake_id: &str) -> Response {
        match self {
            Self::Prometheus => prometheus::accepted(parsed),
            Self::Alertmanager | Self::Generic | Self::CloudEvents => accepted(parsed, intake_id),
        }
    }
}

/// The intake.
#[derive(Debug)]
pub struct Intake {
    keys: Arc<keys::Keys>,
    publisher: Publisher,
    budget: Budget,
    in_flight: tokio::sync::Semaphore,
}

impl Intake {
    /// An intake over these keys and this stream.
    pub fn new(keys: Arc<keys::Keys>, publisher: Publisher) -> Self {
        Self { keys, publisher, budget: Budget::default(), in_flight: tokio::sync::Semaphore::new(IN_FLIGHT_LIMIT) }
    }

    /// Answers one request below `/intake/`.
    pub async fn handle(&self, request: Request<Body>) -> Response {
        let request_id = RequestId::carried(&request);
        match self.answer(request, &request_id).await {
            Ok(response) => response,
            Err(problem) => problem.respond(request_id.as_str()),
        }
    }

    async fn answer(&self, request: Request<Body>, request_id: &RequestId) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let unknown =
            || Problem::new(StatusCode::NOT_FOUND, "UNKNOWN_PATH", "there is no such intake; see /openapi.json");
        let rest = parts.uri.path().strip_prefix("/intake/").ok_or_else(unknown)?;
        let (key, path) = rest.split_once('/').ok_or_else(unknown)?;
        let source = Source::of(path).ok_or_else(unknown)?;
        if parts.method != Method::POST {
            let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "alerts are posted")
                .respond(request_id.as_str());
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            return Ok(response);
        }
        let taken = match self.keys.find(key) {
            Ok(integration) => self.take(source, &integration, &parts, body).await,
            Err(problem) => Err(problem),
        };
        let (outcome, reason) = match &taken {
            Ok(_) => ("accepted", ""),
            Err(problem) if problem.status.is_server_error() => ("busy", &*problem.reason),
            Err(problem) => ("refused", &*problem.reason),
        };
        kit::metrics::get().intake(outcome, reason, source.format().as_str());
        taken
    }

    async fn take(
        &self,
        source: Source,
        integration: &Integration,
        parts: &Parts,
        body: Body,
    ) -> Result<Response, Problem> {
        let _turn = self.in_flight.try_acquire().map_err(|_| busy())?;
        let _room = self.budget.room(&parts.headers)?;
        let bytes = gzip::plain(&parts.headers, body::read(body).await?)?;
        let (format, bytes) = (source.format(), source.prepare(&parts.headers, bytes)?);
        #[expect(
            clippy::disallowed_methods,
            reason = "what the sender is told; the stream's timestamp is the one that counts"
        )]
        let received_at = chrono::Utc::now();
        let parsed = alert_formats::parse(format, &bytes, received_at).map_err(refused)?;
        if let Some(refusal) = parsed.refusal_of_all() {
            return Err(refused(refusal));
        }
        let trace = trace_parent(&parts.headers);
        let intake_id = self.publisher.publish(integration, format, bytes, received_at, trace.as_ref()).await?;
        Ok(source.accepted(&parsed, &intake_id))
    }
}

/// The answer of every source that has none of its own.
fn accepted(parsed: &Parsed, intake_id: &str) -> Response {
    let rejected: Vec<_> = parsed
        .rejected
        .iter()
        .map(|r| json!({"index": r.index, "field": r.field, "reason": r.reason, "code": r.code}))
        .collect();
    let answer = json!({"accepted": parsed.accepted.len(), "rejected": rejected, "intakeId": intake_id});
    let mut response = Response::new(Body::from(answer.to_string()));
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A body that cannot be used at all.
fn refused(refusal: Refused) -> Problem {
    let status = if refusal.is_size_limit() { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
    let violation = Violation { field: refusal.field().to_owned(), description: refusal.to_string() };
    Problem { violations: vec![violation], ..Problem::new(status, refusal.reason(), refusal.to_string()) }
}

/// Too many at once. Not 429: Alertmanager does not try again after that.
fn busy() -> Problem {
    Problem::unavailable("INTAKE_BUSY", "too many alerts at once; send it again")
}

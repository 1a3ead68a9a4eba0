//! gRPC through the gateway as bytes: nothing is decoded, so that trailers, deadlines and
//! cancellation pass as they are and a new RPC needs no code. Only the credential is swapped for
//! the inner token. Services named `Internal` are never reached from here.

use std::{
    error::Error as StdError,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use http::{HeaderMap, Request, Version, header};
use http_body::Frame;
use kit::access;
use tonic::{Code, Status};
use tower::Service as _;

use crate::{
    App,
    auth::{Credential, Granted, guard},
    request::{REQUEST_ID, RequestId, TRACE_PARENT, trace_parent},
    rest::routes,
    server::Label,
    steps,
};

/// The largest request that is passed on; services take at most 4 MiB in one message.
const REQUEST_LIMIT: usize = 4 * 1024 * 1024 + 5;

/// What a caller is told when a service does not answer; the cause is for the log.
pub fn away(error: &dyn std::fmt::Debug) -> Status {
    tracing::warn!(?error, "a service is away");
    access::status(Code::Unavailable, "UNAVAILABLE", "the service is away; try again")
}

/// Passes a call on.
pub async fn forward(app: Arc<App>, request: Request<Body>) -> Response {
    let label = access::method(request.uri().path()).map(|method| Label(method.path));
    let mut response = call(app, request).await.unwrap_or_else(Status::into_http);
    if let Some(label) = label {
        response.extensions_mut().insert(label);
    }
    response
}

async fn call(app: Arc<App>, request: Request<Body>) -> Result<Response, Status> {
    let path = request.uri().path().to_owned();
    let Some(service) = public_service(&path) else { return Err(unknown()) };
    let Some(mut channel) = app.peers.channel(service) else { return Err(unknown()) };
    if request.version() < Version::HTTP_2 {
        return Err(access::status(Code::FailedPrecondition, "HTTP2_NEEDED", "gRPC needs HTTP/2"));
    }
    let credential = Credential::of(request.headers())?;
    let granted = app.keyring.judge(&credential).await?;
    let streams = access::method(&path).is_some_and(|method| method.server_streaming);
    let permit = if streams { Some(app.stream_permit()?) } else { None };
    // Held until the service answered.
    let _turn = app.turns.next(&granted.tenant).await?;

    let (mut parts, body) = request.into_parts();
    let request_id = parts.extensions.get::<RequestId>().cloned().unwrap_or_else(|| RequestId::of(&parts.headers));
    clean(&mut parts.headers, &granted, &request_id);
    let mut step = steps::call(&path);
    if let Some(carried) = step.trace_parent().and_then(|carried| carried.parse().ok()) {
        parts.headers.insert(TRACE_PARENT, carried);
    }
    // What the gateway knows about the request is not the service's business.
    parts.extensions = http::Extensions::new();
    let exceeded = Arc::new(AtomicBool::new(false));
    let capped = Capped { inner: body, left: REQUEST_LIMIT, exceeded: exceeded.clone() };
    let request = Request::from_parts(parts, tonic::body::Body::new(capped));

    std::future::poll_fn(|context| channel.poll_ready(context)).await.map_err(|error| away(&error))?;
    let response = channel.call(request).await.map_err(|error| refused(&error, &exceeded));
    let code = response.as_ref().map_or_else(Status::code, |answer| {
        Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code())
    });
    access::note_code(&mut step, code, false);
    let response = response?;
    let (parts, body) = response.into_parts();
    let body = match permit {
        Some(permit) => {
            let cut = guard::watch(app.keyring.clone(), credential, app.stopping.clone(), permit);
            Body::new(guard::GuardedBody::new(Body::new(body), cut))
        }
        None => Body::new(body),
    };
    Ok(Response::from_parts(parts, body))
}

/// The service in `/itsm.<service>.v1.<X>Service/<M>`; nothing for any other path.
fn public_service(path: &str) -> Option<&str> {
    let (full_name, method) = path.strip_prefix('/')?.split_once('/')?;
    if method.is_empty() || method.contains('/') || !full_name.ends_with("Service") {
        return None;
    }
    routes::owner(full_name)
}

fn unknown() -> Status {
    access::status(Code::Unimplemented, "UNKNOWN_METHOD", "there is no such RPC")
}

/// What a caller is told when a service took longer than the caller, or the gateway, waits.
pub fn late() -> Status {
    access::status(
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        "the service took too long; it may have done it all the same",
    )
}

/// Why a call did not go through: the caller's own fault where its request was too large, or the
/// service is late, or away.
fn refused(error: &(dyn StdError + 'static), exceeded: &AtomicBool) -> Status {
    if exceeded.load(Ordering::Relaxed) {
        return access::status(Code::ResourceExhausted, "REQUEST_TOO_LARGE", "a request may have at most 4 MiB");
    }
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<tonic::TimeoutExpired>() {
            return late();
        }
        cause = error.source();
    }
    away(&error)
}

/// A request's body up to the limit. It notes that the limit was met, because the error that says
/// so is lost on its way through the client.
struct Capped {
    inner: Body,
    left: usize,
    exceeded: Arc<AtomicBool>,
}

impl http_body::Body for Capped {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(http_body::Body::poll_frame(Pin::new(&mut self.inner), cx));
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(left) = self.left.checked_sub(length) else {
                self.exceeded.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(axum::Error::new("the request is too large"))));
            };
            self.left = left;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

/// Leaves what a service may see: its own headers of trust come from the gateway alone.
fn clean(headers: &mut HeaderMap, granted: &Granted, request_id: &RequestId) {
    let trace = trace_parent(headers);
    let ours: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("itsm-") || name.as_str().starts_with("x-itsm-"))
        .cloned()
        .collect();
    for name in ours.into_iter().chain([header::HOST, header::COOKIE, header::FORWARDED, TRACE_PARENT]) {
        headers.remove(name);
    }
    headers.insert(header::AUTHORIZATION, granted.authorization.clone());
    headers.insert(REQUEST_ID, request_id.header());
    if let Some(trace) = trace {
        headers.insert(TRACE_PARENT, trace);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_public_services_are_reached() {
        assert_eq!(public_service("/itsm.incident.v1.IncidentService/GetIncident"), Some("incident"));
        for path in [
            "/itsm.incident.v1.Internal/Feed",
            "/itsm.directory.v1.Internal/Authenticate",
            "/grpc.health.v1.Health/Check",
            "/itsm.incident.v1.IncidentService/",
            "/itsm.incident.v1.IncidentService/a/b",
            "/itsm.incident.v2.IncidentService/GetIncident",
            "/other.incident.v1.IncidentService/GetIncident",
            "/",
            "",
        ] {
            assert_eq!(public_service(path), None, "{path}");
        }
    }

    #[test]
    fn a_caller_cannot_speak_in_the_gateways_name() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "x-itsm-person", "itsm-service-token", "cookie", "traceparent", "x-request-id"] {
            headers.insert(name, HeaderValue::from_static("forged"));
        }
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert("grpc-timeout", HeaderValue::from_static("1S"));
        let granted = Granted { authorization: HeaderValue::from_static("Bearer inner"), tenant: "acme".into() };
        let request_id = RequestId::of(&HeaderMap::new());
        clean(&mut headers, &granted, &request_id);
        let mut left: Vec<_> = headers.iter().map(|(n, v)| format!("{n}={}", v.to_str().unwrap())).collect();
        left.sort();
        let id = format!("x-request-id={}", request_id.as_str());
        assert_eq!(left, ["authorization=Bearer inner", "grpc-timeout=1S", "te=trailers", &id]);
    }
}

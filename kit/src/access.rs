//! The door of every service: who calls, and whether the RPC is open to them. An RPC that declares
//! no permission is open to nobody.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    task::{Context, Poll},
    time::Instant,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use proto::{Method, common::v1::Role};
use tonic::{Code, Status, body::Body};
use tonic_types::{ErrorDetails, StatusExt};
use tower::{Layer, Service};

use crate::{
    caller::Caller,
    clock::Clock,
    metrics, problem,
    tls::Holder,
    token::Verifier,
    trace::{self, Kind, Span},
};

static METHODS: LazyLock<HashMap<&'static str, &'static Method>> =
    LazyLock::new(|| proto::METHODS.iter().map(|method| (method.path, method)).collect());

/// What an RPC demands, by path.
#[must_use]
pub fn method(path: &str) -> Option<&'static Method> {
    METHODS.get(path).copied()
}

/// A status with a stable reason.
#[must_use]
pub fn status(code: Code, reason: &str, message: &str) -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, problem::DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

/// The one answer to every credential that is missing, garbage, expired or revoked.
#[must_use]
pub fn unauthenticated() -> Status {
    status(Code::Unauthenticated, "UNAUTHENTICATED", "send a valid API key as `authorization: Bearer KEY`")
}

/// Decides whether a caller may use an RPC at all; the record's teams are checked by the use case.
///
/// # Errors
/// PERMISSION_DENIED with the reason.
pub fn permit(method: &Method, caller: &Caller) -> Result<(), Status> {
    let role = Role::try_from(method.role).unwrap_or(Role::Unspecified);
    let denied = |message: &str| Err(status(Code::PermissionDenied, "PERMISSION_DENIED", message));
    match (caller, role) {
        (_, Role::Unspecified) => denied("this RPC declares no access"),
        (Caller::Service(_), Role::Service) => Ok(()),
        (Caller::Service(_), _) => denied("this is for people and service accounts"),
        (Caller::Person(_), Role::Service) => denied("this is for services"),
        (Caller::Person(person), role) if !person.holds(role) => {
            let name = role.as_str_name().trim_start_matches("ROLE_").to_lowercase();
            denied(&format!("this needs the role {name}"))
        }
        (Caller::Person(person), _) if !person.in_scope(method.permission) => {
            denied(&format!("this key's scopes do not include {}", method.permission))
        }
        (Caller::Person(_), _) => Ok(()),
    }
}

/// A code as metrics name it, such as `OK` or `NOT_FOUND`.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The call as a step of the caller's trace, which what it writes then carries on. What carries
/// none, such as the polling of feeds, begins none.
fn step(service: &'static str, method: &'static str, request: &mut Request<Body>) -> Span {
    let parent = request.headers().get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut step = trace::child(service, Kind::Server, parent, || method.trim_start_matches('/').to_owned());
    if let Some(carried) = step.trace_parent().and_then(|carried| carried.parse().ok()) {
        request.headers_mut().insert("traceparent", carried);
    }
    name_rpc(&mut step, method);
    step
}

/// Says which RPC a step is, in the words of the conventions.
pub fn name_rpc(step: &mut Span, path: &str) {
    if let Some((service, method)) = path.trim_start_matches('/').split_once('/').filter(|_| step.is_some()) {
        step.set("rpc.system", "grpc");
        step.set("rpc.service", service.to_owned());
        step.set("rpc.method", method.to_owned());
    }
}

/// Says how an RPC ended. For who was called, a caller's mistake is no failure.
pub fn note_code(step: &mut Span, code: Code, called: bool) {
    step.set("rpc.grpc.status_code", i64::from(i32::from(code)));
    let ours = matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    );
    if ours || (!called && code != Code::Ok) {
        step.fail(code_name(code));
    }
}

/// Puts the door in front of a service.
#[derive(Clone)]
pub struct AccessLayer {
    service: &'static str,
    verifier: Arc<Verifier>,
    clock: Arc<dyn Clock>,
}

impl AccessLayer {
    /// A door for one service.
    #[must_use]
    pub fn new(service: &'static str, verifier: Arc<Verifier>, clock: Arc<dyn Clock>) -> Self {
        Self { service, verifier, clock }
    }

    fn judge(&self, request: &Request<Body>) -> Result<Option<Caller>, Status> {
        let path = request.uri().path();
        if path.starts_with("/grpc.health.v1.Health/") {
            return Ok(None);
        }
        let credential = request
            .headers()
            .get(http::header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let caller = credential.ok_or_else(unauthenticated).and_then(|token| {
            self.verifier.verify(token, self.clock.now()).map_err(|error| {
                tracing::debug!(%error, path, "credential refused");
                unauthenticated()
            })
        })?;
        if let Some(holder) = request.extensions().get::<Holder>()
            && !holder.speaks_for(&caller)
        {
            tracing::warn!(path, holder = holder.0, "the credential is not one of who sent it");
            return Err(unauthenticated());
        }
        let Some(method) = method(path) else {
            return Err(status(Code::Unimplemented, "UNKNOWN_METHOD", "there is no such RPC"));
        };
        permit(method, &caller)?;
        Ok(Some(caller))
    }
}

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;
    fn layer(&self, inner: S) -> Access<S> {
        Access { layer: self.clone(), inner }
    }
}

/// A service behind the door.
#[derive(Clone)]
pub struct Access<S> {
    layer: AccessLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Access<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let began = Instant::now();
        let service = self.layer.service;
        let method = method(request.uri().path()).map_or("unknown", |method| method.path);
        match self.layer.judge(&request) {
            Err(refused) => {
                metrics::get().request(service, method, code_name(refused.code()), began.elapsed().as_secs_f64());
                Box::pin(async move { Ok(refused.into_http()) })
            }
            Ok(caller) => {
                let mut step = step(service, method, &mut request);
                let header =
                    |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
                let tenant = match &caller {
                    Some(Caller::Person(person)) => person.tenant.slug.as_str(),
                    Some(Caller::Service(_)) | None => "",
                };
                let (request_id, trace_id) = (header("x-request-id"), trace::id(header("traceparent")));
                let span = tracing::info_span!("rpc", method, request_id, trace_id, tenant);
                if let Some(caller) = caller {
                    request.extensions_mut().insert(caller);
                }
                let inner = self.inner.clone();
                let mut ready = std::mem::replace(&mut self.inner, inner);
                Box::pin(tracing::Instrument::instrument(
                    async move {
                        let response = trace::within(&step, ready.call(request)).await?;
                        let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
                        metrics::get().request(service, method, code_name(code), began.elapsed().as_secs_f64());
                        note_code(&mut step, code, true);
                        tracing::debug!(service, code = code_name(code), "answered");
                        Ok(response)
                    },
                    span,
                ))
            }
        }
    }
}

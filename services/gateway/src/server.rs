//! The port: connections in, requests to the part that answers them. Every request gets an id, is
//! counted, and is answered whatever happens behind; every answer carries the headers that keep a
//! browser from doing harm with it. Paths are not logged, for an intake path holds a key.

use std::{convert::Infallible, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::State, response::Response, routing::get};
use futures::FutureExt as _;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use kit::trace;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Code;
use tower::ServiceExt as _;

use crate::{
    App, forward, page,
    request::{REQUEST_ID, RequestId},
    rest::{self, problem::Problem},
    steps,
};

/// How long a client may take for its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take for its headers, which is also how long it may keep a connection
/// open for its next request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a silent HTTP/2 connection is asked whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// What an answer is counted as, the path of its RPC; set by whoever answered.
#[derive(Debug, Clone, Copy)]
pub struct Label(pub &'static str);

/// Everything that the port answers.
#[derive(Debug, Clone)]
pub struct Port {
    app: Arc<App>,
    router: Router,
}

impl Port {
    /// The port of an app.
    pub fn new(app: Arc<App>) -> Self {
        let intake =
            |State(app): State<Arc<App>>, request: Request<Body>| async move { app.intake.handle(request).await };
        let rest =
            |State(app): State<Arc<App>>, request: Request<Body>| async move { rest::handle(app, request).await };
        let router = Router::new()
            .route("/", get(page::home))
            .route("/openapi.json", get(page::openapi))
            .route("/healthz", get(page::health))
            .route("/readyz", get(page::ready))
            .route("/metrics", get(page::metrics))
            .route("/intake/{*rest}", axum::routing::any(intake))
            .fallback(rest)
            .with_state(app.clone());
        Self { app, router }
    }

    /// Answers a request.
    pub async fn answer(&self, mut request: Request<Body>) -> Response {
        let began = Instant::now();
        let request_id = RequestId::of(request.headers());
        request.extensions_mut().insert(request_id.clone());
        let kind = kind(&request);
        let grpc = kind == "grpc";
        let mut step = steps::begin(kind, &mut request);
        // Under load the probes must still tell that the process lives.
        let turn = if is_page(kind) { None } else { Some(self.app.requests.clone().try_acquire_owned()) };
        let answered = if matches!(turn, Some(Err(_))) {
            failed(grpc, Problem::unavailable("OVERLOADED", "too many requests at once; try again"), &request_id)
        } else {
            AssertUnwindSafe(trace::within(&step, self.dispatch(request, grpc))).catch_unwind().await.unwrap_or_else(
                |_| {
                    tracing::error!(request_id = request_id.as_str(), kind, "a request panicked");
                    let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "internal error");
                    failed(grpc, problem, &request_id)
                },
            )
        };
        drop(turn);
        let response = self.dress(answered, &request_id);
        let label = response.extensions().get::<Label>().map_or(kind, |label| label.0);
        let code = code_of(&response);
        kit::metrics::get().request("gateway", label, kit::access::code_name(code), began.elapsed().as_secs_f64());
        let trace_parent = step.trace_parent().unwrap_or_default();
        steps::end(&mut step, label, code, &response);
        if response.status().is_server_error() {
            tracing::warn!(
                request_id = request_id.as_str(),
                trace_id = trace::id(&trace_parent),
                label,
                status = response.status().as_u16(),
                "a request failed"
            );
        } else {
            tracing::debug!(request_id = request_id.as_str(), label, status = response.status().as_u16(), "answered");
        }
        response
    }

    async fn dispatch(&self, request: Request<Body>, grpc: bool) -> Response {
        if grpc {
            return forward::forward(self.app.clone(), request).await;
        }
        match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    fn dress(&self, mut response: Response, request_id: &RequestId) -> Response {
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, request_id.header());
        for (name, value) in SAFETY {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self.app.tls {
            let year = HeaderValue::from_static("max-age=31536000");
            headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
        }
        response
    }
}

/// Answers hold records and reasons: not to be kept by caches, framed, or taken for something else.
const SAFETY: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
];

/// What kind of request it is, for numbers and logs.
fn kind<B>(request: &Request<B>) -> &'static str {
    let content_type = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    // gRPC-Web is another protocol, and not spoken here.
    if content_type == b"application/grpc"
        || content_type.starts_with(b"application/grpc+")
        || content_type.starts_with(b"application/grpc;")
    {
        return "grpc";
    }
    match request.uri().path() {
        "/" => "/",
        "/openapi.json" => "/openapi.json",
        "/healthz" => "/healthz",
        "/readyz" => "/readyz",
        "/metrics" => "/metrics",
        path if path.starts_with("/intake/") => "/intake",
        _ => "rest",
    }
}

/// The gRPC code of an answer, for numbers alone: HTTP tells fewer apart.
fn code_of(response: &Response) -> Code {
    if let Some(status) = tonic::Status::from_header_map(response.headers()) {
        return status.code();
    }
    match response.status().as_u16() {
        200..=399 => Code::Ok,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 | 405 => Code::NotFound,
        409 => Code::Aborted,
        413 | 429 => Code::ResourceExhausted,
        400..=498 => Code::InvalidArgument,
        499 => Code::Cancelled,
        501 => Code::Unimplemented,
        503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        _ => Code::Internal,
    }
}

/// Whether it is answered from what is in memory.
fn is_page(kind: &str) -> bool {
    matches!(kind, "/" | "/openapi.json" | "/healthz" | "/readyz" | "/metrics")
}

fn failed(grpc: bool, problem: Problem, request_id: &RequestId) -> Response {
    if grpc {
        let code = if problem.status == StatusCode::SERVICE_UNAVAILABLE { Code::Unavailable } else { Code::Internal };
        return kit::access::status(code, &problem.reason, &problem.detail).into_http();
    }
    problem.respond(request_id.as_str())
}

/// Accepts connections until it is dropped. Those that are open then end by themselves once the
/// stop is said, each with the answer it is giving; the tracker tells when all have.
#[derive(Clone)]
pub struct Acceptor {
    /// The handshake, where the port speaks TLS.
    pub tls: Option<TlsAcceptor>,
    /// What answers.
    pub port: Port,
    /// The sign to stop.
    pub stopping: CancellationToken,
    /// The open connections.
    pub open: TaskTracker,
}

impl Acceptor {
    /// Accepts connections, so many at a time.
    pub async fn run(self, listener: TcpListener, connections: usize) {
        let turns = Arc::new(Semaphore::new(connections));
        loop {
            let Ok(turn) = turns.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Answers are small and waited for.
                    let _ = stream.set_nodelay(true);
                    let this = self.clone();
                    self.open.spawn(async move {
                        this.connection(stream).await;
                        drop(turn);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely; those in use come back.
                    tracing::warn!(%error, "a connection could not be accepted");
                    kit::clock::pause(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream) {
        let Some(tls) = self.tls.clone() else { return self.serve(stream).await };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(64 * 1024);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .max_concurrent_streams(256)
            .max_header_list_size(64 * 1024);
        let port = self.port;
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let port = port.clone();
            async move { Ok::<_, Infallible>(port.answer(request.map(Body::new)).await) }
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        }
    }
}

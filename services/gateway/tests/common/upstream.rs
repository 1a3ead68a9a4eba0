//! Services as far as the gateway can see them: they answer RPCs as bytes, and remember what they
//! were asked.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, response::Response};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use http::{HeaderMap, Request};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message;
use proto::{
    common::v1::PositionResponse,
    directory::v1::{AuthenticateRequest, AuthenticateResponse},
    incident::v1::{GetIncidentRequest, Incident, IncidentEventEntry, IncidentState, ResolveIncidentRequest},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// One call that arrived.
#[derive(Debug, Clone)]
pub struct Call {
    pub path: String,
    pub headers: HeaderMap,
    pub message: Bytes,
}

#[derive(Debug, Default)]
struct State {
    calls: Mutex<Vec<Call>>,
    revoked: AtomicBool,
    watching: AtomicBool,
    held: tokio::sync::watch::Sender<bool>,
}

#[derive(Debug, Clone)]
pub struct Upstream {
    address: SocketAddr,
    state: Arc<State>,
}

impl Upstream {
    pub async fn start() -> Self {
        let state = Arc::new(State::default());
        let answering = state.clone();
        let router = Router::new().fallback(move |request: Request<Body>| answer(answering.clone(), request));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on the good credential is no longer good.
    pub fn revoke(&self) {
        self.state.revoked.store(true, Ordering::SeqCst);
    }

    /// Whether a watch is open.
    pub fn is_watching(&self) -> bool {
        self.state.watching.load(Ordering::SeqCst)
    }

    /// From now on reads wait.
    pub fn hold(&self) {
        self.state.held.send_replace(true);
    }

    /// They wait no longer.
    pub fn release(&self) {
        self.state.held.send_replace(false);
    }

    /// The calls of one RPC.
    pub fn calls(&self, method: &str) -> Vec<Call> {
        let calls = self.state.calls.lock().unwrap();
        calls.iter().filter(|c| c.path.ends_with(method)).cloned().collect()
    }
}

async fn answer(state: Arc<State>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let message = match body.collect().await {
        Ok(body) => body.to_bytes().slice(5..),
        Err(_) => return Status::cancelled("broke off").into_http(),
    };
    state.calls.lock().unwrap().push(Call { path: path.clone(), headers: parts.headers, message: message.clone() });
    match path.rsplit('/').next().unwrap() {
        "Authenticate" => authenticate(&state, &message),
        "Position" => reply(vec![PositionResponse::default()]),
        "GetIncident" => {
            state.held.subscribe().wait_for(|held| !held).await.unwrap();
            get(GetIncidentRequest::decode(message).unwrap())
        }
        "ResolveIncident" => refuse(ResolveIncidentRequest::decode(message).unwrap()),
        "WatchIncidents" => watch(state),
        _ => Status::unimplemented("not here").into_http(),
    }
}

fn authenticate(state: &State, message: &Bytes) -> Response {
    let request = AuthenticateRequest::decode(message.clone()).unwrap();
    if request.credential == "itsm_good" && !state.revoked.load(Ordering::SeqCst) {
        return reply(vec![AuthenticateResponse { token: "inner".into(), tenant: "acme".into(), expire_time: None }]);
    }
    kit::access::unauthenticated().into_http()
}

fn get(request: GetIncidentRequest) -> Response {
    match request.id.as_str() {
        "slow" => Status::deadline_exceeded("too slow").into_http(),
        "gone" => kit::access::status(Code::NotFound, "NOT_FOUND", "there is no incident gone").into_http(),
        id => reply(vec![Incident {
            id: id.to_owned(),
            title: "Mail".into(),
            state: IncidentState::New.into(),
            ..Default::default()
        }]),
    }
}

fn refuse(request: ResolveIncidentRequest) -> Response {
    let mut details = ErrorDetails::new();
    details.set_error_info("INCIDENT_ALREADY_CLOSED", "itsm", [("state".to_owned(), "CLOSED".to_owned())]);
    details.add_precondition_failure_violation("STATE", request.id, "reopen it first");
    Status::with_error_details(Code::FailedPrecondition, "it is closed", details).into_http()
}

/// One event, and then silence until the caller goes.
fn watch(state: Arc<State>) -> Response {
    struct Open(Arc<State>);
    impl Drop for Open {
        fn drop(&mut self) {
            self.0.watching.store(false, Ordering::SeqCst);
        }
    }
    state.watching.store(true, Ordering::SeqCst);
    let open = Open(state);
    let first = futures::stream::once(async {
        frame(&IncidentEventEntry { cursor: "c1".into(), r#type: "opened".into(), ..Default::default() })
    });
    let silence = futures::stream::once(async move {
        let _open = open;
        kit::clock::pause(Duration::from_secs(3_600)).await;
        Bytes::new()
    });
    let frames = first.chain(silence).map(|bytes| Ok::<_, Infallible>(Frame::data(bytes)));
    respond(Body::new(StreamBody::new(frames)))
}

fn reply<M: Message>(messages: Vec<M>) -> Response {
    let trailers =
        HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from_static("0"))]);
    let frames = messages
        .iter()
        .map(frame)
        .map(Frame::data)
        .chain([Frame::trailers(trailers)])
        .map(Ok::<_, Infallible>)
        .collect::<Vec<_>>();
    respond(Body::new(StreamBody::new(futures::stream::iter(frames))))
}

fn respond(body: Body) -> Response {
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

fn frame<M: Message>(message: &M) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut bytes).unwrap();
    bytes.freeze()
}

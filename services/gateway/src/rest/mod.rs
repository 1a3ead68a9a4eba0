//! REST over the services' gRPC, by descriptor alone: a request is matched to an RPC, bound to its
//! message, sent on under the caller's inner token, and the answer is shown as JSON. There is no
//! code for any single RPC here, and no rule of the domain.

pub mod bind;
pub mod call;
pub mod json_in;
pub mod json_out;
pub mod openapi;
pub mod problem;
pub mod routes;
pub mod schema;
pub mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, uri::PathAndQuery};
use kit::trace::Span;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use tonic::{Code, Status};

use self::{
    bind::{Asked, bind},
    json_out::Shown,
    problem::Problem,
    routes::{Found, Route},
    stream::Form,
};
use crate::{
    App,
    auth::{Credential, Granted, guard},
    body,
    request::{REQUEST_ID, RequestId, TRACE_PARENT, trace_parent},
    server::Label,
    steps::{self, Template},
};

/// Answers one REST request.
pub async fn handle(app: Arc<App>, request: Request<Body>) -> Response {
    let request_id = RequestId::carried(&request);
    let (route, bound) = match app.routes.find(request.method(), request.uri().path()) {
        Found::Route(route, bound) => (route, bound),
        Found::OtherMethods(methods) => return other_methods(&methods, &request_id),
        Found::Nothing => {
            let problem =
                Problem::new(StatusCode::NOT_FOUND, "UNKNOWN_PATH", "there is nothing at this path; see /openapi.json");
            return problem.respond(request_id.as_str());
        }
    };
    let mut response = match answer(&app, route, &bound, request, &request_id).await {
        Ok(response) => response,
        Err(problem) => problem.respond(request_id.as_str()),
    };
    if let Some(method) = kit::access::method(&route.grpc_path()) {
        response.extensions_mut().insert(Label(method.path));
    }
    if kit::trace::on() {
        response.extensions_mut().insert(Template(route.template.clone()));
    }
    response
}

async fn answer(
    app: &App,
    route: &Route,
    bound: &[(Vec<String>, String)],
    request: Request<Body>,
    request_id: &RequestId,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    // Who asks comes before what: nobody without a credential learns anything from the answers.
    let credential = Credential::of(&parts.headers).map_err(Status::from)?;
    let granted = app.keyring.judge(&credential).await.map_err(Status::from)?;
    let _room = app.budget.room(&parts.headers)?;
    let body = body::read(body).await?;
    let query = parts.uri.query().unwrap_or_default();
    let message = bind(route, &Asked { bound, query, headers: &parts.headers, body: &body })?;

    let Some(channel) = app.peers.channel(route.service()) else {
        return Err(Problem::unavailable("UNAVAILABLE", "the service is not configured here"));
    };
    let _turn = app.turns.next(&granted.tenant).await?;
    let path = PathAndQuery::try_from(route.grpc_path())
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "the RPC has no path"))?;
    let mut step = steps::call(path.path());
    let outgoing = outgoing(&message, &parts.headers, &granted, request_id, &step);
    if !route.rpc.is_server_streaming() {
        let reply = call::unary(channel, path, outgoing).await;
        kit::access::note_code(&mut step, reply.as_ref().map_or_else(Status::code, |_| Code::Ok), false);
        return show(route, reply?.into_inner());
    }
    let permit = app.stream_permit()?;
    let entries = call::streaming(channel, path, outgoing).await?;
    let cut = guard::watch(app.keyring.clone(), credential, app.stopping.clone(), permit);
    Ok(stream::respond(entries, route.rpc.output(), Form::of(&parts.headers), cut, request_id.clone()))
}

fn outgoing(
    message: &DynamicMessage,
    headers: &HeaderMap,
    granted: &Granted,
    request_id: &RequestId,
    step: &Span,
) -> tonic::Request<Bytes> {
    let mut metadata = HeaderMap::new();
    metadata.insert(header::AUTHORIZATION, granted.authorization.clone());
    metadata.insert(REQUEST_ID, request_id.header());
    let carried = step.trace_parent().and_then(|carried| HeaderValue::try_from(carried).ok());
    if let Some(trace) = carried.or_else(|| trace_parent(headers)) {
        metadata.insert(TRACE_PARENT, trace);
    }
    let metadata = tonic::metadata::MetadataMap::from_headers(metadata);
    tonic::Request::from_parts(metadata, tonic::Extensions::new(), Bytes::from(message.encode_to_vec()))
}

fn show(route: &Route, bytes: Bytes) -> Result<Response, Problem> {
    let shown = DynamicMessage::decode(route.rpc.output(), bytes)
        .map_err(|error| error.to_string())
        .and_then(|message| serde_json::to_vec(&Shown(&message)).map_err(|error| error.to_string()));
    match shown {
        Ok(json) => {
            let mut response = Response::new(Body::from(json));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(response)
        }
        Err(error) => {
            tracing::error!(rpc = route.rpc.full_name(), error, "an answer cannot be shown");
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "the answer cannot be shown"))
        }
    }
}

fn other_methods(methods: &[Method], request_id: &RequestId) -> Response {
    let names: Vec<_> = methods.iter().map(Method::as_str).collect();
    let allow = names.join(", ");
    let detail = format!("this path takes {allow}");
    let mut response =
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail).respond(request_id.as_str());
    if let Ok(allow) = HeaderValue::from_str(&allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

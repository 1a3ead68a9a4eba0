//! Requests as steps of traces, in the words of the conventions. No path is told, for an intake path
//! holds a key: the route that it took is.

use axum::{body::Body, response::Response};
use http::{HeaderValue, Request};
use kit::{
    access,
    trace::{self, Kind, Span},
};
use tonic::Code;

use crate::request::{TRACE_PARENT, trace_parent};

/// The template of the REST path that was taken; set by whoever answered, while anything is traced.
#[derive(Debug, Clone)]
pub struct Template(pub String);

/// Begins with a request: in the caller's trace, or a new one. What is behind goes on from here, by
/// the header that it finds. Probes and pages are not traced.
pub fn begin(kind: &'static str, request: &mut Request<Body>) -> Span {
    if !trace::on() || !matches!(kind, "grpc" | "rest" | "/intake") {
        return Span::default();
    }
    let parent = trace_parent(request.headers());
    let parent = parent.as_ref().and_then(|parent| parent.to_str().ok()).unwrap_or_default();
    let method = request.method().as_str().to_owned();
    let mut step = trace::begin("gateway", Kind::Server, parent, || method.clone());
    step.set("http.request.method", method);
    if let Some(carried) = step.trace_parent().and_then(|carried| HeaderValue::try_from(carried).ok()) {
        request.headers_mut().insert(TRACE_PARENT, carried);
    }
    step
}

/// Ends with the answer.
pub fn end(step: &mut Span, label: &'static str, code: Code, response: &Response) {
    if !step.is_some() {
        return;
    }
    step.set("http.response.status_code", i64::from(response.status().as_u16()));
    let route = match (response.extensions().get::<Template>(), label) {
        (Some(Template(template)), _) => Some(template.as_str()),
        (None, "/intake") => Some("/intake/{key}/{format}"),
        (None, _) => None,
    };
    match route {
        Some(route) => {
            step.set("http.route", route.to_owned());
            step.rename(|| route.to_owned());
        }
        None if label.starts_with("/itsm.") => {
            step.rename(|| label.trim_start_matches('/').to_owned());
            access::name_rpc(step, label);
            access::note_code(step, code, true);
        }
        None => {}
    }
    if response.status().is_server_error() {
        step.fail(access::code_name(code));
    }
}

/// The call of a service as a step of the request.
pub fn call(path: &str) -> Span {
    let mut step = trace::child("gateway", Kind::Client, &trace::current(), || path.trim_start_matches('/').to_owned());
    access::name_rpc(&mut step, path);
    step
}

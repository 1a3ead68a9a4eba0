//! Errors as problem+json (RFC 9457). A refusal reads the same over REST as over gRPC: the reason is
//! the `ErrorInfo.reason`, the violations are those of `BadRequest`. It invents no reason for what a
//! service said and tells nothing that a service did not.

use std::{collections::BTreeMap, time::Duration};

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::{ErrorDetail, StatusExt};

/// A field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The path of the field.
    pub field: String,
    /// What is wrong.
    pub description: String,
}

/// A condition that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Precondition {
    /// Which kind of condition.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// What would be legal.
    pub description: String,
}

/// An answer that says no, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// The stable reason, upper snake case.
    pub reason: Box<str>,
    /// One sentence for people.
    pub detail: String,
    /// Which fields are wrong.
    pub violations: Vec<Violation>,
    /// Which conditions do not hold.
    pub preconditions: Vec<Precondition>,
    /// What else the service said, such as the current revision.
    #[expect(clippy::box_collection, reason = "most answers have none, and errors travel by value")]
    pub metadata: Box<BTreeMap<String, String>>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    reason: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    field_violations: &'a [Violation],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    precondition_violations: &'a [Precondition],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
}

impl Problem {
    /// A problem with nothing but a reason and a sentence.
    pub fn new(status: StatusCode, reason: &str, detail: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.into(),
            detail: detail.into(),
            violations: Vec::new(),
            preconditions: Vec::new(),
            metadata: Box::default(),
            retry_after: None,
        }
    }

    /// The request names fields wrongly.
    pub fn fields(violations: Vec<Violation>) -> Self {
        let detail = match violations.first() {
            Some(first) if first.field.is_empty() => first.description.clone(),
            Some(first) => format!("{}: {}", first.field, first.description),
            None => "The request is not valid.".to_owned(),
        };
        Self { violations, ..Self::new(StatusCode::BAD_REQUEST, "INVALID_FIELD", detail) }
    }

    /// Something the answer needs is away for the moment.
    pub fn unavailable(reason: &str, detail: impl Into<String>) -> Self {
        let retry_after = Some(Duration::from_secs(1));
        Self { retry_after, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, reason, detail) }
    }

    /// The body as text.
    pub fn json(&self, request_id: &str) -> String {
        let shown = Shown {
            kind: "about:blank",
            title: title(self.status),
            status: self.status.as_u16(),
            detail: &self.detail,
            reason: &self.reason,
            request_id,
            field_violations: &self.violations,
            precondition_violations: &self.preconditions,
            metadata: &self.metadata,
        };
        serde_json::to_string(&shown).unwrap_or_else(|_| "{}".to_owned())
    }

    /// The whole answer.
    pub fn respond(&self, request_id: &str) -> Response {
        let mut response = Response::new(Body::from(self.json(request_id)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        let mut problem = Self::new(http_status(status.code()), default_reason(status.code()), status.message());
        for detail in status.get_error_details_vec() {
            match detail {
                ErrorDetail::ErrorInfo(info) => {
                    problem.reason = info.reason.into();
                    *problem.metadata = info.metadata.into_iter().collect();
                }
                ErrorDetail::BadRequest(request) => problem.violations.extend(
                    request
                        .field_violations
                        .into_iter()
                        .map(|v| Violation { field: v.field, description: v.description }),
                ),
                ErrorDetail::PreconditionFailure(failure) => {
                    problem.preconditions.extend(failure.violations.into_iter().map(|v| Precondition {
                        kind: v.r#type,
                        subject: v.subject,
                        description: v.description,
                    }))
                }
                ErrorDetail::RetryInfo(retry) => problem.retry_after = retry.retry_delay,
                _ => {}
            }
        }
        if problem.status == StatusCode::SERVICE_UNAVAILABLE && problem.retry_after.is_none() {
            problem.retry_after = Some(Duration::from_secs(1));
        }
        problem
    }
}

/// The HTTP status of a gRPC code, as google.rpc has it.
pub fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        // Nobody waits for this answer; the number is the customary one.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The reason where a service gave none: the name of the code.
fn default_reason(code: Code) -> &'static str {
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

fn title(status: StatusCode) -> &'static str {
    match status.as_u16() {
        499 => "Client Closed Request",
        _ => status.canonical_reason().unwrap_or("Error"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn details_of_grpc_survive() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info("REVISION_STALE", "itsm", HashMap::from([("current_revision".to_owned(), "7".to_owned())]))
            .add_bad_request_violation("incident.title", "is too long")
            .add_precondition_failure_violation("STATE", "INC1", "may be reopened")
            .set_retry_info(Some(Duration::from_millis(1500)));
        let problem = Problem::from(Status::with_error_details(Code::Aborted, "stale", details));
        assert_eq!(problem.status, StatusCode::CONFLICT);
        let response = problem.respond("r1");
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let json: serde_json::Value = serde_json::from_str(&problem.json("r1")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "about:blank", "title": "Conflict", "status": 409, "detail": "stale",
                "reason": "REVISION_STALE", "requestId": "r1",
                "fieldViolations": [{"field": "incident.title", "description": "is too long"}],
                "preconditionViolations": [{"type": "STATE", "subject": "INC1", "description": "may be reopened"}],
                "metadata": {"current_revision": "7"}
            })
        );
    }

    #[test]
    fn every_code_has_the_status_of_google_rpc() {
        let table: Vec<(i32, u16)> = (0..=16).map(|n| (n, http_status(Code::from(n)).as_u16())).collect();
        let expected = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
        assert_eq!(table, expected.iter().enumerate().map(|(n, s)| (n as i32, *s)).collect::<Vec<_>>());
    }

    #[test]
    fn a_bare_status_still_has_a_reason_and_unavailable_says_when_to_come_back() {
        let problem = Problem::from(Status::unavailable("away"));
        assert_eq!(&*problem.reason, "UNAVAILABLE");
        assert_eq!(problem.respond("r").headers()[header::RETRY_AFTER], "1");
    }
}

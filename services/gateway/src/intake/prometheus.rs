//! Prometheus posting as it would to Alertmanager, which answers 200 with nothing, or 400 with a
//! text when some alerts were bad; the good ones are taken all the same.

use alert_formats::Parsed;
use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};

/// Below the key.
pub const PATH: &str = "api/v2/alerts";

/// How many bad alerts the text names.
const NAMED: usize = 20;

/// The answer once the stream has the body.
pub fn accepted(parsed: &Parsed) -> Response {
    if parsed.rejected.is_empty() {
        return Response::new(Body::empty());
    }
    let mut text = format!("{} taken, {} rejected:\n", parsed.accepted.len(), parsed.rejected.len());
    for rejected in parsed.rejected.iter().take(NAMED) {
        text.push_str(&format!("{}: {}\n", rejected.field, rejected.reason));
    }
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

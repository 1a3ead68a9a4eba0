//! CloudEvents 1.0 over HTTP: structured, a batch, or binary with the attributes in headers, which
//! is folded into the structured form so that the stream holds one form only.

use alert_formats::cloudevent_from_headers;
use axum::body::Bytes;
use http::{HeaderMap, StatusCode, header};

use crate::rest::problem::Problem;

/// Below the key.
pub const PATH: &str = "cloudevents";

/// The body as it goes into the stream.
pub fn prepare(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is_structured = content_type.trim().to_ascii_lowercase().starts_with("application/cloudevents");
    if is_structured || !headers.contains_key("ce-specversion") {
        return Ok(body);
    }
    let mut texts = Vec::new();
    for (name, value) in headers {
        if name.as_str().starts_with("ce-") || *name == header::CONTENT_TYPE {
            let value = value.to_str().map_err(|_| {
                let detail = format!("the header `{name}` holds bytes that must be percent-encoded");
                Problem::new(StatusCode::BAD_REQUEST, "INVALID_TEXT", detail)
            })?;
            texts.push((name.as_str().to_owned(), value.to_owned()));
        }
    }
    let event = cloudevent_from_headers(&texts, &body).map_err(super::refused)?;
    Ok(Bytes::from(event))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn binary_mode_becomes_one_structured_event() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", "7"),
            ("ce-source", "/probe"),
            ("ce-type", "disk.full"),
            ("content-type", "application/json"),
            ("authorization", "Bearer never"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let body = prepare(&headers, Bytes::from_static(b"{\"title\":\"disk\"}")).unwrap();
        let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(event["id"], "7");
        assert_eq!(event["data"]["title"], "disk");
        assert!(!event.to_string().contains("never"));
    }

    #[test]
    fn structured_bodies_stay_as_they_are() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/cloudevents-batch+json; charset=utf-8"));
        headers.insert("ce-specversion", HeaderValue::from_static("1.0"));
        let body = prepare(&headers, Bytes::from_static(b"[]")).unwrap();
        assert_eq!(body, "[]");
    }
}

//! The id and the trace of one request, given to it at the door and carried to every service.

use http::{HeaderMap, HeaderName, HeaderValue, Request};

/// The header that carries the id of a request, in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header that carries the trace.
pub const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// The id of a request.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The caller's id where it is well formed, else a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        match headers.get(&REQUEST_ID) {
            Some(value) if is_well_formed(value.as_bytes()) => Self(value.clone()),
            _ => Self(HeaderValue::from_str(&kit::id::draw().to_string()).unwrap_or(HeaderValue::from_static("-"))),
        }
    }

    /// The id of a request that came through the door.
    pub fn carried<B>(request: &Request<B>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_else(|| Self::of(request.headers()))
    }

    /// As a header.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("-")
    }
}

fn is_well_formed(id: &[u8]) -> bool {
    (1..=64).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// The trace the caller is in: its `traceparent` where it is well formed (W3C, version 00).
pub fn trace_parent(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(&TRACE_PARENT)?;
    let text = value.to_str().ok()?;
    let parts: Vec<&str> = text.split('-').collect();
    let hexadecimal = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    match parts.as_slice() {
        ["00", trace, span, flags]
            if hexadecimal(trace, 32)
                && hexadecimal(span, 16)
                && hexadecimal(flags, 2)
                && trace.bytes().any(|b| b != b'0')
                && span.bytes().any(|b| b != b'0') =>
        {
            Some(value.clone())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_id_is_kept_only_when_it_can_do_no_harm() {
        let id = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(text));
            RequestId::of(&headers).as_str().to_owned()
        };
        assert_eq!(id("abc-1_2.3"), "abc-1_2.3");
        for bad in ["", "a b", "a\tb", "{\"x\":1}"] {
            assert_eq!(id(bad).len(), 36, "{bad}");
        }
    }

    #[test]
    fn a_trace_that_is_none_is_not_passed_on() {
        let trace = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACE_PARENT, HeaderValue::from_static(text));
            trace_parent(&headers).is_some()
        };
        assert!(trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        assert!(!trace("00-00000000000000000000000000000000-00f067aa0ba902b7-01"));
        assert!(!trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"));
        assert!(!trace("garbage"));
    }
}

//! A stream of answers over HTTP: one JSON object a line, or Server-Sent Events whose id is the
//! cursor, so that a browser resumes by itself. A stream that ends with an error says so in its
//! last line; one that is cut by the network says nothing, and its reader resumes.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use futures::stream;
use http::{HeaderMap, HeaderValue, header};
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tonic::{Status, Streaming};

use super::{json_out::Shown, problem::Problem};
use crate::{auth::guard::Cut, request::RequestId};

/// How often a silent event stream says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How the caller wants the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON object a line.
    Lines,
    /// Server-Sent Events.
    Events,
}

impl Form {
    /// By the `Accept` header.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut kinds =
            headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
        let is_events =
            |kind: &str| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream");
        if kinds.any(is_events) { Self::Events } else { Self::Lines }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
        }
    }
}

struct State {
    entries: Streaming<Bytes>,
    descriptor: MessageDescriptor,
    form: Form,
    cut: Cut,
    request_id: RequestId,
    ended: bool,
}

/// The answer that carries the stream.
pub fn respond(
    entries: Streaming<Bytes>,
    descriptor: MessageDescriptor,
    form: Form,
    cut: Cut,
    request_id: RequestId,
) -> Response {
    let state = State { entries, descriptor, form, cut, request_id, ended: false };
    let chunks = stream::unfold(state, |mut state| async move {
        if state.ended {
            return None;
        }
        let chunk = next(&mut state).await?;
        Some((Ok::<_, Infallible>(chunk), state))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    // Proxies that buffer would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

async fn next(state: &mut State) -> Option<Bytes> {
    let keep_alive = kit::clock::pause(KEEP_ALIVE);
    let error = tokio::select! {
        biased;
        status = &mut state.cut => status,
        entry = state.entries.message() => match entry {
            Ok(Some(bytes)) => match show(&state.descriptor, &bytes, state.form) {
                Ok(chunk) => return Some(chunk),
                Err(status) => status,
            },
            Ok(None) => return None,
            Err(status) => status,
        },
        () = keep_alive, if state.form == Form::Events => return Some(Bytes::from_static(b": alive\n\n")),
    };
    state.ended = true;
    Some(last(error, state.form, &state.request_id))
}

/// One entry, ready to be sent.
fn show(descriptor: &MessageDescriptor, bytes: &Bytes, form: Form) -> Result<Bytes, Status> {
    let fault = |error: String| {
        tracing::error!(message = descriptor.full_name(), error, "an entry of a stream cannot be shown");
        kit::access::status(tonic::Code::Internal, "INTERNAL", "an entry cannot be shown")
    };
    let message = DynamicMessage::decode(descriptor.clone(), bytes.clone()).map_err(|e| fault(e.to_string()))?;
    let json = serde_json::to_string(&Shown(&message)).map_err(|e| fault(e.to_string()))?;
    let text = match form {
        Form::Lines => format!("{json}\n"),
        Form::Events => {
            let cursor = message.get_field_by_name("cursor");
            match cursor
                .as_deref()
                .and_then(|v| v.as_str())
                .filter(|c| !c.is_empty() && !c.contains(['\n', '\r', '\0']))
            {
                Some(cursor) => format!("id: {cursor}\ndata: {json}\n\n"),
                None => format!("data: {json}\n\n"),
            }
        }
    };
    Ok(Bytes::from(text))
}

/// The last word of a stream that ends with an error.
fn last(status: Status, form: Form, request_id: &RequestId) -> Bytes {
    let problem = Problem::from(status).json(request_id.as_str());
    Bytes::from(match form {
        Form::Lines => format!("{{\"error\":{problem}}}\n"),
        Form::Events => format!("event: error\ndata: {problem}\n\n"),
    })
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_reflect::DescriptorPool;
    use proto::incident::v1::{IncidentEventEntry, WatchIncidentsRequest};

    use super::*;

    fn descriptor(name: &str) -> MessageDescriptor {
        DescriptorPool::decode(proto::DESCRIPTOR_SET).unwrap().get_message_by_name(name).unwrap()
    }

    #[test]
    fn an_event_carries_its_cursor_as_id() {
        let entry =
            IncidentEventEntry { cursor: "c7".into(), r#type: "opened".into(), revision: 3, ..Default::default() };
        let bytes = Bytes::from(entry.encode_to_vec());
        let descriptor = descriptor("itsm.incident.v1.IncidentEventEntry");
        let event = show(&descriptor, &bytes, Form::Events).unwrap();
        let event = std::str::from_utf8(&event).unwrap();
        assert!(event.starts_with("id: c7\ndata: {\"eventId\":\"\",\"type\":\"opened\""), "{event}");
        assert!(event.ends_with("}\n\n"));
        let line = show(&descriptor, &bytes, Form::Lines).unwrap();
        assert!(line.starts_with(b"{") && line.ends_with(b"}\n"));
    }

    #[test]
    fn a_cursor_cannot_break_out_of_its_line() {
        let request = WatchIncidentsRequest { cursor: "a\ndata: forged".into(), ..Default::default() };
        let descriptor = descriptor("itsm.incident.v1.WatchIncidentsRequest");
        let event = show(&descriptor, &Bytes::from(request.encode_to_vec()), Form::Events).unwrap();
        assert_eq!(event.iter().filter(|b| **b == b'\n').count(), 2);
    }

    #[test]
    fn the_form_follows_the_accept_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(Form::of(&headers), Form::Lines);
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/html, text/event-stream;q=0.9"));
        assert_eq!(Form::of(&headers), Form::Events);
    }
}

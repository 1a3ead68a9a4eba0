//! What a message of the intake stream says. Pure: the same headers and bytes with the same time
//! give the same signals for ever. The gateway says the format in a header; who publishes on NATS
//! directly need not, and is understood by what the message looks like.

use std::{borrow::Cow, collections::BTreeMap};

use alert_formats::{Accepted, Format, Status, cloudevent_from_headers, limits};
use chrono::{DateTime, Utc};
use serde::{Deserialize, de::IgnoredAny};

use crate::domain::{Content, Said, Severity, Signal};

/// Says the format of the body.
pub const FORMAT: &str = "itsm-format";
/// W3C trace context.
const TRACE_PARENT: &str = "traceparent";
/// The headers that say what a message is, by the beginning of their names; others are not kept.
const KEPT: [&str; 4] = ["itsm-", "ce-", "content-type", TRACE_PARENT];
/// What an alert may weigh, so that its events keep below their limit of 256 KiB.
const CONTENT_BYTES: usize = 192 * 1024;
/// How many bytes of headers are kept.
const HEADERS_AT_MOST: usize = 16 * 1024;

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The format it was read as.
    pub format: &'static str,
    /// What it says, in its order.
    pub signals: Vec<Signal>,
    /// What of it could not be used.
    pub faults: Vec<Fault>,
}

/// Something that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which field or limit.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
    /// The text as it came, cut.
    pub raw: String,
}

/// The headers that are kept, with names in small letters.
#[must_use]
pub fn kept(headers: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let mut room = HEADERS_AT_MOST;
    let mut kept = BTreeMap::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let fits = name.len() + value.len() <= room;
        if fits && KEPT.iter().any(|begin| name.starts_with(begin)) {
            room -= name.len() + value.len();
            kept.insert(storable(&name), storable(&value));
        }
    }
    kept
}

/// A text as the database can hold it, cut at what is kept of rejected alerts.
#[must_use]
pub fn raw(body: &[u8]) -> String {
    let cut = &body[..body.len().min(limits::REJECTED_BYTES)];
    let mut text = storable(&String::from_utf8_lossy(cut));
    // A byte that is no text becomes three.
    let mut end = text.len().min(limits::REJECTED_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Reads a message that the stream took at `received_at`.
#[must_use]
pub fn read(headers: &BTreeMap<String, String>, body: &[u8], received_at: DateTime<Utc>) -> Reading {
    let whole = |format, field: &str, reason: String| Reading {
        format,
        signals: Vec::new(),
        faults: vec![Fault { field: field.to_owned(), reason: storable(&reason), raw: raw(body) }],
    };
    let (format, body) = match format_of(headers, body) {
        Ok(found) => found,
        Err(Unreadable { format, field, reason }) => return whole(format, &field, reason),
    };
    let parsed = match alert_formats::parse(format, &body, received_at) {
        Ok(parsed) => parsed,
        Err(refused) => return whole(format.as_str(), refused.field(), refused.to_string()),
    };
    let trace_parent = headers.get(TRACE_PARENT).filter(|value| is_trace_parent(value)).cloned().unwrap_or_default();
    let (signals, large): (Vec<Signal>, Vec<Signal>) = parsed
        .accepted
        .into_iter()
        .map(|accepted| signal(accepted, received_at, &trace_parent))
        .partition(|signal| weight(signal) <= CONTENT_BYTES);
    let mut faults: Vec<Fault> = parsed
        .rejected
        .into_iter()
        .map(|rejected| Fault {
            field: storable(&rejected.field),
            reason: storable(&rejected.reason),
            raw: raw(rejected.raw.as_bytes()),
        })
        .collect();
    faults.extend(large.into_iter().map(|signal| Fault {
        field: "annotations".to_owned(),
        reason: format!("labels, annotations and description have more than {CONTENT_BYTES} bytes together"),
        raw: raw(format!("{}: {}", signal.dedup_key, signal.content.title).as_bytes()),
    }));
    Reading { format: format.as_str(), signals, faults }
}

/// Whether it is one of W3C trace context, version 00; anything else must not travel on as a header.
fn is_trace_parent(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let is_hexadecimal = |part: &&str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    parts.iter().map(|part| part.len()).eq([2, 32, 16, 2]) && parts.iter().all(is_hexadecimal) && parts[0] == "00"
}

/// How much of an event a signal would take.
fn weight(signal: &Signal) -> usize {
    let texts = signal.content.labels.iter().chain(&signal.content.annotations);
    texts.map(|(name, value)| name.len() + value.len() + 8).sum::<usize>() + signal.content.description.len()
}

struct Unreadable {
    format: &'static str,
    field: String,
    reason: String,
}

/// The format, and the body in it: an event in binary mode is folded into the structured form.
fn format_of<'a>(headers: &BTreeMap<String, String>, body: &'a [u8]) -> Result<(Format, Cow<'a, [u8]>), Unreadable> {
    let said = match headers.get(FORMAT) {
        Some(name) => Some(Format::parse(name).ok_or_else(|| Unreadable {
            format: "unknown",
            field: "Itsm-Format".to_owned(),
            reason: format!("must be one of {}", Format::ALL.map(Format::as_str).join(", ")),
        })?),
        None => None,
    };
    let has_attributes = headers.keys().any(|name| name.starts_with("ce-"));
    if has_attributes && said.is_none_or(|format| format == Format::CloudEvents) {
        let headers: Vec<(String, String)> =
            headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let event = cloudevent_from_headers(&headers, body).map_err(|refused| Unreadable {
            format: Format::CloudEvents.as_str(),
            field: refused.field().to_owned(),
            reason: refused.to_string(),
        })?;
        return Ok((Format::CloudEvents, Cow::Owned(event)));
    }
    let structured =
        || headers.get("content-type").is_some_and(|kind| kind.to_ascii_lowercase().contains("cloudevents"));
    let format = said
        .unwrap_or_else(|| if structured() || looks_like_event(body) { Format::CloudEvents } else { Format::Generic });
    Ok((format, Cow::Borrowed(body)))
}

/// Whether JSON says that it is a CloudEvent, or an array whose first element does. What is no JSON
/// is none; the reader will say why.
fn looks_like_event(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Event {
        specversion: Option<IgnoredAny>,
    }
    if body.len() > limits::BODY_BYTES {
        return false;
    }
    let is_event = |event: &Event| event.specversion.is_some();
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => {
            serde_json::from_slice::<Vec<Event>>(body).is_ok_and(|events| events.first().is_some_and(is_event))
        }
        Some(b'{') => serde_json::from_slice::<Event>(body).is_ok_and(|event| is_event(&event)),
        Some(_) | None => false,
    }
}

fn signal(accepted: Accepted, received_at: DateTime<Utc>, trace_parent: &str) -> Signal {
    let said = match accepted.status {
        Status::Firing => Said::Firing { expires_at: accepted.ends_at },
        Status::Cleared => Said::Cleared { ended_at: accepted.ends_at.unwrap_or(received_at) },
    };
    let severity = match accepted.severity {
        alert_formats::Severity::Critical => Severity::Critical,
        alert_formats::Severity::High => Severity::High,
        alert_formats::Severity::Medium => Severity::Medium,
        alert_formats::Severity::Low => Severity::Low,
        alert_formats::Severity::Info => Severity::Info,
    };
    Signal {
        dedup_key: accepted.dedup_key,
        said,
        starts_at: accepted.starts_at,
        received_at,
        severity,
        content: Content {
            title: accepted.title,
            description: accepted.description.unwrap_or_default(),
            labels: accepted.labels,
            annotations: accepted.annotations,
            source_url: accepted.source_url.unwrap_or_default(),
            group_key: accepted.group_key.unwrap_or_default(),
        },
        trace_parent: trace_parent.to_owned(),
    }
    .bounded()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_225_600, 0).unwrap()
    }

    fn headers(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        kept(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn a_message_without_a_format_is_known_by_its_looks() {
        let generic = br#"{"title": "disk full", "dedup_key": "disk"}"#;
        let event =
            br#"{"specversion": "1.0", "id": "1", "source": "/x", "type": "t", "data": {"title": "disk full"}}"#;
        assert_eq!(read(&headers(&[]), generic, at()).format, "generic");
        assert_eq!(read(&headers(&[]), event, at()).format, "cloudevents");
        let batch = [b"[".as_slice(), event, b"]"].concat();
        assert_eq!(read(&headers(&[]), &batch, at()).format, "cloudevents");
        let binary = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/x"), ("ce-type", "t")];
        let reading = read(&headers(&binary), generic, at());
        assert_eq!((reading.format, reading.signals.len()), ("cloudevents", 1), "{reading:?}");
        assert_eq!(reading.signals[0].dedup_key, "disk");
    }

    #[test]
    fn the_format_that_is_said_counts() {
        let body = br#"{"title": "x", "dedup_key": "y", "specversion": "1.0"}"#;
        assert_eq!(read(&headers(&[("Itsm-Format", "generic")]), body, at()).signals.len(), 1);
        let unknown = read(&headers(&[("Itsm-Format", "nagios")]), body, at());
        assert_eq!(unknown.faults[0].field, "Itsm-Format");
    }

    #[test]
    fn what_cannot_be_read_is_kept_with_the_reason_and_storable() {
        let reading = read(&headers(&[]), b"\0\xff not json", at());
        assert_eq!(reading.signals, []);
        assert!(!reading.faults[0].reason.is_empty());
        assert_eq!(reading.faults[0].raw, "\u{fffd}\u{fffd} not json");
        let long = vec![0xff; 2 * limits::REJECTED_BYTES];
        assert!(raw(&long).len() <= limits::REJECTED_BYTES);
    }

    #[test]
    fn only_a_trace_parent_travels_on_as_one() {
        let body = br#"{"title": "x"}"#;
        let trace = |value: &str| read(&headers(&[("traceparent", value)]), body, at()).signals[0].trace_parent.clone();
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(trace(good), good);
        assert_eq!(trace(&format!("{good}\nx: y")), "");
        assert_eq!(trace("00-zz"), "");
    }

    #[test]
    fn of_the_headers_only_those_that_say_what_it_is_are_kept() {
        let kept = headers(&[("Authorization", "secret"), ("Itsm-Intake-Id", "7"), ("Nats-Msg-Id", "1")]);
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["itsm-intake-id"]);
    }
}

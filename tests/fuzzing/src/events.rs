//! Events: the messages of every service, and the envelope in which a consumer gets them.

use async_nats::{HeaderMap, Message, Subject};
use kit::{bus, consumer::Delivered};
use notification::events::subjects;
use prost::Message as _;
use proto::{
    alert::v1::{AlertEvent, alert_event},
    catalog::v1::CatalogEvent,
    change::v1::ChangeEvent,
    common::v1::{FeedEntry, PositionResponse},
    directory::v1::DirectoryEvent,
    incident::v1::IncidentEvent,
    notification::v1::NotificationEvent,
    sla::v1::{SlaEvent, sla_event},
};
use uuid::Uuid;

/// Decodes the input as every event, and takes it as an envelope with any headers.
pub fn events(input: &[u8]) {
    messages(input);
    feed_entry(input);
    bus_message(input);
    // A heartbeat.
    let _ = PositionResponse::decode(input);
}

/// What decodes must encode, and encode to what decodes to the same.
fn same<M: prost::Message + Default + PartialEq + std::fmt::Debug>(input: &[u8]) -> Option<M> {
    let message = M::decode(input).ok()?;
    let again = M::decode(message.encode_to_vec().as_slice()).expect("our own bytes");
    assert!(again == message, "{again:?} is not {message:?}");
    Some(message)
}

fn messages(input: &[u8]) {
    // Whether a record can be told of or not, it must be said without a panic.
    if let Some(incident) = same::<IncidentEvent>(input).and_then(|event| event.incident) {
        let _ = subjects::attention(&incident);
        let _ = subjects::incident(&incident);
    }
    if let Some(alert_event::Record::Alert(alert)) = same::<AlertEvent>(input).and_then(|event| event.record) {
        let _ = subjects::alert(&alert);
    }
    if let Some(change) = same::<ChangeEvent>(input).and_then(|event| event.change) {
        let _ = subjects::change(&change);
    }
    if let Some(sla_event::Record::Clock(clock)) = same::<SlaEvent>(input).and_then(|event| event.record) {
        let _ = subjects::clock(&clock);
    }
    let _ = same::<DirectoryEvent>(input);
    let _ = same::<CatalogEvent>(input);
    let _ = same::<NotificationEvent>(input);
}

/// What `Feed` returns, and what the relay makes of it.
fn feed_entry(input: &[u8]) {
    let Some(entry) = same::<FeedEntry>(input) else { return };
    let Ok(delivered) = Delivered::read("incident", entry.clone()) else { return };
    messages(&delivered.body);
    // The types are ours, and a trace parent came in a header: no relay sends on what is none.
    if [&entry.r#type, &entry.trace_parent, &entry.tenant].iter().any(|text| text.contains(char::is_control)) {
        return;
    }
    let headers = bus::headers("incident", Uuid::nil(), &entry);
    received(bus::subject(&entry.tenant, "incident", &entry.r#type), Some(headers), entry.body.to_vec());
}

/// What anybody may publish: a subject, headers, a body.
fn bus_message(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let [subject, lines, body] = super::parts(&text);
    let mut headers = HeaderMap::new();
    for (name, value) in lines.lines().filter_map(|line| line.split_once(": ")) {
        // The client refuses such headers before anybody sees them.
        if let (Ok(name), Ok(value)) =
            (name.parse::<async_nats::HeaderName>(), value.parse::<async_nats::HeaderValue>())
        {
            headers.append(name, value);
        }
    }
    received(subject.to_owned(), Some(headers), body.as_bytes().to_vec());
    received(subject.to_owned(), None, body.as_bytes().to_vec());
}

fn received(subject: String, headers: Option<HeaderMap>, payload: Vec<u8>) {
    let message = Message {
        length: payload.len(),
        subject: Subject::from(subject),
        payload: payload.into(),
        headers,
        reply: None,
        status: None,
        description: None,
    };
    for source in proto::SERVICES {
        if let Some((_, entry)) = bus::entry(source, &message) {
            let _ = Delivered::read(source, entry);
        }
    }
}

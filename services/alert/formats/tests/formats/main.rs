//! The formats as their senders use them, and as they are abused.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod alertmanager;
mod bad_input;
mod cloudevents;
mod generic;
mod prometheus;
mod properties;
mod samples;

use alert_formats::{Accepted, Format, Parsed, parse};
use chrono::{DateTime, Utc};

/// The instant at which the bodies written in these tests come in.
const RECEIVED_AT: &str = "2026-03-01T12:00:00Z";

fn at(instant: &str) -> DateTime<Utc> {
    instant.parse().unwrap()
}

fn read(format: Format, body: &str) -> Parsed {
    parse(format, body.as_bytes(), at(RECEIVED_AT)).unwrap()
}

/// The only alert of the body.
fn one(format: Format, body: &str) -> Accepted {
    let parsed = read(format, body);
    assert_eq!((parsed.accepted.len(), &parsed.rejected), (1, &vec![]));
    parsed.accepted.into_iter().next().unwrap()
}

/// Field and code of the only alert of the body, which is unusable.
fn rejection(format: Format, body: &str) -> (String, &'static str) {
    let parsed = read(format, body);
    assert_eq!((parsed.accepted.len(), parsed.rejected.len()), (0, 1));
    (parsed.rejected[0].field.clone(), parsed.rejected[0].code)
}

fn rejected(field: &str, code: &'static str) -> (String, &'static str) {
    (field.to_owned(), code)
}

//! What holds for every body, whoever wrote it.

use alert_formats::{Accepted, Format, Parsed, Refused, Status, cloudevent_from_headers, limits, parse};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::Config;
use serde_json::{Value, json};

use crate::{RECEIVED_AT, at, samples};

/// What a mutation puts into a body: the pieces JSON is made of, the words of the formats, and
/// what is awkward to hold.
const PIECES: [&str; 44] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "null",
    "true",
    "0",
    "-1",
    "1e400",
    " ",
    "\n",
    "\u{0}",
    "\\u0000",
    "\\ud800",
    "ä",
    "\u{feff}",
    "{\"",
    "\":\"",
    "\":{\"",
    "\"}",
    "[{\"",
    "\"}]",
    "[[[[[[[[[[[[[[[[[",
    "\"alerts\":[",
    "\"labels\":{",
    "\"annotations\":{",
    "\"title\":\"t\"",
    "\"version\":\"4\"",
    "\"status\":\"resolved\"",
    "\"endsAt\":\"",
    "\"data\":",
    "\"data_base64\":\"",
    "\"specversion\":\"1.0\"",
    "\"id\":\"1\"",
    "\"source\":\"/s\"",
    "\"type\":\"t\"",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "2026-03-01T11:00:00Z",
    "\"dedup_key\":",
];

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

fn any_format() -> impl Strategy<Value = Format> {
    select(Format::ALL.to_vec())
}

fn read(format: Format, body: &[u8]) -> Result<Parsed, Refused> {
    parse(format, body, at(RECEIVED_AT))
}

fn assert_storable(text: &str, limit_bytes: usize) {
    assert!(text.len() <= limit_bytes && !text.contains('\0'), "{text:?}");
}

fn assert_sound(alert: &Accepted) {
    assert!(!alert.dedup_key.is_empty() && !alert.title.is_empty());
    assert_storable(&alert.dedup_key, limits::KEY_BYTES);
    assert_storable(&alert.title, limits::TITLE_BYTES);
    assert!(!alert.title.contains(char::is_control));
    assert_storable(alert.description.as_deref().unwrap_or_default(), limits::ANNOTATION_VALUE_BYTES);
    assert_storable(alert.group_key.as_deref().unwrap_or_default(), limits::KEY_BYTES);
    let url = alert.source_url.as_deref().unwrap_or("http://x");
    assert_storable(url, limits::ANNOTATION_VALUE_BYTES);
    assert!(url.to_ascii_lowercase().starts_with("http"));
    assert!(alert.labels.len() <= limits::LABELS && alert.annotations.len() <= limits::ANNOTATIONS);
    for (name, value) in &alert.labels {
        assert_storable(name, limits::NAME_BYTES);
        assert_storable(value, limits::LABEL_VALUE_BYTES);
        assert!(!name.is_empty() && !value.is_empty());
    }
    for (name, value) in &alert.annotations {
        assert_storable(name, limits::NAME_BYTES);
        assert_storable(value, limits::ANNOTATION_VALUE_BYTES);
    }
    assert!(alert.ends_at.is_none_or(|end| end >= alert.starts_at));
    assert!(alert.status == Status::Firing || alert.ends_at.is_some());
    assert_eq!(alert.starts_at.timestamp_subsec_nanos() % 1_000, 0);
}

/// How many alerts a body holds, by another reader.
fn alerts_in(format: Format, body: &[u8]) -> usize {
    let body: Value = serde_json::from_slice(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)).unwrap();
    match (format, &body) {
        (_, Value::Array(alerts)) => alerts.len(),
        (Format::AlertmanagerWebhook, _) => body["alerts"].as_array().unwrap().len(),
        (Format::Generic, _) => body["alerts"].as_array().map_or(1, Vec::len),
        _ => 1,
    }
}

/// Whatever the body, the result is sound and complete, and the same each time.
fn check(format: Format, body: &[u8]) {
    let result = read(format, body);
    assert_eq!(result, read(format, body));
    let parsed = match result {
        Ok(parsed) => parsed,
        Err(refused) => {
            assert_storable(&refused.to_string(), 1_000);
            return;
        }
    };
    parsed.accepted.iter().for_each(assert_sound);
    for rejected in &parsed.rejected {
        assert_storable(&rejected.raw, limits::REJECTED_BYTES);
        assert_storable(&rejected.field, 200);
        assert_storable(&rejected.reason, 200);
    }
    let mut indexes: Vec<_> = parsed.accepted.iter().map(|alert| alert.index).collect();
    indexes.extend(parsed.rejected.iter().map(|alert| alert.index));
    indexes.sort_unstable();
    // The other reader refuses numbers and characters that do not fit it, in fields we pass over.
    if serde_json::from_slice::<Value>(body).is_ok() {
        assert_eq!(indexes, (0..alerts_in(format, body)).collect::<Vec<_>>());
    }
}

/// Puts each piece at its place, instead of as many bytes as its count says.
fn mutated(mut body: Vec<u8>, changes: &[(Index, usize, &'static str)]) -> Vec<u8> {
    for (place, removed, piece) in changes {
        let from = place.index(body.len() + 1);
        let to = (from + removed).min(body.len());
        body.splice(from..to, piece.bytes());
    }
    body
}

/// The paths of all values in a document, as JSON pointers.
fn pointers(value: &Value, here: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Array(items) => items.iter().enumerate().map(|(i, item)| (i.to_string(), item)).collect(),
        Value::Object(fields) => fields.iter().map(|(name, field)| (name.clone(), field)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    for (name, child) in children {
        let there = format!("{here}/{name}");
        pointers(child, &there, found);
        found.push(there);
    }
}

/// What stands where something else should.
fn odd_values() -> Vec<Value> {
    let long = |n: usize| Value::String("x".repeat(n));
    let many: serde_json::Map<String, Value> = (0..101).map(|i| (i.to_string(), json!("v"))).collect();
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1.5e300),
        json!(""),
        json!(" "),
        json!("\u{0}"),
        json!("\n"),
        json!([]),
        json!({}),
        json!([[]]),
        json!({"": "x"}),
        json!({"a": {"b": 1}}),
        json!({"a": "\u{0}"}),
        json!({"\u{0}": "a"}),
        json!([{"labels": {"a": "b"}}]),
        json!("0001-01-01T00:00:00Z"),
        json!("9999-12-31T23:59:59-23:59"),
        json!("2016-12-31T23:59:60Z"),
        json!("1969-07-20T20:17:40Z"),
        json!("firing"),
        json!("ok"),
        json!("critical"),
        json!("4"),
        json!("1.0"),
        json!("javascript:alert(1)"),
        json!("eyJ0aXRsZSI6InQifQ=="),
        long(513),
        long(5_000),
        long(17_000),
        Value::Object(many),
    ]
}

/// An alert of any of the formats, usable or not.
fn any_alert() -> impl Strategy<Value = &'static str> {
    select(vec![
        r#"{"title":"t"}"#,
        r#"{"title":"t","labels":{"a":[]}}"#,
        r#"{"labels":{"alertname":"a"},"startsAt":"2026-03-01T11:00:00Z"}"#,
        r#"{"labels":{"alertname":"a"},"endsAt":"never"}"#,
        r#"{"labels":{"a":""}}"#,
        r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":"x"}"#,
        r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":7}"#,
        "{}",
        "[]",
        "null",
        "7",
        r#""text""#,
    ])
}

proptest! {
    #![proptest_config(config(10_000))]

    #[test]
    fn arbitrary_bytes(format in any_format(), body in proptest::collection::vec(any::<u8>(), 0..64)) {
        check(format, &body);
    }

    #[test]
    fn arbitrary_pieces(format in any_format(), pieces in proptest::collection::vec(select(PIECES.to_vec()), 0..40)) {
        check(format, pieces.concat().as_bytes());
    }

    #[test]
    fn mutated_samples(
        which in any::<Index>(),
        changes in proptest::collection::vec((any::<Index>(), 0_usize..12, select(PIECES.to_vec())), 1..5),
    ) {
        SAMPLES.with(|samples| {
            let (format, body) = &samples[which.index(samples.len())];
            check(*format, &mutated(body.clone(), &changes));
        });
    }

    /// Unlike the mutated ones these all stay JSON, so that what is read is every field's value.
    #[test]
    fn samples_with_odd_values(
        which in any::<Index>(),
        changes in proptest::collection::vec((any::<Index>(), any::<Index>()), 1..4),
    ) {
        SAMPLES.with(|samples| ODD_VALUES.with(|odd| {
            let (format, body) = &samples[which.index(samples.len())];
            let mut document: Value = serde_json::from_slice(body).unwrap();
            for (place, value) in &changes {
                let mut found = Vec::new();
                pointers(&document, "", &mut found);
                if !found.is_empty() {
                    let pointer = &found[place.index(found.len())];
                    *document.pointer_mut(pointer).unwrap() = odd[value.index(odd.len())].clone();
                }
            }
            check(*format, &serde_json::to_vec(&document).unwrap());
        }));
    }

    #[test]
    fn every_alert_of_an_array_is_accounted_for(
        format in any_format(),
        alerts in proptest::collection::vec(any_alert(), 0..20),
    ) {
        let array = format!("[{}]", alerts.join(","));
        let body = match format {
            Format::AlertmanagerWebhook => format!(r#"{{"version":"4","alerts":{array}}}"#),
            Format::PrometheusAlerts | Format::Generic | Format::CloudEvents => array,
        };
        let parsed = read(format, body.as_bytes()).unwrap();
        prop_assert_eq!(parsed.accepted.len() + parsed.rejected.len(), alerts.len());
        for rejected in parsed.rejected {
            prop_assert_eq!(&rejected.raw, alerts[rejected.index]);
        }
    }
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn arbitrary_headers(
        headers in proptest::collection::vec((select(vec!["ce-id", "ce-source", "ce-type", "ce-specversion", "ce-subject",
            "ce-time", "content-type", "CE-X", "ce-", "ce-data"]), "[ -~]{0,12}|%[0-9a-f]{2}|1.0|text/plain"), 0..10),
        body in select(vec!["", "{}", "{\"title\":\"t\"}", "text", "\"", "null", "[[["]),
    ) {
        let headers: Vec<_> = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if let Ok(event) = cloudevent_from_headers(&headers, body.as_bytes()) {
            check(Format::CloudEvents, &event);
            prop_assert!(serde_json::from_slice::<Value>(&event).unwrap().is_object());
        }
    }
}

thread_local! {
    static ODD_VALUES: Vec<Value> = odd_values();
    static SAMPLES: Vec<(Format, Vec<u8>)> =
        samples::all().into_values().map(|(format, _, body)| (format, body)).collect();
}

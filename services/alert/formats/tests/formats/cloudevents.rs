//! CloudEvents, structured and in headers.

use alert_formats::{Accepted, Format, Status, cloudevent_from_headers};

use crate::{at, one, rejected, rejection};

const EVENTS: Format = Format::CloudEvents;

fn with(fields: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{fields}}}"#)
}

fn headers(more: &[(&str, &str)]) -> Vec<(String, String)> {
    let required = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
    required.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn folded(more: &[(&str, &str)], body: &[u8]) -> String {
    String::from_utf8(cloudevent_from_headers(&headers(more), body).unwrap()).unwrap()
}

#[test]
fn the_key_is_the_alerts_own_or_the_subject_or_the_id() {
    let key = |fields: &str| one(EVENTS, &with(fields)).dedup_key;
    assert_eq!(key(r#","subject":"x","data":{"title":"t","dedup_key":"k"}"#), "k");
    assert_eq!(key(r#","subject":"x","data":{"title":"t","id":"9"}"#), "/s/x");
    assert_eq!(key(r#","data":{"title":"t","id":"9"}"#), "/s/1");
    assert_eq!(key(r#","subject":"","data":{"title":"t"}"#), "/s/1");
    assert!(key(&format!(r#","subject":"{}","data":{{"title":"t"}}"#, "x".repeat(600))).starts_with("sha256:"));
}

#[test]
fn the_time_of_the_event_stands_in() {
    let life = |fields: &str| {
        let Accepted { status, starts_at, ends_at, .. } =
            one(EVENTS, &with(&format!(r#","time":"2026-03-01T11:00:00Z"{fields}"#)));
        (status, starts_at, ends_at)
    };
    let (said, began) = (at("2026-03-01T11:00:00Z"), at("2026-03-01T10:00:00Z"));
    assert_eq!(life(r#","data":{"title":"t"}"#), (Status::Firing, said, None));
    assert_eq!(life(r#","data":{"title":"t","status":"ok"}"#), (Status::Cleared, said, Some(said)));
    let started = r#","data":{"title":"t","started_at":"2026-03-01T10:00:00Z","status":"ok"}"#;
    assert_eq!(life(started), (Status::Cleared, began, Some(said)));
}

#[test]
fn text_is_the_title() {
    let alert = one(EVENTS, &with(r#","data":"the disk\nis full""#));
    assert_eq!(alert.title, "the disk is full");
    assert_eq!(alert.description.as_deref(), Some("the disk\nis full"));
    assert_eq!(one(EVENTS, &with(r#","data":"short""#)).description, None);
}

#[test]
fn data_in_base64_is_json_or_text() {
    // {"title":"t"} and "plain".
    assert_eq!(one(EVENTS, &with(r#","data_base64":"eyJ0aXRsZSI6InQifQ==""#)).title, "t");
    assert_eq!(one(EVENTS, &with(r#","data_base64":"cGxhaW4=""#)).title, "plain");
}

#[test]
fn unusable_events_name_the_field() {
    for (event, field, code) in [
        (r#"{"id":"1","source":"/s","type":"t","data":"x"}"#.to_owned(), "specversion", "MISSING_FIELD"),
        (
            r#"{"specversion":"0.3","id":"1","source":"/s","type":"t","data":"x"}"#.to_owned(),
            "specversion",
            "UNSUPPORTED_VERSION",
        ),
        (r#"{"specversion":"1.0","id":"","source":"/s","type":"t","data":"x"}"#.to_owned(), "id", "MISSING_FIELD"),
        (with(""), "data", "MISSING_FIELD"),
        (with(r#","data":[{"title":"t"}]"#), "data", "WRONG_TYPE"),
        (with(r#","data":"""#), "data", "MISSING_FIELD"),
        (with(r#","data":"\u0000""#), "data", "NUL_CHARACTER"),
        (with(r#","data":{"title":"t","labels":{"a":{}}}"#), "data.labels.a", "WRONG_TYPE"),
        (with(r#","data_base64":"?""#), "data_base64", "INVALID_TEXT"),
        (with(r#","data_base64":"/w==""#), "data_base64", "NOT_UTF8"),
        // 33 opening brackets in Base64.
        (with(&format!(r#","data_base64":"{}""#, "W1tb".repeat(11))), "data_base64", "NESTED_TOO_DEEP"),
        (with(r#","time":"soon","data":"x""#), "time", "INVALID_TIME"),
    ] {
        assert_eq!(rejection(EVENTS, &event), rejected(field, code), "{event}");
    }
}

#[test]
fn binary_mode_folds_to_the_structured_form() {
    let json =
        folded(&[("Content-Type", "application/json; charset=utf-8"), ("ce-subject", "x")], br#" {"title": "t"} "#);
    assert_eq!(
        json,
        r#"{"data":{"title": "t"},"datacontenttype":"application/json; charset=utf-8","id":"1","source":"/s","specversion":"1.0","subject":"x","type":"t"}"#
    );
    assert_eq!(one(EVENTS, &json).dedup_key, "/s/x");
    assert_eq!(one(EVENTS, &folded(&[("content-type", "text/plain")], b"plain")).title, "plain");
    assert_eq!(one(EVENTS, &folded(&[("ce-datacontenttype", "text/plain")], b"plain")).title, "plain");
    assert_eq!(one(EVENTS, &folded(&[], br#""plain""#)).title, "plain");
    assert!(folded(&[("content-type", "application/octet-stream")], &[0xff]).contains(r#""data_base64":"/w==""#));
    assert!(!folded(&[("ce-data", "x")], b"").contains(r#""data""#));
    assert!(folded(&[("content-type", "Application/JSON ; x=y")], b"{}").contains(r#""data":{}"#));
}

#[test]
fn headers_are_percent_decoded_and_may_be_in_capitals() {
    let event = folded(
        &[("CE-Subject", "Euro%20%E2%82%AC%20%F0%9F%98%80 100%"), ("x-other", "1"), ("ce-data", "1"), ("ce-a_b", "1")],
        b"{}",
    );
    assert!(event.contains(r#""subject":"Euro € 😀 100%""#), "{event}");
    assert!(!event.contains("a_b") && event.contains(r#""data":{}"#));
}

#[test]
fn bad_headers_are_refused() {
    let refused = |headers: &[(String, String)], body: &[u8]| {
        let refused = cloudevent_from_headers(headers, body).unwrap_err();
        (refused.field().to_owned(), refused.reason(), refused.is_size_limit())
    };
    let of = |field: &str, reason, limit| (field.to_owned(), reason, limit);
    assert_eq!(refused(&headers(&[])[1..], b"{}"), of("ce-specversion", "MISSING_FIELD", false));
    assert_eq!(refused(&headers(&[("ce-subject", "%ff")]), b"{}"), of("ce-subject", "INVALID_TEXT", false));
    assert_eq!(refused(&headers(&[("CE-ID", "2")]), b"{}"), of("ce-id", "INVALID_TEXT", false));
    assert_eq!(refused(&headers(&[]), b"{"), of("body", "NOT_JSON", false));
    assert_eq!(refused(&headers(&[]), &[b'1'; 1024 * 1024 + 1]), of("body", "BODY_TOO_LARGE", true));
    let binary = [("content-type", "application/octet-stream")];
    assert_eq!(refused(&headers(&binary), &[0xff; 1024 * 1024]), of("body", "BODY_TOO_LARGE", true));
    let deep = format!("{}{}", "[".repeat(32), "]".repeat(32));
    assert_eq!(refused(&headers(&[]), deep.as_bytes()), of("body", "NESTED_TOO_DEEP", true));
    let names: Vec<_> = (0..97).map(|i| format!("ce-x{i}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    assert_eq!(refused(&headers(&many), b"{}"), of("body", "TOO_MANY_ATTRIBUTES", true));
}

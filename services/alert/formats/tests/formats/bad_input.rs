//! What is refused or rejected, and that a body at a limit is not.

use alert_formats::{Format, Refused, limits, parse};

use crate::{RECEIVED_AT, at, one, read, rejected, rejection};

const GENERIC: Format = Format::Generic;

fn refused(format: Format, body: &[u8]) -> Refused {
    parse(format, body, at(RECEIVED_AT)).unwrap_err()
}

/// The stable words of every refusal of a whole body, as callers meet them.
#[test]
fn whole_bodies() {
    let brackets = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let alerts = |n: usize| format!("[{}]", vec![r#"{"title":"t"}"#; n].join(","));
    let webhook = |fields: &str| format!(r#"{{"version":"4"{fields}}}"#);
    let cases: Vec<(Format, &str, Vec<u8>)> = vec![
        (GENERIC, "nothing", b"".to_vec()),
        (GENERIC, "no JSON", b"{\"title\":".to_vec()),
        (GENERIC, "more after it", b"{\"title\":\"t\"} x".to_vec()),
        (GENERIC, "a raw NUL", b"{\"title\":\"\0\"}".to_vec()),
        (GENERIC, "not UTF-8", b"{\"title\":\"\xff\"}".to_vec()),
        (GENERIC, "a number", b"7".to_vec()),
        (GENERIC, "alerts is an object", br#"{"alerts":{}}"#.to_vec()),
        (GENERIC, "1 MiB and a byte", vec![b' '; limits::BODY_BYTES + 1]),
        (GENERIC, "33 levels", brackets(33).into_bytes()),
        (GENERIC, "10,000 levels", "[".repeat(10_000).into_bytes()),
        (GENERIC, "1,001 alerts", alerts(1_001).into_bytes()),
        (Format::PrometheusAlerts, "an object", b"{}".to_vec()),
        (Format::PrometheusAlerts, "1,001 alerts", alerts(1_001).into_bytes()),
        (Format::CloudEvents, "text", b"\"x\"".to_vec()),
        (Format::CloudEvents, "1,001 events", alerts(1_001).into_bytes()),
        (Format::AlertmanagerWebhook, "an array", b"[]".to_vec()),
        (Format::AlertmanagerWebhook, "no version", b"{}".to_vec()),
        (Format::AlertmanagerWebhook, "no alerts", webhook("").into_bytes()),
        (Format::AlertmanagerWebhook, "alerts is text", webhook(r#","alerts":"x""#).into_bytes()),
        (Format::AlertmanagerWebhook, "groupKey with NUL", webhook(r#","groupKey":"\u0000","alerts":[]"#).into_bytes()),
        (Format::AlertmanagerWebhook, "groupKey is an array", webhook(r#","groupKey":[],"alerts":[]"#).into_bytes()),
        (Format::AlertmanagerWebhook, "negative count", webhook(r#","truncatedAlerts":-1,"alerts":[]"#).into_bytes()),
        (Format::AlertmanagerWebhook, "1,001 alerts", webhook(&format!(r#","alerts":{}"#, alerts(1_001))).into_bytes()),
    ];
    let row = |(format, what, body): (Format, &str, Vec<u8>)| {
        let refused = refused(format, &body);
        let code = if refused.is_size_limit() { 413 } else { 400 };
        format!("{} | {what} | {code} {} | {} | {refused}", format.as_str(), refused.reason(), refused.field())
    };
    insta::assert_snapshot!(cases.into_iter().map(row).collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_body_at_its_limits_is_fine() {
    let mut body = br#"{"title":"t"}"#.to_vec();
    body.resize(limits::BODY_BYTES, b' ');
    assert!(parse(GENERIC, &body, at(RECEIVED_AT)).is_ok());
    let deep = format!(r#"{{"title":"t","x":{}{}}}"#, "[".repeat(31), "]".repeat(31));
    assert_eq!(one(GENERIC, &deep).title, "t");
    let deep_after_text = format!(r#"{{"title":"\"","x":{}"#, "[".repeat(32));
    assert_eq!(refused(GENERIC, deep_after_text.as_bytes()), Refused::NestedTooDeep);
    let brackets_in_text = format!(r#"{{"title":"\"{}"}}"#, "[".repeat(100));
    assert_eq!(one(GENERIC, &brackets_in_text).title.len(), 101);
    assert_eq!(read(GENERIC, &format!("[{}]", vec![r#"{"title":"t"}"#; 1_000].join(","))).accepted.len(), 1_000);
}

fn entries(field: &str, count: usize, name_bytes: usize, value_bytes: usize) -> String {
    let entry = |i| format!(r#""{i:0>name_bytes$}":"{}""#, "v".repeat(value_bytes));
    let entries: Vec<_> = (0..count).map(entry).collect();
    format!(r#"{{"title":"t","{field}":{{{}}}}}"#, entries.join(","))
}

#[test]
fn labels_and_annotations_have_limits() {
    for (field, value_bytes, too_many) in [
        ("labels", limits::LABEL_VALUE_BYTES, "TOO_MANY_LABELS"),
        ("annotations", limits::ANNOTATION_VALUE_BYTES, "TOO_MANY_ANNOTATIONS"),
    ] {
        assert_eq!(one(GENERIC, &entries(field, 100, 4, 1)).index, 0);
        assert_eq!(rejection(GENERIC, &entries(field, 101, 4, 1)), rejected(field, too_many));
        assert_eq!(rejection(GENERIC, &entries(field, 10_000, 5, 1)), rejected(field, too_many));
        assert_eq!(one(GENERIC, &entries(field, 1, 256, value_bytes)).index, 0);
        assert_eq!(rejection(GENERIC, &entries(field, 1, 257, 1)), rejected(field, "NAME_TOO_LONG"));
        let path = format!("{field}.0");
        assert_eq!(rejection(GENERIC, &entries(field, 1, 1, value_bytes + 1)), rejected(&path, "TEXT_TOO_LONG"));
        assert_eq!(rejection(GENERIC, &entries(field, 1, 1, value_bytes * 7)), rejected(&path, "TEXT_TOO_LONG"));
        assert_eq!(
            rejection(GENERIC, &format!(r#"{{"title":"t","{field}":{{"":"x"}}}}"#)),
            rejected(field, "EMPTY_NAME")
        );
    }
    let escaped = format!(r#"{{"title":"t","labels":{{"a":"{}"}}}}"#, r"\u0061".repeat(limits::LABEL_VALUE_BYTES));
    assert_eq!(one(GENERIC, &escaped).labels["a"].len(), limits::LABEL_VALUE_BYTES);
}

#[test]
fn nul_and_half_characters_are_rejected_wherever_text_is_kept() {
    for (fields, field) in [
        (r#""title":"?""#, "title"),
        (r#""title":"t","description":"?""#, "description"),
        (r#""title":"t","dedup_key":"?""#, "dedup_key"),
        (r#""title":"t","labels":{"a":"?"}"#, "labels.a"),
        (r#""title":"t","labels":{"?":"a"}"#, "labels"),
        (r#""title":"t","annotations":{"a":"?"}"#, "annotations.a"),
        (r#""title":"t","url":"http://?""#, "url"),
    ] {
        let nul = format!("{{{}}}", fields.replace('?', r"\u0000"));
        assert_eq!(rejection(GENERIC, &nul), rejected(field, "NUL_CHARACTER"));
        let half = format!("{{{}}}", fields.replace('?', r"\ud800"));
        assert_eq!(rejection(GENERIC, &half), rejected(field, "INVALID_TEXT"));
    }
}

#[test]
fn a_path_shows_no_name_that_could_do_harm() {
    for name in [r"a\nb", "<script>", "a b", &"n".repeat(65)] {
        let body = format!(r#"{{"title":"t","labels":{{"{name}":[]}}}}"#);
        assert_eq!(rejection(GENERIC, &body), rejected("labels", "WRONG_TYPE"));
    }
}

#[test]
fn what_is_kept_of_a_rejected_alert_is_cut_between_characters() {
    let body = format!(r#"{{"x":"{}"}}"#, "ä".repeat(10_000));
    let parsed = read(GENERIC, &body);
    let raw = &parsed.rejected[0].raw;
    assert!(body.starts_with(raw) && (limits::REJECTED_BYTES - 1..=limits::REJECTED_BYTES).contains(&raw.len()));
}

#[test]
fn a_body_without_a_usable_alert_has_the_refusal_of_its_first() {
    let refusal = read(GENERIC, &entries("labels", 101, 4, 1)).refusal_of_all().unwrap();
    assert_eq!((refusal.reason(), refusal.field(), refusal.is_size_limit()), ("TOO_MANY_LABELS", "labels", true));
    assert_eq!(refusal.to_string(), "`labels` has more than 100 entries");
    let refusal = read(GENERIC, "[1,{}]").refusal_of_all().unwrap();
    assert_eq!((refusal.reason(), refusal.field(), refusal.is_size_limit()), ("WRONG_TYPE", "[0]", false));
}

#[test]
fn every_format_has_a_name() {
    for format in Format::ALL {
        assert_eq!(Format::parse(format.as_str()), Some(format));
    }
    assert_eq!(Format::parse("Generic"), None);
}

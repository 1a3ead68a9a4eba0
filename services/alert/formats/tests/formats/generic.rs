//! Our own format.

use alert_formats::{Format, Severity, Status};

use crate::{at, one, read, rejected, rejection};

const GENERIC: Format = Format::Generic;

#[test]
fn one_an_array_and_a_field_are_the_same_but_for_the_path() {
    let alert = r#"{"title":"t","dedup_key":"k"}"#;
    let bodies = [alert.to_owned(), format!("[{alert}]"), format!(r#"{{"alerts":[{alert}]}}"#)];
    let [alone, array, field] = bodies.map(|body| one(GENERIC, &body));
    assert_eq!(alone, array);
    assert_eq!(alone, field);
    let bad = r#"{"title":"t","labels":{"team":[1]}}"#;
    let bodies = [bad.to_owned(), format!("[{bad}]"), format!(r#"{{"alerts":[{bad}]}}"#)];
    let paths = bodies.map(|body| rejection(GENERIC, &body).0);
    assert_eq!(paths, ["labels.team", "[0].labels.team", "alerts[0].labels.team"]);
}

#[test]
fn a_title_has_several_names() {
    let words = |body: &str| {
        let alert = one(GENERIC, body);
        (alert.title, alert.description)
    };
    let said = |title: &str, description: Option<&str>| (title.to_owned(), description.map(str::to_owned));
    assert_eq!(words(r#"{"title":"t","summary":"s","message":"m","description":"d"}"#), said("t", Some("d")));
    assert_eq!(words(r#"{"summary":"s","message":"m"}"#), said("s", Some("m")));
    assert_eq!(words(r#"{"message":"m"}"#), said("m", None));
    assert_eq!(words(r#"{"title":" ","message":"m"}"#), said("m", None));
    assert_eq!(words(r#"{"annotations":{"summary":"a"}}"#), said("a", None));
    assert_eq!(words(r#"{"labels":{"alertname":"l"}}"#), said("l", None));
    assert_eq!(rejection(GENERIC, "{}"), rejected("title", "MISSING_FIELD"));
    assert_eq!(rejection(GENERIC, r#"{"title":7}"#), rejected("title", "WRONG_TYPE"));
}

#[test]
fn numbers_and_booleans_are_labels_as_they_were_written() {
    let alert =
        one(GENERIC, r#"{"title":"t","labels":{"id":12345678901234567890123,"rate":1.50,"up":false,"none":null}}"#);
    let labels: Vec<_> = alert.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("id", "12345678901234567890123"), ("rate", "1.50"), ("up", "false")]);
}

#[test]
fn the_last_of_two_fields_of_a_name_counts() {
    let alert = one(GENERIC, r#"{"title":"a","title":"b","labels":{"x":"1","x":"2","y":"1","y":null}}"#);
    assert_eq!(alert.title, "b");
    assert_eq!(alert.labels.into_iter().collect::<Vec<_>>(), [("x".to_owned(), "2".to_owned())]);
}

#[test]
fn the_field_severity_comes_before_the_label() {
    assert_eq!(one(GENERIC, r#"{"title":"t","severity":"low","labels":{"severity":"page"}}"#).severity, Severity::Low);
    assert_eq!(one(GENERIC, r#"{"title":"t","labels":{"severity":"page"}}"#).severity, Severity::Critical);
    assert_eq!(one(GENERIC, r#"{"title":"t"}"#).severity, Severity::Medium);
    assert_eq!(rejection(GENERIC, r#"{"title":"t","severity":"sev1"}"#), rejected("severity", "UNKNOWN_SEVERITY"));
}

#[test]
fn status_and_times() {
    let life = |fields: &str| {
        let alert = one(GENERIC, &format!(r#"{{"title":"t"{fields}}}"#));
        (alert.status, alert.starts_at, alert.ends_at)
    };
    let (now, past, future) = (at("2026-03-01T12:00:00Z"), at("2026-03-01T11:00:00Z"), at("2026-03-01T13:00:00Z"));
    let (past_end, future_end) = (r#","ended_at":"2026-03-01T11:00:00Z""#, r#","ended_at":"2026-03-01T13:00:00Z""#);
    assert_eq!(life(""), (Status::Firing, now, None));
    assert_eq!(life(past_end), (Status::Cleared, past, Some(past)));
    assert_eq!(life(future_end), (Status::Firing, now, Some(future)));
    assert_eq!(life(&format!(r#","status":"firing"{past_end}"#)), (Status::Firing, now, None));
    for word in ["cleared", "resolved", "ok", "OK"] {
        assert_eq!(life(&format!(r#","status":"{word}""#)), (Status::Cleared, now, Some(now)));
        assert_eq!(life(&format!(r#","status":"{word}"{past_end}"#)), (Status::Cleared, past, Some(past)));
    }
    let started_ahead = r#","status":"ok","started_at":"2026-03-01T13:00:00Z""#;
    assert_eq!(life(started_ahead), (Status::Cleared, future, Some(future)));
    assert_eq!(rejection(GENERIC, r#"{"title":"t","status":"down"}"#), rejected("status", "UNKNOWN_STATUS"));
    let backwards =
        r#"{"title":"t","status":"ok","started_at":"2026-03-01T11:00:00Z","ended_at":"2026-03-01T10:00:00Z"}"#;
    assert_eq!(rejection(GENERIC, backwards), rejected("ended_at", "ENDS_BEFORE_START"));
}

#[test]
fn the_key_has_several_names() {
    let key = |fields: &str| one(GENERIC, &format!(r#"{{"title":"t"{fields}}}"#)).dedup_key;
    assert_eq!(key(r#","dedup_key":"a","key":"b","id":"c""#), "a");
    assert_eq!(key(r#","dedup_key":"","key":"b","id":"c""#), "b");
    assert_eq!(key(r#","id":18446744073709551616"#), "18446744073709551616");
    assert_eq!(key(&format!(r#","key":"{}""#, "k".repeat(512))), "k".repeat(512));
    let hashed = key(&format!(r#","key":"{}""#, "k".repeat(513)));
    assert_eq!((hashed.len(), hashed.starts_with("sha256:")), (71, true));
    assert_ne!(hashed, key(&format!(r#","key":"{}""#, "k".repeat(514))));
}

#[test]
fn without_a_key_labels_and_title_are_the_key() {
    let key = |body: &str| one(GENERIC, body).dedup_key;
    let base = key(r#"{"title":"t","labels":{"a":"1","b":"2"}}"#);
    assert_eq!(
        base,
        key(r#"{"labels":{"b":"2","a":"1"},"title":"t","status":"ok","description":"d","url":"http://x"}"#)
    );
    for other in [
        r#"{"title":"u","labels":{"a":"1","b":"2"}}"#,
        r#"{"title":"t","labels":{"a":"1","b":"3"}}"#,
        r#"{"title":"t","labels":{"a":"1b2"}}"#,
        r#"{"title":"t"}"#,
    ] {
        assert_ne!(base, key(other), "{other}");
    }
}

#[test]
fn unknown_fields_are_fine() {
    let alert = one(GENERIC, r#"{"title":"t","extra":{"deep":[[{"nul":"\u0000"}]]},"\ud83d\ude00":1}"#);
    assert_eq!(alert.title, "t");
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    assert_eq!(read(GENERIC, "\u{feff}{\"title\":\"t\"}").accepted.len(), 1);
}

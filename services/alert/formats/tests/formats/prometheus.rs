//! What Prometheus leaves out, and what it means.

use alert_formats::{Format, Severity, Status};

use crate::{at, one, read, rejected, rejection};

const PROMETHEUS: Format = Format::PrometheusAlerts;

fn with(fields: &str) -> String {
    format!(r#"[{{"labels":{{"alertname":"Up"}}{fields}}}]"#)
}

#[test]
fn without_times_it_fires_from_now_for_five_minutes() {
    let alert = one(PROMETHEUS, &with(""));
    assert_eq!(alert.status, Status::Firing);
    assert_eq!(alert.starts_at, at("2026-03-01T12:00:00Z"));
    assert_eq!(alert.ends_at, Some(at("2026-03-01T12:05:00Z")));
}

#[test]
fn the_zero_instant_of_go_and_null_are_no_times() {
    for zero in [r#""0001-01-01T00:00:00Z""#, r#""0001-01-01T00:00:00.000Z""#, "null", r#""""#] {
        let alert = one(PROMETHEUS, &with(&format!(r#","startsAt":{zero},"endsAt":{zero}"#)));
        assert_eq!(alert, one(PROMETHEUS, &with("")));
    }
}

#[test]
fn an_end_that_has_passed_clears() {
    let alert = one(PROMETHEUS, &with(r#","startsAt":"2026-03-01T11:00:00Z","endsAt":"2026-03-01T12:00:00Z""#));
    assert_eq!(alert.status, Status::Cleared);
    let alert = one(PROMETHEUS, &with(r#","startsAt":"2026-03-01T11:00:00Z","endsAt":"2026-03-01T12:00:00.000001Z""#));
    assert_eq!(alert.status, Status::Firing);
}

#[test]
fn a_missing_start_is_now_or_the_end_whichever_is_earlier() {
    assert_eq!(one(PROMETHEUS, &with(r#","endsAt":"2026-03-01T12:04:00Z""#)).starts_at, at("2026-03-01T12:00:00Z"));
    assert_eq!(one(PROMETHEUS, &with(r#","endsAt":"2026-03-01T11:04:00Z""#)).starts_at, at("2026-03-01T11:04:00Z"));
}

#[test]
fn a_sender_whose_clock_runs_ahead_still_fires() {
    let alert = one(PROMETHEUS, &with(r#","startsAt":"2026-03-01T12:30:00Z""#));
    assert_eq!((alert.status, alert.ends_at), (Status::Firing, Some(at("2026-03-01T12:35:00Z"))));
}

#[test]
fn instants_are_cut_to_microseconds_and_taken_in_any_zone() {
    let alert = one(PROMETHEUS, &with(r#","startsAt":"2026-03-01T12:30:00.123456789+01:00""#));
    assert_eq!(alert.starts_at, at("2026-03-01T11:30:00.123456Z"));
}

#[test]
fn times_that_are_none_are_rejected() {
    for (time, code) in [
        (r#""yesterday""#, "INVALID_TIME"),
        (r#""0000-12-31T00:00:00Z""#, "INVALID_TIME"),
        (r#""9999-12-31T23:59:59-23:59""#, "INVALID_TIME"),
        ("1700000000", "WRONG_TYPE"),
    ] {
        assert_eq!(rejection(PROMETHEUS, &with(&format!(r#","startsAt":{time}"#))), rejected("[0].startsAt", code));
    }
    let backwards = with(r#","startsAt":"2026-03-01T11:00:00Z","endsAt":"2026-03-01T10:00:00Z""#);
    assert_eq!(rejection(PROMETHEUS, &backwards), rejected("[0].endsAt", "ENDS_BEFORE_START"));
}

#[test]
fn identity_is_the_set_of_labels_with_a_value() {
    let bare = one(PROMETHEUS, r#"[{"labels":{"alertname":"Up","job":"x"}}]"#);
    let same = one(
        PROMETHEUS,
        r#"[{"labels":{"job":"x","alertname":"Up","empty":"","none":null},"annotations":{"summary":"s"},"generatorURL":"http://g/"}]"#,
    );
    assert_eq!(same.dedup_key, bare.dedup_key);
    assert_eq!(same.labels, bare.labels);
    // The fingerprint that Alertmanager 0.25.0 gave these labels.
    let recorded = one(
        PROMETHEUS,
        r#"[{"labels":{"alertname":"DiskAlmostFull","cluster":"production","instance":"db-1:9100","job":"node","severity":"critical","team":"storage"}}]"#,
    );
    assert_eq!(recorded.dedup_key, "dfbb32da309e6469");
}

#[test]
fn an_alert_without_labels_is_rejected() {
    for labels in [r#"{}"#, r#"{"labels":null}"#, r#"{"labels":{}}"#, r#"{"labels":{"a":""}}"#] {
        assert_eq!(rejection(PROMETHEUS, &format!("[{labels}]")), rejected("[0].labels", "NO_LABELS"));
    }
}

#[test]
fn severity_comes_from_the_label() {
    let severity = |word: &str| one(PROMETHEUS, &format!(r#"[{{"labels":{{"severity":"{word}"}}}}]"#)).severity;
    for (words, expected) in [
        (["critical", "page", "emergency", "fatal", "Critical"].as_slice(), Severity::Critical),
        (&["error", "high", "major", " HIGH "], Severity::High),
        (&["warning", "warn", "medium", "minor", "something else"], Severity::Medium),
        (&["low"], Severity::Low),
        (&["info", "informational", "none", "debug", "ok"], Severity::Info),
    ] {
        for word in words {
            assert_eq!(severity(word), expected, "{word}");
        }
    }
    assert_eq!(one(PROMETHEUS, &with("")).severity, Severity::Medium);
}

#[test]
fn the_title_is_the_summary_else_the_name_else_the_key() {
    let title = |fields: &str| one(PROMETHEUS, &format!("[{{{fields}}}]")).title;
    assert_eq!(
        title(r#""labels":{"alertname":"Up"},"annotations":{"summary":" it\n is\tup\u001b[31m "}"#),
        "it is up [31m"
    );
    assert_eq!(title(r#""labels":{"alertname":"Up"},"annotations":{"summary":" "}"#), "Up");
    assert_eq!(
        title(r#""labels":{"job":"x"}"#),
        format!("Alert {}", one(PROMETHEUS, r#"[{"labels":{"job":"x"}}]"#).dedup_key)
    );
    let long = title(&format!(r#""labels":{{"job":"x"}},"annotations":{{"summary":"{}"}}"#, "ä".repeat(2000)));
    assert!(long.len() <= 1024 && long.ends_with('…'));
}

#[test]
fn a_blank_description_is_none() {
    let said =
        |text: &str| one(PROMETHEUS, &with(&format!(r#","annotations":{{"description":"{text}","message":"m"}}"#)));
    assert_eq!(said(" ").description.as_deref(), Some("m"));
    assert_eq!(said("d").description.as_deref(), Some("d"));
}

#[test]
fn only_web_links_are_links() {
    let link = |url: &str| one(PROMETHEUS, &with(&format!(r#","generatorURL":"{url}""#))).source_url;
    assert_eq!(link("https://p.example/graph?a=b"), Some("https://p.example/graph?a=b".to_owned()));
    for other in ["javascript:alert(1)//://", "file:///etc/passwd", "https://", "https:///x", "https://a b", "", "x"] {
        assert_eq!(link(other), None, "{other}");
    }
}

#[test]
fn a_bad_alert_does_not_take_the_others_with_it() {
    let parsed = read(PROMETHEUS, r#"[{"labels":{"a":"1"}},{"labels":[]},7,{"labels":{"a":"2"}}]"#);
    assert_eq!(parsed.accepted.iter().map(|alert| alert.index).collect::<Vec<_>>(), [0, 3]);
    let rejected: Vec<_> = parsed.rejected.iter().map(|r| (r.index, r.field.as_str(), r.raw.as_str())).collect();
    assert_eq!(rejected, [(1, "[1].labels", r#"{"labels":[]}"#), (2, "[2]", "7")]);
    assert_eq!(parsed.refusal_of_all(), None);
}

#[test]
fn an_empty_array_is_fine() {
    let parsed = read(PROMETHEUS, " [] ");
    assert!(parsed.accepted.is_empty() && parsed.rejected.is_empty() && parsed.refusal_of_all().is_none());
}

//! The webhook of Alertmanager where it differs from what the samples show.

use alert_formats::{Format, Status, parse};

use crate::{at, one, read, rejected, rejection};

const WEBHOOK: Format = Format::AlertmanagerWebhook;

fn with(alert: &str) -> String {
    format!(r#"{{"version":"4","groupKey":"{{}}:{{a=1}}","alerts":[{{"labels":{{"alertname":"Up"}}{alert}}}]}}"#)
}

#[test]
fn the_end_of_a_firing_alert_means_nothing() {
    let alert = one(WEBHOOK, &with(r#","status":"firing","endsAt":"2026-03-01T11:00:00Z""#));
    assert_eq!((alert.status, alert.ends_at), (Status::Firing, None));
}

#[test]
fn a_resolved_alert_without_an_end_ended_now() {
    let alert = one(WEBHOOK, &with(r#","status":"resolved","startsAt":"2026-03-01T11:00:00Z""#));
    assert_eq!((alert.status, alert.ends_at), (Status::Cleared, Some(at("2026-03-01T12:00:00Z"))));
}

#[test]
fn without_a_status_the_end_decides() {
    assert_eq!(one(WEBHOOK, &with(r#","endsAt":"2026-03-01T11:00:00Z""#)).status, Status::Cleared);
    assert_eq!(one(WEBHOOK, &with(r#","endsAt":"0001-01-01T00:00:00Z""#)).status, Status::Firing);
}

#[test]
fn an_unknown_status_is_rejected() {
    assert_eq!(rejection(WEBHOOK, &with(r#","status":"odd""#)), rejected("alerts[0].status", "UNKNOWN_STATUS"));
}

#[test]
fn the_fingerprint_is_the_key_and_is_computed_where_missing() {
    assert_eq!(one(WEBHOOK, &with(r#","fingerprint":"abc""#)).dedup_key, "abc");
    let prometheus = one(Format::PrometheusAlerts, r#"[{"labels":{"alertname":"Up"}}]"#);
    assert_eq!(one(WEBHOOK, &with("")).dedup_key, prometheus.dedup_key);
    assert_eq!(one(WEBHOOK, &with(r#","fingerprint":"""#)).dedup_key, prometheus.dedup_key);
}

#[test]
fn a_group_key_that_is_too_long_is_hashed() {
    assert_eq!(one(WEBHOOK, &with("")).group_key.as_deref(), Some("{}:{a=1}"));
    let long = format!(r#"{{"version":"4","groupKey":"{}","alerts":[{{"labels":{{"a":"b"}}}}]}}"#, "k".repeat(513));
    assert!(one(WEBHOOK, &long).group_key.unwrap().starts_with("sha256:"));
}

#[test]
fn other_versions_are_refused() {
    for version in [r#""version":"1","#, r#""version":"3","#, ""] {
        let body = format!(r#"{{{version}"alerts":[]}}"#);
        let refused = parse(WEBHOOK, body.as_bytes(), at(crate::RECEIVED_AT)).unwrap_err();
        assert_eq!((refused.reason(), refused.field()), ("UNSUPPORTED_VERSION", "version"));
    }
    assert_eq!(read(WEBHOOK, r#"{"version":4,"alerts":[]}"#).truncated, 0);
}

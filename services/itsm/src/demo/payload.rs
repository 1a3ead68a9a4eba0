//! What Alertmanager posts: version 4 of its webhook, one alert in one group. Pure.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

/// The alert of the night.
#[derive(Debug, Clone)]
pub struct Condition {
    /// The service that it names by a label.
    pub service: String,
    /// The team that it names by a label.
    pub team: String,
    /// Alertmanager's own name for the set of labels.
    pub fingerprint: String,
    /// When it began, as the source says.
    pub started: DateTime<Utc>,
}

impl Condition {
    /// It fires.
    pub fn firing(&self) -> Value {
        self.webhook("firing", "0001-01-01T00:00:00Z".to_owned())
    }

    /// It is over.
    pub fn resolved(&self, at: DateTime<Utc>) -> Value {
        self.webhook("resolved", at.to_rfc3339_opts(SecondsFormat::Millis, true))
    }

    fn webhook(&self, status: &str, ended: String) -> Value {
        let labels = json!({
            "alertname": "CheckoutErrorRateHigh",
            "cluster": "production",
            "job": self.service,
            "service": self.service,
            "severity": "critical",
            "team": self.team,
        });
        let annotations = json!({
            "summary": format!("7.3 % of payments fail in {}", self.service),
            "description": "More than 5 % of the requests to /pay answered 5xx during the last 5 minutes.",
            "runbook_url": "https://runbooks.example/checkout/error-rate",
        });
        json!({
            "receiver": "itsm",
            "status": status,
            "alerts": [{
                "status": status,
                "labels": labels,
                "annotations": annotations,
                "startsAt": self.started.to_rfc3339_opts(SecondsFormat::Millis, true),
                "endsAt": ended,
                "generatorURL": "http://prometheus.example:9090/graph?g0.expr=checkout%3Aerror_ratio+%3E+0.05&g0.tab=1",
                "fingerprint": self.fingerprint,
            }],
            "groupLabels": { "alertname": "CheckoutErrorRateHigh" },
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": "http://alertmanager.example:9093",
            "version": "4",
            "groupKey": "{}:{alertname=\"CheckoutErrorRateHigh\"}",
            "truncatedAlerts": 0,
        })
    }
}

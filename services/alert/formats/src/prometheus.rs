//! What Prometheus posts to Alertmanager's `POST /api/v2/alerts`: an array of alerts.
//!
//! The identity of an alert is its label set, as Alertmanager's own fingerprint, so that one alert
//! has one key whether it comes from Prometheus or through Alertmanager's webhook. Prometheus says
//! "resolved" only by an end that has passed; an alert that is not sent again ends by itself at
//! `endsAt`.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::value::RawValue;

use crate::fault::Fault;
use crate::json::{self, Element};
use crate::period::{Period, instant};
use crate::{Accepted, Parsed, Refused, Severity, Status, key, limits, text};

/// How long an alert without an end lives: Alertmanager's `resolve_timeout` by default.
const RESOLVE_TIMEOUT: TimeDelta = TimeDelta::minutes(5);

pub(crate) fn read(body: &str, received_at: DateTime<Utc>) -> Result<Parsed, Refused> {
    let alerts = json::elements(json::document(body)?, "")?;
    Ok(Parsed::each(&alerts, |alert| one(alert, received_at)))
}

fn one(element: &Element<'_>, received_at: DateTime<Utc>) -> Result<Accepted, Fault> {
    let [labels, annotations, begin, end, url] =
        json::fields(element.value, ["labels", "annotations", "startsAt", "endsAt", "generatorURL"])?;
    let subject = Subject::read(labels, annotations, url)?;
    let begin = instant(begin, "startsAt")?;
    // Where the sender's clock runs ahead, the time-out runs from its start, or it would be over
    // before it began.
    let time_out = || begin.map_or(received_at, |begin| begin.max(received_at)) + RESOLVE_TIMEOUT;
    let given_end = instant(end, "endsAt")?;
    let period = match given_end {
        Some(_) => Period::new(begin, received_at, given_end, "endsAt")?,
        None => Period::new(begin, received_at, Some(time_out()), "endsAt")?,
    };
    let fires = period.ends_at.is_some_and(|end| end > received_at);
    Ok(Accepted {
        dedup_key: key::fingerprint(&subject.labels),
        status: if fires { Status::Firing } else { Status::Cleared },
        ..subject.accepted(period, element.index)
    })
}

/// What Prometheus and Alertmanager say about an alert in the same words.
pub(crate) struct Subject {
    pub(crate) labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    source_url: Option<String>,
}

impl Subject {
    pub(crate) fn read(
        labels: Option<&RawValue>,
        annotations: Option<&RawValue>,
        url: Option<&RawValue>,
    ) -> Result<Self, Fault> {
        let labels = json::labels(labels, "labels")?;
        if labels.is_empty() {
            return Err(Fault::new("labels", "NO_LABELS", "must hold at least one label with a value"));
        }
        let annotations = json::text_map(annotations, "annotations", &json::ANNOTATIONS)?;
        let source_url = json::text(url, "generatorURL", limits::ANNOTATION_VALUE_BYTES)?.and_then(text::web_link);
        Ok(Self { labels, annotations, source_url })
    }

    /// The alert as far as these words go: by its fingerprint, firing, in no group.
    pub(crate) fn accepted(self, period: Period, index: usize) -> Accepted {
        let annotation = |name: &str| self.annotations.get(name).filter(|text| !text.trim().is_empty());
        let title = [annotation("summary"), annotation("title"), self.labels.get("alertname")];
        let title = title.into_iter().flatten().find_map(|text| text::line(text));
        let dedup_key = key::fingerprint(&self.labels);
        Accepted {
            title: title.unwrap_or_else(|| format!("Alert {dedup_key}")),
            dedup_key,
            status: Status::Firing,
            severity: Severity::of_labels(&self.labels),
            description: annotation("description").or_else(|| annotation("message")).cloned(),
            starts_at: period.starts_at,
            ends_at: period.ends_at,
            source_url: self.source_url,
            group_key: None,
            index,
            labels: self.labels,
            annotations: self.annotations,
        }
    }
}

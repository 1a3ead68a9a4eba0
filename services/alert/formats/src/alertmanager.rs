//! Alertmanager's webhook, version 4: one group of alerts.
//!
//! Alertmanager says of each alert whether it fires; an end counts only for a resolved one. Its
//! `fingerprint` is the dedup key, computed from the labels where it is missing.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use crate::fault::Fault;
use crate::json::{self, Element};
use crate::period::{Period, instant};
use crate::prometheus::Subject;
use crate::{Accepted, Parsed, Refused, Status, key, limits};

const VERSION: &str = "4";

pub(crate) fn read(body: &str, received_at: DateTime<Utc>) -> Result<Parsed, Refused> {
    let document = json::document(body)?;
    if json::kind(document) != json::Kind::Object {
        return Err(Refused::WrongType { field: "body".to_owned(), expected: "the object that Alertmanager posts" });
    }
    let [version, group_key, truncated, alerts] =
        json::fields(document, ["version", "groupKey", "truncatedAlerts", "alerts"]).map_err(Fault::of_body)?;
    let version = json::scalar(version, "version", limits::KEY_BYTES).map_err(Fault::of_body)?;
    if version.as_deref() != Some(VERSION) {
        return Err(Refused::UnsupportedVersion { field: "version".to_owned(), expected: "\"4\"" });
    }
    let group_key = json::text(group_key, "groupKey", limits::BODY_BYTES).map_err(Fault::of_body)?;
    let group_key = group_key.filter(|key| !key.is_empty()).map(key::bounded);
    let alerts = alerts.ok_or_else(|| Refused::Missing { field: "alerts".to_owned() })?;
    let alerts = json::elements(alerts, "alerts")?;
    let mut parsed = Parsed::each(&alerts, |alert| {
        one(alert, received_at).map(|accepted| Accepted { group_key: group_key.clone(), ..accepted })
    });
    parsed.truncated = count(truncated)?;
    Ok(parsed)
}

fn one(element: &Element<'_>, received_at: DateTime<Utc>) -> Result<Accepted, Fault> {
    let [status, labels, annotations, begin, end, url, fingerprint] = json::fields(
        element.value,
        ["status", "labels", "annotations", "startsAt", "endsAt", "generatorURL", "fingerprint"],
    )?;
    let subject = Subject::read(labels, annotations, url)?;
    let fingerprint = json::scalar(fingerprint, "fingerprint", limits::BODY_BYTES)?.filter(|key| !key.is_empty());
    let (begin, end) = (instant(begin, "startsAt")?, instant(end, "endsAt")?);
    let status = match json::text(status, "status", limits::NAME_BYTES)? {
        Some(word) => Status::from_word(&word)
            .ok_or_else(|| Fault::new("status", "UNKNOWN_STATUS", "must be firing or resolved"))?,
        None if end.is_some_and(|end| end <= received_at) => Status::Cleared,
        None => Status::Firing,
    };
    let ends_at = match status {
        Status::Firing => None,
        Status::Cleared => Some(end.unwrap_or_else(|| begin.map_or(received_at, |begin| begin.max(received_at)))),
    };
    let accepted = subject.accepted(Period::new(begin, received_at, ends_at, "endsAt")?, element.index);
    let dedup_key = fingerprint.map_or(accepted.dedup_key, key::bounded);
    Ok(Accepted { dedup_key, status, ..accepted })
}

/// `truncatedAlerts`: how many alerts of the group were left out.
fn count(value: Option<&RawValue>) -> Result<u64, Refused> {
    let Some(value) = value else { return Ok(0) };
    serde_json::from_str(value.get())
        .map_err(|_| Refused::WrongType { field: "truncatedAlerts".to_owned(), expected: "a count" })
}

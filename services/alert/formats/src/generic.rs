//! Our own format: one alert, an array of alerts, or `{"alerts": [..]}`.
//!
//! | field | meaning |
//! |---|---|
//! | `title`, else `summary`, else `message` | one line for people; else the annotation `summary`, else the label `alertname` |
//! | `description` | more; else `message` where it is not the title |
//! | `severity` | `critical`, `high`, `medium`, `low`, `info` or a usual synonym; else the label `severity`; else medium |
//! | `status` | `firing`, `cleared`, `resolved` or `ok`; else cleared when `ended_at` has passed; else firing |
//! | `dedup_key`, else `key`, else `id` | what makes it the same alert; else a hash of labels and title |
//! | `labels`, `annotations` | objects of text, numbers and booleans |
//! | `started_at`, `ended_at` | RFC 3339; `ended_at` of a firing alert is when it clears by itself |
//! | `url` | where the source shows it |
//!
//! A word in `severity` or `status` that we do not know is refused: this format is written for us,
//! and its author learns of a slip at once instead of in the night when it matters.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use crate::fault::Fault;
use crate::json::{self, Element, Kind};
use crate::period::{Period, instant};
use crate::{Accepted, Parsed, Refused, Severity, Status, key, limits, text};

const SEVERITIES: &str = "must be critical, high, medium, low or info";
const STATES: &str = "must be firing, cleared, resolved or ok";

pub(crate) fn read(body: &str, received_at: DateTime<Utc>) -> Result<Parsed, Refused> {
    let document = json::document(body)?;
    let alerts = match json::kind(document) {
        Kind::Array => json::elements(document, "")?,
        Kind::Object => match json::fields(document, ["alerts"]).map_err(Fault::of_body)? {
            [Some(alerts)] => json::elements(alerts, "alerts")?,
            [None] => vec![Element::whole(document)],
        },
        Kind::Null | Kind::Boolean | Kind::Number | Kind::Text => {
            let expected = "an alert, an array of alerts or an object with `alerts`";
            return Err(Refused::WrongType { field: "body".to_owned(), expected });
        }
    };
    let unstated = Unstated { key: None, at: None, received_at };
    Ok(Parsed::each(&alerts, |alert| one(alert.value, &unstated, alert.index)))
}

/// What counts where the alert itself does not say.
pub(crate) struct Unstated {
    /// In place of every name of the key but `dedup_key`.
    pub(crate) key: Option<String>,
    /// When the source said what it says.
    pub(crate) at: Option<DateTime<Utc>>,
    pub(crate) received_at: DateTime<Utc>,
}

pub(crate) fn one(alert: &RawValue, unstated: &Unstated, index: usize) -> Result<Accepted, Fault> {
    let [labels, annotations, severity, status, begin, end, url] =
        json::fields(alert, ["labels", "annotations", "severity", "status", "started_at", "ended_at", "url"])?;
    let labels = json::labels(labels, "labels")?;
    let annotations = json::text_map(annotations, "annotations", &json::ANNOTATIONS)?;
    let (status, period) = life(status, begin, end, unstated)?;
    let severity = match json::text(severity, "severity", limits::LABEL_VALUE_BYTES)? {
        Some(word) => {
            Severity::from_word(&word).ok_or_else(|| Fault::new("severity", "UNKNOWN_SEVERITY", SEVERITIES))?
        }
        None => Severity::of_labels(&labels),
    };
    let words = Words::read(alert)?;
    let title = words.title.or_else(|| annotations.get("summary").and_then(|text| text::line(text)));
    let title = title.or_else(|| labels.get("alertname").and_then(|text| text::line(text)));
    let title = title.ok_or_else(|| Fault::missing("title"))?;
    let dedup_key = match dedup_key(alert, unstated)? {
        Some(key) => key::bounded(key),
        None => key::of_content(&labels, &title),
    };
    let source_url = json::text(url, "url", limits::ANNOTATION_VALUE_BYTES)?.and_then(text::web_link);
    Ok(Accepted {
        dedup_key,
        status,
        severity,
        title,
        description: words.description,
        labels,
        annotations,
        starts_at: period.starts_at,
        ends_at: period.ends_at,
        source_url,
        group_key: None,
        index,
    })
}

/// What an alert says to people.
struct Words {
    title: Option<String>,
    description: Option<String>,
}

impl Words {
    fn read(alert: &RawValue) -> Result<Self, Fault> {
        let names = ["title", "summary", "message", "description"];
        let values = json::fields(alert, names)?;
        let mut texts = [const { None }; 4];
        for ((text, value), name) in texts.iter_mut().zip(values).zip(names) {
            *text = json::text(value, name, limits::ANNOTATION_VALUE_BYTES)?.filter(|text| !text.trim().is_empty());
        }
        let [title, summary, message, description] = texts;
        let message_is_title = title.is_none() && summary.is_none();
        let description = description.or_else(|| message.clone().filter(|_| !message_is_title));
        let title = title.or(summary).or(message).and_then(|text| text::line(&text));
        Ok(Self { title, description })
    }
}

/// The key that the source gave, however long.
fn dedup_key(alert: &RawValue, unstated: &Unstated) -> Result<Option<String>, Fault> {
    let names = ["dedup_key", "key", "id"];
    let values = json::fields(alert, names)?;
    // The key of an event around the alert says more about identity than the alert's own `id`.
    let own_names = if unstated.key.is_some() { 1 } else { names.len() };
    for (value, name) in values.into_iter().zip(names).take(own_names) {
        if let Some(key) = json::scalar(value, name, limits::BODY_BYTES)?.filter(|key| !key.is_empty()) {
            return Ok(Some(key));
        }
    }
    Ok(unstated.key.clone())
}

fn life(
    status: Option<&RawValue>,
    begin: Option<&RawValue>,
    end: Option<&RawValue>,
    unstated: &Unstated,
) -> Result<(Status, Period), Fault> {
    let (begin, end) = (instant(begin, "started_at")?, instant(end, "ended_at")?);
    let has_passed = |end: DateTime<Utc>| end <= unstated.received_at;
    let status = match json::text(status, "status", limits::NAME_BYTES)? {
        Some(word) => Status::from_word(&word).ok_or_else(|| Fault::new("status", "UNKNOWN_STATUS", STATES))?,
        None if end.is_some_and(has_passed) => Status::Cleared,
        None => Status::Firing,
    };
    let said_at = unstated.at.unwrap_or(unstated.received_at);
    let end = match status {
        // An end that has passed is that of an earlier episode: the alert says that it fires.
        Status::Firing => end.filter(|end| !has_passed(*end)),
        Status::Cleared => Some(end.unwrap_or_else(|| begin.map_or(said_at, |begin| begin.max(said_at)))),
    };
    Ok((status, Period::new(begin, said_at, end, "ended_at")?))
}

//! The intake formats.

use alert_formats::{Accepted, Format, cloudevent_from_headers, limits, parse};
use chrono::DateTime;

/// Reads a body in every format, and as a CloudEvent whose attributes are headers.
pub fn formats(input: &[u8]) {
    let received_at = DateTime::UNIX_EPOCH;
    for format in Format::ALL {
        match parse(format, input, received_at) {
            Ok(parsed) => {
                parsed.accepted.iter().for_each(storable);
                for rejected in &parsed.rejected {
                    fits(&rejected.raw, limits::REJECTED_BYTES);
                    fits(&rejected.field, 200);
                    fits(&rejected.reason, 200);
                }
            }
            Err(refused) => fits(&refused.to_string(), 1_000),
        }
    }
    let text = String::from_utf8_lossy(input);
    let [headers, body] = super::parts(&text);
    let headers: Vec<(String, String)> = headers
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if let Ok(event) = cloudevent_from_headers(&headers, body.as_bytes())
        && let Ok(parsed) = parse(Format::CloudEvents, &event, received_at)
    {
        parsed.accepted.iter().for_each(storable);
    }
}

fn fits(text: &str, bytes: usize) {
    assert!(text.len() <= bytes && !text.contains('\0'), "cannot be stored: {text:?}");
}

fn storable(alert: &Accepted) {
    assert!(!alert.dedup_key.is_empty() && !alert.title.is_empty(), "{alert:?}");
    fits(&alert.dedup_key, limits::KEY_BYTES);
    fits(&alert.title, limits::TITLE_BYTES);
    fits(alert.description.as_deref().unwrap_or_default(), limits::ANNOTATION_VALUE_BYTES);
    fits(alert.group_key.as_deref().unwrap_or_default(), limits::KEY_BYTES);
    fits(alert.source_url.as_deref().unwrap_or_default(), limits::ANNOTATION_VALUE_BYTES);
    assert!(alert.labels.len() <= limits::LABELS && alert.annotations.len() <= limits::ANNOTATIONS);
    for (name, value) in alert.labels.iter().chain(&alert.annotations) {
        fits(name, limits::NAME_BYTES);
        fits(value, limits::ANNOTATION_VALUE_BYTES);
    }
    assert!(alert.ends_at.is_none_or(|end| end >= alert.starts_at), "it ends before it starts: {alert:?}");
}

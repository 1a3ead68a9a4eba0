//! Instants: reading them, and making a period of what a source says about its ends.

use chrono::{DateTime, Datelike, Utc};
use serde_json::value::RawValue;

use crate::fault::Fault;
use crate::json;

/// When an episode began and, where that is known, when it ended or will.
pub(crate) struct Period {
    pub(crate) starts_at: DateTime<Utc>,
    pub(crate) ends_at: Option<DateTime<Utc>>,
}

impl Period {
    /// `begin` is what the source says; `otherwise` stands in for it, but never after the end.
    /// The fault is at `end_field`.
    pub(crate) fn new(
        begin: Option<DateTime<Utc>>,
        otherwise: DateTime<Utc>,
        ends_at: Option<DateTime<Utc>>,
        end_field: &str,
    ) -> Result<Self, Fault> {
        let starts_at = begin.unwrap_or_else(|| ends_at.map_or(otherwise, |end| end.min(otherwise)));
        if ends_at.is_some_and(|end| end < starts_at) {
            return Err(Fault::new(end_field, "ENDS_BEFORE_START", "lies before the start"));
        }
        Ok(Self { starts_at, ends_at })
    }
}

/// An instant as RFC 3339 text. Absent, null, empty and the zero instant of Go are all "not set".
pub(crate) fn instant(value: Option<&RawValue>, field: &str) -> Result<Option<DateTime<Utc>>, Fault> {
    const LONGEST_BYTES: usize = 64;
    let Some(text) = json::text(value, field, LONGEST_BYTES)?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let instant = DateTime::parse_from_rfc3339(&text)
        .map_err(|_| Fault::new(field, "INVALID_TIME", "must be an instant as 2026-01-31T23:59:00Z"))?;
    let instant = to_microseconds(instant.to_utc());
    // The years that every part of the system can hold.
    if !(1..=9999).contains(&instant.year()) {
        return Err(Fault::new(field, "INVALID_TIME", "must lie in the years 1 to 9999"));
    }
    let is_zero = instant.year() == 1 && instant.ordinal() == 1;
    Ok((!is_zero).then_some(instant))
}

/// The instant as the database keeps it. A leap second becomes the second after it.
pub(crate) fn to_microseconds(instant: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(instant.timestamp_micros()).unwrap_or(instant)
}

//! Structured CloudEvents 1.0: one event, or a batch as an array.
//!
//! `data` is an alert as in `generic.rs`, or plain text, which is then the title of a firing alert.
//! The dedup key is `data.dedup_key`, else `source/subject`, else `source/id`. The event's `time`
//! stands in for a start or an end that the alert does not give.

use chrono::{DateTime, Utc};
use data_encoding::BASE64;
use serde_json::value::RawValue;

use crate::fault::Fault;
use crate::generic::{self, Unstated};
use crate::json::{self, Element, Kind};
use crate::period::instant;
use crate::{Accepted, Parsed, Refused, limits, text};

pub(crate) fn read(body: &str, received_at: DateTime<Utc>) -> Result<Parsed, Refused> {
    let document = json::document(body)?;
    let events = match json::kind(document) {
        Kind::Array => json::elements(document, "")?,
        Kind::Object => vec![Element::whole(document)],
        Kind::Null | Kind::Boolean | Kind::Number | Kind::Text => {
            let expected = "a CloudEvent or an array of CloudEvents";
            return Err(Refused::WrongType { field: "body".to_owned(), expected });
        }
    };
    Ok(Parsed::each(&events, |event| one(event, received_at)))
}

fn one(element: &Element<'_>, received_at: DateTime<Utc>) -> Result<Accepted, Fault> {
    let [version, id, source, kind, subject, time, data, data_base64] =
        json::fields(element.value, ["specversion", "id", "source", "type", "subject", "time", "data", "data_base64"])?;
    if required(version, "specversion")? != "1.0" {
        return Err(Fault::new("specversion", "UNSUPPORTED_VERSION", "must be \"1.0\""));
    }
    let (id, source) = (required(id, "id")?, required(source, "source")?);
    required(kind, "type")?;
    let subject = json::text(subject, "subject", limits::ANNOTATION_VALUE_BYTES)?.filter(|text| !text.is_empty());
    let unstated =
        Unstated { key: Some(format!("{source}/{}", subject.unwrap_or(id))), at: instant(time, "time")?, received_at };
    match (data, data_base64) {
        (Some(data), _) => alert(data, &unstated, element.index).map_err(|fault| fault.under("data")),
        (None, Some(data)) => {
            let data = from_base64(data)?;
            alert(&data, &unstated, element.index).map_err(|fault| fault.under("data_base64"))
        }
        (None, None) => Err(Fault::missing("data")),
    }
}

fn required(value: Option<&RawValue>, field: &'static str) -> Result<String, Fault> {
    let text = json::text(value, field, limits::ANNOTATION_VALUE_BYTES)?;
    text.filter(|text| !text.is_empty()).ok_or_else(|| Fault::missing(field))
}

fn alert(data: &RawValue, unstated: &Unstated, index: usize) -> Result<Accepted, Fault> {
    match json::kind(data) {
        Kind::Object => generic::one(data, unstated, index),
        Kind::Text => {
            let said = json::text(Some(data), "", limits::ANNOTATION_VALUE_BYTES)?.unwrap_or_default();
            let title = text::line(&said);
            let more = Some(&said).filter(|said| title.as_ref() != Some(*said));
            let alert = serde_json::value::to_raw_value(&serde_json::json!({ "title": title, "description": more }))
                .map_err(|_| Fault::wrong_type("", "text"))?;
            // The title is no field of the sender's, so a fault is that of the text.
            generic::one(&alert, unstated, index).map_err(|fault| Fault { field: String::new(), ..fault })
        }
        Kind::Null | Kind::Boolean | Kind::Number | Kind::Array => {
            Err(Fault::wrong_type("", "one alert as an object, or text"))
        }
    }
}

/// Data that its sender did not write as JSON: JSON nevertheless, or else text.
fn from_base64(data: &RawValue) -> Result<Box<RawValue>, Fault> {
    const FIELD: &str = "data_base64";
    let encoded = json::text(Some(data), FIELD, limits::BODY_BYTES)?.unwrap_or_default();
    let bytes = BASE64.decode(encoded.as_bytes()).map_err(|_| Fault::new(FIELD, "INVALID_TEXT", "must be Base64"))?;
    // It has been behind the encoding while the body was checked.
    let data = text::checked(&bytes).map_err(|refused| Fault::new(FIELD, refused.reason(), refused.to_string()))?;
    match serde_json::from_str::<&RawValue>(data) {
        Ok(json) if json::kind(json) == Kind::Object => Ok(json.to_owned()),
        _ => serde_json::value::to_raw_value(data).map_err(|_| Fault::wrong_type(FIELD, "text")),
    }
}

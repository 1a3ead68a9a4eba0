//! CloudEvents in binary mode: the attributes in `ce-` headers, the data as the body. Folded here
//! into the structured form, so that what is stored and read is one form only.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde_json::value::{RawValue, to_raw_value};

use crate::fault::Fault;
use crate::json::{self, Kind};
use crate::{Refused, limits, text};

const PREFIX: &str = "ce-";
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// The structured event of a message in binary mode, over HTTP or NATS. Headers that are none of
/// an event's are passed over, and names are taken in any case of letters.
///
/// # Errors
/// When a required attribute is missing or a limit is exceeded.
pub fn cloudevent_from_headers(headers: &[(String, String)], body: &[u8]) -> Result<Vec<u8>, Refused> {
    if body.len() > limits::BODY_BYTES {
        return Err(Refused::BodyTooLarge);
    }
    let (mut attributes, content_type) = attributes(headers)?;
    for name in REQUIRED {
        if !attributes.contains_key(name) {
            return Err(Refused::Missing { field: format!("{PREFIX}{name}") });
        }
    }
    // NATS has no header of its own for the type of the content.
    let content_type = content_type.or_else(|| attributes.get("datacontenttype").cloned());
    let mut event: BTreeMap<&str, Box<RawValue>> = BTreeMap::new();
    if let Some(content_type) = &content_type {
        attributes.insert("datacontenttype".to_owned(), content_type.clone());
    }
    for (name, value) in &attributes {
        event.insert(name, json_text(value)?);
    }
    if let Some((member, value)) = data(body, content_type.as_deref())? {
        event.insert(member, value);
    }
    let event = serde_json::to_vec(&event).map_err(|error| Refused::NotJson { detail: error.to_string() })?;
    text::checked(&event)?;
    Ok(event)
}

/// The attributes of the event, and the type of its content.
fn attributes(headers: &[(String, String)]) -> Result<(BTreeMap<String, String>, Option<String>), Refused> {
    let (mut attributes, mut content_type) = (BTreeMap::new(), None);
    let mut bytes = 0;
    for (header, value) in headers {
        let header = header.to_ascii_lowercase();
        if header == "content-type" {
            content_type = Some(value.clone());
        }
        let Some(name) = header.strip_prefix(PREFIX) else {
            continue;
        };
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !is_name || name == "data" {
            continue;
        }
        bytes += value.len();
        if bytes > limits::BODY_BYTES {
            return Err(Refused::BodyTooLarge);
        }
        let unusable = |detail| Fault::new(&header, "INVALID_TEXT", detail).of_body();
        let decoded = percent_decoded(value).ok_or_else(|| unusable("is not UTF-8 after percent-decoding"))?;
        if attributes.insert(name.to_owned(), decoded).is_some() {
            return Err(unusable("is there more than once"));
        }
        if attributes.len() > limits::EVENT_ATTRIBUTES {
            return Err(Refused::TooManyAttributes);
        }
    }
    Ok((attributes, content_type))
}

/// The member that holds the data, by the type of the content; nothing for an empty body.
fn data(body: &[u8], content_type: Option<&str>) -> Result<Option<(&'static str, Box<RawValue>)>, Refused> {
    if body.is_empty() {
        return Ok(None);
    }
    let media_type = content_type.unwrap_or("application/json").split(';').next().unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    let is_json = media_type.ends_with("/json") || media_type.ends_with("+json");
    if is_json {
        let value = json::document(text::checked(body)?)?;
        // A null would be the same as no data in the structured form.
        return Ok((json::kind(value) != Kind::Null).then(|| ("data", value.to_owned())));
    }
    Ok(Some(match std::str::from_utf8(body) {
        Ok(text) => ("data", json_text(text)?),
        Err(_) => ("data_base64", json_text(&BASE64.encode(body))?),
    }))
}

fn json_text(text: &str) -> Result<Box<RawValue>, Refused> {
    to_raw_value(text).map_err(|error| Refused::NotJson { detail: error.to_string() })
}

/// `%41` is `A`; a per cent sign that begins no such triple stands for itself.
fn percent_decoded(value: &str) -> Option<String> {
    let bytes = value.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%').and_then(hexadecimal);
        decoded.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8(decoded).ok()
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

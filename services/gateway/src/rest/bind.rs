//! One HTTP request becomes one request message: path, query, body and headers each fill their
//! part. Pure: it knows the route and the bytes, not who asks or where the answer comes from.

use http::{HeaderMap, Method, StatusCode, header};
use prost_reflect::{DynamicMessage, Kind, ReflectMessage as _, Value};

use super::{
    json_in::{DEPTH_LIMIT, Reader, field, join, too_deep},
    problem::{Problem, Violation},
    routes::{BodyRule, Route},
};

/// The parts of an HTTP request that say what is asked.
#[derive(Debug)]
pub struct Asked<'a> {
    /// What the path binds.
    pub bound: &'a [(Vec<String>, String)],
    /// The raw query.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: &'a [u8],
}

/// Builds the request message.
pub fn bind(route: &Route, asked: &Asked<'_>) -> Result<DynamicMessage, Problem> {
    let mut message = DynamicMessage::new(route.rpc.input());
    let mut reader = Reader::default();
    let mask = body(route, asked, &mut message, &mut reader)?;
    query(route, asked, &mut message, &mut reader);
    for (path, text) in asked.bound {
        set(&mut message, path, text, &mut reader);
    }
    headers(asked.headers, &mut message);
    if let Some(mask) = mask {
        default_mask(route, mask, &mut message);
    }
    reader.finish().map_err(Problem::fields)?;
    Ok(message)
}

/// Reads the body; answers which of its fields were given, for a mask that is not.
fn body(
    route: &Route,
    asked: &Asked<'_>,
    message: &mut DynamicMessage,
    reader: &mut Reader,
) -> Result<Option<Vec<String>>, Problem> {
    let blank = asked.body.iter().all(u8::is_ascii_whitespace);
    let target = match &route.body {
        BodyRule::None if blank => return Ok(None),
        BodyRule::None => return Err(malformed("this request has no body; give its fields in the query")),
        BodyRule::Whole if blank => return Ok(None),
        BodyRule::Field(_) if blank => return Err(malformed("a JSON body is needed")),
        BodyRule::Whole => None,
        BodyRule::Field(field) => Some(field),
    };
    media_type(asked.headers)?;
    if too_deep(asked.body) {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "BODY_TOO_DEEP",
            format!("the body nests deeper than the limit of {DEPTH_LIMIT} levels"),
        ));
    }
    let json: serde_json::Value =
        serde_json::from_slice(asked.body).map_err(|error| malformed(format!("the body is not JSON: {error}")))?;
    let given = match (&json, route.method == Method::PATCH) {
        (serde_json::Value::Object(entries), true) => Some(entries.keys().cloned().collect()),
        _ => None,
    };
    match target {
        None => {
            reader.merge(message, json, "");
        }
        Some(field) => {
            if let Kind::Message(descriptor) = field.kind()
                && let Some(inner) = reader.message(&descriptor, json, field.name())
            {
                message.set_field(field, Value::Message(inner));
            }
        }
    }
    Ok(given)
}

/// Without a media type, and with the one that `curl -d` says by itself, JSON is meant.
fn media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let taken = matches!(kind.as_str(), "application/json" | "application/x-www-form-urlencoded" | "")
        || (kind.starts_with("application/") && kind.ends_with("+json"));
    if taken {
        return Ok(());
    }
    let detail = format!("the body is `{kind}`; send application/json");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", detail))
}

fn query(route: &Route, asked: &Asked<'_>, message: &mut DynamicMessage, reader: &mut Reader) {
    for (name, text) in form_urlencoded::parse(asked.query.as_bytes()) {
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        let taken = match &route.body {
            BodyRule::Whole => true,
            BodyRule::Field(body) => path.first().and_then(|n| field(&route.rpc.input(), n)).as_ref() == Some(body),
            BodyRule::None => false,
        };
        if taken {
            reader.fault(&name, "belongs into the body");
        } else if asked.bound.iter().any(|(bound, _)| *bound == path) {
            reader.fault(&name, "is given by the path");
        } else {
            set(message, &path, &text, reader);
        }
    }
}

/// Sets one field, however deep, from text.
fn set(message: &mut DynamicMessage, path: &[String], text: &str, reader: &mut Reader) {
    let (mut message, mut here) = (message, String::new());
    let Some((last, parents)) = path.split_last() else { return };
    for name in parents {
        here = join(&here, name);
        match field(&message.descriptor(), name) {
            Some(parent) if matches!(parent.kind(), Kind::Message(_)) && !parent.is_list() && !parent.is_map() => {
                let Value::Message(inner) = message.get_field_mut(&parent) else { return };
                message = inner;
            }
            _ => return reader.fault(&here, "is not a parameter"),
        }
    }
    here = join(&here, last);
    let Some(field) = field(&message.descriptor(), last).filter(|f| !f.is_map()) else {
        return reader.fault(&here, "is not a parameter");
    };
    let Some(value) = reader.text(&field.kind(), text, &here) else { return };
    if field.is_list() {
        if let Value::List(list) = message.get_field_mut(&field) {
            list.push(value);
        }
    } else {
        message.set_field(&field, value);
    }
}

/// What callers may say by a header: a key for retries, and where a stream goes on.
fn headers(headers: &HeaderMap, message: &mut DynamicMessage) {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty());
    let is_text = |message: &DynamicMessage, name: &str| {
        message.descriptor().get_field_by_name(name).is_some_and(|f| f.kind() == Kind::String && !f.is_list())
    };
    if let Some(key) = text("idempotency-key")
        && is_text(message, "request_id")
        && message.get_field_by_name("request_id").is_some_and(|v| v.as_str() == Some(""))
    {
        message.set_field_by_name("request_id", Value::String(key.to_owned()));
    }
    // A browser that reconnects repeats the address it had; the header is the newer word.
    if let Some(cursor) = text("last-event-id")
        && is_text(message, "cursor")
    {
        message.set_field_by_name("cursor", Value::String(cursor.to_owned()));
    }
}

/// A PATCH without a mask changes the fields it gives (AIP-134).
fn default_mask(route: &Route, given: Vec<String>, message: &mut DynamicMessage) {
    let BodyRule::Field(body) = &route.body else { return };
    let (Kind::Message(body), Some(mask)) = (body.kind(), message.descriptor().get_field_by_name("update_mask")) else {
        return;
    };
    let Kind::Message(descriptor) = mask.kind() else { return };
    if message.has_field(&mask) {
        return;
    }
    let names = given.iter().filter_map(|name| field(&body, name)).map(|f| f.name().to_owned());
    let paths = names.filter(|name| !matches!(name.as_str(), "id" | "revision")).map(Value::String).collect();
    let mut value = DynamicMessage::new(descriptor);
    value.set_field_by_number(1, Value::List(paths));
    message.set_field(&mask, Value::Message(value));
}

fn malformed(detail: impl Into<String>) -> Problem {
    let detail = detail.into();
    let violations = vec![Violation { field: "body".to_owned(), description: detail.clone() }];
    Problem { violations, ..Problem::new(StatusCode::BAD_REQUEST, "MALFORMED_BODY", detail) }
}

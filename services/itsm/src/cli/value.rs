//! Reading the API's JSON: by dotted paths, and with the contract's way of saying "nothing".

use serde_json::{Map, Value};

/// The value at a dotted path.
pub fn at<'a>(record: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(record, |value, name| value.get(name).unwrap_or(&Value::Null))
}

/// The text at a dotted path; empty where there is none. An enum that was not said is nothing.
pub fn text<'a>(record: &'a Value, path: &str) -> &'a str {
    at(record, path).as_str().filter(|text| *text != "UNSPECIFIED").unwrap_or_default()
}

/// The number at a dotted path: 64-bit numbers come as text.
pub fn number(record: &Value, path: &str) -> Option<i64> {
    match at(record, path) {
        Value::String(text) => text.parse().ok(),
        value => value.as_i64(),
    }
}

/// Whether the flag at a dotted path is set.
pub fn flag(record: &Value, path: &str) -> bool {
    at(record, path).as_bool().unwrap_or_default()
}

/// The items of the list at a dotted path.
pub fn items<'a>(record: &'a Value, path: &str) -> &'a [Value] {
    at(record, path).as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Puts a value at a dotted path, making what is on the way.
pub fn put(body: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            body.insert(path.to_owned(), value);
        }
        Some((name, rest)) => {
            let inner = body.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

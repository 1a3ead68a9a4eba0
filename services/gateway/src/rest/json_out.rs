//! From a protobuf message to JSON, by its descriptor alone: camelCase names, 64-bit integers as
//! strings, times as RFC 3339 in UTC, every field present so that clients see what there is. One
//! deviation from canonical ProtoJSON, said in the OpenAPI document: enum values go without their
//! prefix (`"state":"NEW"`), as filters name them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, SecondsFormat, Utc};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value};
use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};

use super::json_in::short_name;

/// A message on its way to JSON.
#[derive(Debug)]
pub struct Shown<'a>(pub &'a DynamicMessage);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let descriptor = self.0.descriptor();
        match descriptor.full_name() {
            "google.protobuf.Timestamp" => {
                let seconds = self.0.get_field_by_number(1).and_then(|v| v.as_i64()).unwrap_or_default();
                let nanos = self.0.get_field_by_number(2).and_then(|v| v.as_i32()).unwrap_or_default();
                let time = u32::try_from(nanos).ok().and_then(|nanos| DateTime::<Utc>::from_timestamp(seconds, nanos));
                let time = time.ok_or_else(|| S::Error::custom("a time out of range"))?;
                serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
            }
            name if name.starts_with("google.protobuf.") => self.0.serialize(serializer),
            _ => {
                let mut map = serializer.serialize_map(None)?;
                for field in descriptor.fields() {
                    // What has presence and is absent is left out; the others always have a value.
                    if field.supports_presence() && !self.0.has_field(&field) {
                        continue;
                    }
                    let value = self.0.get_field(&field);
                    map.serialize_entry(field.json_name(), &Item { field: &field, value: &value })?;
                }
                map.end()
            }
        }
    }
}

struct Item<'a> {
    field: &'a FieldDescriptor,
    value: &'a Value,
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = self.field.kind();
        match self.value {
            Value::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for value in items {
                    list.serialize_element(&Single { kind: &kind, value })?;
                }
                list.end()
            }
            Value::Map(entries) => {
                let Kind::Message(entry) = &kind else { return Err(S::Error::custom("a map without entries")) };
                let kind = entry.map_entry_value_field().kind();
                // A map has no order of its own; sorted, the same record always reads the same.
                let mut sorted: Vec<_> = entries.iter().map(|(key, value)| (key_text(key), value)).collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                let mut map = serializer.serialize_map(Some(sorted.len()))?;
                for (key, value) in sorted {
                    map.serialize_entry(&key, &Single { kind: &kind, value })?;
                }
                map.end()
            }
            value => Single { kind: &kind, value }.serialize(serializer),
        }
    }
}

struct Single<'a> {
    kind: &'a Kind,
    value: &'a Value,
}

impl Serialize for Single<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::I32(value) => serializer.serialize_i32(*value),
            Value::U32(value) => serializer.serialize_u32(*value),
            Value::I64(value) => serializer.collect_str(value),
            Value::U64(value) => serializer.collect_str(value),
            Value::F32(value) => float(f64::from(*value), serializer),
            Value::F64(value) => float(*value, serializer),
            Value::String(value) => serializer.serialize_str(value),
            Value::Bytes(value) => serializer.serialize_str(&STANDARD.encode(value)),
            Value::EnumNumber(number) => {
                let Kind::Enum(descriptor) = self.kind else { return serializer.serialize_i32(*number) };
                match descriptor.get_value(*number) {
                    Some(value) => serializer.serialize_str(short_name(descriptor, value.name())),
                    // A newer service may say a value that this gateway does not know.
                    None => serializer.serialize_i32(*number),
                }
            }
            Value::Message(message) => Shown(message).serialize(serializer),
            Value::List(_) | Value::Map(_) => Err(S::Error::custom("a collection inside a collection")),
        }
    }
}

fn float<S: Serializer>(value: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(value)
    } else if value.is_nan() {
        serializer.serialize_str("NaN")
    } else {
        serializer.serialize_str(if value > 0.0 { "Infinity" } else { "-Infinity" })
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(value) => value.to_string(),
        MapKey::I32(value) => value.to_string(),
        MapKey::I64(value) => value.to_string(),
        MapKey::U32(value) => value.to_string(),
        MapKey::U64(value) => value.to_string(),
        MapKey::String(value) => value.clone(),
    }
}

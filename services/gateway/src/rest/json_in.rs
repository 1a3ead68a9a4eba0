//! From JSON, path and query text to a protobuf message, by its descriptor alone. It accepts
//! canonical ProtoJSON, field names in either spelling and enum values with or without their
//! prefix. Every fault is named by the field it is in; nothing is guessed or dropped silently.

use base64::{Engine as _, engine::GeneralPurpose, engine::GeneralPurposeConfig};
use chrono::{DateTime, Datelike};
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
};
use serde_json::Value as Json;

use super::problem::Violation;

/// How deep JSON may nest.
pub const DEPTH_LIMIT: usize = 32;
/// How many faults one answer names.
const VIOLATION_LIMIT: usize = 20;

const TOLERANT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, TOLERANT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, TOLERANT);

/// Whether JSON text nests deeper than allowed, told without parsing it.
pub fn too_deep(bytes: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match (in_string, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (_, false, b'"') => in_string = !in_string,
            (false, _, b'{' | b'[') => {
                depth += 1;
                if depth > DEPTH_LIMIT {
                    return true;
                }
            }
            (false, _, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Reads values and gathers what is wrong with them.
#[derive(Debug, Default)]
pub struct Reader {
    violations: Vec<Violation>,
}

impl Reader {
    /// What was wrong, if anything.
    pub fn finish(self) -> Result<(), Vec<Violation>> {
        if self.violations.is_empty() { Ok(()) } else { Err(self.violations) }
    }

    /// Notes a fault.
    pub fn fault(&mut self, field: &str, description: impl Into<String>) {
        if self.violations.len() < VIOLATION_LIMIT {
            self.violations.push(Violation { field: field.to_owned(), description: description.into() });
        }
    }

    /// Reads a message from JSON.
    pub fn message(&mut self, descriptor: &MessageDescriptor, json: Json, path: &str) -> Option<DynamicMessage> {
        match descriptor.full_name() {
            "google.protobuf.Timestamp" => match json {
                Json::String(text) => self.timestamp(descriptor, &text, path),
                _ => self.wrong(path, "must be a string with an RFC 3339 time"),
            },
            "google.protobuf.FieldMask" => match json {
                Json::String(text) => self.mask(descriptor, &text, path),
                _ => self.wrong(path, "must be a string with field names and commas between them"),
            },
            name if name.starts_with("google.protobuf.") => {
                match DynamicMessage::deserialize(descriptor.clone(), json) {
                    Ok(message) => Some(message),
                    Err(error) => self.wrong(path, format!("is not valid: {error}")),
                }
            }
            _ => {
                let mut message = DynamicMessage::new(descriptor.clone());
                self.merge(&mut message, json, path).then_some(message)
            }
        }
    }

    /// Reads the fields of a JSON object into a message.
    pub fn merge(&mut self, message: &mut DynamicMessage, json: Json, path: &str) -> bool {
        let Json::Object(entries) = json else {
            self.fault(path, format!("must be an object, is {}", kind_of(&json)));
            return false;
        };
        for (name, json) in entries {
            let here = join(path, &name);
            let Some(field) = field(&message.descriptor(), &name) else {
                self.fault(&here, "is not a field");
                continue;
            };
            let here = join(path, field.name());
            if json.is_null() {
                continue;
            }
            if message.has_field(&field) {
                self.fault(&here, "is given twice");
                continue;
            }
            if let Some(other) = other_of_oneof(message, &field) {
                self.fault(&here, format!("excludes {other}; give one of them"));
                continue;
            }
            if let Some(value) = self.value(&field, json, &here) {
                message.set_field(&field, value);
            }
        }
        true
    }

    fn value(&mut self, field: &FieldDescriptor, json: Json, path: &str) -> Option<Value> {
        if field.is_map() {
            return self.map(field, json, path);
        }
        if !field.is_list() {
            return self.single(&field.kind(), json, path);
        }
        let Json::Array(items) = json else {
            return self.wrong(path, format!("must be a list, is {}", kind_of(&json)));
        };
        let mut list = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            list.push(self.single(&field.kind(), item, &format!("{path}[{index}]"))?);
        }
        Some(Value::List(list))
    }

    fn map(&mut self, field: &FieldDescriptor, json: Json, path: &str) -> Option<Value> {
        let Json::Object(entries) = json else {
            return self.wrong(path, format!("must be an object, is {}", kind_of(&json)));
        };
        let Kind::Message(entry) = field.kind() else { return None };
        let (key_kind, value_kind) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
        let mut map = std::collections::HashMap::with_capacity(entries.len());
        for (key, json) in entries {
            let here = format!("{path}[{key}]");
            let key = match key_kind {
                Kind::String => MapKey::String(key),
                _ => self.text(&key_kind, &key, &here)?.into_map_key()?,
            };
            map.insert(key, self.single(&value_kind, json, &here)?);
        }
        Some(Value::Map(map))
    }

    fn single(&mut self, kind: &Kind, json: Json, path: &str) -> Option<Value> {
        match (kind, json) {
            (Kind::Message(descriptor), json) => self.message(descriptor, json, path).map(Value::Message),
            (Kind::Bool, Json::Bool(value)) => Some(Value::Bool(value)),
            (Kind::Bool | Kind::String | Kind::Bytes, Json::Number(_)) | (Kind::Bool, Json::String(_)) => {
                self.wrong(path, format!("must be {}", expected(kind)))
            }
            (kind, Json::String(text)) => self.text(kind, &text, path),
            (kind, Json::Number(number)) => self.number(kind, &number, path),
            (kind, json) => self.wrong(path, format!("must be {}, is {}", expected(kind), kind_of(&json))),
        }
    }

    /// Reads a single value from text: a path segment, a query parameter or a JSON string.
    pub fn text(&mut self, kind: &Kind, text: &str, path: &str) -> Option<Value> {
        let value = match kind {
            Kind::String => Some(Value::String(text.to_owned())),
            Kind::Bytes => base64_bytes(text).map(|bytes| Value::Bytes(bytes.into())),
            Kind::Bool => text.parse().ok().map(Value::Bool),
            Kind::Double => float(text).map(Value::F64),
            Kind::Float => float(text).map(|value| Value::F32(value as f32)),
            Kind::Enum(descriptor) => return self.enum_value(descriptor, text, path),
            Kind::Message(descriptor) => {
                return self.message(descriptor, Json::String(text.to_owned()), path).map(Value::Message);
            }
            _ => text.parse::<i128>().ok().and_then(|value| integer(kind, value)),
        };
        value.or_else(|| self.wrong(path, format!("must be {}", expected(kind))))
    }

    fn number(&mut self, kind: &Kind, number: &serde_json::Number, path: &str) -> Option<Value> {
        let whole = || match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), ..) => Some(i128::from(value)),
            (_, Some(value), _) => Some(i128::from(value)),
            // ProtoJSON takes 3.0 and 3e2 for integers; beyond 2^53 a float no longer says which.
            (.., Some(value)) if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 => Some(value as i128),
            _ => None,
        };
        let value = match kind {
            Kind::Double => number.as_f64().map(Value::F64),
            Kind::Float => number.as_f64().map(|value| Value::F32(value as f32)),
            Kind::Enum(descriptor) => whole()
                .and_then(|value| i32::try_from(value).ok())
                .filter(|value| descriptor.get_value(*value).is_some())
                .map(Value::EnumNumber),
            kind => whole().and_then(|value| integer(kind, value)),
        };
        value.or_else(|| self.wrong(path, format!("must be {}", expected(kind))))
    }

    fn enum_value(&mut self, descriptor: &EnumDescriptor, text: &str, path: &str) -> Option<Value> {
        let found = descriptor.values().find(|v| v.name() == text || short_name(descriptor, v.name()) == text);
        match found {
            Some(value) => Some(Value::EnumNumber(value.number())),
            None => {
                let names: Vec<_> = descriptor
                    .values()
                    .filter(|v| v.number() != 0)
                    .map(|v| short_name(descriptor, v.name()).to_owned())
                    .collect();
                self.wrong(path, format!("must be one of {}", names.join(", ")))
            }
        }
    }

    fn timestamp(&mut self, descriptor: &MessageDescriptor, text: &str, path: &str) -> Option<DynamicMessage> {
        let Some(time) = DateTime::parse_from_rfc3339(text).ok().filter(|t| (1..=9999).contains(&t.year())) else {
            return self.wrong(path, "must be an RFC 3339 time such as 2026-11-22T08:00:00Z");
        };
        let mut message = DynamicMessage::new(descriptor.clone());
        message.set_field_by_number(1, Value::I64(time.timestamp()));
        message.set_field_by_number(2, Value::I32(i32::try_from(time.timestamp_subsec_nanos().min(999_999_999)).ok()?));
        Some(message)
    }

    fn mask(&mut self, descriptor: &MessageDescriptor, text: &str, path: &str) -> Option<DynamicMessage> {
        let mut paths = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
            if !name.chars().all(plain) {
                return self.wrong(path, format!("`{name}` is not a field name"));
            }
            paths.push(Value::String(snake_case(name)));
        }
        let mut message = DynamicMessage::new(descriptor.clone());
        message.set_field_by_number(1, Value::List(paths));
        Some(message)
    }

    fn wrong<T>(&mut self, path: &str, description: impl Into<String>) -> Option<T> {
        self.fault(path, description);
        None
    }
}

/// The field of that name, in either spelling.
pub fn field(descriptor: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    descriptor.get_field_by_json_name(name).or_else(|| descriptor.get_field_by_name(name))
}

/// The name of an enum value without the prefix that protobuf wants.
pub fn short_name<'a>(descriptor: &EnumDescriptor, name: &'a str) -> &'a str {
    let mut prefix = String::new();
    for (index, c) in descriptor.name().chars().enumerate() {
        if c.is_ascii_uppercase() && index > 0 {
            prefix.push('_');
        }
        prefix.push(c.to_ascii_uppercase());
    }
    prefix.push('_');
    match name.strip_prefix(prefix.as_str()) {
        Some(short) if !short.is_empty() => short,
        _ => name,
    }
}

/// The path of a field inside another.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn other_of_oneof(message: &DynamicMessage, field: &FieldDescriptor) -> Option<String> {
    let oneof = field.containing_oneof()?;
    oneof.fields().find(|f| f.number() != field.number() && message.has_field(f)).map(|f| f.name().to_owned())
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    engine.decode(text).ok()
}

fn float(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

fn integer(kind: &Kind, value: i128) -> Option<Value> {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => i32::try_from(value).ok().map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => i64::try_from(value).ok().map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => u32::try_from(value).ok().map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => u64::try_from(value).ok().map(Value::U64),
        _ => None,
    }
}

fn expected(kind: &Kind) -> &'static str {
    match kind {
        Kind::String => "a string",
        Kind::Bytes => "a string in base64",
        Kind::Bool => "true or false",
        Kind::Double | Kind::Float => "a number",
        Kind::Enum(_) => "the name of a value",
        Kind::Message(_) => "an object",
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "a whole number of 32 bits",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "a whole number of 64 bits",
        Kind::Uint32 | Kind::Fixed32 | Kind::Uint64 | Kind::Fixed64 => "a whole number, not negative",
    }
}

fn kind_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

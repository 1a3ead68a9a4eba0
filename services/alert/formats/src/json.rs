//! Reading JSON without trusting it: one level at a time, values kept as the text they came in,
//! and every collection bounded while it is read.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::fault::{Fault, join};
use crate::{Refused, limits, text};

/// What a JSON value is, seen from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Number,
    Text,
    Array,
    Object,
}

pub(crate) fn kind(value: &RawValue) -> Kind {
    match value.get().as_bytes().first() {
        Some(b'"') => Kind::Text,
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b't' | b'f') => Kind::Boolean,
        Some(b'n') | None => Kind::Null,
        Some(_) => Kind::Number,
    }
}

/// One alert of a body, still as text.
pub(crate) struct Element<'a> {
    pub(crate) value: &'a RawValue,
    pub(crate) index: usize,
    /// `alerts[3]`, `[3]`, or nothing where the body is the alert.
    place: String,
}

impl<'a> Element<'a> {
    /// The body itself, as the only alert.
    pub(crate) fn whole(value: &'a RawValue) -> Self {
        Self { value, index: 0, place: String::new() }
    }

    /// The path of one of its fields from the body's root.
    pub(crate) fn path(&self, field: &str) -> String {
        match join(&self.place, field) {
            path if path.is_empty() => "body".to_owned(),
            path => path,
        }
    }
}

/// The body as one JSON value.
pub(crate) fn document(body: &str) -> Result<&RawValue, Refused> {
    serde_json::from_str(body).map_err(|error| Refused::NotJson { detail: error.to_string() })
}

/// The alerts of an array. `field` is the path of the array, empty for the body itself.
pub(crate) fn elements<'a>(array: &'a RawValue, field: &str) -> Result<Vec<Element<'a>>, Refused> {
    let named = || {
        if field.is_empty() { "body".to_owned() } else { field.to_owned() }
    };
    if kind(array) != Kind::Array {
        return Err(Refused::WrongType { field: named(), expected: "an array of alerts" });
    }
    let values = serde_json::Deserializer::from_str(array.get())
        .deserialize_seq(BoundedValues)
        // It is JSON already, so only the bound can stop it.
        .map_err(|_| Refused::TooManyAlerts { field: named() })?;
    let element = |(index, value)| Element { value, index, place: format!("{field}[{index}]") };
    Ok(values.into_iter().enumerate().map(element).collect())
}

struct BoundedValues;

impl<'de> Visitor<'de> for BoundedValues {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of alerts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = array.next_element()? {
            if values.len() == limits::ALERTS {
                return Err(A::Error::custom("too many alerts"));
            }
            values.push(value);
        }
        Ok(values)
    }
}

/// The values of the named fields of an object, each `None` when absent or null. The others are
/// passed over without keeping anything of them.
pub(crate) fn fields<'a, const N: usize>(
    object: &'a RawValue,
    names: [&'static str; N],
) -> Result<[Option<&'a RawValue>; N], Fault> {
    if kind(object) != Kind::Object {
        return Err(Fault::wrong_type("", "an object"));
    }
    serde_json::Deserializer::from_str(object.get())
        .deserialize_map(Picked { names })
        .map_err(|_| Fault::new("", "INVALID_TEXT", "holds a field name that is not text"))
}

struct Picked<const N: usize> {
    names: [&'static str; N],
}

impl<'de, const N: usize> Visitor<'de> for Picked<N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut values = [None; N];
        while let Some(place) = object.next_key_seed(PlaceOf(&self.names))? {
            match place {
                Some(place) => {
                    values[place] = Some(object.next_value::<&RawValue>()?).filter(|v| kind(v) != Kind::Null)
                }
                None => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(values)
    }
}

/// Which of the names a key is.
struct PlaceOf<'n>(&'n [&'static str]);

impl<'de> DeserializeSeed<'de> for PlaceOf<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for PlaceOf<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field name")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

/// Text; `None` when absent.
pub(crate) fn text(value: Option<&RawValue>, field: &str, limit_bytes: usize) -> Result<Option<String>, Fault> {
    match value {
        None => Ok(None),
        Some(value) if kind(value) == Kind::Text => decoded(value, field, limit_bytes).map(Some),
        Some(_) => Err(Fault::wrong_type(field, "text")),
    }
}

/// Text, or a number or boolean as the text it was written in; `None` when absent. Numbers keep
/// their digits: an id of twenty digits stays that id.
pub(crate) fn scalar(value: Option<&RawValue>, field: &str, limit_bytes: usize) -> Result<Option<String>, Fault> {
    let Some(value) = value else { return Ok(None) };
    match kind(value) {
        Kind::Null => Ok(None),
        Kind::Text => decoded(value, field, limit_bytes).map(Some),
        Kind::Number | Kind::Boolean => text::storable(value.get().to_owned(), field, limit_bytes).map(Some),
        Kind::Array | Kind::Object => Err(Fault::wrong_type(field, "text, a number or a boolean")),
    }
}

fn decoded(value: &RawValue, field: &str, limit_bytes: usize) -> Result<String, Fault> {
    // The longest way to write a byte is \u00XX; beyond that it need not be decoded to be too long.
    if value.get().len() > 6 * limit_bytes + 2 {
        return Err(Fault::too_large(field, "TEXT_TOO_LONG", limit_bytes, "bytes"));
    }
    let text = serde_json::from_str(value.get())
        .map_err(|_| Fault::new(field, "INVALID_TEXT", "holds an escape that is no character"))?;
    text::storable(text, field, limit_bytes)
}

/// What bounds a map of names to text.
pub(crate) struct MapBounds {
    pub(crate) entries: usize,
    pub(crate) value_bytes: usize,
    pub(crate) too_many: &'static str,
}

/// The bounds of labels.
pub(crate) const LABELS: MapBounds =
    MapBounds { entries: limits::LABELS, value_bytes: limits::LABEL_VALUE_BYTES, too_many: "TOO_MANY_LABELS" };
/// The bounds of annotations.
pub(crate) const ANNOTATIONS: MapBounds = MapBounds {
    entries: limits::ANNOTATIONS,
    value_bytes: limits::ANNOTATION_VALUE_BYTES,
    too_many: "TOO_MANY_ANNOTATIONS",
};

/// Labels: as [`text_map`], without the empty ones.
pub(crate) fn labels(value: Option<&RawValue>, field: &str) -> Result<BTreeMap<String, String>, Fault> {
    let mut labels = text_map(value, field, &LABELS)?;
    labels.retain(|_, value| !value.is_empty());
    Ok(labels)
}

/// An object of names and text; empty when absent. A null value is passed over.
pub(crate) fn text_map(
    value: Option<&RawValue>,
    field: &str,
    bounds: &MapBounds,
) -> Result<BTreeMap<String, String>, Fault> {
    let Some(value) = value else {
        return Ok(BTreeMap::new());
    };
    if kind(value) != Kind::Object {
        return Err(Fault::wrong_type(field, "an object"));
    }
    let entries = serde_json::Deserializer::from_str(value.get())
        .deserialize_map(BoundedEntries { entries: bounds.entries })
        .map_err(|_| Fault::new(field, "INVALID_TEXT", "holds a name that is not text"))?
        .ok_or_else(|| Fault::too_large(field, bounds.too_many, bounds.entries, "entries"))?;
    let mut map = BTreeMap::new();
    for (name, value) in entries {
        let name = entry_name(name, field)?;
        let entry = join(field, shown(&name));
        match scalar(Some(value), &entry, bounds.value_bytes)? {
            Some(value) => map.insert(name, value),
            None => map.remove(&name),
        };
    }
    Ok(map)
}

fn entry_name(name: String, field: &str) -> Result<String, Fault> {
    if name.is_empty() {
        return Err(Fault::new(field, "EMPTY_NAME", "holds an empty name"));
    }
    if name.len() > limits::NAME_BYTES {
        return Err(Fault::too_large(field, "NAME_TOO_LONG", limits::NAME_BYTES, "bytes in a name"));
    }
    text::storable(name, field, limits::NAME_BYTES)
}

/// The name as part of a path; nothing for a name that a path or a log line could not carry.
fn shown(name: &str) -> &str {
    let plain = name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:/".contains(c));
    if plain { name } else { "" }
}

/// The entries of an object, or nothing when there are too many.
struct BoundedEntries {
    entries: usize,
}

impl<'de> Visitor<'de> for BoundedEntries {
    type Value = Option<Vec<(String, &'de RawValue)>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = object.next_entry()? {
            if entries.len() == self.entries {
                // The rest is passed over, because an error here could not tell itself apart.
                while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
            entries.push(entry);
        }
        Ok(Some(entries))
    }
}

//! JSON Schema of messages and enums, with the comments of the contract as descriptions.

use std::collections::{BTreeMap, HashMap};

use prost_reflect::{
    DescriptorPool, EnumDescriptor, EnumValueDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    ServiceDescriptor,
};
use serde_json::{Map, Value as Json, json};

use super::json_in::short_name;

/// The comments of the contract, by file and place.
#[derive(Debug)]
pub struct Comments(HashMap<(String, Vec<i32>), String>);

impl Comments {
    /// Reads them.
    pub fn read(pool: &DescriptorPool) -> Self {
        let mut comments = HashMap::new();
        for file in pool.files() {
            let info = file.file_descriptor_proto().source_code_info.as_ref();
            for location in info.map(|i| i.location.as_slice()).unwrap_or_default() {
                let text = tidy(location.leading_comments());
                if !text.is_empty() {
                    comments.insert((file.name().to_owned(), location.path.clone()), text);
                }
            }
        }
        Self(comments)
    }

    fn at(&self, file: &str, path: &[i32]) -> &str {
        self.0.get(&(file.to_owned(), path.to_vec())).map(String::as_str).unwrap_or_default()
    }

    /// Of a service.
    pub fn service(&self, service: &ServiceDescriptor) -> &str {
        self.at(service.parent_file().name(), service.path())
    }

    /// Of an RPC.
    pub fn rpc(&self, rpc: &MethodDescriptor) -> &str {
        self.at(rpc.parent_file().name(), rpc.path())
    }

    /// Of a field.
    pub fn field(&self, field: &FieldDescriptor) -> &str {
        self.at(field.parent_file().name(), field.path())
    }

    fn message(&self, message: &MessageDescriptor) -> &str {
        self.at(message.parent_file().name(), message.path())
    }

    fn value(&self, value: &EnumValueDescriptor) -> &str {
        self.at(value.parent_file().name(), value.path())
    }

    fn enumeration(&self, descriptor: &EnumDescriptor) -> &str {
        self.at(descriptor.parent_file().name(), descriptor.path())
    }
}

/// Joins the lines of a paragraph; blank lines stay.
fn tidy(comment: &str) -> String {
    let paragraphs = comment.split("\n\n").map(|p| p.split_whitespace().collect::<Vec<_>>().join(" "));
    paragraphs.filter(|p| !p.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// The schemas that were referred to, by name.
#[derive(Debug)]
pub struct Schemas<'a> {
    comments: &'a Comments,
    all: BTreeMap<String, Json>,
}

impl<'a> Schemas<'a> {
    /// None yet.
    pub fn new(comments: &'a Comments) -> Self {
        Self { comments, all: BTreeMap::new() }
    }

    /// Everything that was referred to.
    pub fn into_json(self) -> Map<String, Json> {
        self.all.into_iter().collect()
    }

    /// A reference to a message, which it describes on the way.
    pub fn message(&mut self, message: &MessageDescriptor) -> Json {
        if let Some(known) = well_known(message.full_name()) {
            return known;
        }
        let name = schema_name(message.full_name());
        if !self.all.contains_key(&name) {
            // Marks it before its fields, which may lead back to it.
            self.all.insert(name.clone(), Json::Null);
            let mut properties = Map::new();
            for field in message.fields() {
                properties.insert(field.json_name().to_owned(), self.field(&field));
            }
            let schema = describe(
                json!({"type": "object", "properties": properties, "additionalProperties": false}),
                self.comments.message(message),
            );
            self.all.insert(name.clone(), schema);
        }
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    /// The schema of a field, with its comment.
    pub fn field(&mut self, field: &FieldDescriptor) -> Json {
        let schema = self.bare(field);
        let comment = self.comments.field(field);
        let mut schema = describe(schema, comment);
        if comment.contains("Output only")
            && let Json::Object(object) = &mut schema
        {
            object.insert("readOnly".to_owned(), Json::Bool(true));
        }
        schema
    }

    /// The schema of a field, without its comment.
    pub fn bare(&mut self, field: &FieldDescriptor) -> Json {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let value = self.kind(&entry.map_entry_value_field().kind());
                json!({"type": "object", "additionalProperties": value})
            }
            kind if field.is_list() => json!({"type": "array", "items": self.kind(&kind)}),
            kind => self.kind(&kind),
        }
    }

    fn kind(&mut self, kind: &Kind) -> Json {
        match kind {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Kind::Double => json!({"type": "number", "format": "double"}),
            Kind::Float => json!({"type": "number", "format": "float"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
            Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "format": "uint32", "minimum": 0}),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({"type": "string", "format": "int64"}),
            Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "format": "uint64"}),
            Kind::Enum(descriptor) => self.enumeration(descriptor),
            Kind::Message(message) => self.message(message),
        }
    }

    fn enumeration(&mut self, descriptor: &EnumDescriptor) -> Json {
        let name = schema_name(descriptor.full_name());
        if !self.all.contains_key(&name) {
            let (mut values, mut lines) = (Vec::new(), vec![self.comments.enumeration(descriptor).to_owned()]);
            for value in descriptor.values() {
                let short = short_name(descriptor, value.name());
                lines.push(format!("- `{short}`: {}", self.comments.value(&value)));
                values.push(Json::from(short));
            }
            let schema = describe(json!({"type": "string", "enum": values}), &lines.join("\n"));
            self.all.insert(name.clone(), schema);
        }
        json!({"$ref": format!("#/components/schemas/{name}")})
    }
}

/// `incident.Incident` of `itsm.incident.v1.Incident`: short, and without clashes.
fn schema_name(full_name: &str) -> String {
    match full_name.split('.').collect::<Vec<_>>().as_slice() {
        ["itsm", service, "v1", rest @ ..] => format!("{service}.{}", rest.join(".")),
        _ => full_name.to_owned(),
    }
}

fn well_known(full_name: &str) -> Option<Json> {
    match full_name {
        "google.protobuf.Timestamp" => Some(json!({"type": "string", "format": "date-time"})),
        "google.protobuf.FieldMask" => Some(json!({"type": "string", "examples": ["title,serviceId"]})),
        "google.protobuf.Duration" => Some(json!({"type": "string", "examples": ["1.5s"]})),
        "google.protobuf.Empty" | "google.protobuf.Struct" => Some(json!({"type": "object"})),
        name if name.starts_with("google.protobuf.") => Some(json!({})),
        _ => None,
    }
}

fn describe(mut schema: Json, comment: &str) -> Json {
    if let Json::Object(object) = &mut schema
        && !comment.is_empty()
    {
        object.insert("description".to_owned(), Json::from(comment));
    }
    schema
}

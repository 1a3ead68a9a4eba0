//! Golden bytes of every event: what was once published must decode for ever, and to the same.
//!
//! `golden/events.txt` holds one line for each type of event of each record, with every field
//! filled. A new type is added with `ITSM_ACCEPT=1`; lines are never removed or changed.

#![expect(clippy::expect_used, reason = "tests fail by panicking")]

use std::{collections::BTreeMap, path::Path};

use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

/// A value for a field, the same each time.
fn value(field: &FieldDescriptor, depth: usize) -> Option<Value> {
    let number = field.number();
    Some(match field.kind() {
        Kind::Double | Kind::Float => return None,
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(i32::try_from(number).ok()?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(i64::from(number)),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(u64::from(number)),
        Kind::Bool => Value::Bool(true),
        Kind::String => Value::String(format!("{} {number}", field.name())),
        Kind::Bytes => Value::Bytes(vec![u8::try_from(number % 256).ok()?; 2].into()),
        Kind::Enum(list) => Value::EnumNumber(list.values().map(|value| value.number()).find(|number| *number != 0)?),
        Kind::Message(_) if depth == 0 => return None,
        Kind::Message(inner) => Value::Message(filled(&inner, depth - 1)),
    })
}

/// A message with every field filled; of a oneof, the first.
fn filled(descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let first_of_oneof =
            field.containing_oneof().is_none_or(|oneof| oneof.fields().next().as_ref() == Some(&field));
        if !first_of_oneof {
            continue;
        }
        if field.is_map() {
            let entry = [(MapKey::String("key".to_owned()), Value::String("value".to_owned()))];
            message.set_field(&field, Value::Map(entry.into_iter().collect()));
        } else if let Some(value) = value(&field, depth) {
            message.set_field(&field, if field.is_list() { Value::List(vec![value]) } else { value });
        }
    }
    message
}

/// One sample for each record and type of event of each service.
fn samples(pool: &DescriptorPool) -> BTreeMap<String, Vec<u8>> {
    use prost_reflect::prost::Message;
    let mut samples = BTreeMap::new();
    for service in proto::SERVICES {
        let title: String = service[..1].to_uppercase() + &service[1..];
        let event =
            pool.get_message_by_name(&format!("itsm.{service}.v1.{title}Event")).expect("every service has events");
        let what = event.oneofs().find(|oneof| oneof.name() == "what").expect("what happened");
        for kind in what.fields() {
            let mut message = filled(&event, 4);
            let happened = value(&kind, 4).expect("a message");
            message.set_field(&kind, happened);
            samples.insert(format!("{service} {}", kind.name()), message.encode_to_vec());
        }
        for record in
            event.oneofs().filter(|oneof| oneof.name() == "record").flat_map(|oneof| oneof.fields().collect::<Vec<_>>())
        {
            let mut message = filled(&event, 4);
            message.set_field(&record, value(&record, 4).expect("a message"));
            samples.insert(format!("{service} record {}", record.name()), message.encode_to_vec());
        }
    }
    samples
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
}

#[test]
fn every_event_ever_published_decodes_to_the_same() {
    use prost_reflect::prost::Message;
    let pool = DescriptorPool::decode(proto::DESCRIPTOR_SET).expect("our own descriptors");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/events.txt");
    let mut published: BTreeMap<String, String> = std::fs::read_to_string(&golden)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.rsplit_once(' ').map(|(name, bytes)| (name.to_owned(), bytes.to_owned())))
        .collect();
    for (name, bytes) in &published {
        let service = name.split(' ').next().expect("a service");
        let title: String = service[..1].to_uppercase() + &service[1..];
        let event = pool.get_message_by_name(&format!("itsm.{service}.v1.{title}Event")).expect("it was published");
        let bytes = unhex(bytes);
        let message = DynamicMessage::decode(event, bytes.as_slice()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(message.unknown_fields().count(), 0, "{name}: fields are no longer known");
        assert_eq!(hex(&message.encode_to_vec()), hex(&bytes), "{name}");
    }
    let now = samples(&pool);
    let new: Vec<&String> = now.keys().filter(|name| !published.contains_key(*name)).collect();
    #[expect(clippy::disallowed_methods, reason = "who runs the test accepts by a variable")]
    let accepted = std::env::var("ITSM_ACCEPT").is_ok();
    if accepted {
        for name in &new {
            published.insert((*name).clone(), hex(&now[*name]));
        }
        let text: String = published.iter().map(|(name, bytes)| format!("{name} {bytes}\n")).collect();
        std::fs::write(&golden, text).expect("a file");
        return;
    }
    assert!(new.is_empty(), "events without golden bytes; add with ITSM_ACCEPT=1: {new:?}");
}

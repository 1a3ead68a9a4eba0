//! The contract only grows: every field number, enum value and RPC that was ever published stays.
//! The published list is `proto/golden/contract.txt`; what is new is added with `ITSM_ACCEPT=1`,
//! what is missing fails whatever is accepted.

use std::{collections::BTreeSet, path::Path};

use prost_reflect::{DescriptorPool, Kind};

fn contract() -> BTreeSet<String> {
    let pool = DescriptorPool::decode(itsm_proto::DESCRIPTOR_SET).expect("our own descriptors");
    let ours = |name: &str| name.starts_with("itsm.");
    let mut lines = BTreeSet::new();
    for message in pool.all_messages().filter(|message| ours(message.full_name())) {
        for field in message.fields() {
            let kind = match field.kind() {
                Kind::Message(inner) => inner.full_name().to_owned(),
                Kind::Enum(inner) => inner.full_name().to_owned(),
                scalar => format!("{scalar:?}").to_lowercase(),
            };
            lines.insert(format!(
                "field {}.{} = {} {:?} {kind}",
                message.full_name(),
                field.name(),
                field.number(),
                field.cardinality()
            ));
        }
    }
    for list in pool.all_enums().filter(|list| ours(list.full_name())) {
        for value in list.values() {
            lines.insert(format!("value {}.{} = {}", list.full_name(), value.name(), value.number()));
        }
    }
    for service in pool.services() {
        for method in service.methods() {
            let stream = if method.is_server_streaming() { "stream " } else { "" };
            lines.insert(format!(
                "rpc {} ({}) -> {stream}{}",
                method.full_name(),
                method.input().full_name(),
                method.output().full_name()
            ));
        }
    }
    lines
}

#[test]
fn what_was_published_stays() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/contract.txt");
    let published: BTreeSet<String> =
        std::fs::read_to_string(&golden).unwrap_or_default().lines().map(str::to_owned).collect();
    let now = contract();
    let gone: Vec<_> = published.difference(&now).collect();
    assert!(gone.is_empty(), "gone or changed, which breaks every reader: {gone:#?}");
    #[expect(clippy::disallowed_methods, reason = "who runs the test accepts by a variable")]
    let accepted = std::env::var("ITSM_ACCEPT").is_ok();
    if accepted {
        std::fs::write(&golden, now.iter().map(|line| format!("{line}\n")).collect::<String>()).expect("a file");
        return;
    }
    let new: Vec<_> = now.difference(&published).collect();
    assert!(new.is_empty(), "new; add with ITSM_ACCEPT=1: {new:#?}");
}

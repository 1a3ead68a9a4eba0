//! Dedup keys: what makes two alerts the same one.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::limits;

/// Alertmanager's own fingerprint of a label set: FNV-1a 64 over the sorted names and values, each
/// ended by 0xFF, which no UTF-8 holds. The same alert so has the same key by both ways in.
pub(crate) fn fingerprint(labels: &BTreeMap<String, String>) -> String {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = labels
        .iter()
        .flat_map(|(name, value)| [name.as_bytes(), &[0xff], value.as_bytes(), &[0xff]])
        .flatten()
        .fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    format!("{hash:016x}")
}

/// The key as the source gave it, or its hash when it is too long to index.
pub(crate) fn bounded(key: String) -> String {
    if key.len() <= limits::KEY_BYTES { key } else { digest([key.as_str()]) }
}

/// The key of an alert whose source names none: what it says and what it is about. Each part is
/// hashed with its length, so that no two alerts share one by shifting text between parts.
pub(crate) fn of_content(labels: &BTreeMap<String, String>, title: &str) -> String {
    let pairs = labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    digest(pairs.chain([title]))
}

fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part);
    }
    format!("sha256:{}", HEXLOWER.encode(&hasher.finalize()))
}

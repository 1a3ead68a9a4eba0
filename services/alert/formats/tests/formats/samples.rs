//! Every recorded payload, read as it was received.

use std::collections::BTreeMap;
use std::path::PathBuf;

use alert_formats::{Format, Parsed, Status, parse};
use serde::Deserialize;
use serde_json::Value;

use crate::at;

#[derive(Deserialize)]
struct Recorded {
    format: String,
    received_at: String,
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", "..", "tests", "samples"].iter().collect()
}

/// Every sample by its file's name.
pub fn all() -> BTreeMap<String, (Format, String, Vec<u8>)> {
    let index = std::fs::read(folder().join("index.json")).unwrap();
    let index: BTreeMap<String, Recorded> = serde_json::from_slice(&index).unwrap();
    let sample = |(file, recorded): (String, Recorded)| {
        let body = std::fs::read(folder().join(&file)).unwrap();
        (file, (Format::parse(&recorded.format).unwrap(), recorded.received_at, body))
    };
    index.into_iter().map(sample).collect()
}

fn sample(file: &str) -> (Parsed, Value) {
    let (format, received_at, body) = all().remove(file).unwrap();
    (parse(format, &body, at(&received_at)).unwrap(), serde_json::from_slice(&body).unwrap())
}

#[test]
fn every_sample_reads_as_the_snapshot_says() {
    let samples = all();
    assert!(samples.len() >= 9);
    for (file, (format, received_at, body)) in samples {
        let parsed = parse(format, &body, at(&received_at)).unwrap();
        insta::assert_json_snapshot!(file, parsed);
    }
}

#[test]
fn the_index_names_every_file() {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<_> = files.filter(|file| file.ends_with(".json") && file != "index.json").collect();
    files.sort();
    assert_eq!(files, all().into_keys().collect::<Vec<_>>());
}

#[test]
fn our_fingerprint_is_alertmanagers() {
    let (direct, _) = sample("prometheus-batch.json");
    let (_, webhook) = sample("alertmanager-grouped.json");
    let theirs: Vec<_> =
        webhook["alerts"].as_array().unwrap().iter().map(|a| a["fingerprint"].as_str().unwrap()).collect();
    let ours: Vec<_> = direct.accepted.iter().map(|alert| alert.dedup_key.as_str()).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn firing_and_cleared_of_one_alert_share_key_and_start() {
    for (firing, cleared) in [
        ("prometheus-firing.json", "prometheus-resolved.json"),
        ("alertmanager-firing.json", "alertmanager-resolved.json"),
    ] {
        let (firing, cleared) = (sample(firing).0.accepted.remove(0), sample(cleared).0.accepted.remove(0));
        assert_eq!((firing.status, cleared.status), (Status::Firing, Status::Cleared));
        assert_eq!(firing.dedup_key, cleared.dedup_key);
        assert_eq!(firing.starts_at, cleared.starts_at);
        assert!(cleared.ends_at.unwrap() > cleared.starts_at);
    }
}

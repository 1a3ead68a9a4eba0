//! `itsm backup` and `itsm restore` from outside: what was acknowledged before the backup is there again, and the
//! restored installation goes on working with it.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path};

use common::{PATIENCE, Up, folder, key, outcome, post, until};
use nix::sys::signal::Signal;
use serde_json::Value;

/// The incidents by title, with their states.
fn incidents(up: &Up, key: &str) -> BTreeSet<(String, String)> {
    let (status, body) = up.get("/v1/incidents", Some(key)).unwrap();
    assert_eq!(status, 200, "{body}");
    let page: Value = serde_json::from_str(&body).unwrap();
    let text = |incident: &Value, field: &str| incident[field].as_str().unwrap_or_default().to_owned();
    let all = page["incidents"].as_array().cloned().unwrap_or_default();
    all.iter().map(|incident| (text(incident, "title"), text(incident, "state"))).collect()
}

fn open(up: &Up, key: &str, title: &str) {
    let (status, body) = post(&up.url, "/v1/incidents", Some(key), &format!(r#"{{"title": "{title}"}}"#)).unwrap();
    assert_eq!(status, 200, "{body}");
}

fn alert(up: &Up, data: &Path, status: &str) {
    let intake = fs::read_to_string(data.join("demo.key")).unwrap();
    let alert = format!(r#"{{"title": "Disk", "dedup_key": "disk", "severity": "critical", "status": "{status}"}}"#);
    let (code, body) = post(&up.url, &format!("/intake/{}/alerts", intake.trim()), None, &alert).unwrap();
    assert!((200..300).contains(&code), "{body}");
}

fn run(arguments: &[&str]) -> (bool, String) {
    let done = outcome(arguments);
    (done.status.success(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
}

#[test]
fn what_was_acknowledged_before_a_backup_is_there_after_its_restore_and_goes_on() {
    let folder = folder();
    let [data, backup, stopped, again] = ["var", "backup", "stopped", "again"].map(|name| folder.path().join(name));
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (data_path, backup_path, again_path) = (path(&data), path(&backup), path(&again));
    let up = Up::start(&data);
    let administrator = key(&data);
    open(&up, &administrator, "before");
    alert(&up, &data, "firing");
    let has = |up: &Up, title: &str, state: &str| {
        incidents(up, &administrator).contains(&(title.to_owned(), state.to_owned())).then_some(())
    };
    until("the alert opens an incident", PATIENCE, || has(&up, "Disk", "NEW"));
    let (done, said) = run(&["backup", &backup_path, "--data", &data_path]);
    assert!(done, "{said}");
    assert_eq!(fs::metadata(backup.join("itsm.dump")).unwrap().permissions().mode() & 0o777, 0o600);
    let before = incidents(&up, &administrator);
    open(&up, &administrator, "after");
    let (done, said) = run(&["backup", &backup_path, "--data", &data_path]);
    assert!(!done && said.contains("there already"), "{said}");
    assert_eq!(up.stop(Signal::SIGTERM), 0);
    let (done, said) = run(&["backup", &path(&stopped), "--data", &data_path]);
    assert!(done, "a stopped one can be backed up too: {said}");

    let (done, said) = run(&["restore", &backup_path, "--data", &data_path]);
    assert!(!done && said.contains("not empty"), "nothing is overwritten: {said}");
    let (done, said) = run(&["restore", &backup_path, "--data", &again_path]);
    assert!(done, "{said}");
    let up = Up::start(&again);
    assert_eq!(key(&again), administrator);
    assert_eq!(incidents(&up, &administrator), before);
    // The event path goes on: what comes in has its effect on what was restored.
    alert(&up, &again, "resolved");
    until("the alert resolves its incident", PATIENCE, || has(&up, "Disk", "RESOLVED"));
    open(&up, &administrator, "later");
    until("nothing is waited for", PATIENCE, || (up.status("/readyz", None) == 200).then_some(()));
    assert_eq!(up.stop(Signal::SIGTERM), 0);
}

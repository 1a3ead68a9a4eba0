//! What watches an installation, held to what it can see: dashboards and alarms name only numbers
//! and labels of the committed list, and each alarm has its page.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn folder(path: &str, ending: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join(path)).unwrap().flatten().map(|entry| entry.path());
    let mut files: Vec<(String, String)> = entries
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// The labels of each series, by name; a histogram's three forms each.
fn listed() -> BTreeMap<String, BTreeSet<String>> {
    let mut listed = BTreeMap::new();
    for line in text("kit/golden/metrics.txt").lines() {
        let [name, kind, labels, _] = line.splitn(4, " | ").collect::<Vec<_>>().try_into().unwrap();
        let mut labels: BTreeSet<String> = labels.split_whitespace().map(str::to_owned).collect();
        // What Prometheus itself adds.
        labels.extend(["job", "instance"].map(str::to_owned));
        if kind == "histogram" {
            for form in ["_sum", "_count"] {
                listed.insert(format!("{name}{form}"), labels.clone());
            }
            labels.insert("le".to_owned());
            listed.insert(format!("{name}_bucket"), labels);
        } else {
            listed.insert(name.to_owned(), labels);
        }
    }
    listed
}

fn queries_of(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

/// Each alarm with its expression and its page.
fn alarms() -> Vec<(String, String, String)> {
    let text = text("deploy/prometheus/alerts.yaml");
    let after = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap_or_default();
        line.trim().trim_matches('\'').replace("''", "'")
    };
    let blocks = text.split("- alert: ").skip(1);
    blocks
        .map(|block| (block.lines().next().unwrap().to_owned(), after(block, "expr:"), after(block, "runbook:")))
        .collect()
}

/// The names and labels that a query uses: words before a brace or in it, and those it groups by.
fn check(query: &str, listed: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut labels = BTreeSet::new();
    for word in query.split(|c| !is_word(c)).filter(|word| word.starts_with("itsm_")) {
        match listed.get(word) {
            Some(found) => labels.extend(found.iter().map(String::as_str)),
            None => wrong.push(format!("{word} is no name of the list")),
        }
    }
    let groups = query.split(" by (").skip(1).filter_map(|rest| rest.split_once(')')).map(|(inside, _)| inside);
    let wanted = query.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(inside, _)| inside);
    let named = groups
        .flat_map(|group| group.split(','))
        .chain(wanted.flat_map(|matchers| matchers.split(", ")).filter_map(|matcher| matcher.split(['=', '!']).next()));
    for label in named.map(str::trim).filter(|label| !label.is_empty()) {
        if !labels.contains(label) && query.contains("itsm_") {
            wrong.push(format!("{label} is no label of what it asks for"));
        }
    }
    wrong.into_iter().map(|wrong| format!("{wrong}: {query}")).collect()
}

#[test]
fn dashboards_ask_for_what_there_is() {
    let listed = listed();
    let (mut wrong, mut used) = (Vec::new(), String::new());
    for (name, file) in folder("deploy/grafana", ".json") {
        let dashboard: Value = serde_json::from_str(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(dashboard["uid"], name.as_str(), "a dashboard is called as its file");
        let queries = queries_of(&dashboard);
        assert!(queries.len() >= 6, "{name} shows little");
        for query in &queries {
            wrong.extend(check(query, &listed).into_iter().map(|wrong| format!("{name}: {wrong}")));
            used.push_str(query);
        }
        for panel in dashboard["panels"].as_array().unwrap() {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name} knows no data source by name");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unseen: Vec<&String> =
        listed.keys().filter(|name| !name.ends_with("_sum") && !name.ends_with("_count")).collect();
    let unseen: Vec<_> = unseen.into_iter().filter(|name| !used.contains(name.as_str())).collect();
    assert!(unseen.is_empty(), "no dashboard shows {unseen:?}");
}

#[test]
fn alarms_ask_for_what_there_is_and_have_a_page_each() {
    let listed = listed();
    let alarms = alarms();
    assert!(alarms.len() >= 12);
    let mut wrong = Vec::new();
    for (name, query, page) in &alarms {
        assert!(!query.is_empty(), "{name} has no expression");
        wrong.extend(check(query, &listed));
        assert_eq!(page, &format!("docs/runbooks/{name}.md"));
        let page = text(page);
        assert!(page.starts_with(&format!("# {name}\n")), "{name}'s page has another name");
        assert!(page.contains(query), "{name}'s page tells another condition");
        assert!(page.contains("## What to do\n1. "), "{name}'s page does not say what to do");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let named: BTreeSet<String> = alarms.into_iter().map(|(name, ..)| name).collect();
    let pages: BTreeSet<String> =
        folder("docs/runbooks", ".md").into_iter().map(|(name, _)| name).filter(|name| name != "README").collect();
    assert_eq!(pages, named, "a page for each alarm, and no other");
}

#[test]
fn a_query_that_asks_for_nothing_is_seen() {
    let listed = listed();
    for bad in [
        "itsm_relay_lag_minutes",
        "max by (colour) (itsm_relay_lag_seconds)",
        "itsm_relay_lag_seconds{source=\"alert\"}",
        "rate(itsm_requests_seconds_bucket[5m])",
    ] {
        assert!(!check(bad, &listed).is_empty(), "{bad}");
    }
    assert_eq!(
        check("sum by (le, service) (rate(itsm_request_duration_seconds_bucket{service=~\"a|b\"}[5m]))", &listed),
        [""; 0]
    );
}

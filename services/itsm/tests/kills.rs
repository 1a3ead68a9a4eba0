//! `kill -9` of the whole of `itsm up` at random moments under load: what was acknowledged to a
//! caller exists once, what follows from it exists once, and nothing exists twice.
//!
//! The driver keeps a ledger outside of the system. A seed fixes the moments. `ITSM_KILL_ROUNDS`
//! sets how many times.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
#![expect(clippy::disallowed_methods, reason = "a kill comes at a moment of the wall clock, as in life")]

mod common;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use common::{PATIENCE, Up, folder, key, processes_of, until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value as Json, json};
use tokio::time::sleep;

const ROUNDS: u64 = 50;
const WRITERS: usize = 6;
const SETTLES_WITHIN: Duration = Duration::from_secs(90);

/// A small generator, so that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Ends what a failed run left: the servers of a killed `itsm` outlive it until the next start.
struct Broom(PathBuf);

impl Drop for Broom {
    fn drop(&mut self) {
        for pid in processes_of(&self.0) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }
}

/// One `itsm` as a caller sees it.
#[derive(Clone)]
struct Target {
    client: reqwest::Client,
    url: String,
    administrator: String,
    integration: String,
}

impl Target {
    /// Whether it said yes. The idempotency key, or the dedup key, makes a repeat harmless.
    async fn send(&self, key: &str) -> bool {
        let request = if is_alert(key) {
            let body = json!({ "title": key, "dedupKey": key, "severity": "critical" });
            self.client.post(format!("{}/intake/{}/alerts", self.url, self.integration)).json(&body)
        } else {
            let incidents = self.client.post(format!("{}/v1/incidents", self.url)).bearer_auth(&self.administrator);
            incidents.header("idempotency-key", key).json(&json!({ "title": key }))
        };
        request.send().await.is_ok_and(|response| response.status().is_success())
    }

    /// How often each value of a field occurs among all records of a kind.
    async fn count(&self, noun: &str, name: impl Fn(&Json) -> String) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        let mut token = String::new();
        loop {
            let request = self.client.get(format!("{}/v1/{noun}", self.url)).bearer_auth(&self.administrator);
            let request = request.query(&[("pageSize", "500"), ("pageToken", token.as_str())]);
            let page: Json = request.send().await.unwrap().json().await.unwrap();
            for record in page[noun].as_array().unwrap_or_else(|| panic!("{page}")) {
                *counts.entry(name(record)).or_insert(0) += 1;
            }
            token = page["nextPageToken"].as_str().unwrap_or_default().to_owned();
            if token.is_empty() {
                return counts;
            }
        }
    }
}

fn is_alert(key: &str) -> bool {
    key.starts_with("alert")
}

fn text(record: &Json, field: &str) -> String {
    record[field].as_str().unwrap_or_else(|| panic!("no {field} in {record}")).to_owned()
}

/// What was asked for, by its unique key, and whether it was acknowledged.
#[derive(Default)]
struct Ledger {
    entries: Mutex<BTreeMap<String, bool>>,
    numbers: AtomicU64,
}

impl Ledger {
    fn intend(&self) -> String {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let noun = if number.is_multiple_of(2) { "incident" } else { "alert" };
        let key = format!("{noun} {number:06}");
        self.entries.lock().unwrap().insert(key.clone(), false);
        key
    }

    fn acknowledge(&self, key: &str) {
        self.entries.lock().unwrap().insert(key.to_owned(), true);
    }

    fn keys(&self, acknowledged: bool) -> Vec<String> {
        let entries = self.entries.lock().unwrap();
        entries.iter().filter(|(_, yes)| **yes == acknowledged).map(|(key, _)| key.clone()).collect()
    }
}

/// Until the first request that the kill left unanswered.
async fn write(target: Target, ledger: Arc<Ledger>) {
    loop {
        let key = ledger.intend();
        if !target.send(&key).await {
            return;
        }
        ledger.acknowledge(&key);
    }
}

/// What is not as it must be, in words; empty when the system agrees with the ledger.
async fn complaints(target: &Target, ledger: &Ledger) -> Vec<String> {
    let keys = ledger.keys(true);
    let incidents = target.count("incidents", |incident| text(incident, "title")).await;
    let alerts = target.count("alerts", |alert| text(alert, "title")).await;
    let clocks =
        target.count("clocks", |clock| format!("{} {}", text(clock, "incidentNumber"), text(clock, "metric"))).await;
    let told = |delivery: &Json| {
        format!("{} {}", text(delivery, "subjectRecordNumber"), delivery["sequence"].as_u64().unwrap())
    };
    let mails = target.count("deliveries", told).await;

    let mut complaints = Vec::new();
    for key in &keys {
        if !incidents.contains_key(key) {
            complaints.push(format!("{key}: acknowledged, no incident"));
        }
        if is_alert(key) && !alerts.contains_key(key) {
            complaints.push(format!("{key}: acknowledged, no alert"));
        }
    }
    let tables = [("incident", &incidents), ("alert", &alerts), ("clock", &clocks), ("mail", &mails)];
    for (noun, counts) in tables {
        let doubled = counts.iter().filter(|(_, times)| **times > 1);
        complaints.extend(doubled.map(|(name, times)| format!("{noun} {name}: exists {times} times")));
    }
    let sums = [("incidents", incidents.len(), keys.len()), ("clocks", clocks.len(), 2 * keys.len())];
    for (noun, found, due) in sums.into_iter().chain([("mails", mails.len(), keys.len())]) {
        if found != due {
            complaints.push(format!("{found} {noun}, and {due} are due"));
        }
    }
    complaints
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_9_and_exists_once() {
    let rounds = std::env::var("ITSM_KILL_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let folder = folder();
    let data = folder.path().join("var");
    let _broom = Broom(data.clone());
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build().unwrap();
    let ledger = Arc::new(Ledger::default());
    let start = || {
        let up = Up::start(&data);
        let integration = std::fs::read_to_string(data.join("demo.key")).unwrap().trim().to_owned();
        let url = format!("http://{}", up.url);
        let target = Target { client: client.clone(), url, administrator: key(&data), integration };
        (up, target)
    };
    let mut dice = Dice(20_261_123);
    let mut slowest_start = Duration::ZERO;
    let begun = Instant::now();

    for _ in 0..rounds {
        let (up, target) = start();
        slowest_start = slowest_start.max(up.took);
        let writers: Vec<_> = (0..WRITERS).map(|_| tokio::spawn(write(target.clone(), ledger.clone()))).collect();
        sleep(Duration::from_millis(100 + dice.roll(900))).await;
        up.kill();
        for writer in writers {
            writer.await.unwrap();
        }
    }

    let (up, target) = start();
    let (acknowledged, unanswered) = (ledger.keys(true).len(), ledger.keys(false));
    assert!(acknowledged as u64 > 2 * rounds, "the load was real: {acknowledged}");
    assert_eq!(unanswered.len() as u64, WRITERS as u64 * rounds, "every kill hit every writer, and nothing else did");
    for key in &unanswered {
        assert!(target.send(key).await, "{key} sent again");
        ledger.acknowledge(key);
    }
    let resent = Instant::now();
    loop {
        let complaints = complaints(&target, &ledger).await;
        if complaints.is_empty() {
            break;
        }
        let first: Vec<_> = complaints.iter().take(20).collect();
        assert!(resent.elapsed() < SETTLES_WITHIN, "{} complaints, such as {first:#?}", complaints.len());
        sleep(Duration::from_secs(1)).await;
    }
    #[expect(clippy::print_stdout, reason = "the figures of the run")]
    {
        println!(
            "{rounds} kills in {:?}: {acknowledged} acknowledged, {} sent again; lost 0, doubled 0; settled after {:?}; \
             slowest start {slowest_start:?}",
            begun.elapsed(),
            unanswered.len(),
            resent.elapsed()
        );
    }
    assert_eq!(up.stop(Signal::SIGTERM), 0);
    until("nothing is left", PATIENCE, || processes_of(&data).is_empty().then_some(()));
}

//! `kill -9` of the whole of `itsm up` at random moments under load: what was acknowledged to a
//! caller exists once, and nothing exists twice.
//!
//! The driver keeps a ledger outside of the system. Seeds fix the operations and the moments.
//! `ITSM_KILL_ROUNDS` sets how many times (default 50).

use std::{
    collections::HashMap,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};

const WRITERS: usize = 6;

/// What was asked for and what was acknowledged, by unique key.
#[derive(Default)]
struct Ledger {
    incidents: Mutex<HashMap<String, bool>>,
    alerts: Mutex<HashMap<String, bool>>,
}

impl Ledger {
    fn intend(map: &Mutex<HashMap<String, bool>>, key: &str) {
        map.lock().unwrap().entry(key.to_owned()).or_insert(false);
    }

    fn acknowledge(map: &Mutex<HashMap<String, bool>>, key: &str) {
        map.lock().unwrap().insert(key.to_owned(), true);
    }
}

/// A small generator, so that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

struct Running {
    child: Child,
    url: String,
}

async fn start(data: &Path, port: u16) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_itsm"))
        .args(["up", "--listen", &format!("127.0.0.1:{port}"), "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::OpenOptions::new().create(true).append(true).open(data.with_extension("log")).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = timeout(Duration::from_secs(60), async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(url) = line.strip_prefix("ready ") {
                return url.to_owned();
            }
        }
        panic!("itsm up ended before it was ready; see {}", data.with_extension("log").display());
    })
    .await
    .expect("ready within a minute");
    Running { child, url }
}

/// One writer: incidents by REST and alerts by HTTP, each with its own key, until the stop. A
/// request without an answer is sent again with the same key.
async fn write(
    client: reqwest::Client,
    url: String,
    keys: (String, String),
    ledger: Arc<Ledger>,
    counter: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) {
    let (admin, demo) = keys;
    while !stop.load(Ordering::Relaxed) {
        let number = counter.fetch_add(1, Ordering::Relaxed);
        let key = format!("key-{number:08}");
        if number % 2 == 0 {
            Ledger::intend(&ledger.incidents, &key);
            let sent = client
                .post(format!("{url}/v1/incidents"))
                .bearer_auth(&admin)
                .header("idempotency-key", &key)
                .json(&json!({ "title": key }))
                .send()
                .await;
            if sent.is_ok_and(|response| response.status().is_success()) {
                Ledger::acknowledge(&ledger.incidents, &key);
            }
        } else {
            Ledger::intend(&ledger.alerts, &key);
            let body = json!({ "title": format!("alert {key}"), "dedup_key": key, "severity": "critical" });
            let sent = client.post(format!("{url}/intake/{demo}/alerts")).json(&body).send().await;
            if sent.is_ok_and(|response| response.status().is_success()) {
                Ledger::acknowledge(&ledger.alerts, &key);
            }
        }
    }
}

/// Sends again what was never acknowledged, as a sender does, with the same keys.
async fn send_again(client: &reqwest::Client, url: &str, admin: &str, ledger: &Ledger) {
    let open: Vec<String> =
        ledger.incidents.lock().unwrap().iter().filter(|(_, done)| !**done).map(|(key, _)| key.clone()).collect();
    for key in open {
        let sent = client
            .post(format!("{url}/v1/incidents"))
            .bearer_auth(admin)
            .header("idempotency-key", &key)
            .json(&json!({ "title": key }))
            .send()
            .await;
        assert!(sent.unwrap().status().is_success());
        Ledger::acknowledge(&ledger.incidents, &key);
    }
}

/// How often each title occurs in a list.
async fn titles(client: &reqwest::Client, url: &str, admin: &str, noun: &str) -> HashMap<String, usize> {
    let mut titles = HashMap::new();
    let mut token = String::new();
    loop {
        let query = [("pageSize", "500"), ("pageToken", token.as_str())];
        let page: Value = client
            .get(format!("{url}/v1/{noun}"))
            .bearer_auth(admin)
            .query(&query)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        for record in page[noun].as_array().unwrap_or_else(|| panic!("{page}")) {
            *titles.entry(record["title"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
        token = page["nextPageToken"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            return titles;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_9_and_exists_once() {
    let rounds: u64 = std::env::var("ITSM_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(50);
    let folder = tempfile::Builder::new().prefix("itsm-k").tempdir_in("/tmp").unwrap();
    let data = folder.path().join("var");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build().unwrap();
    let (ledger, counter) = (Arc::new(Ledger::default()), Arc::new(AtomicU64::new(0)));
    let mut dice = Dice(20_261_123);
    let mut slowest = Duration::ZERO;

    for _ in 0..rounds {
        let began = Instant::now();
        let mut running = start(&data, port).await;
        slowest = slowest.max(began.elapsed());
        let key = |name: &str| std::fs::read_to_string(data.join(name)).unwrap().trim().to_owned();
        let keys = (key("admin.key"), key("demo.key"));
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                tokio::spawn(write(
                    client.clone(),
                    running.url.clone(),
                    keys.clone(),
                    ledger.clone(),
                    counter.clone(),
                    stop.clone(),
                ))
            })
            .collect();
        sleep(Duration::from_millis(100 + dice.roll(900))).await;
        running.child.start_kill().unwrap();
        running.child.wait().await.unwrap();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
    }

    let mut running = start(&data, port).await;
    let admin = std::fs::read_to_string(data.join("admin.key")).unwrap().trim().to_owned();
    send_again(&client, &running.url, &admin, &ledger).await;
    let acknowledged: Vec<String> = ledger
        .alerts
        .lock()
        .unwrap()
        .iter()
        .filter(|(_, done)| **done)
        .map(|(key, _)| format!("alert {key}"))
        .collect();
    assert!(acknowledged.len() > 10, "the load was real: {}", acknowledged.len());
    let quiet = Instant::now();
    let incidents = loop {
        let incidents = titles(&client, &running.url, &admin, "incidents").await;
        let missing = acknowledged.iter().filter(|title| !incidents.contains_key(*title)).count();
        if missing == 0 {
            break incidents;
        }
        assert!(
            quiet.elapsed() < Duration::from_secs(60),
            "{missing} of {} acknowledged alerts have no incident",
            acknowledged.len()
        );
        sleep(Duration::from_millis(200)).await;
    };
    for (key, done) in ledger.incidents.lock().unwrap().iter() {
        assert!(*done);
        assert_eq!(incidents.get(key), Some(&1), "incident {key}");
    }
    let doubled: Vec<_> = incidents.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "exist more than once: {doubled:?}");
    let alerts = titles(&client, &running.url, &admin, "alerts").await;
    for title in &acknowledged {
        assert_eq!(alerts.get(title), Some(&1), "{title}");
    }
    println!(
        "{rounds} kills: {} incidents and {} alerts acknowledged, lost 0, doubled 0; slowest start {slowest:?}",
        incidents.len() - acknowledged.len(),
        acknowledged.len()
    );

    let pid = nix::unistd::Pid::from_raw(i32::try_from(running.child.id().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    timeout(Duration::from_secs(15), running.child.wait()).await.expect("stops in time").unwrap();
}

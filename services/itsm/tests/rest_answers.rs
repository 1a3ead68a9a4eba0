//! What the public port of a real `itsm up` answers, to good input and to bad, word by word against
//! a committed file, with ids, times and keys masked.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;
#[path = "common/golden.rs"]
mod golden;

use std::{collections::BTreeSet, fmt::Write as _, fs, time::Instant};

use common::{PATIENCE, Up, folder, key};
use nix::sys::signal::Signal;
use regex::Regex;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value as Json, json};

const MASKS: [(&str, &str); 4] = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
    (r"itsm_int_[A-Za-z0-9_-]+", "<key>"),
    (r#""nextPageToken": "[^"]+""#, r#""nextPageToken": "<token>""#),
];

/// The talk so far, as it will be compared.
struct Talk {
    client: Client,
    url: String,
    administrator: String,
    masks: Vec<(Regex, &'static str)>,
    text: String,
}

impl Talk {
    fn new(up: &Up, administrator: String) -> Self {
        let masks = MASKS.map(|(pattern, mask)| (Regex::new(pattern).unwrap(), mask)).into();
        let client = Client::builder().timeout(PATIENCE).no_proxy().build().unwrap();
        Self { client, url: format!("http://{}", up.url), administrator, masks, text: String::new() }
    }

    fn chapter(&mut self, title: &str) {
        write!(self.text, "# {title}\n\n").unwrap();
    }

    fn masked(&self, text: &str) -> String {
        self.masks.iter().fold(text.to_owned(), |text, (mask, with)| mask.replace_all(&text, *with).into_owned())
    }

    /// Sends, and writes down what was said to what came. Gives the body back.
    async fn tell(&mut self, what: &str, line: &str, request: RequestBuilder) -> Json {
        let response = request.send().await.unwrap();
        let mut answer = response.status().to_string();
        for name in ["content-type", "retry-after", "www-authenticate", "allow"] {
            if let Some(value) = response.headers().get(name) {
                write!(answer, "\n{name}: {}", value.to_str().unwrap()).unwrap();
            }
        }
        let body = response.text().await.unwrap();
        // What is no JSON, such as the text that Prometheus gets, is shown as it is.
        let json: Json = serde_json::from_str(&body).unwrap_or_default();
        let shown = if json.is_null() { body } else { serde_json::to_string_pretty(&json).unwrap() };
        let entry = self.masked(&format!("## {what}\n{line}\n\n{answer}\n{shown}"));
        writeln!(self.text, "{}\n", entry.trim_end()).unwrap();
        json
    }

    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.administrator)
    }

    async fn get(&mut self, what: &str, path: &str) -> Json {
        self.tell(what, &format!("GET {path}"), self.request("GET", path)).await
    }

    /// A body in the words of the caller, who may be wrong.
    async fn send(&mut self, what: &str, method: &str, path: &str, body: &str) -> Json {
        let request = self.request(method, path).header("content-type", "application/json").body(body.to_owned());
        self.tell(what, &format!("{method} {path}\n{body}"), request).await
    }

    /// As [`Self::send`], with an idempotency key.
    async fn send_once(&mut self, what: &str, path: &str, body: &str, once: &str) -> Json {
        let request = self.request("POST", path).header("idempotency-key", once).body(body.to_owned());
        let request = request.header("content-type", "application/json");
        self.tell(what, &format!("POST {path}\nidempotency-key: {once}\n{body}"), request).await
    }

    /// A post to an intake; a long body is shown by its description.
    async fn alert(&mut self, what: &str, key: &str, format: &str, body: impl Into<Vec<u8>>, shown: &str) -> Json {
        let body: Vec<u8> = body.into();
        let mut request = self.client.post(format!("{}/intake/{key}/{format}", self.url));
        if body.starts_with(&[0x1f, 0x8b]) {
            request = request.header("content-encoding", "gzip");
        }
        let request = request.header("x-request-id", "the-same-for-all").body(body);
        self.tell(what, &format!("POST /intake/KEY/{format}\n{shown}"), request).await
    }

    async fn say(&mut self, what: &str, key: &str, format: &str, body: &str) -> Json {
        self.alert(what, key, format, body, body).await
    }
}

async fn incidents(talk: &mut Talk) {
    talk.chapter("Incidents");
    let first = talk.send_once("one is created", "/v1/incidents", r#"{"title": "Mail is slow"}"#, "one").await;
    let again = talk.send_once("the same once more", "/v1/incidents", r#"{"title": "Mail is slow"}"#, "one").await;
    assert_eq!(first, again, "the first answer again");
    talk.send_once("another under the same key", "/v1/incidents", r#"{"title": "Mail is gone"}"#, "one").await;
    let path = format!("/v1/incidents/{}", first["id"].as_str().unwrap());
    talk.send("a refused verb says what is legal", "POST", &format!("{path}:close"), "{}").await;
    let unchanged = talk.request("GET", &path).send().await.unwrap().json::<Json>().await.unwrap();
    assert_eq!(unchanged, first, "a refused verb changed the record");
    talk.send("acknowledged", "POST", &format!("{path}:acknowledge"), "{}").await;
    let stale = r#"{"revision": 1, "title": "Mail is very slow"}"#;
    talk.send("an update of what is no longer so", "PATCH", &path, stale).await;
    let resolved = r#"{"resolutionCode": "FIXED", "resolutionNotes": "A full disk"}"#;
    talk.send("resolved", "POST", &format!("{path}:resolve"), resolved).await;

    talk.get("read by its number", "/v1/incidents/INC0000001").await;

    talk.chapter("Input that cannot be taken");
    talk.send("a field that breaks its rule", "POST", "/v1/incidents", r#"{"title": ""}"#).await;
    talk.send("a field that is none", "POST", "/v1/incidents", r#"{"titel": "Mail"}"#).await;
    talk.send("a wrong type", "POST", "/v1/incidents", r#"{"title": 5}"#).await;
    talk.send("a word that is none", "POST", "/v1/incidents", r#"{"title": "x", "impact": "HUGE"}"#).await;
    talk.send("not JSON", "POST", "/v1/incidents", "{").await;
    talk.get("no such record", "/v1/incidents/01900000-0000-7000-8000-000000000000").await;
    talk.get("no id at all", "/v1/incidents/first").await;
    talk.get("no such path", "/v1/incident").await;
    talk.tell("no such method", "DELETE /v1/incidents", talk.request("DELETE", "/v1/incidents")).await;
    talk.tell("no credential", "GET /v1/incidents", talk.client.get(format!("{}/v1/incidents", talk.url))).await;

    talk.chapter("Pages");
    talk.send("a second", "POST", "/v1/incidents", r#"{"title": "Door is stuck", "urgency": "LOW"}"#).await;
    let page = talk.get("the first page", "/v1/incidents?pageSize=1").await;
    let token = page["nextPageToken"].as_str().unwrap();
    let next = talk.request("GET", "/v1/incidents").query(&[("pageSize", "1"), ("pageToken", token)]);
    talk.tell("the next page", "GET /v1/incidents?pageSize=1&pageToken=TOKEN", next).await;
    talk.get("a filter", "/v1/incidents?filter=state%20%3D%20%22NEW%22").await;
    talk.get("a filter that is none", "/v1/incidents?filter=state").await;
    talk.get("a page too large", "/v1/incidents?pageSize=501").await;
    talk.get("a token that is none", "/v1/incidents?pageToken=first").await;
}

/// Gzip of 64 MiB of zeros inside JSON, 64 kB small: made once by `gzip -9`, as a sender would.
fn bomb() -> Vec<u8> {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };
    let mut gzip = Command::new("gzip").arg("-9").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = gzip.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        input.write_all(br#"{"title":""#).unwrap();
        (0..64).for_each(|_| input.write_all(&[b'0'; 1 << 20]).unwrap());
        input.write_all(br#""}"#).unwrap();
    });
    let output = gzip.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success() && output.stdout.len() < 1 << 20);
    output.stdout
}

async fn intake(talk: &mut Talk, key: &str) {
    talk.chapter("Alerts that are taken");
    talk.say("one", key, "alerts", r#"{"title": "Disk full", "severity": "critical", "dedupKey": "disk"}"#).await;
    talk.say("unknown fields are kept", key, "alerts", r#"{"title": "Fan stands still", "rack": [1, 2]}"#).await;
    let batch = r#"[{"title": "Power lost"}, {"severity": "critical"}, {"title": 5}]"#;
    talk.say("the good ones of a batch", key, "alerts", batch).await;
    let prometheus = r#"[{"labels": {"alertname": "Down"}, "startsAt": "2026-01-01T00:00:00Z"}]"#;
    talk.say("as Prometheus sends them", key, "api/v2/alerts", prometheus).await;
    let half = r#"[{"labels": {"alertname": "Up"}, "startsAt": "2026-01-01T00:00:00Z"}, {"labels": {}}]"#;
    talk.say("and some of them unusable", key, "api/v2/alerts", half).await;
    let event =
        r#"{"specversion": "1.0", "id": "1", "source": "/probe", "type": "disk.full", "data": {"title": "Full"}}"#;
    talk.say("a CloudEvent", key, "cloudevents", event).await;

    talk.chapter("Alerts that are refused");
    let nested = format!(r#"{{"title": "x", "deep": {}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    talk.alert("10,000 levels", key, "alerts", nested, "10,000 nested levels").await;
    let labels: serde_json::Map<_, _> = (0..10_000).map(|n| (format!("l{n}"), json!("v"))).collect();
    let labels = json!({ "title": "x", "labels": labels }).to_string();
    talk.alert("10,000 labels", key, "alerts", labels, "10,000 labels").await;
    let long = json!({ "title": "x".repeat(1 << 20) }).to_string();
    talk.alert("more than 1 MiB", key, "alerts", long, "a body of 1 MiB and some bytes").await;
    talk.alert("a gzip bomb", key, "alerts", bomb(), "64 MiB, as gzip").await;
    talk.alert("broken gzip", key, "alerts", b"\x1f\x8bnone".as_slice(), "what only looks like gzip").await;
    talk.say("not JSON", key, "alerts", "{").await;
    talk.say("a wrong type", key, "alerts", r#"{"title": 5}"#).await;
    talk.say("a missing field", key, "alerts", "{}").await;
    talk.say("another type altogether", key, "alerts", r#""Disk full""#).await;
    talk.say("a webhook that is none", key, "alertmanager", r#"{"version": "4"}"#).await;
    talk.say("a CloudEvent that is none", key, "cloudevents", r#"{"title": "Disk full"}"#).await;
    talk.say("no such intake", key, "nagios", "{}").await;
}

/// An unknown key and a disabled one are told the same, byte by byte.
async fn keys(talk: &mut Talk) {
    talk.chapter("Keys");
    let made =
        talk.send("an integration", "POST", "/v1/integrations", r#"{"name": "probe", "displayName": "Probe"}"#).await;
    let key = made["key"].as_str().unwrap().to_owned();
    let path = format!("/v1/integrations/{}:disable", made["integration"]["id"].as_str().unwrap());
    assert_eq!(talk.request("POST", &path).body("{}").send().await.unwrap().status(), 200);
    let begun = Instant::now();
    let body = r#"{"title": "Too late"}"#;
    // No alert, so that none is taken while the key is still good.
    let probe = || talk.client.post(format!("{}/intake/{key}/alerts", talk.url)).body("{");
    while probe().send().await.unwrap().status() != 401 {
        assert!(begun.elapsed() < PATIENCE, "a disabled key is still good");
    }
    let disabled = talk.say("a disabled key", &key, "alerts", body).await;
    let unknown = talk.say("an unknown key", "itsm_int_nobody", "alerts", body).await;
    assert_eq!(disabled, unknown);
}

/// What was refused is nowhere; what was taken is there, once.
async fn stored(talk: &mut Talk) {
    let good = ["Disk full", "Fan stands still", "Power lost", "Down", "Up", "Full"];
    let good: BTreeSet<_> = good.map(str::to_owned).into();
    let begun = Instant::now();
    let mut titles = Vec::new();
    while titles.len() < good.len() {
        assert!(begun.elapsed() < PATIENCE, "only {titles:?}");
        let page: Json = talk.request("GET", "/v1/alerts").send().await.unwrap().json().await.unwrap();
        let alerts = page["alerts"].as_array().unwrap().clone();
        titles = alerts.iter().map(|alert| alert["title"].as_str().unwrap().to_owned()).collect();
    }
    assert_eq!(titles.len(), good.len(), "{titles:?}");
    assert_eq!(titles.into_iter().collect::<BTreeSet<_>>(), good);
    talk.chapter("What of a batch was refused");
    talk.get("listed with its reason", "/v1/rejectedAlerts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_are_as_committed() {
    let folder = folder();
    let data = folder.path().join("var");
    let up = Up::start(&data);
    let demo = fs::read_to_string(data.join("demo.key")).unwrap().trim().to_owned();
    let mut talk = Talk::new(&up, key(&data));
    incidents(&mut talk).await;
    keys(&mut talk).await;
    intake(&mut talk, &demo).await;
    stored(&mut talk).await;
    golden::compare("rest_answers.txt", &(talk.text.trim_end().to_owned() + "\n"));
    assert_eq!(up.stop(Signal::SIGTERM), 0);
}

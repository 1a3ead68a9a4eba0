//! Every REST route of `/openapi.json` by every kind of caller, through the public port of a real
//! `itsm up`, compared with a committed table: a new route cannot be forgotten, and a changed right
//! is seen in review.
//!
//! Ids in the paths are of no record, so 404 and 400 mean that the door was open. The caller of
//! another tenant asks for records that exist, and must be told the same as for those that do not.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;
#[path = "common/golden.rs"]
mod golden;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta};
use common::{PATIENCE, Up, folder, itsm, key};
use nix::sys::signal::Signal;
use serde_json::{Value as Json, json};

/// A well-formed id that no record has.
const ABSENT: &str = "01900000-0000-7000-8000-000000000000";
/// The promise: a revoked key ends everywhere within five seconds.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

/// The public port.
struct Port {
    client: reqwest::Client,
    url: String,
}

impl Port {
    /// The status, and the body unless it is a stream without end.
    async fn call(&self, method: &str, path: &str, key: Option<&str>, body: &Json) -> (u16, Json) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.url));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if method != reqwest::Method::GET {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let is_stream = response.headers()["content-type"] == "application/x-ndjson";
        (status, if is_stream { Json::Null } else { response.json().await.unwrap() })
    }

    async fn get(&self, path: &str, key: &str) -> Json {
        let (status, body) = self.call("GET", path, Some(key), &Json::Null).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    async fn create(&self, noun: &str, key: &str, body: Json) -> Json {
        let (status, made) = self.call("POST", &format!("/v1/{noun}"), Some(key), &body).await;
        assert_eq!(status, 200, "{noun}: {made}");
        made
    }

    /// Waits until a key is refused.
    async fn refused(&self, key: &str, within: Duration) {
        let begun = Instant::now();
        while self.call("GET", "/v1/me", Some(key), &Json::Null).await.0 != 401 {
            assert!(begun.elapsed() < within, "still accepted after {within:?}");
            tokio::task::yield_now().await;
        }
    }
}

fn id(record: &Json) -> &str {
    record["id"].as_str().unwrap_or_else(|| panic!("no id in {record}"))
}

/// The routes that a credential opens, as `METHOD /path`; the intake has its own keys.
async fn routes(port: &Port) -> Vec<(String, String)> {
    let contract = port.client.get(format!("{}/openapi.json", port.url)).send().await.unwrap();
    let contract: Json = contract.json().await.unwrap();
    let paths = contract["paths"].as_object().unwrap();
    let mut routes: Vec<_> = paths
        .iter()
        .filter(|(path, _)| !path.starts_with("/intake/"))
        .flat_map(|(path, verbs)| verbs.as_object().unwrap().keys().map(|verb| (path.clone(), verb.to_uppercase())))
        .collect();
    routes.sort();
    routes
}

/// The plural of a path: `incidents` of `/v1/incidents/{id}:close`.
fn noun(path: &str) -> &str {
    path.trim_start_matches("/v1/").split(['/', ':']).next().unwrap()
}

/// The first administrator of another tenant.
fn other_tenant(data: &Path, folder: &Path) -> String {
    let read = |name: &str| fs::read_to_string(data.join(name)).unwrap().trim().to_owned();
    let (password, socket) = (read("postgres.password"), read("postgres.socket"));
    let key_file = folder.join("eve.key");
    let arguments = ["provision", "--tenant", "other", "--first-administrator", "Eve"];
    let made = itsm(&arguments)
        .arg("--key-file")
        .arg(&key_file)
        .arg("--data")
        .arg(data)
        .env("DATABASE_URL", format!("postgres://itsm:{password}@localhost/itsm?host={socket}"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::read_to_string(key_file).unwrap().trim().to_owned()
}

/// The callers by the name of their column; `None` has no credential.
async fn callers(port: &Port, administrator: &str, other: String) -> Vec<(&'static str, Option<String>)> {
    let teams = port.get("/v1/teams", administrator).await;
    let team = id(&teams["teams"][0]).to_owned();
    let me = port.get("/v1/me", administrator).await["personId"].as_str().unwrap().to_owned();
    let new_key = async |person: &str, name: &str, more: Json| {
        let mut wanted = json!({ "personId": person, "displayName": name });
        wanted.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        let made = port.create("apiKeys", administrator, wanted).await;
        (id(&made["apiKey"]).to_owned(), made["key"].as_str().unwrap().to_owned(), made)
    };
    let mut roles = Vec::new();
    for (column, role) in [("viewer", "VIEWER"), ("responder", "RESPONDER"), ("manager", "MANAGER")] {
        let email = format!("{column}@example.org");
        let wanted = json!({ "kind": "HUMAN", "displayName": column, "email": email });
        let person = port.create("people", administrator, wanted).await;
        let membership = json!({ "teamId": team, "personId": id(&person), "role": role });
        port.create("memberships", administrator, membership).await;
        roles.push((column, Some(new_key(id(&person), column, json!({})).await.1)));
    }
    let (revoked_id, revoked, made) = new_key(&me, "revoked", json!({})).await;
    port.get("/v1/me", &revoked).await;
    let path = format!("/v1/apiKeys/{revoked_id}:revoke");
    assert_eq!(port.call("POST", &path, Some(administrator), &json!({})).await.0, 200);
    port.refused(&revoked, REVOKED_WITHIN).await;
    let now = DateTime::parse_from_rfc3339(made["apiKey"]["createTime"].as_str().unwrap()).unwrap();
    let soon = (now + TimeDelta::seconds(5)).to_rfc3339();
    let (_, expired, _) = new_key(&me, "expired", json!({ "expireTime": soon })).await;
    let (_, read_only, _) = new_key(&me, "read-only", json!({ "scopes": ["*.read"] })).await;
    port.refused(&expired, PATIENCE).await;

    let garbage = Some("itsm_garbage".to_owned());
    let mut callers =
        vec![("none", None), ("garbage", garbage), ("expired", Some(expired)), ("revoked", Some(revoked))];
    callers.append(&mut roles);
    callers.push(("administrator", Some(administrator.to_owned())));
    callers.push(("read-only", Some(read_only)));
    callers.push(("other tenant", Some(other)));
    callers
}

/// One record of every kind that has an id in its paths.
async fn records(port: &Port, data: &Path, administrator: &str, nouns: &[&str]) -> BTreeMap<String, String> {
    let teams = port.get("/v1/teams", administrator).await;
    let team = id(&teams["teams"][0]);
    let owned = |name: &str, kind: &str| json!({ "name": name, "displayName": name, "kind": kind, "owningTeamId": team, "supportTeamId": team });
    port.create("services", administrator, owned("shop", "BUSINESS")).await;
    port.create("configurationItems", administrator, owned("db-1", "DATABASE")).await;
    let change = json!({ "title": "New disks", "type": "NORMAL", "risk": "MINOR" });
    port.create("changes", administrator, change).await;
    let template = json!({ "name": "short", "displayName": "Short", "subject": "{{ record.title }}", "body": "-" });
    port.create("templates", administrator, template).await;
    let demo = fs::read_to_string(data.join("demo.key")).unwrap();
    let alert = json!({ "title": "Disk full", "severity": "critical" });
    let (status, _) = port.call("POST", &format!("/intake/{}/alerts", demo.trim()), None, &alert).await;
    assert_eq!(status, 202);

    let begun = Instant::now();
    let mut records = BTreeMap::new();
    for noun in nouns {
        let record = loop {
            if *noun == "tenants" {
                break port.get("/v1/me", administrator).await["tenantId"].as_str().unwrap().to_owned();
            }
            let page = port.get(&format!("/v1/{noun}"), administrator).await;
            if let Some(record) = page[noun].get(0) {
                break id(record).to_owned();
            }
            assert!(begun.elapsed() < PATIENCE, "there is none of {noun}");
        };
        records.insert((*noun).to_owned(), record);
    }
    records
}

/// What another tenant is told of a record that exists, beside what it is told of one that does not.
async fn looks_absent(port: &Port, method: &str, path: &str, key: &str, record: &str) {
    let ask = async |id: &str| {
        let (status, body) = port.call(method, &path.replace("{id}", id), Some(key), &json!({})).await;
        let mut body = body.to_string().replace(id, "{id}");
        let request = body.find("\"requestId\":\"").unwrap();
        body.replace_range(request..request + "\"requestId\":\"\",".len() + ABSENT.len(), "");
        (status, body)
    };
    assert_eq!(ask(record).await, ask(ABSENT).await, "{method} {path} tells of another tenant's record");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_open_to_whom_the_table_says() {
    let folder = folder();
    let data = folder.path().join("var");
    let up = Up::start(&data);
    let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap();
    let port = Port { client, url: format!("http://{}", up.url) };
    let administrator = key(&data);
    let callers = callers(&port, &administrator, other_tenant(&data, folder.path())).await;
    let routes = routes(&port).await;
    let nouns: Vec<_> = routes.iter().filter(|(path, _)| path.contains("{id}")).map(|(path, _)| noun(path)).collect();
    let records = records(&port, &data, &administrator, &nouns).await;
    let other = callers.iter().find(|(column, _)| *column == "other tenant").unwrap().1.clone().unwrap();

    let columns: Vec<_> = callers.iter().map(|(column, _)| *column).collect();
    let mut table = format!("{:<50} {}\n", "# route", columns.join("  "));
    for (path, method) in &routes {
        let empty = json!({});
        let target = path.replace("{id}", ABSENT);
        let calls = callers.iter().map(|(_, key)| port.call(method, &target, key.as_deref(), &empty));
        let statuses = futures::future::join_all(calls).await;
        write!(table, "{:<50}", format!("{method:<5} {path}")).unwrap();
        for ((column, _), (status, _)) in callers.iter().zip(&statuses) {
            write!(table, " {status:>width$} ", width = column.len()).unwrap();
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
        if path.contains("{id}") {
            looks_absent(&port, method, path, &other, &records[noun(path)]).await;
        }
    }
    for noun in records.keys().filter(|noun| *noun != "tenants") {
        let page = port.get(&format!("/v1/{noun}?pageSize=500"), &other).await.to_string();
        assert!(!page.contains(&records[noun]), "another tenant lists {noun}: {page}");
    }
    golden::compare("rest_access.txt", &table);
    assert_eq!(up.stop(Signal::SIGTERM), 0);
}

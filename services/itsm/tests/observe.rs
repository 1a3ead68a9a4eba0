//! What an `itsm up` shows of itself: the whole way of an alert as one trace, a log without secrets,
//! numbers by the committed list, and what is stuck as stuck.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use common::{
    PATIENCE, Up,
    collector::{Collector, Step},
    folder, get, key, post,
    receiver::Receiver,
    until,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgConnectOptions};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const CANARY: &str = "canary-in-the-url-of-a-webhook";

fn data(folder: &tempfile::TempDir) -> PathBuf {
    let data = folder.path().join("var");
    fs::create_dir(&data).unwrap();
    data
}

/// Gives the administrator a webhook to `receiver`, and answers its signing secret.
fn hook(up: &Up, key: &str, receiver: &Receiver) -> String {
    let people: Value = serde_json::from_str(&up.get("/v1/people", Some(key)).unwrap().1).unwrap();
    let person = &people["people"][0]["id"];
    let address = format!("http://{}/hook?token={CANARY}", receiver.address);
    let way = serde_json::json!({"personId": person, "method": "WEBHOOK", "displayName": "pager", "address": address});
    let (status, made) = post(&up.url, "/v1/contactMethods", Some(key), &way.to_string()).unwrap();
    assert_eq!(status, 200, "{made}");
    let rule = serde_json::json!({"displayName": "page", "eventType": "incident.opened", "methods": ["WEBHOOK"],
                                  "recipients": {"personIds": [person]}});
    let (status, ruled) = post(&up.url, "/v1/notificationRules", Some(key), &rule.to_string()).unwrap();
    assert_eq!(status, 200, "{ruled}");
    serde_json::from_str::<Value>(&made).unwrap()["signingSecret"].as_str().unwrap().to_owned()
}

/// Sends an alert and waits until the webhook was told of its incident.
fn alert(up: &Up, data: &Path, receiver: &Receiver, headers: &str) -> String {
    let demo = fs::read_to_string(data.join("demo.key")).unwrap();
    let path = format!("/intake/{}/alerts", demo.trim());
    let body = r#"{"title":"Disk full on db1","severity":"critical"}"#;
    let (status, said) = common::ask(&up.url, "POST", &path, headers, body).unwrap();
    assert_eq!(status, 202, "{said}");
    until("the webhook is told", PATIENCE, || receiver.received().into_iter().find(|told| told.contains("Disk full")))
}

fn port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn an_alert_is_one_trace_from_its_intake_to_the_webhook() {
    let folder = folder();
    let data = data(&folder);
    let (collector, receiver) = (Collector::open(), Receiver::open());
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()),
        // What a caller asks to be traced is; what begins by itself is not.
        ("ITSM_TRACING__SAMPLE_RATIO", "0.0"),
        ("ITSM_NOTIFICATION__WEBHOOK_ALLOW", "[\"127.0.0.0/8\"]"),
    ];
    let up = Up::start_with(&data, &[], &variables);
    let administrator = key(&data);
    hook(&up, &administrator, &receiver);
    let told = alert(&up, &data, &receiver, &format!("traceparent: 00-{TRACE}-{CALLER}-01\r\n"));
    assert!(told.to_lowercase().contains(&format!("traceparent: 00-{TRACE}-")), "the receiver cannot go on: {told}");

    let incidents: Value = serde_json::from_str(&up.get("/v1/incidents", Some(&administrator)).unwrap().1).unwrap();
    let path = format!("/v1/incidents/{}:acknowledge", incidents["incidents"][0]["number"].as_str().unwrap());
    let headers =
        format!("Authorization: Bearer {administrator}\r\ntraceparent: 00-{}-{CALLER}-01\r\n", "a".repeat(32));
    let (status, said) = common::ask(&up.url, "POST", &path, &headers, "{}").unwrap();
    assert_eq!(status, 200, "{said}");
    // A relay may be behind those who read the feed.
    for service in ["alert", "incident"] {
        let published = |step: &Step| step.service == service && step.name == format!("publish {service}");
        until("it is published", PATIENCE, || collector.trace(TRACE).into_iter().find(published));
    }
    // The last spans go out at the stop.
    assert_eq!(up.stop(Signal::SIGTERM), 0);

    let trace = collector.trace(TRACE);
    let shown = || trace.iter().map(Step::to_string).collect::<Vec<_>>().join("\n");
    let find = |service: &str, name: &str| {
        let found = trace.iter().find(|step| (step.service.as_str(), step.name.as_str()) == (service, name));
        found.unwrap_or_else(|| panic!("no `{name}` of {service} in\n{}", shown()))
    };
    // From the last step to the first, by parents; what went over NATS may have come by the feed.
    let mut way = Vec::new();
    let mut step = Some(find("notification", "POST"));
    let mut last = String::new();
    while let Some(at) = step {
        last.clone_from(&at.parent);
        if !(at.kind == "PRODUCER" && at.service != "gateway") {
            way.push(format!("{} {} {}", at.service, at.kind, at.name));
        }
        step = trace.iter().find(|other| other.id == at.parent);
    }
    assert_eq!(
        way,
        [
            "notification CLIENT POST",
            "notification CONSUMER process incident.opened",
            "incident CONSUMER process alert.raised",
            "alert CONSUMER process ALERTS",
            "gateway PRODUCER publish ALERTS",
            "gateway SERVER /intake/{key}/{format}",
        ],
        "{}",
        shown()
    );
    assert_eq!(last, CALLER, "the first step is not the caller's");
    find("sla", "process incident.opened");
    for service in ["alert", "incident"] {
        assert_eq!(find(service, &format!("publish {service}")).attributes["messaging.system"], "nats");
    }
    let intake = find("gateway", "/intake/{key}/{format}");
    assert_eq!(intake.attributes["http.request.method"], "POST");
    assert_eq!(intake.attributes["http.response.status_code"], "202");
    let webhook = find("notification", "POST");
    assert_eq!(webhook.attributes["http.response.status_code"], "204");
    assert_eq!(webhook.attributes["server.address"], "127.0.0.1");

    let call: Vec<String> =
        collector.trace(&"a".repeat(32)).iter().map(|at| format!("{} {} {}", at.service, at.kind, at.name)).collect();
    let rpc = "itsm.incident.v1.IncidentService/AcknowledgeIncident";
    for wanted in [
        "gateway SERVER /v1/incidents/{id}:acknowledge".to_owned(),
        format!("gateway CLIENT {rpc}"),
        format!("incident SERVER {rpc}"),
    ] {
        assert!(call.contains(&wanted), "no `{wanted}` in {call:#?}");
    }
    // A ratio of 0 keeps what nobody asked for out; and no key travels with what is kept.
    let everything = collector.everything();
    for trace in everything.traces.iter().filter(|trace| ![TRACE, &"a".repeat(32)].contains(&trace.as_str())) {
        // What joined both.
        let batch = collector.trace(trace).iter().all(|step| step.name.starts_with("process batch"));
        assert!(batch, "nobody asked for {:#?}", collector.trace(trace));
    }
    let demo = fs::read_to_string(data.join("demo.key")).unwrap();
    for secret in [CANARY, demo.trim(), administrator.as_str()] {
        assert!(!everything.text.contains(secret), "a span holds {secret}");
    }
}

#[test]
fn no_secret_is_logged_and_numbers_are_those_of_the_list() {
    let folder = folder();
    let data = data(&folder);
    let receiver = Receiver::open();
    let (metrics, nobody) = (port(), format!("http://{}", port()));
    let variables = [
        ("RUST_LOG", "debug"),
        ("ITSM_LOG__FORMAT", "json"),
        ("ITSM_METRICS__LISTEN", metrics.as_str()),
        // A collector that is away costs nothing but its spans.
        ("OTEL_EXPORTER_OTLP_ENDPOINT", nobody.as_str()),
        ("ITSM_NOTIFICATION__WEBHOOK_ALLOW", "[\"127.0.0.0/8\"]"),
    ];
    let up = Up::start_with(&data, &[], &variables);
    let administrator = key(&data);
    let signing = hook(&up, &administrator, &receiver);
    alert(&up, &data, &receiver, "x-request-id: canary-request\r\n");
    let asked = format!(
        "Authorization: Bearer {administrator}\r\nx-request-id: canary-call\r\ntraceparent: 00-{TRACE}-{CALLER}-01\r\n"
    );
    assert_eq!(common::ask(&up.url, "POST", "/v1/incidents/INC0000001:acknowledge", &asked, "{}").unwrap().0, 200);

    assert_eq!(get(&metrics, "/healthz", None).unwrap().0, 200);
    assert_eq!(get(&metrics, "/readyz", None).unwrap().0, 200);
    let page = until("what waits is measured", PATIENCE, || {
        get(&metrics, "/metrics", None).map(|(_, page)| page).filter(|page| page.contains("itsm_outbox_events{"))
    });
    let listed: BTreeSet<&str> =
        include_str!("../../../kit/golden/metrics.txt").lines().filter_map(|line| line.split(' ').next()).collect();
    let shown = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let unlisted: Vec<&str> = shown.filter(|name| !listed.contains(name)).collect();
    assert!(unlisted.is_empty(), "not in kit/golden/metrics.txt: {unlisted:?}");
    for line in [
        "itsm_alive_seconds{part=\"relay\",service=\"incident\"}",
        "itsm_alive_seconds{part=\"consumer:incident\",service=\"sla\"}",
        "itsm_alive_seconds{part=\"sweep\",service=\"sla\"}",
        "itsm_relay_lag_seconds{service=\"alert\"} 0",
        "itsm_consumer_lag_events{service=\"alert\",source=\"intake\"} 0",
        "itsm_alert_to_incident_seconds_count 1",
        "itsm_event_to_delivery_seconds_count{event=\"incident.opened\",method=\"webhook\"} 1",
        "itsm_deliveries_total{method=\"webhook\",outcome=\"delivered\"} 1",
        "itsm_intake_total{format=\"generic\",outcome=\"accepted\",reason=\"\"} 1",
        "itsm_pool_connections{pool=\"workers\",service=\"incident\",state=\"at_most\"} 8",
    ] {
        assert!(page.lines().any(|shown| shown.starts_with(line)), "no {line} on the page:\n{page}");
    }
    assert_eq!(up.stop(Signal::SIGTERM), 0);

    let log = fs::read_to_string(data.with_extension("log")).unwrap();
    let read = |name: &str| fs::read_to_string(data.join(name)).unwrap().trim().to_owned();
    let secrets = [
        ("the administrator's key", administrator.as_str()),
        ("the integration's key", &read("demo.key")),
        ("the webhook's signing secret", signing.trim_start_matches("whsec_")),
        ("the webhook's URL", CANARY),
        ("the database's password", &read("postgres.password")),
        ("the secret key", &read("secret.key")),
    ];
    for (what, secret) in secrets {
        assert!(secret.len() >= 16, "{what} is too short to be looked for");
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{what} is in the log: {}", line.unwrap_or_default());
    }
    // Each line reads alone.
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    let of_call = lines.iter().find(|line| line["span"]["request_id"] == "canary-call");
    let span = &of_call.unwrap_or_else(|| panic!("no line tells the request"))["span"];
    assert_eq!((&span["trace_id"], &span["tenant"]), (&TRACE.into(), &"default".into()), "{span}");
    let sent = lines.iter().find(|line| line["message"] == "attempt ended").unwrap();
    assert!(sent["delivery_id"].is_string() && sent["trace_id"].as_str().unwrap().len() == 32, "{sent}");
    assert_eq!(sent["tenant"], "default");
}

/// Nothing happens, and still it is seen: the rows that a relay and a consumer must renew are held
/// by somebody else.
#[test]
fn what_is_stuck_is_seen_within_15_seconds_though_nothing_happens() {
    let folder = folder();
    let data = data(&folder);
    let up = Up::start(&data);
    let waiting = || {
        let (status, body) = up.get("/readyz", None)?;
        Some((status, serde_json::from_str::<Value>(&body).ok()?["waitingFor"].clone()))
    };
    until("all is well", PATIENCE, || waiting().filter(|(status, _)| *status == 200));
    let password = fs::read_to_string(data.join("postgres.password")).unwrap();
    let options = PgConnectOptions::new_without_pgpass()
        .socket(data.join("postgres/run"))
        .port(5432)
        .username("itsm")
        .password(password.trim())
        .database("itsm");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut holder = runtime.block_on(PgConnection::connect_with(&options)).unwrap();
    let mut run = |statement: &'static str| {
        runtime.block_on(sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut holder)).map(drop).unwrap();
    };
    let began = Instant::now();
    run("begin; select from incident.lease where name = 'relay' for update;
         select from sla.lease where name = 'consumer:incident' for update");
    until("both are named", PATIENCE, || {
        let (status, waiting) = waiting()?;
        let named = waiting["incident relay"].is_string() && waiting["sla consumer:incident"].is_string();
        (status == 503 && named).then_some(())
    });
    assert!(began.elapsed() < Duration::from_secs(15), "seen only after {:?}", began.elapsed());
    let page = up.get("/metrics", None).unwrap().1;
    let age = |part: &str| -> f64 {
        let line = page.lines().find(|line| line.starts_with(&format!("itsm_alive_seconds{{{part}}}"))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(age("part=\"relay\",service=\"incident\"") > 5.0 && age("part=\"relay\",service=\"sla\"") < 5.0);
    run("rollback");
    until("all is well again", PATIENCE, || waiting().filter(|(status, _)| *status == 200));
    assert_eq!(up.stop(Signal::SIGTERM), 0);
}

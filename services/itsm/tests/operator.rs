//! What an operator asks of an installation, by the real binary.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt};

use common::{PATIENCE, Up, folder, itsm, outcome, until};
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

#[test]
fn config_shows_what_holds_and_who_said_it() {
    let folder = folder();
    let file = folder.path().join("itsm.toml");
    fs::write(&file, "[database]\nurl = 'postgres://itsm:hunter2@db/itsm'\n").unwrap();
    let config = |output: &str| {
        let mut command = itsm(&["config", "--output", output]);
        let command = command.env("ITSM_SETTINGS", &file).env("ITSM_NATS__REPLICAS", "3").env("RUST_LOG", "warn");
        let done = command.output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
        let text = String::from_utf8(done.stdout).unwrap();
        assert!(!text.contains("hunter2") && !text.contains('\u{1b}'), "{text}");
        text
    };
    let found: Vec<Value> = serde_json::from_str(&config("json")).unwrap();
    let said = |key: &str| found.iter().find(|setting| setting["key"] == key).unwrap();
    let database = said("database.url");
    assert_eq!((&database["value"], &database["origin"]), (&"***".into(), &"file".into()));
    assert_eq!(database["source"], file.to_str().unwrap());
    assert_eq!(
        (&said("nats.replicas")["value"], &said("nats.replicas")["source"]),
        (&3.into(), &"ITSM_NATS__REPLICAS".into())
    );
    assert_eq!(said("log.filter")["source"], "RUST_LOG");
    assert_eq!(said("retention.incidents")["origin"], "default");

    let table = config("table");
    let line =
        |key: &str| table.lines().find(|line| line.starts_with(key)).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(line("KEY"), ["KEY", "VALUE", "ORIGIN"]);
    assert_eq!(line("nats.replicas"), ["nats.replicas", "3", "variable", "ITSM_NATS__REPLICAS"]);
    assert_eq!(line("retention.incidents"), ["retention.incidents", "\"730d\"", "default"]);

    let wrong = itsm(&["config"]).env("ITSM_NATS__REPLICS", "3").output().unwrap();
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("did you mean `replicas`?"));
}

#[test]
fn status_and_doctor_say_whether_all_is_well() {
    let folder = folder();
    let data = folder.path().join("var");
    fs::create_dir(&data).unwrap();
    let status = |output: &str| {
        let done = outcome(&["status", "--data", data.to_str().unwrap(), "--output", output]);
        (done.status.code().unwrap(), String::from_utf8(done.stdout).unwrap())
    };
    let doctor = |data: &std::path::Path| {
        let done = outcome(&["doctor", "--data", data.to_str().unwrap(), "--output", "json"]);
        let found: Vec<Value> = serde_json::from_slice(&done.stdout).unwrap();
        let found = found.into_iter().map(|finding| (finding["check"].as_str().unwrap().to_owned(), finding));
        (done.status.code().unwrap(), found.collect::<BTreeMap<_, _>>())
    };
    let (code, found) = doctor(&data);
    assert!(code == 0 && found["database"]["verdict"] == "warning", "before the first start: {found:#?}");
    let up = Up::start(&data);
    let screen = until("all is well", PATIENCE, || {
        let (code, screen) = status("table");
        (code == 0).then_some(screen)
    });
    for part in ["ready", "incident", "consumer:incident", "ALERTS", " free at ", "nothing is wrong"] {
        assert!(screen.contains(part), "no `{part}` on\n{screen}");
    }
    assert!(!screen.contains('\u{1b}'), "painted for nobody:\n{screen}");
    let (code, text) = status("json");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &report["wrong"]), (0, &serde_json::json!([])));
    let server = &report["server"];
    assert_eq!((&server["ready"], &server["version"]), (&true.into(), &env!("CARGO_PKG_VERSION").into()));
    let services = report["services"].as_array().unwrap();
    assert_eq!(services.len(), 7, "{text}");
    for service in services {
        let relay = &service["leases"][0];
        assert!(relay["name"] == "relay" && relay["expiredSeconds"].as_f64().unwrap() < 0.0, "{service}");
    }
    let streams = report["streams"].as_array().unwrap();
    assert!(streams.len() == 9 && streams.iter().all(|stream| stream["asWanted"] == true), "{text}");
    assert!(report["disk"]["freeBytes"].as_u64() > Some(0));
    let (code, found) = doctor(&data);
    assert!(code == 0 && found.values().all(|finding| finding["verdict"] == "ok"), "{found:#?}");
    let checks: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        checks,
        ["clock", "database", "disk", "migrations", "nats", "roles", "row security", "secrets", "streams"]
    );
    let key = data.join("admin.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, found) = doctor(&data);
    let secrets = &found["secrets"];
    assert!(code == 1 && secrets["verdict"] == "wrong" && secrets["mend"] == "chmod 600 for each", "{secrets}");
    let password = fs::read_to_string(data.join("postgres.password")).unwrap();
    let options = PgConnectOptions::new_without_pgpass()
        .socket(data.join("postgres/run"))
        .port(5432)
        .username("itsm")
        .password(password.trim())
        .database("itsm");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut superuser = PgConnection::connect_with(&options).await.unwrap();
        let change = "alter role sla bypassrls; alter table sla.clocks no force row level security";
        sqlx::raw_sql(change).execute(&mut superuser).await.unwrap();
    });
    let (_, found) = doctor(&data);
    for (check, said) in
        [("roles", "row-level security does not bind sla"), ("row security", "it is not forced on sla.clocks")]
    {
        assert!(found[check]["verdict"] == "wrong" && found[check]["found"] == said, "{:#}", found[check]);
    }
    assert_eq!(up.stop(Signal::SIGTERM), 0);

    let (code, text) = status("json");
    let report: Value = serde_json::from_str(&text).unwrap();
    let wrong = report["wrong"].to_string();
    assert!(code == 1 && wrong.contains("cannot reach the database") && wrong.contains("does not answer"), "{text}");
}

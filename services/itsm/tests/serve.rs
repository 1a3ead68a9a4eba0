//! `itsm serve` from outside: the services in several processes, with a database and a NATS that
//! are there already, as an operator runs them.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::{fs, net::TcpListener, path::Path, process::Stdio, time::Instant};

use common::{
    Guarded, PATIENCE, Up,
    apart::{Nats, database},
    get, itsm, key, lines, outcome, processes_of,
};
use nix::sys::signal::Signal;
use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgConnectOptions};

#[test]
fn services_apart_find_each_other_and_take_an_alert_to_an_incident() {
    let folder = common::folder();
    let (first, shared) = (folder.path().join("var"), folder.path().join("shared"));
    fs::create_dir(&first).unwrap();
    let up = Up::start(&first);
    let nats = Nats::start(folder.path());
    let url = database(&first);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let with = |arguments: &[&str]| {
        let mut command = itsm(&[arguments, &["--data", shared.to_str().unwrap()]].concat());
        command.env("DATABASE_URL", &url).env("NATS_URL", &nats.url);
        // The roles are the cluster's, so both databases have the same passwords.
        command.env("ITSM_SECRET_KEY_FILE", first.join("secret.key"));
        command.env("ITSM_GATEWAY__LISTEN", port.to_string());
        command
    };
    let said = |arguments: &[&str]| {
        let output = with(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let migrated = said(&["migrate"]);
    assert!(migrated.starts_with("0 roles and ") && !migrated.contains(" 0 migrations"), "{migrated}");
    assert_eq!(said(&["migrate"]), "0 roles and 0 migrations were missing\n");
    let key_file = folder.path().join("ada.key");
    let provision = ["provision", "--first-administrator", "Ada", "--key-file", key_file.to_str().unwrap()];
    assert!(said(&provision).contains("ada.key"));
    let ada = fs::read_to_string(&key_file).unwrap();
    assert!(said(&provision).contains("nothing was done"));
    assert_eq!(fs::read_to_string(&key_file).unwrap(), ada, "the second time wrote a key");

    let parts: [&[&str]; 4] = [
        &["provisioner"],
        &["directory", "catalog", "notification"],
        &["alert", "incident", "change", "sla"],
        &["gateway"],
    ];
    let log = folder.path().join("serve.log");
    let mut processes = Vec::new();
    for part in parts {
        let log = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut process = with(&[&["serve"], part].concat()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let out = process.stdout.take().unwrap();
        processes.push((part, lines(out), Guarded::new(process)));
    }
    for (part, lines, _) in &processes {
        let line = lines.recv_timeout(common::READY_WITHIN);
        let log = || fs::read_to_string(&log).unwrap();
        assert_eq!(line.as_deref(), Ok(format!("ready {}", part.join(" ")).as_str()), "{}", log());
    }
    // A service that runs here already is not taken from its process.
    let second = with(&["serve", "incident"]).output().unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(second.status.code() == Some(1) && said.contains("another process runs incident"), "{said}");

    let ask = |path: &str| get(&port.to_string(), path, Some(ada.trim()));
    let (status, teams) = ask("/v1/teams").unwrap();
    assert!(status == 200 && !teams.contains("operations"), "provision made a team: {teams}");
    let body = r#"{"name":"demo","displayName":"Demo","openIncidentFrom":"MEDIUM"}"#;
    let made = common::post(&port.to_string(), "/v1/integrations", Some(ada.trim()), body).unwrap();
    assert_eq!(made.0, 200, "{}", made.1);
    // The hint, which begins alike, comes before.
    let intake_key = made.1.split('"').rfind(|word| word.starts_with("itsm_int_")).unwrap().to_owned();
    let alert = r#"{"title":"Disk full on db1","severity":"critical"}"#;
    let path = format!("/intake/{intake_key}/alerts");
    // The gateway learns of the key by NATS.
    let answer = |what: &str, wanted: &dyn Fn(&(u16, String)) -> bool, look: &dyn Fn() -> Option<(u16, String)>| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = look();
            if last.as_ref().is_some_and(wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {last:?}\n{}", fs::read_to_string(&log).unwrap());
        }
    };
    answer("the alert is taken", &|(status, _)| *status < 300, &|| common::post(&port.to_string(), &path, None, alert));
    answer("an incident is open", &|(_, body)| body.contains("Disk full on db1"), &|| ask("/v1/incidents"));

    for (part, _, process) in processes.into_iter().rev() {
        assert_eq!(process.stop(Signal::SIGTERM), 0, "{part:?}");
    }
    assert_eq!(processes_of(&shared), [0; 0]);
    assert_eq!(up.stop(Signal::SIGTERM), 0);
}

#[test]
fn one_command_runs_on_servers_of_others_and_seeds_only_an_empty_directory() {
    let folder = common::folder();
    let (first, second, third) = (folder.path().join("1"), folder.path().join("2"), folder.path().join("3"));
    for data in [&first, &second, &third] {
        fs::create_dir(data).unwrap();
    }
    let up = Up::start(&first);
    let nats = Nats::start(folder.path());
    let url = database(&first);
    let secret = first.join("secret.key");
    let external = |data: &Path| {
        let variables = [
            ("DATABASE_URL", url.as_str()),
            ("NATS_URL", nats.url.as_str()),
            ("ITSM_SECRET_KEY_FILE", secret.to_str().unwrap()),
        ];
        Up::start_with(data, &[], &variables)
    };
    let other = external(&second);
    assert!(!second.join("postgres").exists() && !second.join("nats.url").exists(), "it started servers of its own");
    let (status, teams) = other.get("/v1/teams", Some(&key(&second))).unwrap();
    assert!(status == 200 && teams.contains("operations"), "{teams}");
    let administrator = key(&second);
    assert_eq!(other.stop(Signal::SIGTERM), 0);
    // Another folder on the same database: who is there is known, and no new key is made.
    let again = external(&third);
    assert!(!third.join("admin.key").exists() && !third.join("demo.key").exists());
    assert_eq!(again.get("/v1/teams", Some(&administrator)).unwrap().1, teams);
    assert_eq!(again.stop(Signal::SIGTERM), 0);
    assert_eq!(up.stop(Signal::SIGTERM), 0);
}

#[test]
fn a_database_that_is_newer_is_refused_before_anything_changes() {
    let folder = common::folder();
    let data = folder.path().join("var");
    fs::create_dir(&data).unwrap();
    let up = Up::start(&data);
    let url = database(&data).replace("/apart?", "/itsm?");
    let options: PgConnectOptions = url.parse().unwrap();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        let newer = "insert into sla._migrations (version, description, success, checksum, execution_time)
                     values (9000, 'of tomorrow', true, '\\x00', 0)";
        sqlx::query(AssertSqlSafe(newer.to_owned())).execute(&mut connection).await.unwrap();
    });
    let migrate = itsm(&["migrate", "--data", data.to_str().unwrap()]).env("DATABASE_URL", &url).output().unwrap();
    let said = String::from_utf8(migrate.stderr).unwrap();
    assert!(migrate.status.code() == Some(1) && said.contains("newer") && said.contains("9000"), "{said}");
    assert!(!said.contains(url.split(':').nth(2).unwrap().split('@').next().unwrap()), "the password is in {said}");
    assert_eq!(up.stop(Signal::SIGTERM), 0);
    let refused = outcome(&["up", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(processes_of(&data), [0; 0], "a refused start left its servers");
}

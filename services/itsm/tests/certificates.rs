//! Services on hosts apart: a data folder each, calls over TCP with the certificates of `itsm pki`.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    process::Stdio,
};

use common::{
    Guarded, PATIENCE, Up,
    apart::{Nats, database},
    get, itsm, lines, outcome, post, until,
};
use nix::sys::signal::Signal;

const SERVICES: [&str; 7] = ["directory", "catalog", "alert", "incident", "change", "sla", "notification"];

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn services_call_each_other_over_mutual_tls_and_take_new_certificates() {
    let folder = common::folder();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let pki = |arguments: &[&str]| {
        let output = outcome(&[&["pki"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let certificates = path("certificates");
    pki(&["init", &certificates]);
    assert!(pki(&["issue", &certificates, "--days", "20"]).contains("gateway"));

    let first = folder.path().join("var");
    fs::create_dir(&first).unwrap();
    let up = Up::start(&first);
    let nats = Nats::start(folder.path());
    let url = database(&first);
    let port = free().to_string();
    let addresses = SERVICES.map(|service| (service, free()));
    let with = |arguments: &[&str], data: &str| {
        let mut command = itsm(&[arguments, &["--data", &path(data)]].concat());
        command.env("DATABASE_URL", &url).env("NATS_URL", &nats.url).env("ITSM_GATEWAY__LISTEN", &port);
        command.env("ITSM_SECRET_KEY_FILE", first.join("secret.key"));
        command.env("ITSM_SECRETS__SIGNING_KEYS_FOLDER", path("keys"));
        command.env("ITSM_TLS__CERTIFICATES_FOLDER", &certificates);
        for (service, address) in &addresses {
            command.env(format!("ITSM_SERVICES__LISTEN__{}", service.to_uppercase()), address.to_string());
            let reached = format!("https://{address}");
            command.env(format!("ITSM_SERVICES__ADDRESSES__{}", service.to_uppercase()), reached);
        }
        command
    };
    assert!(with(&["migrate"], "one").status().unwrap().success());
    let key_file = path("ada.key");
    let provision = ["provision", "--first-administrator", "Ada", "--key-file", &key_file];
    assert!(with(&provision, "one").status().unwrap().success());
    let ada = fs::read_to_string(&key_file).unwrap().trim().to_owned();

    let start = |data: &str, names: &[&str]| {
        let log = fs::OpenOptions::new().create(true).append(true).open(path("serve.log")).unwrap();
        let serve = [&["serve"], names].concat();
        let mut process = with(&serve, data).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let out = process.stdout.take().unwrap();
        (lines(out), Guarded::new(process))
    };
    let log = || fs::read_to_string(path("serve.log")).unwrap();
    let parts: [(&str, &[&str]); 4] = [
        ("one", &["provisioner", "directory"]),
        ("two", &["incident"]),
        ("three", &["catalog", "alert", "change", "sla", "notification"]),
        ("four", &["gateway"]),
    ];
    let mut processes: Vec<_> = parts.into_iter().map(|(data, names)| start(data, names)).collect();
    for (said, _) in &processes {
        assert!(said.recv_timeout(common::READY_WITHIN).is_ok_and(|line| line.starts_with("ready ")), "{}", log());
    }

    // The gateway asks incident, which asks directory for a team that it has not heard of.
    let team = post(&port, "/v1/teams", Some(&ada), r#"{"displayName":"Payments","name":"payments"}"#).unwrap();
    assert_eq!(team.0, 200, "{}", team.1);
    let team_id = team.1.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let incident =
        format!(r#"{{"title":"Slow","impact":"SIGNIFICANT","urgency":"HIGH","assignedTeamId":"{team_id}"}}"#);
    let opened = post(&port, "/v1/incidents", Some(&ada), &incident).unwrap();
    assert_eq!(opened.0, 200, "{}\n{}", opened.1, log());

    let ends = || {
        let page = get(&port, "/metrics", None)?.1;
        let wanted = "itsm_certificate_expires_at_seconds{role=\"service\",service=\"gateway\"} ";
        page.lines().find_map(|line| line.strip_prefix(wanted)?.trim().parse::<f64>().ok())
    };
    let before = ends().unwrap();
    assert!(pki(&["rotate", &certificates]).contains("issued anew"));
    until("the gateway has new certificates", PATIENCE, || ends().filter(|now| *now > before));
    let (_, directory) = processes.remove(0);
    assert_eq!(directory.stop(Signal::SIGTERM), 0);
    let (said, directory) = start("one", &["provisioner", "directory"]);
    assert!(said.recv_timeout(common::READY_WITHIN).is_ok(), "{}", log());
    until("calls go on", PATIENCE, || {
        get(&port, "/v1/teams", Some(&ada)).filter(|(status, body)| *status == 200 && body.contains("Payments"))
    });

    processes.push((said, directory));
    for (_, process) in processes.into_iter().rev() {
        assert_eq!(process.stop(Signal::SIGTERM), 0);
    }
    assert_eq!(up.stop(Signal::SIGTERM), 0);
}

//! `itsm up` from outside: the real binary with its real servers, started, stopped, killed.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
#![expect(clippy::print_stdout, reason = "figures are for who runs the tests")]

mod common;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Stdio};

use common::{PATIENCE, STOPS_WITHIN, Up, folder, itsm, key, outcome, pids, processes_of, server, until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The memory of a process and of its children that nobody else has, shared pages by their share.
fn pss_kb(pids: &[i32]) -> u64 {
    let of = |pid: &i32| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
    };
    pids.iter().filter_map(of).sum()
}

fn children_of(parent: i32) -> Vec<i32> {
    let stat = |pid: i32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let parent_of = |pid: i32| stat(pid).rsplit_once(')').and_then(|(_, rest)| rest.split(' ').nth(2)?.parse().ok());
    pids().into_iter().filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

#[test]
fn what_is_up_is_found_again_after_a_stop_and_after_a_kill() {
    let folder = folder();
    let data = folder.path().join("var");
    fs::create_dir(&data).unwrap();
    let up = Up::start(&data);
    println!("first start: ready in {:?}", up.took);
    let administrator = key(&data);
    assert_eq!(fs::metadata(data.join("admin.key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(up.status("/readyz", Some(&administrator)), 200);
    let (status, people) = up.get("/v1/people", Some(&administrator)).unwrap();
    assert_eq!(status, 200, "{people}");
    assert_eq!(up.status("/v1/people", None), 401);
    assert_eq!(up.status("/v1/people", Some("itsm_garbage")), 401);

    // A second one is told, and harms nothing.
    let second = outcome(&["up", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("in use") && said.contains(&up.pid.to_string()), "{said}");

    assert_eq!(up.stop(Signal::SIGTERM), 0);
    assert_eq!(processes_of(&data), [0; 0], "left behind after a stop");

    let up = Up::start(&data);
    println!("later start: ready in {:?}", up.took);
    assert_eq!(key(&data), administrator, "another key");
    let (_, again) = up.get("/v1/people", Some(&administrator)).unwrap();
    assert_eq!(again, people);
    up.kill();
    let left = [server(&data, "postgres").unwrap(), server(&data, "nats-server").unwrap()];
    let up = Up::start(&data);
    println!("start after kill -9: ready in {:?}", up.took);
    let now = [server(&data, "postgres").unwrap(), server(&data, "nats-server").unwrap()];
    assert!(left.iter().all(|pid| !now.contains(pid)), "it goes on with what the killed one left: {left:?} {now:?}");
    assert_eq!(up.get("/v1/people", Some(&administrator)).unwrap().1, people);
    assert_eq!(up.stop(Signal::SIGINT), 0);
    assert_eq!(processes_of(&data), [0; 0], "left behind after a kill and a stop");
}

#[test]
fn a_server_that_dies_comes_back_and_one_port_is_kept() {
    let folder = folder();
    let data = folder.path().join("var");
    fs::create_dir(&data).unwrap();
    let up = Up::start(&data);
    let administrator = key(&data);
    let nats_url = fs::read_to_string(data.join("nats.url")).unwrap();
    for name in ["nats-server", "postgres"] {
        let pid = server(&data, name).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        until("the server is another one", PATIENCE, || server(&data, name).filter(|now| *now != pid));
        until("everything is ready", PATIENCE, || (up.status("/readyz", None) == 200).then_some(()));
        until("people are read", PATIENCE, || (up.status("/v1/people", Some(&administrator)) == 200).then_some(()));
    }
    assert_eq!(fs::read_to_string(data.join("nats.url")).unwrap(), nats_url);
    assert_eq!(up.stop(Signal::SIGTERM), 0);
    assert_eq!(processes_of(&data), [0; 0]);
}

#[test]
fn a_stop_while_it_starts_leaves_nothing() {
    let folder = folder();
    let data = folder.path().join("var");
    fs::create_dir(&data).unwrap();
    let mut process = itsm(&["up", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("NATS starts", PATIENCE, || server(&data, "nats-server"));
    kill(Pid::from_raw(process.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let status = until("it ends", STOPS_WITHIN, || process.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    until("nothing runs", STOPS_WITHIN, || processes_of(&data).is_empty().then_some(()));
    let up = Up::start(&data);
    assert_eq!(up.stop(Signal::SIGTERM), 0);
}

#[test]
fn what_cannot_start_says_why_and_leaves_nothing() {
    let folder = folder();
    let data = folder.path().join("var");
    let up = |more: &[&str]| {
        let output = outcome(&[&["up", "--data", data.to_str().unwrap()], more].concat());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = up(&["--listen", "0.0.0.0:0"]);
    assert!(code == Some(1) && said.contains("behind_proxy"), "{said}");
    assert!(!data.exists(), "a refused start made a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = up(&["--listen", &address]);
    assert!(code == Some(1) && said.contains(&address), "{said}");
    assert_eq!(processes_of(&data), [0; 0]);
    fs::create_dir(&data).unwrap();
    fs::write(data.join("version"), "99\n").unwrap();
    let (code, said) = up(&["--listen", "127.0.0.1:0"]);
    assert!(code == Some(1) && said.contains("newer"), "{said}");
    let settings: PathBuf = folder.path().join("itsm.toml");
    fs::write(&settings, "[gatewy]\n").unwrap();
    let (code, said) = up(&["--settings", settings.to_str().unwrap()]);
    assert!(code == Some(1) && said.contains("did you mean `gateway`?"), "{said}");
}

/// Idle memory, for the record; the promise is that `itsm` and nats-server stay under 150 MB, which
/// an optimised build is held to.
#[test]
fn an_idle_installation_is_light() {
    let folder = folder();
    let data = folder.path().join("var");
    fs::create_dir(&data).unwrap();
    let up = Up::start(&data);
    let nats = server(&data, "nats-server").unwrap();
    let postgres = server(&data, "postgres").unwrap();
    let mut database = children_of(postgres);
    database.push(postgres);
    let (itsm, nats, database) = (pss_kb(&[up.pid]), pss_kb(&[nats]), pss_kb(&database));
    println!("idle PSS: itsm {} MB, nats-server {} MB, Postgres {} MB", itsm / 1024, nats / 1024, database / 1024);
    assert!(itsm > 0 && itsm + nats < 150 * 1024, "itsm {itsm} kB, nats-server {nats} kB");
    assert_eq!(up.stop(Signal::SIGTERM), 0);
}

//! `itsm up` from outside: the real binary with its real servers, started, stopped, killed.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const READY_WITHIN: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(30);
const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// An `itsm` that knows nothing of the environment of whoever tests it.
fn itsm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_itsm"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("ITSM_") || ["DATABASE_URL", "NATS_URL", "RUST_LOG"].contains(&name.as_str()) {
            command.env_remove(name);
        }
    }
    command
}

/// A data folder that the database's user may pass through, as those that `itsm` makes itself.
fn folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("itsm-up-")
        .permissions(fs::Permissions::from_mode(0o711))
        .tempdir_in("/tmp")
        .unwrap()
}

struct Up {
    process: Child,
    url: String,
    took: Duration,
}

impl Up {
    fn start(data: &Path) -> Self {
        let begun = Instant::now();
        let log = fs::OpenOptions::new().create(true).append(true).open(data.with_extension("log")).unwrap();
        let mut process = itsm(&["up", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let out = process.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        let Ok(line) = lines.recv_timeout(READY_WITHIN) else {
            drop(process.kill());
            let log = fs::read_to_string(data.with_extension("log")).unwrap_or_default();
            panic!("not ready; its log says:\n{log}");
        };
        let url = line.strip_prefix("ready ").unwrap_or_else(|| panic!("unexpected: {line}")).to_owned();
        Self { process, url, took: begun.elapsed() }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), signal).unwrap();
    }

    /// Asks for a stop and returns how it ended.
    fn stop(mut self, signal: Signal) -> i32 {
        let begun = Instant::now();
        self.signal(signal);
        let status = until("it ends", STOPS_WITHIN, || self.process.try_wait().unwrap());
        println!("stopped by {signal} in {:?}", begun.elapsed());
        status.code().unwrap()
    }

    /// The status of an answer and its body.
    fn get(&self, path: &str, key: Option<&str>) -> Option<(u16, String)> {
        use std::{io::Write, net::TcpStream};
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let credential = key.map_or_else(String::new, |key| format!("Authorization: Bearer {key}\r\n"));
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{credential}Connection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }

    fn status(&self, path: &str, key: Option<&str>) -> u16 {
        self.get(path, key).map_or(0, |(status, _)| status)
    }
}

/// The server that a pid file names.
fn server(data: &Path, name: &str) -> Option<i32> {
    let text = fs::read_to_string(data.join("pids").join(format!("{name}.pid"))).ok()?;
    text.lines().find_map(|line| line.strip_prefix("stat ")?.split(' ').next()?.parse().ok())
}

/// Processes that have the folder on their command line and still run.
fn processes_of(data: &Path) -> Vec<i32> {
    let needle = data.to_str().unwrap();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(needle)
        })
        .collect()
}

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
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| parent_of(*pid) == Some(parent))
        .collect()
}

fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn outcome(arguments: &[&str]) -> Output {
    itsm(arguments).output().unwrap()
}

fn key(data: &Path) -> String {
    fs::read_to_string(data.join("admin.key")).unwrap().trim().to_owned()
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
    assert!(said.contains("in use") && said.contains(&up.process.id().to_string()), "{said}");

    assert_eq!(up.stop(Signal::SIGTERM), 0);
    assert_eq!(processes_of(&data), [0; 0], "left behind after a stop");

    let up = Up::start(&data);
    println!("later start: ready in {:?}", up.took);
    assert_eq!(key(&data), administrator, "another key");
    let (_, again) = up.get("/v1/people", Some(&administrator)).unwrap();
    assert_eq!(again, people);
    let mut up = up;
    up.signal(Signal::SIGKILL);
    up.process.wait().unwrap();
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
    let own = i32::try_from(up.process.id()).unwrap();
    let nats = server(&data, "nats-server").unwrap();
    let postgres = server(&data, "postgres").unwrap();
    let mut database = children_of(postgres);
    database.push(postgres);
    let (itsm, nats, database) = (pss_kb(&[own]), pss_kb(&[nats]), pss_kb(&database));
    println!("idle PSS: itsm {} MB, nats-server {} MB, Postgres {} MB", itsm / 1024, nats / 1024, database / 1024);
    assert!(itsm > 0 && itsm + nats < 150 * 1024, "itsm {itsm} kB, nats-server {nats} kB");
    assert_eq!(up.stop(Signal::SIGTERM), 0);
}

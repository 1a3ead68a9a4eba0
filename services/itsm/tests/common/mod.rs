//! An `itsm` from outside: started, asked over HTTP, stopped.

#![expect(clippy::print_stdout, reason = "figures are for who runs the tests")]
#![expect(dead_code, reason = "each test file uses its part")]

pub mod apart;
pub mod collector;
pub mod receiver;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

pub const READY_WITHIN: Duration = Duration::from_secs(120);
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// An `itsm` that knows nothing of the environment of whoever tests it.
pub fn itsm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_itsm"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("ITSM_")
            || name.starts_with("OTEL_")
            || ["DATABASE_URL", "NATS_URL", "RUST_LOG"].contains(&name.as_str())
        {
            command.env_remove(name);
        }
    }
    command
}

/// A data folder that the database's user may pass through, as those that `itsm` makes itself.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("itsm-up-")
        .permissions(fs::Permissions::from_mode(0o711))
        .tempdir_in("/tmp")
        .unwrap()
}

/// What a process says, line by line.
pub fn lines(out: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    lines
}

/// A process that a failed test must not leave behind.
pub struct Guarded(Option<Child>);

impl Guarded {
    pub fn new(process: Child) -> Self {
        Self(Some(process))
    }

    /// Asks for a stop and returns how it ended.
    pub fn stop(mut self, signal: Signal) -> i32 {
        stop(self.0.take().unwrap(), signal)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(mut process) = self.0.take() {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(process.id().try_into().unwrap()), Signal::SIGTERM);
            drop(process.wait());
        }
    }
}

/// A running `itsm up`.
pub struct Up {
    process: Guarded,
    pub pid: i32,
    pub url: String,
    pub took: Duration,
}

impl Up {
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, &[], &[])
    }

    pub fn start_with(data: &Path, more: &[&str], variables: &[(&str, &str)]) -> Self {
        let begun = Instant::now();
        let log = fs::OpenOptions::new().create(true).append(true).open(data.with_extension("log")).unwrap();
        let arguments = [&["up", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"], more].concat();
        let mut process =
            itsm(&arguments).envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let lines = lines(process.stdout.take().unwrap());
        let pid = process.id().try_into().unwrap();
        let process = Guarded::new(process);
        let Ok(line) = lines.recv_timeout(READY_WITHIN) else {
            let log = fs::read_to_string(data.with_extension("log")).unwrap_or_default();
            panic!("not ready; its log says:\n{log}");
        };
        let url = line.strip_prefix("ready http://").unwrap_or_else(|| panic!("unexpected: {line}")).to_owned();
        Self { process, pid, url, took: begun.elapsed() }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap();
    }

    /// Asks for a stop and returns how it ended.
    pub fn stop(self, signal: Signal) -> i32 {
        self.process.stop(signal)
    }

    /// Ends it as a power cut would.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.process.0.take().unwrap().wait().unwrap();
    }

    /// The status of an answer and its body.
    pub fn get(&self, path: &str, key: Option<&str>) -> Option<(u16, String)> {
        get(&self.url, path, key)
    }

    pub fn status(&self, path: &str, key: Option<&str>) -> u16 {
        self.get(path, key).map_or(0, |(status, _)| status)
    }
}

fn stop(mut process: Child, signal: Signal) -> i32 {
    let begun = Instant::now();
    kill(Pid::from_raw(process.id().try_into().unwrap()), signal).unwrap();
    let status = until("it ends", STOPS_WITHIN, || process.try_wait().unwrap());
    println!("stopped by {signal} in {:?}", begun.elapsed());
    status.code().unwrap()
}

pub fn get(address: &str, path: &str, key: Option<&str>) -> Option<(u16, String)> {
    ask(address, "GET", path, &credential(key), "")
}

pub fn post(address: &str, path: &str, key: Option<&str>, body: &str) -> Option<(u16, String)> {
    ask(address, "POST", path, &credential(key), body)
}

fn credential(key: Option<&str>) -> String {
    key.map_or_else(String::new, |key| format!("Authorization: Bearer {key}\r\n"))
}

/// Asks with more headers, each with its end of line.
pub fn ask(address: &str, method: &str, path: &str, headers: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

/// The server that a pid file names.
pub fn server(data: &Path, name: &str) -> Option<i32> {
    let text = fs::read_to_string(data.join("pids").join(format!("{name}.pid"))).ok()?;
    text.lines().find_map(|line| line.strip_prefix("stat ")?.split(' ').next()?.parse().ok())
}

/// Processes that have the folder on their command line and still run.
pub fn processes_of(data: &Path) -> Vec<i32> {
    let needle = data.to_str().unwrap();
    pids()
        .into_iter()
        .filter(|pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(needle)
        })
        .collect()
}

pub fn pids() -> Vec<i32> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn outcome(arguments: &[&str]) -> Output {
    itsm(arguments).output().unwrap()
}

pub fn key(data: &Path) -> String {
    fs::read_to_string(data.join("admin.key")).unwrap().trim().to_owned()
}

//! A server started by us: watched while it runs, stopped in the way it wants, and found again
//! after this process was killed.
//!
//! A child leads its own process group, so that Ctrl-C in a terminal reaches `itsm` alone and the
//! children are stopped in order. Its pid file is written by the very process that becomes the
//! server, before it does: there is no instant at which a server runs that no file names. A pid is
//! believed only together with the process's start time and the machine's boot id, so that nothing
//! else is ever signalled.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{pause, unprivileged::User};

/// Writes its own `/proc` line into the pid file, which is its standard input, and becomes the
/// server. Only builtins of a POSIX shell before the `exec`.
const BECOME_SERVER: &str =
    r#"read -r line </proc/$$/stat && printf 'stat %s\n' "$line" >&0 && exec "$0" "$@" </dev/null"#;
const LOG_LIMIT_BYTES: u64 = 16 * 1024 * 1024;
const TAIL_BYTES: u64 = 4 * 1024;
const POLL: Duration = Duration::from_millis(10);

/// How a server is asked to end: a signal and how long it may take, then the next one.
pub type StopPlan = Vec<(Signal, Duration)>;

/// What to start.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Names the pid file and the log.
    pub name: &'static str,
    /// The binary, absolute.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment but for `PATH`: nothing of ours is inherited.
    pub environment: Vec<(&'static str, String)>,
    /// Whom it runs as, if not us.
    pub user: Option<User>,
    /// How it ends.
    pub stop: StopPlan,
}

/// A running process that cannot be mistaken for another one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    pid: i32,
    start_ticks: u64,
}

impl Identity {
    fn parse(stat: &str) -> Option<(Self, char)> {
        // The command's name stands in parentheses and may itself hold spaces and parentheses.
        let (before, after) = stat.rsplit_once(')')?;
        let pid = before.split_once(' ')?.0.parse().ok()?;
        let mut fields = after.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        // The state is field 3 of proc(5), the start time field 22.
        let start_ticks = fields.nth(18)?.parse().ok()?;
        Some((Self { pid, start_ticks }, state))
    }

    fn of(pid: i32) -> Option<(Self, char)> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// A process that ended but was not yet collected by its parent counts as gone.
    fn is_running(&self) -> bool {
        matches!(Self::of(self.pid), Some((found, state)) if found == *self && state != 'Z' && state != 'X')
    }

    fn signal(&self, signal: Signal) -> bool {
        self.is_running() && kill(Pid::from_raw(self.pid), signal).is_ok()
    }
}

/// A running child. Dropping it asks the server to end at once and does not wait: call
/// [`Child::stop`] to end it in order.
pub struct Child {
    name: &'static str,
    identity: Identity,
    exit: watch::Receiver<Option<ExitStatus>>,
    stop: StopPlan,
    log: PathBuf,
    log_start: u64,
}

impl fmt::Debug for Child {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Child")
            .field("name", &self.name)
            .field("pid", &self.identity.pid)
            .finish_non_exhaustive()
    }
}

impl Child {
    /// Starts a server, with its pid file in `pids` and its output in `logs`.
    pub async fn spawn(spec: &Spec, pids: &Path, logs: &Path) -> anyhow::Result<Self> {
        let (log_file, log, log_start) = open_log(logs, spec.name)?;
        let pid_path = pids.join(format!("{}.pid", spec.name));
        let pid_file = begin_pid_file(&pid_path, &spec.stop)?;
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(BECOME_SERVER)
            .arg(&spec.program)
            .args(&spec.arguments)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(spec.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::from(pid_file))
            .stdout(Stdio::from(log_file.try_clone().with_context(|| format!("cannot use {}", log.display()))?))
            .stderr(Stdio::from(log_file))
            .process_group(0)
            .kill_on_drop(false);
        if let Some(user) = &spec.user {
            command.uid(user.uid).gid(user.gid);
        }
        let mut process = command.spawn().with_context(|| format!("cannot start {}", spec.program.display()))?;
        let pid = process.id().and_then(|pid| i32::try_from(pid).ok());
        let Some((identity, _)) = pid.and_then(Identity::of) else {
            bail!("{} ended before it could be watched", spec.name);
        };
        let (sender, exit) = watch::channel(None);
        let name = spec.name;
        tokio::spawn(async move {
            let status = process.wait().await.unwrap_or_default();
            if let Err(error) = fs::remove_file(&pid_path) {
                tracing::warn!(child = name, %error, "cannot remove the pid file");
            }
            sender.send_replace(Some(status));
        });
        tracing::debug!(child = name, pid = identity.pid, "started");
        Ok(Self { name, identity, exit, stop: spec.stop.clone(), log, log_start })
    }

    /// The process.
    pub fn pid(&self) -> i32 {
        self.identity.pid
    }

    /// Resolves when the process has ended, for whatever reason; may be asked for any number of
    /// times and does not borrow the child.
    pub fn exited(&self) -> impl Future<Output = ExitStatus> + Send + 'static + use<> {
        let mut exit = self.exit.clone();
        async move {
            let ended = exit.wait_for(Option::is_some).await.ok().and_then(|status| *status);
            match ended {
                Some(status) => status,
                // The watching task goes only with the runtime, and nobody polls this then.
                None => std::future::pending().await,
            }
        }
    }

    /// Whether the process has ended.
    pub fn has_exited(&self) -> bool {
        self.exit.borrow().is_some()
    }

    /// Ends the server as its plan says and waits for it.
    pub async fn stop(self) -> anyhow::Result<ExitStatus> {
        for (signal, patience) in &self.stop {
            self.identity.signal(*signal);
            if let Ok(status) = tokio::time::timeout(*patience, self.exited()).await {
                return Ok(status);
            }
            tracing::warn!(child = self.name, pid = self.pid(), %signal, ?patience, "did not stop in time");
        }
        bail!("{} (process {}) does not end", self.name, self.pid())
    }

    /// The end of what the server said since it was started, for an error message.
    pub fn log_tail(&self) -> String {
        tail(&self.log, self.log_start).unwrap_or_default()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.has_exited() {
            return;
        }
        // The last signal but SIGKILL is the quick way to end that still leaves sound data.
        let quick = self.stop.iter().rev().map(|(signal, _)| *signal).find(|signal| *signal != Signal::SIGKILL);
        self.identity.signal(quick.unwrap_or(Signal::SIGTERM));
    }
}

/// Ends every server that a pid file in `pids` names and that is still the same process: what a
/// killed `itsm` left behind. Called by the holder of the data folder before it starts anything.
/// Returns the names of those that were still running.
pub async fn end_leftovers(pids: &Path) -> anyhow::Result<Vec<String>> {
    let mut ended = Vec::new();
    let entries = fs::read_dir(pids).with_context(|| format!("cannot read {}", pids.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "pid") {
            continue;
        }
        if end_leftover(&path).await? {
            ended.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(ended)
}

async fn end_leftover(path: &Path) -> anyhow::Result<bool> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let Some((identity, stop)) = parse_pid_file(&text, &boot_id()?) else {
        return Ok(false);
    };
    if !identity.is_running() {
        return Ok(false);
    }
    tracing::info!(pid = identity.pid, file = %path.display(), "ending what an earlier run left behind");
    for (signal, patience) in stop {
        identity.signal(signal);
        let deadline = Instant::now() + patience;
        // Not our child any more, so there is nothing to wait on.
        while identity.is_running() && Instant::now() < deadline {
            pause(POLL).await;
        }
        if !identity.is_running() {
            return Ok(true);
        }
    }
    bail!("process {} of an earlier run, named in {}, does not end", identity.pid, path.display())
}

fn begin_pid_file(path: &Path, stop: &StopPlan) -> anyhow::Result<File> {
    let plan: Vec<String> =
        stop.iter().map(|(signal, patience)| format!("{signal}:{}", patience.as_millis())).collect();
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    write!(file, "boot {}\nstop {}\n", boot_id()?, plan.join(" "))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(file)
}

/// What a pid file names, if the machine has not been started anew since.
fn parse_pid_file(text: &str, boot_id: &str) -> Option<(Identity, StopPlan)> {
    let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    if line("boot")? != boot_id {
        return None;
    }
    let stop = line("stop")?
        .split(' ')
        .map(|step| {
            let (signal, patience_ms) = step.split_once(':')?;
            Some((signal.parse().ok()?, Duration::from_millis(patience_ms.parse().ok()?)))
        })
        .collect::<Option<StopPlan>>()?;
    Some((Identity::parse(line("stat")?)?.0, stop))
}

fn boot_id() -> anyhow::Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?.trim().to_owned())
}

fn open_log(logs: &Path, name: &str) -> anyhow::Result<(File, PathBuf, u64)> {
    let path = logs.join(format!("{name}.log"));
    if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_LIMIT_BYTES) {
        fs::rename(&path, logs.join(format!("{name}.log.1")))
            .with_context(|| format!("cannot rotate {}", path.display()))?;
    }
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let start = file.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
    Ok((file, path, start))
}

fn tail(path: &Path, from: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(name: &'static str, script: &str, stop: StopPlan) -> Spec {
        Spec {
            name,
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("GREETING", "it's \"here\"".into())],
            user: None,
            stop,
        }
    }

    fn term_then_kill() -> StopPlan {
        vec![(Signal::SIGTERM, Duration::from_millis(200)), (Signal::SIGKILL, Duration::from_secs(5))]
    }

    async fn until(what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !condition() {
            assert!(Instant::now() < deadline, "{what}");
            pause(POLL).await;
        }
    }

    #[test]
    fn a_process_line_with_an_odd_name_is_understood() {
        let line = "77 (a (b) c) S 1 77 77 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        let (identity, state) = Identity::parse(line).unwrap();
        assert_eq!((identity, state), (Identity { pid: 77, start_ticks: 4711 }, 'S'));
        let (own, _) = Identity::of(std::process::id().try_into().unwrap()).unwrap();
        assert!(own.is_running());
        assert!(!Identity { start_ticks: own.start_ticks + 1, ..own }.is_running());
    }

    #[tokio::test]
    async fn a_stubborn_child_is_stopped_by_the_next_signal() {
        let folder = tempfile::tempdir().unwrap();
        let script = r#"trap '' TERM; echo "$GREETING"; while :; do read -r line </proc/uptime; done"#;
        let spec = sleeper("stubborn", script, term_then_kill());
        let child = Child::spawn(&spec, folder.path(), folder.path()).await.unwrap();
        until("the child speaks", || child.log_tail().contains("it's \"here\"")).await;
        assert!(folder.path().join("stubborn.pid").exists());
        let exited = child.exited();
        child.stop().await.unwrap();
        assert!(!exited.await.success());
        assert!(!folder.path().join("stubborn.pid").exists());
    }

    #[tokio::test]
    async fn a_leftover_is_ended_and_a_stranger_with_its_pid_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let pid_path = folder.path().join("left.pid");
        let spec = sleeper("left", "exec sleep 600", term_then_kill());
        let child = Child::spawn(&spec, folder.path(), folder.path()).await.unwrap();
        until("the pid file is whole", || fs::read_to_string(&pid_path).is_ok_and(|text| text.contains("stat "))).await;
        let whole = fs::read_to_string(&pid_path).unwrap();
        let ticks = child.identity.start_ticks.to_string();
        for stranger in
            [whole.replace(&ticks, "1"), whole.replace(&boot_id().unwrap(), "another-boot"), "boot".to_owned()]
        {
            fs::write(folder.path().join("stranger.pid"), stranger).unwrap();
            fs::rename(&pid_path, folder.path().join("kept")).unwrap();
            assert_eq!(end_leftovers(folder.path()).await.unwrap(), Vec::<String>::new());
            assert!(!child.has_exited());
            fs::rename(folder.path().join("kept"), &pid_path).unwrap();
        }
        assert_eq!(end_leftovers(folder.path()).await.unwrap(), ["left"]);
        until("the child is gone", || child.has_exited()).await;
    }

    #[tokio::test]
    async fn a_dropped_child_ends() {
        let folder = tempfile::tempdir().unwrap();
        let spec = sleeper("dropped", "exec sleep 600", term_then_kill());
        let child = Child::spawn(&spec, folder.path(), folder.path()).await.unwrap();
        let exited = child.exited();
        drop(child);
        tokio::time::timeout(Duration::from_secs(10), exited).await.unwrap();
    }

    #[tokio::test]
    async fn what_cannot_run_says_so_in_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = sleeper("missing", "", term_then_kill());
        spec.program = "/nonexistent/server".into();
        let child = Child::spawn(&spec, folder.path(), folder.path()).await.unwrap();
        assert_eq!(child.exited().await.code(), Some(127));
        assert!(child.log_tail().contains("/nonexistent/server"), "{}", child.log_tail());
    }
}

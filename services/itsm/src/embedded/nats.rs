//! The private nats-server of a single node, in operator mode.
//!
//! It writes the server's configuration from what the provisioner signed and keeps the port over
//! restarts, because clients know no other way to find the server again. It holds no key and makes
//! no stream.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::binaries::{check_nats_version, find_nats_server};
use super::child::{Child, Spec};
use super::folder::{DataFolder, make_folder, read_text, write_private};
use super::pause;

/// Below the range that Linux takes ports of outgoing connections from, so that the chosen one is
/// still free after a restart.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const PORT_TRIES: usize = 200;
const START_TRIES: usize = 4;
const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// What the server has to be told about who may connect, all of it signed and none of it secret.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The operator's own JWT.
    pub operator: String,
    /// Public key of the system account.
    pub system_account: String,
    /// Accounts that exist before the first push: public key and JWT.
    pub preload: Vec<(String, String)>,
}

/// A running private nats-server.
#[derive(Debug)]
pub struct Nats {
    child: Child,
    url: String,
}

impl Nats {
    /// Starts it and returns when it greets clients. `server` is a binary to take instead of
    /// looking for one.
    pub async fn start(folder: &DataFolder, server: Option<&Path>, trust: &Trust) -> anyhow::Result<Self> {
        let program = find_nats_server(server).await?;
        for name in ["js", "jwt"] {
            make_folder(&folder.nats().join(name), 0o700)?;
        }
        let mut port = choose_port(kept_port(folder)?)?;
        for _ in 0..START_TRIES {
            match Self::start_at(folder, &program, trust, port).await? {
                Some(nats) => return Ok(nats),
                // Somebody took it between the look and the start.
                None => port = choose_port(None)?,
            }
        }
        bail!("found no free port for nats-server on loopback")
    }

    async fn start_at(folder: &DataFolder, program: &Path, trust: &Trust, port: u16) -> anyhow::Result<Option<Self>> {
        let name = format!("itsm-{}", folder.id());
        let configuration = folder.nats().join("server.conf");
        let site = Site {
            name: &name,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            // Any free port.
            monitoring: "127.0.0.1:-1",
            folder: &folder.nats(),
        };
        write_private(&configuration, render(&site, trust)?.as_bytes())?;
        let child = Child::spawn(&spec(program, &configuration), &folder.pids(), &folder.logs()).await?;
        match ready(&child, &name, port).await {
            Ok(()) => {
                let url = format!("nats://127.0.0.1:{port}");
                write_private(&folder.nats_url(), format!("{url}\n").as_bytes())?;
                Ok(Some(Self { child, url }))
            }
            Err(_) if child.has_exited() && child.log_tail().contains("address already in use") => Ok(None),
            Err(error) => {
                if let Err(stopping) = child.stop().await {
                    tracing::warn!(%stopping, "nats-server was not ready and then did not stop");
                }
                Err(error)
            }
        }
    }

    /// Where clients connect; the same over restarts unless another program took the port.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Resolves when the server has ended without being asked to, or after [`Nats::stop`].
    pub fn exited(&self) -> impl Future<Output = ExitStatus> + Send + 'static + use<> {
        self.child.exited()
    }

    /// The server's process.
    #[cfg(test)]
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    /// The end of the server's log, for an error message.
    pub fn log_tail(&self) -> String {
        self.child.log_tail()
    }

    /// Stops it; what it acknowledged is on disk.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.child.stop().await.map(drop)
    }
}

fn spec(program: &Path, configuration: &Path) -> Spec {
    Spec {
        name: "nats-server",
        program: program.to_path_buf(),
        arguments: vec!["--config".to_owned(), configuration.to_string_lossy().into_owned()],
        environment: vec![],
        user: None,
        stop: vec![(Signal::SIGTERM, Duration::from_secs(20)), (Signal::SIGKILL, Duration::from_secs(10))],
    }
}

/// What differs between the servers that our keys are trusted by.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// What it calls itself.
    pub name: &'a str,
    /// Where clients reach it.
    pub listen: SocketAddr,
    /// Where it tells how it is. Monitoring asks nobody who he is, so this stays on loopback.
    pub monitoring: &'a str,
    /// The folder of its store and of the accounts that it was told of.
    pub folder: &'a Path,
}

/// The configuration of a server.
///
/// # Errors
/// Fails when the folder's name is not UTF-8.
pub fn render(site: &Site<'_>, trust: &Trust) -> anyhow::Result<String> {
    let path = |name: &str| -> anyhow::Result<String> {
        let path: PathBuf = site.folder.join(name);
        let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        Ok(quote(text))
    };
    let preload: String = trust.preload.iter().map(|(account, jwt)| format!("  {account}: {}\n", quote(jwt))).collect();
    Ok(format!(
        "server_name: {name}
listen: \"{listen}\"
# Monitoring asks nobody who he is, so it stays on loopback.
http: \"{monitoring}\"
max_payload: 2MB
max_connections: 1000
jetstream {{ store_dir: {store}, sync_interval: always, max_memory_store: 64MB, max_file_store: 4GB }}
operator: {operator}
system_account: {system}
resolver {{ type: full, dir: {jwt}, allow_delete: true, interval: \"2m\", timeout: \"2s\" }}
resolver_preload {{
{preload}}}
",
        name = quote(site.name),
        listen = site.listen,
        monitoring = site.monitoring,
        store = path("js")?,
        jwt = path("jwt")?,
        operator = quote(&trust.operator),
        system = quote(&trust.system_account),
    ))
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn kept_port(folder: &DataFolder) -> anyhow::Result<Option<u16>> {
    let text = read_text(&folder.nats_url())?.unwrap_or_default();
    Ok(text.trim().rsplit_once(':').and_then(|(_, port)| port.parse().ok()))
}

/// The port of the last run where it is still free, else a free one.
fn choose_port(kept: Option<u16>) -> anyhow::Result<u16> {
    if let Some(port) = kept {
        if is_free(port)? {
            return Ok(port);
        }
        tracing::warn!(port, "the port of nats-server is taken by another program; choosing a new one");
    }
    for _ in 0..PORT_TRIES {
        let mut bytes = [0_u8; 2];
        getrandom::fill(&mut bytes).map_err(io::Error::other).context("cannot draw a port")?;
        let port = PORTS.start + u16::from_le_bytes(bytes) % (PORTS.end - PORTS.start);
        if is_free(port)? {
            return Ok(port);
        }
    }
    bail!("found no free port on loopback between {} and {}", PORTS.start, PORTS.end)
}

fn is_free(port: u16) -> anyhow::Result<bool> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(false),
        Err(error) => Err(error).context("cannot listen on loopback"),
    }
}

/// The first line a server sends, as far as it matters here.
#[derive(Deserialize)]
struct Greeting {
    server_name: String,
    version: String,
    #[serde(default)]
    jetstream: bool,
}

async fn ready(child: &Child, name: &str, port: u16) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if let Ok(Ok(greeting)) = timeout(Duration::from_secs(2), greeting(port)).await {
            if greeting.server_name != name {
                bail!("another nats-server answers on port {port}; its log says:\n{}", child.log_tail());
            }
            check_nats_version(&greeting.version, "the server just started")?;
            if greeting.jetstream {
                return Ok(());
            }
        }
        if child.has_exited() {
            bail!("nats-server ended while starting; its log says:\n{}", child.log_tail());
        }
        if Instant::now() > deadline {
            bail!("nats-server was not ready after {READY_WITHIN:?}; its log says:\n{}", child.log_tail());
        }
        pause(POLL).await;
    }
}

async fn greeting(port: u16) -> anyhow::Result<Greeting> {
    let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let mut line = String::new();
    BufReader::new(tokio::io::AsyncReadExt::take(stream, 64 * 1024)).read_line(&mut line).await?;
    let json = line.strip_prefix("INFO ").context("not a NATS server")?;
    Ok(serde_json::from_str(json)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_not_chosen_again() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let other = choose_port(Some(port)).unwrap();
        assert_ne!(other, port);
        assert!(PORTS.contains(&other));
        drop(taken);
        assert_eq!(choose_port(Some(port)).unwrap(), port);
    }

    #[test]
    fn a_path_with_a_quote_stays_one_value() {
        let trust =
            Trust { operator: "o".into(), system_account: "ASYS".into(), preload: vec![("ASYS".into(), "jwt".into())] };
        let folder = Path::new("/tmp/a \"b\" \\c");
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 4222));
        let text = render(&Site { name: "itsm-1", listen, monitoring: "127.0.0.1:-1", folder }, &trust).unwrap();
        assert!(text.contains(r#"store_dir: "/tmp/a \"b\" \\c/js","#), "{text}");
        assert!(text.contains("  ASYS: \"jwt\"\n"));
    }
}

//! The private Postgres of a single node: made once, then started and stopped with `itsm`.
//!
//! It listens on a Unix socket only, for a superuser with a random password. It makes the database
//! `itsm` and nothing inside it: roles, schemas and tables are the migrations' business.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use data_encoding::HEXLOWER;
use nix::sys::signal::Signal;
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::process::Command;
use tokio::time::Instant;

use super::binaries::{PostgresBinaries, find_postgres};
use super::child::{Child, Spec};
use super::folder::{DataFolder, DataPaths, make_folder, random_once, read_text, sync_folder, write_private};
use super::pause;
use super::unprivileged::{User, can_enter, choose, give};

/// The database that all services share, each with a schema of its own.
pub const DATABASE: &str = "itsm";
/// The superuser: the owner of everything, never a service.
pub const SUPERUSER: &str = "itsm";

/// Names the socket; nothing listens on this TCP port.
const PORT: u16 = 5432;
/// A socket's path must fit `sockaddr_un`, its closing zero included.
const SOCKET_PATH_MAX_BYTES: usize = 107;
/// Long enough for the recovery of a well-filled log after a power cut.
const READY_WITHIN: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(20);
/// Used where the data folder lies below a folder that Postgres' user may not enter.
const OUTSIDE: &str = "/var/lib/itsm";

/// Set on the command line, where no later change of a file overrides them: safety and reach.
const FIXED: &[&str] = &[
    "listen_addresses=",
    "fsync=on",
    "full_page_writes=on",
    "synchronous_commit=on",
    "unix_socket_permissions=0700",
    "logging_collector=off",
    "log_destination=stderr",
    "cluster_name=itsm",
];

/// Written into `postgresql.conf` when the cluster is made, for the operator to change.
const TUNABLE: &str = "
# Written once by itsm; change at will.
max_connections = 200
shared_buffers = 64MB
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%a '
client_connection_check_interval = 2s
tcp_keepalives_idle = 10
";

/// Where the data folder says which folder the socket is in.
const SOCKET_NOTE: &str = "postgres.socket";

/// How the superuser connects to the private Postgres of a data folder that another process runs.
pub fn superuser_beside(paths: &DataPaths) -> anyhow::Result<PgConnectOptions> {
    let absent = || format!("{} has no Postgres of its own; set DATABASE_URL", paths.root().display());
    let socket = read_text(&paths.root().join(SOCKET_NOTE))?.with_context(absent)?;
    let password = read_text(&paths.postgres_password())?.with_context(absent)?;
    Ok(superuser(Path::new(&socket), password.trim()))
}

fn superuser(socket: &Path, password: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(socket)
        .port(PORT)
        .username(SUPERUSER)
        .password(password)
        .database(DATABASE)
        .ssl_mode(PgSslMode::Disable)
        .application_name("itsm")
        .disable_statement_logging()
}

/// A running private Postgres.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
    options: PgConnectOptions,
}

impl Postgres {
    /// Starts it, making its data the first time, and returns when a connection to the database
    /// works. `binaries` is a folder to look in instead of the usual ones.
    pub async fn start(folder: &DataFolder, binaries: Option<&Path>) -> anyhow::Result<Self> {
        let home = Home::find(folder).await?;
        let data_major = home.major()?;
        let binaries = find_postgres(binaries, data_major).await?;
        let password = HEXLOWER.encode(&random_once::<24>(&folder.postgres_password())?);
        if data_major.is_none() {
            home.initialise(&binaries, &password).await?;
        }
        let socket = home.socket_folder()?;
        let spec = home.spec(&binaries, &socket);
        let child = Child::spawn(&spec, &folder.pids(), &folder.logs()).await?;
        let options = superuser(&socket, &password);
        write_private(&folder.root().join(SOCKET_NOTE), socket.as_os_str().as_encoded_bytes())?;
        let postgres = Self { child, options };
        match postgres.make_ready().await {
            Ok(()) => Ok(postgres),
            Err(error) => {
                if let Err(stopping) = postgres.child.stop().await {
                    tracing::warn!(%stopping, "Postgres was not ready and then did not stop");
                }
                Err(error)
            }
        }
    }

    /// How the superuser connects to the database `itsm`. For another role, change user name and
    /// password of a copy.
    pub fn admin_options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// Resolves when the server has ended without being asked to, or after [`Postgres::stop`].
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

    /// Stops it: transactions under way are rolled back, everything committed is kept.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.child.stop().await.map(drop)
    }

    async fn make_ready(&self) -> anyhow::Result<()> {
        let mut connection = self.first_connection().await?;
        let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(DATABASE)
            .fetch_one(&mut connection)
            .await
            .context("cannot list the databases")?;
        if !exists {
            sqlx::query("create database itsm").execute(&mut connection).await.context("cannot make the database")?;
        }
        connection.close().await.context("cannot close the first connection")?;
        Ok(())
    }

    async fn first_connection(&self) -> anyhow::Result<PgConnection> {
        let deadline = Instant::now() + READY_WITHIN;
        let options = self.options.clone().database("postgres");
        loop {
            let refused = match PgConnection::connect_with(&options).await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            if self.child.has_exited() {
                bail!("Postgres ended while starting; its log says:\n{}", self.child.log_tail());
            }
            // 57P03: starting up or recovering. Other answers of the server do not get better.
            if let sqlx::Error::Database(answer) = &refused
                && answer.code().as_deref() != Some("57P03")
            {
                return Err(refused).context("Postgres runs but refuses the connection");
            }
            if Instant::now() > deadline {
                return Err(refused).with_context(|| {
                    format!("Postgres was not ready after {READY_WITHIN:?}; its log says:\n{}", self.child.log_tail())
                });
            }
            pause(POLL).await;
        }
    }
}

/// Where a cluster lives and who owns it.
struct Home {
    folder: PathBuf,
    user: Option<User>,
}

impl Home {
    /// The folder inside the data folder, or one outside where Postgres' user cannot reach that.
    async fn find(folder: &DataFolder) -> anyhow::Result<Self> {
        let inside = Self::claim(folder.postgres())?;
        if can_enter(&inside.folder, inside.user.as_ref()).await {
            return Ok(inside);
        }
        if inside.major()?.is_some() {
            bail!(
                "{} cannot be entered by its owner {}: a folder above it is closed to that user",
                inside.folder.display(),
                inside.user.map_or_else(String::new, |user| user.name),
            );
        }
        let outside = PathBuf::from(OUTSIDE);
        make_folder(&outside, 0o711)?;
        let outside = Self::claim(outside.join(folder.id()))?;
        if !can_enter(&outside.folder, outside.user.as_ref()).await {
            bail!("neither {} nor {} can be used by Postgres", inside.folder.display(), outside.folder.display());
        }
        tracing::warn!(
            data = %folder.root().display(),
            database = %outside.folder.display(),
            "a folder above the data folder is closed to the database's user: the database is kept outside"
        );
        Ok(outside)
    }

    fn claim(folder: PathBuf) -> anyhow::Result<Self> {
        let user = choose(&folder)?;
        make_folder(&folder, 0o700)?;
        give(&folder, user.as_ref())?;
        Ok(Self { folder, user })
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The major version that made the data, if there is any.
    fn major(&self) -> anyhow::Result<Option<u32>> {
        let path = self.data().join("PG_VERSION");
        match super::folder::read_text(&path)? {
            None => Ok(None),
            Some(text) => {
                let major = text.trim().parse().with_context(|| format!("{} holds no version", path.display()))?;
                Ok(Some(major))
            }
        }
    }

    /// Makes the cluster beside its place and moves it there when it is whole, so that a start
    /// killed half-way leaves nothing that looks like a database.
    async fn initialise(&self, binaries: &PostgresBinaries, password: &str) -> anyhow::Result<()> {
        let unfinished = self.folder.join("data.new");
        let password_file = self.folder.join("password.new");
        remove_folder(&unfinished)?;
        write_private(&password_file, password.as_bytes())?;
        give(&password_file, self.user.as_ref())?;
        let made = match self.initdb(binaries, &unfinished, &password_file, "C.UTF-8").await {
            Ok(()) => Ok(()),
            Err(first) => {
                // Not every C library knows C.UTF-8; C sorts the same bytes and only folds less.
                remove_folder(&unfinished)?;
                self.initdb(binaries, &unfinished, &password_file, "C").await.map_err(|_| first)
            }
        };
        fs::remove_file(&password_file).with_context(|| format!("cannot remove {}", password_file.display()))?;
        made?;
        let configuration = unfinished.join("postgresql.conf");
        let mut text = fs::read_to_string(&configuration).context("initdb wrote no postgresql.conf")?;
        text.push_str(TUNABLE);
        write_private(&configuration, text.as_bytes())?;
        give(&configuration, self.user.as_ref())?;
        fs::rename(&unfinished, self.data()).context("cannot put the new database in its place")?;
        sync_folder(&self.folder)?;
        Ok(())
    }

    async fn initdb(
        &self,
        binaries: &PostgresBinaries,
        data: &Path,
        password: &Path,
        locale: &str,
    ) -> anyhow::Result<()> {
        let mut command = Command::new(binaries.path("initdb"));
        command
            .arg("--pgdata")
            .arg(data)
            .arg("--pwfile")
            .arg(password)
            .args(["--username", SUPERUSER, "--auth", "scram-sha-256", "--encoding", "UTF8"])
            .args(["--locale", locale, "--data-checksums", "--no-instructions"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir("/")
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid);
        }
        let output = command.output().await.context("cannot run initdb")?;
        if !output.status.success() {
            bail!("initdb failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// The socket's folder: inside, or, where that path is too long for a socket, a short one that
    /// is ours alone.
    fn socket_folder(&self) -> anyhow::Result<PathBuf> {
        let inside = self.folder.join("run");
        let socket = inside.join(format!(".s.PGSQL.{PORT}.lock"));
        if socket.as_os_str().len() <= SOCKET_PATH_MAX_BYTES {
            make_folder(&inside, 0o700)?;
            give(&inside, self.user.as_ref())?;
            return Ok(inside);
        }
        let digest = Sha256::digest(self.folder.as_os_str().as_encoded_bytes());
        let short = PathBuf::from(format!("/tmp/itsm-{}", HEXLOWER.encode(&digest[..8])));
        let owner = self.user.as_ref().map_or(nix::unistd::geteuid().as_raw(), |user| user.uid);
        // Anyone may make names in /tmp: one that another user made first is not taken.
        match fs::symlink_metadata(&short) {
            Ok(there) if there.is_dir() && there.uid() == owner => {}
            Ok(_) => bail!("{} is in the way and not ours; remove it", short.display()),
            Err(_) => {
                fs::create_dir(&short).with_context(|| format!("cannot make {}", short.display()))?;
                give(&short, self.user.as_ref())?;
            }
        }
        make_folder(&short, 0o700)?;
        Ok(short)
    }

    fn spec(&self, binaries: &PostgresBinaries, socket: &Path) -> Spec {
        let mut arguments = vec!["-D".to_owned(), self.data().to_string_lossy().into_owned()];
        let socket = format!("unix_socket_directories={}", quote_list_item(&socket.to_string_lossy()));
        for setting in FIXED.iter().map(|setting| (*setting).to_owned()).chain([socket, format!("port={PORT}")]) {
            arguments.extend(["-c".to_owned(), setting]);
        }
        Spec {
            name: "postgres",
            program: binaries.path("postgres"),
            arguments,
            environment: vec![],
            user: self.user.clone(),
            stop: vec![
                (Signal::SIGINT, Duration::from_secs(30)),
                (Signal::SIGQUIT, Duration::from_secs(10)),
                (Signal::SIGKILL, Duration::from_secs(10)),
            ],
        }
    }
}

/// An item of a comma-separated setting, so that a comma or a space in the path is part of it.
fn quote_list_item(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn remove_folder(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

//! `itsm backup` and `itsm restore`: the private pair of a single node, as one folder.
//!
//! All that counts is in Postgres, and one dump of it is one instant for all services: records, events, and how far
//! each service has followed the others. NATS holds copies, which the relays publish again, and alerts on their way
//! for some milliseconds; so its store is left out, and its keys are kept. What is restored has new incarnations:
//! whoever outside read on after that instant is told so.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, bail};
use clap::Args;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::process::Command;

use crate::{
    embedded::{
        binaries::find_postgres,
        folder::{DataFolder, DataPaths, FolderError, make_folder, sync_folder, write_private},
        postgres::{self, DATABASE, Postgres},
    },
    migrate,
    settings::Settings,
    wiring::place::passwords,
};

/// The dump in the backup's folder, and the files of the data folder beside it.
const DUMP: &str = "itsm.dump";
const FILES: &str = "files";
/// Gives every feed a new incarnation, and lets the services' own consumers take it along.
const AFTER: &str = include_str!("../../../deploy/postgres/after-restore.sql");

/// What a backup leaves out of the data folder: the database, which is dumped; what is made again; what was sent;
/// the folder's own name, by which a process takes its leases back.
const LEFT_OUT: &[&str] = &[
    "postgres",
    "postgres.socket",
    "nats/js",
    "nats/streams.json",
    "nats/server.conf",
    "nats.url",
    "run",
    "pids",
    "logs",
    "mail",
    "lock",
    "url",
    "id",
];

/// Writes a backup of a single node into a new folder, while it runs or not. What was acknowledged before it began
/// is in it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  itsm backup /backups/$(date +%F)\n  itsm restore /backups/2026-11-23 --data ./var")]
pub struct Backup {
    /// The folder to make.
    #[arg(value_name = "DIR")]
    to: PathBuf,
    /// The data folder.
    #[arg(long, value_name = "DIR", default_value = "./var")]
    data: PathBuf,
}

/// Makes a new data folder of a backup; `itsm up` goes on from there.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  itsm restore /backups/2026-11-23 --data ./var\n  itsm up --data ./var")]
pub struct Restore {
    /// The folder that `itsm backup` made.
    #[arg(value_name = "DIR")]
    from: PathBuf,
    /// The data folder to make; there must be none.
    #[arg(long, value_name = "DIR", default_value = "./var")]
    data: PathBuf,
}

/// `itsm backup`. Says what was done.
///
/// # Errors
/// Fails when the folder is there already, the data folder has no database, or the dump fails.
pub async fn backup(options: &Backup, settings: &Settings) -> anyhow::Result<String> {
    refuse_foreign(settings)?;
    let paths = DataPaths::new(&options.data)?;
    if !paths.postgres_password().exists() {
        bail!("{} has no Postgres of its own", paths.root().display());
    }
    if options.to.exists() {
        bail!("{} is there already; a backup makes its folder", options.to.display());
    }
    // Under another name until it is whole, so that a backup cut short is not taken for one.
    let unfinished = options.to.with_added_extension("unfinished");
    if unfinished.exists() {
        bail!("{} is left of a backup that was cut short; remove it", unfinished.display());
    }
    make_folder(&unfinished, 0o700)?;
    let dump = unfinished.join(DUMP);
    match DataFolder::open(&options.data) {
        Ok(folder) => {
            let server = Postgres::start(&folder, settings.database.binaries.as_deref()).await?;
            let done = dump_to(&server.admin_options(), &paths, settings, &dump).await;
            server.stop().await?;
            done?;
        }
        Err(FolderError::InUse { .. }) => {
            dump_to(&postgres::superuser_beside(&paths)?, &paths, settings, &dump).await?;
        }
        Err(error) => return Err(error.into()),
    }
    let files = copy(paths.root(), &unfinished.join(FILES), Path::new(""))?;
    fs::File::open(&dump).and_then(|file| file.sync_all()).context("cannot write the dump to disk")?;
    sync_folder(&unfinished)?;
    fs::rename(&unfinished, &options.to).context("cannot give the backup its name")?;
    let size = fs::metadata(options.to.join(DUMP)).context("the dump is gone")?.len();
    Ok(format!(
        "{}: the database ({:.1} MB) and {files} files with keys and secrets; keep it as safe as they are",
        options.to.display(),
        size as f64 / 1_000_000.0
    ))
}

/// `itsm restore`. Says what was done.
///
/// # Errors
/// Fails when the data folder is there already, or the backup is none; what was made then is to be removed.
pub async fn restore(options: &Restore, settings: &Settings) -> anyhow::Result<String> {
    refuse_foreign(settings)?;
    let dump = std::path::absolute(options.from.join(DUMP)).context("cannot find the backup")?;
    if !dump.is_file() {
        bail!("{} is no backup: it has no {DUMP}", options.from.display());
    }
    if fs::read_dir(&options.data).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} is not empty; a restore makes its own data folder: give another by --data", options.data.display());
    }
    let paths = DataPaths::new(&options.data)?;
    copy(&options.from.join(FILES), paths.root(), Path::new(""))?;
    let folder = DataFolder::open(&options.data)?;
    let server = Postgres::start(&folder, settings.database.binaries.as_deref()).await?;
    let filled = fill(&server.admin_options(), &paths, settings, &dump).await;
    server.stop().await?;
    filled.with_context(|| format!("not restored; remove {} before another try", paths.root().display()))?;
    Ok(format!("restored into {0}; start it with: itsm up --data {0}", options.data.display()))
}

fn refuse_foreign(settings: &Settings) -> anyhow::Result<()> {
    if !settings.database.url.is_empty() {
        bail!("the database is not itsm's own (DATABASE_URL): back it up by its own means, as deploy/README.md says");
    }
    Ok(())
}

/// One snapshot of all schemas.
async fn dump_to(
    options: &PgConnectOptions,
    paths: &DataPaths,
    settings: &Settings,
    dump: &Path,
) -> anyhow::Result<()> {
    // Made by us alone before Postgres' program writes it.
    write_private(dump, b"")?;
    let dump = std::path::absolute(dump).context("cannot find the backup's folder")?;
    let file = format!("--file={}", dump.display());
    program("pg_dump", options, paths, settings, &["--format=custom", &file, DATABASE]).await
}

/// Roles, then everything that was dumped, then new incarnations.
async fn fill(options: &PgConnectOptions, paths: &DataPaths, settings: &Settings, dump: &Path) -> anyhow::Result<()> {
    migrate::make_roles(options, &passwords(settings, paths)?, settings.database.role_connections).await?;
    let (database, dump) = (format!("--dbname={DATABASE}"), dump.display().to_string());
    program("pg_restore", options, paths, settings, &["--exit-on-error", &database, &dump]).await?;
    let mut connection = PgConnection::connect_with(options).await.context("cannot reach the restored database")?;
    sqlx::raw_sql(AFTER).execute(&mut connection).await.context("cannot give the feeds new incarnations")?;
    connection.close().await?;
    Ok(())
}

/// Runs a program of Postgres as the superuser.
async fn program(
    name: &str,
    options: &PgConnectOptions,
    paths: &DataPaths,
    settings: &Settings,
    arguments: &[&str],
) -> anyhow::Result<()> {
    let binaries = find_postgres(settings.database.binaries.as_deref(), None).await?;
    let socket = options.get_socket().context("the private Postgres has a socket")?;
    let password = fs::read_to_string(paths.postgres_password()).context("cannot read the superuser's password")?;
    let mut path = binaries.path(name);
    if !path.is_file() {
        // A link to the server alone may stand in PATH; its other programs are where it really is.
        let server = fs::canonicalize(binaries.path("postgres")).context("cannot find Postgres' programs")?;
        path = server.with_file_name(name);
    }
    let done = Command::new(&path)
        .args(["--host", &socket.to_string_lossy(), "--username", options.get_username()])
        .args(["--port", &options.get_port().to_string(), "--no-password"])
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("PGPASSWORD", password.trim())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run {}", path.display()))?;
    if !done.status.success() {
        bail!("{name} failed ({}): {}", done.status, String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(())
}

/// Copies files with their modes kept private, and says how many.
fn copy(from: &Path, to: &Path, below: &Path) -> anyhow::Result<usize> {
    make_folder(&to.join(below), 0o700)?;
    let mut count = 0;
    let folder = from.join(below);
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        let name = below.join(entry.file_name());
        if LEFT_OUT.iter().any(|left| name == Path::new(left)) {
            continue;
        }
        let kind = entry.file_type().with_context(|| format!("cannot read {}", name.display()))?;
        if kind.is_dir() {
            count += copy(from, to, &name)?;
        } else if kind.is_file() {
            let content = fs::read(entry.path()).with_context(|| format!("cannot read {}", entry.path().display()))?;
            write_private(&to.join(&name), &content)?;
            count += 1;
        }
    }
    Ok(count)
}

//! Finding the servers' binaries and judging their versions.
//!
//! Only finds; never installs and never starts a server. An error names the version found and the
//! version needed.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tokio::process::Command;

/// The oldest Postgres we run on.
pub const POSTGRES_NEEDED: u32 = 15;
/// The oldest nats-server we run on: older ones ignore newer stream settings without a word.
pub const NATS_NEEDED: (u32, u32) = (2, 12);

/// A folder with Postgres binaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresBinaries {
    folder: PathBuf,
    /// The major version.
    pub major: u32,
}

impl PostgresBinaries {
    /// The path of one of them.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Where to look: an explicit folder alone, else `PATH` and then where distributions put them.
fn postgres_folders(explicit: Option<&Path>) -> Vec<PathBuf> {
    if let Some(folder) = explicit {
        return vec![folder.to_path_buf()];
    }
    let mut folders = path_folders();
    for (parent, prefix) in [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")] {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        folders.extend(
            entries
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
                .map(|entry| entry.path().join("bin")),
        );
    }
    folders.retain(|folder| folder.join("postgres").is_file() && folder.join("initdb").is_file());
    folders
}

/// The Postgres to use: the one whose major version made the data, else the newest.
pub async fn find_postgres(explicit: Option<&Path>, data_major: Option<u32>) -> anyhow::Result<PostgresBinaries> {
    let mut found = Vec::new();
    for folder in postgres_folders(explicit) {
        let text = version_of(&folder.join("postgres")).await?;
        let Some((major, _)) = parse_version(&text) else {
            bail!("cannot read a version from {:?}, said by {}", text, folder.join("postgres").display());
        };
        found.push(PostgresBinaries { folder, major });
    }
    choose_postgres(found, data_major)
}

fn choose_postgres(found: Vec<PostgresBinaries>, data_major: Option<u32>) -> anyhow::Result<PostgresBinaries> {
    let versions = if found.is_empty() {
        "none was found in PATH or /usr/lib/postgresql".to_owned()
    } else {
        let list: Vec<String> = found.iter().map(|one| format!("{} in {}", one.major, one.folder.display())).collect();
        format!("found {}", list.join(", "))
    };
    if let Some(major) = data_major {
        return match found.into_iter().find(|one| one.major == major) {
            Some(one) => Ok(one),
            None => bail!("the data folder was made by Postgres {major} and needs that version; {versions}"),
        };
    }
    // Of equals the first stays: PATH goes before what distributions have.
    let newest = found.into_iter().rev().max_by_key(|one| one.major);
    match newest {
        Some(one) if one.major >= POSTGRES_NEEDED => Ok(one),
        _ => bail!("Postgres {POSTGRES_NEEDED} or newer is needed; {versions}"),
    }
}

/// The nats-server to use: the explicit one alone, else the project's own, else the one in `PATH`.
pub async fn find_nats_server(explicit: Option<&Path>) -> anyhow::Result<PathBuf> {
    let candidates = match explicit {
        Some(path) => vec![path.to_path_buf()],
        None => nats_candidates(),
    };
    let Some(path) = candidates.iter().find(|path| path.is_file()) else {
        let (major, minor) = NATS_NEEDED;
        match explicit {
            Some(path) => bail!("there is no nats-server at {}", path.display()),
            None => bail!(
                "nats-server {major}.{minor} or newer is needed; none was found as .tools/bin/nats-server or in PATH"
            ),
        }
    };
    let path = std::path::absolute(path).context("cannot find the current folder")?;
    let text = version_of(&path).await?;
    check_nats_version(&text, &path.display().to_string())?;
    Ok(path)
}

/// Refuses a server older than needed; `whose` says which one it is.
pub fn check_nats_version(version: &str, whose: &str) -> anyhow::Result<()> {
    let (needed_major, needed_minor) = NATS_NEEDED;
    match parse_version(version) {
        Some(found) if found >= NATS_NEEDED => Ok(()),
        Some((major, minor)) => {
            bail!("nats-server {needed_major}.{needed_minor} or newer is needed; {whose} is {major}.{minor}")
        }
        None => bail!("cannot read a version from {version:?}, said by {whose}"),
    }
}

fn nats_candidates() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(current) = std::env::current_dir() {
        folders.push(current.join(".tools/bin"));
    }
    // Built in a checkout, the binary stands in target/<profile> below the project's folder.
    if let Ok(program) = std::env::current_exe() {
        folders.extend(program.ancestors().skip(1).take(4).map(|folder| folder.join(".tools/bin")));
    }
    folders.extend(path_folders());
    folders.into_iter().map(|folder| folder.join("nats-server")).collect()
}

fn path_folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect()
}

async fn version_of(program: &Path) -> anyhow::Result<String> {
    let output = Command::new(program)
        .arg("--version")
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run {}", program.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Major and minor version in `postgres (PostgreSQL) 15.14 (..)`, `nats-server: v2.15.1`, `2.15.1`
/// or `18beta1`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let word = text
        .split_ascii_whitespace()
        .map(|word| word.trim_start_matches('v'))
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    let mut numbers = word.split('.').map(|part| {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        part[..digits].parse::<u32>().ok()
    });
    let major = numbers.next()??;
    Some((major, numbers.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binaries(folder: &str, major: u32) -> PostgresBinaries {
        PostgresBinaries { folder: folder.into(), major }
    }

    #[test]
    fn versions_are_read_from_what_servers_say() {
        assert_eq!(parse_version("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"), Some((15, 14)));
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta1"), Some((18, 0)));
        assert_eq!(parse_version("nats-server: v2.15.1"), Some((2, 15)));
        assert_eq!(parse_version("2.12.0-RC.1"), Some((2, 12)));
        assert_eq!(parse_version("nats-server: vnext"), None);
    }

    #[test]
    fn the_newest_postgres_is_taken_unless_the_data_says_otherwise() {
        let found = || vec![binaries("/a", 15), binaries("/b", 17), binaries("/c", 17), binaries("/d", 13)];
        assert_eq!(choose_postgres(found(), None).unwrap(), binaries("/b", 17));
        assert_eq!(choose_postgres(found(), Some(15)).unwrap(), binaries("/a", 15));
        let refused = choose_postgres(found(), Some(16)).unwrap_err().to_string();
        assert!(refused.contains("made by Postgres 16") && refused.contains("17 in /b"), "{refused}");
        let refused = choose_postgres(vec![binaries("/d", 13)], None).unwrap_err().to_string();
        assert!(refused.contains("Postgres 15 or newer") && refused.contains("13 in /d"), "{refused}");
        assert!(choose_postgres(vec![], None).unwrap_err().to_string().contains("none was found"));
    }

    #[test]
    fn an_old_nats_server_is_refused() {
        assert!(check_nats_version("2.15.1", "it").is_ok());
        assert!(check_nats_version("nats-server: v3.0.0", "it").is_ok());
        let refused = check_nats_version("nats-server: v2.9.10", "/usr/sbin/nats-server").unwrap_err().to_string();
        assert!(refused.contains("2.12") && refused.contains("2.9") && refused.contains("/usr/sbin"), "{refused}");
    }
}

//! The data folder: one place for everything a single node keeps, owned by one `itsm` at a time.
//!
//! [`DataPaths`] only names things and may be used by any command that reads them;
//! [`DataFolder`] is the right to change them, held by an exclusive lock that the kernel drops
//! with the process. It must not know what the files mean beyond their name, mode and durability.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use nix::fcntl::{Flock, FlockArg};

/// The newest layout of the folder that this build understands.
pub const DATA_VERSION: u32 = 1;

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process holds it.
    #[error("{path} is in use by another itsm (process {holder}); stop that one first, or choose another folder with --data", path = .path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process that holds the lock, as it wrote itself down.
        holder: String,
    },
    /// A newer `itsm` wrote it.
    #[error("{path} was written by a newer itsm (data version {found}, this build understands up to {DATA_VERSION}); use the newer build", path = .path.display())]
    Newer {
        /// The folder.
        path: PathBuf,
        /// The version found.
        found: u32,
    },
    /// It holds something else.
    #[error("{path} is not empty and not a data folder of itsm (it has no file `version`); choose another with --data", path = .path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
    },
    /// A file has content that nobody of ours wrote.
    #[error("{path} is damaged: {what}", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The system refused.
    #[error("cannot {action} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Names of everything in a data folder. Having it is no right to write there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPaths {
    root: PathBuf,
}

impl DataPaths {
    /// The names below `root`, which is made absolute so that a later change of directory does not
    /// move it.
    pub fn new(root: &Path) -> Result<Self, FolderError> {
        let root = std::path::absolute(root).map_err(io_error("find", root))?;
        Ok(Self { root })
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Unix sockets of the services.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Pid files of the children.
    pub fn pids(&self) -> PathBuf {
        self.root.join("pids")
    }

    /// What the children say.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// All of the embedded Postgres; usable by an unprivileged user.
    pub fn postgres(&self) -> PathBuf {
        self.root.join("postgres")
    }

    /// The password of the Postgres superuser.
    pub fn postgres_password(&self) -> PathBuf {
        self.root.join("postgres.password")
    }

    /// Configuration, store, keys and credentials of NATS.
    pub fn nats(&self) -> PathBuf {
        self.root.join("nats")
    }

    /// Seeds of the operator and of the accounts.
    pub fn nats_keys(&self) -> PathBuf {
        self.nats().join("keys")
    }

    /// Credentials of the services and of the tenants' readers and publishers.
    pub fn nats_creds(&self) -> PathBuf {
        self.nats().join("creds")
    }

    /// Where clients reach NATS: chosen once, so that they find it again.
    pub fn nats_url(&self) -> PathBuf {
        self.root.join("nats.url")
    }

    /// Credentials for a publisher of alerts.
    pub fn alerts_creds(&self) -> PathBuf {
        self.root.join("alerts.creds")
    }

    /// Mail written as files.
    pub fn mail(&self) -> PathBuf {
        self.root.join("mail")
    }

    /// Signing keys of the services.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The API key of the first administrator.
    pub fn admin_key(&self) -> PathBuf {
        self.root.join("admin.key")
    }

    /// The key of the integration `demo`.
    pub fn demo_key(&self) -> PathBuf {
        self.root.join("demo.key")
    }

    /// The key that seals stored secrets.
    pub fn secret_key(&self) -> PathBuf {
        self.root.join("secret.key")
    }

    fn version(&self) -> PathBuf {
        self.root.join("version")
    }

    fn identity(&self) -> PathBuf {
        self.root.join("id")
    }

    fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
}

/// A data folder held by this process. The lock goes with the value, or with the process.
#[derive(Debug)]
pub struct DataFolder {
    paths: DataPaths,
    id: String,
    _lock: Flock<File>,
}

impl Deref for DataFolder {
    type Target = DataPaths;

    fn deref(&self) -> &DataPaths {
        &self.paths
    }
}

impl DataFolder {
    /// Takes the folder, making it and what is missing in it.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        let paths = DataPaths::new(root)?;
        let root_mode = if nix::unistd::geteuid().is_root() {
            // The database's unprivileged user has to pass through, and sees no names.
            0o711
        } else {
            0o700
        };
        refuse_what_is_not_ours(&paths)?;
        make_folder(paths.root(), root_mode)?;
        let lock = take_lock(&paths)?;
        check_version(&paths)?;
        for private in [paths.run(), paths.pids(), paths.logs(), paths.nats(), paths.mail(), paths.keys()] {
            make_folder(&private, 0o700)?;
        }
        for private in [paths.nats_keys(), paths.nats_creds()] {
            make_folder(&private, 0o700)?;
        }
        let id = HEXLOWER.encode(&random_once::<8>(&paths.identity())?);
        random_once::<32>(&paths.secret_key())?;
        Ok(Self { paths, id, _lock: lock })
    }

    /// The names, for those who only read.
    pub fn paths(&self) -> &DataPaths {
        &self.paths
    }

    /// A name that no other folder has and that this one keeps: the holder of leases.
    pub fn id(&self) -> &str {
        &self.id
    }
}

fn refuse_what_is_not_ours(paths: &DataPaths) -> Result<(), FolderError> {
    let entries = match fs::read_dir(paths.root()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("read", paths.root())(error)),
    };
    if paths.version().exists() {
        return Ok(());
    }
    for entry in entries {
        let name = entry.map_err(io_error("read", paths.root()))?.file_name();
        // A start that was killed early leaves a lock and perhaps a temporary file; a freshly
        // mounted volume has lost+found.
        let harmless = name == "lock" || name == "lost+found" || name.to_string_lossy().starts_with(".new-");
        if !harmless {
            return Err(FolderError::NotOurs { path: paths.root().to_path_buf() });
        }
    }
    Ok(())
}

fn take_lock(paths: &DataPaths) -> Result<Flock<File>, FolderError> {
    let path = paths.lock();
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            lock.set_len(0).map_err(io_error("write", &path))?;
            writeln!(lock, "{}", std::process::id()).map_err(io_error("write", &path))?;
            Ok(lock)
        }
        Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(io_error("read", &path))?;
            let holder = holder.trim();
            let holder = if holder.is_empty() { "just starting" } else { holder };
            Err(FolderError::InUse { path: paths.root().to_path_buf(), holder: holder.to_owned() })
        }
        Err((_, errno)) => Err(io_error("lock", &path)(errno.into())),
    }
}

fn check_version(paths: &DataPaths) -> Result<(), FolderError> {
    let path = paths.version();
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return write_private(&path, format!("{DATA_VERSION}\n").as_bytes());
        }
        Err(error) => return Err(io_error("read", &path)(error)),
    };
    let found: u32 = text
        .trim()
        .parse()
        .map_err(|_| FolderError::Damaged { path: path.clone(), what: "it holds no number".to_owned() })?;
    if found > DATA_VERSION {
        return Err(FolderError::Newer { path: paths.root().to_path_buf(), found });
    }
    Ok(())
}

/// Makes a folder with this mode, or gives an existing one this mode.
pub fn make_folder(path: &Path, mode: u32) -> Result<(), FolderError> {
    match DirBuilder::new().recursive(true).mode(mode).create(path) {
        Ok(()) => {}
        Err(error) => return Err(io_error("make", path)(error)),
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(io_error("set the mode of", path))
}

/// Writes a file that only its owner may read, whole or not at all, also across a power cut.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), FolderError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".new-{name}"));
    // Left over by a kill, perhaps with another mode.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error("replace", &temporary)(error)),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(io_error("make", &temporary))?;
    file.write_all(content).map_err(io_error("write", &temporary))?;
    file.sync_all().map_err(io_error("write", &temporary))?;
    fs::rename(&temporary, path).map_err(io_error("put in place", path))?;
    sync_folder(folder)
}

/// Makes names that were just given in a folder survive a power cut.
pub fn sync_folder(folder: &Path) -> Result<(), FolderError> {
    File::open(folder).and_then(|handle| handle.sync_all()).map_err(io_error("sync", folder))
}

/// The content of a small file, or nothing where there is none.
pub fn read_text(path: &Path) -> Result<Option<String>, FolderError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// `N` random bytes kept as hexadecimal in a private file, drawn the first time.
pub fn random_once<const N: usize>(path: &Path) -> Result<[u8; N], FolderError> {
    if let Some(text) = read_text(path)? {
        return HEXLOWER.decode(text.trim().as_bytes()).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
            FolderError::Damaged {
                path: path.to_path_buf(),
                what: format!("it should hold {} hexadecimal digits", 2 * N),
            }
        });
    }
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).map_err(|error| io_error("draw", path)(io::Error::other(error)))?;
    write_private(path, format!("{}\n", HEXLOWER.encode(&bytes)).as_bytes())?;
    Ok(bytes)
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> FolderError + use<> {
    let path = path.to_path_buf();
    move |source| FolderError::Io { action, path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_second_holder_is_told_who_has_it() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("var");
        let held = DataFolder::open(&path).unwrap();
        let refused = DataFolder::open(&path).unwrap_err();
        assert!(matches!(&refused, FolderError::InUse { holder, .. } if *holder == std::process::id().to_string()));
        assert!(refused.to_string().contains(&std::process::id().to_string()));
        let id = held.id().to_owned();
        drop(held);
        assert_eq!(DataFolder::open(&path).unwrap().id(), id);
    }

    #[test]
    fn a_newer_version_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("var");
        drop(DataFolder::open(&path).unwrap());
        fs::write(path.join("version"), "2\n").unwrap();
        let refused = DataFolder::open(&path).unwrap_err();
        assert!(matches!(refused, FolderError::Newer { found: 2, .. }), "{refused}");
        fs::write(path.join("version"), "two\n").unwrap();
        assert!(matches!(DataFolder::open(&path).unwrap_err(), FolderError::Damaged { .. }));
    }

    #[test]
    fn somebody_elses_folder_is_left_alone() {
        let temporary = tempfile::tempdir().unwrap();
        fs::write(temporary.path().join("thesis.txt"), "years of work").unwrap();
        let before = mode(temporary.path());
        let refused = DataFolder::open(temporary.path()).unwrap_err();
        assert!(matches!(refused, FolderError::NotOurs { .. }), "{refused}");
        assert_eq!(mode(temporary.path()), before);
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_secret_is_private_and_stays_the_same() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("var");
        let folder = DataFolder::open(&path).unwrap();
        let secret = fs::read(folder.secret_key()).unwrap();
        assert_eq!(secret.len(), 65);
        assert_eq!(mode(&folder.secret_key()), 0o600);
        for private in [folder.run(), folder.nats(), folder.nats_keys(), folder.nats_creds(), folder.keys()] {
            assert_eq!(mode(&private), 0o700, "{}", private.display());
        }
        drop(folder);
        let again = DataFolder::open(&path).unwrap();
        assert_eq!(fs::read(again.secret_key()).unwrap(), secret);
        fs::write(again.secret_key(), "short").unwrap();
        drop(again);
        assert!(matches!(DataFolder::open(&path).unwrap_err(), FolderError::Damaged { .. }));
    }

    #[test]
    fn a_left_over_temporary_file_does_not_lend_its_mode() {
        let temporary = tempfile::tempdir().unwrap();
        let stale = temporary.path().join(".new-a.key");
        fs::write(&stale, "half").unwrap();
        fs::set_permissions(&stale, fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&temporary.path().join("a.key"), b"whole").unwrap();
        assert_eq!(mode(&temporary.path().join("a.key")), 0o600);
        assert_eq!(fs::read(temporary.path().join("a.key")).unwrap(), b"whole");
        assert!(!stale.exists());
    }
}

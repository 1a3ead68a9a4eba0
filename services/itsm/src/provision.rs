//! What a fresh installation starts with: a tenant, its first administrator, and, unless it is not
//! wanted, what makes it useful at once.
//!
//! It may be repeated at any time and changes nothing that is there. A key is written down before
//! it works, so that a start killed in between loses none.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use clap::Args;
use directory::app::credential::Credential;
use kit::{
    caller::Caller,
    clock::{Clock, DatabaseClock},
    db::Database,
    id::{PersonId, Tenant},
};

use crate::{
    embedded::folder::{DataPaths, read_text, sync_folder, write_private},
    settings::Settings,
    wiring::{
        place::{database_at, passwords, service_database, shared_folder},
        process::Process,
    },
};

/// The tenant of a fresh installation.
pub const FIRST_TENANT: &str = "default";
/// Its first team.
const FIRST_TEAM: (&str, &str) = ("operations", "Operations");
/// Whom a fresh installation's mails go to: nobody outside, until somebody changes it.
pub const ADMINISTRATOR_EMAIL: &str = "administrator@localhost";
/// The integration that a fresh installation shows itself with.
pub const DEMO_INTEGRATION: &str = "demo";
/// A file that is not yet known to be true.
const PENDING: &str = "pending";

/// Makes a tenant with its first administrator, once; does nothing where there is one.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  DATABASE_URL=postgres://admin@db/itsm itsm provision --first-administrator 'Ada Lovelace' \
                        --key-file /run/itsm/admin.key"
)]
pub struct Options {
    /// The name of the first administrator.
    #[arg(long, value_name = "NAME")]
    first_administrator: String,
    /// The mail address of the first administrator.
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    email: String,
    /// Where the administrator's API key is written; only its owner may read the file.
    #[arg(long, value_name = "FILE", required_unless_present = "key_from", conflicts_with = "key_from")]
    key_file: Option<PathBuf>,
    /// A file with the API key to give instead, drawn elsewhere: `itsm_`, the 32 digits of a UUID of version 7
    /// of this month or the last, `_`, and 32 random bytes in base64url.
    #[arg(long, value_name = "FILE")]
    key_from: Option<PathBuf>,
    /// The tenant: lower-case letters, digits and dashes.
    #[arg(long, value_name = "SLUG", default_value = FIRST_TENANT)]
    tenant: String,
    /// The data folder with the secret key.
    #[arg(long, value_name = "DIR", default_value = "./var")]
    data: PathBuf,
}

/// The first administrator to be.
#[derive(Debug, Clone, Copy)]
pub struct Administrator<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The name.
    pub name: &'a str,
    /// The mail address; may be empty.
    pub email: &'a str,
    /// Whether the team `operations` is made too.
    pub team: bool,
}

/// `itsm provision`.
///
/// # Errors
/// Fails when the database is away or the texts are not allowed.
pub async fn run(options: Options, settings: &Settings) -> anyhow::Result<String> {
    if settings.database.url.is_empty() {
        bail!("no database: set DATABASE_URL; `itsm up` makes its first administrator by itself");
    }
    let paths = shared_folder(&options.data).await?;
    let database = database_at(&settings.database.url)?;
    let database = service_database("directory", &database, &passwords(settings, &paths)?);
    let clock = DatabaseClock::default();
    clock.synchronise(&database.calls).await.context("cannot reach the database; run `itsm migrate` first")?;
    let wanted = Administrator {
        tenant: &options.tenant,
        name: &options.first_administrator,
        email: &options.email,
        team: false,
    };
    let (tenant, made, key) = match (&options.key_from, &options.key_file) {
        (Some(given), _) => {
            let text = read_text(given)?.with_context(|| format!("{} is not there", given.display()))?;
            let provisioned = provision(&database, &clock, wanted, credential(&text, given)?).await?;
            (provisioned.tenant, provisioned.made.is_some(), given)
        }
        (None, Some(place)) => {
            let (tenant, made) = first_administrator(&database, &clock, wanted, place).await?;
            (tenant, made, place)
        }
        (None, None) => bail!("say where the key goes: --key-file, or where it comes from: --key-from"),
    };
    Ok(if made {
        format!("the first administrator of {} has the key in {}", tenant.slug, key.display())
    } else {
        format!("{} has an administrator already; nothing was done", tenant.slug)
    })
}

/// Makes the tenant and its administrator, unless it has one; the key is then in `key_file`. True
/// when it was made now, or in a start that was killed before it could say so.
///
/// # Errors
/// Fails when the database is away or the texts are not allowed.
pub async fn first_administrator(
    database: &Database,
    clock: &dyn Clock,
    wanted: Administrator<'_>,
    key_file: &Path,
) -> anyhow::Result<(Tenant, bool)> {
    let draw = || Ok(Credential::draw()?.text().expose().to_owned());
    let (key, pending) = Pending::write_down(key_file, draw)?;
    let provisioned = provision(database, clock, wanted, credential(&key, &pending.path)?).await?;
    let made = pending.settle(provisioned.made.is_some())?;
    Ok((provisioned.tenant, made))
}

fn credential(text: &str, path: &Path) -> anyhow::Result<Credential> {
    let key = Credential::parse(text.trim());
    let key = key.with_context(|| format!("{} holds no API key; remove it", path.display()))?;
    // History is kept by the month that an id says.
    if key.id().0.get_version_num() != 7 {
        bail!("{} holds a key whose id is no UUID of version 7", path.display());
    }
    Ok(key)
}

async fn provision(
    database: &Database,
    clock: &dyn Clock,
    wanted: Administrator<'_>,
    credential: Credential,
) -> anyhow::Result<directory::Provisioned> {
    directory::provision_tenant(
        database,
        clock,
        wanted.tenant,
        wanted.tenant,
        (wanted.name, wanted.email),
        wanted.team.then_some(FIRST_TEAM),
        Some(credential),
    )
    .await
    .with_context(|| format!("cannot make the first administrator of {}", wanted.tenant))
}

/// Gives a tenant what makes it useful at once, where it is missing. The services that own it must
/// have been started in this process.
///
/// # Errors
/// Fails when the database is away.
pub async fn seed(process: &Process, paths: &DataPaths, tenant: &Tenant) -> anyhow::Result<()> {
    if let Some(alert) = &process.apps().alert {
        let (key, pending) = Pending::write_down(&paths.demo_key(), draw_integration_key)?;
        let made = alert.ensure_integration(tenant.clone(), DEMO_INTEGRATION, "Demo", Some(key)).await;
        let made = made.context("cannot make the integration")?;
        pending.settle(made.is_some())?;
    }
    if let Some(sla) = &process.apps().sla {
        sla.ensure_default_agreement(tenant, None).await.context("cannot make the default agreement")?;
    }
    if let Some(notification) = &process.apps().notification {
        let administrator = administrator(process, paths).await?;
        let made = notification.ensure_defaults(tenant, administrator, ADMINISTRATOR_EMAIL).await;
        made.context("cannot make the mail method and the rule")?;
    }
    SeedMark::of(paths).remove()
}

/// Whose key the data folder has.
async fn administrator(process: &Process, paths: &DataPaths) -> anyhow::Result<PersonId> {
    let key = read_text(&paths.admin_key())?.unwrap_or_default();
    let directory = process.apps().directory.as_ref().context("the directory does not run here")?;
    let signed_in = directory.authenticate(key.trim()).await.context("cannot ask the directory")?;
    let token = signed_in.with_context(|| format!("{} is no key", paths.admin_key().display()))?.token;
    match process.verifier().verify(&token, process.clock().now())? {
        Caller::Person(person) => Ok(person.id),
        Caller::Service(_) => bail!("{} is no person's", paths.admin_key().display()),
    }
}

/// Says in the data folder that the tenant is not yet what it shall start with, so that a start that
/// was killed in between is finished by the next.
pub struct SeedMark(PathBuf);

impl SeedMark {
    /// The mark of a data folder.
    pub fn of(paths: &DataPaths) -> Self {
        Self(paths.root().join("seed.pending"))
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.exists()
    }

    /// Sets it.
    ///
    /// # Errors
    /// Fails as the file system does.
    pub fn set(&self) -> anyhow::Result<()> {
        Ok(write_private(&self.0, b"")?)
    }

    /// Takes it away.
    ///
    /// # Errors
    /// Fails as the file system does.
    pub fn remove(&self) -> anyhow::Result<()> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.0.display()))
            }
            _ => Ok(()),
        }
    }
}

/// A key of the form that `alert` makes.
fn draw_integration_key() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
    Ok(format!("itsm_int_{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// A secret in a file beside its place, until it is known whether it is the one that works.
struct Pending {
    place: PathBuf,
    path: PathBuf,
    /// Left by an earlier start: then it may be the one that works already.
    earlier: bool,
}

impl Pending {
    fn write_down(place: &Path, draw: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<(String, Self)> {
        let place = std::path::absolute(place).context("cannot find the current folder")?;
        let mut path = place.as_os_str().to_owned();
        path.push(".");
        path.push(PENDING);
        let path = PathBuf::from(path);
        if let Some(text) = read_text(&path)? {
            return Ok((text.trim().to_owned(), Self { place, path, earlier: true }));
        }
        let text = draw()?;
        write_private(&path, format!("{text}\n").as_bytes())?;
        Ok((text, Self { place, path, earlier: false }))
    }

    /// Puts the secret in its place when it is the one that works; else takes it away. Returns
    /// which.
    fn settle(self, made: bool) -> anyhow::Result<bool> {
        let works = made || (self.earlier && !self.place.exists());
        let done = if works { fs::rename(&self.path, &self.place) } else { fs::remove_file(&self.path) };
        done.with_context(|| format!("cannot put {} in its place", self.place.display()))?;
        sync_folder(self.place.parent().unwrap_or(Path::new("/")))?;
        Ok(works)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_given_has_an_id_that_history_can_be_kept_by() {
        let path = Path::new("admin.key");
        let drawn = Credential::draw().unwrap().text();
        assert!(credential(&format!("{}\n", drawn.expose()), path).is_ok());
        let (before, after) = (&drawn.expose()[..17], &drawn.expose()[18..]);
        let other = format!("{before}4{after}");
        assert!(credential(&other, path).unwrap_err().to_string().contains("version 7"));
        assert!(credential("hunter2", path).is_err_and(|error| !format!("{error:#}").contains("hunter2")));
    }

    #[test]
    fn a_secret_that_works_is_in_its_place_also_after_a_kill() {
        let temporary = tempfile::tempdir().unwrap();
        let place = temporary.path().join("admin.key");
        // Killed after the commit: the next start finds it made.
        let (first, _killed) = Pending::write_down(&place, || Ok("one".to_owned())).unwrap();
        let (again, pending) = Pending::write_down(&place, || Ok("two".to_owned())).unwrap();
        assert_eq!((first.as_str(), again.as_str()), ("one", "one"));
        assert!(pending.settle(false).unwrap());
        assert_eq!(fs::read_to_string(&place).unwrap(), "one\n");
        // Later starts draw one that never works.
        let (_, pending) = Pending::write_down(&place, || Ok("three".to_owned())).unwrap();
        assert!(!pending.settle(false).unwrap());
        assert_eq!(fs::read_to_string(&place).unwrap(), "one\n");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
    }
}

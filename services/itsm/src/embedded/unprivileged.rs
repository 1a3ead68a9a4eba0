//! Whom a server runs as that refuses root, and whether that user can reach a folder.
//!
//! It chooses among users that exist; it never makes one and never opens up a folder of others.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
use nix::unistd::{Gid, Uid, geteuid};
use tokio::process::Command;

/// A user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// Its first group.
    pub gid: u32,
    /// Its name, for messages.
    pub name: String,
}

/// The user that owns `folder`, or will: the owner where it already exists, else `postgres`, else
/// `nobody`. `None` when we are not root and so run everything as ourselves.
pub fn choose(folder: &Path) -> anyhow::Result<Option<User>> {
    let owner = fs::metadata(folder).ok().map(|folder| (folder.uid(), folder.gid()));
    if !geteuid().is_root() {
        return match owner {
            Some((uid, _)) if uid != geteuid().as_raw() => {
                bail!("{} belongs to {}: start as root or as that user", folder.display(), name_of(uid),)
            }
            _ => Ok(None),
        };
    }
    if let Some((uid, gid)) = owner.filter(|(uid, _)| *uid != 0) {
        return Ok(Some(User { uid, gid, name: name_of(uid) }));
    }
    for name in ["postgres", "nobody"] {
        if let Some(user) = nix::unistd::User::from_name(name).context("cannot read the users of this machine")? {
            return Ok(Some(User { uid: user.uid.as_raw(), gid: user.gid.as_raw(), name: user.name }));
        }
    }
    bail!("Postgres does not run as root, and there is neither a user `postgres` nor `nobody`; start as another user")
}

fn name_of(uid: u32) -> String {
    match nix::unistd::User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("user {uid}"),
    }
}

/// Gives `path` to the user, if there is one to give it to.
pub fn give(path: &Path, user: Option<&User>) -> anyhow::Result<()> {
    if let Some(user) = user {
        nix::unistd::chown(path, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))
            .with_context(|| format!("cannot give {} to {}", path.display(), user.name))?;
    }
    Ok(())
}

/// Whether the user can enter `folder`: tried, because modes alone do not tell (access lists,
/// folders above it).
pub async fn can_enter(folder: &Path, user: Option<&User>) -> bool {
    let Some(user) = user else { return true };
    let mut command = Command::new("/bin/sh");
    command.args(["-c", ":"]).current_dir(folder).uid(user.uid).gid(user.gid);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_closed_folder_above_is_noticed() {
        if !geteuid().is_root() {
            return;
        }
        let temporary = tempfile::tempdir().unwrap();
        let inner = temporary.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let user = choose(&temporary.path().join("absent")).unwrap();
        assert!(user.is_some());
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o711)).unwrap();
        assert!(can_enter(&inner, user.as_ref()).await);
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!can_enter(&inner, user.as_ref()).await);
        assert!(can_enter(&inner, None).await);
        give(&inner, user.as_ref()).unwrap();
        assert_eq!(choose(&inner).unwrap().unwrap().uid, user.unwrap().uid);
    }
}

//! The files: who may read the secrets, and when certificates end.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::Finding;
use crate::{cli::format::Reader, embedded::folder::DataPaths, pki, settings::Settings};

const ENDS_SOON_DAYS: i64 = 14;
const OTHERS: u32 = 0o007;
const GROUP: u32 = 0o070;

/// Looks at what there is.
pub fn look(settings: &Settings, paths: &DataPaths, found: &mut Vec<Finding>) {
    found.push(modes(&secrets(settings, paths)));
    let folders = [("tls", &settings.tls.certificates_folder), ("nats", &settings.nats.certificates_folder)];
    for (section, folder) in folders {
        if let Some(folder) = folder {
            found.push(certificates(section, folder));
        }
    }
}

/// The files that hold a secret, as far as they are there.
fn secrets(settings: &Settings, paths: &DataPaths) -> Vec<PathBuf> {
    let mut files = vec![paths.secret_key(), paths.admin_key(), paths.demo_key(), paths.postgres_password()];
    files.extend(settings.secrets.key_file.clone());
    let folders = [Some(paths.keys()), Some(paths.nats_keys()), Some(paths.nats_creds())].into_iter().chain([
        settings.secrets.signing_keys_folder.clone(),
        settings.nats.credentials_folder.clone(),
        settings.nats.operator_keys_folder.clone(),
        settings.tls.certificates_folder.clone(),
        settings.nats.certificates_folder.clone(),
    ]);
    for entry in folders.flatten().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
        let path = entry.path();
        let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
        if ["seed", "creds", "key"].contains(&kind) {
            files.push(path);
        }
    }
    files.retain(|path| path.is_file());
    files
}

fn modes(files: &[PathBuf]) -> Finding {
    let open = |bits: u32| -> Vec<String> {
        let mode = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
        files.iter().filter(|path| mode(path) & bits != 0).map(|path| path.display().to_string()).collect()
    };
    let (others, group) = (open(OTHERS), open(GROUP));
    let mend = "chmod 600 for each";
    if !others.is_empty() {
        return Finding::wrong("secrets", format!("everybody may read {}", others.join(", ")), mend);
    }
    if !group.is_empty() {
        return Finding::warning("secrets", format!("a group may read {}", group.join(", ")), mend);
    }
    Finding::ok("secrets", format!("{} files, for their owner alone", files.len()))
}

fn certificates(section: &str, folder: &Path) -> Finding {
    let mend = "`itsm pki rotate DIR`, or whoever issues them";
    let now = Reader::here().now;
    let first = pki::ends(folder).map(|ends| ends.into_iter().min_by_key(|(_, ends)| *ends));
    match first {
        Err(error) => Finding::wrong("certificates", format!("`{section}.certificates_folder`: {error:#}"), mend),
        Ok(None) => Finding::wrong("certificates", format!("{} has none", folder.display()), "`itsm pki issue DIR`"),
        Ok(Some((name, ends))) => {
            let left = (ends - now).num_days();
            let said = format!("{name} in {} ends first, on {}", folder.display(), ends.format("%Y-%m-%d"));
            match left {
                _ if ends <= now => Finding::wrong("certificates", said, mend),
                left if left < ENDS_SOON_DAYS => Finding::warning("certificates", said, mend),
                _ => Finding::ok("certificates", said),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::doctor::Verdict;

    #[test]
    fn secrets_that_others_may_read_are_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let paths = DataPaths::new(folder.path()).unwrap();
        fs::create_dir_all(paths.keys()).unwrap();
        let (key, seed) = (paths.secret_key(), paths.keys().join("sla.seed"));
        let judge = |key_mode, seed_mode| {
            for (path, mode) in [(&key, key_mode), (&seed, seed_mode)] {
                fs::write(path, "secret").unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
            modes(&secrets(&Settings::default(), &paths))
        };
        assert_eq!(judge(0o600, 0o400).verdict, Verdict::Ok);
        assert_eq!(judge(0o640, 0o600).verdict, Verdict::Warning);
        let wrong = judge(0o600, 0o644);
        assert!(wrong.verdict == Verdict::Wrong && wrong.found.ends_with("sla.seed"), "{wrong:?}");
    }

    #[test]
    fn what_is_no_folder_of_certificates_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(certificates("tls", folder.path()).verdict, Verdict::Wrong);
        assert_eq!(certificates("tls", &folder.path().join("none")).verdict, Verdict::Wrong);
    }
}

//! The golden table of errors: every stable reason that a caller can get, by service. Programs match
//! on them, so they stay. What is new is added with `ITSM_ACCEPT=1`.

use std::{collections::BTreeSet, fs, path::Path};

/// The upper snake case words in string literals of a file: the reasons.
fn reasons(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let reason = |word: &str| {
        word.len() > 3 && word.contains('_') && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    code.split('"').skip(1).step_by(2).filter(|word| reason(word)).map(str::to_owned).collect()
}

#[test]
fn every_reason_ever_given_stays() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut now = BTreeSet::new();
    for reason in reasons(&root.join("kit/src/problem.rs")) {
        now.insert(format!("every service {reason}"));
    }
    for service in proto::SERVICES {
        for reason in reasons(&root.join("services").join(service).join("src/api/status.rs")) {
            now.insert(format!("{service} {reason}"));
        }
    }
    assert!(now.iter().any(|line| line == "incident INCIDENT_ILLEGAL_MOVE"), "the reasons are found at all");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/errors.txt");
    let published: BTreeSet<String> =
        fs::read_to_string(&golden).unwrap_or_default().lines().map(str::to_owned).collect();
    let gone: Vec<_> = published.difference(&now).collect();
    assert!(gone.is_empty(), "programs match on these: {gone:#?}");
    #[expect(clippy::disallowed_methods, reason = "who runs the test accepts by a variable")]
    let accepted = std::env::var("ITSM_ACCEPT").is_ok();
    if accepted {
        let text: String = now.iter().map(|line| format!("{line}\n")).collect();
        fs::write(&golden, text).unwrap_or_else(|error| panic!("{}: {error}", golden.display()));
        return;
    }
    let new: Vec<_> = now.difference(&published).collect();
    assert!(new.is_empty(), "new reasons; add with ITSM_ACCEPT=1: {new:#?}");
}

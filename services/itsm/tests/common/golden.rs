//! Committed answers: what differs fails, and is accepted by a person with `ITSM_ACCEPT=1`.

use std::{fs, path::Path};

/// Compares with `tests/golden/NAME`; says which lines differ.
pub fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("ITSM_ACCEPT").is_some() {
        fs::write(&path, text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let (old, new): (Vec<_>, Vec<_>) = (committed.lines().collect(), text.lines().collect());
    let gone = old.iter().filter(|line| !new.contains(line)).map(|line| format!("- {line}"));
    let come = new.iter().filter(|line| !old.contains(line)).map(|line| format!("+ {line}"));
    let differences: Vec<_> = gone.chain(come).collect();
    assert!(
        committed == text,
        "differs from tests/golden/{name}; if that is wanted, accept with ITSM_ACCEPT=1\n{}",
        differences.join("\n")
    );
}

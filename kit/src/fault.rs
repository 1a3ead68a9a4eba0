//! For `make faults`, in a build with `--cfg mutants` alone: named points at which a process can be
//! made to die, and faults planted on purpose, to show that the harness would find them.
//!
//! `ITSM_FAIL_POINT=command.before_commit:7` ends the process at the seventh passing;
//! `ITSM_MUTANT=gap_ignored` plants a fault. No other build has any of it: there `planted!` is the
//! literal `false` and `fail_point!` is nothing, and a test looks for their names in the binary.

/// Whether this fault, or one of these, is planted.
#[cfg(mutants)]
#[macro_export]
macro_rules! planted {
    ($($name:literal)|+) => {
        ($($crate::fault::is_planted($name))||+)
    };
}

/// Whether this fault, or one of these, is planted.
#[cfg(not(mutants))]
#[macro_export]
macro_rules! planted {
    ($($name:literal)|+) => {
        false
    };
}

/// Dies here, when the environment names this point.
#[cfg(mutants)]
#[macro_export]
macro_rules! fail_point {
    ($name:literal) => {
        $crate::fault::pass($name)
    };
}

/// Dies here, when the environment names this point.
#[cfg(not(mutants))]
#[macro_export]
macro_rules! fail_point {
    ($name:literal) => {
        ()
    };
}

#[cfg(mutants)]
#[expect(clippy::disallowed_methods, reason = "no setting: no other build knows these variables")]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Whether `ITSM_MUTANT` names this fault.
#[cfg(mutants)]
#[must_use]
pub fn is_planted(name: &str) -> bool {
    static PLANTED: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| variable("ITSM_MUTANT"));
    *PLANTED == name
}

/// Dies as by `kill -9`, when `ITSM_FAIL_POINT` says that it is time.
#[cfg(mutants)]
pub fn pass(name: &str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };
    static POINT: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let wanted = variable("ITSM_FAIL_POINT");
        let (name, passing) = wanted.split_once(':')?;
        Some((name.to_owned(), passing.parse().ok()?))
    });
    static PASSED: AtomicU64 = AtomicU64::new(0);
    if let Some((wanted, passing)) = &*POINT
        && wanted == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *passing
    {
        std::process::abort();
    }
}

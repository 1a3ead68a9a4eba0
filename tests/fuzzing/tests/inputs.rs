//! The fuzz targets as ordinary tests: the corpora, and 10,000 generated inputs each, half of them
//! arbitrary bytes and half of them corpus that was mutated. `ITSM_PROPTEST_CASES` does more;
//! `ITSM_FUZZ_CORPUS` takes a folder of further corpora, which is how `make fuzz` judges its finds.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use fuzzing::{TARGETS, Target};
use nix::time::{ClockId, clock_gettime};
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};

/// The most time that one input may take of a processor. What is not optimised is about ten times
/// slower; `make fuzz` runs these tests optimised.
const AT_MOST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });

/// Pieces of every language here, to put into what is mutated.
const PIECES: &[&[u8]] = &[
    b"",
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff\x7f",
    b"\n---\n",
    b"---",
    b" AND ",
    b" OR ",
    b"NOT ",
    b"(",
    b")",
    b"\"",
    b"'",
    b"\\",
    b":*",
    b"!=",
    b"<=",
    b"{{",
    b"}}",
    b"{%",
    b"%}",
    b"|",
    b".",
    b"[",
    b"]",
    b"{",
    b"}",
    b",",
    b":",
    b"null",
    b"-1",
    b"9223372036854775807",
    b"1e400",
    b"0001-01-01T00:00:00Z",
    b"+262142-12-31T23:59:60Z",
    b"\xe2\x80\xa8",
    b"\xf0\x9f\x92\xa5",
    b"for a in range(9999)",
    b"endfor",
    b"join",
    b"format",
    b"itsm.",
    b"Itsm-Position: ",
    b"ce-id: ",
    b"AAAA",
    b"==",
];

fn target(name: &str) -> Target {
    TARGETS.iter().find(|(each, _)| *each == name).unwrap().1
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().filter(|path| path.is_file()).map(|path| fs::read(path).unwrap()).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// What a target is known to be given: its own folder, and what other tests hold as samples.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let mut inputs = files(&root().join("fuzz/corpus").join(name));
    match name {
        "formats" => inputs.extend(files(&root().join("tests/samples"))),
        "events" => {
            let golden = fs::read_to_string(root().join("tests/golden/events.txt")).unwrap();
            inputs.extend(golden.lines().filter_map(|line| line.rsplit_once(' ')).map(|(_, bytes)| unhex(bytes)));
        }
        _ => {}
    }
    assert!(inputs.len() >= 10, "{name} has a corpus of {}", inputs.len());
    inputs
}

/// Does it, and sees that it does not take long. Time is of this thread alone, so that a machine
/// with other work does not count.
fn within_bounds(name: &str, input: &[u8]) {
    let began = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    target(name)(input);
    let took = Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap() - began);
    assert!(took <= AT_MOST, "{name} took {took:?} for {:?}", String::from_utf8_lossy(input));
}

/// Replaces some bytes at each place by a piece.
fn mutated(mut input: Vec<u8>, changes: &[(Index, usize, Vec<u8>)]) -> Vec<u8> {
    for (place, removed, piece) in changes {
        let from = place.index(input.len() + 1);
        let to = (from + removed).min(input.len());
        input.splice(from..to, piece.iter().copied());
    }
    input
}

/// Shown as text when it fails.
#[derive(Clone)]
struct Input(Vec<u8>);

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

fn generated(corpus: Vec<Vec<u8>>) -> impl Strategy<Value = Input> {
    let piece =
        prop_oneof![prop::sample::select(PIECES).prop_map(<[u8]>::to_vec), prop::collection::vec(any::<u8>(), 0..4),];
    let change = (any::<Index>(), 0..12_usize, piece);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..256),
        (prop::sample::select(corpus), prop::collection::vec(change, 1..6))
            .prop_map(|(input, changes)| mutated(input, &changes)),
    ]
    .prop_map(Input)
}

fn holds(name: &str) {
    // The first use of a target also builds what it keeps.
    target(name)(b"");
    let corpus = corpus(name);
    for input in &corpus {
        within_bounds(name, input);
    }
    if let Some(folder) = variable("ITSM_FUZZ_CORPUS") {
        for input in files(&Path::new(&folder).join(name)) {
            within_bounds(name, &input);
        }
    }
    let cases = variable("ITSM_PROPTEST_CASES").and_then(|cases| cases.parse().ok()).unwrap_or(10_000);
    let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
    let outcome = runner.run(&generated(corpus), |input| {
        within_bounds(name, &input.0);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{name}: {error}");
    }
}

fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "who runs the tests says how much")]
    std::env::var(name).ok()
}

#[test]
fn intake_formats_hold() {
    holds("formats");
}

#[test]
fn filters_hold() {
    holds("filters");
}

#[test]
fn page_tokens_hold() {
    holds("page_tokens");
}

#[test]
fn templates_hold() {
    holds("templates");
}

#[test]
fn events_hold() {
    holds("events");
}

#[test]
fn every_target_has_its_binary() {
    let mut binaries: Vec<String> = fs::read_dir(root().join("fuzz/fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    binaries.sort();
    assert_eq!(binaries, TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
}

//! What is done with arbitrary input, one function a target: `fuzz/` calls them with what libFuzzer
//! finds, and `tests/inputs.rs` with the corpora of `fuzz/corpus/` and with generated input.
//!
//! They panic when a promise is broken: that what was accepted can be stored, that what was refused
//! says why in few words, that nothing of a caller's text becomes SQL. That they panic at nothing
//! else, and how long they take, is what their callers watch.

#![expect(clippy::expect_used, reason = "a target says by a panic what it found")]

mod events;
mod filters;
mod formats;
mod page_tokens;
mod templates;

pub use events::events;
pub use filters::filters;
pub use formats::formats;
pub use page_tokens::page_tokens;
pub use templates::templates;

/// A target: what is done with an input.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also the name of its corpus and of its binary.
pub const TARGETS: &[(&str, Target)] = &[
    ("events", events),
    ("filters", filters),
    ("formats", formats),
    ("page_tokens", page_tokens),
    ("templates", templates),
];

/// The input as parts, which a line of three dashes separates; what is missing is empty.
fn parts<const N: usize>(input: &str) -> [&str; N] {
    let mut parts = input.splitn(N, "\n---\n");
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

//! What people read, what the command line takes, and what answers of the server come to.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod answers;
mod parsing;
mod reading;

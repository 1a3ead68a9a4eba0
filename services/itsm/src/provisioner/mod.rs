//! The provisioner: the one writer of NATS accounts, streams and durable consumers, and the maker
//! of partitions and pruner of what is past.
//!
//! It reconciles: what should exist is written down here as code, what is missing is made again,
//! and nothing is remembered that the servers could be asked for. It touches a record of a service
//! only to prune it when it is past its period ([`retention`]), and it never deletes the stream that
//! alerts come in by.

pub mod accounts;
pub mod authority;
pub mod claims;
pub mod connection;
pub mod partitions;
pub mod reconcile;
pub mod retention;
pub mod rights;
pub mod streams;

#[cfg(test)]
mod tests;

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970, for claims: they are judged by NATS' own clock and not by domain time.
#[expect(clippy::disallowed_methods, reason = "claims are dated by the machine's clock, not by domain time")]
fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

//! What services are built from, and nothing of the domain.
//!
//! The heart is the event path: a command's transaction writes its record, its [`journal`] rows
//! and their outbox rows; the [`relay`] numbers them into the feed and publishes them on NATS; a
//! [`consumer`] elsewhere applies each once, in order, and fetches from the owner's [`feed`] what
//! did not arrive. NATS makes it fast, the feed makes it right.
//!
//! Around it: [`db`] (transactions that name their tenant and cannot be cut in half), [`lease`]
//! (who is the one relay), [`timer`] (due rows, swept), [`clock`] (domain time), [`caller`] and
//! [`access`] (who may), [`problem`] (how a refusal looks), [`request`] (the same request again).

pub mod access;
pub mod bus;
pub mod caller;
pub mod clock;
pub mod config;
pub mod consumer;
pub mod db;
pub mod dead_letter;
pub mod decide;
pub mod fault;
pub mod feed;
pub mod filter;
pub mod gather;
pub mod id;
pub mod journal;
pub mod lease;
pub mod metrics;
#[cfg(feature = "testing")]
pub mod model_testing;
pub mod number;
pub mod page;
pub mod peer;
pub mod problem;
pub mod relay;
pub mod request;
pub mod retention;
pub mod service;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod timer;
pub mod tls;
pub mod token;
pub mod trace;
pub mod vital;
pub mod watch;
pub mod words;
mod writes;

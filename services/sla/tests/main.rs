//! The sla service on real Postgres and NATS: one program, a module a layer.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod api;
mod desk;
mod events;
mod model;
mod store;

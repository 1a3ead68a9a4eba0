//! The notification service on real Postgres and NATS: what callers see ([`api`]), what events of
//! other services do ([`events`]), how webhooks and mails leave ([`sending`], [`mail`]), what the tables hold ([`store`]).

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod api;
mod desk;
mod events;
mod mail;
mod model;
mod sending;
mod sink;
mod store;

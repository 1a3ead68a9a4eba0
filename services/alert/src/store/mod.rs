//! SQL and rows. [`integrations`] and [`alerts`] have the records and their commits, [`conditions`]
//! what is locked while signals are judged, [`intake`] the raw messages and what was rejected,
//! [`read_models`] what is kept of other services.

pub mod alerts;
pub mod conditions;
pub mod intake;
pub mod integrations;
pub mod read_models;
pub mod retention;
mod row;

/// The schema.
pub const SCHEMA: &str = "alert";

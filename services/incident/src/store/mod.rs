//! SQL and rows. [`incidents`] has the record and its commit, [`alerts`] which alert belongs where,
//! [`read_models`] what is kept of other services.

pub mod alerts;
pub mod incidents;
pub mod read_models;
pub mod retention;
mod row;

/// The schema.
pub const SCHEMA: &str = "incident";

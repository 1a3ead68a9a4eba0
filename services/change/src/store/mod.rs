//! SQL and rows. [`changes`] has the record and its commit, [`read_models`] what is kept of other
//! services.

pub mod changes;
pub mod read_models;
pub mod retention;
mod row;

/// The schema.
pub const SCHEMA: &str = "change";

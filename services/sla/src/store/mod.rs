//! SQL and rows. [`agreements`], [`calendars`] and [`clocks`] have a record and its commit each,
//! [`read_models`] what is kept of other services.

pub mod agreements;
pub mod calendars;
pub mod clocks;
pub mod read_models;
pub mod retention;
mod row;

/// The schema.
pub const SCHEMA: &str = "sla";

/// A page of a list: what to filter by, after which id, how many at most.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The filter.
    pub filter: Option<kit::filter::Expression>,
    /// The last id of the page before.
    pub after: Option<uuid::Uuid>,
    /// How many at most.
    pub limit: i64,
}

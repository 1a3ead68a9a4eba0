//! SQL and rows. [`services`] and [`configuration_items`] have the records and their commits,
//! [`read_models`] what is kept of the directory.

pub mod configuration_items;
pub mod read_models;
pub mod retention;
pub mod services;

/// The schema.
pub const SCHEMA: &str = "catalog";

/// A column that holds what it must not: a fault of ours, said with its name.
#[derive(Debug, thiserror::Error)]
#[error("{table} {id}: column {column} holds what it must not")]
struct Inconsistent {
    table: &'static str,
    id: uuid::Uuid,
    column: &'static str,
}

impl From<Inconsistent> for sqlx::Error {
    fn from(inconsistent: Inconsistent) -> Self {
        Self::Decode(Box::new(inconsistent))
    }
}

//! Messages on their way out: [`webhook`] and [`mail`] send, [`address`] says where webhooks may go,
//! [`slots`] how many go at once. Nothing here knows the database.

pub mod address;
pub mod mail;
pub mod slots;
pub mod webhook;

use crate::domain::Outcome;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How.
    pub outcome: Outcome,
    /// What the receiver or the network said; never an address, never what a receiver wrote.
    pub detail: String,
}

//! What an incident is and what may happen to it. Pure: state, command and now in, decision out.
//!
//! [`state`] has the life as one table, [`priority`] the matrix, [`incident`] the record, and
//! [`verbs`] and [`by_alert`] what people and alerts can do to it.

pub mod by_alert;
pub mod incident;
pub mod priority;
pub mod refusal;
pub mod state;
#[cfg(test)]
mod tests;
pub mod verbs;

pub use incident::{AlertLink, Channel, Incident, NewIncident, PendingReason, ResolutionCode, ResolutionMode, What};
pub use priority::{Impact, Priority, Urgency};
pub use refusal::Refusal;
pub use state::{Move, State};

/// The outcome of a verb on an incident.
pub type Decision = kit::decide::Decision<Incident, What>;

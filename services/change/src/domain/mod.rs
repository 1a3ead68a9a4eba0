//! What a change is and what may happen to it. Pure: state, command and now in, decision out.
//!
//! [`state`] has the life as one table, [`change`] the record, [`verbs`] what people can do to it,
//! [`plan`] what is approved and how an edit of it takes the approval away.

pub mod change;
pub mod plan;
pub mod refusal;
pub mod state;
pub mod verbs;

#[cfg(test)]
mod tests;

pub use change::{Approval, Change, ChangeType, NewChange, Risk, What};
pub use plan::Update;
pub use refusal::Refusal;
pub use state::{Move, State};

/// The outcome of a verb on a change.
pub type Decision = kit::decide::Decision<Change, What>;

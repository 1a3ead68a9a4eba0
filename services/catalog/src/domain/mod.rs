//! What services and configuration items are and what may happen to them. Pure: state, command and
//! now in, decision out.
//!
//! [`state`] has the life as one table, which both nouns share; [`service`] and
//! [`configuration_item`] the records and their verbs.

pub mod configuration_item;
pub mod refusal;
pub mod service;
pub mod state;

#[cfg(test)]
mod tests;

pub use configuration_item::{ConfigurationItem, NewConfigurationItem};
pub use refusal::Refusal;
pub use service::{Impact, NewService, Service, ServiceKind};
pub use state::{Move, State};

/// The outcome of a verb on a service.
pub type ServiceDecision = kit::decide::Decision<Service, service::What>;
/// The outcome of a verb on a configuration item.
pub type ConfigurationItemDecision = kit::decide::Decision<ConfigurationItem, configuration_item::What>;

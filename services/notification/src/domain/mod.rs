//! Who is told what, by which way, and what becomes of it. Pure: state, command and now in,
//! decision out.
//!
//! [`contact_method`] is a way to a person, [`rule`] says which events are told to whom,
//! [`template`] is a text, [`delivery`] one message on its way, with [`retry`] as its timetable.
//! [`event`] lists what can be told about, [`subject`] is the record that it happened to.

pub mod contact_method;
pub mod delivery;
pub mod event;
pub mod refusal;
pub mod retry;
pub mod rule;
pub mod subject;
pub mod template;

pub use contact_method::{ContactMethod, ContactMethodWhat, Method};
pub use delivery::{Delivery, DeliveryWhat, Message};
pub use refusal::Refusal;
pub use retry::Outcome;
pub use rule::{Recipients, Rule, RuleWhat};
pub use subject::{Attention, Fact, Subject};
pub use template::{Template, TemplateWhat};

kit::id!(
    /// A contact method.
    ContactMethodId
);
kit::id!(
    /// A rule.
    RuleId
);
kit::id!(
    /// A template.
    TemplateId
);
kit::id!(
    /// A delivery.
    DeliveryId
);

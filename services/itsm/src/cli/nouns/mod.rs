//! Every noun there is. Data only.

mod alerts;
mod changes;
mod clocks;
mod directory;
mod incidents;
mod messages;
mod things;

use super::noun::Noun;

pub use self::{
    alerts::ALERT,
    clocks::CLOCK,
    incidents::INCIDENT,
    messages::{CONTACT, DELIVERY},
};

/// In the order of the help.
pub const NOUNS: &[&Noun] = &[
    &INCIDENT,
    &ALERT,
    &changes::CHANGE,
    &CLOCK,
    &DELIVERY,
    &alerts::INTEGRATION,
    &things::SERVICE,
    &things::CI,
    &clocks::AGREEMENT,
    &clocks::CALENDAR,
    &directory::PERSON,
    &directory::TEAM,
    &directory::KEY,
    &CONTACT,
    &messages::RULE,
    &messages::NOTIFICATION,
];

/// Impact, the widest first.
const IMPACTS: &[&str] = &["extensive", "significant", "moderate", "minor"];
/// How bad, the worst first.
const SEVERITIES: &[&str] = &["critical", "high", "medium", "low", "info"];

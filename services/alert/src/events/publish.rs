//! What happened, as an event. Pure.

use kit::journal::Entry;
use prost::Message;
use proto::{
    alert::v1::{
        AlertEvent, Cleared, IntegrationChanged, IntegrationCreated, IntegrationDisabled, IntegrationEnabled,
        IntegrationKeyRotated, Raised, Repeated, SeverityChanged, alert_event,
    },
    common::v1::Actor,
};

use crate::{
    api::convert,
    domain::{Alert, Integration, IntegrationWhat, What},
};

/// The journal entry of something that happened to an alert.
#[must_use]
pub fn alert_entry(alert: &Alert, what: What, actor: &Actor) -> Entry {
    use alert_event::What as Said;
    let (kind, what) = match what {
        What::Raised => ("raised", Said::Raised(Raised {})),
        What::Repeated => ("repeated", Said::Repeated(Repeated {})),
        What::SeverityChanged { from } => {
            ("severity_changed", Said::SeverityChanged(SeverityChanged { from: convert::severity(from).into() }))
        }
        What::Cleared => ("cleared", Said::Cleared(Cleared {})),
    };
    let event = AlertEvent { record: Some(record_of_alert(alert)), actor: Some(actor.clone()), what: Some(what) };
    Entry { record_id: alert.id.0, revision: alert.revision, kind, body: event.encode_to_vec() }
}

/// The journal entry of something that happened to an integration.
#[must_use]
pub fn integration_entry(integration: &Integration, what: IntegrationWhat, actor: &Actor) -> Entry {
    use alert_event::What as Said;
    let (kind, what) = match what {
        IntegrationWhat::Created => ("integration_created", Said::IntegrationCreated(IntegrationCreated {})),
        IntegrationWhat::Changed => ("integration_changed", Said::IntegrationChanged(IntegrationChanged {})),
        IntegrationWhat::KeyRotated => {
            ("integration_key_rotated", Said::IntegrationKeyRotated(IntegrationKeyRotated {}))
        }
        IntegrationWhat::Disabled => ("integration_disabled", Said::IntegrationDisabled(IntegrationDisabled {})),
        IntegrationWhat::Enabled => ("integration_enabled", Said::IntegrationEnabled(IntegrationEnabled {})),
    };
    let event =
        AlertEvent { record: Some(record_of_integration(integration)), actor: Some(actor.clone()), what: Some(what) };
    Entry { record_id: integration.id.0, revision: integration.revision, kind, body: event.encode_to_vec() }
}

/// An alert as it is now, for a snapshot: nothing happened.
#[must_use]
pub fn alert_snapshot(alert: &Alert) -> Vec<u8> {
    AlertEvent { record: Some(record_of_alert(alert)), actor: None, what: None }.encode_to_vec()
}

/// An integration as it is now, for a snapshot: nothing happened.
#[must_use]
pub fn integration_snapshot(integration: &Integration) -> Vec<u8> {
    AlertEvent { record: Some(record_of_integration(integration)), actor: None, what: None }.encode_to_vec()
}

fn record_of_alert(alert: &Alert) -> alert_event::Record {
    alert_event::Record::Alert(convert::alert(alert))
}

fn record_of_integration(integration: &Integration) -> alert_event::Record {
    alert_event::Record::Integration(convert::integration(integration))
}

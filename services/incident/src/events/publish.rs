//! What happened, as an event. Pure.

use kit::journal::Entry;
use prost::Message;
use proto::{
    common::v1::Actor,
    incident::v1::{
        Acknowledged, AlertCleared, AlertLinked, AlertRefired, AlertUnlinked, Assigned, Cancelled, Changed, Closed,
        FieldChange, Held, IncidentEvent, Noted, Opened, PriorityChanged, Reopened, Resolved, Resumed, Started,
        incident_event,
    },
};

use crate::{
    api::convert,
    domain::{Incident, What},
};

/// The journal entry of something that happened.
#[must_use]
pub fn entry(incident: &Incident, what: &What, actor: &Actor) -> Entry {
    let (kind, what) = said(what);
    let event =
        IncidentEvent { incident: Some(convert::incident(incident)), actor: Some(actor.clone()), what: Some(what) };
    Entry { record_id: incident.id.0, revision: incident.revision, kind, body: event.encode_to_vec() }
}

/// A record as it is now, for a snapshot: nothing happened.
#[must_use]
pub fn snapshot(incident: &Incident) -> Vec<u8> {
    IncidentEvent { incident: Some(convert::incident(incident)), actor: None, what: None }.encode_to_vec()
}

fn said(what: &What) -> (&'static str, incident_event::What) {
    use incident_event::What as Said;
    let text = |id: Option<String>| id.unwrap_or_default();
    match what.clone() {
        What::Opened => ("opened", Said::Opened(Opened {})),
        What::Acknowledged => ("acknowledged", Said::Acknowledged(Acknowledged {})),
        What::Assigned { previous_team, previous_assignee, note } => (
            "assigned",
            Said::Assigned(Assigned {
                previous_team_id: text(previous_team.map(|id| id.to_string())),
                previous_assignee_id: text(previous_assignee.map(|id| id.to_string())),
                note,
            }),
        ),
        What::Started { note } => ("started", Said::Started(Started { note })),
        What::Held { note } => ("held", Said::Held(Held { note })),
        What::Resumed { note } => ("resumed", Said::Resumed(Resumed { note })),
        What::Resolved => ("resolved", Said::Resolved(Resolved {})),
        What::Closed { note } => ("closed", Said::Closed(Closed { note })),
        What::Cancelled { reason } => ("cancelled", Said::Cancelled(Cancelled { reason })),
        What::Reopened { reason } => ("reopened", Said::Reopened(Reopened { reason })),
        What::Noted { text } => ("noted", Said::Noted(Noted { text })),
        What::Changed { changes } => {
            let change = |change: crate::domain::incident::FieldChange| FieldChange {
                field: change.field.to_owned(),
                from: change.from,
                to: change.to,
            };
            ("changed", Said::Changed(Changed { changes: changes.into_iter().map(change).collect() }))
        }
        What::PriorityChanged { from, reason } => (
            "priority_changed",
            Said::PriorityChanged(PriorityChanged { from: convert::priority(from).into(), reason }),
        ),
        What::AlertLinked(id) => ("alert_linked", Said::AlertLinked(AlertLinked { alert_id: id.to_string() })),
        What::AlertCleared(id) => ("alert_cleared", Said::AlertCleared(AlertCleared { alert_id: id.to_string() })),
        What::AlertUnlinked(id) => ("alert_unlinked", Said::AlertUnlinked(AlertUnlinked { alert_id: id.to_string() })),
        What::AlertRefired(id) => ("alert_refired", Said::AlertRefired(AlertRefired { alert_id: id.to_string() })),
    }
}

//! What happened, as an event. Pure.

use kit::journal::Entry;
use prost::Message;
use proto::{
    change::v1::{
        ApprovalVoided, Approved, Cancelled, ChangeEvent, Changed, Closed, Completed, Drafted, Failed, Rejected,
        Requested, Scheduled, Started, change_event,
    },
    common::v1::Actor,
};

use crate::{
    api::convert,
    domain::{Change, What},
};

/// The journal entry of something that happened.
#[must_use]
pub fn entry(change: &Change, what: &What, actor: &Actor) -> Entry {
    let (kind, what) = said(what);
    let event = ChangeEvent { change: Some(convert::change(change)), actor: Some(actor.clone()), what: Some(what) };
    Entry { record_id: change.id.0, revision: change.revision, kind, body: event.encode_to_vec() }
}

/// A record as it is now, for a snapshot: nothing happened.
#[must_use]
pub fn snapshot(change: &Change) -> Vec<u8> {
    ChangeEvent { change: Some(convert::change(change)), actor: None, what: None }.encode_to_vec()
}

fn said(what: &What) -> (&'static str, change_event::What) {
    use change_event::What as Said;
    match what.clone() {
        What::Drafted => ("drafted", Said::Drafted(Drafted {})),
        What::Changed { fields } => {
            ("changed", Said::Changed(Changed { fields: fields.into_iter().map(str::to_owned).collect() }))
        }
        What::ApprovalVoided => ("approval_voided", Said::ApprovalVoided(ApprovalVoided {})),
        What::Requested => ("requested", Said::Requested(Requested {})),
        What::Approved => ("approved", Said::Approved(Approved {})),
        What::Rejected { reason } => ("rejected", Said::Rejected(Rejected { reason })),
        What::Scheduled => ("scheduled", Said::Scheduled(Scheduled {})),
        What::Started => ("started", Said::Started(Started {})),
        What::Completed => ("completed", Said::Completed(Completed {})),
        What::Failed => ("failed", Said::Failed(Failed {})),
        What::Closed => ("closed", Said::Closed(Closed {})),
        What::Cancelled { reason } => ("cancelled", Said::Cancelled(Cancelled { reason })),
    }
}

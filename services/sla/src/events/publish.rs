//! What happened, as an event. Pure.

use kit::journal::Entry;
use prost::Message;
use proto::{
    common::v1::Actor,
    sla::v1::{
        AgreementActivated, AgreementChanged, AgreementCreated, AgreementRetired, CalendarChanged, CalendarCreated,
        CalendarRetired, ClockAtRisk, ClockBreachWithdrawn, ClockBreached, ClockCancelled, ClockMet, ClockPaused,
        ClockRecomputed, ClockResumed, ClockStarted, SlaEvent,
        sla_event::{Record, What},
    },
};

use crate::{
    api::convert,
    domain::{Agreement, AgreementWhat, Calendar, CalendarWhat, Clock, ClockWhat},
};

fn encode(record: Record, actor: Option<&Actor>, what: Option<What>) -> Vec<u8> {
    SlaEvent { record: Some(record), actor: actor.cloned(), what }.encode_to_vec()
}

/// The journal entry of something that happened to an agreement.
#[must_use]
pub fn agreement(agreement: &Agreement, what: AgreementWhat, actor: &Actor) -> Entry {
    let (kind, said) = match what {
        AgreementWhat::Created => ("agreement_created", What::AgreementCreated(AgreementCreated {})),
        AgreementWhat::Changed => ("agreement_changed", What::AgreementChanged(AgreementChanged {})),
        AgreementWhat::Activated => ("agreement_activated", What::AgreementActivated(AgreementActivated {})),
        AgreementWhat::Retired => ("agreement_retired", What::AgreementRetired(AgreementRetired {})),
    };
    let body = encode(Record::Agreement(convert::agreement(agreement)), Some(actor), Some(said));
    Entry { record_id: agreement.id.0, revision: agreement.revision, kind, body }
}

/// The journal entry of something that happened to a calendar.
#[must_use]
pub fn calendar(calendar: &Calendar, what: CalendarWhat, actor: &Actor) -> Entry {
    let (kind, said) = match what {
        CalendarWhat::Created => ("calendar_created", What::CalendarCreated(CalendarCreated {})),
        CalendarWhat::Changed => ("calendar_changed", What::CalendarChanged(CalendarChanged {})),
        CalendarWhat::Retired => ("calendar_retired", What::CalendarRetired(CalendarRetired {})),
    };
    let body = encode(Record::Calendar(convert::calendar(calendar)), Some(actor), Some(said));
    Entry { record_id: calendar.id.0, revision: calendar.revision, kind, body }
}

/// The journal entry of something that happened to a clock.
#[must_use]
pub fn clock(clock: &Clock, what: &ClockWhat, actor: &Actor) -> Entry {
    let (kind, said) = match what.clone() {
        ClockWhat::Started => ("clock_started", What::ClockStarted(ClockStarted {})),
        ClockWhat::Paused => ("clock_paused", What::ClockPaused(ClockPaused {})),
        ClockWhat::Resumed => ("clock_resumed", What::ClockResumed(ClockResumed {})),
        ClockWhat::Recomputed { reason } => ("clock_recomputed", What::ClockRecomputed(ClockRecomputed { reason })),
        ClockWhat::AtRisk => ("clock_at_risk", What::ClockAtRisk(ClockAtRisk {})),
        ClockWhat::Breached => ("clock_breached", What::ClockBreached(ClockBreached {})),
        ClockWhat::BreachWithdrawn { reason } => {
            ("clock_breach_withdrawn", What::ClockBreachWithdrawn(ClockBreachWithdrawn { reason }))
        }
        ClockWhat::Met => ("clock_met", What::ClockMet(ClockMet {})),
        ClockWhat::Cancelled => ("clock_cancelled", What::ClockCancelled(ClockCancelled {})),
    };
    let body = encode(Record::Clock(convert::clock(clock)), Some(actor), Some(said));
    Entry { record_id: clock.id.0, revision: clock.revision, kind, body }
}

/// An agreement as it is now, for a snapshot: nothing happened.
#[must_use]
pub fn agreement_snapshot(agreement: &Agreement) -> Vec<u8> {
    encode(Record::Agreement(convert::agreement(agreement)), None, None)
}

/// A calendar as it is now, for a snapshot.
#[must_use]
pub fn calendar_snapshot(calendar: &Calendar) -> Vec<u8> {
    encode(Record::Calendar(convert::calendar(calendar)), None, None)
}

/// A clock as it is now, for a snapshot.
#[must_use]
pub fn clock_snapshot(clock: &Clock) -> Vec<u8> {
    encode(Record::Clock(convert::clock(clock)), None, None)
}

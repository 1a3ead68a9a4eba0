//! Records and events as on the wire.

use std::str::FromStr;

use chrono::NaiveDate;
use kit::{
    bus::timestamp,
    filter::{Expression, Value},
    problem::Problem,
    watch::Watched,
};
use prost::Message;
use proto::{
    common::v1::FeedEntry,
    sla::v1::{self as wire, SlaEvent, sla_event::Record},
};

use super::{kind, priority};
use crate::{
    domain::{self, Agreement, Calendar, Clock, Hours, explanation::explain, schedule::TIME_ZONE_VERSION},
    store::{agreements, calendars, clocks},
};

/// The most segments of a clock that the wire carries, the latest, so that an event stays below its
/// limit; the row has all.
const SEGMENTS_AT_MOST: usize = 500;

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// An agreement as on the wire.
#[must_use]
pub fn agreement(agreement: &Agreement) -> wire::Agreement {
    let state = match agreement.state {
        domain::AgreementState::Draft => wire::AgreementState::Draft,
        domain::AgreementState::Active => wire::AgreementState::Active,
        domain::AgreementState::Retired => wire::AgreementState::Retired,
    };
    let target = |target: &domain::Target| wire::Target {
        priority: priority(target.priority),
        response_seconds: target.response_seconds,
        resolution_seconds: target.resolution_seconds,
        calendar_id: text(target.calendar_id),
        at_risk_percent: target.at_risk_percent.into(),
    };
    wire::Agreement {
        id: agreement.id.to_string(),
        revision: agreement.revision,
        display_name: agreement.display_name.clone(),
        kind: kind(agreement.kind),
        service_id: text(agreement.service_id),
        targets: agreement.targets.iter().map(target).collect(),
        state: state.into(),
        create_time: Some(timestamp(agreement.created_at)),
        update_time: Some(timestamp(agreement.updated_at)),
    }
}

/// A calendar as on the wire.
#[must_use]
pub fn calendar(calendar: &Calendar) -> wire::Calendar {
    let state = match calendar.state {
        domain::CalendarState::Active => wire::CalendarState::Active,
        domain::CalendarState::Retired => wire::CalendarState::Retired,
    };
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    let hours = |hours: &Hours| wire::Hours {
        weekday: i32::try_from(hours.weekday().number_from_monday()).unwrap_or_default(),
        from: clock(hours.from()),
        to: clock(hours.to()),
    };
    wire::Calendar {
        id: calendar.id.to_string(),
        revision: calendar.revision,
        name: calendar.name.clone(),
        display_name: calendar.display_name.clone(),
        time_zone: calendar.schedule.zone().name().to_owned(),
        hours: calendar.schedule.hours().iter().map(hours).collect(),
        holidays: calendar.schedule.holidays().iter().map(NaiveDate::to_string).collect(),
        state: state.into(),
        create_time: Some(timestamp(calendar.created_at)),
        update_time: Some(timestamp(calendar.updated_at)),
    }
}

/// A clock as on the wire.
#[must_use]
pub fn clock(clock: &Clock) -> wire::Clock {
    let state = match clock.state {
        domain::ClockState::Running => wire::ClockState::Running,
        domain::ClockState::Paused => wire::ClockState::Paused,
        domain::ClockState::Met => wire::ClockState::Met,
        domain::ClockState::Cancelled => wire::ClockState::Cancelled,
    };
    let metric = match clock.metric {
        domain::Metric::Response => wire::Metric::Response,
        domain::Metric::Resolution => wire::Metric::Resolution,
    };
    let segment = |segment: &domain::Segment| wire::Segment {
        start_time: Some(timestamp(segment.start)),
        end_time: segment.end.map(timestamp),
        counted: segment.counted(),
        reason: segment.reason.name().to_owned(),
        event_id: segment.event_id.to_string(),
    };
    let untold = clock.segments.len().saturating_sub(SEGMENTS_AT_MOST);
    wire::Clock {
        id: clock.id.to_string(),
        revision: clock.revision,
        incident_id: clock.incident_id.to_string(),
        incident_number: clock.incident_number.clone(),
        agreement_id: clock.terms.agreement_id.to_string(),
        agreement_revision: clock.terms.agreement_revision,
        metric: metric.into(),
        state: state.into(),
        priority: priority(clock.priority),
        target_seconds: clock.term().map_or(0, |term| term.seconds),
        calendar_id: text(clock.term().and_then(|term| term.calendar_id)),
        service_id: text(clock.service_id),
        start_time: Some(timestamp(clock.started_at())),
        at_risk_due_time: clock.at_risk_due_at().map(timestamp),
        due_time: clock.due_at().map(timestamp),
        at_risk_time: clock.at_risk_at.map(timestamp),
        breach_time: clock.breached_at.map(timestamp),
        breached: clock.breached_at.is_some(),
        provisional: clock.provisional,
        stop_time: clock.stopped_at.map(timestamp),
        elapsed_seconds: clock.elapsed(clock.stopped_at.unwrap_or(clock.updated_at)).num_seconds(),
        segments: clock.segments[untold..].iter().map(segment).collect(),
        explanation: explain(clock),
        time_zone_version: TIME_ZONE_VERSION.to_owned(),
        assigned_team_id: text(clock.team_id),
        create_time: Some(timestamp(clock.created_at)),
        update_time: Some(timestamp(clock.updated_at)),
    }
}

fn id_value(text: &str) -> Option<Value> {
    uuid::Uuid::from_str(text).ok().map(Value::Uuid)
}

fn name_value(name: &str, prefix: &str) -> Option<Value> {
    Some(Value::Text(name.trim_start_matches(prefix).to_owned()))
}

fn agreement_value(agreement: &wire::Agreement, field: &str) -> Option<Value> {
    match field {
        "state" => name_value(agreement.state().as_str_name(), "AGREEMENT_STATE_"),
        "kind" => name_value(agreement.kind().as_str_name(), "AGREEMENT_KIND_"),
        "service_id" => id_value(&agreement.service_id),
        _ => None,
    }
}

fn calendar_value(calendar: &wire::Calendar, field: &str) -> Option<Value> {
    match field {
        "state" => name_value(calendar.state().as_str_name(), "CALENDAR_STATE_"),
        "name" => Some(Value::Text(calendar.name.clone())),
        _ => None,
    }
}

fn clock_value(clock: &wire::Clock, field: &str) -> Option<Value> {
    match field {
        "state" => name_value(clock.state().as_str_name(), "CLOCK_STATE_"),
        "metric" => name_value(clock.metric().as_str_name(), "METRIC_"),
        "incident_id" => id_value(&clock.incident_id),
        "breached" => Some(Value::Boolean(clock.breached)),
        "service_id" => id_value(&clock.service_id),
        "agreement_id" => id_value(&clock.agreement_id),
        "priority" => Some(Value::Integer(clock.priority.into())),
        _ => None,
    }
}

/// The record in the bytes of an event.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn record_of(body: &[u8]) -> Result<Option<Record>, Problem> {
    Ok(SlaEvent::decode(body)?.record)
}

/// An event with its place.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn entry(entry: FeedEntry, cursor: String) -> Result<wire::SlaEventEntry, Problem> {
    Ok(wire::SlaEventEntry {
        event_id: entry.event_id,
        r#type: entry.r#type,
        record_id: entry.record_id,
        revision: entry.revision,
        at: entry.at,
        cursor,
        request_id: entry.request_id,
        event: Some(SlaEvent::decode(entry.body)?),
    })
}

/// Which records a watch is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watches {
    /// Agreements.
    Agreements,
    /// Calendars.
    Calendars,
    /// Clocks.
    Clocks,
}

/// An event of a watch, unless it is of other records or the filter leaves it out.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn watched(
    watched: Watched,
    watches: Watches,
    filter: Option<&Expression>,
) -> Result<Option<wire::SlaEventEntry>, Problem> {
    let entry = entry(watched.entry, watched.cursor)?;
    let record = entry.event.as_ref().and_then(|event| event.record.as_ref());
    let matches = match (watches, record, filter) {
        (Watches::Agreements, Some(Record::Agreement(_)), None)
        | (Watches::Calendars, Some(Record::Calendar(_)), None)
        | (Watches::Clocks, Some(Record::Clock(_)), None) => Ok(true),
        (Watches::Agreements, Some(Record::Agreement(record)), Some(filter)) => {
            filter.matches(agreements::FIELDS, &|field| agreement_value(record, field))
        }
        (Watches::Calendars, Some(Record::Calendar(record)), Some(filter)) => {
            filter.matches(calendars::FIELDS, &|field| calendar_value(record, field))
        }
        (Watches::Clocks, Some(Record::Clock(record)), Some(filter)) => {
            filter.matches(clocks::FIELDS, &|field| clock_value(record, field))
        }
        _ => Ok(false),
    };
    let matches = matches.map_err(|error| Problem::invalid("filter", error.to_string()))?;
    Ok(matches.then_some(entry))
}

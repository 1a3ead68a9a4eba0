//! The records of other services as subjects of messages. Pure. Every record of a kind gets the
//! same facts, which templates rely on.

use std::{collections::BTreeMap, str::FromStr};

use chrono::{DateTime, Utc};
use kit::{bus, consumer::Failure};
use proto::{
    alert::v1::Alert,
    change::v1::Change,
    incident::v1::{Incident, IncidentState},
    sla::v1::Clock,
};

use crate::domain::{Attention, Fact, Subject, event::Kind};

/// An id that must be one.
///
/// # Errors
/// The event's fault when it is none.
pub fn id<T: FromStr>(text: &str) -> Result<T, Failure>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    T::from_str(text).map_err(|error| Failure::Event(error.into()))
}

/// An id that may be empty.
///
/// # Errors
/// The event's fault when it is neither.
pub fn optional<T: FromStr>(text: &str) -> Result<Option<T>, Failure>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    if text.is_empty() { Ok(None) } else { id(text).map(Some) }
}

fn word(name: &str, prefix: &str) -> String {
    let word = name.strip_prefix(prefix).unwrap_or(name);
    if word == "UNSPECIFIED" { String::new() } else { word.to_owned() }
}

fn ranked(number: i32) -> Option<i64> {
    (number > 0).then_some(number.into())
}

fn time(at: &Option<prost_types::Timestamp>) -> Fact {
    Fact::Time(at.as_ref().and_then(bus::time))
}

fn text(text: impl Into<String>) -> Fact {
    Fact::Text(text.into())
}

/// How much attention an incident still needs: somebody who works on it has seen it.
#[must_use]
pub fn attention(incident: &Incident) -> Attention {
    match incident.state() {
        IncidentState::Resolved | IncidentState::Closed | IncidentState::Cancelled => Attention::Over,
        IncidentState::InProgress | IncidentState::Pending => Attention::Acknowledged,
        IncidentState::Unspecified | IncidentState::New | IncidentState::Assigned => {
            if incident.acknowledge_time.is_some() { Attention::Acknowledged } else { Attention::Wanted }
        }
    }
}

/// An incident.
///
/// # Errors
/// The event's fault when an id is none.
pub fn incident(incident: &Incident) -> Result<Subject, Failure> {
    let mut subject = Subject::bare(Kind::Incident, id(&incident.id)?);
    subject.number.clone_from(&incident.number);
    subject.title.clone_from(&incident.title);
    subject.description.clone_from(&incident.description);
    subject.state = word(incident.state().as_str_name(), "INCIDENT_STATE_");
    subject.priority = ranked(incident.priority);
    subject.service_ids = optional(&incident.service_id)?.into_iter().collect();
    subject.assigned_team_id = optional(&incident.assigned_team_id)?;
    subject.assignee_id = optional(&incident.assignee_id)?;
    subject.incident_id = Some(subject.id.into());
    subject.facts = BTreeMap::from([
        ("category", text(&incident.category)),
        ("impact", Fact::Number(incident.impact.into())),
        ("urgency", Fact::Number(incident.urgency.into())),
        ("priority_reason", text(&incident.priority_reason)),
        ("pending_reason", text(word(incident.pending_reason().as_str_name(), "PENDING_REASON_"))),
        ("resolution_code", text(word(incident.resolution_code().as_str_name(), "RESOLUTION_CODE_"))),
        ("resolution_notes", text(&incident.resolution_notes)),
        ("alert_count", Fact::Number(i64::try_from(incident.alerts.len()).unwrap_or(i64::MAX))),
        ("acknowledge_time", time(&incident.acknowledge_time)),
        ("create_time", time(&incident.create_time)),
    ]);
    Ok(subject)
}

/// An alert.
///
/// # Errors
/// The event's fault when an id is none.
pub fn alert(alert: &Alert) -> Result<Subject, Failure> {
    let mut subject = Subject::bare(Kind::Alert, id(&alert.id)?);
    subject.title.clone_from(&alert.title);
    subject.description.clone_from(&alert.description);
    subject.state = word(alert.state().as_str_name(), "ALERT_STATE_");
    subject.severity =
        Some(word(alert.severity().as_str_name(), "SEVERITY_").to_lowercase()).filter(|name| !name.is_empty());
    subject.service_ids = optional(&alert.service_id)?.into_iter().collect();
    subject.assigned_team_id = optional(&alert.team_id)?;
    subject.labels = alert.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    subject.facts = BTreeMap::from([
        ("source_url", text(&alert.source_url)),
        ("dedup_key", text(&alert.dedup_key)),
        ("decision", text(&alert.decision)),
        ("occurrence_count", Fact::Number(alert.occurrence_count)),
        ("start_time", time(&alert.start_time)),
        ("clear_time", time(&alert.clear_time)),
    ]);
    Ok(subject)
}

/// A clock; title and assignee are its incident's, which the use case adds.
///
/// # Errors
/// The event's fault when an id is none.
pub fn clock(clock: &Clock) -> Result<Subject, Failure> {
    let mut subject = Subject::bare(Kind::Clock, id(&clock.id)?);
    subject.number.clone_from(&clock.incident_number);
    subject.state = word(clock.state().as_str_name(), "CLOCK_STATE_");
    subject.priority = ranked(clock.priority);
    subject.service_ids = optional(&clock.service_id)?.into_iter().collect();
    subject.assigned_team_id = optional(&clock.assigned_team_id)?;
    subject.incident_id = optional(&clock.incident_id)?;
    let due: Option<DateTime<Utc>> = clock.due_time.as_ref().or(clock.breach_time.as_ref()).and_then(bus::time);
    subject.facts = BTreeMap::from([
        ("metric", text(word(clock.metric().as_str_name(), "METRIC_").to_lowercase())),
        ("explanation", text(&clock.explanation)),
        ("target_seconds", Fact::Number(clock.target_seconds)),
        ("elapsed_seconds", Fact::Number(clock.elapsed_seconds)),
        ("breached", Fact::Flag(clock.breached)),
        ("provisional", Fact::Flag(clock.provisional)),
        ("start_time", time(&clock.start_time)),
        ("due_time", Fact::Time(due)),
        ("breach_time", time(&clock.breach_time)),
    ]);
    Ok(subject)
}

/// A change.
///
/// # Errors
/// The event's fault when an id is none.
pub fn change(change: &Change) -> Result<Subject, Failure> {
    let mut subject = Subject::bare(Kind::Change, id(&change.id)?);
    subject.number.clone_from(&change.number);
    subject.title.clone_from(&change.title);
    subject.description.clone_from(&change.description);
    subject.state = word(change.state().as_str_name(), "CHANGE_STATE_");
    subject.service_ids = change.service_ids.iter().map(|service| id(service)).collect::<Result<_, _>>()?;
    subject.assigned_team_id = optional(&change.assigned_team_id)?;
    subject.facts = BTreeMap::from([
        ("type", text(word(change.r#type().as_str_name(), "CHANGE_TYPE_").to_lowercase())),
        ("risk", text(word(change.risk().as_str_name(), "RISK_").to_lowercase())),
        ("reason", text(&change.reason)),
        ("requester_id", text(&change.requester_id)),
        ("planned_start_time", time(&change.planned_start_time)),
        ("planned_end_time", time(&change.planned_end_time)),
    ]);
    Ok(subject)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn every_record_of_a_kind_has_the_facts_that_templates_rely_on() {
        let id = kit::id::draw().to_string();
        let subjects = [
            incident(&Incident { id: id.clone(), ..Incident::default() }).unwrap(),
            alert(&Alert { id: id.clone(), ..Alert::default() }).unwrap(),
            clock(&Clock { id: id.clone(), ..Clock::default() }).unwrap(),
            change(&Change { id, ..Change::default() }).unwrap(),
        ];
        for subject in subjects {
            let promised: Vec<&str> = samples::sample(subject.kind).facts.into_keys().collect();
            assert_eq!(subject.facts.into_keys().collect::<Vec<_>>(), promised, "{:?}", subject.kind);
        }
    }

    #[test]
    fn whoever_works_on_an_incident_has_seen_it() {
        let said = |state: IncidentState, seen: bool| {
            attention(&Incident {
                state: state.into(),
                acknowledge_time: seen.then(prost_types::Timestamp::default),
                ..Incident::default()
            })
        };
        assert_eq!(said(IncidentState::New, false), Attention::Wanted);
        assert_eq!(said(IncidentState::Assigned, false), Attention::Wanted);
        assert_eq!(said(IncidentState::Assigned, true), Attention::Acknowledged);
        assert_eq!(said(IncidentState::InProgress, false), Attention::Acknowledged);
        assert_eq!(said(IncidentState::Resolved, true), Attention::Over);
    }

    #[test]
    fn words_are_those_of_filters_and_texts() {
        let alert = Alert { id: kit::id::draw().to_string(), severity: 1, state: 1, ..Alert::default() };
        let subject = super::alert(&alert).unwrap();
        assert_eq!((subject.severity.as_deref(), subject.state.as_str()), (Some("critical"), "ACTIVE"));
        assert!(super::alert(&Alert { id: "x".to_owned(), ..Alert::default() }).is_err());
    }
}

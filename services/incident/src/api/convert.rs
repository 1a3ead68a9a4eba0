//! Messages to the domain and back. The only place that turns a bad field into INVALID_ARGUMENT,
//! with the field's path.

use std::str::FromStr;

use kit::{
    bus::timestamp,
    filter::Expression,
    id::{CiId, PersonId, ServiceId, TeamId},
    page::{self, PageError},
    problem::Problem,
    watch::{From as WatchFrom, Watched},
};
use prost::Message;
use proto::{
    common::v1::{self as common, FeedEntry},
    incident::v1 as wire,
};

use crate::{
    app::{Target, commands::Create},
    domain::{self, AlertLink, Incident, verbs::Update},
    store::incidents::{FIELDS, Key},
};

macro_rules! both_ways {
    ($to:ident, $from:ident, $domain:ty, $wire:ty, { $($variant:ident),+ $(,)? }) => {
        /// As on the wire.
        #[must_use]
        pub fn $to(value: $domain) -> $wire {
            match value { $(<$domain>::$variant => <$wire>::$variant,)+ }
        }

        fn $from(value: $wire) -> Option<$domain> {
            match value {
                <$wire>::Unspecified => None,
                $(<$wire>::$variant => Some(<$domain>::$variant),)+
            }
        }
    };
}

both_ways!(state, _state, domain::State, wire::IncidentState, { New, Assigned, InProgress, Pending, Resolved, Closed, Cancelled });
both_ways!(pending_reason, pending_reason_of, domain::PendingReason, wire::PendingReason, { User, Supplier, Change, Problem, Other });
both_ways!(resolution_code, resolution_code_of, domain::ResolutionCode, wire::ResolutionCode,
    { Fixed, Workaround, ClearedByMonitoring, Duplicate, NotReproducible, NoFaultFound });
both_ways!(resolution_mode, resolution_mode_of, domain::ResolutionMode, wire::ResolutionMode, { Automatic, Manual });
both_ways!(channel, channel_of, domain::Channel, wire::Channel, { Alert, Api, Phone, Mail, Portal });
both_ways!(impact, impact_of, domain::Impact, common::Impact, { Extensive, Significant, Moderate, Minor });
both_ways!(urgency, urgency_of, domain::Urgency, common::Urgency, { Critical, High, Medium, Low });
both_ways!(priority, priority_of, domain::Priority, common::Priority, { P1, P2, P3, P4 });

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// An incident as on the wire.
#[must_use]
pub fn incident(incident: &Incident) -> wire::Incident {
    let resolution = incident.resolution.as_ref();
    wire::Incident {
        id: incident.id.to_string(),
        revision: incident.revision,
        number: incident.number.clone(),
        title: incident.title.clone(),
        description: incident.description.clone(),
        state: state(incident.state).into(),
        pending_reason: incident.pending_reason.map_or(0, |reason| pending_reason(reason).into()),
        impact: impact(incident.impact).into(),
        urgency: urgency(incident.urgency).into(),
        priority: priority(incident.priority).into(),
        priority_reason: incident.priority_reason.clone(),
        priority_overridden: incident.priority_overridden,
        category: incident.category.clone(),
        service_id: text(incident.service_id),
        ci_id: text(incident.ci_id),
        assigned_team_id: text(incident.assigned_team_id),
        assignee_id: text(incident.assignee_id),
        reporter_id: text(incident.reporter_id),
        channel: channel(incident.channel).into(),
        resolution_mode: resolution_mode(incident.resolution_mode).into(),
        resolution_code: resolution.map_or(0, |resolution| resolution_code(resolution.code).into()),
        resolution_notes: resolution.map(|resolution| resolution.notes.clone()).unwrap_or_default(),
        acknowledged_by_id: text(incident.acknowledgement.map(|acknowledgement| acknowledgement.by)),
        acknowledge_time: incident.acknowledgement.map(|acknowledgement| timestamp(acknowledgement.at)),
        resolve_time: resolution.map(|resolution| timestamp(resolution.at)),
        close_time: incident.closed_at.map(timestamp),
        reopen_count: incident.reopen_count,
        alerts: incident.alerts.iter().map(link).collect(),
        taken_over: incident.taken_over,
        create_time: Some(timestamp(incident.created_at)),
        update_time: Some(timestamp(incident.updated_at)),
    }
}

fn link(link: &AlertLink) -> wire::AlertLink {
    wire::AlertLink {
        alert_id: link.alert_id.to_string(),
        active: link.active,
        link_time: Some(timestamp(link.linked_at)),
    }
}

/// The incident in the bytes of an event.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn incident_of(body: &[u8]) -> Result<wire::Incident, Problem> {
    Ok(wire::IncidentEvent::decode(body)?.incident.unwrap_or_default())
}

/// An event with its place.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn entry(entry: FeedEntry, cursor: String) -> Result<wire::IncidentEventEntry, Problem> {
    Ok(wire::IncidentEventEntry {
        event_id: entry.event_id,
        r#type: entry.r#type,
        record_id: entry.record_id,
        revision: entry.revision,
        at: entry.at,
        cursor,
        request_id: entry.request_id,
        event: Some(wire::IncidentEvent::decode(entry.body)?),
    })
}

/// An event of a watch, unless the filter leaves it out.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn watched(watched: Watched, filter: Option<&Expression>) -> Result<Option<wire::IncidentEventEntry>, Problem> {
    let entry = entry(watched.entry, watched.cursor)?;
    let matches = match (filter, entry.event.as_ref().and_then(|event| event.incident.as_ref())) {
        (Some(filter), Some(incident)) => filter
            .matches(FIELDS, &|field| value(incident, field))
            .map_err(|error| Problem::invalid("filter", error.to_string()))?,
        (None, _) | (_, None) => true,
    };
    Ok(matches.then_some(entry))
}

fn value(incident: &wire::Incident, field: &str) -> Option<kit::filter::Value> {
    use kit::filter::Value;
    let id = |text: &str| uuid::Uuid::from_str(text).ok().map(Value::Uuid);
    match field {
        "state" => Some(Value::Text(incident.state().as_str_name().trim_start_matches("INCIDENT_STATE_").to_owned())),
        "priority" => Some(Value::Integer(incident.priority.into())),
        "assigned_team_id" => id(&incident.assigned_team_id),
        "assignee_id" => id(&incident.assignee_id),
        "service_id" => id(&incident.service_id),
        "ci_id" => id(&incident.ci_id),
        "category" => Some(Value::Text(incident.category.clone())),
        "number" => Some(Value::Text(incident.number.clone())),
        "create_time" => incident.create_time.as_ref().and_then(kit::bus::time).map(Value::Time),
        _ => None,
    }
}

/// Names an incident, by id or number.
///
/// # Errors
/// Invalid when it is neither.
pub fn key(field: &str, text: &str) -> Result<Key, Problem> {
    let digits = text
        .strip_prefix("INC")
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    if digits {
        return Ok(Key::Number(text.to_owned()));
    }
    text.parse().map(Key::Id).map_err(|_| Problem::invalid(field, "must be the id or the number of an incident"))
}

/// The incident that a verb is about.
///
/// # Errors
/// Invalid when the id is none.
pub fn target(id: &str, revision: Option<i64>) -> Result<Target, Problem> {
    Ok(Target { key: key("id", id)?, revision })
}

/// An id that may be empty.
///
/// # Errors
/// Invalid when it is neither empty nor an id.
pub fn optional_id<T: FromStr>(field: &str, text: &str) -> Result<Option<T>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Problem::invalid(field, "must be an id (a UUID)"))
}

/// An id.
///
/// # Errors
/// Invalid when it is none.
pub fn id<T: FromStr>(field: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::invalid(field, "must be an id (a UUID)"))
}

/// A text of at least `least` and at most `most` characters, without control characters but line
/// breaks and tabs.
///
/// # Errors
/// Invalid otherwise.
pub fn limited(field: &str, text: String, least: usize, most: usize) -> Result<String, Problem> {
    let length = text.chars().count();
    if length < least || text.trim().is_empty() && least > 0 {
        return Err(Problem::invalid(field, format!("must have at least {least} characters")));
    }
    if length > most {
        return Err(Problem::invalid(field, format!("must have at most {most} characters, not {length}")));
    }
    if text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\r' | '\t')) {
        return Err(Problem::invalid(field, "must not have control characters"));
    }
    Ok(text)
}

/// A note, which may be empty.
///
/// # Errors
/// Invalid when it is too long.
pub fn note(text: String) -> Result<String, Problem> {
    limited("note", text, 0, 16_384)
}

fn title(text: String) -> Result<String, Problem> {
    let text = limited("incident.title", text, 1, 200)?;
    if text.contains(['\n', '\r']) { Err(Problem::invalid("incident.title", "must be one line")) } else { Ok(text) }
}

fn category(text: String) -> Result<String, Problem> {
    let fits = text.len() <= 80
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte));
    if fits {
        Ok(text)
    } else {
        Err(Problem::invalid("incident.category", "must be up to 80 of a-z, 0-9, `.`, `_`, `-`"))
    }
}

fn said<T>(field: &str, value: Option<T>, choices: &str) -> Result<T, Problem> {
    value.ok_or_else(|| Problem::invalid(field, format!("must be one of {choices}")))
}

/// The names of an enum's variants, for a message.
fn names<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> String {
    all.iter().map(|&value| name(value)).collect::<Vec<_>>().join(", ")
}

/// A new incident.
///
/// # Errors
/// Invalid fields.
pub fn create(incident: Option<wire::Incident>) -> Result<Create, Problem> {
    let incident = incident.ok_or_else(|| Problem::invalid("incident", "must be given"))?;
    let (impact, urgency, channel, resolution_mode) =
        (incident.impact(), incident.urgency(), incident.channel(), incident.resolution_mode());
    Ok(Create {
        impact: impact_of(impact),
        urgency: urgency_of(urgency).unwrap_or(domain::Urgency::Medium),
        channel: channel_of(channel).unwrap_or(domain::Channel::Api),
        resolution_mode: resolution_mode_of(resolution_mode).unwrap_or(domain::ResolutionMode::Automatic),
        service_id: optional_id::<ServiceId>("incident.service_id", &incident.service_id)?,
        ci_id: optional_id::<CiId>("incident.ci_id", &incident.ci_id)?,
        team_id: optional_id::<TeamId>("incident.assigned_team_id", &incident.assigned_team_id)?,
        reporter_id: optional_id::<PersonId>("incident.reporter_id", &incident.reporter_id)?,
        title: title(incident.title)?,
        description: limited("incident.description", incident.description, 0, 16_384)?,
        category: category(incident.category)?,
    })
}

const UPDATABLE: &str = "title, description, impact, urgency, category, service_id, ci_id, resolution_mode";

/// An update, by its mask.
///
/// # Errors
/// Invalid fields, a missing revision, or a mask that names what cannot change.
pub fn update(
    incident: Option<wire::Incident>,
    mask: Option<prost_types::FieldMask>,
) -> Result<(Target, Update), Problem> {
    let incident = incident.ok_or_else(|| Problem::invalid("incident", "must be given"))?;
    let target = Target { key: key("incident.id", &incident.id)?, revision: Some(incident.revision) };
    if incident.revision <= 0 {
        return Err(Problem::invalid("incident.revision", "must be the revision that the change is based on"));
    }
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        return Err(Problem::invalid("update_mask", format!("must name what changes: {UPDATABLE}")));
    }
    let mut update = Update::default();
    for path in paths {
        match path.as_str() {
            "title" => update.title = Some(title(incident.title.clone())?),
            "description" => {
                update.description = Some(limited("incident.description", incident.description.clone(), 0, 16_384)?)
            }
            "impact" => {
                update.impact = Some(said(
                    "incident.impact",
                    impact_of(incident.impact()),
                    "EXTENSIVE, SIGNIFICANT, MODERATE, MINOR",
                )?)
            }
            "urgency" => {
                update.urgency =
                    Some(said("incident.urgency", urgency_of(incident.urgency()), "CRITICAL, HIGH, MEDIUM, LOW")?)
            }
            "category" => update.category = Some(category(incident.category.clone())?),
            "service_id" => update.service_id = Some(optional_id("incident.service_id", &incident.service_id)?),
            "ci_id" => update.ci_id = Some(optional_id("incident.ci_id", &incident.ci_id)?),
            "resolution_mode" => {
                let mode = resolution_mode_of(incident.resolution_mode());
                update.resolution_mode = Some(said(
                    "incident.resolution_mode",
                    mode,
                    &names(domain::ResolutionMode::ALL, |mode| mode.name()),
                )?);
            }
            other => {
                return Err(Problem::invalid(
                    "update_mask",
                    format!("`{other}` cannot be changed; what can: {UPDATABLE}"),
                ));
            }
        }
    }
    Ok((target, update))
}

/// What an incident waits for.
///
/// # Errors
/// Invalid when it is not said.
pub fn wanted_pending_reason(reason: wire::PendingReason) -> Result<domain::PendingReason, Problem> {
    said("pending_reason", pending_reason_of(reason), &names(domain::PendingReason::ALL, |reason| reason.name()))
}

/// How an incident ended.
///
/// # Errors
/// Invalid when it is not said, or monitoring's own code.
pub fn wanted_resolution_code(code: wire::ResolutionCode) -> Result<domain::ResolutionCode, Problem> {
    let code =
        said("resolution_code", resolution_code_of(code), &names(domain::ResolutionCode::ALL, |code| code.name()))?;
    if code == domain::ResolutionCode::ClearedByMonitoring {
        return Err(Problem::invalid("resolution_code", "CLEARED_BY_MONITORING is for monitoring alone"));
    }
    Ok(code)
}

/// The priority wanted.
///
/// # Errors
/// Invalid when it is not said.
pub fn wanted_priority(wanted: common::Priority) -> Result<domain::Priority, Problem> {
    said("priority", priority_of(wanted), "P1, P2, P3, P4")
}

/// A filter, which may be empty.
///
/// # Errors
/// Invalid when it is none, or names unknown fields.
pub fn filter(text: &str) -> Result<Option<Expression>, Problem> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let invalid = |error: kit::filter::FilterError| Problem::invalid("filter", error.to_string());
    let expression = kit::filter::parse(text).map_err(invalid)?;
    expression.check(FIELDS).map_err(invalid)?;
    Ok(Some(expression))
}

/// Where a watch begins.
///
/// # Errors
/// Invalid when the time is none.
pub fn watch_from(cursor: String, start_time: Option<prost_types::Timestamp>) -> Result<WatchFrom, Problem> {
    match (cursor.is_empty(), start_time) {
        (false, _) => Ok(WatchFrom::Cursor(cursor)),
        (true, Some(at)) => {
            kit::bus::time(&at).map(WatchFrom::Time).ok_or_else(|| Problem::invalid("start_time", "is no time"))
        }
        (true, None) => Ok(WatchFrom::Now),
    }
}

/// A fault of paging as a problem.
#[must_use]
pub fn paging(error: PageError) -> Problem {
    Problem::invalid(error.field(), error.to_string())
}

/// The size of a page.
///
/// # Errors
/// Invalid when it is out of bounds.
pub fn page_size(requested: i32) -> Result<i64, Problem> {
    page::page_size(requested).map_err(paging)
}

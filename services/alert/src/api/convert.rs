//! Messages to the domain and back. The only place that turns a bad field into INVALID_ARGUMENT,
//! with the field's path.

use std::str::FromStr;

use kit::{
    bus::timestamp,
    filter::{Expression, Field, Value},
    id::AlertId,
    page::{self, PageError},
    problem::Problem,
    watch::{From as WatchFrom, Watched},
};
use prost::Message;
use proto::{
    alert::v1::{self as wire, alert_event::Record},
    common::v1::{self as common, FeedEntry},
};
use uuid::Uuid;

use crate::{
    app::Target,
    domain::{
        self, Alert, Integration, IntegrationId,
        integration::{Change, NewIntegration},
    },
    store::{alerts, intake::Shown, integrations},
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

both_ways!(severity, severity_of, domain::Severity, wire::Severity, { Critical, High, Medium, Low, Info });
both_ways!(alert_state, _alert_state, domain::State, wire::AlertState, { Active, Cleared });
both_ways!(clear_reason, _clear_reason, domain::ClearReason, wire::ClearReason, { Source, Expired, Person });
both_ways!(integration_state, _integration_state, domain::IntegrationState, wire::IntegrationState, { Active, Disabled });
both_ways!(impact, _impact, domain::Impact, common::Impact, { Extensive, Significant, Moderate, Minor });

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// An alert as on the wire.
#[must_use]
pub fn alert(alert: &Alert) -> wire::Alert {
    let content = &alert.content;
    wire::Alert {
        id: alert.id.to_string(),
        revision: alert.revision,
        integration_id: alert.integration_id.to_string(),
        dedup_key: alert.dedup_key.clone(),
        state: alert_state(alert.state()).into(),
        severity: severity(alert.severity).into(),
        title: content.title.clone(),
        description: content.description.clone(),
        labels: content.labels.clone().into_iter().collect(),
        annotations: content.annotations.clone().into_iter().collect(),
        service_id: text(alert.route.service_id),
        ci_id: text(alert.route.ci_id),
        team_id: text(alert.route.team_id),
        opens_incident: alert.choice.opens_incident,
        decision: alert.choice.decision.clone(),
        occurrence_count: alert.occurrence_count,
        start_time: Some(timestamp(alert.started_at)),
        last_seen_time: Some(timestamp(alert.last_seen_at)),
        expire_time: alert.expires_at.map(timestamp),
        clear_time: alert.cleared.map(|(at, _)| timestamp(at)),
        clear_reason: alert.cleared.map_or(0, |(_, reason)| clear_reason(reason).into()),
        source_url: content.source_url.clone(),
        group_key: content.group_key.clone(),
        trace_parent: alert.trace_parent.clone(),
        impact: alert.route.impact.map_or(0, |level| impact(level).into()),
        create_time: Some(timestamp(alert.created_at)),
        update_time: Some(timestamp(alert.updated_at)),
    }
}

/// An integration as on the wire; its key is nowhere.
#[must_use]
pub fn integration(integration: &Integration) -> wire::Integration {
    wire::Integration {
        id: integration.id.to_string(),
        revision: integration.revision,
        name: integration.name.clone(),
        display_name: integration.display_name.clone(),
        team_id: text(integration.team_id),
        service_id: text(integration.service_id),
        open_incident_from: severity(integration.open_incident_from).into(),
        state: integration_state(integration.state).into(),
        key_hint: integration.key.hint.clone(),
        create_time: Some(timestamp(integration.created_at)),
        update_time: Some(timestamp(integration.updated_at)),
    }
}

/// A rejected alert as on the wire.
#[must_use]
pub fn rejected(shown: Shown) -> wire::RejectedAlert {
    wire::RejectedAlert {
        id: shown.id.to_string(),
        integration_id: text(shown.integration_id),
        format: shown.format,
        field: shown.field,
        reason: shown.reason,
        raw: shown.raw,
        receive_time: Some(timestamp(shown.received_at)),
    }
}

/// The alert in the bytes of an event.
///
/// # Errors
/// Fails when the bytes are no event of an alert.
pub fn alert_of(body: &[u8]) -> Result<wire::Alert, Problem> {
    match wire::AlertEvent::decode(body)?.record {
        Some(Record::Alert(alert)) => Ok(alert),
        Some(Record::Integration(_)) | None => Err(Problem::Internal("the kept answer is of no alert".into())),
    }
}

/// The integration in the bytes of an event.
///
/// # Errors
/// Fails when the bytes are no event of an integration.
pub fn integration_of(body: &[u8]) -> Result<wire::Integration, Problem> {
    match wire::AlertEvent::decode(body)?.record {
        Some(Record::Integration(integration)) => Ok(integration),
        Some(Record::Alert(_)) | None => Err(Problem::Internal("the kept answer is of no integration".into())),
    }
}

/// An event with its place.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn entry(entry: FeedEntry, cursor: String) -> Result<wire::AlertEventEntry, Problem> {
    Ok(wire::AlertEventEntry {
        event_id: entry.event_id,
        r#type: entry.r#type,
        record_id: entry.record_id,
        revision: entry.revision,
        at: entry.at,
        cursor,
        request_id: entry.request_id,
        event: Some(wire::AlertEvent::decode(entry.body)?),
    })
}

/// An event of a watch on alerts, unless it is of an integration or the filter leaves it out.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn watched_alert(watched: Watched, filter: Option<&Expression>) -> Result<Option<wire::AlertEventEntry>, Problem> {
    watched_record(watched, alerts::FIELDS, filter, |record| match record {
        Record::Alert(alert) => Some(Box::new(|field| alert_value(alert, field))),
        Record::Integration(_) => None,
    })
}

/// An event of a watch on integrations, unless it is of an alert or the filter leaves it out.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn watched_integration(
    watched: Watched,
    filter: Option<&Expression>,
) -> Result<Option<wire::AlertEventEntry>, Problem> {
    watched_record(watched, integrations::FIELDS, filter, |record| match record {
        Record::Integration(integration) => Some(Box::new(|field| integration_value(integration, field))),
        Record::Alert(_) => None,
    })
}

type Lookup<'a> = Box<dyn Fn(&str) -> Option<Value> + 'a>;

fn watched_record(
    watched: Watched,
    fields: &[Field],
    filter: Option<&Expression>,
    lookup: impl for<'a> Fn(&'a Record) -> Option<Lookup<'a>>,
) -> Result<Option<wire::AlertEventEntry>, Problem> {
    let entry = entry(watched.entry, watched.cursor)?;
    let record = entry.event.as_ref().and_then(|event| event.record.as_ref());
    let matches = match (record.and_then(lookup), filter) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(lookup), Some(filter)) => {
            filter.matches(fields, lookup.as_ref()).map_err(|error| Problem::invalid("filter", error.to_string()))?
        }
    };
    Ok(matches.then_some(entry))
}

fn alert_value(alert: &wire::Alert, field: &str) -> Option<Value> {
    let id = |text: &str| Uuid::from_str(text).ok().map(Value::Uuid);
    let word = |name: &str, prefix: &str| Some(Value::Text(name.trim_start_matches(prefix).to_owned()));
    match field {
        "state" => word(alert.state().as_str_name(), "ALERT_STATE_"),
        "severity" => word(alert.severity().as_str_name(), "SEVERITY_"),
        "integration_id" => id(&alert.integration_id),
        "service_id" => id(&alert.service_id),
        "ci_id" => id(&alert.ci_id),
        "dedup_key" => Some(Value::Text(alert.dedup_key.clone())),
        _ => None,
    }
}

fn integration_value(integration: &wire::Integration, field: &str) -> Option<Value> {
    match field {
        "state" => {
            let name = integration.state().as_str_name();
            Some(Value::Text(name.trim_start_matches("INTEGRATION_STATE_").to_owned()))
        }
        "name" => Some(Value::Text(integration.name.clone())),
        _ => None,
    }
}

/// The alert that a verb is about.
///
/// # Errors
/// Invalid when the id is none.
pub fn alert_target(text: &str, revision: Option<i64>) -> Result<Target<AlertId>, Problem> {
    Ok(Target { id: id("id", text)?, revision })
}

/// The integration that a verb is about.
///
/// # Errors
/// Invalid when the id is none.
pub fn integration_target(text: &str, revision: Option<i64>) -> Result<Target<IntegrationId>, Problem> {
    Ok(Target { id: id("id", text)?, revision })
}

/// An id that may be empty.
///
/// # Errors
/// Invalid when it is neither empty nor an id.
pub fn optional_id<T: FromStr>(field: &str, text: &str) -> Result<Option<T>, Problem> {
    if text.is_empty() { Ok(None) } else { id(field, text).map(Some) }
}

/// An id.
///
/// # Errors
/// Invalid when it is none.
pub fn id<T: FromStr>(field: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::invalid(field, "must be an id (a UUID)"))
}

fn name(text: String) -> Result<String, Problem> {
    let fits = (1..=40).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if fits { Ok(text) } else { Err(Problem::invalid("integration.name", "must be 1 to 40 of a-z, 0-9 and `-`")) }
}

fn display_name(text: String) -> Result<String, Problem> {
    const FIELD: &str = "integration.display_name";
    let length = text.chars().count();
    if !(1..=200).contains(&length) || text.trim().is_empty() {
        return Err(Problem::invalid(FIELD, format!("must have 1 to 200 characters, not {length}")));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::invalid(FIELD, "must be one line without control characters"));
    }
    Ok(text)
}

fn said_severity(value: wire::Severity) -> Result<domain::Severity, Problem> {
    severity_of(value).ok_or_else(|| {
        let names: Vec<&str> = domain::Severity::ALL.iter().map(|severity| severity.name()).collect();
        Problem::invalid("integration.open_incident_from", format!("must be one of {}", names.join(", ")))
    })
}

fn known_severity(number: i32) -> Result<wire::Severity, Problem> {
    wire::Severity::try_from(number)
        .map_err(|_| Problem::invalid("integration.open_incident_from", format!("{number} is no severity")))
}

/// A new integration.
///
/// # Errors
/// Invalid fields.
pub fn create(integration: Option<wire::Integration>) -> Result<NewIntegration, Problem> {
    let integration = integration.ok_or_else(|| Problem::invalid("integration", "must be given"))?;
    let from = severity_of(known_severity(integration.open_incident_from)?);
    Ok(NewIntegration {
        open_incident_from: from.unwrap_or(domain::Severity::Medium),
        team_id: optional_id("integration.team_id", &integration.team_id)?,
        service_id: optional_id("integration.service_id", &integration.service_id)?,
        name: name(integration.name)?,
        display_name: display_name(integration.display_name)?,
    })
}

const UPDATABLE: &str = "display_name, team_id, service_id, open_incident_from";

/// An update, by its mask.
///
/// # Errors
/// Invalid fields, a missing revision, or a mask that names what cannot change.
pub fn update(
    integration: Option<wire::Integration>,
    mask: Option<prost_types::FieldMask>,
) -> Result<(Target<IntegrationId>, Change), Problem> {
    let integration = integration.ok_or_else(|| Problem::invalid("integration", "must be given"))?;
    let target = Target { id: id("integration.id", &integration.id)?, revision: Some(integration.revision) };
    if integration.revision <= 0 {
        return Err(Problem::invalid("integration.revision", "must be the revision that the change is based on"));
    }
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        return Err(Problem::invalid("update_mask", format!("must name what changes: {UPDATABLE}")));
    }
    let mut change = Change::default();
    for path in paths {
        match path.as_str() {
            "display_name" => change.display_name = Some(display_name(integration.display_name.clone())?),
            "team_id" => change.team_id = Some(optional_id("integration.team_id", &integration.team_id)?),
            "service_id" => change.service_id = Some(optional_id("integration.service_id", &integration.service_id)?),
            "open_incident_from" => {
                let wanted = known_severity(integration.open_incident_from)?;
                change.open_incident_from = Some(said_severity(wanted)?);
            }
            other => {
                let message = format!("`{other}` cannot be changed; what can: {UPDATABLE}");
                return Err(Problem::invalid("update_mask", message));
            }
        }
    }
    Ok((target, change))
}

/// A filter, which may be empty.
///
/// # Errors
/// Invalid when it is none, or names unknown fields.
pub fn filter(text: &str, fields: &[Field]) -> Result<Option<Expression>, Problem> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let invalid = |error: kit::filter::FilterError| Problem::invalid("filter", error.to_string());
    let expression = kit::filter::parse(text).map_err(invalid)?;
    expression.check(fields).map_err(invalid)?;
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

//! Messages to the domain and back. The only place that turns a bad field into INVALID_ARGUMENT,
//! with the field's path.
//!
//! `state` is output only, with one exception: a record created with `state` PLANNED is planned,
//! and with any other, or none, it is LIVE.

use std::str::FromStr;

use kit::{
    bus::timestamp,
    filter::{Expression, Field, Value},
    id::{CiId, ServiceId},
    page::{self, PageError},
    problem::Problem,
    watch::{From as WatchFrom, Watched},
};
use prost::Message;
use proto::{
    catalog::v1::{self as wire, catalog_event::Record},
    common::v1::{self as common, FeedEntry},
};

use crate::{
    app::Target,
    domain::{self, ConfigurationItem, NewConfigurationItem, NewService, Service, configuration_item, service},
    store::{configuration_items, services},
};

macro_rules! both_ways {
    ($to:ident, $from:ident, $domain:ty, $wire:ty, { $($variant:ident),+ $(,)? }) => {
        fn $to(value: $domain) -> $wire {
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

both_ways!(state, state_of, domain::State, wire::LifecycleState, { Planned, Live, Retired });
both_ways!(kind, kind_of, domain::ServiceKind, wire::ServiceKind, { Business, Technical });
both_ways!(impact, impact_of, domain::Impact, common::Impact, { Extensive, Significant, Moderate, Minor });

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A service as on the wire.
#[must_use]
pub fn service(service: &Service) -> wire::Service {
    wire::Service {
        id: service.id.to_string(),
        revision: service.revision,
        name: service.name.clone(),
        display_name: service.display_name.clone(),
        description: service.description.clone(),
        kind: kind(service.kind).into(),
        owning_team_id: service.owning_team_id.to_string(),
        support_team_id: text(service.support_team_id),
        impact: service.impact.map_or(0, |value| impact(value).into()),
        state: state(service.state).into(),
        create_time: Some(timestamp(service.created_at)),
        update_time: Some(timestamp(service.updated_at)),
    }
}

/// A configuration item as on the wire.
#[must_use]
pub fn configuration_item(item: &ConfigurationItem) -> wire::ConfigurationItem {
    wire::ConfigurationItem {
        id: item.id.to_string(),
        revision: item.revision,
        name: item.name.clone(),
        display_name: item.display_name.clone(),
        description: item.description.clone(),
        kind: item.kind.clone(),
        owning_team_id: item.owning_team_id.to_string(),
        support_team_id: text(item.support_team_id),
        service_id: text(item.service_id),
        state: state(item.state).into(),
        create_time: Some(timestamp(item.created_at)),
        update_time: Some(timestamp(item.updated_at)),
    }
}

/// The service in the bytes of an event.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn service_of(body: &[u8]) -> Result<wire::Service, Problem> {
    match wire::CatalogEvent::decode(body)?.record {
        Some(Record::Service(service)) => Ok(service),
        Some(Record::ConfigurationItem(_)) | None => Ok(wire::Service::default()),
    }
}

/// The configuration item in the bytes of an event.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn configuration_item_of(body: &[u8]) -> Result<wire::ConfigurationItem, Problem> {
    match wire::CatalogEvent::decode(body)?.record {
        Some(Record::ConfigurationItem(item)) => Ok(item),
        Some(Record::Service(_)) | None => Ok(wire::ConfigurationItem::default()),
    }
}

/// An event with its place.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn entry(entry: FeedEntry, cursor: String) -> Result<wire::CatalogEventEntry, Problem> {
    Ok(wire::CatalogEventEntry {
        event_id: entry.event_id,
        r#type: entry.r#type,
        record_id: entry.record_id,
        revision: entry.revision,
        at: entry.at,
        cursor,
        request_id: entry.request_id,
        event: Some(wire::CatalogEvent::decode(entry.body)?),
    })
}

/// Which noun a watch is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noun {
    /// Services.
    Service,
    /// Configuration items.
    ConfigurationItem,
}

/// An event of a watch, unless it is of the other noun or the filter leaves it out.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn watched(
    watched: Watched,
    noun: Noun,
    filter: Option<&Expression>,
) -> Result<Option<wire::CatalogEventEntry>, Problem> {
    let entry = entry(watched.entry, watched.cursor)?;
    let record = entry.event.as_ref().and_then(|event| event.record.as_ref());
    let passes = |fields: &[Field], value: &dyn Fn(&str) -> Option<Value>| match filter {
        Some(filter) => filter.matches(fields, value).map_err(|error| Problem::invalid("filter", error.to_string())),
        None => Ok(true),
    };
    let matches = match (record, noun) {
        (Some(Record::Service(service)), Noun::Service) => {
            passes(services::FIELDS, &|field| service_value(service, field))?
        }
        (Some(Record::ConfigurationItem(item)), Noun::ConfigurationItem) => {
            passes(configuration_items::FIELDS, &|field| configuration_item_value(item, field))?
        }
        (Some(Record::Service(_) | Record::ConfigurationItem(_)) | None, _) => false,
    };
    Ok(matches.then_some(entry))
}

fn id_value(text: &str) -> Option<Value> {
    uuid::Uuid::from_str(text).ok().map(Value::Uuid)
}

fn service_value(service: &wire::Service, field: &str) -> Option<Value> {
    match field {
        "state" => state_of(service.state()).map(|state| Value::Text(state.name().to_owned())),
        "kind" => kind_of(service.kind()).map(|kind| Value::Text(kind.name().to_owned())),
        "name" => Some(Value::Text(service.name.clone())),
        "owning_team_id" => id_value(&service.owning_team_id),
        "support_team_id" => id_value(&service.support_team_id),
        _ => None,
    }
}

fn configuration_item_value(item: &wire::ConfigurationItem, field: &str) -> Option<Value> {
    match field {
        "state" => state_of(item.state()).map(|state| Value::Text(state.name().to_owned())),
        "kind" => Some(Value::Text(item.kind.clone())),
        "name" => Some(Value::Text(item.name.clone())),
        "service_id" => id_value(&item.service_id),
        "owning_team_id" => id_value(&item.owning_team_id),
        "support_team_id" => id_value(&item.support_team_id),
        _ => None,
    }
}

/// The record that a verb is about.
///
/// # Errors
/// Invalid when the id is none.
pub fn target<T: FromStr>(text: &str, revision: Option<i64>) -> Result<Target<T>, Problem> {
    Ok(Target { id: id("id", text)?, revision })
}

/// An id.
///
/// # Errors
/// Invalid when it is none.
pub fn id<T: FromStr>(field: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::invalid(field, "must be an id (a UUID)"))
}

/// An id that may be empty.
///
/// # Errors
/// Invalid when it is neither empty nor an id.
pub fn optional_id<T: FromStr>(field: &str, text: &str) -> Result<Option<T>, Problem> {
    if text.is_empty() { Ok(None) } else { id(field, text).map(Some) }
}

/// A text of at least `least` and at most `most` characters, without control characters but line
/// breaks and tabs.
fn limited(field: &str, text: String, least: usize, most: usize) -> Result<String, Problem> {
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

fn line(field: &str, text: String, most: usize) -> Result<String, Problem> {
    let text = limited(field, text, 1, most)?;
    if text.contains(['\n', '\r']) { Err(Problem::invalid(field, "must be one line")) } else { Ok(text) }
}

/// A short name: alerts carry it as a label.
fn name(field: &str, text: String) -> Result<String, Problem> {
    let fits = (1..=80).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte));
    if fits { Ok(text) } else { Err(Problem::invalid(field, "must be 1 to 80 of a-z, 0-9, `.`, `_`, `-`")) }
}

/// A new service.
///
/// # Errors
/// Invalid fields.
pub fn new_service(service: Option<wire::Service>) -> Result<NewService, Problem> {
    let service = service.ok_or_else(|| Problem::invalid("service", "must be given"))?;
    let kind = kind_of(service.kind());
    Ok(NewService {
        planned: service.state() == wire::LifecycleState::Planned,
        kind: kind.ok_or_else(|| Problem::invalid("service.kind", "must be one of BUSINESS, TECHNICAL"))?,
        impact: impact_of(service.impact()),
        owning_team_id: id("service.owning_team_id", &service.owning_team_id)?,
        support_team_id: optional_id("service.support_team_id", &service.support_team_id)?,
        name: name("service.name", service.name)?,
        display_name: line("service.display_name", service.display_name, 200)?,
        description: limited("service.description", service.description, 0, 2_000)?,
    })
}

/// A new configuration item.
///
/// # Errors
/// Invalid fields.
pub fn new_configuration_item(item: Option<wire::ConfigurationItem>) -> Result<NewConfigurationItem, Problem> {
    let item = item.ok_or_else(|| Problem::invalid("configuration_item", "must be given"))?;
    Ok(NewConfigurationItem {
        planned: item.state() == wire::LifecycleState::Planned,
        owning_team_id: id("configuration_item.owning_team_id", &item.owning_team_id)?,
        support_team_id: optional_id("configuration_item.support_team_id", &item.support_team_id)?,
        service_id: optional_id("configuration_item.service_id", &item.service_id)?,
        name: name("configuration_item.name", item.name)?,
        display_name: line("configuration_item.display_name", item.display_name, 200)?,
        description: limited("configuration_item.description", item.description, 0, 2_000)?,
        kind: line("configuration_item.kind", item.kind, 40)?,
    })
}

const SERVICE_UPDATABLE: &str = "display_name, description, owning_team_id, support_team_id, impact";

/// An update of a service, by its mask.
///
/// # Errors
/// Invalid fields, a missing revision, or a mask that names what cannot change.
pub fn service_update(
    service: Option<wire::Service>,
    mask: Option<prost_types::FieldMask>,
) -> Result<(Target<ServiceId>, service::Update), Problem> {
    let service = service.ok_or_else(|| Problem::invalid("service", "must be given"))?;
    let target = Target { id: id("service.id", &service.id)?, revision: Some(based_on("service", service.revision)?) };
    let mut update = service::Update::default();
    for path in paths(mask, SERVICE_UPDATABLE)? {
        match path.as_str() {
            "display_name" => {
                update.display_name = Some(line("service.display_name", service.display_name.clone(), 200)?);
            }
            "description" => {
                update.description = Some(limited("service.description", service.description.clone(), 0, 2_000)?);
            }
            "owning_team_id" => {
                update.owning_team_id = Some(id("service.owning_team_id", &service.owning_team_id)?);
            }
            "support_team_id" => {
                update.support_team_id = Some(optional_id("service.support_team_id", &service.support_team_id)?);
            }
            "impact" => update.impact = Some(impact_of(service.impact())),
            other => return Err(fixed(other, SERVICE_UPDATABLE)),
        }
    }
    Ok((target, update))
}

const CONFIGURATION_ITEM_UPDATABLE: &str =
    "display_name, description, owning_team_id, support_team_id, service_id, kind";

/// An update of a configuration item, by its mask.
///
/// # Errors
/// Invalid fields, a missing revision, or a mask that names what cannot change.
pub fn configuration_item_update(
    item: Option<wire::ConfigurationItem>,
    mask: Option<prost_types::FieldMask>,
) -> Result<(Target<CiId>, configuration_item::Update), Problem> {
    let item = item.ok_or_else(|| Problem::invalid("configuration_item", "must be given"))?;
    let revision = based_on("configuration_item", item.revision)?;
    let target = Target { id: id("configuration_item.id", &item.id)?, revision: Some(revision) };
    let mut update = configuration_item::Update::default();
    for path in paths(mask, CONFIGURATION_ITEM_UPDATABLE)? {
        let field = format!("configuration_item.{path}");
        match path.as_str() {
            "display_name" => update.display_name = Some(line(&field, item.display_name.clone(), 200)?),
            "description" => update.description = Some(limited(&field, item.description.clone(), 0, 2_000)?),
            "owning_team_id" => update.owning_team_id = Some(id(&field, &item.owning_team_id)?),
            "support_team_id" => update.support_team_id = Some(optional_id(&field, &item.support_team_id)?),
            "service_id" => update.service_id = Some(optional_id(&field, &item.service_id)?),
            "kind" => update.kind = Some(line(&field, item.kind.clone(), 40)?),
            other => return Err(fixed(other, CONFIGURATION_ITEM_UPDATABLE)),
        }
    }
    Ok((target, update))
}

fn based_on(record: &str, revision: i64) -> Result<i64, Problem> {
    if revision > 0 {
        return Ok(revision);
    }
    Err(Problem::invalid(format!("{record}.revision"), "must be the revision that the change is based on"))
}

fn paths(mask: Option<prost_types::FieldMask>, updatable: &str) -> Result<Vec<String>, Problem> {
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        return Err(Problem::invalid("update_mask", format!("must name what changes: {updatable}")));
    }
    Ok(paths)
}

fn fixed(path: &str, updatable: &str) -> Problem {
    Problem::invalid("update_mask", format!("`{path}` cannot be changed; what can: {updatable}"))
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

//! Records as on the wire, and events as entries of a history or a watch.

use kit::{
    bus::timestamp,
    filter::{Expression, Field, Value},
    problem::Problem,
    watch::Watched,
};
use prost::Message;
use proto::{
    common::v1::FeedEntry,
    notification::v1::{self as wire, notification_event::Record},
};

use super::invalid_filter;
use crate::{
    domain::{ContactMethod, Delivery, Method, Rule, Template, contact_method, delivery, rule as rules},
    store::attempts,
};

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A kind of way as on the wire.
#[must_use]
pub const fn method(method: Method) -> wire::Method {
    match method {
        Method::Mail => wire::Method::Mail,
        Method::Webhook => wire::Method::Webhook,
    }
}

/// A contact method as on the wire, with its address for those who may see it.
#[must_use]
pub fn contact_method(way: &ContactMethod, address: Option<&str>) -> wire::ContactMethod {
    let state = match way.state {
        contact_method::State::Active => wire::ContactMethodState::Active,
        contact_method::State::Disabled => wire::ContactMethodState::Disabled,
    };
    wire::ContactMethod {
        id: way.id.to_string(),
        revision: way.revision,
        person_id: way.person_id.to_string(),
        method: method(way.method).into(),
        display_name: way.display_name.clone(),
        address: address.unwrap_or_default().to_owned(),
        state: state.into(),
        state_reason: way.state_reason.clone(),
        create_time: Some(timestamp(way.created_at)),
        update_time: Some(timestamp(way.updated_at)),
    }
}

/// A rule as on the wire.
#[must_use]
pub fn rule(rule: &Rule) -> wire::Rule {
    let state = match rule.state {
        rules::State::Active => wire::RuleState::Active,
        rules::State::Disabled => wire::RuleState::Disabled,
    };
    let wording = &rule.wording;
    wire::Rule {
        id: rule.id.to_string(),
        revision: rule.revision,
        display_name: wording.display_name.clone(),
        event_type: wording.event_type.clone(),
        filter: wording.filter.clone(),
        recipients: Some(wire::Recipients {
            assigned_team: wording.recipients.assigned_team,
            assignee: wording.recipients.assignee,
            team_ids: wording.recipients.team_ids.iter().map(ToString::to_string).collect(),
            person_ids: wording.recipients.person_ids.iter().map(ToString::to_string).collect(),
            else_administrators: wording.recipients.else_administrators,
        }),
        methods: wording.methods.iter().map(|&way| method(way).into()).collect(),
        template_id: text(wording.template_id),
        repeat_after_seconds: wording.repeat_after_seconds,
        state: state.into(),
        create_time: Some(timestamp(rule.created_at)),
        update_time: Some(timestamp(rule.updated_at)),
    }
}

/// A template as on the wire.
#[must_use]
pub fn template(template: &Template) -> wire::Template {
    wire::Template {
        id: template.id.to_string(),
        revision: template.revision,
        name: template.name.clone(),
        display_name: template.display_name.clone(),
        subject: template.subject.clone(),
        body: template.body.clone(),
        create_time: Some(timestamp(template.created_at)),
        update_time: Some(timestamp(template.updated_at)),
    }
}

/// A delivery as on the wire, without its tries.
#[must_use]
pub fn delivery(delivery: &Delivery) -> wire::Delivery {
    let state = match delivery.state {
        delivery::State::Pending => wire::DeliveryState::Pending,
        delivery::State::Delivered => wire::DeliveryState::Delivered,
        delivery::State::Failed => wire::DeliveryState::Failed,
        delivery::State::Cancelled => wire::DeliveryState::Cancelled,
    };
    wire::Delivery {
        id: delivery.id.to_string(),
        revision: delivery.revision,
        rule_id: text(delivery.rule_id),
        event_id: delivery.event_id.to_string(),
        event_type: delivery.event_type.clone(),
        subject_record_id: delivery.subject_record_id.to_string(),
        subject_record_number: delivery.subject_record_number.clone(),
        person_id: delivery.person_id.to_string(),
        contact_method_id: delivery.contact_method_id.to_string(),
        method: method(delivery.method).into(),
        sequence: delivery.sequence,
        state: state.into(),
        reason: delivery.reason.clone(),
        attempt_count: delivery.attempt_count,
        next_attempt_time: delivery.next_attempt_at.map(timestamp),
        deliver_time: delivery.delivered_at.map(timestamp),
        attempts: Vec::new(),
        create_time: Some(timestamp(delivery.created_at)),
        update_time: Some(timestamp(delivery.updated_at)),
    }
}

/// A try as on the wire.
#[must_use]
pub fn attempt(attempt: attempts::Attempt) -> wire::Attempt {
    wire::Attempt {
        number: attempt.number,
        start_time: Some(timestamp(attempt.started_at)),
        end_time: attempt.ended_at.map(timestamp),
        outcome: attempt.outcome.unwrap_or_default(),
        detail: attempt.detail,
    }
}

/// The record in the bytes of an event: the kept answer to a request that comes again.
macro_rules! kept {
    ($name:ident, $variant:ident) => {
        /// The record in the bytes of an event.
        ///
        /// # Errors
        /// Fails when the bytes are no event of ours, or one of another record.
        pub fn $name(body: &[u8]) -> Result<wire::$variant, Problem> {
            match wire::NotificationEvent::decode(body)?.record {
                Some(Record::$variant(record)) => Ok(record),
                _ => Err(Problem::Internal(concat!("a kept answer is no ", stringify!($variant)).into())),
            }
        }
    };
}
kept!(contact_method_of, ContactMethod);
kept!(rule_of, Rule);
kept!(template_of, Template);
kept!(delivery_of, Delivery);

/// An event with its place.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn entry(entry: FeedEntry, cursor: String) -> Result<wire::NotificationEventEntry, Problem> {
    Ok(wire::NotificationEventEntry {
        event_id: entry.event_id,
        r#type: entry.r#type,
        record_id: entry.record_id,
        revision: entry.revision,
        at: entry.at,
        cursor,
        request_id: entry.request_id,
        event: Some(wire::NotificationEvent::decode(entry.body)?),
    })
}

/// What a field of a record holds; none when the record is of another kind.
pub type FieldOf = fn(&Record, &str) -> Option<Option<Value>>;

/// An event of a watch, unless it is of another kind of record or the filter leaves it out.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn watched(
    watched: Watched,
    fields: &[Field],
    field_of: FieldOf,
    filter: Option<&Expression>,
) -> Result<Option<wire::NotificationEventEntry>, Problem> {
    let entry = entry(watched.entry, watched.cursor)?;
    let Some(record) = entry.event.as_ref().and_then(|event| event.record.as_ref()) else { return Ok(None) };
    if field_of(record, "").is_none() {
        return Ok(None);
    }
    let matches = match filter {
        Some(filter) => filter.matches(fields, &|field| field_of(record, field).flatten()).map_err(invalid_filter)?,
        None => true,
    };
    Ok(matches.then_some(entry))
}

fn word(name: &str, prefix: &str) -> Option<Value> {
    Some(Value::Text(name.trim_start_matches(prefix).to_owned()))
}

fn id(text: &str) -> Option<Value> {
    text.parse().ok().map(Value::Uuid)
}

/// The fields of a contact method.
#[must_use]
pub fn contact_method_field(record: &Record, field: &str) -> Option<Option<Value>> {
    let Record::ContactMethod(way) = record else { return None };
    Some(match field {
        "person_id" => id(&way.person_id),
        "method" => word(way.method().as_str_name(), "METHOD_"),
        "state" => word(way.state().as_str_name(), "CONTACT_METHOD_STATE_"),
        _ => None,
    })
}

/// The fields of a rule.
#[must_use]
pub fn rule_field(record: &Record, field: &str) -> Option<Option<Value>> {
    let Record::Rule(rule) = record else { return None };
    Some(match field {
        "event_type" => Some(Value::Text(rule.event_type.clone())),
        "state" => word(rule.state().as_str_name(), "RULE_STATE_"),
        _ => None,
    })
}

/// The fields of a template.
#[must_use]
pub fn template_field(record: &Record, field: &str) -> Option<Option<Value>> {
    let Record::Template(template) = record else { return None };
    Some(match field {
        "name" => Some(Value::Text(template.name.clone())),
        _ => None,
    })
}

/// The fields of a delivery.
#[must_use]
pub fn delivery_field(record: &Record, field: &str) -> Option<Option<Value>> {
    let Record::Delivery(delivery) = record else { return None };
    Some(match field {
        "state" => word(delivery.state().as_str_name(), "DELIVERY_STATE_"),
        "method" => word(delivery.method().as_str_name(), "METHOD_"),
        "person_id" => id(&delivery.person_id),
        "rule_id" => id(&delivery.rule_id),
        "subject_record_id" => id(&delivery.subject_record_id),
        "event_type" => Some(Value::Text(delivery.event_type.clone())),
        _ => None,
    })
}

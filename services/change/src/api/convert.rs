//! Messages to the domain and back. The only place that turns a bad field into INVALID_ARGUMENT,
//! with the field's path.
//!
//! Texts of up to 16 KiB are measured in bytes, so that an event with all of them stays below its
//! limit of 256 KiB.

use std::{collections::BTreeSet, str::FromStr};

use kit::{
    bus::timestamp,
    filter::{Expression, Value},
    page::{self, PageError},
    problem::Problem,
    watch::{From as WatchFrom, Watched},
};
use prost::Message;
use proto::{change::v1 as wire, common::v1::FeedEntry};

use crate::{
    app::Target,
    domain::{self, Approval, Change, NewChange, Update, change::Window},
    store::changes::{FIELDS, Key},
};

/// How many services, and how many configuration items, a change names.
const NAMED_AT_MOST: usize = 100;

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

both_ways!(state, state_of, domain::State, wire::ChangeState,
    { Draft, Requested, Approved, Rejected, Scheduled, InProgress, Completed, Failed, Closed, Cancelled });
both_ways!(kind, kind_of, domain::ChangeType, wire::ChangeType, { Standard, Normal, Emergency });
both_ways!(risk, risk_of, domain::Risk, wire::Risk, { Minor, Significant, Major });

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

/// A change as on the wire.
#[must_use]
pub fn change(change: &Change) -> wire::Change {
    wire::Change {
        id: change.id.to_string(),
        revision: change.revision,
        number: change.number.clone(),
        title: change.title.clone(),
        description: change.description.clone(),
        r#type: kind(change.kind).into(),
        state: state(change.state).into(),
        risk: risk(change.risk).into(),
        reason: change.reason.clone(),
        implementation_plan: change.implementation_plan.clone(),
        backout_plan: change.backout_plan.clone(),
        test_plan: change.test_plan.clone(),
        service_ids: texts(&change.service_ids),
        ci_ids: texts(&change.ci_ids),
        assigned_team_id: text(change.assigned_team_id),
        requester_id: change.requester_id.to_string(),
        plan_revision: change.plan_revision,
        approval: change.approval.as_ref().map(approval),
        planned_start_time: change.planned.map(|window| timestamp(window.start)),
        planned_end_time: change.planned.map(|window| timestamp(window.end)),
        actual_start_time: change.started_at.map(timestamp),
        actual_end_time: change.ended_at.map(timestamp),
        outcome_notes: change.outcome_notes.clone(),
        review_notes: change.review_notes.clone(),
        close_time: change.closed_at.map(timestamp),
        create_time: Some(timestamp(change.created_at)),
        update_time: Some(timestamp(change.updated_at)),
    }
}

fn approval(approval: &Approval) -> wire::Approval {
    wire::Approval {
        approver_id: text(approval.approver_id),
        approve_time: Some(timestamp(approval.at)),
        plan_revision: approval.plan_revision,
        note: approval.note.clone(),
    }
}

/// The change in the bytes of an event.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn change_of(body: &[u8]) -> Result<wire::Change, Problem> {
    Ok(wire::ChangeEvent::decode(body)?.change.unwrap_or_default())
}

/// An event with its place.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn entry(entry: FeedEntry, cursor: String) -> Result<wire::ChangeEventEntry, Problem> {
    Ok(wire::ChangeEventEntry {
        event_id: entry.event_id,
        r#type: entry.r#type,
        record_id: entry.record_id,
        revision: entry.revision,
        at: entry.at,
        cursor,
        request_id: entry.request_id,
        event: Some(wire::ChangeEvent::decode(entry.body)?),
    })
}

/// An event of a watch, unless the filter leaves it out.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn watched(watched: Watched, filter: Option<&Expression>) -> Result<Option<wire::ChangeEventEntry>, Problem> {
    let entry = entry(watched.entry, watched.cursor)?;
    let matches = match (filter, entry.event.as_ref().and_then(|event| event.change.as_ref())) {
        (Some(filter), Some(change)) => filter
            .matches(FIELDS, &|field| value(change, field))
            .map_err(|error| Problem::invalid("filter", error.to_string()))?,
        (None, _) | (_, None) => true,
    };
    Ok(matches.then_some(entry))
}

fn value(change: &wire::Change, field: &str) -> Option<Value> {
    let name = |name: &str| Value::Text(name.to_owned());
    let id = |text: &str| uuid::Uuid::from_str(text).ok();
    let ids = |texts: &[String]| Value::Uuids(texts.iter().filter_map(|text| id(text)).collect());
    match field {
        "state" => state_of(change.state()).map(|state| name(state.name())),
        "type" => kind_of(change.r#type()).map(|kind| name(kind.name())),
        "risk" => risk_of(change.risk()).map(|risk| name(risk.name())),
        "service_id" => Some(ids(&change.service_ids)),
        "ci_id" => Some(ids(&change.ci_ids)),
        "assigned_team_id" => id(&change.assigned_team_id).map(Value::Uuid),
        "requester_id" => id(&change.requester_id).map(Value::Uuid),
        "number" => Some(name(&change.number)),
        _ => None,
    }
}

/// Names a change, by id or number.
///
/// # Errors
/// Invalid when it is neither.
pub fn key(field: &str, text: &str) -> Result<Key, Problem> {
    let digits = text
        .strip_prefix("CHG")
        .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    if digits {
        return Ok(Key::Number(text.to_owned()));
    }
    text.parse().map(Key::Id).map_err(|_| Problem::invalid(field, "must be the id or the number of a change"))
}

/// The change that a verb is about.
///
/// # Errors
/// Invalid when the id is none.
pub fn target(id: &str, revision: Option<i64>) -> Result<Target, Problem> {
    Ok(Target { key: key("id", id)?, revision })
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

/// Several ids, each once, in the order given.
fn ids<T: FromStr + Copy + Ord>(field: &str, texts: &[String]) -> Result<Vec<T>, Problem> {
    if texts.len() > NAMED_AT_MOST {
        return Err(Problem::invalid(field, format!("must be at most {NAMED_AT_MOST}, not {}", texts.len())));
    }
    let mut seen = BTreeSet::new();
    let mut ids = Vec::with_capacity(texts.len());
    for (place, text) in texts.iter().enumerate() {
        let id: T = id(&format!("{field}[{place}]"), text)?;
        if seen.insert(id) {
            ids.push(id);
        }
    }
    Ok(ids)
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

/// A text of up to 16 KiB.
///
/// # Errors
/// Invalid when it is too long.
pub fn long(field: &str, text: String) -> Result<String, Problem> {
    if text.len() > 16_384 {
        return Err(Problem::invalid(field, format!("must have at most 16 KiB, not {} bytes", text.len())));
    }
    limited(field, text, 0, 16_384)
}

fn title(text: String) -> Result<String, Problem> {
    let text = limited("change.title", text, 1, 200)?;
    if text.contains(['\n', '\r']) { Err(Problem::invalid("change.title", "must be one line")) } else { Ok(text) }
}

fn wanted_risk(value: wire::Risk) -> Result<domain::Risk, Problem> {
    risk_of(value).ok_or_else(|| Problem::invalid("change.risk", "must be one of MINOR, SIGNIFICANT, MAJOR"))
}

/// A new change.
///
/// # Errors
/// Invalid fields.
pub fn create(change: Option<wire::Change>) -> Result<NewChange, Problem> {
    let change = change.ok_or_else(|| Problem::invalid("change", "must be given"))?;
    let kind = kind_of(change.r#type());
    Ok(NewChange {
        kind: kind.ok_or_else(|| Problem::invalid("change.type", "must be one of STANDARD, NORMAL, EMERGENCY"))?,
        risk: wanted_risk(change.risk())?,
        service_ids: ids("change.service_ids", &change.service_ids)?,
        ci_ids: ids("change.ci_ids", &change.ci_ids)?,
        assigned_team_id: optional_id("change.assigned_team_id", &change.assigned_team_id)?,
        title: title(change.title)?,
        description: long("change.description", change.description)?,
        reason: limited("change.reason", change.reason, 0, 2_000)?,
        implementation_plan: long("change.implementation_plan", change.implementation_plan)?,
        backout_plan: long("change.backout_plan", change.backout_plan)?,
        test_plan: long("change.test_plan", change.test_plan)?,
    })
}

const UPDATABLE: &str = "title, description, reason, implementation_plan, backout_plan, test_plan, risk, service_ids, ci_ids, assigned_team_id";

/// An update, by its mask.
///
/// # Errors
/// Invalid fields, a missing revision, or a mask that names what cannot change.
pub fn update(change: Option<wire::Change>, mask: Option<prost_types::FieldMask>) -> Result<(Target, Update), Problem> {
    let change = change.ok_or_else(|| Problem::invalid("change", "must be given"))?;
    let target = Target { key: key("change.id", &change.id)?, revision: Some(change.revision) };
    if change.revision <= 0 {
        return Err(Problem::invalid("change.revision", "must be the revision that the change is based on"));
    }
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        return Err(Problem::invalid("update_mask", format!("must name what changes: {UPDATABLE}")));
    }
    let mut update = Update::default();
    for path in paths {
        let field = format!("change.{path}");
        match path.as_str() {
            "title" => update.title = Some(title(change.title.clone())?),
            "description" => update.description = Some(long(&field, change.description.clone())?),
            "reason" => update.reason = Some(limited(&field, change.reason.clone(), 0, 2_000)?),
            "implementation_plan" => {
                update.implementation_plan = Some(long(&field, change.implementation_plan.clone())?);
            }
            "backout_plan" => update.backout_plan = Some(long(&field, change.backout_plan.clone())?),
            "test_plan" => update.test_plan = Some(long(&field, change.test_plan.clone())?),
            "risk" => update.risk = Some(wanted_risk(change.risk())?),
            "service_ids" => update.service_ids = Some(ids(&field, &change.service_ids)?),
            "ci_ids" => update.ci_ids = Some(ids(&field, &change.ci_ids)?),
            "assigned_team_id" => update.assigned_team_id = Some(optional_id(&field, &change.assigned_team_id)?),
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

/// When a change shall happen.
///
/// # Errors
/// Invalid when a time is missing or none, or the end is not after the start.
pub fn window(start: Option<prost_types::Timestamp>, end: Option<prost_types::Timestamp>) -> Result<Window, Problem> {
    let time = |field: &str, at: Option<prost_types::Timestamp>| {
        let at = at.ok_or_else(|| Problem::invalid(field, "must be given"))?;
        let at = kit::bus::time(&at).ok_or_else(|| Problem::invalid(field, "is no time"))?;
        // As Postgres keeps it, so that the row and the event say the same.
        chrono::DateTime::from_timestamp_micros(at.timestamp_micros())
            .filter(|at| (1970..=9999).contains(&chrono::Datelike::year(at)))
            .ok_or_else(|| Problem::invalid(field, "must be in the years 1970 to 9999"))
    };
    let window = Window { start: time("planned_start_time", start)?, end: time("planned_end_time", end)? };
    if window.start >= window.end {
        return Err(Problem::invalid("planned_end_time", "must be after planned_start_time"));
    }
    Ok(window)
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

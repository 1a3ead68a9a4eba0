//! Messages to the domain, and back in [`records`]. The only place that turns a bad field into INVALID_ARGUMENT,
//! with the field's path.

use std::{collections::BTreeSet, str::FromStr};

use chrono::{NaiveDate, Weekday};
use chrono_tz::Tz;
use kit::{
    filter::{Expression, Field},
    page::{self, PageError},
    problem::Problem,
    watch::From as WatchFrom,
};
use proto::{common::v1 as common, sla::v1 as wire};

use crate::{
    app::commands::Target,
    domain::{
        self, AgreementId, CalendarId, Hours, Schedule,
        agreement::{AT_RISK_PERCENT, AgreementUpdate, NewAgreement},
        calendar::{CalendarUpdate, NewCalendar},
    },
};

mod records;

pub use records::*;

macro_rules! both_ways {
    ($to:ident, $from:ident, $domain:ty, $wire:ty, { $($variant:ident),+ $(,)? }) => {
        fn $to(value: $domain) -> i32 {
            match value { $(<$domain>::$variant => <$wire>::$variant.into(),)+ }
        }

        fn $from(value: $wire) -> Option<$domain> {
            match value {
                <$wire>::Unspecified => None,
                $(<$wire>::$variant => Some(<$domain>::$variant),)+
            }
        }
    };
}

both_ways!(kind, kind_of, domain::AgreementKind, wire::AgreementKind, { Sla, Ola, UnderpinningContract });
both_ways!(priority, priority_of, domain::Priority, common::Priority, { P1, P2, P3, P4 });

const HOURS_AT_MOST: usize = 100;
const HOLIDAYS_AT_MOST: usize = 1_000;
const SECONDS_AT_MOST: i64 = 366 * 24 * 3_600;

/// The record that a verb is about.
///
/// # Errors
/// Invalid when the id is none.
pub fn target<Id: FromStr>(id_text: &str, revision: Option<i64>) -> Result<Target<Id>, Problem> {
    Ok(Target { id: id("id", id_text)?, revision })
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

/// A name people read: one line of 1 to 200 characters.
fn display_name(field: &str, text: String) -> Result<String, Problem> {
    let length = text.chars().count();
    if text.trim().is_empty() || length > 200 {
        return Err(Problem::invalid(field, format!("must have 1 to 200 characters, not {length}")));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::invalid(field, "must be one line without control characters"));
    }
    Ok(text)
}

fn targets(field: &str, targets: &[wire::Target]) -> Result<Vec<domain::Target>, Problem> {
    let mut priorities = BTreeSet::new();
    let mut read = Vec::new();
    for (place, target) in targets.iter().enumerate() {
        let path = |name: &str| format!("{field}[{place}].{name}");
        let priority = priority_of(target.priority())
            .ok_or_else(|| Problem::invalid(path("priority"), "must be one of P1, P2, P3, P4"))?;
        if !priorities.insert(priority) {
            return Err(Problem::invalid(path("priority"), format!("{} has a target already", priority.name())));
        }
        for (name, seconds) in
            [("response_seconds", target.response_seconds), ("resolution_seconds", target.resolution_seconds)]
        {
            if !(0..=SECONDS_AT_MOST).contains(&seconds) {
                return Err(Problem::invalid(path(name), format!("must be 0 to {SECONDS_AT_MOST} (366 days)")));
            }
        }
        let at_risk_percent = match target.at_risk_percent {
            0 => Some(AT_RISK_PERCENT),
            percent => u8::try_from(percent).ok().filter(|percent| (1..=99).contains(percent)),
        };
        read.push(domain::Target {
            priority,
            response_seconds: target.response_seconds,
            resolution_seconds: target.resolution_seconds,
            calendar_id: optional_id(&path("calendar_id"), &target.calendar_id)?,
            at_risk_percent: at_risk_percent
                .ok_or_else(|| Problem::invalid(path("at_risk_percent"), "must be 1 to 99, or 0 for 75"))?,
        });
    }
    Ok(read)
}

fn zone(text: &str) -> Result<Tz, Problem> {
    Tz::from_str(text)
        .map_err(|_| Problem::invalid("calendar.time_zone", "must be an IANA time zone, such as `Europe/Berlin`"))
}

/// A time of day as minutes: `HH:MM`, up to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= 24 * 60).then_some(minutes)
}

fn hours(rows: &[wire::Hours]) -> Result<Vec<Hours>, Problem> {
    if rows.len() > HOURS_AT_MOST {
        return Err(Problem::invalid("calendar.hours", format!("must be at most {HOURS_AT_MOST}")));
    }
    let read = |(place, row): (usize, &wire::Hours)| {
        let invalid = |name: &str, rule: &str| Problem::invalid(format!("calendar.hours[{place}].{name}"), rule);
        let weekday = u8::try_from(row.weekday).ok().and_then(|day| Weekday::try_from(day.checked_sub(1)?).ok());
        let weekday = weekday.ok_or_else(|| invalid("weekday", "must be 1 (Monday) to 7 (Sunday)"))?;
        let from = minute(&row.from).ok_or_else(|| invalid("from", "must be a time of day, `HH:MM`"))?;
        let to = minute(&row.to).ok_or_else(|| invalid("to", "must be a time of day, `HH:MM`, or `24:00`"))?;
        let after = "must be after `from`; hours over midnight are two rows, the first to `24:00`";
        Hours::new(weekday, from, to).ok_or_else(|| invalid("to", after))
    };
    rows.iter().enumerate().map(read).collect()
}

fn holidays(days: &[String]) -> Result<BTreeSet<NaiveDate>, Problem> {
    if days.len() > HOLIDAYS_AT_MOST {
        return Err(Problem::invalid("calendar.holidays", format!("must be at most {HOLIDAYS_AT_MOST}")));
    }
    let read = |(place, day): (usize, &String)| {
        let date = NaiveDate::from_str(day).ok().filter(|date| date.to_string() == *day && day.len() == 10);
        date.ok_or_else(|| Problem::invalid(format!("calendar.holidays[{place}]"), "must be a day, `YYYY-MM-DD`"))
    };
    days.iter().enumerate().map(read).collect()
}

/// A new agreement.
///
/// # Errors
/// Invalid fields.
pub fn create_agreement(agreement: Option<wire::Agreement>) -> Result<NewAgreement, Problem> {
    let agreement = agreement.ok_or_else(|| Problem::invalid("agreement", "must be given"))?;
    let choices = "must be one of SLA, OLA, UNDERPINNING_CONTRACT";
    Ok(NewAgreement {
        kind: kind_of(agreement.kind()).ok_or_else(|| Problem::invalid("agreement.kind", choices))?,
        service_id: optional_id("agreement.service_id", &agreement.service_id)?,
        targets: targets("agreement.targets", &agreement.targets)?,
        display_name: display_name("agreement.display_name", agreement.display_name)?,
    })
}

/// A new calendar.
///
/// # Errors
/// Invalid fields.
pub fn create_calendar(calendar: Option<wire::Calendar>) -> Result<NewCalendar, Problem> {
    let calendar = calendar.ok_or_else(|| Problem::invalid("calendar", "must be given"))?;
    let slug = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=40).contains(&calendar.name.len()) || !calendar.name.bytes().all(slug) {
        return Err(Problem::invalid("calendar.name", "must be 1 to 40 of a-z, 0-9 and `-`"));
    }
    Ok(NewCalendar {
        schedule: Schedule::new(zone(&calendar.time_zone)?, hours(&calendar.hours)?, holidays(&calendar.holidays)?),
        display_name: display_name("calendar.display_name", calendar.display_name)?,
        name: calendar.name,
    })
}

/// The paths of an update, at least one.
fn paths(mask: Option<prost_types::FieldMask>, updatable: &str) -> Result<Vec<String>, Problem> {
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        return Err(Problem::invalid("update_mask", format!("must name what changes: {updatable}")));
    }
    Ok(paths)
}

fn unchangeable(path: &str, updatable: &str) -> Problem {
    Problem::invalid("update_mask", format!("`{path}` cannot be changed; what can: {updatable}"))
}

fn based_on<Id: FromStr>(record: &str, id_text: &str, revision: i64) -> Result<Target<Id>, Problem> {
    let id = id(&format!("{record}.id"), id_text)?;
    if revision <= 0 {
        let rule = "must be the revision that the change is based on";
        return Err(Problem::invalid(format!("{record}.revision"), rule));
    }
    Ok(Target { id, revision: Some(revision) })
}

/// An update of an agreement, by its mask.
///
/// # Errors
/// Invalid fields, a missing revision, or a mask that names what cannot change.
pub fn update_agreement(
    agreement: Option<wire::Agreement>,
    mask: Option<prost_types::FieldMask>,
) -> Result<(Target<AgreementId>, AgreementUpdate), Problem> {
    const UPDATABLE: &str = "display_name, targets";
    let agreement = agreement.ok_or_else(|| Problem::invalid("agreement", "must be given"))?;
    let target = based_on("agreement", &agreement.id, agreement.revision)?;
    let mut update = AgreementUpdate::default();
    for path in paths(mask, UPDATABLE)? {
        match path.as_str() {
            "display_name" => {
                update.display_name = Some(display_name("agreement.display_name", agreement.display_name.clone())?);
            }
            "targets" => update.targets = Some(targets("agreement.targets", &agreement.targets)?),
            other => return Err(unchangeable(other, UPDATABLE)),
        }
    }
    Ok((target, update))
}

/// An update of a calendar, by its mask.
///
/// # Errors
/// Invalid fields, a missing revision, or a mask that names what cannot change.
pub fn update_calendar(
    calendar: Option<wire::Calendar>,
    mask: Option<prost_types::FieldMask>,
) -> Result<(Target<CalendarId>, CalendarUpdate), Problem> {
    const UPDATABLE: &str = "display_name, time_zone, hours, holidays";
    let calendar = calendar.ok_or_else(|| Problem::invalid("calendar", "must be given"))?;
    let target = based_on("calendar", &calendar.id, calendar.revision)?;
    let mut update = CalendarUpdate::default();
    for path in paths(mask, UPDATABLE)? {
        match path.as_str() {
            "display_name" => {
                update.display_name = Some(display_name("calendar.display_name", calendar.display_name.clone())?);
            }
            "time_zone" => update.zone = Some(zone(&calendar.time_zone)?),
            "hours" => update.hours = Some(hours(&calendar.hours)?),
            "holidays" => update.holidays = Some(holidays(&calendar.holidays)?),
            other => return Err(unchangeable(other, UPDATABLE)),
        }
    }
    Ok((target, update))
}

/// A filter over some fields, which may be empty.
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

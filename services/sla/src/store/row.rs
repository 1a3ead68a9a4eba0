//! What the columns of type jsonb hold, and the way there and back. What the database cannot hold
//! by our own writing is a fault of ours, said with the column's name.

use std::{collections::BTreeSet, str::FromStr};

use chrono::{DateTime, NaiveDate, Utc, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{Hours, Priority, Schedule, Segment, SegmentReason, Target, Term};

/// A column that holds what it must not.
#[derive(Debug, thiserror::Error)]
#[error("sla.{table} {id}: column {column} holds what it must not")]
struct Inconsistent {
    table: &'static str,
    id: Uuid,
    column: &'static str,
}

/// The error of a column that holds what it must not.
pub(super) fn wrong(table: &'static str, id: Uuid) -> impl Fn(&'static str) -> sqlx::Error {
    move |column| sqlx::Error::Decode(Box::new(Inconsistent { table, id, column }))
}

/// Working hours of a weekday.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HoursColumn {
    weekday: u8,
    from: u16,
    to: u16,
}

impl From<&Hours> for HoursColumn {
    fn from(hours: &Hours) -> Self {
        let weekday = u8::try_from(hours.weekday().number_from_monday()).unwrap_or_default();
        Self { weekday, from: hours.from(), to: hours.to() }
    }
}

impl HoursColumn {
    fn read(&self) -> Option<Hours> {
        let weekday = Weekday::try_from(self.weekday.checked_sub(1)?).ok()?;
        Hours::new(weekday, self.from, self.to)
    }
}

/// The columns of a schedule.
pub(super) fn schedule(time_zone: &str, hours: &[HoursColumn], holidays: Vec<NaiveDate>) -> Option<Schedule> {
    let hours = hours.iter().map(HoursColumn::read).collect::<Option<Vec<_>>>()?;
    Some(Schedule::new(Tz::from_str(time_zone).ok()?, hours, BTreeSet::from_iter(holidays)))
}

/// A target of an agreement.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TargetColumn {
    priority: i16,
    response_seconds: i64,
    resolution_seconds: i64,
    calendar_id: Option<Uuid>,
    at_risk_percent: u8,
}

impl From<&Target> for TargetColumn {
    fn from(target: &Target) -> Self {
        Self {
            priority: target.priority.level(),
            response_seconds: target.response_seconds,
            resolution_seconds: target.resolution_seconds,
            calendar_id: target.calendar_id.map(|id| id.0),
            at_risk_percent: target.at_risk_percent,
        }
    }
}

impl TargetColumn {
    pub(super) fn read(&self) -> Option<Target> {
        Some(Target {
            priority: Priority::of_level(self.priority)?,
            response_seconds: self.response_seconds,
            resolution_seconds: self.resolution_seconds,
            calendar_id: self.calendar_id.map(Into::into),
            at_risk_percent: self.at_risk_percent,
        })
    }
}

/// The agreement as a clock took it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TermsColumn {
    pub name: String,
    pub terms: Vec<TermColumn>,
}

/// A target as a clock took it, with its calendar.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TermColumn {
    priority: i16,
    seconds: i64,
    at_risk_percent: u8,
    calendar_id: Option<Uuid>,
    calendar_name: String,
    time_zone: String,
    hours: Vec<HoursColumn>,
    holidays: Vec<NaiveDate>,
}

impl From<&Term> for TermColumn {
    fn from(term: &Term) -> Self {
        Self {
            priority: term.priority.level(),
            seconds: term.seconds,
            at_risk_percent: term.at_risk_percent,
            calendar_id: term.calendar_id.map(|id| id.0),
            calendar_name: term.calendar_name.clone(),
            time_zone: term.schedule.zone().name().to_owned(),
            hours: term.schedule.hours().iter().map(Into::into).collect(),
            holidays: term.schedule.holidays().iter().copied().collect(),
        }
    }
}

impl TermColumn {
    pub(super) fn read(self) -> Option<Term> {
        Some(Term {
            priority: Priority::of_level(self.priority)?,
            seconds: self.seconds,
            at_risk_percent: self.at_risk_percent,
            calendar_id: self.calendar_id.map(Into::into),
            calendar_name: self.calendar_name,
            schedule: schedule(&self.time_zone, &self.hours, self.holidays)?,
        })
    }
}

/// A stretch of time of a clock.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SegmentColumn {
    start: DateTime<Utc>,
    end: Option<DateTime<Utc>>,
    reason: String,
    event_id: Uuid,
}

impl From<&Segment> for SegmentColumn {
    fn from(segment: &Segment) -> Self {
        let Segment { start, end, reason, event_id } = *segment;
        Self { start, end, reason: reason.name().to_owned(), event_id }
    }
}

impl SegmentColumn {
    pub(super) fn read(&self) -> Option<Segment> {
        let reason = SegmentReason::of(&self.reason)?;
        Some(Segment { start: self.start, end: self.end, reason, event_id: self.event_id })
    }
}

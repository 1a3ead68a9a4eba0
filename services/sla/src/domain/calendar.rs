//! The record of a calendar, and what people can do to it.

use chrono::{DateTime, TimeDelta, Utc};
use kit::decide::{Decision, Revised};

use super::{CalendarDecision, CalendarId, Refusal, Schedule};

kit::words!(
    /// Whether a calendar may be used.
    CalendarState {
        /// Yes.
        Active = "ACTIVE",
        /// No more.
        Retired = "RETIRED",
    }
);

/// When time counts, under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// The id.
    pub id: CalendarId,
    /// Counts the changes.
    pub revision: i64,
    /// The short name.
    pub name: String,
    /// The name people read.
    pub display_name: String,
    /// The working time.
    pub schedule: Schedule,
    /// Whether it may be used.
    pub state: CalendarState,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// What happened to a calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalendarWhat {
    /// It was created.
    Created,
    /// It was changed.
    Changed,
    /// It is out of use.
    Retired,
}

/// A calendar that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCalendar {
    /// The short name.
    pub name: String,
    /// The name people read.
    pub display_name: String,
    /// The working time.
    pub schedule: Schedule,
}

/// What an update changes; what is none stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CalendarUpdate {
    /// The name people read.
    pub display_name: Option<String>,
    /// The zone.
    pub zone: Option<chrono_tz::Tz>,
    /// The working hours.
    pub hours: Option<Vec<super::Hours>>,
    /// The days that do not count.
    pub holidays: Option<std::collections::BTreeSet<chrono::NaiveDate>>,
}

impl Revised for Calendar {
    fn revision_mut(&mut self) -> &mut i64 {
        &mut self.revision
    }
}

impl Calendar {
    /// Creates a calendar.
    ///
    /// # Errors
    /// Refused when it never works.
    pub fn create(id: CalendarId, wanted: NewCalendar, now: DateTime<Utc>) -> Result<CalendarDecision, Refusal> {
        let calendar = Self {
            id,
            revision: 0,
            name: wanted.name,
            display_name: wanted.display_name,
            schedule: wanted.schedule,
            state: CalendarState::Active,
            created_at: now,
            updated_at: now,
        };
        calendar.works(now)?;
        Ok(Decision::of(calendar, CalendarWhat::Created))
    }

    fn works(&self, now: DateTime<Utc>) -> Result<(), Refusal> {
        self.schedule.add(now, TimeDelta::seconds(1)).map(drop).map_err(|_| Refusal::NeverWorks)
    }

    /// Changes fields. Running clocks go on with the calendar as it was when they started.
    ///
    /// # Errors
    /// Refused when it is retired, or would never work.
    pub fn update(&self, update: CalendarUpdate, now: DateTime<Utc>) -> Result<CalendarDecision, Refusal> {
        if self.state == CalendarState::Retired {
            return Err(Refusal::CalendarRetired);
        }
        let mut next = self.clone();
        next.display_name = update.display_name.unwrap_or(next.display_name);
        next.schedule = Schedule::new(
            update.zone.unwrap_or(self.schedule.zone()),
            update.hours.unwrap_or_else(|| self.schedule.hours().to_vec()),
            update.holidays.unwrap_or_else(|| self.schedule.holidays().clone()),
        );
        if next == *self {
            return Ok(Decision::unchanged(next));
        }
        next.works(now)?;
        next.updated_at = now;
        Ok(Decision::of(next, CalendarWhat::Changed))
    }

    /// Takes it out of use; `user` is an active agreement that uses it.
    ///
    /// # Errors
    /// Refused while an active agreement uses it.
    pub fn retire(&self, user: Option<String>, now: DateTime<Utc>) -> Result<CalendarDecision, Refusal> {
        if self.state == CalendarState::Retired {
            return Ok(Decision::unchanged(self.clone()));
        }
        if let Some(user) = user {
            return Err(Refusal::CalendarInUse(user));
        }
        let next = Self { state: CalendarState::Retired, updated_at: now, ..self.clone() };
        Ok(Decision::of(next, CalendarWhat::Retired))
    }
}

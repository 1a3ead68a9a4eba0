//! Business time: weekly working hours in a zone, without holidays. The one place where local
//! times become instants.
//!
//! [`Schedule::add`] and [`Schedule::elapsed`] are inverse. A local time in a gap is the first
//! instant after it; in a fold the first counts as a start, the second as an end. So a shift that
//! touches a fold counts it whole, shifts of one day may overlap there, and overlap counts once.
//! There are no leap seconds.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, Days, LocalResult, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc, Weekday};
use chrono_tz::{GapInfo, Tz};

/// How far ahead a due time is looked for.
pub const HORIZON: TimeDelta = TimeDelta::days(3_653);

/// The version of the time zone data that all is computed with.
pub const TIME_ZONE_VERSION: &str = chrono_tz::IANA_TZDB_VERSION;

const DAY_MINUTES: u16 = 24 * 60;

/// So much working time does not come within [`HORIZON`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the calendar has not so much working time within ten years")]
pub struct NeverReached;

/// Working hours of a weekday, in minutes of its local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    weekday: Weekday,
    from: u16,
    to: u16,
}

impl Hours {
    /// Hours from a minute of the day to a later one; 1,440 is the midnight that ends the day. A
    /// shift over midnight is two of them.
    #[must_use]
    pub fn new(weekday: Weekday, from: u16, to: u16) -> Option<Self> {
        (from < to && to <= DAY_MINUTES).then_some(Self { weekday, from, to })
    }

    /// The weekday.
    #[must_use]
    pub const fn weekday(&self) -> Weekday {
        self.weekday
    }

    /// The minute of the day at which they begin.
    #[must_use]
    pub const fn from(&self) -> u16 {
        self.from
    }

    /// The minute of the day at which they end.
    #[must_use]
    pub const fn to(&self) -> u16 {
        self.to
    }
}

/// When time counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    zone: Tz,
    hours: Vec<Hours>,
    holidays: BTreeSet<NaiveDate>,
}

#[derive(Clone, Copy)]
enum Edge {
    Start,
    End,
}

/// The instant of a local time.
fn resolve(zone: Tz, local: NaiveDateTime, edge: Edge) -> DateTime<Utc> {
    match (zone.from_local_datetime(&local), edge) {
        (LocalResult::Single(at), _) => at.to_utc(),
        (LocalResult::Ambiguous(first, _), Edge::Start) => first.to_utc(),
        (LocalResult::Ambiguous(_, second), Edge::End) => second.to_utc(),
        // A gap has an end, since no zone's last change is open; UTC is never asked.
        (LocalResult::None, _) => {
            GapInfo::new(&local, &zone).and_then(|gap| gap.end).map_or_else(|| local.and_utc(), |end| end.to_utc())
        }
    }
}

impl Schedule {
    /// Working hours in a zone, none meaning every hour of every day, except on holidays.
    #[must_use]
    pub fn new(zone: Tz, mut hours: Vec<Hours>, holidays: BTreeSet<NaiveDate>) -> Self {
        hours.sort_unstable_by_key(|hours| (hours.weekday.num_days_from_monday(), hours.from, hours.to));
        hours.dedup();
        Self { zone, hours, holidays }
    }

    /// Every second counts.
    #[must_use]
    pub fn round_the_clock() -> Self {
        Self::new(Tz::UTC, Vec::new(), BTreeSet::new())
    }

    /// The zone.
    #[must_use]
    pub const fn zone(&self) -> Tz {
        self.zone
    }

    /// The working hours, in order of the week.
    #[must_use]
    pub fn hours(&self) -> &[Hours] {
        &self.hours
    }

    /// The days that do not count.
    #[must_use]
    pub const fn holidays(&self) -> &BTreeSet<NaiveDate> {
        &self.holidays
    }

    /// Whether every second counts.
    #[must_use]
    pub fn is_round_the_clock(&self) -> bool {
        self.hours.is_empty() && self.holidays.is_empty()
    }

    /// The working time between two instants.
    #[must_use]
    pub fn elapsed(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> TimeDelta {
        if to <= from {
            return TimeDelta::zero();
        }
        if self.is_round_the_clock() {
            return to - from;
        }
        self.windows(from, to).map(|(start, end)| end - start).sum()
    }

    /// The first instant by which so much working time has passed since `start`.
    ///
    /// # Errors
    /// [`NeverReached`] when that is not within [`HORIZON`].
    pub fn add(&self, start: DateTime<Utc>, span: TimeDelta) -> Result<DateTime<Utc>, NeverReached> {
        if span <= TimeDelta::zero() {
            return Ok(start);
        }
        let horizon = start.checked_add_signed(HORIZON).ok_or(NeverReached)?;
        if self.is_round_the_clock() {
            return start.checked_add_signed(span).filter(|at| *at <= horizon).ok_or(NeverReached);
        }
        let mut rest = span;
        for (from, to) in self.windows(start, horizon) {
            if to - from >= rest {
                return Ok(from + rest);
            }
            rest -= to - from;
        }
        Err(NeverReached)
    }

    /// The stretches of working time between two instants, in order, none touching another's time.
    fn windows(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> impl Iterator<Item = (DateTime<Utc>, DateTime<Utc>)> + '_ {
        let day_of = |at: DateTime<Utc>| at.with_timezone(&self.zone).date_naive();
        // A day's last hours may reach into the next day where a fold lies at midnight.
        let first = day_of(from).checked_sub_days(Days::new(2)).unwrap_or(NaiveDate::MIN);
        let last = day_of(to).checked_add_days(Days::new(1)).unwrap_or(NaiveDate::MAX);
        let mut until = from;
        first
            .iter_days()
            .take_while(move |day| *day <= last)
            .filter(|day| !self.holidays.contains(day))
            .flat_map(|day| self.windows_of(day))
            .filter_map(move |(start, end)| {
                let window = (start.max(until), end.min(to));
                until = until.max(end);
                (window.0 < window.1).then_some(window)
            })
    }

    fn windows_of(&self, day: NaiveDate) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
        let window = |from: u16, to: u16| {
            let midnight = day.and_time(chrono::NaiveTime::MIN);
            let start = resolve(self.zone, midnight + TimeDelta::minutes(from.into()), Edge::Start);
            (start, resolve(self.zone, midnight + TimeDelta::minutes(to.into()), Edge::End))
        };
        if self.hours.is_empty() {
            return vec![window(0, DAY_MINUTES)];
        }
        let weekday = day.weekday();
        self.hours.iter().filter(|hours| hours.weekday == weekday).map(|hours| window(hours.from, hours.to)).collect()
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;

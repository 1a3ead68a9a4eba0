//! Cases by hand over the days on which clocks are turned, and an oracle that walks the minutes of
//! UTC and never asks for the instant of a local time.

use chrono_tz::{
    Africa::{Cairo, Casablanca},
    America::{Havana, New_York, Sao_Paulo, St_Johns},
    Asia::{Kathmandu, Tehran},
    Australia::Lord_Howe,
    Europe::Berlin,
    Pacific::Apia,
    UTC,
};
use proptest::{collection, prelude::*};

use super::*;

const WEEK: [Weekday; 7] =
    [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn on(days: &[Weekday], from: (u16, u16), to: (u16, u16)) -> Vec<Hours> {
    days.iter().map(|day| Hours::new(*day, from.0 * 60 + from.1, to.0 * 60 + to.1).unwrap()).collect()
}

fn office(zone: Tz) -> Schedule {
    Schedule::new(zone, on(&WEEK[..5], (9, 0), (17, 0)), BTreeSet::new())
}

fn minutes(schedule: &Schedule, from: &str, to: &str) -> i64 {
    schedule.elapsed(at(from), at(to)).num_minutes()
}

#[test]
fn eight_business_hours_from_friday_afternoon_end_on_monday_afternoon() {
    let schedule = office(Berlin);
    let due = schedule.add(at("2026-11-20T16:00:00+01:00"), TimeDelta::hours(8)).unwrap();
    assert_eq!(due, at("2026-11-23T16:00:00+01:00"));
    assert_eq!(schedule.elapsed(at("2026-11-20T16:00:00+01:00"), due), TimeDelta::hours(8));
}

#[test]
fn a_target_that_fills_the_day_ends_with_it_and_not_the_next_morning() {
    let due = office(Berlin).add(at("2026-11-20T16:00:00+01:00"), TimeDelta::hours(1)).unwrap();
    assert_eq!(due, at("2026-11-20T17:00:00+01:00"));
}

#[test]
fn what_starts_outside_of_hours_counts_from_the_next_opening() {
    let due = office(Kathmandu).add(at("2026-11-21T12:00:00+05:45"), TimeDelta::minutes(1)).unwrap();
    assert_eq!(due, at("2026-11-23T03:16:00Z"), "Monday 09:01 in Kathmandu");
}

#[test]
fn holidays_do_not_count() {
    let holidays = BTreeSet::from([day("2026-11-23"), day("2026-11-24")]);
    let schedule = Schedule::new(Berlin, on(&WEEK[..5], (9, 0), (17, 0)), holidays.clone());
    let due = schedule.add(at("2026-11-20T16:00:00+01:00"), TimeDelta::hours(8)).unwrap();
    assert_eq!(due, at("2026-11-25T16:00:00+01:00"));
    let always = Schedule::new(Berlin, Vec::new(), holidays);
    assert!(!always.is_round_the_clock());
    assert_eq!(minutes(&always, "2026-11-22T00:00:00+01:00", "2026-11-26T00:00:00+01:00"), 2 * 24 * 60);
}

#[test]
fn berlin_skips_an_hour_in_march() {
    let (from, to) = ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
    let sunday = |from, to| Schedule::new(Berlin, on(&[Weekday::Sun], from, to), BTreeSet::new());
    assert_eq!(minutes(&sunday((0, 0), (6, 0)), from, to), 5 * 60);
    assert_eq!(minutes(&sunday((2, 30), (4, 0)), from, to), 60, "a start in the gap is 03:00");
    assert_eq!(minutes(&sunday((1, 0), (2, 30)), from, to), 60, "an end in the gap is 03:00, an hour after 01:00");
    assert_eq!(minutes(&sunday((2, 15), (2, 45)), from, to), 0, "a shift within the gap is none");
    let due = sunday((2, 30), (4, 0)).add(at(from), TimeDelta::minutes(1)).unwrap();
    assert_eq!(due, at("2026-03-29T01:01:00Z"));
}

#[test]
fn berlin_repeats_an_hour_in_october() {
    let (from, to) = ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
    let sunday = |from, to| Schedule::new(Berlin, on(&[Weekday::Sun], from, to), BTreeSet::new());
    assert_eq!(minutes(&sunday((0, 0), (6, 0)), from, to), 7 * 60);
    assert_eq!(minutes(&sunday((2, 30), (4, 0)), from, to), 150, "starts at the first 02:30");
    assert_eq!(minutes(&sunday((0, 0), (2, 30)), from, to), 210, "ends at the second 02:30");
    assert_eq!(minutes(&sunday((2, 15), (2, 45)), from, to), 90, "the first 02:15 to the second 02:45");
}

#[test]
fn shifts_that_overlap_in_a_fold_count_once() {
    let mut hours = on(&[Weekday::Sun], (0, 0), (2, 30));
    hours.extend(on(&[Weekday::Sun], (2, 30), (6, 0)));
    let split = Schedule::new(Berlin, hours, BTreeSet::new());
    assert_eq!(minutes(&split, "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"), 7 * 60);
}

#[test]
fn a_night_shift_is_two_rows_and_as_long_as_the_night() {
    let mut hours = on(&[Weekday::Sat], (22, 0), (24, 0));
    hours.extend(on(&[Weekday::Sun], (0, 0), (6, 0)));
    let night = Schedule::new(Berlin, hours, BTreeSet::new());
    assert_eq!(minutes(&night, "2026-11-21T12:00:00Z", "2026-11-22T12:00:00Z"), 8 * 60);
    assert_eq!(minutes(&night, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), 7 * 60);
    assert_eq!(minutes(&night, "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"), 9 * 60);
}

#[test]
fn new_york_has_days_of_23_and_25_hours() {
    let sundays = Schedule::new(New_York, on(&[Weekday::Sun], (0, 0), (24, 0)), BTreeSet::new());
    assert_eq!(minutes(&sundays, "2026-03-07T00:00:00Z", "2026-03-10T00:00:00Z"), 23 * 60);
    assert_eq!(minutes(&sundays, "2026-10-31T00:00:00Z", "2026-11-03T00:00:00Z"), 25 * 60);
    let due = sundays.add(at("2026-10-31T00:00:00Z"), TimeDelta::hours(3)).unwrap();
    assert_eq!(due, at("2026-11-01T07:00:00Z"), "02:00 EST, since 01:00 came twice");
}

#[test]
fn lord_howe_turns_its_clocks_by_half_an_hour() {
    let sundays = Schedule::new(Lord_Howe, on(&[Weekday::Sun], (0, 0), (24, 0)), BTreeSet::new());
    assert_eq!(minutes(&sundays, "2026-04-03T00:00:00Z", "2026-04-07T00:00:00Z"), 24 * 60 + 30);
    assert_eq!(minutes(&sundays, "2026-10-02T00:00:00Z", "2026-10-06T00:00:00Z"), 23 * 60 + 30);
}

#[test]
fn apia_lost_a_friday() {
    let every_day = Schedule::new(Apia, on(&WEEK, (0, 0), (24, 0)), BTreeSet::new());
    let (thursday, sunday) = ("2011-12-29T00:00:00-10:00", "2012-01-01T00:00:00+14:00");
    assert_eq!(minutes(&every_day, thursday, sunday), 48 * 60);
    let due = office(Apia).add(at("2011-12-29T16:00:00-10:00"), TimeDelta::hours(2)).unwrap();
    assert_eq!(due, at("2012-01-02T10:00:00+14:00"), "there was no Friday the 30th");
}

#[test]
fn sao_paulo_lost_a_midnight_and_havana_has_one_twice() {
    let sunday = Schedule::new(Sao_Paulo, on(&[Weekday::Sun], (0, 0), (6, 0)), BTreeSet::new());
    assert_eq!(minutes(&sunday, "2018-11-03T00:00:00Z", "2018-11-06T00:00:00Z"), 5 * 60);
    let saturday = Schedule::new(Havana, on(&[Weekday::Sat], (22, 0), (24, 0)), BTreeSet::new());
    assert_eq!(minutes(&saturday, "2026-10-31T12:00:00Z", "2026-11-01T12:00:00Z"), 3 * 60, "to the second midnight");
}

#[test]
fn a_calendar_without_working_time_is_refused_instead_of_searched_for_ever() {
    let mondays: BTreeSet<NaiveDate> = day("2026-01-05").iter_weeks().take(600).collect();
    let never = Schedule::new(Berlin, on(&[Weekday::Mon], (9, 0), (17, 0)), mondays);
    assert_eq!(never.add(at("2026-01-01T00:00:00Z"), TimeDelta::seconds(1)), Err(NeverReached));
    assert_eq!(Schedule::round_the_clock().add(at("2026-01-01T00:00:00Z"), TimeDelta::days(3_654)), Err(NeverReached));
    assert_eq!(never.add(at("2026-01-01T00:00:00Z"), TimeDelta::zero()), Ok(at("2026-01-01T00:00:00Z")));
}

/// Which minutes of UTC count, found by looking at the local time of each alone.
struct Oracle {
    begin: DateTime<Utc>,
    counts: Vec<bool>,
}

impl Oracle {
    fn walk(schedule: &Schedule, begin: DateTime<Utc>, days: i64) -> Self {
        let local: Vec<NaiveDateTime> = (0..days * 1_440)
            .map(|minute| (begin + TimeDelta::minutes(minute)).with_timezone(&schedule.zone).naive_local())
            .collect();
        let mut counts = vec![false; local.len()];
        let full = on(&WEEK, (0, 0), (24, 0));
        let rows = if schedule.hours.is_empty() { &full } else { &schedule.hours };
        let mut dates: Vec<NaiveDate> = local.iter().map(NaiveDateTime::date).collect();
        dates.sort_unstable();
        dates.dedup();
        for date in dates.iter().filter(|date| !schedule.holidays.contains(date)) {
            for row in rows.iter().filter(|row| row.weekday == date.weekday()) {
                let time = |minute: u16| date.and_time(chrono::NaiveTime::MIN) + TimeDelta::minutes(minute.into());
                let (from, to) = (time(row.from), time(row.to));
                let open = local.iter().position(|time| *time >= from).unwrap_or(local.len());
                let close = local.iter().rposition(|time| *time == to);
                let close = close.or_else(|| local.iter().position(|time| *time >= to)).unwrap_or(local.len());
                counts[open.min(close)..close].fill(true);
            }
        }
        Self { begin, counts }
    }

    fn index(&self, at: DateTime<Utc>) -> usize {
        usize::try_from((at - self.begin).num_minutes()).unwrap()
    }

    fn elapsed(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> TimeDelta {
        let counted = self.counts[self.index(from)..self.index(to)].iter().filter(|counts| **counts).count();
        TimeDelta::minutes(i64::try_from(counted).unwrap())
    }

    fn add(&self, start: DateTime<Utc>, span: TimeDelta) -> Option<DateTime<Utc>> {
        let mut rest = span.num_minutes();
        let mut at = start;
        for counts in &self.counts[self.index(start)..] {
            if rest == 0 {
                return Some(at);
            }
            rest -= i64::from(*counts);
            at += TimeDelta::minutes(1);
        }
        (rest == 0).then_some(at)
    }
}

/// Zones, each with a day near which its clocks are turned.
fn turning() -> impl Strategy<Value = (Tz, NaiveDate)> {
    let days = [
        (Berlin, "2026-03-29"),
        (Berlin, "2026-10-25"),
        (New_York, "2026-03-08"),
        (New_York, "2026-11-01"),
        (Lord_Howe, "2026-04-05"),
        (Lord_Howe, "2026-10-04"),
        (St_Johns, "2026-11-01"),
        (St_Johns, "2006-10-29"),
        (Cairo, "2026-04-24"),
        (Cairo, "2026-10-30"),
        (Tehran, "2022-03-22"),
        (Tehran, "2022-09-22"),
        (Casablanca, "2026-02-15"),
        (Casablanca, "2026-03-22"),
        (Apia, "2011-12-30"),
        (Kathmandu, "2026-06-01"),
        (Sao_Paulo, "2018-11-04"),
        (Sao_Paulo, "2019-02-17"),
        (Havana, "2026-11-01"),
        (UTC, "2026-02-28"),
    ];
    proptest::sample::select(days.to_vec()).prop_map(|(zone, date)| (zone, day(date)))
}

fn hours() -> impl Strategy<Value = Vec<Hours>> {
    // Quarters of an hour, so that edges often fall into gaps and folds.
    let row = (0usize..7, 0u16..96, 1u16..=96)
        .prop_filter_map("ends after it starts", |(day, from, to)| Hours::new(WEEK[day], from * 15, to * 15));
    prop_oneof![collection::vec(row, 0..12), Just(on(&WEEK[..5], (9, 0), (17, 0))), Just(on(&WEEK, (0, 0), (24, 0)))]
}

fn schedule() -> impl Strategy<Value = (Schedule, DateTime<Utc>)> {
    (turning(), hours(), collection::btree_set(-3i64..4, 0..3)).prop_map(|((zone, turn), hours, holidays)| {
        let holidays = holidays.into_iter().map(|offset| turn + TimeDelta::days(offset)).collect();
        let begin = (turn - TimeDelta::days(8)).and_time(chrono::NaiveTime::MIN).and_utc();
        (Schedule::new(zone, hours, holidays), begin)
    })
}

const WALKED_DAYS: i64 = 20;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_walk_over_the_minutes_says_the_same(
        (schedule, begin) in schedule(), pairs in collection::vec((4 * 1_440i64..16 * 1_440, 0i64..3 * 1_440), 20)
    ) {
        let oracle = Oracle::walk(&schedule, begin, WALKED_DAYS);
        for (start, length) in pairs {
            let from = begin + TimeDelta::minutes(start);
            let to = from + TimeDelta::minutes(length.min(16 * 1_440 - start));
            prop_assert_eq!(schedule.elapsed(from, to), oracle.elapsed(from, to), "from {} to {}", from, to);
            let span = TimeDelta::minutes(length / 3);
            // The walk ends somewhere; what it does not reach it does not judge, and near its end it
            // may miss a row that begins after it.
            if let Some(due) = oracle.add(from, span).filter(|due| *due < begin + TimeDelta::days(16)) {
                prop_assert_eq!(schedule.add(from, span), Ok(due), "{} after {}", span, from);
            }
        }
    }

    #[test]
    fn add_and_elapsed_are_inverse_and_monotone(
        (schedule, begin) in schedule(), start in 0i64..10_000_000_000_000, first in 0i64..900_000_000_000, more in 0i64..900_000_000_000
    ) {
        let start = begin + TimeDelta::microseconds(start % 1_700_000_000_000);
        let (short, long) = (TimeDelta::microseconds(first), TimeDelta::microseconds(first + more));
        if let (Ok(early), Ok(late)) = (schedule.add(start, short), schedule.add(start, long)) {
            prop_assert_eq!(schedule.elapsed(start, early), short);
            prop_assert_eq!(schedule.elapsed(start, late), long);
            prop_assert!(start <= early && early <= late);
            prop_assert_eq!(schedule.elapsed(start, early) + schedule.elapsed(early, late), long);
            prop_assert_eq!(schedule.add(early, long - short), Ok(if more == 0 { early } else { late }));
            let later = schedule.add(start + TimeDelta::hours(5), short).unwrap();
            prop_assert!(early <= later, "starting later is never due earlier");
        }
    }
}

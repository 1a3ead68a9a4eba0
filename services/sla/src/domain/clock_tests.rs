//! A clock by cases, and by chance: whatever happens and whenever it is swept, it ends the same.

use std::collections::BTreeSet;

use chrono::Weekday;
use chrono_tz::{Australia::Lord_Howe, Europe::Berlin};
use proptest::{collection, prelude::*};

use super::*;
use crate::domain::{Hours, Incident, IncidentState, explanation};

const START: &str = "2026-11-20T15:00:00Z";

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn office(zone: chrono_tz::Tz) -> Schedule {
    let week = [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri];
    let hours = week.map(|day| Hours::new(day, 9 * 60, 17 * 60).unwrap());
    Schedule::new(zone, hours.to_vec(), BTreeSet::new())
}

/// P1 an hour round the clock, P2 two hours, P3 eight hours of an office; P4 has no target.
fn terms(office: &Schedule) -> Terms {
    let term = |priority, hours: i64, schedule: Schedule, calendar_id| Term {
        priority,
        seconds: hours * 3_600,
        at_risk_percent: 75,
        calendar_id,
        calendar_name: "office".to_owned(),
        schedule,
    };
    Terms {
        agreement_id: Uuid::from_u128(1).into(),
        agreement_revision: 2,
        agreement_name: "Default".to_owned(),
        terms: vec![
            term(Priority::P1, 1, Schedule::round_the_clock(), None),
            term(Priority::P2, 2, Schedule::round_the_clock(), None),
            term(Priority::P3, 8, office.clone(), Some(Uuid::from_u128(2).into())),
        ],
    }
}

fn seen(state: IncidentState, acknowledged: bool, priority: Priority, at: DateTime<Utc>) -> Seen {
    let incident = Incident {
        id: Uuid::from_u128(3).into(),
        revision: 1,
        number: "INC0000001".to_owned(),
        state,
        acknowledged,
        priority,
        service_id: None,
        team_id: None,
    };
    Seen { incident, at, event_id: Uuid::from_u128(4) }
}

fn open(metric: Metric, priority: Priority, start: DateTime<Utc>) -> Clock {
    let terms = terms(&office(Berlin));
    Clock::start(Uuid::from_u128(5).into(), metric, terms, &seen(IncidentState::New, false, priority, start)).open().0
}

/// Tells all that is due by an instant.
fn swept(clock: &Clock, now: DateTime<Utc>, provisional: bool, told: &mut Vec<ClockWhat>) -> Clock {
    let mut clock = clock.clone();
    loop {
        let decision = clock.tick(now, provisional, None);
        if decision.is_unchanged() {
            return clock;
        }
        told.extend(decision.steps().iter().map(|step| step.what.clone()));
        clock = decision.open().0;
    }
}

/// An event as the service takes it: what was due before it first.
fn saw(clock: &Clock, event: &Seen, told: &mut Vec<ClockWhat>) -> Clock {
    let clock = swept(clock, event.at - TimeDelta::microseconds(1), false, told);
    let decision = clock.observe(event);
    told.extend(decision.steps().iter().map(|step| step.what.clone()));
    decision.open().0
}

fn after(clock: &Clock, events: &[Seen]) -> (Clock, Vec<ClockWhat>) {
    let mut told = Vec::new();
    let clock = events.iter().fold(clock.clone(), |clock, event| saw(&clock, event, &mut told));
    (clock, told)
}

#[test]
fn a_clock_that_is_met_out_of_a_pause_was_kept_however_late_it_is() {
    let start = at(START);
    let mut told = Vec::new();
    let clock = open(Metric::Resolution, Priority::P1, start);
    let minutes = |minutes| start + TimeDelta::minutes(minutes);
    let clock = saw(&clock, &seen(IncidentState::Pending, true, Priority::P1, minutes(20)), &mut told);
    // Ten hours later, of which it waited all but the first twenty minutes.
    let clock = saw(&clock, &seen(IncidentState::Resolved, true, Priority::P1, minutes(600)), &mut told);
    assert!(!told.iter().any(|what| matches!(what, ClockWhat::AtRisk | ClockWhat::Breached)), "{told:?}");
    assert_eq!((clock.state, clock.breached_at), (ClockState::Met, None));
    assert_eq!(clock.due_at(), Some(minutes(60)), "when it would have been due, for who looks");
}

#[test]
fn pending_over_a_weekend_costs_no_business_time_that_the_weekend_has_not() {
    let clock = open(Metric::Resolution, Priority::P3, at("2026-11-20T16:00:00+01:00"));
    assert_eq!(clock.due_at(), Some(at("2026-11-23T16:00:00+01:00")));
    let held = seen(IncidentState::Pending, false, Priority::P3, at("2026-11-20T16:30:00+01:00"));
    let resumed = seen(IncidentState::InProgress, false, Priority::P3, at("2026-11-23T10:00:00+01:00"));
    let (paused, _) = after(&clock, std::slice::from_ref(&held));
    assert_eq!((paused.state, paused.due_at(), paused.next_due()), (ClockState::Paused, None, None));
    let (running, told) = after(&paused, &[resumed]);
    assert_eq!(told, [ClockWhat::Resumed]);
    // Half an hour of Friday and one of Monday did not count.
    assert_eq!(running.due_at(), Some(at("2026-11-24T09:30:00+01:00")));
    assert_eq!(running.segments.len(), 3);
    assert!(!running.segments[1].counted());
}

#[test]
fn the_response_is_met_by_whichever_comes_first() {
    let start = at(START);
    let clock = open(Metric::Response, Priority::P1, start);
    let minute = |minute| start + TimeDelta::minutes(minute);
    for (state, acknowledged) in
        [(IncidentState::Assigned, true), (IncidentState::InProgress, false), (IncidentState::Resolved, false)]
    {
        let (met, told) = after(&clock, &[seen(state, acknowledged, Priority::P1, minute(10))]);
        assert_eq!(
            (met.state, met.stopped_at, told.as_slice()),
            (ClockState::Met, Some(minute(10)), &[ClockWhat::Met][..])
        );
        let (same, told) = after(&met, &[seen(IncidentState::Assigned, true, Priority::P2, minute(20))]);
        assert_eq!((same, told), (met, vec![]), "a response stays met");
    }
    let (waiting, _) = after(&clock, &[seen(IncidentState::Assigned, false, Priority::P1, minute(10))]);
    assert_eq!(waiting.state, ClockState::Running, "assigning is no response");
}

#[test]
fn at_risk_and_breach_are_told_once_and_stamped_with_the_instant_due() {
    let start = at(START);
    let clock = open(Metric::Resolution, Priority::P1, start);
    let mut told = Vec::new();
    let clock = swept(&clock, start + TimeDelta::minutes(44), false, &mut told);
    assert!(told.is_empty());
    let late = swept(&clock, start + TimeDelta::hours(5), false, &mut told);
    let late = swept(&late, start + TimeDelta::hours(6), false, &mut told);
    assert_eq!(told, [ClockWhat::AtRisk, ClockWhat::Breached]);
    assert_eq!(late.at_risk_at, Some(start + TimeDelta::minutes(45)));
    assert_eq!(late.breached_at, Some(start + TimeDelta::hours(1)));
    let (met, told) = after(&late, &[seen(IncidentState::Resolved, false, Priority::P1, start + TimeDelta::hours(7))]);
    assert_eq!((met.breached_at, told), (Some(start + TimeDelta::hours(1)), vec![ClockWhat::Met]), "met, but late");
}

#[test]
fn what_was_due_before_an_event_is_told_before_it() {
    let start = at(START);
    let clock = open(Metric::Resolution, Priority::P1, start);
    let (_, told) =
        after(&clock, &[seen(IncidentState::Resolved, false, Priority::P1, start + TimeDelta::minutes(61))]);
    assert_eq!(told, [ClockWhat::AtRisk, ClockWhat::Breached, ClockWhat::Met]);
    let (met, told) =
        after(&clock, &[seen(IncidentState::Resolved, false, Priority::P1, start + TimeDelta::minutes(60))]);
    assert_eq!(told, [ClockWhat::AtRisk, ClockWhat::Met], "to the minute is in time");
    assert_eq!((met.breached_at, met.due_at()), (None, Some(start + TimeDelta::minutes(60))));
}

#[test]
fn an_event_that_comes_late_takes_the_breach_back() {
    let start = at(START);
    let in_time = start + TimeDelta::minutes(30);
    let breached =
        swept(&open(Metric::Resolution, Priority::P1, start), start + TimeDelta::hours(2), true, &mut Vec::new());
    assert!(breached.provisional);
    for state in [IncidentState::Resolved, IncidentState::Pending, IncidentState::Cancelled] {
        let decision = breached.observe(&seen(state, false, Priority::P1, in_time));
        let [withdrawn, then] = decision.steps() else { panic!("{decision:?}") };
        let ClockWhat::BreachWithdrawn { reason } = &withdrawn.what else { panic!("{withdrawn:?}") };
        assert!(reason.contains("2026-11-20T15:30:00Z"), "{reason}");
        assert_eq!((withdrawn.record.breached_at, withdrawn.record.state), (None, ClockState::Running));
        assert_eq!((then.record.breached_at, then.record.at_risk_at, then.record.provisional), (None, None, false));
        assert_eq!(then.record.revision, breached.revision + 2);
    }
    let (paused, _) = after(&breached, &[seen(IncidentState::Pending, false, Priority::P1, in_time)]);
    let resumed = seen(IncidentState::InProgress, false, Priority::P1, start + TimeDelta::hours(3));
    let (running, _) = after(&paused, &[resumed]);
    let mut told = Vec::new();
    let again = swept(&running, start + TimeDelta::hours(9), false, &mut told);
    assert_eq!(told, [ClockWhat::AtRisk, ClockWhat::Breached], "and it can be breached for good");
    assert_eq!(again.breached_at, Some(start + TimeDelta::minutes(210)));
}

#[test]
fn an_event_that_is_late_and_changes_nothing_takes_nothing_back() {
    let start = at(START);
    let breached =
        swept(&open(Metric::Resolution, Priority::P1, start), start + TimeDelta::hours(2), true, &mut Vec::new());
    let noted = seen(IncidentState::Assigned, true, Priority::P1, start + TimeDelta::minutes(30));
    assert!(breached.observe(&noted).is_unchanged());
}

#[test]
fn a_reopened_incident_goes_on_without_the_time_it_was_resolved() {
    let start = at(START);
    let hour = |hour| start + TimeDelta::hours(hour);
    let clock = open(Metric::Resolution, Priority::P2, start);
    let (running, told) = after(
        &clock,
        &[
            seen(IncidentState::Resolved, true, Priority::P2, hour(1)),
            seen(IncidentState::Assigned, true, Priority::P2, hour(10)),
        ],
    );
    assert_eq!(told, [ClockWhat::Met, ClockWhat::Resumed]);
    assert_eq!((running.state, running.stopped_at), (ClockState::Running, None));
    assert_eq!(running.due_at(), Some(hour(11)));
    assert_eq!(running.segments[1].reason, SegmentReason::Resolved);
}

#[test]
fn another_priority_counts_from_the_start() {
    let start = at(START);
    let minute = |minute| start + TimeDelta::minutes(minute);
    let clock = open(Metric::Resolution, Priority::P2, start);
    let (sooner, told) = after(&clock, &[seen(IncidentState::New, false, Priority::P1, minute(30))]);
    assert_eq!(sooner.due_at(), Some(minute(60)));
    assert!(matches!(told.as_slice(), [ClockWhat::Recomputed { .. }]));
    let (missed, told) = after(&clock, &[seen(IncidentState::New, false, Priority::P1, minute(80))]);
    assert!(
        matches!(told.as_slice(), [ClockWhat::Recomputed { .. }, ClockWhat::AtRisk, ClockWhat::Breached]),
        "{told:?}"
    );
    assert_eq!(missed.breached_at, Some(minute(60)), "stamped with the instant due");
    let (kept, told) = after(&missed, &[seen(IncidentState::New, false, Priority::P2, minute(85))]);
    assert!(matches!(told.as_slice(), [ClockWhat::BreachWithdrawn { .. }, ClockWhat::Recomputed { .. }]), "{told:?}");
    assert_eq!((kept.breached_at, kept.at_risk_at, kept.due_at()), (None, None, Some(minute(120))));
    let (without, _) = after(&clock, &[seen(IncidentState::New, false, Priority::P4, minute(30))]);
    assert_eq!((without.due_at(), without.next_due(), without.elapsed(minute(90))), (None, None, TimeDelta::zero()));
}

#[test]
fn a_cancelled_incident_cancels_its_clocks_for_good() {
    let start = at(START);
    let clock = open(Metric::Resolution, Priority::P1, start);
    let (gone, told) =
        after(&clock, &[seen(IncidentState::Cancelled, false, Priority::P1, start + TimeDelta::minutes(5))]);
    assert_eq!((gone.state, told.as_slice()), (ClockState::Cancelled, &[ClockWhat::Cancelled][..]));
    assert_eq!(swept(&gone, start + TimeDelta::days(9), false, &mut Vec::new()), gone);
    assert!(
        gone.observe(&seen(IncidentState::Assigned, false, Priority::P1, start + TimeDelta::hours(1))).is_unchanged()
    );
}

#[test]
fn a_clock_says_how_it_got_its_due_time() {
    let clock = open(Metric::Resolution, Priority::P3, at("2026-11-20T16:00:00+01:00"));
    let held = seen(IncidentState::Pending, false, Priority::P3, at("2026-11-20T16:30:00+01:00"));
    let resumed = seen(IncidentState::InProgress, false, Priority::P3, at("2026-11-23T10:00:00+01:00"));
    let (running, _) = after(&clock, &[held.clone(), resumed]);
    let zones = crate::domain::schedule::TIME_ZONE_VERSION;
    assert_eq!(
        explanation::explain(&running),
        format!(
            "For P3 agreement \"Default\" (revision 2) allows 8 h to resolve, counted in calendar \"office\" (Europe/Berlin, \
             time zone data {zones}). It counts since 2026-11-20T15:00:00Z. Not counted: 2026-11-20T15:30:00Z to \
             2026-11-23T09:00:00Z (pending, 1 h 30 min of the calendar). Due 2026-11-24T08:30:00Z; at risk at 75 %, \
             2026-11-23T14:30:00Z."
        )
    );
    let (paused, _) = after(&clock, &[held]);
    let text = explanation::explain(&paused);
    assert!(text.ends_with("No due time while it waits; 7 h 30 min are left."), "{text}");
    let without = open(Metric::Response, Priority::P4, at(START));
    let text = explanation::explain(&without);
    assert_eq!(text, "No due time: agreement \"Default\" (revision 2) has no time to respond for P4.");
}

fn history() -> impl Strategy<Value = Vec<Seen>> {
    let state = proptest::sample::select(IncidentState::ALL.to_vec());
    let priority = proptest::sample::select(Priority::ALL.to_vec());
    collection::vec((state, any::<bool>(), priority, 0i64..200_000), 0..12).prop_map(|events| {
        let mut now = at(START);
        let mut next = |(state, acknowledged, priority, seconds)| {
            now += TimeDelta::seconds(seconds);
            seen(state, acknowledged, priority, now)
        };
        events.into_iter().map(&mut next).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whenever_it_is_swept_it_ends_the_same_and_makes_only_its_moves(
        events in history(), sweeps in collection::vec(0i64..900_000, 12), response in any::<bool>(), first in 0usize..4
    ) {
        let metric = if response { Metric::Response } else { Metric::Resolution };
        let clock = open(metric, Priority::ALL[first], at(START));
        let (plain, _) = after(&clock, &events);
        let (mut hasty, mut told) = (clock.clone(), Vec::new());
        for (event, ahead) in events.iter().zip(&sweeps) {
            // The sweep runs ahead of an event that is on its way.
            hasty = swept(&hasty, event.at + TimeDelta::seconds(*ahead), true, &mut told);
            let before = hasty.clone();
            hasty = saw(&hasty, event, &mut told);
            prop_assert!(before.state == hasty.state || MOVES.contains(&(metric, before.state, hasty.state)));
            prop_assert_eq!(hasty.state == ClockState::Running, hasty.segments.last().is_some_and(|segment| segment.counted() && segment.end.is_none()));
            prop_assert_eq!(hasty.stopped_at.is_some(), matches!(hasty.state, ClockState::Met | ClockState::Cancelled));
        }
        let end = events.last().map_or(at(START), |event| event.at) + TimeDelta::days(30);
        let (plain, hasty) = (swept(&plain, end, false, &mut Vec::new()), swept(&hasty, end, false, &mut told));
        // How often it was told, and when, is history; what is true now is the same.
        let truth = |clock: &Clock| Clock { revision: 0, provisional: false, updated_at: clock.created_at, ..clock.clone() };
        prop_assert_eq!(truth(&plain), truth(&hasty));
        let withdrawn = told.iter().filter(|what| matches!(what, ClockWhat::BreachWithdrawn { .. })).count();
        let breached = told.iter().filter(|what| **what == ClockWhat::Breached).count();
        prop_assert_eq!(breached, withdrawn + usize::from(hasty.breached_at.is_some()), "breached once each");
    }

    #[test]
    fn waiting_moves_the_due_time_by_the_business_time_waited(
        from in 0i64..80_000, waited in 0i64..900_000, lord_howe in any::<bool>()
    ) {
        // Around the Sunday on which the clocks of Lord Howe are turned, and an ordinary week of Berlin.
        let (zone, start) = if lord_howe { (Lord_Howe, at("2026-04-02T22:00:00Z")) } else { (Berlin, at(START)) };
        let schedule = office(zone);
        let opened = seen(IncidentState::New, false, Priority::P3, start);
        let clock = Clock::start(Uuid::from_u128(5).into(), Metric::Resolution, terms(&schedule), &opened).open().0;
        let due = clock.due_at().unwrap();
        let held = (start + TimeDelta::seconds(from)).min(due);
        let resumed = held + TimeDelta::seconds(waited);
        let (clock, _) = after(&clock, &[
            seen(IncidentState::Pending, false, Priority::P3, held),
            seen(IncidentState::InProgress, false, Priority::P3, resumed),
        ]);
        let moved = clock.due_at().unwrap();
        let paused = schedule.elapsed(held, resumed);
        if schedule.elapsed(start, held) < TimeDelta::hours(8) {
            prop_assert_eq!(schedule.elapsed(start, moved), TimeDelta::hours(8) + paused);
            prop_assert_eq!(schedule.elapsed(due, moved), paused);
        }
        let now = resumed + TimeDelta::hours(3);
        prop_assert_eq!(clock.elapsed(now) + paused, schedule.elapsed(start, now), "counted and paused are all there was");
    }
}

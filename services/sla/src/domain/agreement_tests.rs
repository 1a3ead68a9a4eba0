//! An agreement by cases.

use std::collections::BTreeSet;

use chrono::{TimeZone, Weekday};
use uuid::Uuid;

use super::*;
use crate::domain::{Hours, calendar::CalendarUpdate, calendar::NewCalendar};

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 23, 10, 0, 0).unwrap()
}

fn calendar(hours: Vec<Hours>) -> Calendar {
    let wanted = NewCalendar {
        name: "office".to_owned(),
        display_name: "Office".to_owned(),
        schedule: Schedule::new(chrono_tz::Tz::UTC, hours, BTreeSet::new()),
    };
    Calendar::create(Uuid::from_u128(1).into(), wanted, now()).unwrap().open().0
}

fn known(calendar: &Calendar) -> Calendars {
    BTreeMap::from([(calendar.id, calendar.clone())])
}

fn office() -> Calendar {
    calendar(vec![Hours::new(Weekday::Mon, 540, 1_020).unwrap()])
}

fn draft(targets: Vec<Target>, calendars: &Calendars) -> Verdict {
    let wanted =
        NewAgreement { display_name: "Default".to_owned(), kind: AgreementKind::Sla, service_id: None, targets };
    Agreement::create(Uuid::from_u128(2).into(), wanted, calendars, now())
}

#[test]
fn it_is_a_draft_then_active_then_retired() {
    let office = office();
    let draft = draft(default_targets(office.id), &known(&office)).unwrap().open().0;
    assert_eq!((draft.state, draft.revision), (AgreementState::Draft, 1));
    let active = draft.activate(&known(&office), now()).unwrap().open().0;
    assert_eq!((active.state, active.revision), (AgreementState::Active, 2));
    assert!(active.activate(&known(&office), now()).unwrap().is_unchanged());
    let retired = active.retire(now()).open().0;
    assert!(retired.retire(now()).is_unchanged());
    assert_eq!(retired.activate(&known(&office), now()), Err(Refusal::AgreementRetired));
    let update = AgreementUpdate { display_name: Some("New".to_owned()), targets: None };
    assert_eq!(retired.update(update, &known(&office), now()), Err(Refusal::AgreementRetired));
}

#[test]
fn without_a_target_it_starts_no_clocks() {
    let none = BTreeMap::new();
    let empty = draft(vec![], &none).unwrap().open().0;
    assert_eq!(empty.activate(&none, now()), Err(Refusal::NoTarget));
    assert_eq!(empty.terms(Metric::Response, &none), None);
    let office = office();
    let active = draft(default_targets(office.id), &known(&office)).unwrap().open().0;
    let active = active.activate(&known(&office), now()).unwrap().open().0;
    let update = AgreementUpdate { display_name: None, targets: Some(vec![]) };
    assert_eq!(active.update(update, &known(&office), now()), Err(Refusal::NoTarget));
}

#[test]
fn a_target_that_its_calendar_never_reaches_is_refused() {
    let minute = calendar(vec![Hours::new(Weekday::Mon, 0, 1).unwrap()]);
    assert_eq!(draft(default_targets(minute.id), &known(&minute)), Err(Refusal::NeverDue(Priority::P3)));
    let office = office();
    let retired = office.retire(None, now()).unwrap().open().0;
    assert_eq!(
        draft(default_targets(office.id), &known(&retired)),
        Err(Refusal::TargetCalendarRetired("office".to_owned()))
    );
}

#[test]
fn a_calendar_must_work_and_stays_while_it_is_used() {
    let office = office();
    let mondays = now().date_naive().iter_weeks().take(600).collect();
    let update = CalendarUpdate { holidays: Some(mondays), ..CalendarUpdate::default() };
    assert_eq!(office.update(update, now()), Err(Refusal::NeverWorks));
    assert_eq!(office.retire(Some("Default".to_owned()), now()), Err(Refusal::CalendarInUse("Default".to_owned())));
    let same = CalendarUpdate { hours: Some(office.schedule.hours().to_vec()), ..CalendarUpdate::default() };
    assert!(office.update(same, now()).unwrap().is_unchanged());
    let retired = office.retire(None, now()).unwrap().open().0;
    assert_eq!(retired.update(CalendarUpdate::default(), now()), Err(Refusal::CalendarRetired));
}

#[test]
fn a_clock_takes_the_targets_of_what_it_measures() {
    let office = office();
    let agreement = draft(default_targets(office.id), &known(&office)).unwrap().open().0;
    let terms = agreement.terms(Metric::Response, &known(&office)).unwrap();
    let seconds: Vec<i64> = terms.terms.iter().map(|term| term.seconds).collect();
    assert_eq!(seconds, [900, 1_800, 7_200, 28_800]);
    assert!(terms.terms[0].schedule.is_round_the_clock());
    assert_eq!(terms.terms[3].calendar_name, "office");
    assert_eq!(terms.terms[0].at_risk(), TimeDelta::seconds(675));
}

//! Cases and properties of what signals mean.

use std::collections::HashSet;

use chrono::TimeDelta;
use kit::id::AlertId;
use proptest::{prelude::*, sample::subsequence};
use uuid::Uuid;

use super::*;
use crate::domain::{
    Content, What,
    alert::{MOVES, Verb},
};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600 + seconds, 0).unwrap()
}

fn fires(starts: i64, received: i64, severity: Severity, expires: Option<i64>) -> Signal {
    Signal {
        dedup_key: "disk".to_owned(),
        said: Said::Firing { expires_at: expires.map(at) },
        starts_at: at(starts),
        received_at: at(received),
        severity,
        content: Content { title: format!("disk at {received}"), ..Content::default() },
        trace_parent: String::new(),
    }
    .bounded()
}

fn ends(ended: i64, received: i64) -> Signal {
    Signal { said: Said::Cleared { ended_at: at(ended) }, ..fires(ended.min(received), received, Severity::High, None) }
        .bounded()
}

/// A condition and every alert that it ever had.
#[derive(Default)]
struct World {
    condition: Condition,
    raised: u128,
    told: Vec<(AlertId, What)>,
    moves: Vec<(State, Verb, State)>,
}

impl World {
    fn apply(&mut self, decision: Decision, verb: Option<Verb>) {
        if decision.is_unchanged() {
            return;
        }
        let before = self.condition.latest.as_ref().map(Alert::state);
        self.told.extend(decision.steps().iter().map(|step| (step.record.id, step.what)));
        if let (Some(before), Some(verb)) = (before, verb) {
            self.moves.push((before, verb, decision.record().state()));
        }
        self.condition.latest = Some(decision.record().clone());
    }

    fn hear(&mut self, signal: &Signal, now: i64) -> Heard {
        if let Some(decision) = self.condition.due_before(signal.received_at) {
            self.apply(decision, Some(Verb::Expire));
        }
        let source = Source { id: IntegrationId(Uuid::nil()), name: "demo", open_from: Severity::Medium };
        let before = self.condition.latest.as_ref().map(Alert::state);
        let raised = self.raised + 1;
        let raise = || (AlertId(Uuid::from_u128(raised)), Route::default());
        let heard = self.condition.hear(source, signal, raise, at(now));
        if let Heard::Told(decision) = &heard {
            for step in decision.steps() {
                let verb = match step.what {
                    What::Raised => {
                        self.raised = raised;
                        None
                    }
                    What::Repeated => Some(Verb::Repeat),
                    What::SeverityChanged { .. } => Some(Verb::ChangeSeverity),
                    What::Cleared => Some(Verb::ClearBySource),
                };
                if let (Some(before), Some(verb)) = (before, verb) {
                    self.moves.push((before, verb, step.record.state()));
                }
                self.told.push((step.record.id, step.what));
            }
        }
        heard
    }

    fn active(&self) -> Option<(DateTime<Utc>, Severity)> {
        self.condition.active().map(|alert| (alert.fired_at, alert.severity))
    }
}

#[test]
fn an_episode_is_raised_counted_and_cleared_by_its_source() {
    let mut world = World::default();
    assert!(matches!(world.hear(&fires(0, 1, Severity::High, None), 1), Heard::Told(_)));
    assert!(matches!(world.hear(&fires(0, 11, Severity::High, None), 11), Heard::Measured(_)));
    assert!(matches!(world.hear(&fires(0, 61, Severity::High, None), 61), Heard::Told(_)));
    assert_eq!(world.condition.active().unwrap().occurrence_count, 3);
    assert!(matches!(world.hear(&ends(70, 71), 71), Heard::Told(_)));
    let alert = world.condition.latest.unwrap();
    assert_eq!(alert.cleared, Some((at(70), ClearReason::Source)));
    assert_eq!(alert.started_at, at(0));
    let whats: Vec<What> = world.told.iter().map(|(_, what)| *what).collect();
    assert_eq!(whats, [What::Raised, What::Repeated, What::Cleared]);
}

#[test]
fn severity_is_told_at_once_and_opens_what_was_only_kept() {
    let mut world = World::default();
    let _ = world.hear(&fires(0, 1, Severity::Info, None), 1);
    assert!(!world.condition.active().unwrap().choice.opens_incident);
    let heard = world.hear(&fires(0, 2, Severity::Critical, None), 2);
    let Heard::Told(decision) = heard else { panic!("{heard:?}") };
    assert_eq!(decision.steps()[0].what, What::SeverityChanged { from: Severity::Info });
    assert!(decision.record().choice.opens_incident);
    let _ = world.hear(&fires(0, 3, Severity::Low, None), 3);
    assert!(world.condition.active().unwrap().choice.opens_incident);
}

#[test]
fn what_is_older_than_what_is_known_means_nothing() {
    let mut world = World::default();
    assert_eq!(world.hear(&ends(5, 6), 6), Heard::Nothing(Stale::NothingActive));
    assert_eq!(world.hear(&fires(0, 7, Severity::High, None), 7), Heard::Nothing(Stale::FiredBeforeEnd(at(0))));
    let _ = world.hear(&fires(10, 10, Severity::High, None), 10);
    assert_eq!(world.hear(&ends(9, 11), 11), Heard::Nothing(Stale::EndedBeforeStart(at(9))));
    assert_eq!(world.active(), Some((at(10), Severity::High)));
}

#[test]
fn an_alert_expires_at_its_end_unless_it_is_said_again() {
    let mut world = World::default();
    let _ = world.hear(&fires(0, 1, Severity::High, Some(100)), 1);
    let _ = world.hear(&fires(0, 50, Severity::High, Some(150)), 50);
    assert!(world.condition.due_before(at(149)).is_none());
    let due = world.condition.due_before(at(400)).unwrap();
    assert_eq!(due.record().cleared, Some((at(150), ClearReason::Expired)));
    assert_eq!(due.record().updated_at, at(150));
    // Said again after it had expired: what was over begins anew, what is a copy of old does not.
    world.apply(due, Some(Verb::Expire));
    assert!(matches!(
        world.hear(&fires(0, 50, Severity::High, Some(150)), 401),
        Heard::Nothing(Stale::BeforeExpiry(_))
    ));
    assert!(matches!(world.hear(&fires(0, 402, Severity::High, Some(500)), 402), Heard::Told(_)));
    assert_eq!(world.raised, 2);
}

#[test]
fn a_person_ends_an_episode_and_firing_again_begins_one() {
    let mut world = World::default();
    let _ = world.hear(&fires(0, 1, Severity::High, None), 1);
    let cleared = world.condition.active().unwrap().clear_by_person(at(10));
    world.apply(cleared, Some(Verb::ClearByPerson));
    assert!(matches!(world.hear(&fires(0, 9, Severity::High, None), 11), Heard::Nothing(Stale::BeforePerson(_))));
    assert!(matches!(world.hear(&fires(0, 20, Severity::High, None), 20), Heard::Told(_)));
    assert_eq!(world.raised, 2);
    let again = world.condition.latest.as_ref().unwrap().clear_by_person(at(30));
    assert!(again.record().clear_by_person(at(31)).is_unchanged());
}

#[test]
fn instants_ahead_of_our_time_are_bounded() {
    let signal =
        Signal { said: Said::Cleared { ended_at: at(90_000) }, ..fires(80_000, 10, Severity::High, None) }.bounded();
    assert_eq!((signal.starts_at, signal.said), (at(10), Said::Cleared { ended_at: at(10) }));
    let mut world = World::default();
    let _ = world.hear(&fires(80_000, 5, Severity::High, None), 5);
    assert!(matches!(world.hear(&signal, 10), Heard::Told(_)));
    assert!(matches!(world.hear(&fires(11, 11, Severity::High, None), 11), Heard::Told(_)));
}

/// Signals as sources say them: each with its own time of coming in.
fn signals() -> impl Strategy<Value = Vec<Signal>> {
    // Few instants, so that some are the same.
    let one = (0..12_i64, any::<bool>(), 0..5_usize);
    prop::collection::vec(one, 1..12).prop_map(|said| {
        let signal = |(place, (time, firing, severity)): (usize, (i64, bool, usize))| {
            let received = 1_000 + i64::try_from(place).unwrap();
            if firing { fires(time, received, Severity::ALL[severity], None) } else { ends(time, received) }
        };
        said.into_iter().enumerate().map(signal).collect()
    })
}

/// Some of them twice, all in any order.
fn shuffled(signals: Vec<Signal>) -> impl Strategy<Value = (Vec<Signal>, Vec<Signal>)> {
    let many = signals.len();
    (Just(signals.clone()), subsequence(signals, 0..=many)).prop_flat_map(|(signals, again)| {
        let all: Vec<Signal> = signals.iter().cloned().chain(again).collect();
        (Just(signals), Just(all).prop_shuffle())
    })
}

fn end_of(signals: &[Signal]) -> World {
    let mut world = World::default();
    for (place, signal) in signals.iter().enumerate() {
        let _ = world.hear(signal, 2_000 + i64::try_from(place).unwrap());
    }
    world
}

proptest! {
    #[test]
    fn any_order_and_repetition_of_the_same_signals_converges((sent, heard) in signals().prop_flat_map(shuffled)) {
        let (one, other) = (end_of(&sent), end_of(&heard));
        prop_assert_eq!(one.active(), other.active());
        prop_assert_eq!(one.condition.cleared_at, other.condition.cleared_at);
        // And it is what the two facts say, however they came.
        let newest_end = sent.iter().filter_map(|signal| match signal.said {
            Said::Cleared { ended_at } => Some(ended_at),
            Said::Firing { .. } => None,
        }).max();
        let newest_start = sent.iter().filter(|signal| matches!(signal.said, Said::Firing { .. }))
            .max_by_key(|signal| (signal.starts_at, signal.received_at));
        let holds = newest_start.filter(|start| newest_end.is_none_or(|end| start.starts_at > end));
        prop_assert_eq!(other.active(), holds.map(|start| (start.starts_at, start.severity)));
    }

    #[test]
    fn only_declared_moves_happen_and_at_most_one_alert_is_active(
        steps in prop::collection::vec((0..300_i64, any::<bool>(), 0..5_usize, prop::option::of(1..50_i64), any::<bool>()), 1..40)
    ) {
        let mut world = World::default();
        let mut now = 300;
        for (time, firing, severity, lasts, by_person) in steps {
            now += 1 + time % 90;
            let signal = if firing {
                fires(time, now, Severity::ALL[severity], lasts.map(|lasts| now + lasts))
            } else {
                ends(time, now)
            };
            let _ = world.hear(&signal, now);
            if by_person && let Some(active) = world.condition.active() {
                let decision = active.clear_by_person(at(now));
                world.apply(decision, Some(Verb::ClearByPerson));
            }
        }
        for step in &world.moves {
            prop_assert!(MOVES.contains(step), "{step:?} is not declared");
        }
        // Each alert is raised once, first, and cleared at most once, last.
        let ids: Vec<AlertId> = world.told.iter().map(|(id, _)| *id).collect();
        for id in ids.iter().collect::<HashSet<_>>() {
            let whats: Vec<What> = world.told.iter().filter(|(told, _)| told == id).map(|(_, what)| *what).collect();
            prop_assert_eq!(whats[0], What::Raised);
            prop_assert!(whats[1..].iter().all(|what| *what != What::Raised));
            prop_assert!(whats[..whats.len() - 1].iter().all(|what| *what != What::Cleared));
        }
        // A new alert begins only when the one before is over.
        let firsts: Vec<usize> = world.told.iter().enumerate().filter(|(_, (_, what))| *what == What::Raised).map(|(place, _)| place).collect();
        for place in firsts.into_iter().skip(1) {
            prop_assert_eq!(world.told[place - 1].1, What::Cleared);
        }
    }

    #[test]
    fn repeats_are_told_at_most_once_a_minute(gaps in prop::collection::vec(1..50_i64, 1..40)) {
        let mut world = World::default();
        let _ = world.hear(&fires(0, 1, Severity::High, None), 1);
        let (mut now, mut told) = (1, 1);
        for gap in gaps {
            now += gap;
            match world.hear(&fires(0, now, Severity::High, None), now) {
                Heard::Told(_) => {
                    prop_assert!(now - told >= 60);
                    told = now;
                }
                Heard::Measured(_) => prop_assert!(now - told < 60),
                Heard::Nothing(stale) => prop_assert!(false, "{stale}"),
            }
        }
        prop_assert_eq!(world.condition.active().unwrap().last_seen_at, at(now));
        prop_assert!(at(now) - world.condition.active().unwrap().updated_at < TimeDelta::minutes(1));
    }
}

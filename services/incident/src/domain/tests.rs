//! The life holds whatever people and alerts do, in any order.

use chrono::{DateTime, TimeDelta, Utc};
use kit::{
    decide::Decision as Decided,
    id::{AlertId, IncidentId, PersonId, TeamId},
};
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    Channel, Impact, Incident, NewIncident, PendingReason, Priority, Refusal, ResolutionCode, ResolutionMode, State,
    Urgency, What,
    state::{LIFE, Move, target},
    verbs::Update,
};

const WINDOW: TimeDelta = TimeDelta::hours(24);

fn at(minute: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_772_000_000 + minute * 60, 0).unwrap()
}

fn alert(number: u8) -> AlertId {
    AlertId(Uuid::from_u128(u128::from(number) + 1))
}

fn opened_by(alert_id: Option<AlertId>) -> Incident {
    let new = NewIncident {
        id: IncidentId(Uuid::from_u128(1)),
        number: "INC0000001".to_owned(),
        title: "Checkout is slow".to_owned(),
        description: String::new(),
        impact: Impact::Significant,
        urgency: Urgency::High,
        category: String::new(),
        service_id: None,
        ci_id: None,
        team_id: None,
        reporter_id: None,
        channel: Channel::Alert,
        resolution_mode: ResolutionMode::Automatic,
        alert_id,
    };
    Incident::open(new, at(0)).record().clone()
}

#[derive(Debug, Clone)]
enum Command {
    Acknowledge,
    Assign(u8),
    Start,
    Hold,
    Resume,
    Resolve,
    Close,
    Cancel,
    Reopen,
    Note,
    Override(i16),
    Impact(i16),
    Fire(u8),
    Clear(u8),
    Rise(i16),
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::Acknowledge),
        (0..3_u8).prop_map(Command::Assign),
        Just(Command::Start),
        Just(Command::Hold),
        Just(Command::Resume),
        Just(Command::Resolve),
        Just(Command::Close),
        Just(Command::Cancel),
        Just(Command::Reopen),
        Just(Command::Note),
        (1..=4_i16).prop_map(Command::Override),
        (1..=4_i16).prop_map(Command::Impact),
        (0..4_u8).prop_map(Command::Fire),
        (0..4_u8).prop_map(Command::Clear),
        (1..=4_i16).prop_map(Command::Rise),
    ]
}

/// What a command moves, if it moves; and what the domain says.
fn carry_out(incident: &Incident, command: &Command, now: DateTime<Utc>) -> Result<Decided<Incident, What>, Refusal> {
    let person = PersonId(Uuid::from_u128(9));
    let unchanged = || Decided::unchanged(incident.clone());
    match command {
        Command::Acknowledge => incident.acknowledge(person, now),
        Command::Assign(team) => {
            incident.assign(Some(TeamId(Uuid::from_u128(u128::from(*team)))), None, String::new(), now)
        }
        Command::Start => incident.start(String::new(), now),
        Command::Hold => incident.hold(PendingReason::Supplier, String::new(), now),
        Command::Resume => incident.resume(String::new(), now),
        Command::Resolve => incident.resolve(ResolutionCode::Fixed, "Done.".to_owned(), now),
        Command::Close => incident.close(String::new(), now),
        Command::Cancel => incident.cancel("None.".to_owned(), now),
        Command::Reopen => incident.reopen(person, "Not over.".to_owned(), WINDOW, now),
        Command::Note => Ok(incident.add_note("Look.".to_owned(), now)),
        Command::Override(level) => {
            incident.override_priority(Priority::of(*level).unwrap(), "Because.".to_owned(), now)
        }
        Command::Impact(level) => incident.update(Update { impact: Impact::of(*level), ..Update::default() }, now),
        Command::Fire(number) => Ok(incident.alert_refired(alert(*number), WINDOW, now).unwrap_or_else(unchanged)),
        Command::Clear(number) => Ok(incident.alert_cleared(alert(*number), now)),
        Command::Rise(level) => Ok(incident.alert_rose(Urgency::of(*level).unwrap(), now)),
    }
}

/// Whether a state may follow another by the table; a refire also puts back what nobody has seen.
fn declared(from: State, to: State, what: &What) -> bool {
    from == to
        || LIFE.iter().any(|(state, _, next)| (*state, *next) == (from, to))
        || (from == State::Resolved && to == State::New && matches!(what, What::Reopened { .. }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn only_declared_moves_whatever_is_done(commands in prop::collection::vec((command(), 0..600_i64), 0..40)) {
        let mut incident = opened_by(Some(alert(0)));
        let mut minute = 0;
        for (command, wait) in commands {
            minute += wait;
            let before = incident.clone();
            let Ok(decision) = carry_out(&incident, &command, at(minute)) else { continue };
            let mut last = before.clone();
            for step in decision.steps() {
                prop_assert!(declared(last.state, step.record.state, &step.what), "{:?} -> {:?} by {:?}", last.state, step.record.state, command);
                prop_assert_eq!(step.record.revision, last.revision + 1, "revisions are dense");
                prop_assert!(step.record.updated_at >= last.updated_at);
                last = step.record.clone();
            }
            incident = decision.record().clone();
            prop_assert_eq!(&incident, &last, "the journal ends at the record");
            prop_assert_eq!(incident.pending_reason.is_some(), incident.state == State::Pending);
            prop_assert_eq!(incident.resolution.is_some(), matches!(incident.state, State::Resolved | State::Closed));
            prop_assert_eq!(incident.closed_at.is_some(), incident.state.is_over());
            if before.state.is_over() {
                prop_assert_eq!(&incident.state, &before.state, "what is over stays over");
            }
        }
    }

    #[test]
    fn a_verb_done_twice_is_done_once(commands in prop::collection::vec(command(), 0..20), twice in command()) {
        let mut incident = opened_by(Some(alert(0)));
        for command in commands {
            if let Ok(decision) = carry_out(&incident, &command, at(1)) {
                incident = decision.record().clone();
            }
        }
        if matches!(twice, Command::Note | Command::Reopen | Command::Rise(_)) {
            return Ok(());
        }
        if let Ok(first) = carry_out(&incident, &twice, at(2)) {
            let second = carry_out(first.record(), &twice, at(3));
            prop_assert!(second.as_ref().is_ok_and(Decided::is_unchanged), "{:?} then {:?}", twice, second);
        }
    }

    #[test]
    fn clearing_in_any_order_and_again_resolves_once(order in Just((0..4_u8).collect::<Vec<_>>()).prop_shuffle(), again in prop::collection::vec(0..4_u8, 0..8)) {
        let mut incident = opened_by(Some(alert(0)));
        for number in 1..4 {
            incident = incident.alert_refired(alert(number), WINDOW, at(1)).unwrap().record().clone();
        }
        let mut resolved = 0;
        for number in order.into_iter().chain(again) {
            let decision = incident.alert_cleared(alert(number), at(2));
            resolved += decision.steps().iter().filter(|step| step.what == What::Resolved).count();
            incident = decision.record().clone();
        }
        prop_assert_eq!((incident.state, resolved), (State::Resolved, 1));
        prop_assert_eq!(incident.resolution.unwrap().code, ResolutionCode::ClearedByMonitoring);
    }
}

#[test]
fn the_table_has_no_move_twice_and_leaves_no_state_alone() {
    for (index, (state, by, _)) in LIFE.iter().enumerate() {
        assert!(
            !LIFE[index + 1..].iter().any(|(other, step, _)| (other, step) == (state, by)),
            "{state:?} {by:?} twice"
        );
    }
    for state in State::ALL.iter().filter(|state| !state.is_over()) {
        assert!(Move::ALL.iter().any(|by| target(*state, *by).is_some()), "{state:?} leads nowhere");
    }
}

#[test]
fn the_readme_shows_the_table_as_it_is() {
    let readme = include_str!("../../README.md");
    for (from, by, to) in LIFE {
        let row = format!("| {} | {} | {} |", from.name(), by.name(), to.name());
        assert!(readme.contains(&row), "README.md lacks {row}");
    }
}

#[test]
fn acknowledging_alone_does_not_take_an_incident_over() {
    let incident = opened_by(Some(alert(0)));
    let seen = incident.acknowledge(PersonId(Uuid::from_u128(9)), at(1)).unwrap().record().clone();
    assert_eq!(seen.alert_cleared(alert(0), at(2)).record().state, State::Resolved);
    let taken = seen.start(String::new(), at(1)).unwrap().record().clone();
    assert_eq!(taken.alert_cleared(alert(0), at(2)).record().state, State::InProgress);
}

#[test]
fn firing_again_continues_inside_the_window_and_not_after_it() {
    let incident = opened_by(Some(alert(0))).alert_cleared(alert(0), at(1)).record().clone();
    let again = incident.alert_refired(alert(1), WINDOW, at(60)).unwrap();
    assert_eq!((again.record().state, again.record().reopen_count), (State::New, 1));
    assert!(incident.alert_refired(alert(1), WINDOW, at(60 * 25)).is_none());
}

#[test]
fn a_priority_set_by_a_person_outlives_another_impact() {
    let incident = opened_by(None)
        .override_priority(Priority::P1, "The board is watching.".to_owned(), at(1))
        .unwrap()
        .record()
        .clone();
    let lower = incident.update(Update { impact: Some(Impact::Minor), ..Update::default() }, at(2)).unwrap();
    assert_eq!(lower.record().priority, Priority::P1);
}

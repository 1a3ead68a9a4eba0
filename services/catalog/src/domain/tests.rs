//! The life as properties: only declared moves, nothing changes out of use, and a history that
//! replays; for both nouns, since they share the table.

use chrono::{DateTime, TimeDelta, Utc};
use kit::id::TeamId;
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    ConfigurationItem, Impact, Move, NewConfigurationItem, NewService, Refusal, Service, ServiceKind, State,
    configuration_item, service,
    state::{LIFE, legal, target},
};

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn team(number: u8) -> TeamId {
    Uuid::from_u128(number.into()).into()
}

fn new_service(planned: bool) -> NewService {
    NewService {
        name: "shop".to_owned(),
        display_name: "Shop".to_owned(),
        description: String::new(),
        kind: ServiceKind::Business,
        owning_team_id: team(1),
        support_team_id: None,
        impact: None,
        planned,
    }
}

fn new_item(planned: bool) -> NewConfigurationItem {
    NewConfigurationItem {
        name: "db-1".to_owned(),
        display_name: "Database 1".to_owned(),
        description: String::new(),
        kind: "database".to_owned(),
        owning_team_id: team(1),
        support_team_id: Some(team(2)),
        service_id: None,
        planned,
    }
}

fn create_service(new: NewService) -> Service {
    Service::create(Uuid::from_u128(7).into(), new, noon()).record().clone()
}

fn create_item(new: NewConfigurationItem) -> ConfigurationItem {
    ConfigurationItem::create(Uuid::from_u128(8).into(), new, noon()).record().clone()
}

#[derive(Debug, Clone)]
enum Command {
    Activate,
    Retire,
    Update(u8),
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let command = prop_oneof![Just(Command::Activate), Just(Command::Retire), (0..3_u8).prop_map(Command::Update)];
    proptest::collection::vec(command, 1..12)
}

/// What both nouns must hold: the states before and after, the move if it was one, the revisions.
fn holds(before: (State, i64), by: Option<Move>, after: (State, i64)) -> Result<(), TestCaseError> {
    let expected = by.map_or(Some(before.0), |by| target(before.0, by));
    prop_assert_eq!(Some(after.0), expected);
    prop_assert_ne!(before.0, State::Retired);
    prop_assert_eq!(after.1, before.1 + 1);
    Ok(())
}

proptest! {
    #[test]
    fn no_sequence_of_commands_takes_a_service_off_its_life(planned: bool, commands in commands()) {
        let mut service = create_service(new_service(planned));
        prop_assert_eq!(service.state, if planned { State::Planned } else { State::Live });
        for (minute, command) in (1..).zip(commands) {
            let now = noon() + TimeDelta::minutes(minute);
            let done = match command {
                Command::Activate => service.activate(now),
                Command::Retire => service.retire(now),
                Command::Update(n) => service.update(service::Update {
                    owning_team_id: Some(team(n)),
                    impact: Some((n > 0).then_some(Impact::Minor)),
                    ..service::Update::default()
                }, now),
            };
            let Ok(decision) = done else { continue };
            for step in decision.steps() {
                let by = match step.what {
                    service::What::Created | service::What::Changed => None,
                    service::What::Activated => Some(Move::Activate),
                    service::What::Retired => Some(Move::Retire),
                };
                holds((service.state, service.revision), by, (step.record.state, step.record.revision))?;
                prop_assert_eq!(step.record.updated_at, now);
                service = step.record.clone();
            }
            prop_assert_eq!(&service, decision.record());
        }
    }

    #[test]
    fn no_sequence_of_commands_takes_an_item_off_its_life(planned: bool, commands in commands()) {
        let mut item = create_item(new_item(planned));
        prop_assert_eq!(item.state, if planned { State::Planned } else { State::Live });
        for (minute, command) in (1..).zip(commands) {
            let now = noon() + TimeDelta::minutes(minute);
            let done = match command {
                Command::Activate => item.activate(now),
                Command::Retire => item.retire(now),
                Command::Update(n) => item.update(configuration_item::Update {
                    kind: Some(n.to_string()),
                    support_team_id: Some((n > 0).then(|| team(n))),
                    ..configuration_item::Update::default()
                }, now),
            };
            let Ok(decision) = done else { continue };
            for step in decision.steps() {
                let by = match step.what {
                    configuration_item::What::Created | configuration_item::What::Changed => None,
                    configuration_item::What::Activated => Some(Move::Activate),
                    configuration_item::What::Retired => Some(Move::Retire),
                };
                holds((item.state, item.revision), by, (step.record.state, step.record.revision))?;
                prop_assert_eq!(step.record.updated_at, now);
                item = step.record.clone();
            }
            prop_assert_eq!(&item, decision.record());
        }
    }
}

#[test]
fn the_readme_has_the_table() {
    let table: String =
        LIFE.iter().map(|(from, by, to)| format!("| {} | {} | {} |\n", from.name(), by.name(), to.name())).collect();
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&format!("|---|---|---|\n{table}\n")), "the README's table must be\n{table}");
}

#[test]
fn retired_is_for_ever() {
    assert!(LIFE.iter().all(|(from, _, _)| *from != State::Retired));
    let live = create_service(new_service(false));
    let retired = live.retire(noon()).unwrap().record().clone();
    assert!(retired.retire(noon()).unwrap().is_unchanged());
    let refused = retired.activate(noon()).unwrap_err();
    assert_eq!(refused, Refusal::IllegalMove { state: State::Retired, by: Move::Activate });
    assert_eq!(refused.to_string(), "activate is not possible while it is RETIRED; legal now: nothing");
    let update = service::Update { display_name: Some("Shop 2".to_owned()), ..service::Update::default() };
    assert_eq!(retired.update(update, noon()), Err(Refusal::Retired));
    assert_eq!(legal(State::Planned), "activate, retire");
}

#[test]
fn the_effect_that_already_holds_makes_no_event() {
    let live = create_service(new_service(false));
    assert!(live.activate(noon()).unwrap().is_unchanged());
    let same = service::Update { display_name: Some(live.display_name.clone()), ..service::Update::default() };
    assert!(live.update(same, noon()).unwrap().is_unchanged());
    let planned = create_item(new_item(true));
    assert!(!planned.activate(noon()).unwrap().is_unchanged());
}

#[test]
fn a_record_belongs_to_the_teams_that_own_and_support_it() {
    let service = create_service(new_service(false));
    assert_eq!(service.teams(), [team(1)]);
    let item = create_item(new_item(false));
    assert_eq!(item.teams(), [team(1), team(2)]);
}

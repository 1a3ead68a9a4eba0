//! The pure rules: only declared moves, the journal replays to the row, and a tenant never loses its
//! last administrator, whatever is asked in whatever order.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use chrono::{DateTime, TimeDelta, Utc};
use directory::domain::{
    ApiKey, ApiKeyId, Decision, Membership, MembershipId, MembershipState, Move, NewApiKey, NewMembership, NewPerson,
    NewTeam, NewTenant, Person, PersonKind, PersonState, PersonUpdate, Private, Record, Refusal, Team, TeamRole,
    TeamState, TeamUpdate, Tenant,
    api_key::KeyLimit,
    scope::{SERVICES, Scope},
    state::{MEMBERSHIP_LIFE, PERSON_LIFE, TEAM_LIFE, target},
};
use kit::id::{PersonId, TeamId, TenantId};
use proptest::prelude::*;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn person(administrator: bool) -> Person {
    let new = NewPerson {
        id: PersonId::draw(),
        kind: PersonKind::Human,
        display_name: Private::new("Jo Doe"),
        email: Private::new("jo@example.com"),
        time_zone: String::new(),
        administrator,
    };
    Person::create(new, at(0)).unwrap().record().clone()
}

fn team() -> Team {
    let new = NewTeam {
        id: TeamId::draw(),
        name: "operations".to_owned(),
        display_name: "Operations".to_owned(),
        description: String::new(),
    };
    Team::create(new, at(0)).record().clone()
}

fn membership() -> Membership {
    let new = NewMembership { id: MembershipId::draw(), role: TeamRole::Viewer };
    Membership::start(new, &team(), &person(false), at(0)).unwrap().record().clone()
}

fn new_key(scopes: &[&str], expires_at: Option<DateTime<Utc>>) -> NewApiKey {
    NewApiKey {
        id: ApiKeyId::draw(),
        display_name: "ci".to_owned(),
        scopes: scopes.iter().map(|scope| scope.parse().unwrap()).collect(),
        hint: "itsm_01234567".to_owned(),
        expires_at,
        digest: [7; 32],
    }
}

const FREE: KeyLimit = KeyLimit { active: 0, most: 20 };

/// The revision counts one by one, and the last step is the record.
fn replays<R: Record + PartialEq + std::fmt::Debug>(before: &R, decision: &Decision<R>) {
    let mut revision = before.revision();
    for step in decision.steps() {
        revision += 1;
        assert_eq!(step.record.revision(), revision);
        assert_eq!(step.record.id(), before.id());
    }
    let last = decision.steps().last().map_or(before, |step| &step.record);
    assert_eq!(decision.record(), last);
    assert_eq!(decision.is_unchanged(), decision.record() == before);
}

#[test]
fn the_lives_are_these_and_no_others() {
    let person_moves: Vec<_> = PersonState::ALL
        .iter()
        .flat_map(|&from| Move::ALL.iter().filter_map(move |&by| Some((from, by, target(PERSON_LIFE, from, by)?))))
        .collect();
    assert_eq!(person_moves, PERSON_LIFE);
    assert_eq!(target(TEAM_LIFE, TeamState::Active, Move::Retire), Some(TeamState::Retired));
    assert_eq!(target(TEAM_LIFE, TeamState::Retired, Move::Retire), None);
    assert_eq!(target(MEMBERSHIP_LIFE, MembershipState::Active, Move::End), Some(MembershipState::Ended));
    assert_eq!(target(MEMBERSHIP_LIFE, MembershipState::Ended, Move::End), None);
}

#[test]
fn the_scopes_name_the_services_that_there_are() {
    assert_eq!(SERVICES, proto::SERVICES);
}

#[test]
fn names_and_addresses_are_masked_in_logs() {
    let printed = format!("{:?}", person(true));
    assert!(!printed.contains("Jo") && !printed.contains("example.com"), "{printed}");
}

#[test]
fn a_service_account_has_no_address() {
    let new = NewPerson {
        id: PersonId::draw(),
        kind: PersonKind::ServiceAccount,
        display_name: Private::new("ci"),
        email: Private::default(),
        time_zone: String::new(),
        administrator: false,
    };
    let account = Person::create(new.clone(), at(0)).unwrap().record().clone();
    let update = PersonUpdate { email: Some(Private::new("ci@example.com")), ..PersonUpdate::default() };
    assert_eq!(account.update(update, 1, at(1)), Err(Refusal::ServiceAccountEmail));
    let with_address = NewPerson { email: Private::new("ci@example.com"), ..new };
    assert_eq!(Person::create(with_address, at(0)), Err(Refusal::ServiceAccountEmail));
}

#[test]
fn who_left_is_changed_by_coming_back_alone() {
    let left = person(false).deactivate(0, at(1)).unwrap().record().clone();
    let update = PersonUpdate { display_name: Some(Private::new("X")), ..PersonUpdate::default() };
    assert_eq!(left.update(update, 1, at(2)), Err(Refusal::PersonDeactivated(left.id)));
    assert_eq!(ApiKey::create(new_key(&[], None), &left, FREE, &[], at(2)), Err(Refusal::PersonDeactivated(left.id)));
    let new = NewMembership { id: MembershipId::draw(), role: TeamRole::Viewer };
    assert_eq!(Membership::start(new, &team(), &left, at(2)), Err(Refusal::PersonDeactivated(left.id)));
    assert_eq!(left.reactivate(at(3)).record().state, PersonState::Active);
}

#[test]
fn a_retired_team_takes_nobody_in() {
    let retired = team().retire(at(1)).record().clone();
    let new = NewMembership { id: MembershipId::draw(), role: TeamRole::Viewer };
    assert_eq!(Membership::start(new, &retired, &person(false), at(2)), Err(Refusal::TeamRetired(retired.id)));
    assert_eq!(retired.update(TeamUpdate::default(), at(2)), Err(Refusal::TeamRetired(retired.id)));
}

#[test]
fn an_ended_membership_keeps_its_role() {
    let ended = membership().end(at(1)).record().clone();
    assert_eq!(ended.update(Some(TeamRole::Manager), at(2)), Err(Refusal::MembershipEnded));
    assert!(ended.end(at(3)).is_unchanged());
}

#[test]
fn a_key_is_limited_in_number_scope_and_time() {
    let owner = person(false);
    let granted: Vec<Scope> = vec!["incident.*".parse().unwrap()];
    let create = |new, limit, granted: &[Scope]| ApiKey::create(new, &owner, limit, granted, at(10));
    assert!(create(new_key(&["incident.read"], Some(at(11))), FREE, &granted).is_ok());
    let full = KeyLimit { active: 20, most: 20 };
    assert_eq!(create(new_key(&[], None), full, &[]), Err(Refusal::TooManyKeys(20)));
    let wider = Err(Refusal::ScopeTooWide("incident.*".to_owned()));
    assert_eq!(create(new_key(&[], None), FREE, &granted), wider);
    assert_eq!(create(new_key(&["*.read"], None), FREE, &granted), wider);
    assert_eq!(create(new_key(&[], Some(at(10))), FREE, &[]), Err(Refusal::ExpiryPast));
}

#[test]
fn a_key_works_until_it_expires_or_is_revoked() {
    let key = ApiKey::create(new_key(&[], Some(at(20))), &person(false), FREE, &[], at(10)).unwrap().record().clone();
    assert!(key.works(at(19)) && !key.works(at(20)));
    let revoked = key.revoke(at(12)).record().clone();
    assert!(!revoked.works(at(12)));
    assert!(revoked.revoke(at(13)).is_unchanged());
}

#[test]
fn a_tenant_is_renamed_or_left_as_it_is() {
    let new = NewTenant { id: TenantId::draw(), slug: "acme".to_owned(), display_name: "Acme".to_owned() };
    let tenant = Tenant::create(new, at(0)).record().clone();
    assert!(tenant.rename(Some("Acme".to_owned()), at(1)).is_unchanged());
    let renamed = tenant.rename(Some("Acme Ltd".to_owned()), at(1));
    replays(&tenant, &renamed);
    assert_eq!((renamed.record().slug.as_str(), renamed.record().revision), ("acme", 2));
}

#[derive(Debug, Clone)]
enum Verb {
    Deactivate,
    Reactivate,
    SetAdministrator(bool),
    Rename(String),
}

fn verb() -> impl Strategy<Value = Verb> {
    prop_oneof![
        Just(Verb::Deactivate),
        Just(Verb::Reactivate),
        any::<bool>().prop_map(Verb::SetAdministrator),
        "[a-c]".prop_map(Verb::Rename),
    ]
}

proptest! {
    #[test]
    fn people_move_only_as_declared_and_one_administers(
        verbs in proptest::collection::vec((0_usize..3, verb(), -5_i64..50), 1..60),
    ) {
        let mut people = [person(true), person(false), person(false)];
        for (who, verb, second) in verbs {
            let before = people[who].clone();
            let others = people.iter().filter(|one| one.id != before.id && one.administrates()).count();
            let decision = match verb {
                Verb::Deactivate => before.deactivate(others, at(second)),
                Verb::Reactivate => Ok(before.reactivate(at(second))),
                Verb::SetAdministrator(is) => {
                    before.update(PersonUpdate { administrator: Some(is), ..PersonUpdate::default() }, others, at(second))
                }
                Verb::Rename(name) => {
                    let update = PersonUpdate { display_name: Some(Private::new(name)), ..PersonUpdate::default() };
                    before.update(update, others, at(second))
                }
            };
            let Ok(decision) = decision else { continue };
            replays(&before, &decision);
            let after = decision.record().clone();
            prop_assert!(after.updated_at >= before.updated_at);
            let declared = PERSON_LIFE.iter().any(|(from, _, to)| (*from, *to) == (before.state, after.state));
            prop_assert!(after.state == before.state || declared);
            people[who] = after;
            prop_assert!(people.iter().any(Person::administrates), "nobody administers");
        }
    }

    #[test]
    fn a_second_time_changes_nothing(second in 0_i64..1_000) {
        let now = at(second);
        let left = person(false).deactivate(0, now).unwrap().record().clone();
        prop_assert!(left.deactivate(0, now + TimeDelta::seconds(1)).unwrap().is_unchanged());
        let retired = team().retire(now).record().clone();
        prop_assert!(retired.retire(now + TimeDelta::seconds(1)).is_unchanged());
        prop_assert!(person(false).reactivate(now).is_unchanged());
    }
}

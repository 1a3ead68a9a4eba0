//! The gRPC of the directory on real Postgres and NATS: what callers see.

mod desk;

use chrono::TimeDelta;
use desk::{Desk, caller, field, mask, refusal};
use directory::Settings;
use kit::bus::timestamp;
use proto::{
    common::v1::Role,
    directory::v1::{
        ApiKey, CreateApiKeyRequest, CreatePersonRequest, DeactivatePersonRequest, EndMembershipRequest,
        GetApiKeyRequest, GetMembershipRequest, GetPersonRequest, ListApiKeysRequest, ListMembershipsRequest,
        ListPeopleRequest, Membership, MembershipState, Person, PersonKind, PersonState, RetireTeamRequest,
        RevokeApiKeyRequest, Team, UpdateMembershipRequest, UpdatePersonRequest, UpdateTeamRequest,
        UpdateTenantRequest,
    },
};
use tonic::Code;

fn demote(person: &Person) -> UpdatePersonRequest {
    UpdatePersonRequest {
        person: Some(Person { administrator: false, ..person.clone() }),
        update_mask: mask(&["administrator"]),
        request_id: String::new(),
    }
}

fn deactivate(id: &str) -> DeactivatePersonRequest {
    DeactivatePersonRequest { id: id.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_person_is_created_changed_leaves_and_comes_back() {
    let mut desk = Desk::open().await;
    let admin = desk.admin.clone();
    let jo = desk.create_person("Jo", false).await;
    assert_eq!((jo.revision, jo.state(), jo.email.as_str()), (1, PersonState::Active, "jo@example.com"));

    let update = UpdatePersonRequest {
        person: Some(Person {
            display_name: "Joe".to_owned(),
            email: String::new(),
            time_zone: "Europe/Berlin".to_owned(),
            ..jo.clone()
        }),
        update_mask: mask(&["display_name", "time_zone"]),
        request_id: String::new(),
    };
    let changed = desk.client.update_person(desk.ask(&admin, update.clone())).await.unwrap().into_inner();
    assert_eq!((changed.display_name.as_str(), changed.email.as_str(), changed.revision), ("Joe", "jo@example.com", 2));
    let stale = desk.client.update_person(desk.ask(&admin, update)).await.unwrap_err();
    assert_eq!(refusal(&stale), (Code::Aborted, "STALE_REVISION".to_owned()));

    let left = desk.client.deactivate_person(desk.ask(&admin, deactivate(&jo.id))).await.unwrap().into_inner();
    assert_eq!((left.state(), left.revision), (PersonState::Deactivated, 3));
    let again = desk.client.deactivate_person(desk.ask(&admin, deactivate(&jo.id))).await.unwrap().into_inner();
    assert_eq!(again, left, "its effect holds already");
    let types: Vec<String> = desk.history(&admin, &jo.id).await.into_iter().map(|entry| entry.r#type).collect();
    assert_eq!(types, ["person_created", "person_changed", "person_deactivated"]);
}

#[tokio::test]
async fn a_tenant_keeps_its_last_administrator_also_when_two_demote_each_other() {
    let mut desk = Desk::open().await;
    let admin = desk.admin.clone();
    let id = admin.id.to_string();
    let get = desk.ask(&admin, GetPersonRequest { id: id.clone() });
    let ada = desk.client.get_person(get).await.unwrap().into_inner();
    let last = (Code::FailedPrecondition, "LAST_ADMINISTRATOR".to_owned());
    let demoted = desk.client.update_person(desk.ask(&admin, demote(&ada))).await.unwrap_err();
    assert_eq!(refusal(&demoted), last);
    let gone = desk.client.deactivate_person(desk.ask(&admin, deactivate(&id))).await.unwrap_err();
    assert_eq!(refusal(&gone), last);

    for round in 0..8 {
        let bob = desk.create_person(&format!("Bob{round}"), true).await;
        let ada =
            desk.client.get_person(desk.ask(&admin, GetPersonRequest { id: id.clone() })).await.unwrap().into_inner();
        let (mut one, mut other) = (desk.client.clone(), desk.client.clone());
        let (first, second) = tokio::join!(
            one.update_person(desk.ask(&admin, demote(&ada))),
            other.deactivate_person(desk.ask(&admin, deactivate(&bob.id))),
        );
        let refused = [first.is_err(), second.is_err()].into_iter().filter(|refused| *refused).count();
        assert_eq!(refused, 1, "one of two is refused: {first:?} {second:?}");
        if let Ok(ada) = first {
            // Bob is the one now; Ada takes over again.
            let back = UpdatePersonRequest {
                person: Some(Person { administrator: true, ..ada.into_inner() }),
                update_mask: mask(&["administrator"]),
                request_id: String::new(),
            };
            desk.client.update_person(desk.ask(&admin, back)).await.unwrap();
            desk.client.deactivate_person(desk.ask(&admin, deactivate(&bob.id))).await.unwrap();
        }
    }
}

#[tokio::test]
async fn who_leaves_takes_memberships_and_keys_along_in_one_transaction() {
    let mut desk = Desk::open().await;
    let admin = desk.admin.clone();
    let jo = desk.create_person("Jo", false).await;
    let team = desk.team.to_string();
    let membership = desk.join(&admin, &team, &jo.id, Role::Responder).await.unwrap();
    let (key, text) = desk.key_for(&jo.id).await;
    let before = desk.said().await.len();
    let message = DeactivatePersonRequest { id: jo.id.clone(), revision: Some(1), request_id: "leave".to_owned() };
    desk.client.deactivate_person(desk.ask(&admin, message)).await.unwrap();

    assert_eq!(desk.said().await[before..], ["person_deactivated", "membership_ended", "api_key_revoked"]);
    let get = desk.ask(&admin, GetMembershipRequest { id: membership.id });
    assert_eq!(desk.client.get_membership(get).await.unwrap().into_inner().state(), MembershipState::Ended);
    let get = desk.ask(&admin, GetApiKeyRequest { id: key.id });
    assert!(desk.client.get_api_key(get).await.unwrap().into_inner().revoke_time.is_some());
    assert!(desk.authenticate(&text).await.is_err());
    let by_request: i64 = sqlx::query_scalar("select count(*) from directory.journal where request_id = 'leave'")
        .fetch_one(&mut desk.stage.admin().await)
        .await
        .unwrap();
    assert_eq!(by_request, 3, "each event says which request caused it");
}

#[tokio::test]
async fn managers_say_who_belongs_to_their_team_and_to_no_other() {
    let mut desk = Desk::open().await;
    let admin = desk.admin.clone();
    let (mo, jo) = (desk.create_person("Mo", false).await, desk.create_person("Jo", false).await);
    let ours = desk.team.to_string();
    let theirs = desk.create_team("network").await.unwrap().id;
    let manager = caller(&admin, &mo, &[(&ours, Role::Manager)]);

    let membership = desk.join(&manager, &ours, &jo.id, Role::Viewer).await.unwrap();
    let twice = desk.join(&manager, &ours, &jo.id, Role::Manager).await.unwrap_err();
    assert_eq!(refusal(&twice), (Code::AlreadyExists, "MEMBERSHIP_EXISTS".to_owned()));
    let elsewhere = desk.join(&manager, &theirs, &jo.id, Role::Viewer).await.unwrap_err();
    assert_eq!(elsewhere.code(), Code::PermissionDenied);
    let there = desk.join(&admin, &theirs, &jo.id, Role::Viewer).await.unwrap();
    let end = EndMembershipRequest { id: there.id, ..Default::default() };
    let refused = desk.client.end_membership(desk.ask(&manager, end)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);

    let promote = UpdateMembershipRequest {
        membership: Some(Membership { role: Role::Responder.into(), ..membership.clone() }),
        update_mask: mask(&["role"]),
        request_id: String::new(),
    };
    let promoted = desk.client.update_membership(desk.ask(&manager, promote)).await.unwrap().into_inner();
    assert_eq!((promoted.role(), promoted.revision), (Role::Responder, 2));
    let end = EndMembershipRequest { id: membership.id, ..Default::default() };
    desk.client.end_membership(desk.ask(&manager, end)).await.unwrap();
    desk.join(&manager, &ours, &jo.id, Role::Viewer).await.unwrap();

    for role in [Role::Unspecified, Role::Administrator, Role::Service] {
        let wrong = desk.join(&admin, &ours, &mo.id, role).await.unwrap_err();
        assert_eq!((wrong.code(), field(&wrong).as_str()), (Code::InvalidArgument, "membership.role"));
    }
}

#[tokio::test]
async fn a_retired_team_ends_its_memberships_and_keeps_its_name() {
    let mut desk = Desk::open().await;
    let admin = desk.admin.clone();
    let team = desk.create_team("network").await.unwrap();
    let jo = desk.create_person("Jo", false).await;
    desk.join(&admin, &team.id, &jo.id, Role::Viewer).await.unwrap();
    let retire = RetireTeamRequest { id: team.id.clone(), ..Default::default() };
    let retired = desk.client.retire_team(desk.ask(&admin, retire)).await.unwrap().into_inner();
    let filter = format!("team_id = \"{}\" AND state = ACTIVE", team.id);
    let list = desk.ask(&admin, ListMembershipsRequest { filter, ..Default::default() });
    assert!(desk.client.list_memberships(list).await.unwrap().into_inner().memberships.is_empty());
    let join = desk.join(&admin, &team.id, &jo.id, Role::Viewer).await.unwrap_err();
    assert_eq!(refusal(&join), (Code::FailedPrecondition, "TEAM_RETIRED".to_owned()));
    let update = UpdateTeamRequest {
        team: Some(Team { display_name: "N".to_owned(), ..retired }),
        update_mask: mask(&["display_name"]),
        request_id: String::new(),
    };
    let refused = desk.client.update_team(desk.ask(&admin, update)).await.unwrap_err();
    assert_eq!(refusal(&refused), (Code::FailedPrecondition, "TEAM_RETIRED".to_owned()));
    let taken = desk.create_team("network").await.unwrap_err();
    assert_eq!(refusal(&taken), (Code::AlreadyExists, "TEAM_NAME_TAKEN".to_owned()));
}

#[tokio::test]
async fn each_sees_and_makes_her_own_keys_and_administrators_everybodys() {
    let mut desk = Desk::open().await;
    let admin = desk.admin.clone();
    let (jo, mo) = (desk.create_person("Jo", false).await, desk.create_person("Mo", false).await);
    let jo = caller(&admin, &jo, &[]);
    let (mos, _) = desk.key_for(&mo.id).await;
    let (own, _) = desk.create_key(&jo, ApiKey::default()).await.unwrap();
    assert_eq!(own.person_id, jo.id.to_string());
    let for_other = desk.create_key(&jo, ApiKey { person_id: mo.id.clone(), ..ApiKey::default() }).await.unwrap_err();
    assert_eq!(for_other.code(), Code::PermissionDenied);

    let list = |desk: &mut Desk, by, filter: &str| {
        let request = desk.ask(by, ListApiKeysRequest { filter: filter.to_owned(), ..Default::default() });
        let mut client = desk.client.clone();
        async move { client.list_api_keys(request).await.unwrap().into_inner().api_keys }
    };
    assert_eq!(list(&mut desk, &jo, "").await, std::slice::from_ref(&own));
    assert_eq!(list(&mut desk, &admin, "").await.len(), 3);
    let theirs = desk.client.get_api_key(desk.ask(&jo, GetApiKeyRequest { id: mos.id.clone() })).await.unwrap_err();
    let revoke = RevokeApiKeyRequest { id: mos.id.clone(), ..Default::default() };
    let unrevoked = desk.client.revoke_api_key(desk.ask(&jo, revoke)).await.unwrap_err();
    assert_eq!((theirs.code(), unrevoked.code()), (Code::NotFound, Code::NotFound));

    let revoke = RevokeApiKeyRequest { id: own.id.clone(), ..Default::default() };
    desk.client.revoke_api_key(desk.ask(&jo, revoke)).await.unwrap();
    assert!(list(&mut desk, &jo, "active = true").await.is_empty());
    assert_eq!(list(&mut desk, &jo, "active = false").await.len(), 1);
    let mos_only = format!("person_id = \"{}\"", mo.id);
    assert_eq!(list(&mut desk, &admin, &mos_only).await, [mos]);
}

#[tokio::test]
async fn a_key_makes_none_that_may_more_and_there_is_an_end_to_them() {
    let mut desk = Desk::open_with(Settings { keys_per_person: 3, ..Settings::default() }).await;
    let limited = kit::caller::Person { scopes: vec!["directory.*".to_owned()], ..desk.admin.clone() };
    let wider = desk.create_key(&limited, ApiKey::default()).await.unwrap_err();
    assert_eq!(wider.code(), Code::PermissionDenied);
    let narrow = ApiKey { scopes: vec!["directory.read".to_owned()], ..ApiKey::default() };
    desk.create_key(&limited, narrow.clone()).await.unwrap();
    let wrong = ApiKey { scopes: vec!["directory.read".to_owned(), "incident.fly".to_owned()], ..ApiKey::default() };
    let wrong = desk.create_key(&limited, wrong).await.unwrap_err();
    assert_eq!((wrong.code(), field(&wrong).as_str()), (Code::InvalidArgument, "api_key.scopes[1]"));
    let now = kit::clock::Clock::now(desk.stage.clock.as_ref());
    let past = ApiKey { expire_time: Some(timestamp(now - TimeDelta::seconds(1))), ..narrow.clone() };
    let past = desk.create_key(&limited, past).await.unwrap_err();
    assert_eq!(refusal(&past), (Code::FailedPrecondition, "API_KEY_EXPIRY_PAST".to_owned()));

    let brief = ApiKey { expire_time: Some(timestamp(now + TimeDelta::seconds(9))), ..narrow.clone() };
    desk.create_key(&limited, brief).await.unwrap();
    let full = desk.create_key(&limited, narrow.clone()).await.unwrap_err();
    assert_eq!(refusal(&full), (Code::FailedPrecondition, "TOO_MANY_API_KEYS".to_owned()));
    desk.stage.clock.advance(TimeDelta::seconds(9));
    desk.create_key(&limited, narrow).await.unwrap();
}

#[tokio::test]
async fn the_same_request_gets_the_first_answer_with_the_name_and_without_the_secret() {
    let mut desk = Desk::open().await;
    let admin = desk.admin.clone();
    let person = Person {
        kind: PersonKind::Human.into(),
        display_name: "Jo".to_owned(),
        email: "jo@example.com".to_owned(),
        ..Person::default()
    };
    let create = CreatePersonRequest { person: Some(person.clone()), request_id: "one".to_owned() };
    let first = desk.client.create_person(desk.ask(&admin, create.clone())).await.unwrap().into_inner();
    desk.client.deactivate_person(desk.ask(&admin, deactivate(&first.id))).await.unwrap();
    let again = desk.client.create_person(desk.ask(&admin, create.clone())).await.unwrap().into_inner();
    assert_eq!(again, first);
    let other = CreatePersonRequest { person: Some(Person { email: String::new(), ..person }), ..create };
    let reused = desk.client.create_person(desk.ask(&admin, other)).await.unwrap_err();
    assert_eq!(refusal(&reused), (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));

    let key = ApiKey { display_name: "ci".to_owned(), ..ApiKey::default() };
    let create = CreateApiKeyRequest { api_key: Some(key), request_id: "two".to_owned() };
    let first = desk.client.create_api_key(desk.ask(&admin, create.clone())).await.unwrap().into_inner();
    let again = desk.client.create_api_key(desk.ask(&admin, create)).await.unwrap().into_inner();
    assert_eq!(again.api_key, first.api_key);
    assert!(!first.key.is_empty() && again.key.is_empty());
}

#[tokio::test]
async fn bad_fields_are_named_and_change_nothing() {
    let mut desk = Desk::open().await;
    let admin = desk.admin.clone();
    let good = Person { kind: PersonKind::Human.into(), display_name: "Jo".to_owned(), ..Person::default() };
    let before = desk.said().await.len();
    let wrong = [
        ("person", None),
        ("person.kind", Some(Person { kind: 0, ..good.clone() })),
        ("person.display_name", Some(Person { display_name: "x".repeat(201), ..good.clone() })),
        ("person.email", Some(Person { email: "jo".to_owned(), ..good.clone() })),
        ("person.time_zone", Some(Person { time_zone: "Mars".to_owned(), ..good.clone() })),
    ];
    for (path, person) in wrong {
        let message = CreatePersonRequest { person, request_id: String::new() };
        let status = desk.client.create_person(desk.ask(&admin, message)).await.unwrap_err();
        assert_eq!((status.code(), field(&status).as_str()), (Code::InvalidArgument, path));
    }
    let jo = desk
        .client
        .create_person(desk.ask(&admin, CreatePersonRequest { person: Some(good), request_id: String::new() }));
    let jo = jo.await.unwrap().into_inner();
    let wrong = [
        ("update_mask", mask(&["state"]), jo.clone()),
        ("update_mask", None, jo.clone()),
        ("person.revision", mask(&["email"]), Person { revision: 0, ..jo.clone() }),
        ("person.id", mask(&["email"]), Person { id: "jo".to_owned(), ..jo.clone() }),
    ];
    for (path, update_mask, person) in wrong {
        let message = UpdatePersonRequest { person: Some(person), update_mask, request_id: String::new() };
        let status = desk.client.update_person(desk.ask(&admin, message)).await.unwrap_err();
        assert_eq!((status.code(), field(&status).as_str()), (Code::InvalidArgument, path));
    }
    let unknown = ListPeopleRequest { filter: "password = x".to_owned(), ..Default::default() };
    let status = desk.client.list_people(desk.ask(&admin, unknown)).await.unwrap_err();
    assert_eq!((status.code(), field(&status).as_str()), (Code::InvalidArgument, "filter"));
    assert_eq!(desk.said().await.len(), before + 1);
}

#[tokio::test]
async fn lists_go_page_by_page_and_filter() {
    let mut desk = Desk::open().await;
    let admin = desk.admin.clone();
    for name in ["Ann", "Ben", "Cat"] {
        desk.create_person(name, false).await;
    }
    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = ListPeopleRequest { page_size: 2, page_token, filter: "kind = HUMAN".to_owned() };
        let page = desk.client.list_people(desk.ask(&admin, message)).await.unwrap().into_inner();
        names.extend(page.people.into_iter().map(|person| person.display_name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["Cat", "Ben", "Ann", "Ada Lovelace"]);
    let by_mail = ListPeopleRequest { filter: "email = \"ben@example.com\"".to_owned(), ..Default::default() };
    let found = desk.client.list_people(desk.ask(&admin, by_mail)).await.unwrap().into_inner().people;
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn a_tenant_is_renamed_by_its_administrator() {
    let mut desk = Desk::open().await;
    let admin = desk.admin.clone();
    let id = admin.tenant.id.to_string();
    let tenant =
        proto::directory::v1::Tenant { id, revision: 1, display_name: "Acme".to_owned(), ..Default::default() };
    let message =
        UpdateTenantRequest { tenant: Some(tenant), update_mask: mask(&["display_name"]), ..Default::default() };
    let renamed = desk.client.update_tenant(desk.ask(&admin, message)).await.unwrap().into_inner();
    assert_eq!((renamed.display_name.as_str(), renamed.slug.as_str(), renamed.revision), ("Acme", "default", 2));
}

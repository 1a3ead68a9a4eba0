//! A key becomes a token, and every reason to refuse one looks alike.

mod desk;

use chrono::TimeDelta;
use desk::{Desk, caller, refusal};
use kit::{bus::timestamp, caller::Caller as KitCaller, token::Verifier};
use proto::{
    common::v1::Role,
    directory::v1::{
        ApiKey, AuthenticateRequest, DeactivatePersonRequest, GetCallerRequest, ReactivatePersonRequest,
        RevokeApiKeyRequest,
    },
};
use tonic::Code;

#[tokio::test]
async fn a_key_becomes_a_token_that_says_who_in_which_teams_and_within_which_limits() {
    let mut desk = Desk::open().await;
    let jo = desk.create_person("Jo", false).await;
    let admin = desk.admin.clone();
    let team = desk.team.to_string();
    desk.join(&admin, &team, &jo.id, Role::Responder).await.unwrap();
    let limited = ApiKey { person_id: jo.id.clone(), scopes: vec!["incident.*".to_owned()], ..ApiKey::default() };
    let (key, text) = desk.create_key(&admin, limited).await.unwrap();
    assert!(text.starts_with(&key.hint) && key.hint.len() == 13, "{}", key.hint);

    let token = desk.authenticate(&text).await.unwrap();
    let keys = [("directory".to_owned(), desk.stage.directory().public_key())].into();
    let verifier = Verifier::new("sla", keys);
    let now = kit::clock::Clock::now(desk.stage.clock.as_ref());
    let KitCaller::Person(person) = verifier.verify(&token, now).unwrap() else { panic!("no person") };
    assert_eq!(person.id.to_string(), jo.id);
    assert_eq!(person.tenant, admin.tenant);
    assert_eq!(person.teams, [(desk.team, Role::Responder)]);
    assert_eq!(person.scopes, ["incident.*"]);
    assert_eq!(person.key_id, key.id);
    assert!(!person.administrator);
    assert!(verifier.verify(&token, now + TimeDelta::seconds(61)).is_err(), "a token ends after a minute");
}

#[tokio::test]
async fn who_am_i_answers_with_the_name() {
    let mut desk = Desk::open().await;
    let request = desk.ask(&desk.admin, GetCallerRequest {});
    let me = desk.client.get_caller(request).await.unwrap().into_inner();
    assert_eq!((me.display_name.as_str(), me.tenant.as_str(), me.administrator), ("Ada Lovelace", "default", true));
    assert_eq!(me.teams.len(), 1);
}

#[tokio::test]
async fn every_key_that_is_not_good_gets_the_same_answer() {
    let mut desk = Desk::open().await;
    let admin = desk.admin.clone();
    let now = kit::clock::Clock::now(desk.stage.clock.as_ref());
    let jo = desk.create_person("Jo", false).await;
    let (_, good) = desk.key_for(&jo.id).await;
    desk.authenticate(&good).await.unwrap();

    let soon = Some(timestamp(now + TimeDelta::seconds(5)));
    let expiring = ApiKey { person_id: jo.id.clone(), expire_time: soon, ..ApiKey::default() };
    let (_, expired) = desk.create_key(&admin, expiring).await.unwrap();
    desk.authenticate(&expired).await.unwrap();
    desk.stage.clock.advance(TimeDelta::seconds(5));

    let (key, revoked) = desk.key_for(&jo.id).await;
    desk.authenticate(&revoked).await.unwrap();
    let revoke = RevokeApiKeyRequest { id: key.id, ..Default::default() };
    desk.client.revoke_api_key(desk.ask(&admin, revoke)).await.unwrap();

    let gone = desk.create_person("Gone", false).await;
    let (_, of_gone) = desk.key_for(&gone.id).await;
    desk.authenticate(&of_gone).await.unwrap();
    let deactivate = DeactivatePersonRequest { id: gone.id.clone(), ..Default::default() };
    desk.client.deactivate_person(desk.ask(&admin, deactivate)).await.unwrap();

    // Also one whose keys were somehow not revoked.
    let lost = desk.create_person("Lost", false).await;
    let (_, of_lost) = desk.key_for(&lost.id).await;
    desk.authenticate(&of_lost).await.unwrap();
    sqlx::query("update directory.people set state = 'DEACTIVATED' where id = $1::uuid")
        .bind(&lost.id)
        .execute(&mut desk.stage.admin().await)
        .await
        .unwrap();

    let other = desk.other_tenant().await;
    let (_, suspended) = desk.create_key(&other, ApiKey::default()).await.unwrap();
    desk.authenticate(&suspended).await.unwrap();
    sqlx::query("update directory.tenants set state = 'SUSPENDED' where slug = 'other'")
        .execute(&mut desk.stage.admin().await)
        .await
        .unwrap();

    let mut wrong_secret = good.clone();
    let last = if wrong_secret.pop() == Some('A') { 'E' } else { 'A' };
    wrong_secret.push(last);
    let unknown = format!("itsm_{}_{}", "0".repeat(32), &good[38..]);
    let mut answers = Vec::new();
    for credential in [
        "",
        "garbage",
        &"x".repeat(100_000),
        &unknown,
        &wrong_secret,
        &expired,
        &revoked,
        &of_gone,
        &of_lost,
        &suspended,
    ] {
        let status = desk.authenticate(credential).await.unwrap_err();
        answers.push((refusal(&status), status.message().to_owned(), status.details().to_vec()));
    }
    assert_eq!(answers[0].0, (Code::Unauthenticated, "UNAUTHENTICATED".to_owned()));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    desk.authenticate(&good).await.unwrap();
}

#[tokio::test]
async fn a_token_does_not_outlive_its_key() {
    let mut desk = Desk::open().await;
    let admin = desk.admin.clone();
    let now = kit::clock::Clock::now(desk.stage.clock.as_ref());
    let expire_time = Some(timestamp(now + TimeDelta::seconds(7)));
    let (_, key) = desk.create_key(&admin, ApiKey { expire_time, ..ApiKey::default() }).await.unwrap();
    let request = desk.stage.service_request("incident", "directory", AuthenticateRequest { credential: key });
    let answer = desk.internal.authenticate(request).await.unwrap().into_inner();
    assert_eq!(answer.expire_time, expire_time);
}

#[tokio::test]
async fn a_change_of_rights_is_in_the_next_token() {
    let mut desk = Desk::open().await;
    let admin = desk.admin.clone();
    let jo = desk.create_person("Jo", false).await;
    let deactivate = DeactivatePersonRequest { id: jo.id.clone(), ..Default::default() };
    desk.client.deactivate_person(desk.ask(&admin, deactivate)).await.unwrap();
    let reactivate = ReactivatePersonRequest { id: jo.id.clone(), ..Default::default() };
    let jo = desk.client.reactivate_person(desk.ask(&admin, reactivate)).await.unwrap().into_inner();
    let (_, key) = desk.key_for(&jo.id).await;
    let before = desk.authenticate(&key).await.unwrap();
    let (team, id) = (desk.team.to_string(), jo.id.clone());
    desk.join(&admin, &team, &id, Role::Manager).await.unwrap();
    let after = desk.authenticate(&key).await.unwrap();
    let keys = [("directory".to_owned(), desk.stage.directory().public_key())].into();
    let verifier = Verifier::new("sla", keys);
    let now = kit::clock::Clock::now(desk.stage.clock.as_ref());
    let holds = |token: &str| match verifier.verify(token, now).unwrap() {
        KitCaller::Person(person) => person.holds(Role::Manager),
        KitCaller::Service(_) => false,
    };
    assert!(!holds(&before) && holds(&after));
}

#[tokio::test]
async fn only_services_may_ask_who_a_key_belongs_to() {
    let mut desk = Desk::open().await;
    let jo = desk.create_person("Jo", false).await;
    let jo = caller(&desk.admin, &jo, &[]);
    let credential = desk.admin_key.clone();
    let refused = desk.internal.authenticate(desk.ask(&jo, AuthenticateRequest { credential })).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

//! The first tenant and administrator: once, whole, and whoever asks at the same time.

mod desk;

use desk::Desk;
use directory::{MIGRATOR, app::credential::Credential, provision_tenant};
use kit::testing::Stage;

#[tokio::test]
async fn the_first_administrator_can_sign_in_and_a_second_time_nothing_happens() {
    let mut desk = Desk::open().await;
    let key = desk.admin_key.clone();
    desk.authenticate(&key).await.unwrap();
    let said = desk.said().await;
    assert_eq!(said, ["tenant_created", "person_created", "team_created", "membership_started", "api_key_created"]);
    let again = desk.app.provision_tenant("default", "Other name", ("Eve", ""), None).await.unwrap();
    assert!(again.made.is_none());
    assert_eq!(again.tenant, desk.admin.tenant);
    assert_eq!(desk.said().await, said);
}

#[tokio::test]
async fn of_several_at_once_one_makes_it() {
    let stage = Stage::set(&[("directory", &MIGRATOR)]).await;
    let database = stage.database("directory");
    let clock = stage.clock.clone();
    let make = || {
        let (database, clock) = (database.clone(), clock.clone());
        async move {
            provision_tenant(&database, clock.as_ref(), "acme", "Acme", ("Ada", "ada@acme.example"), None, None).await
        }
    };
    let outcomes = futures::future::join_all((0..6).map(|_| make())).await;
    let made = outcomes.iter().filter(|outcome| outcome.as_ref().unwrap().made.is_some()).count();
    assert_eq!(made, 1, "{outcomes:?}");
    let people: i64 =
        sqlx::query_scalar("select count(*) from directory.people").fetch_one(&mut stage.admin().await).await.unwrap();
    assert_eq!(people, 1);
}

#[tokio::test]
async fn a_key_that_was_written_down_before_works_afterwards() {
    let mut desk = Desk::open().await;
    let database = desk.stage.database("directory");
    let credential = Credential::draw().unwrap();
    let text = credential.text().expose().to_owned();
    assert!(desk.authenticate(&text).await.is_err());
    let clock = desk.stage.clock.clone();
    let outcome =
        provision_tenant(&database, clock.as_ref(), "acme", "Acme", ("Ada", ""), None, Some(credential)).await.unwrap();
    assert_eq!(outcome.made.unwrap().api_key.expose(), text);
    desk.authenticate(&text).await.unwrap();
}

#[tokio::test]
async fn texts_that_do_not_fit_are_refused() {
    let stage = Stage::set(&[("directory", &MIGRATOR)]).await;
    let database = stage.database("directory");
    for (slug, name, email) in [("A b", "Ada", ""), ("acme", "", ""), ("acme", "Ada", "no address")] {
        let outcome = provision_tenant(&database, stage.clock.as_ref(), slug, "Acme", (name, email), None, None).await;
        assert!(outcome.is_err(), "{slug} {name} {email}");
    }
    let tenants: i64 =
        sqlx::query_scalar("select count(*) from directory.tenants").fetch_one(&mut stage.admin().await).await.unwrap();
    assert_eq!(tenants, 0);
}

//! What the directory says: every change once and in order, and never a name or an address.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod desk;

use std::time::Duration;

use desk::{Desk, mask, refusal};
use futures::StreamExt;
use kit::testing::eventually;
use proto::{
    common::v1::{FeedRequest, FeedResponse, LookupRequest, Role},
    directory::v1::{
        DeactivatePersonRequest, DirectoryEventEntry, Person, UpdatePersonRequest, WatchPeopleRequest,
        WatchTeamsRequest,
    },
};
use sqlx::Row;
use tonic::{Code, Streaming};

async fn feed(desk: &mut Desk, at_least: i64) -> FeedResponse {
    let (internal, stage) = (desk.internal.clone(), &desk.stage);
    eventually("the feed", || {
        let mut internal = internal.clone();
        async move {
            let message = FeedRequest { after_position: 0, limit: 1_000 };
            let answer =
                internal.feed(stage.service_request("incident", "directory", message)).await.ok()?.into_inner();
            (answer.head_position >= at_least).then_some(answer)
        }
    })
    .await
}

async fn next(events: &mut Streaming<DirectoryEventEntry>) -> DirectoryEventEntry {
    tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn no_name_and_no_address_is_in_any_event_and_none_is_lost_from_the_row() {
    let mut desk = Desk::open().await;
    let admin = desk.admin.clone();
    let jo = desk.create_person("Josephine", false).await;
    let update = UpdatePersonRequest {
        person: Some(Person {
            display_name: "Josefa".to_owned(),
            email: "josefa@secret.example".to_owned(),
            ..jo.clone()
        }),
        update_mask: mask(&["display_name", "email"]),
        request_id: "r".to_owned(),
    };
    let changed = desk.client.update_person(desk.ask(&admin, update)).await.unwrap().into_inner();
    assert_eq!((changed.display_name.as_str(), changed.email.as_str()), ("Josefa", "josefa@secret.example"));
    let team = desk.team.to_string();
    desk.join(&admin, &team, &jo.id, Role::Viewer).await.unwrap();
    let (_, key) = desk.key_for(&jo.id).await;
    let leave = DeactivatePersonRequest { id: jo.id.clone(), ..Default::default() };
    desk.client.deactivate_person(desk.ask(&admin, leave)).await.unwrap();

    let secret = key.rsplit_once('_').map(|(_, secret)| secret.to_owned()).unwrap();
    let personal = ["Josephine", "Josefa", "josephine@", "josefa@", "example", "Ada", "Lovelace", secret.as_str()];
    let mut connection = desk.stage.admin().await;
    let rows = sqlx::query(
        "select to_jsonb(j) || jsonb_build_object('text', encode(body, 'escape')) as row from directory.journal j",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(rows.len(), 5 + 7);
    for row in &rows {
        let text = row.get::<serde_json::Value, _>("row").to_string();
        for word in personal {
            assert!(!text.contains(word), "the journal holds {word}: {text}");
        }
    }
    let entries = feed(&mut desk, 12).await.entries;
    let lookup = LookupRequest { tenant_id: admin.tenant.id.to_string(), record_id: jo.id.clone() };
    let looked_up = desk.internal.lookup(desk.stage.service_request("incident", "directory", lookup)).await.unwrap();
    let mut bodies: Vec<Vec<u8>> = entries.into_iter().map(|entry| entry.body.to_vec()).collect();
    bodies.push(looked_up.into_inner().entry.unwrap().body.to_vec());
    for body in bodies {
        let text = String::from_utf8_lossy(&body).into_owned();
        for word in personal {
            assert!(!text.contains(word), "an event holds {word}: {text}");
        }
    }
}

#[tokio::test]
async fn the_feed_has_every_event_in_order() {
    let mut desk = Desk::open().await;
    let jo = desk.create_person("Jo", false).await;
    let feed = feed(&mut desk, 6).await;
    let positions: Vec<i64> = feed.entries.iter().map(|entry| entry.position).collect();
    assert_eq!(positions, [1, 2, 3, 4, 5, 6]);
    let last = feed.entries.last().unwrap();
    assert_eq!(
        (last.r#type.as_str(), last.record_id.as_str(), last.tenant.as_str()),
        ("person_created", jo.id.as_str(), "default")
    );
}

#[tokio::test]
async fn a_watch_tells_of_its_own_kind_alone_and_resumes_without_gap() {
    let mut desk = Desk::open().await;
    feed(&mut desk, 5).await;
    let admin = desk.admin.clone();
    let message = WatchPeopleRequest { filter: "administrator = false".to_owned(), ..Default::default() };
    let mut events = desk.client.watch_people(desk.ask(&admin, message)).await.unwrap().into_inner();
    let ann = desk.create_person("Ann", false).await;
    desk.create_team("network").await.unwrap();
    desk.create_person("Boss", true).await;
    let first = next(&mut events).await;
    assert_eq!((first.r#type.as_str(), first.record_id.as_str()), ("person_created", ann.id.as_str()));
    drop(events);
    let ben = desk.create_person("Ben", false).await;
    let message =
        WatchPeopleRequest { cursor: first.cursor, filter: "administrator = false".to_owned(), ..Default::default() };
    let mut events = desk.client.watch_people(desk.ask(&admin, message)).await.unwrap().into_inner();
    assert_eq!(next(&mut events).await.record_id, ben.id);

    let by_mail = WatchPeopleRequest { filter: "email = \"ann@example.com\"".to_owned(), ..Default::default() };
    let refused = desk.client.watch_people(desk.ask(&admin, by_mail)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "an event has no address to filter by");
    let garbage = WatchTeamsRequest { cursor: "garbage".to_owned(), ..Default::default() };
    let refused = desk.client.watch_teams(desk.ask(&admin, garbage)).await.unwrap_err();
    assert_eq!(refusal(&refused).0, Code::InvalidArgument);
}

#[tokio::test]
async fn a_watch_without_a_filter_tells_of_its_own_tenant_and_kind_alone() {
    let mut desk = Desk::open().await;
    feed(&mut desk, 5).await;
    let admin = desk.admin.clone();
    let mut events =
        desk.client.watch_teams(desk.ask(&admin, WatchTeamsRequest::default())).await.unwrap().into_inner();
    desk.other_tenant().await;
    desk.create_person("Jo", false).await;
    let network = desk.create_team("network").await.unwrap();
    assert_eq!(next(&mut events).await.record_id, network.id);
}

//! The event path of the catalog service: what it says reaches NATS whole and in order, and what
//! the directory says fills the read model once, whatever NATS does.

use std::time::Duration;

use crate::desk::{Desk, field, team_event};
use futures::StreamExt;
use kit::{clock::Clock, id::TeamId, testing::eventually};
use prost::Message;
use proto::{
    catalog::v1::{CatalogEvent, Service, catalog_event},
    directory::v1::TeamState,
};
use sqlx::Row;

async fn teams(desk: &Desk) -> Vec<(uuid::Uuid, i64, bool)> {
    let mut admin = desk.stage.admin().await;
    let rows = sqlx::query("select id, revision, active from catalog.directory_teams order by id")
        .fetch_all(&mut admin)
        .await
        .unwrap();
    rows.iter().map(|row| (row.get("id"), row.get("revision"), row.get("active"))).collect()
}

#[tokio::test]
async fn what_happened_is_published_with_the_record_as_it_is_then() {
    let desk = Desk::open().await;
    let mut subscription = desk.stage.bus.subscribe("itsm.default.catalog.>").await.unwrap();
    desk.stage.bus.flush().await.unwrap();
    let shop = desk.create(desk.service("shop"), "").await.unwrap();
    desk.create_item(desk.item("db")).await.unwrap();
    let mut subjects = Vec::new();
    for _ in 0..2 {
        let message = tokio::time::timeout(Duration::from_secs(10), subscription.next()).await.unwrap().unwrap();
        let (_, entry) = kit::bus::entry("catalog", &message).expect("an envelope that fits together");
        let event = CatalogEvent::decode(entry.body).unwrap();
        if let Some(catalog_event::Record::Service(service)) = event.record {
            assert_eq!(service, shop);
            assert_eq!(event.actor.unwrap().id, desk.manager.id.to_string());
        }
        subjects.push(message.subject.to_string());
    }
    assert_eq!(subjects, ["itsm.default.catalog.service_created", "itsm.default.catalog.configuration_item_created"]);
}

#[tokio::test]
async fn teams_arrive_once_in_order_and_a_newer_one_stays() {
    let desk = Desk::open().await;
    let team = TeamId::draw();
    let now = desk.stage.clock.now();
    let said: Vec<_> = (1..=20)
        .map(|revision| {
            let state = if revision == 20 { TeamState::Retired } else { TeamState::Active };
            desk.directory.say(team.0, "team_changed", now, team_event(team, revision, state))
        })
        .collect();
    for step in 0..said.len() {
        let place = (step * 7) % said.len();
        for _ in 0..place % 4 {
            desk.directory.publish(&said[place]).await;
        }
    }
    desk.directory.beat().await;
    eventually("the retired team", || async { teams(&desk).await.contains(&(team.0, 20, false)).then_some(()) }).await;
    let refused =
        desk.create(Service { owning_team_id: team.to_string(), ..desk.service("shop") }, "").await.unwrap_err();
    assert_eq!(field(&refused), "service.owning_team_id");
    assert!(refused.message().contains("no longer takes part"), "{}", refused.message());
}

#[tokio::test]
async fn a_team_that_has_not_arrived_is_asked_for() {
    let desk = Desk::open().await;
    desk.stage.kill_nats();
    let team = TeamId::draw();
    let mut entry = team_event(team, 3, TeamState::Active);
    desk.directory.say(team.0, "team_created", desk.stage.clock.now(), std::mem::take(&mut entry));
    let administrator = desk.stage.person(proto::common::v1::Role::Administrator, team);
    let service = Service { support_team_id: team.to_string(), ..desk.service("shop") };
    let message = proto::catalog::v1::CreateServiceRequest { service: Some(service), ..Default::default() };
    let created = desk.client.clone().create_service(desk.stage.request(&administrator, message)).await.unwrap();
    assert_eq!(created.into_inner().support_team_id, team.to_string());
    assert!(teams(&desk).await.contains(&(team.0, 3, true)));
}

#[tokio::test]
async fn with_nats_away_teams_arrive_by_the_feed_and_events_are_published_later() {
    let desk = Desk::open().await;
    desk.stage.kill_nats();
    let team = TeamId::draw();
    desk.directory.say(team.0, "team_created", desk.stage.clock.now(), team_event(team, 1, TeamState::Active));
    eventually("the team", || async { teams(&desk).await.contains(&(team.0, 1, true)).then_some(()) }).await;
    let shop = desk.create(desk.service("shop"), "").await.unwrap();
    desk.stage.restart_nats();
    eventually("the relay's acknowledged position", || async {
        let mut admin = desk.stage.admin().await;
        let position: i64 = sqlx::query_scalar("select position from catalog.lease where name = 'relay'")
            .fetch_one(&mut admin)
            .await
            .unwrap();
        (position == 1).then_some(())
    })
    .await;
    assert_eq!(shop.revision, 1);
}

//! The event path of the change service: what it says reaches NATS whole and in order, and what
//! catalog and directory say fills the read models once, whatever NATS does.

use std::time::Duration;

use futures::StreamExt;
use kit::{clock::Clock, id::TeamId, testing::eventually};
use prost::Message;
use proto::{
    catalog::v1::LifecycleState,
    change::v1::{Change, ChangeEvent, ChangeState, ChangeType, WatchChangesRequest},
    directory::v1::TeamState,
};
use sqlx::Row;
use uuid::Uuid;

use crate::desk::{Desk, Verb, field, team_event};

async fn kept(desk: &Desk, table: &str) -> Vec<(Uuid, i64, bool)> {
    let mut admin = desk.stage.admin().await;
    let statement = sqlx::AssertSqlSafe(format!("select id, revision, active from change.{table} order by id"));
    let rows = sqlx::query(statement).fetch_all(&mut admin).await.unwrap();
    rows.iter().map(|row| (row.get("id"), row.get("revision"), row.get("active"))).collect()
}

#[tokio::test]
async fn what_happened_is_published_with_the_record_as_it_is_then() {
    let desk = Desk::open().await;
    let mut subscription = desk.stage.bus.subscribe("itsm.default.change.>").await.unwrap();
    desk.stage.bus.flush().await.unwrap();
    let change = desk.create(desk.change(ChangeType::Standard), "").await.unwrap();
    desk.go(&change.id, &[Verb::Request, Verb::Cancel]).await;
    let mut said = Vec::new();
    for _ in 0..4 {
        let message = tokio::time::timeout(Duration::from_secs(10), subscription.next()).await.unwrap().unwrap();
        let (_, entry) = kit::bus::entry("change", &message).expect("an envelope that fits together");
        let event = ChangeEvent::decode(entry.body).unwrap();
        let record = event.change.unwrap();
        assert_eq!((record.revision, record.id.as_str()), (entry.revision, change.id.as_str()));
        said.push((message.subject.to_string(), record.state()));
    }
    let said: Vec<(&str, ChangeState)> = said.iter().map(|(subject, state)| (subject.as_str(), *state)).collect();
    assert_eq!(
        said,
        [
            ("itsm.default.change.drafted", ChangeState::Draft),
            ("itsm.default.change.requested", ChangeState::Requested),
            ("itsm.default.change.approved", ChangeState::Approved),
            ("itsm.default.change.cancelled", ChangeState::Cancelled),
        ]
    );
}

#[tokio::test]
async fn repeated_shuffled_and_lost_on_the_way_the_newest_stays() {
    let desk = Desk::open().await;
    let (service, item) = (Uuid::from_u128(11), Uuid::from_u128(12));
    let mut said = Vec::new();
    for revision in 1..=30 {
        let state = if revision == 30 { LifecycleState::Retired } else { LifecycleState::Live };
        said.push(desk.says_service(service, revision, state));
        said.push(desk.says_item(item, revision, LifecycleState::Live));
    }
    for step in 0..said.len() {
        let place = (step * 37) % said.len();
        for _ in 0..place % 4 {
            desk.catalog.publish(&said[place]).await;
        }
    }
    desk.catalog.beat().await;
    eventually("the last of the service and the item", || async {
        let services = kept(&desk, "catalog_services").await;
        let items = kept(&desk, "catalog_configuration_items").await;
        (services == [(service, 30, false)] && items == [(item, 30, true)]).then_some(())
    })
    .await;
    let change = Change { service_ids: vec![service.to_string()], ..desk.change(ChangeType::Normal) };
    assert_eq!(field(&desk.create(change, "").await.unwrap_err()), "change.service_ids");
}

#[tokio::test]
async fn what_has_not_arrived_is_asked_for_and_kept() {
    let desk = Desk::open().await;
    desk.stage.kill_nats();
    let (team, service) = (TeamId::draw(), Uuid::from_u128(11));
    let now = desk.stage.clock.now();
    desk.directory.say(team.0, "team_created", now, team_event(team.0, 3, TeamState::Active));
    desk.says_service(service, 5, LifecycleState::Live);
    let change = Change { service_ids: vec![service.to_string()], ..desk.change(ChangeType::Normal) };
    desk.create(change, "").await.unwrap();
    assert_eq!(kept(&desk, "catalog_services").await, [(service, 5, true)]);
    // By the feed the team comes all the same, since nothing is heard.
    eventually("the team", || async {
        kept(&desk, "directory_teams").await.contains(&(team.0, 3, true)).then_some(())
    })
    .await;
    desk.stage.restart_nats();
}

#[tokio::test]
async fn an_event_that_cannot_be_applied_is_set_aside_and_others_go_on() {
    let desk = Desk::open().await;
    let (bad, good) = (Uuid::from_u128(11), Uuid::from_u128(12));
    desk.catalog.say(bad, "service_changed", desk.stage.clock.now(), b"\xff\xff\xff".to_vec());
    desk.says_service(good, 1, LifecycleState::Live);
    desk.catalog.beat().await;
    eventually("the good one", || async { (kept(&desk, "catalog_services").await == [(good, 1, true)]).then_some(()) })
        .await;
    let mut admin = desk.stage.admin().await;
    let dead: Vec<(Uuid, i64)> = sqlx::query("select record_id, position from change.dead_letter")
        .fetch_all(&mut admin)
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert_eq!(dead, [(bad, 1)]);
}

#[tokio::test]
async fn under_twelve_writers_the_feed_is_dense_and_a_watch_misses_nothing() {
    const EACH: usize = 10;
    let desk = Desk::open().await;
    let watch = WatchChangesRequest { start_time: Some(prost_types::Timestamp::default()), ..Default::default() };
    let mut events =
        desk.client.clone().watch_changes(desk.stage.request(&desk.requester, watch)).await.unwrap().into_inner();
    let writers = (0..12).map(|_| async {
        for _ in 0..EACH {
            let change = desk.create(desk.change(ChangeType::Standard), "").await.unwrap();
            desk.go(&change.id, &[Verb::Request]).await;
        }
    });
    let reader = async {
        let mut revisions = std::collections::HashMap::<String, i64>::new();
        for _ in 0..12 * EACH * 3 {
            let entry = tokio::time::timeout(Duration::from_secs(20), events.next()).await.expect("in time");
            let entry = entry.unwrap().unwrap();
            let last = revisions.entry(entry.record_id).or_default();
            assert_eq!(entry.revision, *last + 1, "in order per record, none missing");
            *last = entry.revision;
        }
        revisions.len()
    };
    let (_, records) = futures::join!(futures::future::join_all(writers), reader);
    assert_eq!(records, 12 * EACH);
    let mut admin = desk.stage.admin().await;
    let (count, head): (i64, i64) =
        sqlx::query_as("select count(*), max(position) from change.feed").fetch_one(&mut admin).await.unwrap();
    assert_eq!((count, head), (360, 360));
}

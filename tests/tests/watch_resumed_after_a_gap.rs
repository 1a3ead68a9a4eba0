//! Somebody watches, goes away for an hour while the service restarts, and comes back with the
//! cursor: nothing is missing, nothing comes twice.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use itsm_tests::world::World;
use proto::{
    common::v1::Role,
    incident::v1::{IncidentEventEntry, WatchIncidentsRequest},
};
use tonic::Streaming;

async fn next(events: &mut Streaming<IncidentEventEntry>) -> IncidentEventEntry {
    let next = tokio::time::timeout(std::time::Duration::from_secs(10), events.message());
    next.await.expect("in time").unwrap().expect("the stream goes on")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_resumes_without_gap_or_repeat() {
    let world = World::begin().await;
    let bob = world.member("Bob", Role::Responder).await;
    let watch = WatchIncidentsRequest::default();
    let mut events = world.incident().watch_incidents(world.by_administrator(watch)).await.unwrap().into_inner();
    let first = world.opens_incident(&bob, "first", (2, 2)).await;
    let seen = next(&mut events).await;
    assert_eq!(seen.record_id, first.id);
    drop(events);

    world.acknowledges(&bob, &first).await;
    world.stop("incident").await;
    world.later(chrono::TimeDelta::hours(1));
    world.start("incident").await;
    world.settled().await;
    let second = world.opens_incident(&bob, "second", (2, 2)).await;

    let resume = WatchIncidentsRequest { cursor: seen.cursor, ..Default::default() };
    let mut events = world.incident().watch_incidents(world.by_administrator(resume)).await.unwrap().into_inner();
    let (one, two) = (next(&mut events).await, next(&mut events).await);
    assert_eq!((one.r#type.as_str(), &one.record_id), ("acknowledged", &first.id));
    assert_eq!((two.r#type.as_str(), &two.record_id), ("opened", &second.id));
}

//! Nobody answers. The service level service stops before the clock is due and starts long after:
//! it is breached once, stamped with the instant it was due.

use chrono::TimeDelta;
use itsm_tests::world::World;
use proto::{
    incident::v1::IncidentState,
    sla::v1::{ListClockEventsRequest, Metric},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_is_announced_once_and_with_the_instant_it_was_due() {
    let world = World::begin().await;
    world.alert_fires("payments stand still", "critical").await;
    let incident = world.the_incident_is(IncidentState::New).await;
    let clock = world.clock_until(&incident, Metric::Response, "a clock", |_| true).await;
    let due = clock.due_time.unwrap();

    world.stop("sla").await;
    world.later(TimeDelta::hours(2));
    world.start("sla").await;
    let breached = world.clock_until(&incident, Metric::Response, "a breach", |clock| clock.breached).await;
    assert_eq!(breached.breach_time.as_ref(), Some(&due));

    world.stop("sla").await;
    world.start("sla").await;
    world.later(TimeDelta::hours(1));
    world.settled().await;
    let message = ListClockEventsRequest { id: clock.id, page_size: 500, ..Default::default() };
    let events = world.sla().list_clock_events(world.by_administrator(message)).await.unwrap().into_inner().events;
    let types: Vec<&str> = events.iter().map(|entry| entry.r#type.as_str()).collect();
    assert_eq!(types, ["clock_started", "clock_at_risk", "clock_breached"]);
}

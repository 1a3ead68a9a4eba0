//! Friday afternoon an incident of business hours waits for a supplier over the weekend: its clock
//! stands still, and on Monday it is due as much later as it waited in business time.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use chrono::{DateTime, Utc};
use itsm_tests::world::World;
use proto::{
    incident::v1::{HoldIncidentRequest, PendingReason, ResumeIncidentRequest},
    sla::v1::{ClockState, Metric},
};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn due(clock: &proto::sla::v1::Clock) -> DateTime<Utc> {
    clock.due_time.as_ref().and_then(kit::bus::time).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_supplier_stops_the_clock() {
    let world = World::begin().await;
    world.later(at("2026-03-06T16:00:00Z") - world.now());
    // Impact moderate, urgency medium: P3, resolved within 24 business hours.
    let incident = world.opens_incident(&world.administrator, "The badge printer stutters", (3, 3)).await;
    let clock = world.clock_until(&incident, Metric::Resolution, "a clock", |_| true).await;
    assert_eq!(clock.target_seconds, 24 * 3_600);
    // One hour on Friday, eight each on Monday and Tuesday, seven on Wednesday.
    assert_eq!(due(&clock), at("2026-03-11T16:00:00Z"));

    let hold = HoldIncidentRequest {
        id: incident.id.clone(),
        pending_reason: PendingReason::Supplier.into(),
        ..Default::default()
    };
    world.incident().hold_incident(world.by_administrator(hold)).await.unwrap();
    world
        .clock_until(&incident, Metric::Resolution, "a paused clock", |clock| clock.state() == ClockState::Paused)
        .await;

    world.later(at("2026-03-09T12:00:00Z") - world.now());
    let resume = ResumeIncidentRequest { id: incident.id.clone(), ..Default::default() };
    world.incident().resume_incident(world.by_administrator(resume)).await.unwrap();
    let clock = world
        .clock_until(&incident, Metric::Resolution, "a running clock", |clock| clock.state() == ClockState::Running)
        .await;
    // It waited one business hour on Friday and three on Monday: 24 hours from Monday noon, five
    // then, eight each on Tuesday and Wednesday, three on Thursday.
    assert_eq!(due(&clock), at("2026-03-12T12:00:00Z"));
    assert!(!clock.breached);
}

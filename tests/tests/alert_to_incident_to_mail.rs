//! An alert fires at night: an incident opens, two clocks start, the one on duty gets a mail. It
//! clears: the incident resolves by itself and the clocks stop.

use itsm_tests::world::World;
use kit::testing::eventually;
use proto::{
    common::v1::Priority,
    incident::v1::{IncidentState, ResolutionCode},
    sla::v1::{ClockState, Metric},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_becomes_an_incident_and_a_mail_and_ends_by_itself() {
    let world = World::begin().await;
    world.alert_fires("checkout is slow", "critical").await;

    let incident = world.the_incident_is(IncidentState::New).await;
    assert_eq!((incident.title.as_str(), incident.priority()), ("checkout is slow", Priority::P2));
    assert_eq!(incident.alerts.len(), 1);
    let response = world.clock_until(&incident, Metric::Response, "a response clock", |_| true).await;
    assert_eq!((response.state(), response.target_seconds), (ClockState::Running, 30 * 60));
    let mails = eventually("a mail", || async { Some(world.mails()).filter(|mails| !mails.is_empty()) }).await;
    assert!(mails[0].contains(&incident.number), "{}", mails[0]);
    assert!(mails[0].contains("ada@example.com"), "{}", mails[0]);

    world.later(chrono::TimeDelta::minutes(5));
    world.alert_clears("checkout is slow").await;
    let resolved = world.the_incident_is(IncidentState::Resolved).await;
    assert_eq!(resolved.resolution_code(), ResolutionCode::ClearedByMonitoring);
    for metric in [Metric::Response, Metric::Resolution] {
        let clock =
            world.clock_until(&incident, metric, "a clock that is met", |clock| clock.state() == ClockState::Met).await;
        assert!(!clock.breached);
        assert_eq!(clock.elapsed_seconds, 5 * 60);
    }
    assert_eq!(world.history(&incident).await, ["opened", "alert_cleared", "resolved"]);
}

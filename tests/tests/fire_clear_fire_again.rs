//! A condition fires, clears, and fires again a little later: the same incident goes on. A day
//! after it was closed for good, firing again is a new one.

use chrono::TimeDelta;
use itsm_tests::world::World;
use kit::testing::eventually;
use proto::incident::v1::IncidentState;

#[tokio::test(flavor = "multi_thread")]
async fn firing_again_soon_continues_the_incident_and_much_later_opens_another() {
    let world = World::begin().await;
    world.alert_fires("queue grows", "critical").await;
    let first = world.the_incident_is(IncidentState::New).await;
    world.later(TimeDelta::minutes(10));
    world.alert_clears("queue grows").await;
    world.the_incident_is(IncidentState::Resolved).await;

    world.later(TimeDelta::minutes(10));
    world.alert_fires("queue grows", "critical").await;
    let again = world.the_incident_is(IncidentState::New).await;
    assert_eq!((&again.id, again.reopen_count, again.alerts.len()), (&first.id, 1, 2));
    assert_eq!(world.alerts().await.len(), 2, "each firing is an episode of its own");

    world.later(TimeDelta::minutes(10));
    world.alert_clears("queue grows").await;
    world.the_incident_is(IncidentState::Resolved).await;
    world.later(TimeDelta::days(5));
    world.the_incident_is(IncidentState::Closed).await;
    world.alert_fires("queue grows", "critical").await;
    eventually("a second incident", || async { (world.incidents().await.len() == 2).then_some(()) }).await;
}

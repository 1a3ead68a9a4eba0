//! The same condition is said again and again: one alert, one incident, one mail, and a count.

use itsm_tests::world::World;
use kit::testing::eventually;
use proto::incident::v1::IncidentState;

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_repeats_is_one_incident_that_counts() {
    let world = World::begin().await;
    for _ in 0..300 {
        world.alert_fires("disk is full", "high").await;
    }
    let incident = world.the_incident_is(IncidentState::New).await;
    let alert = eventually("a count of 300", || async {
        let alerts = world.alerts().await;
        assert_eq!(alerts.len(), 1);
        alerts.into_iter().find(|alert| alert.occurrence_count == 300)
    })
    .await;
    assert!(incident.alerts.iter().any(|link| link.alert_id == alert.id));
    eventually("one mail", || async { (world.mails().len() == 1).then_some(()) }).await;
    assert_eq!(world.history(&incident).await, ["opened"]);
    assert_eq!(world.deliveries(&incident).await.len(), 1);
}

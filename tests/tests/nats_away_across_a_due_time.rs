//! NATS is away while an incident is resolved in time and its clock comes due: no breach is
//! announced, because the clock catches up with the owner before it says so.

use chrono::TimeDelta;
use itsm_tests::world::World;
use proto::{
    incident::v1::IncidentState,
    sla::v1::{ClockState, Metric},
};

#[tokio::test(flavor = "multi_thread")]
async fn resolved_in_time_while_nats_is_away_is_no_breach() {
    let world = World::begin().await;
    world.alert_fires("search is down", "critical").await;
    let incident = world.the_incident_is(IncidentState::New).await;
    world.clock_until(&incident, Metric::Resolution, "a clock", |_| true).await;

    world.stage.kill_nats();
    world.later(TimeDelta::minutes(10));
    world.resolves(&world.administrator, &incident).await;
    world.later(TimeDelta::hours(30));
    for metric in [Metric::Response, Metric::Resolution] {
        let clock =
            world.clock_until(&incident, metric, "a clock that is met", |clock| clock.state() == ClockState::Met).await;
        assert!(!clock.breached && clock.breach_time.is_none(), "{clock:?}");
        assert_eq!(clock.elapsed_seconds, 600);
    }
    world.stage.restart_nats();
}

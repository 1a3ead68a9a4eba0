//! Two tenants in one installation never see each other, and the same message id of both is two
//! alerts.

use itsm_tests::world::World;
use kit::testing::eventually;
use proto::{
    alert::v1::{CreateIntegrationRequest, Integration, alert_service_client::AlertServiceClient},
    incident::v1::{GetIncidentRequest, IncidentState},
};
use serde_json::json;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_never_see_each_other() {
    let world = World::begin().await;
    let globex = world.another_tenant("globex").await;
    let integration = Integration { name: "demo".to_owned(), display_name: "Demo".to_owned(), ..Default::default() };
    let mut alerts = AlertServiceClient::new(world.stage.channel("alert"));
    let create = CreateIntegrationRequest { integration: Some(integration), request_id: String::new() };
    alerts.create_integration(world.stage.request(&globex, create)).await.unwrap();

    let body = |title: &str| json!({ "title": title, "dedup_key": "same", "severity": "critical" });
    world.monitoring_says(&world.stage.tenant, body("ours"), Some("one-id")).await;
    // The server itself drops a repeated message id within its window, across tenants.
    world.later(chrono::TimeDelta::seconds(1));
    kit::clock::pause(std::time::Duration::from_millis(200)).await;
    world.monitoring_says(&globex.tenant, body("theirs"), Some("one-id")).await;

    let ours = world.the_incident_is(IncidentState::New).await;
    let theirs = eventually("their incident", || async { world.incidents_of(&globex).await.into_iter().next() }).await;
    assert_eq!((ours.title.as_str(), theirs.title.as_str()), ("ours", "theirs"));
    assert_eq!((world.alerts().await.len(), world.alerts_of(&globex).await.len()), (1, 1));

    let foreign = GetIncidentRequest { id: theirs.id };
    let refused = world.incident().get_incident(world.by_administrator(foreign)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(world.incidents_of(&globex).await.iter().all(|incident| incident.title == "theirs"));
}

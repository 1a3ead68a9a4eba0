//! A webhook cannot be reached and waits for its next try; somebody acknowledges: nothing is sent
//! any more, and the delivery says why.

use itsm_tests::world::World;
use kit::testing::eventually;
use proto::{
    common::v1::Role,
    incident::v1::IncidentState,
    notification::v1::{
        ContactMethod, CreateContactMethodRequest, CreateRuleRequest, DeliveryState, Method, Recipients, Rule,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn acknowledging_cancels_what_waits() {
    let world = World::begin().await;
    let webhook = ContactMethod {
        person_id: world.administrator.id.to_string(),
        method: Method::Webhook.into(),
        // Nobody listens on the discard port.
        address: "http://127.0.0.1:9/hook".to_owned(),
        ..Default::default()
    };
    let create = CreateContactMethodRequest { contact_method: Some(webhook), request_id: String::new() };
    world.notification().create_contact_method(world.by_administrator(create)).await.unwrap();

    let rule = Rule {
        display_name: "Page the administrators".to_owned(),
        event_type: "incident.opened".to_owned(),
        recipients: Some(Recipients { else_administrators: true, ..Default::default() }),
        methods: vec![Method::Webhook.into()],
        ..Default::default()
    };
    let create = CreateRuleRequest { rule: Some(rule), request_id: String::new() };
    world.notification().create_rule(world.by_administrator(create)).await.unwrap();

    world.alert_fires("login fails", "critical").await;
    let incident = world.the_incident_is(IncidentState::New).await;
    let waiting = |deliveries: Vec<proto::notification::v1::Delivery>, state: DeliveryState| {
        deliveries.into_iter().find(|delivery| {
            delivery.method() == Method::Webhook && delivery.state() == state && delivery.attempt_count > 0
        })
    };
    eventually("a webhook that waits", || async { waiting(world.deliveries(&incident).await, DeliveryState::Pending) })
        .await;

    let bob = world.member("Bob", Role::Responder).await;
    world.acknowledges(&bob, &incident).await;
    let cancelled = eventually("it is cancelled", || async {
        waiting(world.deliveries(&incident).await, DeliveryState::Cancelled)
    })
    .await;
    assert!(cancelled.reason.contains("has seen the incident"), "{}", cancelled.reason);
}

//! The event path of the alert service: what sources say takes effect once, whatever NATS does, and
//! what it makes of it arrives as events.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod desk;

use std::time::Duration;

use alert::{ReceiveTime, app::by_intake::Message, store::intake::Place};
use chrono::TimeDelta;
use desk::{Desk, make_bucket, make_consumer, ready, stage_time};
use futures::StreamExt;
use kit::{
    clock,
    id::{TeamId, Tenant, TenantId},
    testing::eventually,
};
use prost::Message as _;
use proto::{
    alert::v1::{
        AlertEvent, AlertState, ClearReason, DisableIntegrationRequest, RotateIntegrationKeyRequest, Severity,
        alert_event,
    },
    catalog::v1::{ConfigurationItem, LifecycleState, catalog_event},
    common::v1::Impact,
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

const FIRING: &str = r#"{"dedup_key": "disk", "title": "Disk full", "severity": "critical"}"#;
const CLEARED: &str = r#"{"dedup_key": "disk", "title": "Disk full", "status": "cleared"}"#;

/// Says in the catalog that an item exists.
async fn item(desk: &Desk, name: &str, service: Uuid) -> Uuid {
    let id = kit::id::draw();
    let item = ConfigurationItem {
        id: id.to_string(),
        revision: 1,
        name: name.to_owned(),
        service_id: service.to_string(),
        state: LifecycleState::Live.into(),
        ..Default::default()
    };
    desk.say(id, "configuration_item_created", catalog_event::Record::ConfigurationItem(item)).await;
    id
}

/// A connection to the cluster that is to none of its test databases.
async fn cluster() -> sqlx::PgConnection {
    use sqlx::Connection;
    #[expect(clippy::disallowed_methods, reason = "tests are told their servers by variables")]
    let socket = std::env::var("ITSM_TEST_POSTGRES").unwrap();
    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass().socket(socket);
    sqlx::PgConnection::connect_with(&options.username("postgres").database("postgres")).await.unwrap()
}

#[tokio::test]
async fn from_the_stream_to_the_record_and_the_event() {
    let (desk, _) = Desk::open().await;
    let team = TeamId::draw();
    let service = desk.service("checkout", team, Impact::Significant).await;
    let item = item(&desk, "web1", service).await;
    let mut events = desk.stage.bus.subscribe("itsm.default.alert.raised").await.unwrap();
    desk.stage.bus.flush().await.unwrap();
    let body = r#"{"dedup_key": "latency", "title": "Checkout is slow", "severity": "critical",
        "labels": {"service": "checkout", "instance": "web1:9100"}}"#;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    desk.publish_to("alerts.default.demo", &[("Itsm-Format", "generic"), ("traceparent", trace)], body.as_bytes())
        .await;

    let alert = desk.eventually_alerts("state = ACTIVE", 1).await.remove(0);
    assert_eq!(alert.title, "Checkout is slow");
    assert_eq!((alert.severity(), alert.opens_incident), (Severity::Critical, true));
    assert_eq!((alert.service_id, alert.ci_id), (service.to_string(), item.to_string()));
    assert_eq!((alert.team_id, alert.impact), (team.to_string(), i32::from(Impact::Significant)));
    assert_eq!(alert.decision, "opens an incident: critical is as bad as medium or worse, from which demo does");
    assert_eq!(alert.trace_parent, trace);

    let message = tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap().unwrap();
    assert_eq!(message.headers.unwrap().get("traceparent").unwrap().as_str(), trace);
    let event = AlertEvent::decode(message.payload).unwrap();
    let Some(alert_event::Record::Alert(said)) = event.record else { panic!("an alert") };
    assert_eq!((said.id, said.revision), (alert.id.clone(), 1));
    assert_eq!(event.actor.unwrap().id, "alert");

    desk.publish(&body.replace("title", "status\": \"cleared\", \"title")).await;
    let cleared = desk.eventually_alerts("state = CLEARED", 1).await.remove(0);
    assert_eq!((cleared.id.clone(), cleared.clear_reason()), (alert.id, ClearReason::Source));
    assert_eq!(desk.history(&cleared.id).await, ["raised", "cleared"]);
    desk.drained().await;
}

#[tokio::test]
async fn a_message_delivered_again_takes_effect_once() {
    let (desk, _) = Desk::open().await;
    for _ in 0..5 {
        desk.publish(FIRING).await;
    }
    desk.publish("not json").await;
    desk.drained().await;
    assert_eq!(desk.alerts("").await[0].occurrence_count, 5);
    // A new consumer begins at the first message, as after the loss of one.
    desk.jetstream.delete_consumer_from_stream("alert", "ALERTS").await.unwrap();
    make_consumer(&desk.jetstream).await;
    desk.drained().await;
    let alert = desk.eventually_alerts("", 1).await.remove(0);
    assert_eq!((alert.occurrence_count, alert.revision), (5, 1));
    assert_eq!(desk.rejected().await.len(), 1);
    assert_eq!(desk.count("select count(*) from alert.intake").await, 6);
}

#[tokio::test]
async fn a_message_given_twice_in_one_batch_counts_once() {
    // What waits too long in a client is delivered again, and both copies may be taken together.
    let (desk, _) = Desk::open().await;
    let message = Message {
        place: Place { incarnation: 1, sequence: 1, at: stage_time(&desk.stage) },
        received_at: stage_time(&desk.stage),
        subject: "alerts.default.demo".to_owned(),
        headers: Default::default(),
        body: FIRING.into(),
        trace_parent: None,
    };
    assert!(desk.app.take_in(&[message.clone(), message], None).await.unwrap().is_empty());
    assert_eq!(desk.alerts("").await[0].occurrence_count, 1);
}

#[tokio::test]
async fn a_stream_made_anew_is_taken_from_its_beginning() {
    let (desk, _) = Desk::open().await;
    desk.publish(FIRING).await;
    desk.drained().await;
    desk.jetstream.delete_stream("ALERTS").await.unwrap();
    desk::make_intake(&desk.jetstream).await;
    assert_eq!(desk.publish(CLEARED).await, 1, "the same sequence in another life of the stream");
    desk.eventually_alerts("state = CLEARED", 1).await;
    assert_eq!(desk.count("select count(distinct incarnation) from alert.intake").await, 2);
}

#[tokio::test]
async fn any_order_and_repetition_of_messages_comes_to_the_same() {
    let (mut desk, _) = Desk::open().await;
    let say = |status: &str, starts: &str, ends: &str| {
        format!(
            r#"{{"dedup_key": "disk", "title": "Disk full", "status": "{status}", "severity": "high",
                "started_at": "2026-04-05T{starts}:00Z", "ended_at": "2026-04-05T{ends}:00Z"}}"#
        )
    };
    // What ends after it came in still fires.
    let said = [say("firing", "08:00", "23:00"), say("cleared", "08:00", "08:30"), say("firing", "09:00", "23:00")];
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let mut sequence = 0;
    for (place, order) in orders.iter().enumerate() {
        let name = format!("order-{place}");
        desk.integrate(&name).await.unwrap();
        // Each twice, and the first once more at the end.
        for index in order.iter().chain(order).chain(&order[..1]) {
            sequence += 1;
            let message = Message {
                place: Place { incarnation: 1, sequence, at: stage_time(&desk.stage) },
                received_at: "2026-04-05T10:00:00Z".parse().unwrap(),
                subject: format!("alerts.default.{name}"),
                headers: Default::default(),
                body: said[*index].clone().into(),
                trace_parent: None,
            };
            assert!(desk.app.take_in(&[message], None).await.unwrap().is_empty());
        }
    }
    assert_eq!(desk.rejected().await, []);
    let active = desk.alerts("state = ACTIVE").await;
    assert_eq!(active.len(), orders.len());
    let known = "select count(*) from alert.conditions where cleared_at = '2026-04-05T08:30:00Z'";
    assert_eq!(desk.count(known).await, i64::try_from(orders.len()).unwrap());
    let newest = "select count(*) from alert.alerts where state = 'ACTIVE' and fired_at = '2026-04-05T09:00:00Z'";
    assert_eq!(desk.count(newest).await, i64::try_from(orders.len()).unwrap());
}

#[tokio::test]
async fn one_message_id_from_two_tenants_makes_two_alerts() {
    let (desk, _) = Desk::open().await;
    let other = Tenant { id: TenantId::draw(), slug: "globex".to_owned() };
    desk.app.ensure_integration(other.clone(), "demo", "The demo", None).await.unwrap().unwrap();
    desk.publish_to("alerts.default.demo", &[("Nats-Msg-Id", "1")], FIRING.as_bytes()).await;
    clock::pause(Duration::from_millis(200)).await;
    desk.publish_to("alerts.globex.demo", &[("Nats-Msg-Id", "1")], FIRING.as_bytes()).await;
    eventually("two alerts", || async {
        (desk.count("select count(distinct tenant_id) from alert.alerts").await == 2).then_some(())
    })
    .await;
    // And a tenant sees its own alone.
    assert_eq!(desk.alerts("").await.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_used_is_kept_with_the_reason_and_takes_nothing_else_along() {
    let (mut desk, made) = Desk::open().await;
    let half = r#"[{"dedup_key": "good", "title": "Good"}, {"dedup_key": "bad", "title": 5}]"#;
    desk.publish(half).await;
    desk.publish("\0 not json").await;
    desk.publish_to("alerts.default.demo", &[("Itsm-Format", "smoke-signals")], b"{}").await;
    desk.publish_to("alerts.default.unknown", &[], FIRING.as_bytes()).await;
    desk.publish_to("alerts.nobody.demo", &[], FIRING.as_bytes()).await;
    let id = made.integration.unwrap().id;
    desk.drained().await;
    let disable = DisableIntegrationRequest { id: id.clone(), ..Default::default() };
    desk.client.disable_integration(desk.stage.request(&desk.manager, disable)).await.unwrap();
    desk.publish(FIRING).await;
    desk.drained().await;

    assert_eq!(desk.eventually_alerts("", 1).await[0].dedup_key, "good");
    let rejected = desk.rejected().await;
    let reasons: Vec<(&str, &str)> =
        rejected.iter().rev().map(|one| (one.field.as_str(), one.reason.as_str())).collect();
    assert_eq!(reasons.len(), 5, "{reasons:?}");
    assert_eq!(reasons[0].0, "[1].title");
    assert_eq!(rejected[4].raw, r#"{"dedup_key": "bad", "title": 5}"#);
    assert_eq!(rejected[4].integration_id, id);
    assert_eq!(reasons[1].0, "body");
    assert_eq!(rejected[3].raw, "\u{fffd} not json");
    assert_eq!(reasons[2], ("Itsm-Format", "must be one of alertmanager, prometheus, generic, cloudevents"));
    assert_eq!(reasons[3], ("subject", "there is no integration unknown"));
    assert_eq!(reasons[4], ("subject", "the integration demo is disabled"));
    let nobodys =
        "select count(*) from alert.rejected_alerts where tenant_id is null and reason = 'there is no tenant nobody'";
    assert_eq!(desk.count(nobodys).await, 1);
    assert_eq!(desk.count("select count(*) from alert.intake").await, 6, "each is kept raw");
}

#[tokio::test]
async fn an_alert_too_large_for_an_event_is_rejected_with_the_reason() {
    let (desk, _) = Desk::open().await;
    let long = "x".repeat(16_000);
    let annotations: Vec<String> = (0..20).map(|number| format!(r#""a{number}": "{long}""#)).collect();
    desk.publish(&format!(r#"{{"title": "Large", "annotations": {{{}}}}}"#, annotations.join(","))).await;
    desk.drained().await;
    let rejected = desk.rejected().await;
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].reason, "labels, annotations and description have more than 196608 bytes together");
}

#[tokio::test]
async fn a_message_that_cannot_be_applied_is_set_aside_and_the_others_go_on() {
    let (desk, _) = Desk::open().await;
    let refuse = "create function alert.refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
        create trigger refuse before insert on alert.alerts for each row when (new.title = 'poison') execute function alert.refuse()";
    sqlx::raw_sql(refuse).execute(&mut desk.stage.admin().await).await.unwrap();
    for number in 0..20 {
        let title = if number == 7 { "poison" } else { "fine" };
        desk.publish(&format!(r#"{{"dedup_key": "{number}", "title": "{title}"}}"#)).await;
    }
    desk.eventually_alerts("", 19).await;
    desk.drained().await;
    let rejected = desk.rejected().await;
    assert_eq!(rejected.len(), 1);
    assert_eq!((rejected[0].field.as_str(), rejected[0].raw.contains("poison")), ("message", true));
    assert_eq!(desk.count("select count(*) from alert.intake").await, 20);
}

#[tokio::test]
async fn while_the_database_is_away_nothing_is_acknowledged_and_nothing_is_lost() {
    let (desk, _) = Desk::open().await;
    let name: String =
        sqlx::query_scalar("select current_database()::text").fetch_one(&mut desk.stage.admin().await).await.unwrap();
    let mut admin = cluster().await;
    let allow = |allowed: bool| format!("alter database {name} with allow_connections {allowed}");
    let end = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(allow(false))).execute(&mut admin).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(end)).execute(&mut admin).await.unwrap();
    for _ in 0..10 {
        desk.publish(FIRING).await;
    }
    eventually("the intake says what it waits for", || async {
        desk.stage.readiness.waiting().contains_key("alert intake").then_some(())
    })
    .await;
    let mut consumer: async_nats::jetstream::consumer::PullConsumer =
        desk.jetstream.get_consumer_from_stream("alert", "ALERTS").await.unwrap();
    let info = consumer.info().await.unwrap();
    assert_eq!(info.ack_floor.stream_sequence, 0, "nothing is acknowledged");
    sqlx::raw_sql(sqlx::AssertSqlSafe(allow(true))).execute(&mut admin).await.unwrap();
    ready(&desk.stage).await;
    desk.drained().await;
    assert_eq!(desk.count("select occurrence_count from alert.alerts").await, 10);
}

#[tokio::test]
async fn a_storm_of_repeats_is_counted_and_told_once_a_minute() {
    let (desk, _) = Desk::open().await;
    for _ in 0..300 {
        desk.publish(FIRING).await;
    }
    desk.drained().await;
    let alert = desk.eventually_alerts("", 1).await.remove(0);
    assert_eq!((alert.occurrence_count, alert.revision), (300, 1));
    desk.stage.clock.advance(TimeDelta::minutes(2));
    for _ in 0..20 {
        desk.publish(FIRING).await;
    }
    desk.drained().await;
    assert_eq!(desk.history(&alert.id).await, ["raised", "repeated"]);
    assert_eq!(desk.alerts("").await[0].occurrence_count, 320);
}

#[tokio::test]
async fn an_alert_expires_when_it_is_not_said_again() {
    let (desk, _) = Desk::open_with(ReceiveTime::Clock).await;
    let begin = stage_time(&desk.stage);
    let say = |minutes: i64| {
        format!(
            r#"[{{"labels": {{"alertname": "Disk"}}, "startsAt": "{}", "endsAt": "{}"}}]"#,
            begin.to_rfc3339(),
            (begin + TimeDelta::minutes(minutes)).to_rfc3339()
        )
    };
    let prometheus = [("Itsm-Format", "prometheus")];
    desk.publish_to("alerts.default.demo", &prometheus, say(5).as_bytes()).await;
    desk.eventually_alerts("state = ACTIVE", 1).await;
    desk.stage.clock.advance(TimeDelta::minutes(4));
    desk.publish_to("alerts.default.demo", &prometheus, say(9).as_bytes()).await;
    desk.drained().await;
    // Past the first end, which a repeat has moved.
    desk.stage.clock.advance(TimeDelta::minutes(2));
    clock::pause(Duration::from_millis(300)).await;
    assert_eq!(desk.alerts("state = ACTIVE").await.len(), 1);
    desk.stage.clock.advance(TimeDelta::minutes(30));
    let alert = desk.eventually_alerts("state = CLEARED", 1).await.remove(0);
    assert_eq!(alert.clear_reason(), ClearReason::Expired);
    let due = begin + TimeDelta::minutes(9);
    assert_eq!(alert.clear_time.as_ref().and_then(kit::bus::time), Some(due));
    assert_eq!(alert.update_time.as_ref().and_then(kit::bus::time), Some(due), "stamped with the instant due");
    // Said again, it is a new episode.
    desk.publish_to("alerts.default.demo", &prometheus, say(60).as_bytes()).await;
    let again = desk.eventually_alerts("state = ACTIVE", 1).await.remove(0);
    assert_ne!(again.id, alert.id);
    assert_eq!(desk.history(&alert.id).await.last().map(String::as_str), Some("cleared"));
}

#[tokio::test]
async fn nothing_expires_while_repeats_cannot_come_in() {
    let (desk, _) = Desk::open_with(ReceiveTime::Clock).await;
    let begin = stage_time(&desk.stage);
    let body = format!(
        r#"[{{"labels": {{"alertname": "Disk"}}, "startsAt": "{}", "endsAt": "{}"}}]"#,
        begin.to_rfc3339(),
        (begin + TimeDelta::minutes(5)).to_rfc3339()
    );
    desk.publish_to("alerts.default.demo", &[("Itsm-Format", "prometheus")], body.as_bytes()).await;
    desk.drained().await;
    desk.jetstream.delete_consumer_from_stream("alert", "ALERTS").await.unwrap();
    eventually("the intake is away", || async {
        desk.stage.readiness.waiting().contains_key("alert intake").then_some(())
    })
    .await;
    desk.stage.clock.advance(TimeDelta::minutes(10));
    clock::pause(Duration::from_millis(1_500)).await;
    assert_eq!(desk.alerts("state = ACTIVE").await.len(), 1, "a repeat may wait");
    make_consumer(&desk.jetstream).await;
    ready(&desk.stage).await;
    clock::pause(Duration::from_millis(1_500)).await;
    assert_eq!(desk.alerts("state = ACTIVE").await.len(), 1, "sources have a minute to repeat themselves");
    desk.stage.clock.advance(TimeDelta::minutes(1));
    desk.eventually_alerts("state = CLEARED", 1).await;
}

#[tokio::test]
async fn a_publisher_without_a_format_is_understood_by_the_looks_of_its_message() {
    let (desk, _) = Desk::open().await;
    let event = r#"{"specversion": "1.0", "id": "7", "source": "/backup", "type": "failed", "subject": "db1", "data": "Backup failed"}"#;
    desk.publish(event).await;
    let headers = [("ce-specversion", "1.0"), ("ce-id", "8"), ("ce-source", "/backup"), ("ce-type", "failed")];
    desk.publish_to("alerts.default.demo", &headers, br#"{"title": "Backup is late"}"#).await;
    desk.publish(r#"{"title": "Disk full"}"#).await;
    let alerts = desk.eventually_alerts("", 3).await;
    let keys: Vec<&str> = alerts.iter().rev().map(|alert| alert.dedup_key.as_str()).collect();
    assert_eq!(&keys[..2], ["/backup/db1", "/backup/8"]);
    assert!(alerts.iter().all(|alert| alert.state() == AlertState::Active));
}

fn digest(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn entry(bucket: &async_nats::jetstream::kv::Store, key: &str) -> Option<serde_json::Value> {
    let value = bucket.get(key).await.ok()??;
    serde_json::from_slice(&value).ok()
}

async fn eventually_state(desk: &Desk, key: &str, state: Option<&str>) {
    let bucket = desk.jetstream.get_key_value("integration_keys").await.unwrap();
    eventually(&format!("{key} is {state:?}"), || async {
        let entry = entry(&bucket, &digest(key)).await;
        (entry.as_ref().and_then(|entry| entry["state"].as_str()) == state).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_gateway_is_shown_which_keys_are_valid() {
    let (mut desk, made) = Desk::open().await;
    let (integration, old) = (made.integration.unwrap(), made.key);
    eventually_state(&desk, &old, Some("active")).await;
    let bucket = desk.jetstream.get_key_value("integration_keys").await.unwrap();
    let shown = entry(&bucket, &digest(&old)).await.unwrap();
    assert_eq!(
        shown,
        serde_json::json!({
            "tenant": "default", "tenantId": desk.stage.tenant.id.to_string(),
            "integration": "demo", "integrationId": integration.id, "state": "active"
        })
    );
    assert!(bucket.get("complete").await.unwrap().is_some());

    let rotate = RotateIntegrationKeyRequest { id: integration.id.clone(), ..Default::default() };
    let rotated = desk.client.rotate_integration_key(desk.stage.request(&desk.manager, rotate)).await.unwrap();
    let new = rotated.into_inner().key;
    eventually_state(&desk, &old, None).await;
    eventually_state(&desk, &new, Some("active")).await;
    let disable = DisableIntegrationRequest { id: integration.id, ..Default::default() };
    desk.client.disable_integration(desk.stage.request(&desk.manager, disable)).await.unwrap();
    eventually_state(&desk, &new, Some("disabled")).await;
}

#[tokio::test]
async fn a_bucket_made_anew_is_filled_again_with_the_mark_last_and_nothing_stale() {
    let (desk, made) = Desk::open().await;
    eventually_state(&desk, &made.key, Some("active")).await;
    desk.jetstream.delete_key_value("integration_keys").await.unwrap();
    let bucket = make_bucket(&desk.jetstream).await;
    let stale = digest("a key of long ago");
    bucket.put(&stale, "{}".into()).await.unwrap();
    eventually("the mark", || async { bucket.get("complete").await.unwrap() }).await;
    assert!(bucket.get(digest(&made.key)).await.unwrap().is_some());
    assert!(bucket.get(&stale).await.unwrap().is_none());
    let mark = bucket.entry("complete").await.unwrap().unwrap().revision;
    let key = bucket.entry(digest(&made.key)).await.unwrap().unwrap().revision;
    assert!(mark > key);
}

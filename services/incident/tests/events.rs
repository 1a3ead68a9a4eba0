//! The event path of the incident service: what it says arrives whole and in order, what others
//! say takes effect once, whatever NATS does.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{collections::HashMap, time::Duration};

use futures::StreamExt;
use incident::{MIGRATOR, Settings};
use kit::{
    id::TeamId,
    testing::{Owner, Stage, eventually},
};
use prost::Message;
use proto::{
    alert::v1::{Alert, AlertEvent, AlertState, Cleared, Raised, Severity, alert_event},
    common::v1::Role,
    incident::v1::{
        CreateIncidentRequest, Incident, WatchIncidentsRequest, incident_service_client::IncidentServiceClient,
    },
};
use sqlx::Row;
use uuid::Uuid;

async fn stage() -> (Stage, Owner) {
    let stage = Stage::set(&[("incident", &MIGRATOR)]).await;
    for source in ["directory", "catalog"] {
        stage.owner(source).await;
    }
    let alerts = stage.owner("alert").await;
    (stage, alerts)
}

async fn start(stage: &Stage) {
    incident::start(stage.context("incident").await, Settings::default()).await.unwrap();
    eventually("readiness", || async { stage.readiness.waiting().is_empty().then_some(()) }).await;
}

fn alert(id: Uuid, state: AlertState) -> Alert {
    Alert {
        id: id.to_string(),
        integration_id: Uuid::from_u128(5).to_string(),
        dedup_key: format!("condition {id}"),
        state: state.into(),
        severity: Severity::Critical.into(),
        title: "Checkout is slow".to_owned(),
        opens_incident: true,
        ..Alert::default()
    }
}

fn event(alert: Alert, what: alert_event::What) -> Vec<u8> {
    AlertEvent { record: Some(alert_event::Record::Alert(alert)), actor: None, what: Some(what) }.encode_to_vec()
}

fn raised(id: Uuid) -> Vec<u8> {
    event(alert(id, AlertState::Active), alert_event::What::Raised(Raised {}))
}

fn cleared(id: Uuid) -> Vec<u8> {
    event(alert(id, AlertState::Cleared), alert_event::What::Cleared(Cleared {}))
}

/// How many incidents there are in each state.
async fn states(stage: &Stage) -> HashMap<String, i64> {
    let mut admin = stage.admin().await;
    let rows = sqlx::query("select state, count(*) as n from incident.incidents group by state")
        .fetch_all(&mut admin)
        .await
        .unwrap();
    rows.iter().map(|row| (row.get("state"), row.get("n"))).collect()
}

async fn eventually_states(stage: &Stage, wanted: &[(&str, i64)]) {
    let wanted: HashMap<String, i64> = wanted.iter().map(|(state, n)| ((*state).to_owned(), *n)).collect();
    eventually(&format!("{wanted:?}"), || async { (states(stage).await == wanted).then_some(()) }).await;
}

#[tokio::test]
async fn repeated_shuffled_and_lost_on_the_way_each_event_takes_effect_once() {
    let (stage, alerts) = stage().await;
    start(&stage).await;
    let ids: Vec<Uuid> = (0..60).map(|_| kit::id::draw()).collect();
    let mut said = Vec::new();
    for id in &ids {
        said.push(alerts.say(*id, "raised", stage_now(&stage), raised(*id)));
        said.push(alerts.say(*id, "cleared", stage_now(&stage), cleared(*id)));
    }
    // A fixed disorder: strides through the list, every third one lost, some five times.
    for step in 0..said.len() {
        let place = (step * 37) % said.len();
        let times = if place % 3 == 0 { 0 } else { 1 + place % 5 };
        for _ in 0..times {
            alerts.publish(&said[place]).await;
        }
    }
    alerts.beat().await;
    eventually_states(&stage, &[("RESOLVED", 60)]).await;
    let mut admin = stage.admin().await;
    let doubled: i64 = sqlx::query_scalar("select count(*) from (select record_id from incident.journal where type = 'opened' group by record_id having count(*) <> 1) d")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    let events: i64 = sqlx::query_scalar("select count(*) from incident.journal").fetch_one(&mut admin).await.unwrap();
    assert_eq!((doubled, events), (0, 180), "opened, alert cleared and resolved, once each");
}

fn stage_now(stage: &Stage) -> chrono::DateTime<chrono::Utc> {
    use kit::clock::Clock;
    stage.clock.now()
}

#[tokio::test]
async fn with_nats_away_events_arrive_by_the_feed() {
    let (stage, alerts) = stage().await;
    start(&stage).await;
    stage.kill_nats();
    let id = kit::id::draw();
    alerts.say(id, "raised", stage_now(&stage), raised(id));
    eventually_states(&stage, &[("NEW", 1)]).await;
    stage.restart_nats();
}

#[tokio::test]
async fn garbage_with_the_headers_of_the_next_position_does_not_displace_the_true_event() {
    let (stage, alerts) = stage().await;
    start(&stage).await;
    let id = kit::id::draw();
    let mut entry = alerts.say(id, "raised", stage_now(&stage), raised(id));
    entry.body = b"\xff\xff\xff garbage".as_slice().into();
    alerts.publish(&entry).await;
    stage.bus.publish("itsm.default.alert.raised", "no headers at all".into()).await.unwrap();
    eventually_states(&stage, &[("NEW", 1)]).await;
    let mut admin = stage.admin().await;
    let dead: i64 =
        sqlx::query_scalar("select count(*) from incident.dead_letter").fetch_one(&mut admin).await.unwrap();
    assert_eq!(dead, 0, "the feed held the true event");
}

#[tokio::test]
async fn an_event_that_cannot_be_applied_is_set_aside_and_others_go_on() {
    let (stage, alerts) = stage().await;
    start(&stage).await;
    let (bad, good) = (kit::id::draw(), kit::id::draw());
    alerts.say(bad, "raised", stage_now(&stage), b"\xff\xff\xff".to_vec());
    alerts.say(bad, "cleared", stage_now(&stage), cleared(bad));
    alerts.say(good, "raised", stage_now(&stage), raised(good));
    alerts.beat().await;
    eventually_states(&stage, &[("NEW", 1)]).await;
    let mut admin = stage.admin().await;
    let rows = sqlx::query("select position, reason from incident.dead_letter order by position")
        .fetch_all(&mut admin)
        .await
        .unwrap();
    let set_aside: Vec<(i64, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(set_aside.len(), 2, "{set_aside:?}");
    assert_eq!(set_aside[1].1, "an earlier event of this record is set aside");
    let tries: i32 = sqlx::query_scalar("select tries from incident.attempt where position = 1")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(tries, 6, "five tries, then given up");

    // A person mends it and asks to apply it again: both are applied, in order.
    sqlx::query("update incident.dead_letter set body = $1 where position = 1")
        .bind(raised(bad))
        .execute(&mut admin)
        .await
        .unwrap();
    sqlx::query("update incident.dead_letter set replay = true").execute(&mut admin).await.unwrap();
    eventually_states(&stage, &[("NEW", 1), ("RESOLVED", 1)]).await;
    eventually("no dead letter is left", || async {
        let mut admin = stage.admin().await;
        let left: i64 =
            sqlx::query_scalar("select count(*) from incident.dead_letter").fetch_one(&mut admin).await.unwrap();
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn under_twelve_writers_the_feed_is_dense_and_a_watch_misses_nothing() {
    let (stage, _) = stage().await;
    stage.make_streams().await;
    start(&stage).await;
    let responder = stage.person(Role::Responder, TeamId::draw());
    let client = IncidentServiceClient::new(stage.channel("incident"));
    let watch = WatchIncidentsRequest { start_time: Some(prost_types::Timestamp::default()), ..Default::default() };
    let mut events = client.clone().watch_incidents(stage.request(&responder, watch)).await.unwrap().into_inner();

    const EACH: usize = 25;
    let writers = (0..12).map(|writer| {
        let (mut client, stage, responder) = (client.clone(), &stage, &responder);
        async move {
            for number in 0..EACH {
                let incident = Incident { title: format!("writer {writer} number {number}"), ..Default::default() };
                let create = CreateIncidentRequest { incident: Some(incident), request_id: String::new() };
                let created = client.create_incident(stage.request(responder, create)).await.unwrap().into_inner();
                let note = proto::incident::v1::AddNoteRequest {
                    id: created.id,
                    text: "A note.".to_owned(),
                    ..Default::default()
                };
                client.add_note(stage.request(responder, note)).await.unwrap();
            }
        }
    });
    let reader = async {
        let mut revisions: HashMap<String, i64> = HashMap::new();
        for _ in 0..12 * EACH * 2 {
            let entry =
                tokio::time::timeout(Duration::from_secs(20), events.next()).await.expect("in time").unwrap().unwrap();
            let last = revisions.entry(entry.record_id).or_default();
            assert_eq!(entry.revision, *last + 1, "in order per record, none missing");
            *last = entry.revision;
        }
        revisions.len()
    };
    let (_, records) = futures::join!(futures::future::join_all(writers), reader);
    assert_eq!(records, 12 * EACH);

    let mut admin = stage.admin().await;
    let row = sqlx::query(
        "select count(*) as n, max(position) as head,
                (select count(*) from (select revision - lag(revision, 1, 0::bigint) over (partition by record_id order by position) as step from incident.feed) s where step <> 1) as inversions
         from incident.feed",
    )
    .fetch_one(&mut admin)
    .await
    .unwrap();
    assert_eq!((row.get::<i64, _>("n"), row.get::<i64, _>("head"), row.get::<i64, _>("inversions")), (600, 600, 0));
    let epoch: i64 = sqlx::query_scalar("select epoch from incident.lease where name = 'relay'")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(epoch, 1, "the relay took what is saved beside a take for a loss, and paused");
}

#[tokio::test]
async fn of_two_relays_one_works_and_the_other_takes_over_at_once_when_it_stops() {
    let (stage, _) = stage().await;
    let stopping = kit::service::Tasks::default();
    let first = kit::service::Context { tasks: stopping.clone(), ..stage.replica("incident", "one").await };
    let second = stage.replica("incident", "two").await;
    let holder = |wanted: &'static str| {
        let stage = &stage;
        async move {
            let mut admin = stage.admin().await;
            let held =
                "select (holder = $1) and expires_at > clock_timestamp() from incident.lease where name = 'relay'";
            sqlx::query_scalar::<_, bool>(held)
                .bind(wanted)
                .fetch_optional(&mut admin)
                .await
                .unwrap()
                .filter(|held| *held)
                .map(|_| ())
        }
    };
    let _working = first.start_relay();
    eventually("the first relay", || holder("incident-one")).await;
    let _standing_by = second.start_relay();
    stopping.stop().await;
    let began = std::time::Instant::now();
    eventually("the second relay", || holder("incident-two")).await;
    assert!(began.elapsed() < Duration::from_secs(2), "a released lease need not expire first: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_relay_that_is_set_back_publishes_again_what_its_stream_lost() {
    let (stage, alerts) = stage().await;
    stage.make_streams().await;
    start(&stage).await;
    for _ in 0..3 {
        let id = kit::id::draw();
        alerts.say(id, "raised", stage_now(&stage), raised(id));
    }
    alerts.beat().await;
    let jetstream = async_nats::jetstream::new(stage.bus.clone());
    let copies = |wanted: u64| {
        let jetstream = &jetstream;
        async move {
            let stream = jetstream.get_stream("INCIDENT").await.ok()?;
            (stream.cached_info().state.messages == wanted).then_some(())
        }
    };
    eventually("a copy of each event", || copies(3)).await;
    let acknowledged = "select position from incident.lease where name = 'relay'";
    eventually("the mark", || async {
        let mut admin = stage.admin().await;
        let position: i64 = sqlx::query_scalar(acknowledged).fetch_one(&mut admin).await.unwrap();
        (position == 3).then_some(())
    })
    .await;
    jetstream.delete_stream("INCIDENT").await.unwrap();
    stage.make_streams().await;
    let set_back = "update incident.lease set position = 0 where name = 'relay'";
    sqlx::query(set_back).execute(&mut stage.admin().await).await.unwrap();
    eventually("the copies again", || copies(3)).await;
}

#[tokio::test]
async fn a_resolved_incident_closes_by_itself_at_the_instant_that_was_due() {
    let (stage, alerts) = stage().await;
    start(&stage).await;
    let id = kit::id::draw();
    alerts.say(id, "raised", stage_now(&stage), raised(id));
    alerts.say(id, "cleared", stage_now(&stage), cleared(id));
    alerts.beat().await;
    eventually_states(&stage, &[("RESOLVED", 1)]).await;
    let due = stage_now(&stage) + chrono::TimeDelta::days(3);
    stage.clock.advance(chrono::TimeDelta::days(4));
    eventually_states(&stage, &[("CLOSED", 1)]).await;
    let mut admin = stage.admin().await;
    let closed_at: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("select closed_at from incident.incidents").fetch_one(&mut admin).await.unwrap();
    assert_eq!(closed_at, due);
}

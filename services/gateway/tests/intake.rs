//! Alerts come in, against a real NATS server: what was answered with 2xx is in the stream, what
//! was not is not.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::{io::Write as _, time::Duration};

use async_nats::jetstream::{kv, stream};
use common::{World, eventually, nats::put_key};
use serde_json::{Value as Json, json};

const ALERT: &str = r#"{"title":"Disk full","severity":"critical","dedupKey":"disk"}"#;

/// A world with the stream, and the keys loaded.
async fn open() -> (World, kv::Store, stream::Stream) {
    let world = World::new().await;
    let stream = world.nats.intake_stream(1_000).await;
    let bucket = world.nats.bucket().await;
    put_key(&bucket, "demo-key", "active").await;
    put_key(&bucket, "off-key", "disabled").await;
    bucket.put("complete", "1".into()).await.unwrap();
    eventually("ready", || async { world.readiness.waiting().is_empty() }).await;
    (world, bucket, stream)
}

async fn stored(stream: &stream::Stream) -> u64 {
    stream.get_info().await.unwrap().state.messages
}

async fn problem(request: reqwest::RequestBuilder) -> (u16, String, reqwest::header::HeaderMap, Json) {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body: Json = response.json().await.unwrap();
    (status, body["reason"].as_str().unwrap_or_default().to_owned(), headers, body)
}

#[tokio::test]
async fn nobody_is_told_anything_before_the_keys_are_loaded() {
    let world = World::new().await;
    let bucket = world.nats.bucket().await;
    put_key(&bucket, "demo-key", "active").await;
    let (status, reason, headers, _) = problem(world.take("alerts", ALERT)).await;
    assert_eq!((status, reason.as_str()), (503, "INTAKE_UNAVAILABLE"));
    assert!(headers.contains_key("retry-after"));
    let ready = world.http.get(world.url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    assert!(ready.text().await.unwrap().contains("gateway intake"));
}

#[tokio::test]
async fn an_accepted_body_is_in_the_stream_unchanged() {
    let (world, _bucket, stream) = open().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let body = format!(" {ALERT}\n");
    let response = world.take("alerts", body.clone()).header("traceparent", trace).send().await.unwrap();
    assert_eq!(response.status(), 202);
    let answer: Json = response.json().await.unwrap();
    assert_eq!((&answer["accepted"], &answer["rejected"]), (&json!(1), &json!([])));
    let message = stream.get_last_raw_message_by_subject("alerts.default.demo").await.unwrap();
    assert_eq!(message.payload, body);
    let header = |name: &str| message.headers.get(name).map(|v| v.as_str().to_owned()).unwrap_or_default();
    assert_eq!(header("Itsm-Format"), "generic");
    assert_eq!(header("Itsm-Intake-Id"), answer["intakeId"].as_str().unwrap());
    assert_eq!(header("traceparent"), trace);
    assert!(chrono::DateTime::parse_from_rfc3339(&header("Itsm-Receive-Time")).is_ok());
    assert_eq!(stored(&stream).await, 1, "one POST is one message");
}

#[tokio::test]
async fn many_at_once_are_each_acknowledged_and_each_stored() {
    let (world, _bucket, stream) = open().await;
    let posts = (0..300).map(|n| world.take("alerts", format!(r#"{{"title":"Disk {n}"}}"#)).send());
    let answers = futures::future::join_all(posts).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().status() == 202));
    assert_eq!(stored(&stream).await, 300);
}

#[tokio::test]
async fn every_source_has_its_path_and_its_answer() {
    let (world, _bucket, stream) = open().await;
    let webhook = json!({
        "version": "4", "groupKey": "g", "status": "firing", "receiver": "itsm", "truncatedAlerts": 0,
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://am",
        "alerts": [{"status": "firing", "labels": {"alertname": "Up"}, "annotations": {}, "startsAt": "2026-11-22T08:00:00Z",
                    "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": "f1"}]
    });
    assert_eq!(world.take("alertmanager", webhook.to_string()).send().await.unwrap().status(), 202);
    let prometheus = json!([{"labels": {"alertname": "Up"}, "startsAt": "2026-11-22T08:00:00Z"}]);
    let response = world.take("api/v2/alerts", prometheus.to_string()).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (200, ""));
    let binary = world
        .take("cloudevents", r#"{"title":"Disk full"}"#)
        .header("content-type", "application/json")
        .header("ce-specversion", "1.0")
        .header("ce-id", "1")
        .header("ce-source", "/probe")
        .header("ce-type", "disk.full");
    assert_eq!(binary.send().await.unwrap().status(), 202);
    let message = stream.get_last_raw_message_by_subject("alerts.default.demo").await.unwrap();
    let event: Json = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((&event["type"], &event["data"]["title"]), (&json!("disk.full"), &json!("Disk full")));
    assert_eq!(stored(&stream).await, 3);
    assert_eq!(problem(world.take("nagios", "{}")).await.0, 404);
    assert_eq!(problem(world.http.get(world.url("/intake/demo-key/alerts"))).await.0, 405);
}

#[tokio::test]
async fn unknown_and_disabled_keys_are_refused_alike() {
    let (world, bucket, stream) = open().await;
    let post = |key: &str| {
        world.http.post(world.url(&format!("/intake/{key}/alerts"))).header("x-request-id", "same").body(ALERT)
    };
    let unknown = post("nobody").send().await.unwrap();
    let disabled = post("off-key").send().await.unwrap();
    assert_eq!(
        (unknown.status(), disabled.status()),
        (reqwest::StatusCode::UNAUTHORIZED, reqwest::StatusCode::UNAUTHORIZED)
    );
    assert_eq!(unknown.text().await.unwrap(), disabled.text().await.unwrap());
    assert_eq!(stored(&stream).await, 0);
    // A key that is disabled while the gateway runs ends at once.
    put_key(&bucket, "demo-key", "disabled").await;
    eventually("the key ends", || async { post("demo-key").send().await.unwrap().status() == 401 }).await;
    put_key(&bucket, "off-key", "active").await;
    eventually("the other begins", || async { post("off-key").send().await.unwrap().status() == 202 }).await;
}

#[tokio::test]
async fn what_is_too_much_is_refused_and_not_stored() {
    let (world, _bucket, stream) = open().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(problem(world.take("alerts", deep)).await.0, 413);
    let (status, reason, _, _) = problem(world.take("alerts", vec![b' '; 1024 * 1024 + 1])).await;
    assert_eq!((status, reason.as_str()), (413, "BODY_TOO_LARGE"));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b' '; 64 * 1024 * 1024]).unwrap();
    let bomb = encoder.finish().unwrap();
    let (status, reason, _, _) = problem(world.take("alerts", bomb).header("content-encoding", "gzip")).await;
    assert_eq!((status, reason.as_str()), (413, "BODY_TOO_LARGE"));
    let labels: serde_json::Map<String, Json> = (0..10_000).map(|n| (format!("l{n}"), json!("v"))).collect();
    let many = json!({"title": "x", "dedupKey": "k", "labels": labels});
    let (status, _, _, body) = problem(world.take("alerts", many.to_string())).await;
    assert_eq!(status, 413);
    assert!(body["fieldViolations"][0]["field"].as_str().unwrap().contains("labels"), "{body}");
    for bad in ["not json", "", "\"text\"", "{\"title\":"] {
        assert_eq!(problem(world.take("alerts", bad)).await.0, 400, "{bad}");
    }
    assert_eq!(stored(&stream).await, 0);
}

#[tokio::test]
async fn gzip_is_stored_inflated() {
    let (world, _bucket, stream) = open().await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(ALERT.as_bytes()).unwrap();
    let response =
        world.take("alerts", encoder.finish().unwrap()).header("content-encoding", "gzip").send().await.unwrap();
    assert_eq!(response.status(), 202);
    let message = stream.get_last_raw_message_by_subject("alerts.default.demo").await.unwrap();
    assert_eq!(message.payload, ALERT);
}

#[tokio::test]
async fn the_good_alerts_of_a_batch_are_taken_and_the_answer_names_the_bad_ones() {
    let (world, _bucket, stream) = open().await;
    let batch = format!("[{ALERT},{{\"title\":7}}]");
    let response = world.take("alerts", batch).send().await.unwrap();
    assert_eq!(response.status(), 202);
    let answer: Json = response.json().await.unwrap();
    assert_eq!((&answer["accepted"], &answer["rejected"][0]["index"]), (&json!(1), &json!(1)));
    let prometheus = json!([{"labels": {"alertname": "Up"}}, {"labels": 7}]);
    let response = world.take("api/v2/alerts", prometheus.to_string()).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert!(response.text().await.unwrap().starts_with("1 taken, 1 rejected"));
    assert_eq!(stored(&stream).await, 2);
}

#[tokio::test]
async fn a_full_stream_is_said_so() {
    let world = World::new().await;
    let stream = world.nats.intake_stream(1).await;
    let bucket = world.nats.bucket().await;
    put_key(&bucket, "demo-key", "active").await;
    bucket.put("complete", "1".into()).await.unwrap();
    eventually("the first is taken", || async { world.take("alerts", ALERT).send().await.unwrap().status() == 202 })
        .await;
    let (status, reason, headers, _) = problem(world.take("alerts", ALERT)).await;
    assert_eq!((status, reason.as_str()), (503, "INTAKE_FULL"));
    assert!(headers.contains_key("retry-after"));
    assert_eq!(stored(&stream).await, 1);
}

#[tokio::test]
async fn without_nats_the_sender_is_told_to_come_again_and_with_it_all_goes_on() {
    let (mut world, _, _) = open().await;
    assert_eq!(world.take("alerts", ALERT).send().await.unwrap().status(), 202);
    world.nats.stop();
    let (status, reason, headers, _) = problem(world.take("alerts", ALERT)).await;
    assert_eq!((status, reason.as_str()), (503, "INTAKE_UNAVAILABLE"));
    assert!(headers.contains_key("retry-after"));
    let again = std::time::Instant::now();
    assert_eq!(problem(world.take("alerts", ALERT)).await.0, 503);
    assert!(again.elapsed() < Duration::from_secs(1), "nothing is queued for later: {:?}", again.elapsed());
    // The keys are kept meanwhile, so that an unknown one is still known to be unknown.
    let unknown = world.http.post(world.url("/intake/nobody/alerts")).body(ALERT).send().await.unwrap();
    assert_eq!(unknown.status(), 401);
    world.nats.resume();
    eventually("taken again", || async { world.take("alerts", ALERT).send().await.unwrap().status() == 202 }).await;
    // The watch lives after the reconnection: a change is seen soon, not after a heartbeat is missed.
    let bucket = world.nats.jetstream().await.get_key_value("integration_keys").await.unwrap();
    let changed = std::time::Instant::now();
    put_key(&bucket, "demo-key", "disabled").await;
    eventually("the key ends", || async { world.take("alerts", ALERT).send().await.unwrap().status() == 401 }).await;
    assert!(changed.elapsed() < Duration::from_secs(5), "{:?}", changed.elapsed());
}

#[tokio::test]
async fn a_bucket_that_is_made_anew_is_followed_and_meanwhile_the_old_keys_hold() {
    let (world, _bucket, _stream) = open().await;
    let status = |key: &'static str| {
        let request = world.http.post(world.url(&format!("/intake/{key}/alerts"))).body(ALERT);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    world.nats.jetstream().await.delete_key_value("integration_keys").await.unwrap();
    let bucket = world.nats.bucket().await;
    put_key(&bucket, "new-key", "active").await;
    tokio::time::timeout(Duration::from_secs(3), eventually("never", || async { status("demo-key").await != 202 }))
        .await
        .unwrap_err();
    bucket.put("complete", "2".into()).await.unwrap();
    let written = std::time::Instant::now();
    eventually("the new key is known", || async { status("new-key").await == 202 }).await;
    assert!(written.elapsed() < Duration::from_secs(4), "{:?}", written.elapsed());
    assert_eq!(status("demo-key").await, 401);
}

#[tokio::test]
async fn without_a_stream_nothing_is_said_to_be_stored() {
    let world = World::new().await;
    let bucket = world.nats.bucket().await;
    put_key(&bucket, "demo-key", "active").await;
    bucket.put("complete", "1".into()).await.unwrap();
    eventually("ready", || async { world.readiness.waiting().is_empty() }).await;
    let (status, reason, _, _) = problem(world.take("alerts", ALERT)).await;
    assert_eq!((status, reason.as_str()), (503, "INTAKE_UNAVAILABLE"));
}

//! REST and gRPC through the port, against services that answer as told.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{World, eventually, fixture};
use prost::Message as _;
use proto::{
    change::v1::{GetChangeRequest, change_service_client::ChangeServiceClient},
    incident::v1::{
        GetIncidentRequest, ResolveIncidentRequest, WatchIncidentsRequest,
        incident_service_client::IncidentServiceClient, internal_client::InternalClient,
    },
};
use serde_json::{Value as Json, json};
use tonic::{Code, Request, metadata::MetadataValue, transport::Channel};
use tonic_types::StatusExt as _;

async fn grpc(world: &World) -> IncidentServiceClient<Channel> {
    IncidentServiceClient::connect(world.running.url()).await.unwrap()
}

fn by<T>(credential: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", MetadataValue::try_from(format!("Bearer {credential}")).unwrap());
    request
}

#[tokio::test]
async fn a_record_is_read_over_rest_by_the_inner_token() {
    let world = World::new().await;
    let response = world
        .get("/v1/incidents/INC7")
        .header("x-request-id", "abc")
        .header("x-itsm-person", "forged")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-request-id"], "abc");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let record: Json = response.json().await.unwrap();
    assert_eq!((&record["id"], &record["state"], &record["revision"]), (&json!("INC7"), &json!("NEW"), &json!("0")));
    let call = world.upstream.calls("/GetIncident").pop().unwrap();
    assert_eq!(call.headers["authorization"], "Bearer inner");
    assert_eq!(call.headers["x-request-id"], "abc");
    assert!(!call.headers.contains_key("x-itsm-person"));
    let asked = world.upstream.calls("/Authenticate").pop().unwrap();
    assert!(asked.headers["authorization"].to_str().unwrap().starts_with("Bearer ey"), "as a service");
}

#[tokio::test]
async fn refusals_read_the_same_over_rest_and_grpc() {
    let world = World::new().await;
    let response = world
        .post("/v1/incidents/INC7:resolve", r#"{"resolutionCode":"FIXED","resolutionNotes":"x"}"#)
        .header("idempotency-key", "k")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Json = response.json().await.unwrap();
    assert_eq!(problem["reason"], "INCIDENT_ALREADY_CLOSED");
    assert_eq!(
        problem["preconditionViolations"],
        json!([{"type": "STATE", "subject": "INC7", "description": "reopen it first"}])
    );
    assert_eq!(problem["metadata"], json!({"state": "CLOSED"}));
    let sent = ResolveIncidentRequest::decode(world.upstream.calls("/ResolveIncident")[0].message.clone()).unwrap();
    assert_eq!(sent.request_id, "k");
    let status = grpc(&world).await.resolve_incident(by("itsm_good", sent)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.get_details_error_info().unwrap().reason, "INCIDENT_ALREADY_CLOSED");
    assert_eq!(world.get("/v1/incidents/gone").send().await.unwrap().status(), 404);
    assert_eq!(world.get("/v1/incidents/slow").send().await.unwrap().status(), 504);
}

#[tokio::test]
async fn bad_credentials_are_refused_alike_everywhere() {
    let world = World::new().await;
    let body = |credential: Option<&'static str>| {
        let mut request = world.http.get(world.url("/v1/incidents/INC7")).header("x-request-id", "same");
        if let Some(credential) = credential {
            request = request.header("authorization", credential);
        }
        async move {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 401);
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
            response.text().await.unwrap()
        }
    };
    let absent = body(None).await;
    for bad in ["Bearer itsm_unknown", "Bearer", "Basic eDp5", "Bearer a b"] {
        assert_eq!(body(Some(bad)).await, absent, "{bad}");
    }
    let status = grpc(&world).await.get_incident(by("itsm_unknown", GetIncidentRequest::default())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let status = grpc(&world).await.get_incident(GetIncidentRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(world.upstream.calls("/GetIncident").is_empty());
}

#[tokio::test]
async fn grpc_is_passed_on_as_it_is() {
    let world = World::new().await;
    let mut request = by("itsm_good", GetIncidentRequest { id: "INC7".into() });
    request.metadata_mut().insert("idempotency-key", MetadataValue::from_static("k"));
    request.set_timeout(Duration::from_secs(3));
    let response = grpc(&world).await.get_incident(request).await.unwrap();
    assert_eq!(response.metadata().get("x-request-id").unwrap().len(), 36);
    assert_eq!(response.into_inner().id, "INC7");
    let call = world.upstream.calls("/GetIncident").pop().unwrap();
    assert_eq!(call.headers["authorization"], "Bearer inner");
    assert_eq!(call.headers["idempotency-key"], "k");
    assert!(call.headers.contains_key("grpc-timeout"));
}

#[tokio::test]
async fn what_is_internal_unknown_or_away_is_not_reached() {
    let world = World::new().await;
    let channel = Channel::from_shared(world.running.url()).unwrap().connect().await.unwrap();
    let status = InternalClient::new(channel.clone())
        .snapshot(by("itsm_good", proto::common::v1::SnapshotRequest::default()))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(world.upstream.calls("/Snapshot").is_empty());
    let status =
        ChangeServiceClient::new(channel).get_change(by("itsm_good", GetChangeRequest::default())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let away = world.get("/v1/changes/CHG1").send().await.unwrap();
    assert_eq!(away.status(), 503);
    assert!(away.headers().contains_key("retry-after"));
    assert_eq!(world.get("/v1/nothing").send().await.unwrap().status(), 404);
    let other = world.http.delete(world.url("/v1/incidents/INC7")).send().await.unwrap();
    assert_eq!(other.status(), 405);
    assert!(other.headers()["allow"].to_str().unwrap().contains("GET"));
}

#[tokio::test]
async fn bodies_are_bounded() {
    let world = World::new().await;
    let response = world.post("/v1/incidents", vec![b' '; 1024 * 1024 + 1]).send().await.unwrap();
    assert_eq!(response.status(), 413);
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(world.post("/v1/incidents", deep).send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn grpc_over_http_1_is_told_what_it_needs() {
    let world = World::new().await;
    let path = world.url("/itsm.incident.v1.IncidentService/GetIncident");
    let request = world.http.post(path).header("content-type", "application/grpc").bearer_auth("itsm_good");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "9");
    assert!(world.upstream.calls("/GetIncident").is_empty());
}

#[tokio::test]
async fn a_service_that_is_late_is_told_from_one_that_is_away() {
    let world = World::new().await;
    world.upstream.hold();
    let rest = tokio::spawn(world.get("/v1/incidents/INC7").send());
    let mut raw = world.http.post(world.url("/itsm.incident.v1.IncidentService/GetIncident"));
    raw = raw.version(http::Version::HTTP_2).bearer_auth("itsm_good").body(vec![0, 0, 0, 0, 0]);
    let headers = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "200m")];
    let grpc_only = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let mut request = raw.build().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(name, http::HeaderValue::from_static(value));
    }
    let answer = grpc_only.execute(request).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4");
    let answer = rest.await.unwrap().unwrap();
    assert_eq!(answer.status(), 504);
    assert_eq!(answer.json::<Json>().await.unwrap()["reason"], "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn under_load_requests_are_shed_and_probes_are_answered() {
    let world = World::with(gateway::Settings { requests: 1, ..Default::default() }).await;
    world.upstream.hold();
    let held = tokio::spawn(world.get("/v1/incidents/INC7").send());
    eventually("one is under way", || async { !world.upstream.calls("/GetIncident").is_empty() }).await;
    let shed = world.get("/v1/incidents/INC8").send().await.unwrap();
    assert_eq!(shed.status(), 503);
    assert!(shed.headers().contains_key("retry-after"));
    let status = grpc(&world).await.get_incident(by("itsm_good", GetIncidentRequest::default())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(world.http.get(world.url("/healthz")).send().await.unwrap().status(), 200);
    world.upstream.release();
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
    assert_eq!(world.get("/v1/incidents/INC8").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_grpc_request_that_is_too_large_is_the_callers_fault() {
    let world = World::new().await;
    let request = by("itsm_good", GetIncidentRequest { id: "x".repeat(5 * 1024 * 1024) });
    let status = grpc(&world).await.get_incident(request).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(world.upstream.calls("/GetIncident").is_empty());
}

#[tokio::test]
async fn a_watch_comes_as_lines_or_events_and_ends_with_its_credential() {
    let world = World::new().await;
    let mut lines = world.get("/v1/incidents:watch").send().await.unwrap();
    assert_eq!(lines.headers()["content-type"], "application/x-ndjson");
    let line: Json = serde_json::from_slice(&lines.chunk().await.unwrap().unwrap()).unwrap();
    assert_eq!((&line["type"], &line["cursor"]), (&json!("opened"), &json!("c1")));
    let request = world.get("/v1/incidents:watch").header("accept", "text/event-stream").header("last-event-id", "c0");
    let mut events = request.send().await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    assert!(events.chunk().await.unwrap().unwrap().starts_with(b"id: c1\ndata: {"));
    let asked = WatchIncidentsRequest::decode(world.upstream.calls("/WatchIncidents")[1].message.clone()).unwrap();
    assert_eq!(asked.cursor, "c0");
    let mut stream = grpc(&world)
        .await
        .watch_incidents(by("itsm_good", WatchIncidentsRequest::default()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().cursor, "c1");

    let revoked = Instant::now();
    world.upstream.revoke();
    let last = tokio::time::timeout(Duration::from_secs(10), lines.chunk()).await.expect("cut in time");
    let last: Json = serde_json::from_slice(&last.unwrap().unwrap()).unwrap();
    assert_eq!(last["error"]["reason"], "UNAUTHENTICATED");
    assert!(lines.chunk().await.unwrap().is_none());
    assert!(events.chunk().await.unwrap().unwrap().starts_with(b"event: error\ndata: {"));
    assert_eq!(stream.message().await.unwrap_err().code(), Code::Unauthenticated);
    assert!(revoked.elapsed() < Duration::from_secs(5), "{:?}", revoked.elapsed());
    eventually("the service's streams end too", || async { !world.upstream.is_watching() }).await;
}

#[tokio::test]
async fn a_caller_who_hangs_up_ends_the_services_stream() {
    let world = World::new().await;
    let lines = world.get("/v1/incidents:watch").send().await.unwrap();
    eventually("watching", || async { world.upstream.is_watching() }).await;
    drop(lines);
    eventually("no longer", || async { !world.upstream.is_watching() }).await;
    let stream = grpc(&world).await.watch_incidents(by("itsm_good", WatchIncidentsRequest::default())).await.unwrap();
    eventually("watching", || async { world.upstream.is_watching() }).await;
    drop(stream);
    eventually("no longer", || async { !world.upstream.is_watching() }).await;
}

#[tokio::test]
async fn streams_are_bounded_and_leave_the_rest_alone() {
    let world = World::with(gateway::Settings { streams: 1, ..Default::default() }).await;
    let _one = world.get("/v1/incidents:watch").send().await.unwrap();
    let two = world.get("/v1/incidents:watch").send().await.unwrap();
    assert_eq!(two.status(), 503);
    assert_eq!(world.get("/v1/incidents/INC7").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn with_a_certificate_the_port_speaks_tls_alone() {
    let (tls_cert, tls_key) = (fixture("tls-test-only.crt.pem"), fixture("tls-test-only.key.pem"));
    let settings = gateway::Settings { tls_cert: Some(tls_cert), tls_key: Some(tls_key), ..Default::default() };
    let world = World::with(settings).await;
    assert!(world.running.url().starts_with("https://"));
    let response = world.get("/v1/incidents/INC7").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
    assert!(response.headers().contains_key("strict-transport-security"));
    assert!(world.http.get(world.running.url().replace("https", "http")).send().await.is_err());
}

#[tokio::test]
async fn the_port_shows_what_it_is_and_stops_without_cutting_words() {
    let world = World::new().await;
    let page = world.http.get(world.url("/")).send().await.unwrap();
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    assert!(page.text().await.unwrap().contains("Not ready yet"));
    let document: Json = world.http.get(world.url("/openapi.json")).send().await.unwrap().json().await.unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(world.http.get(world.url("/healthz")).send().await.unwrap().status(), 200);
    world.get("/v1/incidents/INC7").send().await.unwrap();
    let metrics = world.http.get(world.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("GetIncident"), "{metrics}");
    eventually("directory answers", || async { !world.readiness.waiting().contains_key("gateway credentials") }).await;

    let mut lines = world.get("/v1/incidents:watch").send().await.unwrap();
    lines.chunk().await.unwrap().unwrap();
    let stopping = Instant::now();
    world.tasks.stop().await;
    let last: Json = serde_json::from_slice(&lines.chunk().await.unwrap().unwrap()).unwrap();
    assert_eq!(last["error"]["status"], 503);
    assert!(stopping.elapsed() < Duration::from_secs(3), "{:?}", stopping.elapsed());
    assert!(world.http.get(world.url("/healthz")).send().await.is_err());
}

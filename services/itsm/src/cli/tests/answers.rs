//! A small server says what servers say, and the client must understand it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, Response, Uri},
};
use serde_json::json;
use tokio::net::TcpListener;

use super::super::{
    failure::Failure,
    names::resolve,
    noun::Noun,
    nouns::{INCIDENT, NOUNS},
    rest::Rest,
};

/// One request as it came.
#[derive(Debug, Clone)]
struct Asked {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
}

#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

async fn answer(
    State(script): State<Script>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let body = String::from_utf8_lossy(&body).into_owned();
    script.asked.lock().unwrap().push(Asked { method, uri, headers, body });
    let (status, body) = script.answers.lock().unwrap().pop_front().expect("an answer for every request");
    Response::builder().status(status).body(Body::from(body)).unwrap()
}

/// A client of a server that gives these answers, one after the other.
async fn server(answers: &[(u16, &str)]) -> (Rest, Script) {
    let script = Script::default();
    script.answers.lock().unwrap().extend(answers.iter().map(|(status, body)| (*status, (*body).to_owned())));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(script.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (Rest::new(&url, Some("secret".to_owned())).unwrap(), script)
}

fn problem(status: u16, reason: &str) -> String {
    json!({
        "type": "about:blank", "title": "t", "status": status, "reason": reason, "detail": "a sentence",
        "requestId": "r-1", "fieldViolations": [{"field": "incident.title", "description": "is too long"}],
        "metadata": {"current_revision": "7"},
    })
    .to_string()
}

#[tokio::test]
async fn every_refusal_has_its_exit_code() {
    for (status, code) in
        [(400, 1), (409, 1), (413, 1), (429, 1), (500, 1), (401, 4), (403, 4), (404, 5), (502, 3), (504, 3)]
    {
        let (rest, _) = server(&[(status, &problem(status, "SOME_REASON"))]).await;
        let failure = rest.get("incidents/INC1", &[]).await.unwrap_err();
        assert_eq!(failure.code(), code, "{status}: {failure}");
        assert!(failure.to_string().contains("SOME_REASON"), "{failure}");
    }
}

#[tokio::test]
async fn a_refusal_says_its_reason_and_its_fields() {
    let (rest, _) = server(&[(400, &problem(400, "INVALID_FIELD"))]).await;
    let failure = rest.post("incidents", &json!({})).await.unwrap_err();
    insta::assert_snapshot!(failure, @r"
    refused: INVALID_FIELD: a sentence
      incident.title: is too long
      current revision: 7
    ");
}

#[tokio::test]
async fn an_answer_that_is_no_problem_is_still_told() {
    let (rest, _) = server(&[(418, "I am a teapot"), (200, "<html>")]).await;
    assert_eq!(rest.get("x", &[]).await.unwrap_err().to_string(), "refused: HTTP_418: I am a teapot");
    let failure = rest.get("x", &[]).await.unwrap_err();
    assert_eq!(failure.code(), 3, "{failure}");
}

#[tokio::test]
async fn a_server_that_is_not_ready_is_asked_again_with_the_same_key() {
    let not_ready = problem(503, "NOT_READY");
    let (rest, script) = server(&[(503, &not_ready), (503, &not_ready), (200, r#"{"id":"1"}"#)]).await;
    rest.post("incidents", &json!({"title": "t"})).await.unwrap();
    let asked = script.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 3);
    let keys: Vec<_> = asked.iter().map(|asked| asked.headers["idempotency-key"].clone()).collect();
    assert!(!keys[0].is_empty() && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert!(asked.iter().all(|asked| asked.body == r#"{"title":"t"}"# && asked.method == Method::POST));
    assert_eq!(asked[0].headers["authorization"], "Bearer secret");
}

#[tokio::test]
async fn after_three_tries_more_it_gives_up() {
    let not_ready = problem(503, "NOT_READY");
    let (rest, script) = server(&[(503, not_ready.as_str()); 5]).await;
    let failure = rest.get("incidents", &[]).await.unwrap_err();
    assert_eq!((failure.code(), script.asked.lock().unwrap().len()), (3, 4));
}

#[tokio::test]
async fn two_mutations_have_two_keys() {
    let (rest, script) = server(&[(200, "{}"), (200, "{}")]).await;
    rest.post("a", &json!({})).await.unwrap();
    rest.post("a", &json!({})).await.unwrap();
    let asked = script.asked.lock().unwrap().clone();
    assert_ne!(asked[0].headers["idempotency-key"], asked[1].headers["idempotency-key"]);
}

#[tokio::test]
async fn nobody_there_is_not_reachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let failure = Rest::new(&url, Some("k".to_owned())).unwrap().get("me", &[]).await.unwrap_err();
    assert_eq!(failure.code(), 3);
    assert!(failure.to_string().starts_with(&format!("no answer from {url}")), "{failure}");
}

#[tokio::test]
async fn without_a_key_nothing_is_sent() {
    let failure = Rest::new("http://127.0.0.1:9", None).unwrap().get("me", &[]).await.unwrap_err();
    assert_eq!(failure.code(), 4, "{failure}");
    assert!(matches!(Rest::new("not a url", None), Err(Failure::Usage(_))));
    assert!(matches!(Rest::new("ftp://host", None), Err(Failure::Usage(_))));
}

#[tokio::test]
async fn pages_are_read_until_enough() {
    let first = r#"{"incidents":[{"id":"1"},{"id":"2"}],"nextPageToken":"t1"}"#;
    let second = r#"{"incidents":[{"id":"3"}],"nextPageToken":""}"#;
    let (rest, script) = server(&[(200, first), (200, second)]).await;
    let found = rest.list("incidents", "incidents", "state = NEW", 10).await.unwrap();
    assert_eq!((found.records.len(), found.next_page_token.as_str()), (3, ""));
    let asked = script.asked.lock().unwrap().clone();
    assert_eq!(asked[0].uri, "/v1/incidents?pageSize=10&filter=state+%3D+NEW");
    assert_eq!(asked[1].uri, "/v1/incidents?pageSize=8&filter=state+%3D+NEW&pageToken=t1");
    let (rest, script) = server(&[(200, first)]).await;
    let found = rest.list("incidents", "incidents", "", 2).await.unwrap();
    assert_eq!((found.records.len(), found.next_page_token.as_str()), (2, "t1"));
    assert_eq!(script.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_stream_is_read_line_by_line_and_tells_its_error() {
    let body = format!("{{\"type\":\"opened\"}}\n\n{{\"error\":{}}}\n", problem(400, "CURSOR_EXPIRED"));
    let (rest, script) = server(&[(200, &body)]).await;
    let mut lines = rest.watch("incidents", &[("cursor", "c1")]).await.unwrap();
    assert_eq!(lines.next().await.unwrap().unwrap()["type"], "opened");
    let failure = lines.next().await.unwrap_err();
    assert_eq!(failure.code(), 1, "{failure}");
    assert!(failure.to_string().contains("CURSOR_EXPIRED"));
    assert_eq!(script.asked.lock().unwrap()[0].uri, "/v1/incidents:watch?cursor=c1");
}

#[tokio::test]
async fn a_key_cannot_mean_another_path() {
    let (rest, script) = server(&[(202, "{}")]).await;
    rest.intake("a/../b?c", "api/v2/alerts", "application/json", b"[]").await.unwrap();
    assert_eq!(script.asked.lock().unwrap()[0].uri, "/intake/a%2F..%2Fb%3Fc/api/v2/alerts");
    assert!(!script.asked.lock().unwrap()[0].headers.contains_key("authorization"));
}

fn noun(name: &str) -> &'static Noun {
    NOUNS.iter().find(|noun| noun.name == name).unwrap()
}

#[tokio::test]
async fn a_record_is_found_by_what_people_call_it() {
    let id = "0193a5b2-2222-7000-8000-0000deadbeef";
    let other = "0193a5b2-2222-7000-8000-1111deadbeef";
    // A number and a whole id need no search.
    let (rest, script) = server(&[]).await;
    assert_eq!(resolve(&rest, &INCIDENT, "inc0001042").await.unwrap(), "INC0001042");
    assert_eq!(resolve(&rest, &INCIDENT, id).await.unwrap(), id);
    assert!(script.asked.lock().unwrap().is_empty());
    // A name is asked for exactly.
    let (rest, script) = server(&[(200, &format!(r#"{{"teams":[{{"id":"{id}"}}]}}"#))]).await;
    assert_eq!(resolve(&rest, noun("team"), "payments").await.unwrap(), id);
    assert_eq!(script.asked.lock().unwrap()[0].uri, "/v1/teams?pageSize=2&filter=name+%3D+%22payments%22");
    // The end of an id is searched for.
    let two = format!(r#"{{"alerts":[{{"id":"{id}"}},{{"id":"{other}"}}]}}"#);
    let (rest, _) = server(&[(200, &two), (200, &two), (200, &two)]).await;
    assert_eq!(resolve(&rest, noun("alert"), "1111DEADBEEF").await.unwrap(), other);
    assert_eq!(resolve(&rest, noun("alert"), "deadbeef").await.unwrap_err().code(), 2);
    assert_eq!(resolve(&rest, noun("alert"), "feedface").await.unwrap_err().code(), 5);
}

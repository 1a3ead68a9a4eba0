//! How webhooks leave: signed, retried, bounded, and never lost.

use std::time::Instant;

use chrono::TimeDelta;
use kit::{clock::Clock, testing::eventually};
use notification::{seal::SigningSecret, send::webhook::sign};
use proto::notification::v1::{
    ContactMethodState, DeliveryState, GetContactMethodRequest, Method, TestContactMethodRequest,
};

use crate::{
    desk::{Desk, settings},
    sink::{Answer, Sink},
};

async fn test(desk: &mut Desk, way: &str) -> String {
    let test = TestContactMethodRequest { id: way.to_owned(), ..Default::default() };
    let request = desk.stage.request(&desk.administrator, test);
    desk.client.test_contact_method(request).await.unwrap().into_inner().id
}

/// A webhook of the administrator: its id and secret.
async fn webhook(desk: &mut Desk, sink: &Sink) -> (String, SigningSecret) {
    let administrator = desk.administrator.clone();
    let (way, secret) = desk.contact(&administrator, Method::Webhook, &sink.url()).await.unwrap();
    (way.id, secret.parse().unwrap())
}

#[tokio::test]
async fn a_webhook_is_signed_so_that_its_receiver_can_check_it() {
    let mut desk = Desk::open().await;
    let sink = Sink::open(Answer::Head("204 No Content")).await;
    let (way, secret) = webhook(&mut desk, &sink).await;
    let id = test(&mut desk, &way).await;
    desk.eventually(DeliveryState::Delivered, 1).await;
    let received = sink.received();
    assert_eq!(received.len(), 1);
    let header = |name: &str| received[0].headers.get(name).cloned().unwrap_or_default();
    assert_eq!((header("webhook-id"), header("content-type")), (id.clone(), "application/json".to_owned()));
    let timestamp: i64 = header("webhook-timestamp").parse().unwrap();
    assert_eq!(timestamp, desk.stage.clock.now().timestamp());
    assert_eq!(header("webhook-signature"), sign(&[&secret], &id, timestamp, &received[0].body));
    let body: serde_json::Value = serde_json::from_str(&received[0].body).unwrap();
    assert_eq!(body["type"], "notification.test");
}

#[tokio::test]
async fn each_answer_has_its_consequence() {
    let mut desk = Desk::open().await;
    let elsewhere = Sink::open(Answer::Head("200 OK")).await;
    let redirect: &'static str = format!("302 Found\r\nLocation: {}", elsewhere.url()).leak();
    for (answer, state, outcome, wait) in [
        (Answer::Head("200 OK"), DeliveryState::Delivered, "delivered", None),
        (Answer::Endless, DeliveryState::Delivered, "delivered", None),
        (Answer::Head("500 Internal Server Error"), DeliveryState::Pending, "retry", Some(5)),
        (Answer::Head("408 Request Timeout"), DeliveryState::Pending, "retry", Some(5)),
        (Answer::Head("429 Too Many Requests\r\nRetry-After: 120"), DeliveryState::Pending, "retry", Some(120)),
        (
            Answer::Head("503 Service Unavailable\r\nRetry-After: Mon, 02 Mar 2026 10:00:00 GMT"),
            DeliveryState::Pending,
            "retry",
            Some(3_600),
        ),
        (Answer::Head("404 Not Found"), DeliveryState::Failed, "refused", None),
        (Answer::Head(redirect), DeliveryState::Failed, "refused", None),
        (Answer::Head("410 Gone"), DeliveryState::Failed, "gone", None),
    ] {
        let sink = Sink::open(answer.clone()).await;
        let (way, _) = webhook(&mut desk, &sink).await;
        let id = test(&mut desk, &way).await;
        let tried = eventually(&format!("{answer:?}"), || async {
            let delivery = desk.delivery(&id).await;
            delivery.attempts.iter().any(|attempt| !attempt.outcome.is_empty()).then_some(delivery)
        })
        .await;
        assert_eq!((tried.state(), tried.attempts[0].outcome.as_str()), (state, outcome), "{answer:?}: {tried:?}");
        let next = tried
            .next_attempt_time
            .as_ref()
            .and_then(kit::bus::time)
            .map(|at| (at - desk.stage.clock.now()).num_seconds());
        assert_eq!(next, wait, "{answer:?}");
        let get = GetContactMethodRequest { id: way };
        let way =
            desk.client.get_contact_method(desk.stage.request(&desk.administrator, get)).await.unwrap().into_inner();
        let gone = outcome == "gone";
        assert_eq!(way.state() == ContactMethodState::Disabled, gone, "{answer:?}");
        assert_eq!(way.state_reason, if gone { "the receiver answered 410 Gone" } else { "" });
    }
    assert!(elsewhere.received().is_empty(), "redirects are not followed");
}

#[tokio::test]
async fn it_is_tried_again_by_the_timetable_with_the_same_id() {
    let mut desk = Desk::open().await;
    let sink = Sink::open(Answer::Head("500 Internal Server Error")).await;
    let (way, _) = webhook(&mut desk, &sink).await;
    let id = test(&mut desk, &way).await;
    desk.eventually_tried(1).await;
    for (tries, seconds) in [(2, 5), (3, 300)] {
        desk.stage.clock.advance(TimeDelta::seconds(seconds));
        desk.eventually_tried(tries).await;
    }
    sink.answers(Answer::Head("200 OK"));
    desk.stage.clock.advance(TimeDelta::minutes(30));
    desk.eventually(DeliveryState::Delivered, 1).await;
    let received = sink.received();
    assert_eq!(received.len(), 4);
    assert!(received.iter().all(|again| again.headers["webhook-id"] == id && again.body == received[0].body));
    assert_eq!(
        desk.delivery(&id).await.attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
}

#[tokio::test]
async fn an_endpoint_that_hangs_delays_nobody_else() {
    let mut desk = Desk::open().await;
    let (slow, fast) = (Sink::open(Answer::Hang).await, Sink::open(Answer::Head("200 OK")).await);
    let (slow_way, _) = webhook(&mut desk, &slow).await;
    let (fast_way, _) = webhook(&mut desk, &fast).await;
    for _ in 0..12 {
        test(&mut desk, &slow_way).await;
    }
    eventually("four are on their way", || async { (slow.received().len() == 4).then_some(()) }).await;
    let began = Instant::now();
    for _ in 0..12 {
        test(&mut desk, &fast_way).await;
    }
    desk.eventually(DeliveryState::Delivered, 12).await;
    assert!(began.elapsed().as_secs() < 8, "{:?}", began.elapsed());
    assert_eq!(slow.received().len(), 4, "no more than four at once");
}

#[tokio::test]
async fn a_crash_between_send_and_note_sends_once_more_with_the_same_id() {
    let mut desk = Desk::open().await;
    let sink = Sink::open(Answer::Hang).await;
    let (way, _) = webhook(&mut desk, &sink).await;
    let id = test(&mut desk, &way).await;
    eventually("the first is on its way", || async { (sink.received().len() == 1).then_some(()) }).await;
    // The process "dies": what it began stays open in the attempt log. Another takes over.
    sink.answers(Answer::Head("200 OK"));
    let folder = tempfile::tempdir().unwrap();
    desk.stage.tasks.stopping().cancel();
    let mut context = desk.stage.replica("notification", "two").await;
    context.tasks = kit::service::Tasks::default();
    context.readiness = kit::service::Readiness::default();
    notification::start(context.clone(), settings(&folder)).await.unwrap();
    // As long as the lease of the dead lasts it may be alive; it is looked at every five seconds.
    desk.stage.clock.advance(TimeDelta::seconds(4));
    desk.nothing_due().await;
    assert_eq!(desk.delivery(&id).await.attempts.len(), 1, "not before it is taken for lost");
    eventually("it is found well before a minute", || async {
        desk.stage.clock.advance(TimeDelta::milliseconds(50));
        (sink.received().len() == 2).then_some(())
    })
    .await;
    desk.eventually(DeliveryState::Delivered, 1).await;
    let received = sink.received();
    assert_eq!(
        received.iter().map(|received| received.headers["webhook-id"].clone()).collect::<Vec<_>>(),
        [id.clone(), id.clone()]
    );
    let outcomes: Vec<String> = desk.delivery(&id).await.attempts.into_iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, ["unknown", "delivered"]);
    context.tasks.stop().await;
}

//! What incidents make of clocks, on real Postgres and NATS: started, paused, met, told once, told
//! late, told without the owner, taken back.
use std::{collections::HashMap, sync::Arc};

use crate::desk::{Desk, at};
use chrono::TimeDelta;

use kit::{
    bus::time,
    config::Period,
    peer::Peers,
    service::{Context, Listen, Tasks},
    testing::eventually,
    token::Signer,
};
use proto::{
    common::v1::{ActorKind, Priority},
    incident::v1::{
        Acknowledged, Held, Incident, IncidentState, Noted, Opened, PriorityChanged, Resolved, Resumed,
        incident_event::What,
    },
    sla::v1::{ActivateAgreementRequest, ClockState, Metric, sla_event},
};
use sla::Settings;

fn moved(incident: &Incident, state: IncidentState, revision: i64) -> Incident {
    Incident { state: state.into(), revision, ..incident.clone() }
}

#[tokio::test]
async fn an_incident_starts_two_clocks_that_end_with_seeing_and_resolving_it() {
    let mut desk = Desk::open().await;
    desk.seed().await;
    desk.seed().await;
    let incident = desk.opens(Priority::P2, "", 2).await;
    let clocks = desk.clocks(&incident).await;
    let seconds: Vec<i64> = clocks.iter().map(|clock| clock.target_seconds).collect();
    assert_eq!(seconds, [30 * 60, 8 * 3_600]);
    assert_eq!(clocks[1].due_time.as_ref().and_then(time), Some(at("2026-03-02T17:00:00Z")));
    assert!(
        clocks[1]
            .explanation
            .starts_with("For P2 agreement \"Default\" (revision 2) allows 8 h to resolve, counted round the clock."),
        "{}",
        clocks[1].explanation
    );

    let mut seen = moved(&incident, IncidentState::Assigned, 2);
    seen.acknowledge_time = Some(kit::bus::timestamp(at("2026-03-02T09:10:00Z")));
    desk.say(&seen, What::Acknowledged(Acknowledged {}), at("2026-03-02T09:10:00Z"));
    let response = desk.clock_is(&incident, Metric::Response, ClockState::Met).await;
    assert_eq!((response.elapsed_seconds, response.breached), (600, false));

    desk.say(&moved(&seen, IncidentState::Resolved, 3), What::Resolved(Resolved {}), at("2026-03-02T10:00:00Z"));
    let resolution = desk.clock_is(&incident, Metric::Resolution, ClockState::Met).await;
    assert_eq!(desk.told(&resolution).await, ["clock_started", "clock_met"]);
    let met = desk.history(&resolution).await.pop().unwrap();
    let event = met.event.unwrap();
    let actor = event.actor.unwrap();
    assert_eq!((actor.kind(), actor.rule.as_str()), (ActorKind::System, "incident_resolved"));
    assert!(!actor.cause_event_id.is_empty());
    let Some(sla_event::Record::Clock(body)) = event.record else { panic!("the event has no clock") };
    assert_eq!(body, resolution, "the last event has the row");
}

#[tokio::test]
async fn pending_over_a_weekend_pauses_the_clock() {
    // A Friday afternoon.
    let mut desk = Desk::open_at("2026-03-06T15:00:00Z").await;
    desk.seed().await;
    let incident = desk.opens(Priority::P3, "", 2).await;
    desk.say(&moved(&incident, IncidentState::Pending, 2), What::Held(Held::default()), at("2026-03-06T16:00:00Z"));
    let paused = desk.clock_is(&incident, Metric::Resolution, ClockState::Paused).await;
    assert_eq!((paused.due_time, paused.elapsed_seconds), (None, 3_600));
    desk.advance(TimeDelta::days(14));
    desk.say(
        &moved(&incident, IncidentState::InProgress, 3),
        What::Resumed(Resumed::default()),
        at("2026-03-09T11:00:00Z"),
    );
    let running = desk.clock_is(&incident, Metric::Resolution, ClockState::Running).await;
    // 24 business hours: 1 on Friday, 6 on Monday, 8 on Tuesday and Wednesday, 1 on Thursday.
    assert_eq!(running.due_time.as_ref().and_then(time), Some(at("2026-03-12T10:00:00Z")));
    let waited: Vec<(bool, &str)> =
        running.segments.iter().map(|segment| (segment.counted, segment.reason.as_str())).collect();
    assert_eq!(waited, [(true, "running"), (false, "pending"), (true, "running")]);
}

#[tokio::test]
async fn at_risk_and_breach_are_told_once_also_when_the_service_was_away_when_they_were_due() {
    let mut desk = Desk::open().await;
    desk.seed().await;
    let incident = desk.opens(Priority::P1, "", 2).await;
    let at_risk = |clocks: &[proto::sla::v1::Clock]| clocks.len() == 2 && clocks[0].at_risk_time.is_some();
    desk.advance(TimeDelta::minutes(12));
    desk.until(&incident, "the response is at risk", at_risk).await;
    desk.stop().await;
    desk.advance(TimeDelta::hours(10));
    desk.start(|context| context, Settings::default()).await;
    let breached = |clocks: &[proto::sla::v1::Clock]| clocks.iter().filter(|clock| clock.breached).count() == 2;
    let clocks = desk.until(&incident, "both are breached", breached).await;
    assert_eq!(clocks[0].breach_time.as_ref().and_then(time), Some(at("2026-03-02T09:15:00Z")), "the instant due");
    assert_eq!(clocks[1].breach_time.as_ref().and_then(time), Some(at("2026-03-02T13:00:00Z")));
    assert!(clocks.iter().all(|clock| !clock.provisional));
    for clock in &clocks {
        assert_eq!(desk.told(clock).await, ["clock_started", "clock_at_risk", "clock_breached"]);
    }
    let told = desk.history(&clocks[0]).await.pop().unwrap();
    assert_eq!(told.at.as_ref().and_then(time), Some(at("2026-03-02T09:15:00Z")));

    desk.stop().await;
    desk.start(|context| context, Settings::default()).await;
    desk.say(&moved(&incident, IncidentState::Resolved, 2), What::Resolved(Resolved {}), at("2026-03-02T19:30:00Z"));
    desk.clock_is(&incident, Metric::Resolution, ClockState::Met).await;
    assert_eq!((desk.times_told("clock_at_risk").await, desk.times_told("clock_breached").await), (2, 2));
    let mut admin = desk.stage.admin().await;
    let timers: i64 = sqlx::query_scalar("select count(*) from sla.timer").fetch_one(&mut admin).await.unwrap();
    assert_eq!(timers, 0, "what is over waits for nothing");
}

#[tokio::test]
async fn what_was_due_before_an_event_is_told_before_it_though_no_sweep_saw_it() {
    let mut desk = Desk::open().await;
    desk.seed().await;
    let incident = desk.opens(Priority::P1, "", 2).await;
    // The owner's clock is ahead of ours: the sweep has nothing to do yet.
    desk.say(&moved(&incident, IncidentState::Resolved, 2), What::Resolved(Resolved {}), at("2026-03-02T09:20:00Z"));
    let met = desk.clock_is(&incident, Metric::Response, ClockState::Met).await;
    let history = desk.history(&met).await;
    let told: Vec<_> =
        history.iter().map(|entry| (entry.r#type.as_str(), entry.at.as_ref().and_then(time).unwrap())).collect();
    assert_eq!(
        told,
        [
            ("clock_started", at("2026-03-02T09:00:00Z")),
            ("clock_at_risk", at("2026-03-02T09:11:15Z")),
            ("clock_breached", at("2026-03-02T09:15:00Z")),
            ("clock_met", at("2026-03-02T09:20:00Z")),
        ]
    );
}

#[tokio::test]
async fn two_replicas_tell_it_once() {
    let mut desk = Desk::open().await;
    desk.seed().await;
    let tasks = Tasks::default();
    let listen = Listen::Tcp("127.0.0.1:0".parse().unwrap());
    let context = Context { tasks: tasks.clone(), listen, ..desk.stage.replica("sla", "two").await };
    sla::start(context, Settings::default()).await.unwrap();
    let mut incidents = Vec::new();
    for _ in 0..20 {
        incidents.push(desk.opens(Priority::P1, "", 2).await);
    }
    desk.advance(TimeDelta::minutes(20));
    for incident in &incidents {
        desk.until(incident, "the response is breached", |clocks| clocks[0].breached).await;
    }
    tasks.stop().await;
    assert_eq!((desk.times_told("clock_at_risk").await, desk.times_told("clock_breached").await), (20, 20));
}

#[tokio::test]
async fn resolved_in_time_is_no_breach_though_the_event_comes_late() {
    let mut desk = Desk::open().await;
    desk.seed().await;
    let incident = desk.opens(Priority::P1, "", 2).await;
    desk.stage.kill_nats();
    // The owner has it, nobody has said it, and the instant due passes.
    desk.say(&moved(&incident, IncidentState::Resolved, 2), What::Resolved(Resolved {}), at("2026-03-02T09:05:00Z"));
    desk.advance(TimeDelta::hours(6));
    for metric in [Metric::Response, Metric::Resolution] {
        let met = desk.clock_is(&incident, metric, ClockState::Met).await;
        assert_eq!(desk.told(&met).await, ["clock_started", "clock_met"], "{metric:?}");
        assert_eq!(met.stop_time.as_ref().and_then(time), Some(at("2026-03-02T09:05:00Z")));
    }
}

/// The service without a way to the incident service.
fn cut_off(context: Context) -> Context {
    let nowhere = HashMap::from([("incident".to_owned(), "unix:/nowhere/incident.sock".to_owned())]);
    let signer = Signer::new("sla", &[7; 32]).unwrap();
    Context { peers: Peers::new(signer, Arc::clone(&context.clock), &nowhere, None).unwrap(), ..context }
}

#[tokio::test]
async fn without_its_owner_a_breach_is_provisional_and_taken_back_by_what_comes_late() {
    let mut desk = Desk::open().await;
    desk.seed().await;
    let incident = desk.opens(Priority::P1, "", 2).await;
    desk.stop().await;
    let soon = Settings { provisional_after: Period::new(std::time::Duration::from_millis(300)) };
    desk.start(cut_off, soon).await;
    desk.say(&moved(&incident, IncidentState::Pending, 2), What::Held(Held::default()), at("2026-03-02T09:05:00Z"));
    desk.advance(TimeDelta::hours(2));
    let provisional = |clocks: &[proto::sla::v1::Clock]| clocks[0].breached && clocks[0].provisional;
    desk.until(&incident, "the response is breached as far as one knows", provisional).await;
    desk.stop().await;
    desk.start(|context| context, Settings::default()).await;
    let paused = desk.clock_is(&incident, Metric::Response, ClockState::Paused).await;
    assert_eq!((paused.breached, paused.provisional, paused.breach_time), (false, false, None));
    let told = desk.told(&paused).await;
    assert_eq!(
        told,
        ["clock_started", "clock_at_risk", "clock_breached", "clock_breach_withdrawn", "clock_paused"],
        "history is kept"
    );
    let withdrawn = desk.history(&paused).await.remove(3).event.unwrap().what;
    let Some(sla_event::What::ClockBreachWithdrawn(withdrawn)) = withdrawn else { panic!("{withdrawn:?}") };
    assert!(withdrawn.reason.contains("2026-03-02T09:05:00Z"), "{}", withdrawn.reason);
}

#[tokio::test]
async fn another_priority_is_counted_from_the_start() {
    let mut desk = Desk::open().await;
    desk.seed().await;
    let incident = desk.opens(Priority::P2, "", 2).await;
    let mut raised = moved(&incident, IncidentState::New, 2);
    raised.priority = Priority::P1.into();
    desk.say(&raised, What::PriorityChanged(PriorityChanged::default()), at("2026-03-02T09:10:00Z"));
    let recomputed = |clocks: &[proto::sla::v1::Clock]| clocks.iter().all(|clock| clock.priority() == Priority::P1);
    let clocks = desk.until(&incident, "the clocks are recomputed", recomputed).await;
    assert_eq!(clocks[1].due_time.as_ref().and_then(time), Some(at("2026-03-02T13:00:00Z")));
    assert_eq!(desk.told(&clocks[1]).await, ["clock_started", "clock_recomputed"]);
}

#[tokio::test]
async fn of_each_kind_the_services_own_agreement_covers_it_else_the_default() {
    let mut desk = Desk::open().await;
    desk.seed().await;
    let (shop, mail) = (desk.service("shop").await, desk.service("mail").await);
    let own = desk.draft("Shop", &shop).await;
    let request = ActivateAgreementRequest { id: own.id.clone(), ..ActivateAgreementRequest::default() };
    desk.client.activate_agreement(desk.stage.request(&desk.manager, request)).await.unwrap();
    let of_shop = desk.opens(Priority::P1, &shop, 1).await;
    let clocks = desk.clocks(&of_shop).await;
    assert_eq!((clocks[0].agreement_id.as_str(), clocks[0].target_seconds), (own.id.as_str(), 3_600));
    let of_mail = desk.opens(Priority::P1, &mail, 2).await;
    assert_eq!(desk.clocks(&of_mail).await[1].target_seconds, 4 * 3_600);
}

#[tokio::test]
async fn an_event_that_is_not_known_yet_is_a_plain_change_and_one_again_is_none() {
    let mut desk = Desk::open().await;
    desk.seed().await;
    let incident = desk.opens(Priority::P1, "", 2).await;
    let opened = desk.say(&incident, What::Opened(Opened {}), at("2026-03-02T09:00:00Z"));
    desk.incidents.publish(&opened).await;
    desk.incidents.publish(&opened).await;
    desk.say(&moved(&incident, IncidentState::Assigned, 3), What::Noted(Noted::default()), at("2026-03-02T09:01:00Z"));
    desk.say(
        &moved(&incident, IncidentState::InProgress, 4),
        What::Noted(Noted::default()),
        at("2026-03-02T09:02:00Z"),
    );
    let met = desk.clock_is(&incident, Metric::Response, ClockState::Met).await;
    assert_eq!(desk.told(&met).await, ["clock_started", "clock_met"]);
    assert_eq!(desk.clocks(&incident).await.len(), 2);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_set_aside_and_others_go_on() {
    let mut desk = Desk::open().await;
    desk.seed().await;
    desk.incidents.say(kit::id::draw(), "opened", at("2026-03-02T09:00:00Z"), vec![0xff, 0xff]);
    desk.opens(Priority::P1, "", 2).await;
    let database = desk.stage.database("sla");
    let aside = eventually("one is set aside", || async {
        kit::dead_letter::count(&database.workers, "sla").await.ok().filter(|count| *count > 0)
    })
    .await;
    assert_eq!(aside, 1);
}

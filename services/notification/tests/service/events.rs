//! What events of other services do: deliveries asked for, cancelled, repeated, told again.

use std::time::Duration;

use chrono::TimeDelta;
use kit::id::{TeamId, Tenant};
use prost::Message;
use proto::{
    alert::v1::{Alert, AlertEvent, AlertState, Severity, alert_event},
    incident::v1::{Incident, IncidentState},
    notification::v1::{DeliveryState, Method, Recipients, Rule},
    sla::v1::{Clock, Metric, SlaEvent, sla_event},
};

use crate::{
    desk::{Desk, incident, rule},
    sink::{Answer, Sink},
};

fn acknowledged(incident: &Incident) -> Incident {
    Incident {
        revision: incident.revision + 1,
        state: IncidentState::Assigned.into(),
        acknowledge_time: Some(prost_types::Timestamp::default()),
        ..incident.clone()
    }
}

fn moved(incident: &Incident, state: IncidentState) -> Incident {
    Incident { revision: incident.revision + 1, state: state.into(), ..incident.clone() }
}

#[tokio::test]
async fn the_assigned_team_is_mailed_once_else_the_administrators() {
    let mut desk = Desk::open().await;
    let team = TeamId::draw();
    let (ann, bob) = (desk.person(team).await, desk.person(TeamId::draw()).await);
    desk.member(&ann, team).await;
    let administrator = desk.administrator.clone();
    for (person, address) in
        [(&ann, "ann@example.com"), (&bob, "bob@example.com"), (&administrator, "admin@example.com")]
    {
        desk.contact(person, Method::Mail, address).await.unwrap();
    }
    desk.rule(rule("incident.opened")).await.unwrap();
    desk.rule(Rule { display_name: "the same again".to_owned(), ..rule("incident.opened") }).await.unwrap();

    let opened = incident(Some(team), 1);
    desk.incident_says(&opened, "opened").await;
    let delivered = desk.eventually(DeliveryState::Delivered, 1).await;
    assert_eq!(delivered[0].person_id, ann.id.to_string());
    assert_eq!(delivered[0].reason, "rule \"tell incident.opened\"");
    assert_eq!((delivered[0].subject_record_number.as_str(), delivered[0].sequence), ("INC0000042", 1));
    let mails = desk.mails();
    assert_eq!(mails.len(), 1, "two rules, one way, one mail");
    assert!(mails[0].contains("Subject: [P1] INC0000042 opened: Checkout is slow"), "{}", mails[0]);

    let orphan = incident(None, 2);
    desk.incident_says(&orphan, "opened").await;
    let delivered = desk.eventually(DeliveryState::Delivered, 2).await;
    assert_eq!(delivered[0].person_id, administrator.id.to_string());
    assert!(delivered[0].reason.ends_with("nobody else can be told"), "{}", delivered[0].reason);
}

#[tokio::test]
async fn somebody_who_joined_a_moment_ago_is_told() {
    let mut desk = Desk::open().await;
    let team = TeamId::draw();
    let ann = desk.person(team).await;
    desk.contact(&ann, Method::Mail, "ann@example.com").await.unwrap();
    desk.rule(Rule {
        recipients: Some(Recipients { assigned_team: true, ..Recipients::default() }),
        ..rule("incident.opened")
    })
    .await
    .unwrap();
    desk.caught_up().await;
    // The membership is in the directory's feed, and its message on NATS was lost.
    desk.member_quietly(&ann, team).await;
    desk.incident_says(&incident(Some(team), 1), "opened").await;
    desk.eventually(DeliveryState::Delivered, 1).await;
}

#[tokio::test]
async fn a_rule_tells_only_what_its_filter_holds_for() {
    let mut desk = Desk::open().await;
    let administrator = desk.administrator.clone();
    desk.contact(&administrator, Method::Mail, "admin@example.com").await.unwrap();
    desk.rule(Rule { filter: "priority = P1".to_owned(), ..rule("incident.opened") }).await.unwrap();
    desk.incident_says(&incident(None, 3), "opened").await;
    desk.incident_says(&incident(None, 1), "opened").await;
    let delivered = desk.eventually(DeliveryState::Delivered, 1).await;
    desk.caught_up().await;
    assert_eq!(desk.deliveries().await.len(), 1);
    assert!(desk.mails()[0].contains("[P1]"), "{delivered:?}");
}

#[tokio::test]
async fn what_waits_is_cancelled_when_somebody_has_seen_it_and_says_why() {
    let mut desk = Desk::open().await;
    let sink = Sink::open(Answer::Head("503 Service Unavailable")).await;
    let administrator = desk.administrator.clone();
    desk.contact(&administrator, Method::Webhook, &sink.url()).await.unwrap();
    for event in ["incident.opened", "incident.acknowledged", "incident.resolved"] {
        desk.rule(rule(event)).await.unwrap();
    }
    let opened = incident(None, 1);
    desk.incident_says(&opened, "opened").await;
    let waiting = desk.eventually_tried(1).await;
    assert_eq!(
        (waiting.attempts[0].outcome.as_str(), waiting.attempts[0].detail.as_str()),
        ("retry", "HTTP 503 Service Unavailable")
    );

    let seen = acknowledged(&opened);
    desk.incident_says(&seen, "acknowledged").await;
    let cancelled = desk.eventually(DeliveryState::Cancelled, 1).await;
    assert_eq!(
        (cancelled[0].event_type.as_str(), cancelled[0].reason.as_str()),
        ("incident.opened", "somebody has seen the incident")
    );
    let pending = desk.eventually(DeliveryState::Pending, 1).await;
    assert_eq!(pending[0].event_type, "incident.acknowledged", "the news itself is told");

    desk.incident_says(&moved(&seen, IncidentState::Resolved), "resolved").await;
    let cancelled = desk.eventually(DeliveryState::Cancelled, 2).await;
    assert!(cancelled.iter().any(|delivery| delivery.reason == "the incident is resolved"), "{cancelled:?}");
    sink.answers(Answer::Head("200 OK"));
    desk.stage.clock.advance(TimeDelta::minutes(10));
    let delivered = desk.eventually(DeliveryState::Delivered, 1).await;
    assert_eq!(delivered[0].event_type, "incident.resolved");
}

#[tokio::test]
async fn it_repeats_once_while_nobody_has_seen_it() {
    let mut desk = Desk::open().await;
    let administrator = desk.administrator.clone();
    desk.contact(&administrator, Method::Mail, "admin@example.com").await.unwrap();
    desk.rule(Rule { repeat_after_seconds: 600, ..rule("incident.opened") }).await.unwrap();
    let (ignored, seen) = (incident(None, 1), incident(None, 2));
    desk.incident_says(&ignored, "opened").await;
    desk.incident_says(&seen, "opened").await;
    desk.eventually(DeliveryState::Delivered, 2).await;
    desk.incident_says(&acknowledged(&seen), "acknowledged").await;
    desk.caught_up().await;

    desk.stage.clock.advance(TimeDelta::seconds(599));
    desk.nothing_due().await;
    assert_eq!(desk.deliveries().await.len(), 2, "not before its time");
    desk.stage.clock.advance(TimeDelta::seconds(2));
    let delivered = desk.eventually(DeliveryState::Delivered, 3).await;
    let repeat = delivered.iter().find(|delivery| delivery.sequence == 2).unwrap();
    assert_eq!(
        (repeat.subject_record_id.as_str(), repeat.reason.as_str()),
        (ignored.id.as_str(), "nobody acknowledged within 600 s")
    );
    assert!(desk.mails().iter().any(|mail| mail.contains("Subject: Reminder: [P1] INC0000042 opened")));
    desk.stage.clock.advance(TimeDelta::hours(5));
    desk.quiet().await;
    assert_eq!(desk.deliveries().await.len(), 3, "once");
}

fn clock(incident: &Incident, revision: i64) -> Clock {
    Clock {
        id: uuid::Uuid::from_u128(9).to_string(),
        revision,
        incident_id: incident.id.clone(),
        incident_number: incident.number.clone(),
        metric: Metric::Resolution.into(),
        priority: 1,
        ..Clock::default()
    }
}

#[tokio::test]
async fn a_breach_that_is_withdrawn_is_told_again_to_whom_it_was_told() {
    let mut desk = Desk::open().await;
    let administrator = desk.administrator.clone();
    desk.contact(&administrator, Method::Mail, "admin@example.com").await.unwrap();
    desk.rule(rule("sla.clock_breached")).await.unwrap();
    let incident = incident(None, 1);
    desk.incident_says(&incident, "opened").await;
    let id = uuid::Uuid::from_u128(9);
    for (revision, kind) in [(1, "clock_breached"), (2, "clock_breach_withdrawn")] {
        let event =
            SlaEvent { record: Some(sla_event::Record::Clock(clock(&incident, revision))), actor: None, what: None };
        desk.says("sla", id, kind, event.encode_to_vec(), true).await;
        desk.eventually(DeliveryState::Delivered, usize::try_from(revision).unwrap()).await;
    }
    let mails = desk.mails();
    assert!(mails.iter().any(|mail| mail.contains("INC0000042 breached: Checkout is slow")), "{mails:?}");
    assert!(mails.iter().any(|mail| mail.contains("not breached after all")), "{mails:?}");
}

#[tokio::test]
async fn an_alert_that_cleared_is_not_told_any_more() {
    let mut desk = Desk::open().await;
    let sink = Sink::open(Answer::Head("500 Internal Server Error")).await;
    let administrator = desk.administrator.clone();
    desk.contact(&administrator, Method::Webhook, &sink.url()).await.unwrap();
    desk.rule(Rule { filter: "severity <= high".to_owned(), ..rule("alert.raised") }).await.unwrap();
    let id = kit::id::draw();
    for (revision, kind, state) in [(1, "raised", AlertState::Active), (2, "cleared", AlertState::Cleared)] {
        let alert = Alert {
            id: id.to_string(),
            revision,
            severity: Severity::High.into(),
            title: "Disk full".to_owned(),
            state: state.into(),
            labels: [("host".to_owned(), "db1".to_owned())].into(),
            ..Alert::default()
        };
        let event = AlertEvent { record: Some(alert_event::Record::Alert(alert)), actor: None, what: None };
        desk.says("alert", id, kind, event.encode_to_vec(), true).await;
        if revision == 1 {
            desk.eventually_tried(1).await;
        }
    }
    let cancelled = desk.eventually(DeliveryState::Cancelled, 1).await;
    assert_eq!(cancelled[0].reason, "the alert cleared");
    let body: serde_json::Value = serde_json::from_str(&sink.received()[0].body).unwrap();
    assert_eq!((&body["type"], &body["data"]["alert"]["labels"]["host"]), (&"alert.raised".into(), &"db1".into()));
}

#[tokio::test]
async fn a_new_tenant_is_useful_at_once_and_asking_again_changes_nothing() {
    let desk = Desk::open().await;
    let tenant: Tenant = desk.stage.tenant.clone();
    for _ in 0..2 {
        desk.app.ensure_defaults(&tenant, desk.administrator.id, "admin@example.com").await.unwrap();
    }
    assert!(desk.app.ensure_defaults(&tenant, desk.administrator.id, "no address").await.is_err());
    desk.incident_says(&incident(Some(TeamId::draw()), 1), "opened").await;
    desk.eventually(DeliveryState::Delivered, 1).await;
    assert!(desk.mails()[0].contains("To: admin@example.com"));
    tokio::time::timeout(Duration::from_secs(5), desk.quiet()).await.unwrap();
    assert_eq!(desk.deliveries().await.len(), 1);
}

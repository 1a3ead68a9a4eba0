//! What callers see.

use futures::StreamExt;
use kit::{id::TeamId, testing::eventually};
use prost_types::FieldMask;
use proto::{
    common::v1::Role,
    notification::v1::{
        CancelDeliveryRequest, ContactMethod, CreateContactMethodRequest, CreateTemplateRequest, DeliveryState,
        DisableContactMethodRequest, GetContactMethodRequest, GetRuleRequest, ListContactMethodsRequest,
        ListDeliveryEventsRequest, ListNotificationRulesRequest, Method, Recipients, Rule, Template,
        TestContactMethodRequest, UpdateContactMethodRequest, UpdateRuleRequest, UpdateTemplateRequest,
        WatchDeliveriesRequest,
    },
};
use sqlx::Row;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::desk::{Desk, rule};

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

fn field(status: &Status) -> String {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    status.get_details_bad_request().unwrap().field_violations[0].field.clone()
}

#[tokio::test]
async fn an_address_is_seen_by_its_person_and_administrators_alone_and_never_enters_an_event() {
    let mut desk = Desk::open().await;
    let (ann, bob) = (desk.person(TeamId::draw()).await, desk.person(TeamId::draw()).await);
    let (way, secret) = desk.contact(&ann, Method::Mail, "ann@example.com").await.unwrap();
    assert_eq!((way.address.as_str(), secret.as_str()), ("ann@example.com", ""));
    for (person, seen) in [(&ann, "ann@example.com"), (&bob, ""), (&desk.administrator, "ann@example.com")] {
        let get = GetContactMethodRequest { id: way.id.clone() };
        let got = desk.client.clone().get_contact_method(desk.stage.request(person, get)).await.unwrap().into_inner();
        let list = desk.stage.request(person, ListContactMethodsRequest::default());
        let listed = desk.client.clone().list_contact_methods(list).await.unwrap().into_inner().contact_methods;
        assert_eq!((got.address.as_str(), listed[0].address.as_str()), (seen, seen));
    }
    let disable = DisableContactMethodRequest { id: way.id.clone(), ..Default::default() };
    let refused = desk.client.disable_contact_method(desk.stage.request(&bob, disable.clone())).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let disabled = desk.client.disable_contact_method(desk.stage.request(&ann, disable)).await.unwrap().into_inner();
    assert_eq!(
        (disabled.address.as_str(), disabled.state_reason.as_str()),
        ("ann@example.com", "disabled by a person")
    );

    let mut admin = desk.stage.admin().await;
    let bodies = sqlx::query("select body from notification.journal").fetch_all(&mut admin).await.unwrap();
    assert_eq!(bodies.len(), 2);
    for row in bodies {
        let body: Vec<u8> = row.get("body");
        assert!(!String::from_utf8_lossy(&body).contains("ann@example"));
    }
}

#[tokio::test]
async fn a_webhook_comes_with_a_secret_that_is_kept_sealed() {
    let mut desk = Desk::open().await;
    let ann = desk.person(TeamId::draw()).await;
    let wanted = ContactMethod {
        method: Method::Webhook.into(),
        address: "https://hooks.example.com/ann?token=1".to_owned(),
        ..ContactMethod::default()
    };
    let message = CreateContactMethodRequest { contact_method: Some(wanted), request_id: "one".to_owned() };
    let mut create = async || {
        let request = desk.stage.request(&ann, message.clone());
        desk.client.create_contact_method(request).await.unwrap().into_inner()
    };
    let first = create().await;
    assert!(first.signing_secret.starts_with("whsec_"));
    assert_eq!(create().await, first, "the same request gets the first answer");

    let mut admin = desk.stage.admin().await;
    let rows =
        sqlx::query("select sealed_secret from notification.contact_methods").fetch_all(&mut admin).await.unwrap();
    assert_eq!(rows.len(), 1);
    let sealed: Vec<u8> = rows[0].get(0);
    assert!(sealed.len() > 24 && !first.signing_secret.is_empty());
    assert!(!String::from_utf8_lossy(&sealed).contains(&first.signing_secret[6..]));
}

#[tokio::test]
async fn what_could_not_work_is_refused_when_it_is_saved() {
    let mut desk = Desk::open().await;
    let ann = desk.person(TeamId::draw()).await;
    for (method, address) in [
        (Method::Mail, "ann"),
        (Method::Mail, "ann@example.com\r\nBcc: eve@example.com"),
        (Method::Mail, "ann\u{2028}@example.com"),
        (Method::Webhook, "http://example.com/"),
        (Method::Webhook, "https://169.254.169.254/latest"),
        (Method::Webhook, "https://[::ffff:10.0.0.1]/"),
        (Method::Webhook, "https://example.com:22/"),
        (Method::Webhook, "https://user:password@example.com/"),
    ] {
        assert_eq!(
            field(&desk.contact(&ann, method, address).await.unwrap_err()),
            "contact_method.address",
            "{address}"
        );
    }
    let unspecified = desk.contact(&ann, Method::Unspecified, "ann@example.com").await.unwrap_err();
    assert_eq!(field(&unspecified), "contact_method.method");

    let nobody = Some(Recipients::default());
    let stranger = Some(Recipients { person_ids: vec![kit::id::draw().to_string()], ..Recipients::default() });
    let opened = || rule("incident.opened");
    for (wanted, path) in [
        (rule("incident.exploded"), "rule.event_type"),
        (Rule { filter: "colour = red".to_owned(), ..opened() }, "rule.filter"),
        (Rule { filter: "priority <".to_owned(), ..opened() }, "rule.filter"),
        (Rule { recipients: nobody, ..opened() }, "rule.recipients"),
        (Rule { recipients: stranger, ..opened() }, "rule.recipients.person_ids"),
        (Rule { template_id: kit::id::draw().to_string(), ..opened() }, "rule.template_id"),
        (Rule { repeat_after_seconds: -1, ..opened() }, "rule.repeat_after_seconds"),
        (Rule { repeat_after_seconds: 60, ..rule("change.failed") }, "rule.repeat_after_seconds"),
        (Rule { display_name: String::new(), ..opened() }, "rule.display_name"),
        (Rule { methods: vec![9], ..opened() }, "rule.methods"),
    ] {
        assert_eq!(field(&desk.rule(wanted).await.unwrap_err()), path);
    }
    let list = desk.stage.request(&ann, ListNotificationRulesRequest::default());
    assert!(desk.client.list_notification_rules(list).await.unwrap().into_inner().notification_rules.is_empty());
}

async fn create_template(desk: &mut Desk, name: &str, subject: &str, body: &str) -> Result<Template, Status> {
    let template = Template {
        name: name.to_owned(),
        display_name: "A text".to_owned(),
        subject: subject.to_owned(),
        body: body.to_owned(),
        ..Template::default()
    };
    let message = CreateTemplateRequest { template: Some(template), request_id: String::new() };
    Ok(desk.client.create_template(desk.stage.request(&desk.administrator, message)).await?.into_inner())
}

#[tokio::test]
async fn a_template_is_tried_when_it_is_saved_and_must_go_on_fitting_its_rules() {
    let mut desk = Desk::open().await;
    for (subject, body, path) in [
        ("{{ incident.titel }}", "text", "template.subject"),
        ("subject", "{{ incident.title", "template.body"),
        ("subject", "{% include 'other' %}", "template.body"),
        (
            "subject",
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
            "template.body",
        ),
    ] {
        assert_eq!(field(&create_template(&mut desk, "short", subject, body).await.unwrap_err()), path, "{body}");
    }
    let template = create_template(&mut desk, "short", "{{ record.number }}", "{{ incident.priority }}").await.unwrap();
    let taken = create_template(&mut desk, "short", "x", "y").await.unwrap_err();
    assert_eq!((taken.code(), reason(&taken).as_str()), (Code::AlreadyExists, "TEMPLATE_NAME_TAKEN"));

    let unfit = Rule { template_id: template.id.clone(), ..rule("alert.raised") };
    assert_eq!(field(&desk.rule(unfit).await.unwrap_err()), "rule.template_id");
    desk.rule(Rule { template_id: template.id.clone(), ..rule("incident.opened") }).await.unwrap();
    let mut update = UpdateTemplateRequest {
        template: Some(Template { body: "{{ alert.severity }}".to_owned(), ..template.clone() }),
        update_mask: Some(FieldMask { paths: vec!["body".to_owned()] }),
        request_id: String::new(),
    };
    let refused =
        desk.client.update_template(desk.stage.request(&desk.administrator, update.clone())).await.unwrap_err();
    assert_eq!(field(&refused), "template.body");
    update.template = Some(Template { body: "{{ incident.state }}".to_owned(), ..template });
    let updated =
        desk.client.update_template(desk.stage.request(&desk.administrator, update)).await.unwrap().into_inner();
    assert_eq!((updated.revision, updated.body.as_str()), (2, "{{ incident.state }}"));
}

#[tokio::test]
async fn an_update_names_what_changes_and_what_it_is_based_on() {
    let mut desk = Desk::open().await;
    let ann = desk.person(TeamId::draw()).await;
    let (way, _) = desk.contact(&ann, Method::Mail, "ann@example.com").await.unwrap();
    let update = |paths: &[&str], revision| {
        let message = UpdateContactMethodRequest {
            contact_method: Some(ContactMethod { revision, address: "new@example.com".to_owned(), ..way.clone() }),
            update_mask: Some(FieldMask { paths: paths.iter().map(|&path| path.to_owned()).collect() }),
            request_id: String::new(),
        };
        let request = desk.stage.request(&ann, message);
        let mut client = desk.client.clone();
        async move { client.update_contact_method(request).await.map(tonic::Response::into_inner) }
    };
    assert_eq!(field(&update(&[], 1).await.unwrap_err()), "update_mask");
    assert_eq!(field(&update(&["state"], 1).await.unwrap_err()), "update_mask");
    assert_eq!(field(&update(&["address"], 0).await.unwrap_err()), "contact_method.revision");
    let updated = update(&["address"], 1).await.unwrap();
    assert_eq!((updated.address.as_str(), updated.revision), ("new@example.com", 2));
    let stale = update(&["display_name"], 1).await.unwrap_err();
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::Aborted, "STALE_REVISION"));

    let rule = desk.rule(rule("incident.opened")).await.unwrap();
    let message = UpdateRuleRequest {
        rule: Some(Rule { filter: "priority <= P2".to_owned(), ..rule.clone() }),
        update_mask: Some(FieldMask { paths: vec!["filter".to_owned()] }),
        request_id: String::new(),
    };
    let refused = desk.client.update_rule(desk.stage.request(&ann, message.clone())).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "a responder changes no rules");
    let updated = desk.client.update_rule(desk.stage.request(&desk.administrator, message)).await.unwrap().into_inner();
    assert_eq!((updated.filter.as_str(), updated.event_type.as_str()), ("priority <= P2", "incident.opened"));
}

#[tokio::test]
async fn a_test_message_goes_the_ordinary_way_and_can_be_watched() {
    let mut desk = Desk::open().await;
    let ann = desk.person(TeamId::draw()).await;
    let (way, _) = desk.contact(&ann, Method::Mail, "ann@example.com").await.unwrap();
    let watch = WatchDeliveriesRequest { filter: format!("person_id = {}", ann.id), ..Default::default() };
    let mut watched = desk.client.watch_deliveries(desk.stage.request(&ann, watch)).await.unwrap().into_inner();
    let test = TestContactMethodRequest { id: way.id.clone(), ..Default::default() };
    let delivery = desk.client.test_contact_method(desk.stage.request(&ann, test.clone())).await.unwrap().into_inner();
    assert_eq!((delivery.event_type.as_str(), delivery.state()), ("notification.test", DeliveryState::Pending));

    desk.eventually(DeliveryState::Delivered, 1).await;
    let got = desk.delivery(&delivery.id).await;
    assert_eq!((got.attempt_count, got.attempts.len(), got.attempts[0].outcome.as_str()), (1, 1, "delivered"));
    assert!(got.deliver_time.is_some() && got.next_attempt_time.is_none() && got.attempts[0].end_time.is_some());
    let mails = desk.mails();
    assert_eq!(mails.len(), 1);
    for line in ["To: ann@example.com", "Subject: Test message", &format!("Message-ID: <{}@localhost>", delivery.id)] {
        assert!(mails[0].lines().any(|found| found == line), "{line} is not in {}", mails[0]);
    }
    for expected in ["delivery_requested", "delivered"] {
        assert_eq!(watched.next().await.unwrap().unwrap().r#type, expected);
    }
    let history = ListDeliveryEventsRequest { id: delivery.id.clone(), ..Default::default() };
    let history = desk.client.list_delivery_events(desk.stage.request(&ann, history)).await.unwrap().into_inner();
    assert_eq!(history.events.len(), 2);

    let cancel = CancelDeliveryRequest { id: delivery.id, ..Default::default() };
    let over = desk.client.cancel_delivery(desk.stage.request(&ann, cancel)).await.unwrap_err();
    assert_eq!((over.code(), reason(&over).as_str()), (Code::FailedPrecondition, "DELIVERY_OVER"));
    let disable = DisableContactMethodRequest { id: way.id, ..Default::default() };
    desk.client.disable_contact_method(desk.stage.request(&ann, disable)).await.unwrap();
    let disabled = desk.client.test_contact_method(desk.stage.request(&ann, test)).await.unwrap_err();
    assert_eq!(reason(&disabled), "CONTACT_METHOD_DISABLED");
}

#[tokio::test]
async fn another_tenant_sees_nothing() {
    let mut desk = Desk::open().await;
    let ann = desk.person(TeamId::draw()).await;
    let (way, _) = desk.contact(&ann, Method::Mail, "ann@example.com").await.unwrap();
    let rule = desk.rule(rule("incident.opened")).await.unwrap();
    let mut other = desk.stage.person(Role::Administrator, TeamId::draw());
    other.tenant = kit::id::Tenant { id: kit::id::draw().into(), slug: "other".to_owned() };
    let get = desk.stage.request(&other, GetContactMethodRequest { id: way.id });
    assert_eq!(desk.client.get_contact_method(get).await.unwrap_err().code(), Code::NotFound);
    let get = desk.stage.request(&other, GetRuleRequest { id: rule.id });
    assert_eq!(desk.client.get_rule(get).await.unwrap_err().code(), Code::NotFound);
    let list = desk.stage.request(&other, ListContactMethodsRequest::default());
    assert!(desk.client.list_contact_methods(list).await.unwrap().into_inner().contact_methods.is_empty());
    eventually("nothing", || async { desk.deliveries().await.is_empty().then_some(()) }).await;
}

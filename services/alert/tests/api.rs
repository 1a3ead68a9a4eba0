//! The gRPC of the alert service on real Postgres and NATS: what callers see.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod desk;

use std::time::Duration;

use desk::Desk;
use futures::StreamExt;
use kit::{
    caller::Person,
    id::{TeamId, TenantId},
};
use proto::{
    alert::v1::{
        AlertState, ClearAlertRequest, ClearReason, CreateIntegrationRequest, DisableIntegrationRequest,
        EnableIntegrationRequest, GetAlertRequest, GetIntegrationRequest, Integration, IntegrationState,
        ListIntegrationEventsRequest, ListIntegrationsRequest, ListRejectedAlertsRequest, RotateIntegrationKeyRequest,
        Severity, UpdateIntegrationRequest, WatchAlertsRequest, WatchIntegrationsRequest,
        internal_client::InternalClient,
    },
    common::v1::{Impact, LookupRequest, Role, SnapshotRequest},
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

const FIRING: &str = r#"{"dedup_key": "disk", "title": "Disk full", "severity": "critical"}"#;

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

fn field(status: &Status) -> String {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    status.get_details_bad_request().unwrap().field_violations[0].field.clone()
}

fn update(integration: Integration, paths: &[&str]) -> UpdateIntegrationRequest {
    UpdateIntegrationRequest {
        integration: Some(integration),
        update_mask: Some(prost_types::FieldMask { paths: paths.iter().map(|&path| path.to_owned()).collect() }),
        request_id: String::new(),
    }
}

#[tokio::test]
async fn an_integration_is_made_changed_disabled_and_its_history_says_so() {
    let (mut desk, made) = Desk::open().await;
    let integration = made.integration.unwrap();
    assert!(made.key.starts_with("itsm_int_") && made.key.starts_with(&integration.key_hint));
    assert_eq!((integration.state(), integration.open_incident_from()), (IntegrationState::Active, Severity::Medium));

    let changed = Integration {
        open_incident_from: Severity::High.into(),
        display_name: "Night watch".to_owned(),
        ..integration.clone()
    };
    let request = update(changed.clone(), &["open_incident_from"]);
    let updated =
        desk.client.update_integration(desk.stage.request(&desk.manager, request)).await.unwrap().into_inner();
    assert_eq!((updated.open_incident_from(), updated.revision), (Severity::High, 2));
    assert_eq!(updated.display_name, "The demo", "only what the mask names changes");
    let stale = update(changed, &["open_incident_from"]);
    let stale = desk.client.update_integration(desk.stage.request(&desk.manager, stale)).await.unwrap_err();
    assert_eq!((stale.code(), reason(&stale)), (Code::Aborted, "STALE_REVISION".to_owned()));

    let id = integration.id.clone();
    for _ in 0..2 {
        let disable = DisableIntegrationRequest { id: id.clone(), ..Default::default() };
        let disabled = desk.client.disable_integration(desk.stage.request(&desk.manager, disable)).await.unwrap();
        assert_eq!(disabled.into_inner().state(), IntegrationState::Disabled);
    }
    let enable = EnableIntegrationRequest { id: id.clone(), ..Default::default() };
    desk.client.enable_integration(desk.stage.request(&desk.manager, enable)).await.unwrap();
    let rotate = RotateIntegrationKeyRequest { id: id.clone(), request_id: "r".to_owned(), ..Default::default() };
    let rotated = desk
        .client
        .rotate_integration_key(desk.stage.request(&desk.manager, rotate.clone()))
        .await
        .unwrap()
        .into_inner();
    assert_ne!(rotated.key, made.key);
    let again =
        desk.client.rotate_integration_key(desk.stage.request(&desk.manager, rotate)).await.unwrap().into_inner();
    assert_eq!((again.integration, again.key.as_str()), (rotated.integration, ""), "a key is shown once");

    let message = ListIntegrationEventsRequest { id, ..Default::default() };
    let history = desk.client.list_integration_events(desk.stage.request(&desk.manager, message)).await.unwrap();
    let history: Vec<String> = history.into_inner().events.into_iter().map(|entry| entry.r#type).collect();
    assert_eq!(
        history,
        [
            "integration_created",
            "integration_changed",
            "integration_disabled",
            "integration_enabled",
            "integration_key_rotated"
        ]
    );
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_with_the_field_and_leaves_no_trace() {
    let (mut desk, made) = Desk::open().await;
    let taken = desk.integrate("demo").await.unwrap_err();
    assert_eq!((taken.code(), reason(&taken)), (Code::AlreadyExists, "INTEGRATION_NAME_TAKEN".to_owned()));
    for name in ["", "Not A Slug", &"x".repeat(41)] {
        assert_eq!(field(&desk.integrate(name).await.unwrap_err()), "integration.name");
    }
    let cases = [
        (Integration { display_name: " ".to_owned(), ..Default::default() }, "integration.display_name"),
        (Integration { team_id: "x".to_owned(), ..Default::default() }, "integration.team_id"),
        (Integration { team_id: TeamId::draw().to_string(), ..Default::default() }, "integration.team_id"),
        (Integration { service_id: kit::id::draw().to_string(), ..Default::default() }, "integration.service_id"),
        (Integration { open_incident_from: 77, ..Default::default() }, "integration.open_incident_from"),
    ];
    let administrator = desk.stage.person(Role::Administrator, TeamId::draw());
    for (case, at) in cases {
        let display_name = if case.display_name.is_empty() { "Other".to_owned() } else { case.display_name.clone() };
        let integration = Integration { name: "other".to_owned(), display_name, ..case };
        let message = CreateIntegrationRequest { integration: Some(integration), request_id: String::new() };
        let refused = desk.client.create_integration(desk.stage.request(&administrator, message)).await.unwrap_err();
        assert_eq!(field(&refused), at);
    }
    let integration = made.integration.unwrap();
    for (paths, at) in [(&["name"][..], "update_mask"), (&[][..], "update_mask")] {
        let request = update(integration.clone(), paths);
        let refused = desk.client.update_integration(desk.stage.request(&desk.manager, request)).await.unwrap_err();
        assert_eq!(field(&refused), at);
    }
    let bad = ListIntegrationsRequest { filter: "colour = red".to_owned(), ..Default::default() };
    assert_eq!(
        field(&desk.client.list_integrations(desk.stage.request(&desk.manager, bad)).await.unwrap_err()),
        "filter"
    );
    assert_eq!(desk.count("select count(*) from alert.integrations").await, 1);
    assert_eq!(desk.count("select count(*) from alert.journal").await, 1);
}

#[tokio::test]
async fn an_integration_leads_to_a_service_of_the_catalog() {
    let (mut desk, made) = Desk::open().await;
    let team = TeamId::draw();
    let service = desk.service("storage", team, Impact::Extensive).await;
    let changed = Integration { service_id: service.to_string(), ..made.integration.unwrap() };
    desk.client.update_integration(desk.stage.request(&desk.manager, update(changed, &["service_id"]))).await.unwrap();
    desk.publish(FIRING).await;
    let alert = desk.eventually_alerts("", 1).await.remove(0);
    assert_eq!((alert.service_id, alert.team_id), (service.to_string(), team.to_string()));
    assert_eq!(alert.impact, i32::from(Impact::Extensive));
}

#[tokio::test]
async fn a_person_clears_an_alert_once_and_only_with_a_role_in_its_team() {
    let (mut desk, _) = Desk::open().await;
    let team = TeamId::draw();
    desk.service("storage", team, Impact::Moderate).await;
    desk.publish(r#"{"dedup_key": "disk", "title": "Disk full", "labels": {"service": "storage"}}"#).await;
    let alert = desk.eventually_alerts("", 1).await.remove(0);
    let clear = |revision| ClearAlertRequest { id: alert.id.clone(), revision, request_id: String::new() };
    let denied = desk.client.clear_alert(desk.stage.request(&desk.manager, clear(None))).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let responder = desk.stage.person(Role::Responder, team);
    let stale = desk.client.clear_alert(desk.stage.request(&responder, clear(Some(7)))).await.unwrap_err();
    assert_eq!(reason(&stale), "STALE_REVISION");
    for _ in 0..2 {
        let cleared = desk.client.clear_alert(desk.stage.request(&responder, clear(None))).await.unwrap().into_inner();
        assert_eq!((cleared.state(), cleared.clear_reason()), (AlertState::Cleared, ClearReason::Person));
        assert_eq!(cleared.revision, 2);
    }
    assert_eq!(desk.history(&alert.id).await, ["raised", "cleared"]);
    // Said again by the source after that, it is a new episode.
    desk.stage.clock.advance(chrono::TimeDelta::seconds(1));
    desk.publish(r#"{"dedup_key": "disk", "title": "Disk full"}"#).await;
    assert_ne!(desk.eventually_alerts("state = ACTIVE", 1).await[0].id, alert.id);
}

#[tokio::test]
async fn lists_filter_and_page() {
    let (desk, _) = Desk::open().await;
    for number in 0..5 {
        let severity = if number % 2 == 0 { "critical" } else { "info" };
        desk.publish(&format!(r#"{{"dedup_key": "k{number}", "title": "T", "severity": "{severity}"}}"#)).await;
    }
    desk.eventually_alerts("", 5).await;
    assert_eq!(desk.alerts("severity = CRITICAL").await.len(), 3);
    assert_eq!(desk.alerts(r#"dedup_key = "k1""#).await.len(), 1);
    assert!(!desk.alerts("severity = INFO").await[0].opens_incident);
    let mut keys = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = proto::alert::v1::ListAlertsRequest { page_size: 2, page_token, ..Default::default() };
        let page =
            desk.client.clone().list_alerts(desk.stage.request(&desk.manager, message)).await.unwrap().into_inner();
        keys.extend(page.alerts.into_iter().map(|alert| alert.dedup_key));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    keys.sort();
    assert_eq!(keys, ["k0", "k1", "k2", "k3", "k4"]);
}

#[tokio::test]
async fn a_watch_sees_its_kind_of_record_and_goes_on_after_a_cursor() {
    let (mut desk, made) = Desk::open().await;
    let start_time = Some(kit::bus::timestamp(chrono::DateTime::UNIX_EPOCH));
    let message = WatchAlertsRequest { start_time, filter: "severity = CRITICAL".to_owned(), ..Default::default() };
    let mut watch = desk.client.watch_alerts(desk.stage.request(&desk.manager, message)).await.unwrap().into_inner();
    desk.publish(r#"{"dedup_key": "a", "title": "A", "severity": "info"}"#).await;
    desk.publish(r#"{"dedup_key": "b", "title": "B", "severity": "critical"}"#).await;
    desk.publish(r#"{"dedup_key": "b", "title": "B", "severity": "critical", "status": "cleared"}"#).await;
    let mut cursor = String::new();
    for wanted in ["raised", "cleared"] {
        let entry = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(entry.r#type, wanted);
        if wanted == "raised" {
            cursor = entry.cursor;
        }
    }
    let message = WatchAlertsRequest { cursor, ..Default::default() };
    let mut watch = desk.client.watch_alerts(desk.stage.request(&desk.manager, message)).await.unwrap().into_inner();
    let entry = tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(entry.r#type, "cleared");

    let message = WatchIntegrationsRequest { start_time, ..Default::default() };
    let watch = desk.client.watch_integrations(desk.stage.request(&desk.manager, message)).await.unwrap();
    let entry =
        tokio::time::timeout(Duration::from_secs(10), watch.into_inner().next()).await.unwrap().unwrap().unwrap();
    assert_eq!((entry.r#type.as_str(), entry.record_id), ("integration_created", made.integration.unwrap().id));
}

#[tokio::test]
async fn another_tenant_sees_nothing_of_it() {
    let (mut desk, made) = Desk::open().await;
    desk.publish(FIRING).await;
    desk.publish("not json").await;
    let alert = desk.eventually_alerts("", 1).await.remove(0);
    desk.drained().await;
    let stranger = Person {
        tenant: kit::id::Tenant { id: TenantId::draw(), slug: "globex".to_owned() },
        administrator: true,
        ..desk.stage.person(Role::Administrator, TeamId::draw())
    };
    let get = desk.stage.request(&stranger, GetAlertRequest { id: alert.id.clone() });
    assert_eq!(desk.client.get_alert(get).await.unwrap_err().code(), Code::NotFound);
    let id = made.integration.unwrap().id;
    let get = desk.stage.request(&stranger, GetIntegrationRequest { id: id.clone() });
    assert_eq!(desk.client.get_integration(get).await.unwrap_err().code(), Code::NotFound);
    let clear = ClearAlertRequest { id: alert.id, ..Default::default() };
    assert_eq!(desk.client.clear_alert(desk.stage.request(&stranger, clear)).await.unwrap_err().code(), Code::NotFound);
    let rotate = RotateIntegrationKeyRequest { id, ..Default::default() };
    let refused = desk.client.rotate_integration_key(desk.stage.request(&stranger, rotate)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let rejected =
        desk.client.list_rejected_alerts(desk.stage.request(&stranger, ListRejectedAlertsRequest::default()));
    assert_eq!(rejected.await.unwrap().into_inner().rejected_alerts, []);
    assert_eq!(desk.rejected().await.len(), 1);
}

#[tokio::test]
async fn other_services_read_every_record_and_look_one_up() {
    let (desk, made) = Desk::open().await;
    desk.publish(FIRING).await;
    let alert = desk.eventually_alerts("", 1).await.remove(0);
    let mut internal = InternalClient::new(desk.stage.channel("alert"));
    let tenant_id = desk.stage.tenant.id.to_string();
    let (mut records, mut page_token) = (Vec::new(), String::new());
    loop {
        let message = SnapshotRequest { tenant_id: tenant_id.clone(), page_token };
        let page =
            internal.snapshot(desk.stage.service_request("incident", "alert", message)).await.unwrap().into_inner();
        records.extend(page.entries.into_iter().map(|entry| entry.record_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(records, [made.integration.unwrap().id, alert.id.clone()]);
    let message = LookupRequest { tenant_id: tenant_id.clone(), record_id: alert.id };
    let found = internal.lookup(desk.stage.service_request("incident", "alert", message)).await.unwrap().into_inner();
    assert_eq!(found.entry.unwrap().revision, 1);
    let message = LookupRequest { tenant_id, record_id: kit::id::draw().to_string() };
    let absent = internal.lookup(desk.stage.service_request("incident", "alert", message)).await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
}

#[tokio::test]
async fn setting_up_twice_makes_one_integration_with_the_key_given() {
    let (desk, _) = Desk::open().await;
    let (tenant, key) = (desk.stage.tenant.clone(), "itsm_int_given".to_owned());
    let made = desk.app.ensure_integration(tenant.clone(), "up", "By set-up", Some(key.clone())).await.unwrap();
    assert_eq!(made, Some(key.clone()));
    let again = desk.app.ensure_integration(tenant, "up", "By set-up", Some(key.clone())).await.unwrap();
    assert_eq!(again, None);
    assert_eq!(desk.count("select count(*) from alert.integrations where name = 'up'").await, 1);
}

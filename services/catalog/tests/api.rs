//! The gRPC of the catalog service on real Postgres and NATS: what callers see.

use crate::desk::{Desk, field, reason};
use kit::{
    caller::Person,
    id::{TeamId, Tenant, TenantId},
};
use proto::{
    catalog::v1::{
        ActivateConfigurationItemRequest, ActivateServiceRequest, ConfigurationItem, GetConfigurationItemRequest,
        GetServiceRequest, LifecycleState, ListConfigurationItemEventsRequest, ListConfigurationItemsRequest,
        ListServiceEventsRequest, ListServicesRequest, RetireServiceRequest, Service, UpdateConfigurationItemRequest,
        UpdateServiceRequest, WatchConfigurationItemsRequest, WatchServicesRequest, internal_client::InternalClient,
    },
    common::v1::{Impact, LookupRequest, Role, SnapshotRequest},
};
use tonic::Code;
use tonic_types::StatusExt;

fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: paths.iter().map(|&path| path.to_owned()).collect() })
}

#[tokio::test]
async fn a_service_is_planned_goes_live_and_is_retired_and_its_history_says_so() {
    let desk = Desk::open().await;
    let mut client = desk.client.clone();
    let planned = Service { state: LifecycleState::Planned.into(), ..desk.service("shop") };
    let service = desk.create(planned, "").await.unwrap();
    assert_eq!((service.state(), service.revision), (LifecycleState::Planned, 1));

    let wanted = Service { id: service.id.clone(), revision: 1, impact: Impact::Minor.into(), ..Service::default() };
    let update = UpdateServiceRequest { service: Some(wanted), update_mask: mask(&["impact"]), ..Default::default() };
    let changed = client.update_service(desk.stage.request(&desk.manager, update)).await.unwrap().into_inner();
    assert_eq!((changed.impact(), changed.display_name.as_str()), (Impact::Minor, "The shop"));

    let activate = ActivateServiceRequest { id: service.id.clone(), revision: Some(2), ..Default::default() };
    let live = client.activate_service(desk.stage.request(&desk.manager, activate.clone())).await.unwrap();
    assert_eq!(live.into_inner().state(), LifecycleState::Live);
    let stale = client.activate_service(desk.stage.request(&desk.manager, activate)).await.unwrap_err();
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::Aborted, "STALE_REVISION"));

    let retire = RetireServiceRequest { id: service.id.clone(), ..Default::default() };
    for _ in 0..2 {
        let retired = client.retire_service(desk.stage.request(&desk.manager, retire.clone())).await.unwrap();
        assert_eq!((retired.get_ref().state(), retired.get_ref().revision), (LifecycleState::Retired, 4));
    }
    let again = ActivateServiceRequest { id: service.id.clone(), ..Default::default() };
    let refused = client.activate_service(desk.stage.request(&desk.manager, again)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "CATALOG_ILLEGAL_MOVE"));
    assert!(refused.message().contains("legal now: nothing"), "{}", refused.message());

    let history = ListServiceEventsRequest { id: service.id, ..Default::default() };
    let events = client.list_service_events(desk.stage.request(&desk.manager, history)).await.unwrap().into_inner();
    let types: Vec<&str> = events.events.iter().map(|entry| entry.r#type.as_str()).collect();
    assert_eq!(types, ["service_created", "service_changed", "service_activated", "service_retired"]);
}

#[tokio::test]
async fn a_record_is_live_unless_it_is_created_planned() {
    let desk = Desk::open().await;
    for (name, asked, begins) in [
        ("none", LifecycleState::Unspecified, LifecycleState::Live),
        ("planned", LifecycleState::Planned, LifecycleState::Planned),
        ("retired", LifecycleState::Retired, LifecycleState::Live),
    ] {
        let service = Service { state: asked.into(), ..desk.service(name) };
        assert_eq!(desk.create(service, "").await.unwrap().state(), begins, "{name}");
        let item = ConfigurationItem { state: asked.into(), ..desk.item(name) };
        assert_eq!(desk.create_item(item).await.unwrap().state(), begins, "{name}");
    }
}

#[tokio::test]
async fn a_name_is_given_once_a_tenant_and_noun() {
    let desk = Desk::open().await;
    desk.create(desk.service("shop"), "").await.unwrap();
    let taken = desk.create(desk.service("shop"), "").await.unwrap_err();
    assert_eq!((taken.code(), reason(&taken).as_str()), (Code::AlreadyExists, "SERVICE_NAME_TAKEN"));
    desk.create_item(desk.item("shop")).await.unwrap();
    let taken = desk.create_item(desk.item("shop")).await.unwrap_err();
    assert_eq!((taken.code(), reason(&taken).as_str()), (Code::AlreadyExists, "CONFIGURATION_ITEM_NAME_TAKEN"));

    // Of two at once one wins, and what was refused left nothing.
    let (first, second) = tokio::join!(desk.create(desk.service("mail"), ""), desk.create(desk.service("mail"), ""));
    assert_eq!(usize::from(first.is_ok()) + usize::from(second.is_ok()), 1);
    let list = ListServicesRequest { filter: "name = mail".to_owned(), ..Default::default() };
    let found = desk.client.clone().list_services(desk.stage.request(&desk.manager, list)).await.unwrap();
    assert_eq!(found.into_inner().services.len(), 1);
}

#[tokio::test]
async fn bad_fields_are_named() {
    let desk = Desk::open().await;
    let base = || desk.service("shop");
    let nobody = TeamId::draw().to_string();
    for (service, wrong) in [
        (Service { name: "Shop".to_owned(), ..base() }, "service.name"),
        (Service { name: "a".repeat(81), ..base() }, "service.name"),
        (Service { display_name: " ".to_owned(), ..base() }, "service.display_name"),
        (Service { description: "x".repeat(2_001), ..base() }, "service.description"),
        (Service { kind: 0, ..base() }, "service.kind"),
        (Service { owning_team_id: String::new(), ..base() }, "service.owning_team_id"),
        (Service { owning_team_id: nobody.clone(), ..base() }, "service.owning_team_id"),
        (Service { support_team_id: nobody.clone(), ..base() }, "service.support_team_id"),
        (Service { support_team_id: "operations".to_owned(), ..base() }, "service.support_team_id"),
    ] {
        let refused = desk.create(service, "").await.unwrap_err();
        assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, wrong));
    }
    for (item, wrong) in [
        (ConfigurationItem { kind: String::new(), ..desk.item("db") }, "configuration_item.kind"),
        (ConfigurationItem { kind: "x".repeat(41), ..desk.item("db") }, "configuration_item.kind"),
        (ConfigurationItem { service_id: nobody.clone(), ..desk.item("db") }, "configuration_item.service_id"),
    ] {
        let refused = desk.create_item(item).await.unwrap_err();
        assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, wrong));
    }
    let service = desk.create(base(), "").await.unwrap();
    for path in ["name", "state", "kind", "revision", "nonsense"] {
        let update =
            UpdateServiceRequest { service: Some(service.clone()), update_mask: mask(&[path]), ..Default::default() };
        let refused = desk.client.clone().update_service(desk.stage.request(&desk.manager, update)).await.unwrap_err();
        assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, "update_mask"), "{path}");
        assert!(refused.message().contains("display_name, description"), "{}", refused.message());
    }
}

#[tokio::test]
async fn an_item_becomes_part_of_a_service_that_is_in_use() {
    let desk = Desk::open().await;
    let mut client = desk.client.clone();
    let shop = desk.create(desk.service("shop"), "").await.unwrap();
    let old = desk.create(desk.service("old-shop"), "").await.unwrap();
    let retire = RetireServiceRequest { id: old.id.clone(), ..Default::default() };
    client.retire_service(desk.stage.request(&desk.manager, retire)).await.unwrap();

    let item =
        ConfigurationItem { service_id: shop.id.clone(), state: LifecycleState::Planned.into(), ..desk.item("db-1") };
    let item = desk.create_item(item).await.unwrap();
    let activate = ActivateConfigurationItemRequest { id: item.id.clone(), ..Default::default() };
    client.activate_configuration_item(desk.stage.request(&desk.manager, activate)).await.unwrap();

    let move_to = |service: &str| UpdateConfigurationItemRequest {
        configuration_item: Some(ConfigurationItem {
            id: item.id.clone(),
            revision: 2,
            service_id: service.to_owned(),
            ..ConfigurationItem::default()
        }),
        update_mask: mask(&["service_id"]),
        ..Default::default()
    };
    let refused =
        client.update_configuration_item(desk.stage.request(&desk.manager, move_to(&old.id))).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "CATALOG_SERVICE_RETIRED"));
    let alone = client.update_configuration_item(desk.stage.request(&desk.manager, move_to(""))).await.unwrap();
    assert_eq!((alone.get_ref().service_id.as_str(), alone.get_ref().revision), ("", 3));

    let history = ListConfigurationItemEventsRequest { id: item.id.clone(), page_size: 2, ..Default::default() };
    let page = client.list_configuration_item_events(desk.stage.request(&desk.manager, history.clone())).await;
    let page = page.unwrap().into_inner();
    let history = ListConfigurationItemEventsRequest { page_token: page.next_page_token, ..history };
    let rest = client.list_configuration_item_events(desk.stage.request(&desk.manager, history)).await.unwrap();
    let types: Vec<&str> =
        page.events.iter().chain(&rest.get_ref().events).map(|entry| entry.r#type.as_str()).collect();
    assert_eq!(types, ["configuration_item_created", "configuration_item_activated", "configuration_item_changed"]);
}

#[tokio::test]
async fn the_same_request_gets_the_first_answer() {
    let desk = Desk::open().await;
    let first = desk.create(desk.service("shop"), "key").await.unwrap();
    let retire = RetireServiceRequest { id: first.id.clone(), ..Default::default() };
    desk.client.clone().retire_service(desk.stage.request(&desk.manager, retire)).await.unwrap();
    assert_eq!(desk.create(desk.service("shop"), "key").await.unwrap(), first);
    let other = desk.create(desk.service("mail"), "key").await.unwrap_err();
    assert_eq!(reason(&other), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn only_a_manager_of_its_teams_changes_a_record() {
    let desk = Desk::open().await;
    let supported = Service { support_team_id: desk.support.to_string(), ..desk.service("shop") };
    let service = desk.create(supported, "").await.unwrap();
    let retire = || RetireServiceRequest { id: service.id.clone(), ..Default::default() };
    for (person, allowed) in [
        (desk.stage.person(Role::Responder, desk.team), false),
        (desk.stage.person(Role::Manager, TeamId::draw()), false),
        (desk.stage.person(Role::Manager, desk.support), true),
        (desk.stage.person(Role::Administrator, TeamId::draw()), true),
    ] {
        let answer = desk.client.clone().retire_service(desk.stage.request(&person, retire())).await;
        assert_eq!(answer.is_ok(), allowed, "{:?}", person.teams);
        assert!(answer.err().is_none_or(|status| status.code() == Code::PermissionDenied));
    }
    // Nor does anybody create what another team owns.
    let foreign = Person { teams: vec![(TeamId::draw(), Role::Manager)], ..desk.manager.clone() };
    let message =
        proto::catalog::v1::CreateServiceRequest { service: Some(desk.service("theirs")), ..Default::default() };
    let denied = desk.client.clone().create_service(desk.stage.request(&foreign, message)).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let viewer = desk.stage.person(Role::Viewer, TeamId::draw());
    let get = GetServiceRequest { id: service.id.clone() };
    assert!(desk.client.clone().get_service(desk.stage.request(&viewer, get)).await.is_ok());
}

#[tokio::test]
async fn another_tenants_record_answers_like_an_absent_one() {
    let desk = Desk::open().await;
    let service = desk.create(desk.service("shop"), "").await.unwrap();
    let item = desk.create_item(desk.item("db")).await.unwrap();
    let stranger = Person {
        tenant: Tenant { id: TenantId::draw(), slug: "other".to_owned() },
        administrator: true,
        ..desk.manager.clone()
    };
    let mut client = desk.client.clone();
    for id in [service.id.clone(), TeamId::draw().to_string()] {
        let absent =
            client.get_service(desk.stage.request(&stranger, GetServiceRequest { id: id.clone() })).await.unwrap_err();
        assert_eq!(
            (absent.code(), absent.message().replace(&id, "X").as_str()),
            (Code::NotFound, "there is no service X")
        );
        let retire = RetireServiceRequest { id, ..Default::default() };
        let absent = client.retire_service(desk.stage.request(&stranger, retire)).await.unwrap_err();
        assert_eq!(absent.code(), Code::NotFound);
    }
    let get = GetConfigurationItemRequest { id: item.id };
    let absent = client.get_configuration_item(desk.stage.request(&stranger, get)).await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
    let list = client.list_services(desk.stage.request(&stranger, ListServicesRequest::default())).await.unwrap();
    assert!(list.into_inner().services.is_empty());
}

#[tokio::test]
async fn lists_page_and_filter() {
    let desk = Desk::open().await;
    let shop = desk.create(desk.service("shop"), "").await.unwrap();
    for number in 0..5 {
        let service_id = if number % 2 == 0 { shop.id.clone() } else { String::new() };
        desk.create_item(ConfigurationItem { service_id, ..desk.item(&format!("db-{number}")) }).await.unwrap();
    }
    let mut names = Vec::new();
    let mut page = ListConfigurationItemsRequest {
        page_size: 2,
        filter: format!("service_id = {} AND state = live AND kind = host", shop.id),
        ..Default::default()
    };
    loop {
        let request = desk.stage.request(&desk.manager, page.clone());
        let response = desk.client.clone().list_configuration_items(request).await.unwrap().into_inner();
        names.extend(response.configuration_items.into_iter().map(|item| item.name));
        if response.next_page_token.is_empty() {
            break;
        }
        page.page_token = response.next_page_token;
    }
    assert_eq!(names, ["db-4", "db-2", "db-0"]);
    for filter in ["colour = red", "state = OPEN"] {
        let list = ListServicesRequest { filter: filter.to_owned(), ..Default::default() };
        let refused = desk.client.clone().list_services(desk.stage.request(&desk.manager, list)).await.unwrap_err();
        assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, "filter"), "{filter}");
    }
}

#[tokio::test]
async fn a_watch_tells_of_its_noun_alone_and_resumes() {
    let desk = Desk::open().await;
    let mut client = desk.client.clone();
    let shop = desk.create(desk.service("shop"), "").await.unwrap();
    desk.create_item(desk.item("db")).await.unwrap();
    let mail = desk.create(desk.service("mail"), "").await.unwrap();
    let beginning = Some(prost_types::Timestamp::default());

    let watch = WatchServicesRequest { start_time: beginning, ..Default::default() };
    let mut events = client.watch_services(desk.stage.request(&desk.manager, watch)).await.unwrap().into_inner();
    let first = events.message().await.unwrap().unwrap();
    let second = events.message().await.unwrap().unwrap();
    assert_eq!([&first.record_id, &second.record_id], [&shop.id, &mail.id]);
    drop(events);

    let resume = WatchServicesRequest { cursor: first.cursor, filter: "name = mail".to_owned(), ..Default::default() };
    let mut events = client.watch_services(desk.stage.request(&desk.manager, resume)).await.unwrap().into_inner();
    assert_eq!(events.message().await.unwrap().unwrap().event_id, second.event_id);

    let watch = WatchConfigurationItemsRequest { start_time: beginning, ..Default::default() };
    let mut events =
        client.watch_configuration_items(desk.stage.request(&desk.manager, watch)).await.unwrap().into_inner();
    assert_eq!(events.message().await.unwrap().unwrap().r#type, "configuration_item_created");
}

#[tokio::test]
async fn other_services_page_all_records_and_look_one_up() {
    let desk = Desk::open().await;
    let shop = desk.create(desk.service("shop"), "").await.unwrap();
    let item = desk.create_item(desk.item("db")).await.unwrap();
    let mut internal = InternalClient::new(desk.stage.channel("catalog"));
    let tenant_id = desk.stage.tenant.id.to_string();
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let message = SnapshotRequest { tenant_id: tenant_id.clone(), page_token };
        let page = internal.snapshot(desk.stage.service_request("incident", "catalog", message)).await.unwrap();
        found.extend(page.get_ref().entries.iter().map(|entry| entry.record_id.clone()));
        page_token = page.into_inner().next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found, [shop.id.clone(), item.id.clone()]);
    for id in [&shop.id, &item.id] {
        let message = LookupRequest { tenant_id: tenant_id.clone(), record_id: id.clone() };
        let answer = internal.lookup(desk.stage.service_request("incident", "catalog", message)).await.unwrap();
        assert_eq!(&answer.into_inner().entry.unwrap().record_id, id);
    }
    let message = LookupRequest { tenant_id, record_id: TeamId::draw().to_string() };
    let absent = internal.lookup(desk.stage.service_request("incident", "catalog", message.clone())).await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
    let person = internal.lookup(desk.stage.request(&desk.manager, message)).await.unwrap_err();
    assert_eq!(person.code(), Code::PermissionDenied);
    assert!(person.get_details_error_info().is_some());
}

//! The gRPC of the sla service on real Postgres and NATS: what callers see.
use crate::desk::Desk;
use chrono::TimeDelta;
use kit::{caller::Person, id::TeamId};
use proto::{
    common::v1::{LookupRequest, Priority, Role, SnapshotRequest},
    sla::v1::{
        ActivateAgreementRequest, Agreement, AgreementState, Calendar, CreateAgreementRequest, CreateCalendarRequest,
        GetAgreementRequest, GetClockRequest, Hours, ListAgreementsRequest, ListCalendarsRequest, ListClocksRequest,
        RetireCalendarRequest, Target, UpdateAgreementRequest, UpdateCalendarRequest, WatchClocksRequest,
        internal_client::InternalClient,
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

fn refused(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().unwrap().reason)
}

fn field(status: &Status) -> String {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    status.get_details_bad_request().unwrap().field_violations[0].field.clone()
}

fn office() -> Calendar {
    let hours = |weekday| Hours { weekday, from: "09:00".to_owned(), to: "17:00".to_owned() };
    Calendar {
        name: "office".to_owned(),
        display_name: "Office".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        hours: (1..=5).map(hours).collect(),
        holidays: vec!["2026-12-25".to_owned()],
        ..Calendar::default()
    }
}

impl Desk {
    async fn create_calendar(&self, calendar: Calendar) -> Result<Calendar, Status> {
        let request = CreateCalendarRequest { calendar: Some(calendar), request_id: String::new() };
        Ok(self.client.clone().create_calendar(self.stage.request(&self.manager, request)).await?.into_inner())
    }

    async fn create_agreement(&self, agreement: Agreement, key: &str) -> Result<Agreement, Status> {
        let request = CreateAgreementRequest { agreement: Some(agreement), request_id: key.to_owned() };
        Ok(self.client.clone().create_agreement(self.stage.request(&self.manager, request)).await?.into_inner())
    }

    async fn update_agreement(&self, agreement: Agreement, path: &str) -> Result<Agreement, Status> {
        let update_mask = Some(prost_types::FieldMask { paths: vec![path.to_owned()] });
        let request = UpdateAgreementRequest { agreement: Some(agreement), update_mask, request_id: String::new() };
        Ok(self.client.clone().update_agreement(self.stage.request(&self.manager, request)).await?.into_inner())
    }

    async fn update_calendar(&self, calendar: Calendar, path: &str) -> Result<Calendar, Status> {
        let update_mask = Some(prost_types::FieldMask { paths: vec![path.to_owned()] });
        let request = UpdateCalendarRequest { calendar: Some(calendar), update_mask, request_id: String::new() };
        Ok(self.client.clone().update_calendar(self.stage.request(&self.manager, request)).await?.into_inner())
    }

    async fn activate(&self, id: &str) -> Result<Agreement, Status> {
        let request = ActivateAgreementRequest { id: id.to_owned(), ..ActivateAgreementRequest::default() };
        Ok(self.client.clone().activate_agreement(self.stage.request(&self.manager, request)).await?.into_inner())
    }

    async fn agreement(&self, id: &str) -> Result<Agreement, Status> {
        let request = GetAgreementRequest { id: id.to_owned() };
        Ok(self.client.clone().get_agreement(self.stage.request(&self.manager, request)).await?.into_inner())
    }
}

#[tokio::test]
async fn activating_an_agreement_retires_the_one_before() {
    let desk = Desk::open().await;
    let service = desk.service("shop").await;
    let (first, second, other) =
        (desk.draft("First", &service).await, desk.draft("Second", &service).await, desk.draft("Default", "").await);
    assert_eq!((first.state(), first.targets[0].at_risk_percent), (AgreementState::Draft, 75));
    desk.activate(&first.id).await.unwrap();
    desk.activate(&other.id).await.unwrap();
    let active = desk.activate(&second.id).await.unwrap();
    assert_eq!((active.state(), active.revision), (AgreementState::Active, 2));
    assert_eq!(desk.activate(&second.id).await.unwrap(), active, "again changes nothing");
    assert_eq!(desk.agreement(&first.id).await.unwrap().state(), AgreementState::Retired);
    assert_eq!(desk.agreement(&other.id).await.unwrap().state(), AgreementState::Active, "of no service");
    let again = desk.activate(&first.id).await.unwrap_err();
    assert_eq!(refused(&again), (Code::FailedPrecondition, "AGREEMENT_RETIRED".to_owned()));
    let filter = "state = ACTIVE AND kind = SLA".to_owned();
    let request = ListAgreementsRequest { filter, ..ListAgreementsRequest::default() };
    let list = desk.client.clone().list_agreements(desk.stage.request(&desk.manager, request)).await.unwrap();
    assert_eq!(list.into_inner().agreements.len(), 2);
}

#[tokio::test]
async fn of_two_activated_at_once_one_stays() {
    let desk = Desk::open().await;
    let drafts = [desk.draft("One", "").await, desk.draft("Two", "").await, desk.draft("Three", "").await];
    let (one, two, three) =
        tokio::join!(desk.activate(&drafts[0].id), desk.activate(&drafts[1].id), desk.activate(&drafts[2].id));
    for done in [one, two, three] {
        done.unwrap();
    }
    let mut states = Vec::new();
    for draft in &drafts {
        states.push(desk.agreement(&draft.id).await.unwrap().state());
    }
    states.sort_unstable();
    assert_eq!(states, [AgreementState::Active, AgreementState::Retired, AgreementState::Retired]);
}

#[tokio::test]
async fn the_same_request_gets_the_first_answer() {
    let desk = Desk::open().await;
    let draft = desk.draft("Template", "").await;
    let first = desk.create_agreement(draft.clone(), "key").await.unwrap();
    desk.activate(&first.id).await.unwrap();
    assert_eq!(desk.create_agreement(draft.clone(), "key").await.unwrap(), first);
    let other = Agreement { display_name: "Other".to_owned(), ..draft };
    let reused = desk.create_agreement(other, "key").await.unwrap_err();
    assert_eq!(refused(&reused), (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));
}

#[tokio::test]
async fn bad_fields_are_named_by_their_paths() {
    let desk = Desk::open().await;
    let hours = |weekday, from: &str, to: &str| Calendar {
        hours: vec![Hours { weekday, from: from.to_owned(), to: to.to_owned() }],
        ..office()
    };
    for (calendar, path) in [
        (Calendar { name: "Büro".to_owned(), ..office() }, "calendar.name"),
        (Calendar { time_zone: "Mars/Olympus".to_owned(), ..office() }, "calendar.time_zone"),
        (Calendar { holidays: vec!["2026-02-30".to_owned()], ..office() }, "calendar.holidays[0]"),
        (Calendar { display_name: " ".to_owned(), ..office() }, "calendar.display_name"),
        (hours(8, "09:00", "17:00"), "calendar.hours[0].weekday"),
        (hours(1, "9:00", "17:00"), "calendar.hours[0].from"),
        (hours(1, "09:00", "24:01"), "calendar.hours[0].to"),
        (hours(1, "22:00", "06:00"), "calendar.hours[0].to"),
    ] {
        assert_eq!(field(&desk.create_calendar(calendar).await.unwrap_err()), path);
    }
    let draft = desk.draft("Template", "").await;
    let target = |target: Target| Agreement { targets: vec![target], ..draft.clone() };
    let p1 = Target { priority: Priority::P1.into(), ..Target::default() };
    for (agreement, path) in [
        (Agreement { kind: 0, ..draft.clone() }, "agreement.kind"),
        (Agreement { service_id: kit::id::draw().to_string(), ..draft.clone() }, "agreement.service_id"),
        (target(Target::default()), "agreement.targets[0].priority"),
        (Agreement { targets: vec![p1.clone(), p1.clone()], ..draft.clone() }, "agreement.targets[1].priority"),
        (target(Target { response_seconds: -1, ..p1.clone() }), "agreement.targets[0].response_seconds"),
        (target(Target { at_risk_percent: 100, ..p1.clone() }), "agreement.targets[0].at_risk_percent"),
        (target(Target { calendar_id: "x".to_owned(), ..p1.clone() }), "agreement.targets[0].calendar_id"),
        (target(Target { calendar_id: kit::id::draw().to_string(), ..p1.clone() }), "agreement.targets.calendar_id"),
    ] {
        assert_eq!(field(&desk.create_agreement(agreement, "").await.unwrap_err()), path);
    }
    for path in ["state", "kind", "service_id", "nonsense"] {
        assert_eq!(field(&desk.update_agreement(draft.clone(), path).await.unwrap_err()), "update_mask");
    }
    let stale = Agreement { revision: 9, ..draft.clone() };
    let stale = desk.update_agreement(stale, "display_name").await.unwrap_err();
    assert_eq!(refused(&stale), (Code::Aborted, "STALE_REVISION".to_owned()));
    let request = ListClocksRequest { filter: "colour = red".to_owned(), ..ListClocksRequest::default() };
    let unknown = desk.client.clone().list_clocks(desk.stage.request(&desk.manager, request)).await.unwrap_err();
    assert_eq!(field(&unknown), "filter");
}

#[tokio::test]
async fn a_calendar_stays_while_an_active_agreement_uses_it() {
    let desk = Desk::open().await;
    let calendar = desk.create_calendar(office()).await.unwrap();
    let taken = desk.create_calendar(office()).await.unwrap_err();
    assert_eq!(refused(&taken), (Code::AlreadyExists, "CALENDAR_NAME_TAKEN".to_owned()));
    let target = Target {
        priority: Priority::P3.into(),
        resolution_seconds: 3_600,
        calendar_id: calendar.id.clone(),
        ..Target::default()
    };
    let draft = desk.draft("Template", "").await;
    let agreement = desk.create_agreement(Agreement { targets: vec![target], ..draft }, "").await.unwrap();
    desk.activate(&agreement.id).await.unwrap();
    let request = RetireCalendarRequest { id: calendar.id.clone(), ..RetireCalendarRequest::default() };
    let retire = || desk.stage.request(&desk.manager, request.clone());
    let used = desk.client.clone().retire_calendar(retire()).await.unwrap_err();
    assert_eq!(refused(&used), (Code::FailedPrecondition, "CALENDAR_IN_USE".to_owned()));
    assert!(used.message().contains("Template"), "{}", used.message());

    let moved = Calendar { time_zone: "Asia/Kathmandu".to_owned(), ..calendar.clone() };
    let moved = desk.update_calendar(moved, "time_zone").await.unwrap();
    assert_eq!((moved.time_zone.as_str(), moved.revision, &moved.hours), ("Asia/Kathmandu", 2, &calendar.hours));
    let mondays = Calendar { hours: vec![moved.hours[0].clone()], ..moved.clone() };
    let mondays = desk.update_calendar(mondays, "hours").await.unwrap();
    let first = chrono::NaiveDate::from_ymd_opt(2026, 3, 2).unwrap();
    let holidays = first.iter_weeks().take(600).map(|day| day.to_string()).collect();
    let never = desk.update_calendar(Calendar { holidays, ..mondays }, "holidays").await.unwrap_err();
    assert_eq!(refused(&never), (Code::FailedPrecondition, "CALENDAR_NEVER_WORKS".to_owned()));

    let other = desk.draft("Successor", "").await;
    desk.activate(&other.id).await.unwrap();
    desk.client.clone().retire_calendar(retire()).await.unwrap();
    let request = ListCalendarsRequest { filter: "state = RETIRED".to_owned(), ..ListCalendarsRequest::default() };
    let list = desk.client.clone().list_calendars(desk.stage.request(&desk.manager, request)).await.unwrap();
    assert_eq!(list.into_inner().calendars[0].name, "office");
}

#[tokio::test]
async fn a_manager_of_any_team_writes_and_every_member_reads() {
    let desk = Desk::open().await;
    let draft = desk.draft("Default", "").await;
    let responder = desk.stage.person(Role::Responder, TeamId::draw());
    let request = ActivateAgreementRequest { id: draft.id.clone(), ..ActivateAgreementRequest::default() };
    let denied = desk.client.clone().activate_agreement(desk.stage.request(&responder, request)).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let viewer = desk.stage.person(Role::Viewer, TeamId::draw());
    let get = GetAgreementRequest { id: draft.id.clone() };
    desk.client.clone().get_agreement(desk.stage.request(&viewer, get.clone())).await.unwrap();
    let stranger = Person {
        tenant: kit::id::Tenant { id: kit::id::TenantId::draw(), slug: "other".to_owned() },
        administrator: true,
        ..viewer
    };
    let foreign = desk.client.clone().get_agreement(desk.stage.request(&stranger, get)).await.unwrap_err();
    assert_eq!(foreign.code(), Code::NotFound);
}

#[tokio::test]
async fn clocks_are_listed_page_by_page_and_watched_by_filter() {
    let mut desk = Desk::open().await;
    desk.seed().await;
    let watch = WatchClocksRequest { filter: "breached = true".to_owned(), ..WatchClocksRequest::default() };
    let mut watched = desk.client.watch_clocks(desk.stage.request(&desk.manager, watch)).await.unwrap().into_inner();
    let incident = desk.opens(Priority::P1, "", 2).await;
    let mut found = Vec::new();
    let mut request =
        ListClocksRequest { page_size: 1, filter: "state = RUNNING AND priority = 1".to_owned(), ..Default::default() };
    loop {
        let page =
            desk.client.list_clocks(desk.stage.request(&desk.manager, request.clone())).await.unwrap().into_inner();
        found.extend(page.clocks);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(found.len(), 2);
    assert!(found[0].id > found[1].id, "newest first");
    desk.advance(TimeDelta::minutes(16));
    let entry = watched.message().await.unwrap().unwrap();
    assert_eq!((entry.r#type.as_str(), entry.revision), ("clock_breached", 3));
    assert_eq!(entry.record_id, desk.clocks(&incident).await[0].id);
    let absent = GetClockRequest { id: kit::id::draw().to_string() };
    let absent = desk.client.get_clock(desk.stage.request(&desk.manager, absent)).await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
}

#[tokio::test]
async fn other_services_get_every_record_by_snapshot_and_look_up() {
    let mut desk = Desk::open().await;
    desk.seed().await;
    let incident = desk.opens(Priority::P1, "", 2).await;
    let mut internal = InternalClient::new(desk.stage.channel("sla"));
    let tenant_id = desk.stage.tenant.id.to_string();
    let mut ids = Vec::new();
    let mut request = SnapshotRequest { tenant_id: tenant_id.clone(), page_token: String::new() };
    loop {
        let asked = desk.stage.service_request("notification", "sla", request.clone());
        let page = internal.snapshot(asked).await.unwrap().into_inner();
        ids.extend(page.entries.into_iter().map(|entry| entry.record_id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(ids.len(), 4, "a calendar, an agreement, two clocks");
    for record_id in ids {
        let request = LookupRequest { tenant_id: tenant_id.clone(), record_id: record_id.clone() };
        let asked = desk.stage.service_request("notification", "sla", request);
        assert_eq!(internal.lookup(asked).await.unwrap().into_inner().entry.unwrap().record_id, record_id);
    }
    assert_eq!(desk.clocks(&incident).await.len(), 2);
}

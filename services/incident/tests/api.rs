//! The gRPC of the incident service on real Postgres and NATS: what callers see.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use incident::{MIGRATOR, Settings};
use kit::{
    caller::Person,
    id::TeamId,
    testing::{Stage, eventually},
};
use proto::{
    common::v1::{Impact, Priority, Role, Urgency},
    incident::v1::{
        AcknowledgeIncidentRequest, CloseIncidentRequest, CreateIncidentRequest, GetIncidentRequest, Incident,
        IncidentState, ListIncidentEventsRequest, ListIncidentsRequest, ResolutionCode, ResolveIncidentRequest,
        UpdateIncidentRequest, WatchIncidentsRequest, incident_service_client::IncidentServiceClient,
    },
};
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt;

struct Desk {
    stage: Stage,
    client: IncidentServiceClient<Channel>,
    responder: Person,
}

impl Desk {
    async fn open() -> Self {
        let stage = Stage::set(&[("incident", &MIGRATOR)]).await;
        for source in ["directory", "catalog", "alert"] {
            stage.owner(source).await;
        }
        incident::start(stage.context("incident").await, Settings::default()).await.unwrap();
        let client = IncidentServiceClient::new(stage.channel("incident"));
        let responder = stage.person(Role::Responder, TeamId::draw());
        Self { stage, client, responder }
    }

    async fn create(&mut self, title: &str, request_id: &str) -> Result<Incident, tonic::Status> {
        let incident = Incident {
            title: title.to_owned(),
            impact: Impact::Significant.into(),
            urgency: Urgency::High.into(),
            ..Incident::default()
        };
        let message = CreateIncidentRequest { incident: Some(incident), request_id: request_id.to_owned() };
        Ok(self.client.create_incident(self.stage.request(&self.responder, message)).await?.into_inner())
    }

    async fn acknowledge(&mut self, id: &str, revision: Option<i64>) -> Result<Incident, tonic::Status> {
        let message = AcknowledgeIncidentRequest { id: id.to_owned(), revision, request_id: String::new() };
        Ok(self.client.acknowledge_incident(self.stage.request(&self.responder, message)).await?.into_inner())
    }

    async fn history(&mut self, id: &str) -> Vec<String> {
        let message = ListIncidentEventsRequest { id: id.to_owned(), ..Default::default() };
        let response = self.client.list_incident_events(self.stage.request(&self.responder, message)).await.unwrap();
        response.into_inner().events.into_iter().map(|entry| entry.r#type).collect()
    }
}

#[tokio::test]
async fn an_incident_lives_from_new_to_closed_and_its_history_says_so() {
    let mut desk = Desk::open().await;
    let incident = desk.create("Checkout is slow", "").await.unwrap();
    assert_eq!((incident.state(), incident.priority(), incident.revision), (IncidentState::New, Priority::P2, 1));
    assert!(incident.number.starts_with("INC"), "{}", incident.number);

    let acknowledged = desk.acknowledge(&incident.number, Some(1)).await.unwrap();
    assert_eq!(
        (acknowledged.state(), acknowledged.acknowledged_by_id),
        (IncidentState::Assigned, desk.responder.id.to_string())
    );

    let resolve = ResolveIncidentRequest {
        id: incident.id.clone(),
        resolution_code: ResolutionCode::Fixed.into(),
        resolution_notes: "Restarted the pool.".to_owned(),
        ..Default::default()
    };
    let resolved =
        desk.client.resolve_incident(desk.stage.request(&desk.responder, resolve)).await.unwrap().into_inner();
    assert_eq!(resolved.state(), IncidentState::Resolved);
    let close = CloseIncidentRequest { id: incident.id.clone(), ..Default::default() };
    let closed = desk.client.close_incident(desk.stage.request(&desk.responder, close)).await.unwrap().into_inner();
    assert_eq!((closed.state(), closed.revision), (IncidentState::Closed, 4));
    assert_eq!(desk.history(&incident.id).await, ["opened", "acknowledged", "resolved", "closed"]);
}

#[tokio::test]
async fn the_same_request_gets_the_first_answer_and_another_body_is_refused() {
    let mut desk = Desk::open().await;
    let first = desk.create("Disk full", "key-1").await.unwrap();
    desk.acknowledge(&first.id, None).await.unwrap();
    let again = desk.create("Disk full", "key-1").await.unwrap();
    assert_eq!(again, first, "the answer is the one of then, not the record of now");
    let other = desk.create("Disk almost full", "key-1").await.unwrap_err();
    assert_eq!(
        (other.code(), other.get_details_error_info().unwrap().reason.as_str()),
        (Code::InvalidArgument, "REQUEST_ID_REUSED")
    );
    let list =
        desk.client.list_incidents(desk.stage.request(&desk.responder, ListIncidentsRequest::default())).await.unwrap();
    assert_eq!(list.into_inner().incidents.len(), 1);
}

#[tokio::test]
async fn what_is_refused_leaves_no_trace_and_says_what_would_be_legal() {
    let mut desk = Desk::open().await;
    let incident = desk.create("Login fails", "").await.unwrap();
    let close = CloseIncidentRequest { id: incident.id.clone(), ..Default::default() };
    let refused = desk.client.close_incident(desk.stage.request(&desk.responder, close)).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.get_details_error_info().unwrap().reason.as_str()),
        (Code::FailedPrecondition, "INCIDENT_ILLEGAL_MOVE")
    );
    assert!(
        refused.message().contains("legal now: acknowledge, assign, start, hold, resolve, cancel"),
        "{}",
        refused.message()
    );

    let blank = desk.create("  ", "").await.unwrap_err();
    assert_eq!(
        (blank.code(), blank.get_details_bad_request().unwrap().field_violations[0].field.as_str()),
        (Code::InvalidArgument, "incident.title")
    );

    let resolve = ResolveIncidentRequest { id: incident.id.clone(), ..Default::default() };
    let refused = desk.client.resolve_incident(desk.stage.request(&desk.responder, resolve)).await.unwrap_err();
    assert_eq!(refused.get_details_bad_request().unwrap().field_violations[0].field, "resolution_code");
    assert_eq!(desk.history(&incident.id).await, ["opened"]);
}

#[tokio::test]
async fn of_two_racing_updates_one_wins_and_the_other_learns_the_revision() {
    let mut desk = Desk::open().await;
    let incident = desk.create("Queue grows", "").await.unwrap();
    let update = |title: &str| UpdateIncidentRequest {
        incident: Some(Incident {
            id: incident.id.clone(),
            revision: 1,
            title: title.to_owned(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["title".to_owned()] }),
        request_id: String::new(),
    };
    let (mut one, mut other) = (desk.client.clone(), desk.client.clone());
    let (first, second) = tokio::join!(
        one.update_incident(desk.stage.request(&desk.responder, update("Queue grows fast"))),
        other.update_incident(desk.stage.request(&desk.responder, update("Queue grows slowly"))),
    );
    let lost = [first, second].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert_eq!(lost.len(), 1, "exactly one loses");
    let info = lost[0].get_details_error_info().unwrap();
    assert_eq!(
        (lost[0].code(), info.reason.as_str(), info.metadata["current_revision"].as_str()),
        (Code::Aborted, "STALE_REVISION", "2")
    );
}

#[tokio::test]
async fn a_mask_that_names_an_output_field_is_refused() {
    let mut desk = Desk::open().await;
    let incident = desk.create("Mail is late", "").await.unwrap();
    for path in ["state", "number", "priority", "reporter_id", "nonsense"] {
        let update = UpdateIncidentRequest {
            incident: Some(incident.clone()),
            update_mask: Some(prost_types::FieldMask { paths: vec![path.to_owned()] }),
            request_id: String::new(),
        };
        let refused = desk.client.update_incident(desk.stage.request(&desk.responder, update)).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.get_details_bad_request().unwrap().field_violations[0].field.as_str()),
            (Code::InvalidArgument, "update_mask"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn another_tenants_incident_answers_like_an_absent_one() {
    let mut desk = Desk::open().await;
    let incident = desk.create("Secret", "").await.unwrap();
    let stranger = Person {
        tenant: kit::id::Tenant { id: kit::id::TenantId::draw(), slug: "other".to_owned() },
        administrator: true,
        ..desk.responder.clone()
    };
    let get = |id: &str| GetIncidentRequest { id: id.to_owned() };
    let foreign = desk.client.get_incident(desk.stage.request(&stranger, get(&incident.id))).await.unwrap_err();
    let absent_id = kit::id::draw().to_string();
    let absent = desk.client.get_incident(desk.stage.request(&stranger, get(&absent_id))).await.unwrap_err();
    assert_eq!((foreign.code(), absent.code()), (Code::NotFound, Code::NotFound));
    assert_eq!(foreign.message().replace(&incident.id, "X"), absent.message().replace(&absent_id, "X"));
    let list =
        desk.client.list_incidents(desk.stage.request(&stranger, ListIncidentsRequest::default())).await.unwrap();
    assert!(list.into_inner().incidents.is_empty());
}

#[tokio::test]
async fn a_role_counts_in_the_teams_of_the_record() {
    let mut desk = Desk::open().await;
    let incident = desk.create("Slow page", "").await.unwrap();
    let viewer = desk.stage.person(Role::Viewer, TeamId::draw());
    let message = AcknowledgeIncidentRequest { id: incident.id.clone(), ..Default::default() };
    let denied = desk.client.acknowledge_incident(desk.stage.request(&viewer, message.clone())).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let nobody = desk.client.acknowledge_incident(message).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn pages_follow_each_other_and_a_token_belongs_to_its_filter() {
    let mut desk = Desk::open().await;
    for number in 0..5 {
        desk.create(&format!("Trouble {number}"), "").await.unwrap();
    }
    let mut titles = Vec::new();
    let mut page = ListIncidentsRequest { page_size: 2, filter: "state = NEW".to_owned(), ..Default::default() };
    loop {
        let response =
            desk.client.list_incidents(desk.stage.request(&desk.responder, page.clone())).await.unwrap().into_inner();
        titles.extend(response.incidents.into_iter().map(|incident| incident.title));
        if response.next_page_token.is_empty() {
            break;
        }
        page.page_token = response.next_page_token;
    }
    assert_eq!(titles, ["Trouble 4", "Trouble 3", "Trouble 2", "Trouble 1", "Trouble 0"]);
    let misused = ListIncidentsRequest { page_token: "abc".to_owned(), ..Default::default() };
    let refused = desk.client.list_incidents(desk.stage.request(&desk.responder, misused)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_watch_resumes_after_a_gap_without_loss_or_repeat() {
    let mut desk = Desk::open().await;
    let first = desk.create("One", "").await.unwrap();
    let start = WatchIncidentsRequest { start_time: Some(prost_types::Timestamp::default()), ..Default::default() };
    let mut events = eventually("a watch", || async {
        desk.client.clone().watch_incidents(desk.stage.request(&desk.responder, start.clone())).await.ok()
    })
    .await
    .into_inner();
    let seen = events.message().await.unwrap().unwrap();
    assert_eq!((seen.r#type.as_str(), seen.record_id.as_str()), ("opened", first.id.as_str()));
    drop(events);

    desk.acknowledge(&first.id, None).await.unwrap();
    let second = desk.create("Two", "").await.unwrap();
    let resume = WatchIncidentsRequest { cursor: seen.cursor, ..Default::default() };
    let mut events =
        desk.client.watch_incidents(desk.stage.request(&desk.responder, resume)).await.unwrap().into_inner();
    let mut got = Vec::new();
    for _ in 0..2 {
        let entry = events.message().await.unwrap().unwrap();
        got.push((entry.r#type, entry.record_id));
    }
    assert_eq!(got, [("acknowledged".to_owned(), first.id), ("opened".to_owned(), second.id)]);
}

//! The gRPC of the change service on real Postgres and NATS: what callers see.

use chrono::TimeDelta;
use kit::{
    caller::Person,
    id::{PersonId, TeamId, Tenant, TenantId},
};
use proto::{
    catalog::v1::LifecycleState,
    change::v1::{
        ApproveChangeRequest, Change, ChangeState, ChangeType, GetChangeRequest, ListChangesRequest, Risk,
        WatchChangesRequest, internal_client::InternalClient,
    },
    common::v1::{LookupRequest, Role, SnapshotRequest},
};
use tonic::Code;
use uuid::Uuid;

use crate::desk::{Desk, Verb, field, reason};
use Verb::{Approve, Cancel, Close, Complete, Fail, Reject, Request, Schedule, Start};

#[tokio::test]
async fn a_normal_change_goes_from_draft_to_closed_and_its_history_says_so() {
    let desk = Desk::open().await;
    let draft = desk.create(desk.change(ChangeType::Normal), "").await.unwrap();
    assert_eq!((draft.state(), draft.revision, draft.plan_revision), (ChangeState::Draft, 1, 1));
    assert_eq!((draft.number.as_str(), draft.requester_id.as_str()), ("CHG0000001", &*desk.requester.id.to_string()));

    let approved = desk.go(&draft.number, &[Request, Approve]).await;
    let approval = approved.approval.clone().unwrap();
    assert_eq!((approved.state(), approval.plan_revision), (ChangeState::Approved, 1));
    assert_eq!(approval.approver_id, desk.approver.id.to_string());

    let early = desk.does(&desk.requester, Start, &draft.id).await.unwrap_err();
    assert_eq!((early.code(), reason(&early).as_str()), (Code::FailedPrecondition, "CHANGE_ILLEGAL_MOVE"));
    assert!(early.message().contains("legal now: schedule, cancel"), "{}", early.message());

    let started = desk.go(&draft.id, &[Schedule, Start]).await;
    desk.stage.clock.advance(TimeDelta::hours(2));
    let closed = desk.go(&draft.id, &[Complete, Close("")]).await;
    assert_eq!(closed.state(), ChangeState::Closed);
    assert_eq!(closed.actual_start_time, started.update_time);
    assert_eq!(
        closed.actual_end_time.unwrap().seconds - closed.actual_start_time.unwrap().seconds,
        2 * 3_600,
        "actual times are stamped"
    );
    assert_eq!(closed.close_time, closed.update_time);
    let history = ["drafted", "requested", "approved", "scheduled", "started", "completed", "closed"];
    assert_eq!(desk.history(&draft.id).await, history);
}

#[tokio::test]
async fn nobody_approves_their_own_change_not_even_an_administrator() {
    let desk = Desk::open().await;
    let change = desk.create(desk.change(ChangeType::Normal), "").await.unwrap();
    desk.go(&change.id, &[Request]).await;
    let administrator = Person { administrator: true, ..desk.requester.clone() };
    for person in [&desk.requester, &administrator] {
        let refused = desk.does(person, Approve, &change.id).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "SELF_APPROVAL"));
    }
    assert_eq!(desk.history(&change.id).await, ["drafted", "requested"]);
}

#[tokio::test]
async fn only_a_manager_of_the_assigned_team_decides() {
    let desk = Desk::open().await;
    let change = desk.create(desk.change(ChangeType::Normal), "").await.unwrap();
    desk.go(&change.id, &[Request]).await;
    let elsewhere = desk.stage.person(Role::Manager, TeamId::draw());
    let responder = desk.stage.person(Role::Responder, desk.team);
    let both = Person { teams: [responder.teams.clone(), elsewhere.teams.clone()].concat(), ..responder.clone() };
    for person in [responder, elsewhere.clone(), both] {
        for verb in [Approve, Reject] {
            let denied = desk.does(&person, verb, &change.id).await.unwrap_err();
            assert_eq!(denied.code(), Code::PermissionDenied, "{verb:?}");
        }
    }
    let denied = desk.does(&elsewhere, Cancel, &change.id).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);

    // Without a team, a manager of any.
    let nobodys = Change { assigned_team_id: String::new(), ..desk.change(ChangeType::Normal) };
    let nobodys = desk.create(nobodys, "").await.unwrap();
    desk.go(&nobodys.id, &[Request]).await;
    assert_eq!(desk.does(&elsewhere, Approve, &nobodys.id).await.unwrap().state(), ChangeState::Approved);
    let administrator = desk.stage.person(Role::Administrator, TeamId::draw());
    assert_eq!(desk.does(&administrator, Approve, &change.id).await.unwrap().state(), ChangeState::Approved);
}

#[tokio::test]
async fn editing_the_plan_voids_the_approval_and_editing_the_title_does_not() {
    let desk = Desk::open().await;
    let change = desk.create(desk.change(ChangeType::Normal), "").await.unwrap();
    let scheduled = desk.go(&change.id, &[Request, Approve, Schedule]).await;
    let titled = desk.update(Change { title: "Disk".to_owned(), ..scheduled.clone() }, &["title"]).await.unwrap();
    assert_eq!((titled.state(), titled.plan_revision), (ChangeState::Scheduled, 1));

    let edited = Change { backout_plan: "Restore.".to_owned(), risk: Risk::Major.into(), ..titled };
    let edited = desk.update(edited, &["backout_plan", "risk"]).await.unwrap();
    assert_eq!((edited.state(), edited.plan_revision, edited.approval), (ChangeState::Requested, 2, None));
    assert_eq!((edited.planned_start_time, edited.planned_end_time), (None, None));
    assert!(desk.does(&desk.requester, Start, &change.id).await.is_err());
    let again = desk.go(&change.id, &[Approve, Schedule, Start]).await;
    assert_eq!((again.state(), again.approval.clone().unwrap().plan_revision), (ChangeState::InProgress, 2));

    let fixed = desk.update(Change { test_plan: "Look.".to_owned(), ..again }, &["test_plan"]).await.unwrap_err();
    assert_eq!(reason(&fixed), "CHANGE_PLAN_FIXED");
    let history = desk.history(&change.id).await;
    assert_eq!(history[4..7], ["changed", "approval_voided", "changed"]);
}

#[tokio::test]
async fn an_approval_is_for_the_revision_that_was_read() {
    let desk = Desk::open().await;
    let change = desk.create(desk.change(ChangeType::Normal), "").await.unwrap();
    let requested = desk.go(&change.id, &[Request]).await;
    let read = requested.revision;
    desk.update(Change { test_plan: "None.".to_owned(), ..requested }, &["test_plan"]).await.unwrap();
    let approve = ApproveChangeRequest { id: change.id, revision: Some(read), ..Default::default() };
    let stale = desk.client.clone().approve_change(desk.stage.request(&desk.approver, approve)).await.unwrap_err();
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::Aborted, "STALE_REVISION"));
}

#[tokio::test]
async fn a_standard_change_is_approved_by_its_type() {
    let desk = Desk::open().await;
    let change = desk.create(desk.change(ChangeType::Standard), "").await.unwrap();
    let approved = desk.go(&change.id, &[Request]).await;
    assert_eq!((approved.state(), approved.revision), (ChangeState::Approved, 3));
    assert_eq!(approved.approval.clone().unwrap().approver_id, "");
    assert_eq!(desk.history(&change.id).await, ["drafted", "requested", "approved"]);
    // What the request did is done: again is no event.
    assert_eq!(desk.go(&change.id, &[Request]).await, approved);
    assert_eq!(desk.go(&change.id, &[Start, Complete, Close("")]).await.state(), ChangeState::Closed);
}

#[tokio::test]
async fn an_emergency_starts_unapproved_and_closes_only_approved_and_reviewed() {
    let desk = Desk::open().await;
    let change = desk.create(desk.change(ChangeType::Emergency), "").await.unwrap();
    desk.go(&change.id, &[Request, Start, Complete]).await;
    let unapproved = desk.does(&desk.requester, Close("learnt"), &change.id).await.unwrap_err();
    assert_eq!(reason(&unapproved), "CHANGE_NOT_APPROVED");
    let own = desk.does(&desk.requester, Approve, &change.id).await.unwrap_err();
    assert_eq!(reason(&own), "SELF_APPROVAL");
    let approved = desk.go(&change.id, &[Approve]).await;
    assert_eq!(approved.state(), ChangeState::Completed);
    let unreviewed = desk.does(&desk.requester, Close(""), &change.id).await.unwrap_err();
    assert_eq!(reason(&unreviewed), "CHANGE_REVIEW_NOTES_MISSING");
    let closed = desk.go(&change.id, &[Close("Watch the disks.")]).await;
    assert_eq!((closed.state(), closed.review_notes.as_str()), (ChangeState::Closed, "Watch the disks."));
}

#[tokio::test]
async fn what_failed_says_what_came_of_it_and_what_was_learnt() {
    let desk = Desk::open().await;
    let change = desk.create(desk.change(ChangeType::Normal), "").await.unwrap();
    desk.go(&change.id, &[Request, Approve, Schedule, Start]).await;
    let silent = desk.does(&desk.requester, Fail(" "), &change.id).await.unwrap_err();
    assert_eq!((silent.code(), field(&silent).as_str()), (Code::InvalidArgument, "outcome_notes"));
    desk.go(&change.id, &[Fail("The new disk failed too.")]).await;
    let unreviewed = desk.does(&desk.requester, Close(""), &change.id).await.unwrap_err();
    assert_eq!(reason(&unreviewed), "CHANGE_REVIEW_NOTES_MISSING");
    assert_eq!(desk.go(&change.id, &[Close("Other disks.")]).await.state(), ChangeState::Closed);
}

#[tokio::test]
async fn a_rejected_change_is_edited_and_asked_for_again() {
    let desk = Desk::open().await;
    let change = desk.create(desk.change(ChangeType::Normal), "").await.unwrap();
    let rejected = desk.go(&change.id, &[Request, Reject]).await;
    assert_eq!(rejected.state(), ChangeState::Rejected);
    assert!(desk.does(&desk.approver, Approve, &change.id).await.is_err());
    desk.update(Change { backout_plan: "Restore.".to_owned(), ..rejected }, &["backout_plan"]).await.unwrap();
    assert_eq!(desk.go(&change.id, &[Request, Approve]).await.state(), ChangeState::Approved);
    assert_eq!(desk.go(&change.id, &[Cancel]).await.state(), ChangeState::Cancelled);
    let over = desk.get(&change.id).await;
    let refused = desk.update(Change { title: "Disk".to_owned(), ..over }, &["title"]).await.unwrap_err();
    assert_eq!(reason(&refused), "CHANGE_OVER");
}

impl Desk {
    async fn get(&self, id: &str) -> Change {
        let message = GetChangeRequest { id: id.to_owned() };
        self.client.clone().get_change(self.stage.request(&self.requester, message)).await.unwrap().into_inner()
    }
}

#[tokio::test]
async fn bad_fields_are_named() {
    let desk = Desk::open().await;
    let base = || desk.change(ChangeType::Normal);
    let nobody = Uuid::from_u128(9).to_string();
    for (change, wrong) in [
        (Change { title: "\n".to_owned(), ..base() }, "change.title"),
        (Change { title: "x".repeat(201), ..base() }, "change.title"),
        (Change { r#type: 0, ..base() }, "change.type"),
        (Change { risk: 0, ..base() }, "change.risk"),
        (Change { reason: "x".repeat(2_001), ..base() }, "change.reason"),
        (Change { implementation_plan: "é".repeat(8_193), ..base() }, "change.implementation_plan"),
        (Change { service_ids: vec!["shop".to_owned()], ..base() }, "change.service_ids[0]"),
        (Change { service_ids: vec![nobody.clone(); 101], ..base() }, "change.service_ids"),
        (Change { service_ids: vec![nobody.clone()], ..base() }, "change.service_ids"),
        (Change { ci_ids: vec![nobody.clone()], ..base() }, "change.ci_ids"),
        (Change { assigned_team_id: nobody.clone(), ..base() }, "change.assigned_team_id"),
    ] {
        let refused = desk.create(change, "").await.unwrap_err();
        assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, wrong));
    }
    let change = desk.create(Change { reason: String::new(), ..base() }, "").await.unwrap();
    for path in ["state", "type", "number", "requester_id", "plan_revision", "approval", "nonsense"] {
        let refused = desk.update(change.clone(), &[path]).await.unwrap_err();
        assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, "update_mask"), "{path}");
    }
    let refused = desk.update(Change { revision: 0, ..change.clone() }, &["title"]).await.unwrap_err();
    assert_eq!(field(&refused), "change.revision");
    let refused = desk.does(&desk.requester, Request, &change.id).await.unwrap_err();
    assert_eq!((reason(&refused).as_str(), refused.code()), ("CHANGE_PLAN_INCOMPLETE", Code::FailedPrecondition));
    assert!(refused.message().ends_with("reason"), "{}", refused.message());
    let refused = desk.schedule(&change.id, 2, 2).await.unwrap_err();
    assert_eq!((refused.code(), field(&refused).as_str()), (Code::InvalidArgument, "planned_end_time"));
    assert_eq!(desk.history(&change.id).await, ["drafted"], "what is refused leaves no trace");
}

#[tokio::test]
async fn what_a_change_affects_is_asked_of_the_catalog_and_must_be_in_use() {
    let desk = Desk::open().await;
    let (service, item, retired) = (Uuid::from_u128(11), Uuid::from_u128(12), Uuid::from_u128(13));
    desk.says_service(service, 1, LifecycleState::Live);
    desk.says_item(item, 1, LifecycleState::Planned);
    desk.says_service(retired, 1, LifecycleState::Retired);
    let named = |services: &[Uuid], items: &[Uuid]| Change {
        service_ids: services.iter().map(Uuid::to_string).collect(),
        ci_ids: items.iter().map(Uuid::to_string).collect(),
        ..desk.change(ChangeType::Normal)
    };
    let change = desk.create(named(&[service, service], &[item]), "").await.unwrap();
    assert_eq!((change.service_ids.len(), change.ci_ids.len()), (1, 1), "each once");
    let refused = desk.create(named(&[retired], &[]), "").await.unwrap_err();
    assert!(refused.message().contains("no longer takes part"), "{}", refused.message());
    // An item is no service.
    assert_eq!(field(&desk.create(named(&[item], &[]), "").await.unwrap_err()), "change.service_ids");

    let list = |filter: String| {
        let message = ListChangesRequest { filter, ..Default::default() };
        let request = desk.stage.request(&desk.requester, message);
        let mut client = desk.client.clone();
        async move { client.list_changes(request).await.unwrap().into_inner().changes.len() }
    };
    desk.create(desk.change(ChangeType::Standard), "").await.unwrap();
    for (filter, found) in [
        (format!("service_id = {service}"), 1),
        (format!("service_id != {service}"), 1),
        (format!("ci_id = {item} AND type = NORMAL"), 1),
        (format!("service_id = {retired}"), 0),
        ("service_id:*".to_owned(), 1),
        ("state = draft AND risk = MINOR".to_owned(), 2),
        (format!("number = \"{}\"", change.number), 1),
        (format!("requester_id = {}", desk.requester.id), 2),
    ] {
        assert_eq!(list(filter.clone()).await, found, "{filter}");
    }
}

#[tokio::test]
async fn the_same_request_gets_the_first_answer_and_two_racing_verbs_make_one_event() {
    let desk = Desk::open().await;
    let first = desk.create(desk.change(ChangeType::Normal), "key").await.unwrap();
    desk.go(&first.id, &[Request]).await;
    assert_eq!(desk.create(desk.change(ChangeType::Normal), "key").await.unwrap(), first);
    let other = desk.create(desk.change(ChangeType::Standard), "key").await.unwrap_err();
    assert_eq!(reason(&other), "REQUEST_ID_REUSED");

    let second = desk.stage.person(Role::Manager, desk.team);
    let (one, two) =
        tokio::join!(desk.does(&desk.approver, Approve, &first.id), desk.does(&second, Approve, &first.id));
    assert_eq!(one.unwrap().approval, two.unwrap().approval, "one approval, said to both");
    assert_eq!(desk.history(&first.id).await, ["drafted", "requested", "approved"]);
}

#[tokio::test]
async fn another_tenants_change_answers_like_an_absent_one() {
    let desk = Desk::open().await;
    let change = desk.create(desk.change(ChangeType::Normal), "").await.unwrap();
    let stranger = Person {
        tenant: Tenant { id: TenantId::draw(), slug: "other".to_owned() },
        id: PersonId::draw(),
        administrator: true,
        ..desk.requester.clone()
    };
    for id in [change.id.clone(), change.number.clone(), Uuid::from_u128(9).to_string()] {
        let absent = desk.does(&stranger, Request, &id).await.unwrap_err();
        assert_eq!(
            (absent.code(), absent.message().replace(&id, "X").as_str()),
            (Code::NotFound, "there is no change X")
        );
    }
    let list = desk.client.clone().list_changes(desk.stage.request(&stranger, ListChangesRequest::default())).await;
    assert!(list.unwrap().into_inner().changes.is_empty());
    let odd = desk.does(&desk.requester, Request, "CHG").await.unwrap_err();
    assert_eq!((odd.code(), field(&odd).as_str()), (Code::InvalidArgument, "id"));
}

#[tokio::test]
async fn lists_page_and_a_watch_resumes_after_a_gap() {
    let desk = Desk::open().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, desk.create(desk.change(ChangeType::Normal), "").await.unwrap().id);
    }
    let mut client = desk.client.clone();
    let mut listed = Vec::new();
    let mut page = ListChangesRequest { page_size: 2, ..Default::default() };
    loop {
        let response = client.list_changes(desk.stage.request(&desk.requester, page.clone())).await.unwrap();
        listed.extend(response.get_ref().changes.iter().map(|change| change.id.clone()));
        page.page_token = response.into_inner().next_page_token;
        if page.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, ids);

    let start = WatchChangesRequest { start_time: Some(prost_types::Timestamp::default()), ..Default::default() };
    let mut events = client.watch_changes(desk.stage.request(&desk.requester, start)).await.unwrap().into_inner();
    let mut last = None;
    for _ in 0..5 {
        last = events.message().await.unwrap();
    }
    drop(events);
    desk.go(&ids[0], &[Request, Approve]).await;
    let cursor = last.unwrap().cursor;
    let resume = WatchChangesRequest { cursor, filter: "state = APPROVED".to_owned(), ..Default::default() };
    let mut events = client.watch_changes(desk.stage.request(&desk.requester, resume)).await.unwrap().into_inner();
    let next = events.message().await.unwrap().unwrap();
    assert_eq!((next.r#type.as_str(), next.record_id.as_str(), next.revision), ("approved", ids[0].as_str(), 3));
}

#[tokio::test]
async fn other_services_page_all_records_and_look_one_up() {
    let desk = Desk::open().await;
    let change = desk.create(desk.change(ChangeType::Normal), "").await.unwrap();
    let mut internal = InternalClient::new(desk.stage.channel("change"));
    let tenant_id = desk.stage.tenant.id.to_string();
    let message = SnapshotRequest { tenant_id: tenant_id.clone(), page_token: String::new() };
    let page = internal.snapshot(desk.stage.service_request("sla", "change", message)).await.unwrap().into_inner();
    assert_eq!((page.entries.len(), page.entries[0].record_id.as_str()), (1, change.id.as_str()));
    let message = LookupRequest { tenant_id, record_id: change.id.clone() };
    let answer = internal.lookup(desk.stage.service_request("sla", "change", message.clone())).await.unwrap();
    assert_eq!(answer.into_inner().entry.unwrap().revision, 1);
    let person = internal.lookup(desk.stage.request(&desk.requester, message)).await.unwrap_err();
    assert_eq!(person.code(), Code::PermissionDenied);
}

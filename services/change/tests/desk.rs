//! What the tests of changes share: the service on a stage, a catalog, and people with roles.

use change::{MIGRATOR, Settings};
use kit::{
    caller::Person,
    clock::Clock,
    id::TeamId,
    testing::{Owner, Stage, eventually},
};
use prost::Message;
use proto::{
    catalog::v1::{CatalogEvent, ConfigurationItem, LifecycleState, Service, catalog_event},
    change::v1::{
        ApproveChangeRequest, CancelChangeRequest, Change, ChangeType, CloseChangeRequest, CompleteChangeRequest,
        CreateChangeRequest, FailChangeRequest, ListChangeEventsRequest, RejectChangeRequest, RequestChangeRequest,
        Risk, ScheduleChangeRequest, StartChangeRequest, UpdateChangeRequest,
        change_service_client::ChangeServiceClient,
    },
    common::v1::Role,
    directory::v1::{DirectoryEvent, Team, TeamState, directory_event},
};
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt;
use uuid::Uuid;

pub struct Desk {
    pub stage: Stage,
    pub directory: Owner,
    pub catalog: Owner,
    pub client: ChangeServiceClient<Channel>,
    pub team: TeamId,
    pub requester: Person,
    pub approver: Person,
}

/// What people do to a change, with what each verb needs and nothing more.
#[derive(Debug, Clone, Copy)]
pub enum Verb {
    Request,
    Approve,
    Reject,
    Schedule,
    Start,
    Complete,
    Fail(&'static str),
    Close(&'static str),
    Cancel,
}

impl Desk {
    pub async fn open() -> Self {
        let stage = Stage::set(&[("change", &MIGRATOR)]).await;
        let (directory, catalog) = (stage.owner("directory").await, stage.owner("catalog").await);
        let team = TeamId::draw();
        directory.say(team.0, "team_created", stage.clock.now(), team_event(team.0, 1, TeamState::Active));
        change::start(stage.context("change").await, Settings::default()).await.unwrap();
        eventually("readiness", || async { stage.readiness.waiting().is_empty().then_some(()) }).await;
        let client = ChangeServiceClient::new(stage.channel("change"));
        let (requester, approver) = (stage.person(Role::Manager, team), stage.person(Role::Manager, team));
        Self { stage, directory, catalog, client, team, requester, approver }
    }

    /// A change that lacks nothing.
    pub fn change(&self, kind: ChangeType) -> Change {
        Change {
            title: "Replace the disk".to_owned(),
            r#type: kind.into(),
            risk: Risk::Minor.into(),
            reason: "It reports errors.".to_owned(),
            implementation_plan: "Swap it, wait for the rebuild.".to_owned(),
            backout_plan: "Put the old one back.".to_owned(),
            assigned_team_id: self.team.to_string(),
            ..Change::default()
        }
    }

    pub async fn create(&self, change: Change, request_id: &str) -> Result<Change, Status> {
        let message = CreateChangeRequest { change: Some(change), request_id: request_id.to_owned() };
        Ok(self.client.clone().create_change(self.stage.request(&self.requester, message)).await?.into_inner())
    }

    pub async fn update(&self, change: Change, paths: &[&str]) -> Result<Change, Status> {
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        let message = UpdateChangeRequest {
            change: Some(change),
            update_mask: Some(prost_types::FieldMask { paths }),
            request_id: String::new(),
        };
        Ok(self.client.clone().update_change(self.stage.request(&self.requester, message)).await?.into_inner())
    }

    pub async fn schedule(&self, id: &str, start: i64, end: i64) -> Result<Change, Status> {
        let time = |hours: i64| kit::bus::timestamp(self.stage.clock.now() + chrono::TimeDelta::hours(hours));
        let message = ScheduleChangeRequest {
            id: id.to_owned(),
            planned_start_time: Some(time(start)),
            planned_end_time: Some(time(end)),
            ..Default::default()
        };
        Ok(self.client.clone().schedule_change(self.stage.request(&self.requester, message)).await?.into_inner())
    }

    /// Does it, without a revision.
    pub async fn does(&self, person: &Person, verb: Verb, id: &str) -> Result<Change, Status> {
        let (mut client, stage, id) = (self.client.clone(), &self.stage, id.to_owned());
        macro_rules! call {
            ($method:ident, $message:expr) => {
                client.$method(stage.request(person, $message)).await.map(tonic::Response::into_inner)
            };
        }
        match verb {
            Verb::Request => call!(request_change, RequestChangeRequest { id, ..Default::default() }),
            Verb::Approve => call!(approve_change, ApproveChangeRequest { id, ..Default::default() }),
            Verb::Reject => {
                call!(reject_change, RejectChangeRequest { id, reason: "Too risky.".to_owned(), ..Default::default() })
            }
            Verb::Schedule => self.schedule(&id, 1, 2).await,
            Verb::Start => call!(start_change, StartChangeRequest { id, ..Default::default() }),
            Verb::Complete => call!(complete_change, CompleteChangeRequest { id, ..Default::default() }),
            Verb::Fail(notes) => {
                call!(fail_change, FailChangeRequest { id, outcome_notes: notes.to_owned(), ..Default::default() })
            }
            Verb::Close(notes) => {
                call!(close_change, CloseChangeRequest { id, review_notes: notes.to_owned(), ..Default::default() })
            }
            Verb::Cancel => {
                call!(cancel_change, CancelChangeRequest { id, reason: "Not needed.".to_owned(), ..Default::default() })
            }
        }
    }

    /// Does one after the other: approving is the approver's, all else the requester's.
    pub async fn go(&self, id: &str, verbs: &[Verb]) -> Change {
        let mut change = None;
        for &verb in verbs {
            let person = if matches!(verb, Verb::Approve | Verb::Reject) { &self.approver } else { &self.requester };
            change = Some(self.does(person, verb, id).await.unwrap_or_else(|status| panic!("{verb:?}: {status}")));
        }
        change.unwrap()
    }

    pub async fn history(&self, id: &str) -> Vec<String> {
        let message = ListChangeEventsRequest { id: id.to_owned(), ..Default::default() };
        let response = self.client.clone().list_change_events(self.stage.request(&self.requester, message)).await;
        response.unwrap().into_inner().events.into_iter().map(|entry| entry.r#type).collect()
    }

    /// The catalog says a service.
    pub fn says_service(&self, id: Uuid, revision: i64, state: LifecycleState) -> proto::common::v1::FeedEntry {
        let service = Service { id: id.to_string(), revision, state: state.into(), ..Service::default() };
        let record = Some(catalog_event::Record::Service(service));
        let body = CatalogEvent { record, actor: None, what: None }.encode_to_vec();
        self.catalog.say(id, "service_changed", self.stage.clock.now(), body)
    }

    /// The catalog says a configuration item.
    pub fn says_item(&self, id: Uuid, revision: i64, state: LifecycleState) -> proto::common::v1::FeedEntry {
        let item = ConfigurationItem { id: id.to_string(), revision, state: state.into(), ..Default::default() };
        let record = Some(catalog_event::Record::ConfigurationItem(item));
        let body = CatalogEvent { record, actor: None, what: None }.encode_to_vec();
        self.catalog.say(id, "configuration_item_changed", self.stage.clock.now(), body)
    }
}

pub fn team_event(id: Uuid, revision: i64, state: TeamState) -> Vec<u8> {
    let team = Team { id: id.to_string(), revision, state: state.into(), ..Team::default() };
    DirectoryEvent { record: Some(directory_event::Record::Team(team)), actor: None, what: None }.encode_to_vec()
}

/// The stable reason of a refusal.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

/// The field that was refused.
pub fn field(status: &Status) -> String {
    status.get_details_bad_request().unwrap().field_violations[0].field.clone()
}

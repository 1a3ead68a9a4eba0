//! What the tests of the catalog share: the service on a stage, two teams, a manager.

use catalog::{MIGRATOR, Settings};
use kit::{
    caller::Person,
    clock::Clock,
    id::TeamId,
    testing::{Owner, Stage, eventually},
};
use prost::Message;
use proto::{
    catalog::v1::{
        ConfigurationItem, CreateConfigurationItemRequest, CreateServiceRequest, Service, ServiceKind,
        catalog_service_client::CatalogServiceClient,
    },
    common::v1::{Impact, Role},
    directory::v1::{DirectoryEvent, Team, TeamState, directory_event},
};
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt;

pub struct Desk {
    pub stage: Stage,
    pub directory: Owner,
    pub client: CatalogServiceClient<Channel>,
    pub manager: Person,
    pub team: TeamId,
    pub support: TeamId,
}

impl Desk {
    pub async fn open() -> Self {
        let stage = Stage::set(&[("catalog", &MIGRATOR)]).await;
        let directory = stage.owner("directory").await;
        let (team, support) = (TeamId::draw(), TeamId::draw());
        for id in [team, support] {
            directory.say(id.0, "team_created", stage.clock.now(), team_event(id, 1, TeamState::Active));
        }
        catalog::start(stage.context("catalog").await, Settings::default()).await.unwrap();
        eventually("readiness", || async { stage.readiness.waiting().is_empty().then_some(()) }).await;
        let client = CatalogServiceClient::new(stage.channel("catalog"));
        let manager = stage.person(Role::Manager, team);
        Self { stage, directory, client, manager, team, support }
    }

    pub fn service(&self, name: &str) -> Service {
        Service {
            name: name.to_owned(),
            display_name: format!("The {name}"),
            kind: ServiceKind::Business.into(),
            owning_team_id: self.team.to_string(),
            impact: Impact::Significant.into(),
            ..Service::default()
        }
    }

    pub fn item(&self, name: &str) -> ConfigurationItem {
        ConfigurationItem {
            name: name.to_owned(),
            display_name: format!("The {name}"),
            kind: "host".to_owned(),
            owning_team_id: self.team.to_string(),
            ..ConfigurationItem::default()
        }
    }

    pub async fn create(&self, service: Service, request_id: &str) -> Result<Service, Status> {
        let message = CreateServiceRequest { service: Some(service), request_id: request_id.to_owned() };
        let request = self.stage.request(&self.manager, message);
        Ok(self.client.clone().create_service(request).await?.into_inner())
    }

    pub async fn create_item(&self, item: ConfigurationItem) -> Result<ConfigurationItem, Status> {
        let message = CreateConfigurationItemRequest { configuration_item: Some(item), request_id: String::new() };
        let request = self.stage.request(&self.manager, message);
        Ok(self.client.clone().create_configuration_item(request).await?.into_inner())
    }
}

pub fn team_event(id: TeamId, revision: i64, state: TeamState) -> Vec<u8> {
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

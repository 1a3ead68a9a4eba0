//! A directory with one tenant and its first administrator, and the words in which tests speak to it.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
#![expect(dead_code, reason = "each test file uses some of it")]

use std::sync::Arc;

use directory::{App, MIGRATOR, Settings};
use kit::{
    caller::Person as Caller,
    id::{TeamId, Tenant as TenantName},
    testing::Stage,
};
use proto::{
    common::v1::Role,
    directory::v1::{
        ApiKey, AuthenticateRequest, CreateApiKeyRequest, CreateMembershipRequest, CreatePersonRequest,
        CreateTeamRequest, DirectoryEventEntry, ListPersonEventsRequest, Membership, Person, PersonKind, Team,
        directory_service_client::DirectoryServiceClient, internal_client::InternalClient,
    },
};
use sqlx::Row;
use tonic::{Code, Request, Status, transport::Channel};
use tonic_types::StatusExt;

pub struct Desk {
    pub stage: Stage,
    pub app: Arc<App>,
    pub client: DirectoryServiceClient<Channel>,
    pub internal: InternalClient<Channel>,
    pub admin: Caller,
    pub admin_key: String,
    pub team: TeamId,
}

impl Desk {
    pub async fn open() -> Self {
        Self::open_with(Settings::default()).await
    }

    pub async fn open_with(settings: Settings) -> Self {
        let stage = Stage::set(&[("directory", &MIGRATOR)]).await;
        let app = directory::start(stage.context("directory").await, settings, stage.directory()).await.unwrap();
        let (admin, admin_key, team) = provision(&app, "default").await;
        let client = DirectoryServiceClient::new(stage.channel("directory"));
        let internal = InternalClient::new(stage.channel("directory"));
        Self { stage, app, client, internal, admin, admin_key, team }
    }

    /// Another tenant, with an administrator of its own.
    pub async fn other_tenant(&self) -> Caller {
        provision(&self.app, "other").await.0
    }

    pub fn ask<T>(&self, caller: &Caller, message: T) -> Request<T> {
        self.stage.request(caller, message)
    }

    pub async fn create_person(&mut self, name: &str, administrator: bool) -> Person {
        let person = Person {
            kind: PersonKind::Human.into(),
            display_name: name.to_owned(),
            email: format!("{}@example.com", name.to_lowercase()),
            administrator,
            ..Person::default()
        };
        let message = CreatePersonRequest { person: Some(person), request_id: String::new() };
        self.client.create_person(self.stage.request(&self.admin, message)).await.unwrap().into_inner()
    }

    pub async fn create_team(&mut self, name: &str) -> Result<Team, Status> {
        let team = Team { name: name.to_owned(), display_name: name.to_owned(), ..Team::default() };
        let message = CreateTeamRequest { team: Some(team), request_id: String::new() };
        Ok(self.client.create_team(self.stage.request(&self.admin, message)).await?.into_inner())
    }

    pub async fn join(&mut self, by: &Caller, team: &str, person: &str, role: Role) -> Result<Membership, Status> {
        let membership = Membership {
            team_id: team.to_owned(),
            person_id: person.to_owned(),
            role: role.into(),
            ..Membership::default()
        };
        let message = CreateMembershipRequest { membership: Some(membership), request_id: String::new() };
        Ok(self.client.create_membership(self.stage.request(by, message)).await?.into_inner())
    }

    pub async fn create_key(&mut self, by: &Caller, key: ApiKey) -> Result<(ApiKey, String), Status> {
        let key = ApiKey { display_name: "test".to_owned(), ..key };
        let message = CreateApiKeyRequest { api_key: Some(key), request_id: String::new() };
        let answer = self.client.create_api_key(self.stage.request(by, message)).await?.into_inner();
        Ok((answer.api_key.unwrap(), answer.key))
    }

    pub async fn key_for(&mut self, person: &str) -> (ApiKey, String) {
        let by = self.admin.clone();
        self.create_key(&by, ApiKey { person_id: person.to_owned(), ..ApiKey::default() }).await.unwrap()
    }

    pub async fn authenticate(&mut self, credential: &str) -> Result<String, Status> {
        let message = AuthenticateRequest { credential: credential.to_owned() };
        let request = self.stage.service_request("incident", "directory", message);
        Ok(self.internal.authenticate(request).await?.into_inner().token)
    }

    pub async fn history(&mut self, by: &Caller, person: &str) -> Vec<DirectoryEventEntry> {
        let message = ListPersonEventsRequest { id: person.to_owned(), ..Default::default() };
        self.client.list_person_events(self.stage.request(by, message)).await.unwrap().into_inner().events
    }

    /// What happened, of whatever record, in order.
    pub async fn said(&self) -> Vec<String> {
        let mut admin = self.stage.admin().await;
        let rows = sqlx::query("select type from directory.journal order by event_id").fetch_all(&mut admin).await;
        rows.unwrap().iter().map(|row| row.get("type")).collect()
    }
}

async fn provision(app: &App, slug: &str) -> (Caller, String, TeamId) {
    let administrator = ("Ada Lovelace", "ada@lovelace.example");
    let team = Some(("operations", "Operations"));
    let provisioned = app.provision_tenant(slug, "A tenant", administrator, team).await.unwrap();
    let made = provisioned.made.unwrap();
    let tenant = TenantName { id: provisioned.tenant.id, slug: slug.to_owned() };
    let team = made.team.unwrap();
    let admin = Caller {
        tenant,
        id: made.administrator,
        administrator: true,
        teams: vec![(team, Role::Manager)],
        scopes: vec![],
        key_id: "test".to_owned(),
    };
    (admin, made.api_key.expose().to_owned(), team)
}

/// A person as a caller, with roles.
pub fn caller(admin: &Caller, person: &Person, teams: &[(&str, Role)]) -> Caller {
    Caller {
        tenant: admin.tenant.clone(),
        id: person.id.parse().unwrap(),
        administrator: person.administrator,
        teams: teams.iter().map(|(team, role)| (team.parse().unwrap(), *role)).collect(),
        scopes: vec![],
        key_id: "test".to_owned(),
    }
}

/// Code and stable reason of a refusal.
pub fn refusal(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}

/// The field that a refusal blames.
pub fn field(status: &Status) -> String {
    let details = status.get_details_bad_request();
    details.map(|details| details.field_violations[0].field.clone()).unwrap_or_default()
}

pub fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: paths.iter().map(|&path| path.to_owned()).collect() })
}

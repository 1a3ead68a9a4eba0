//! gRPC: short handlers that parse, call the use case, and convert the answer. [`pages`] has what
//! lists, histories and watches share.

pub mod convert;
pub mod internal;
pub mod pages;
pub mod status;

use std::sync::Arc;

use kit::{
    caller::Call,
    id::{TeamId, TenantId},
    problem::Problem,
    request::Done,
};
use proto::common::v1::Role;
use proto::directory::v1::{
    ApiKey, Caller, CallerTeam, CreateApiKeyRequest, CreateApiKeyResponse, CreateMembershipRequest,
    CreatePersonRequest, CreateTeamRequest, DeactivatePersonRequest, EndMembershipRequest, GetApiKeyRequest,
    GetCallerRequest, GetMembershipRequest, GetPersonRequest, GetTeamRequest, GetTenantRequest,
    ListApiKeyEventsRequest, ListApiKeyEventsResponse, ListApiKeysRequest, ListApiKeysResponse,
    ListMembershipEventsRequest, ListMembershipEventsResponse, ListMembershipsRequest, ListMembershipsResponse,
    ListPeopleRequest, ListPeopleResponse, ListPersonEventsRequest, ListPersonEventsResponse, ListTeamEventsRequest,
    ListTeamEventsResponse, ListTeamsRequest, ListTeamsResponse, ListTenantEventsRequest, ListTenantEventsResponse,
    Membership, Person, ReactivatePersonRequest, RetireTeamRequest, RevokeApiKeyRequest, Team, Tenant,
    UpdateMembershipRequest, UpdatePersonRequest, UpdateTeamRequest, UpdateTenantRequest, WatchMembershipsRequest,
    WatchPeopleRequest, WatchTeamsRequest, directory_service_server::DirectoryService,
};
use tonic::{Request, Response, Status};

use self::{
    convert::{records, requests, target},
    pages::{Events, Question},
};
use crate::{
    app::{App, api_keys::visible},
    domain,
    store::{api_keys, memberships, people, teams},
};

/// The service's gRPC.
#[derive(Clone)]
pub struct Api {
    app: Arc<App>,
}

impl Api {
    /// Puts gRPC in front of the use cases.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// A person as an answer. What was kept of an earlier one has no name; the row has.
    async fn person(&self, tenant: TenantId, done: Done<domain::Person>) -> Answer<Person> {
        let kept = match done {
            Done::Now(person) => return Ok(Response::new(records::person(&person))),
            Done::Before(body) => records::person_of(&body)?,
        };
        let now: domain::Person = self.app.get(tenant, convert::id("id", &kept.id)?).await?;
        Ok(Response::new(Person {
            display_name: now.display_name.expose().to_owned(),
            email: now.email.expose().to_owned(),
            ..kept
        }))
    }
}

type Answer<T> = Result<Response<T>, Status>;

/// The answer of a command: the record now, or the kept one.
macro_rules! answer {
    ($done:expr, $record:path, $kept:path) => {
        match $done {
            Done::Now(record) => Ok(Response::new($record(&record))),
            Done::Before(body) => Ok(Response::new($kept(&body)?)),
        }
    };
}

/// The call of a request, its key taken out before the request is digested.
macro_rules! call {
    ($request:ident, $method:literal) => {
        Call::of(concat!("DirectoryService/", $method), &$request, |message| std::mem::take(&mut message.request_id))?
    };
}

/// The call of a question, which has no key.
fn asks<T: prost::Message + Clone>(method: &'static str, request: &Request<T>) -> Result<Call, Problem> {
    Call::of(method, request, |_| String::new())
}

#[tonic::async_trait]
impl DirectoryService for Api {
    async fn get_tenant(&self, request: Request<GetTenantRequest>) -> Answer<Tenant> {
        let call = asks("DirectoryService/GetTenant", &request)?;
        let tenant: domain::Tenant = self.app.get(call.tenant().id, convert::id("id", &request.get_ref().id)?).await?;
        Ok(Response::new(records::tenant(&tenant)))
    }

    async fn update_tenant(&self, request: Request<UpdateTenantRequest>) -> Answer<Tenant> {
        let call = call!(request, "UpdateTenant");
        let request = request.into_inner();
        let (target, display_name) = requests::update_tenant(request.tenant, request.update_mask)?;
        answer!(self.app.update_tenant(call, target, display_name).await?, records::tenant, records::tenant_of)
    }

    async fn list_tenant_events(&self, request: Request<ListTenantEventsRequest>) -> Answer<ListTenantEventsResponse> {
        let call = asks("DirectoryService/ListTenantEvents", &request)?;
        let request = request.into_inner();
        let question = Question::history("ListTenantEvents", &request.id, request.page_size, &request.page_token);
        let (events, next_page_token) = self.history::<domain::Tenant>(&call, question, |_, _| true).await?;
        Ok(Response::new(ListTenantEventsResponse { events, next_page_token }))
    }

    async fn get_person(&self, request: Request<GetPersonRequest>) -> Answer<Person> {
        let call = asks("DirectoryService/GetPerson", &request)?;
        let person: domain::Person = self.app.get(call.tenant().id, convert::id("id", &request.get_ref().id)?).await?;
        Ok(Response::new(records::person(&person)))
    }

    async fn list_people(&self, request: Request<ListPeopleRequest>) -> Answer<ListPeopleResponse> {
        let call = asks("DirectoryService/ListPeople", &request)?;
        let request = request.into_inner();
        let question = Question::list("ListPeople", &request.filter, request.page_size, &request.page_token);
        let (page, next_page_token) = self.list::<domain::Person>(&call, question).await?;
        Ok(Response::new(ListPeopleResponse { people: page.iter().map(records::person).collect(), next_page_token }))
    }

    async fn create_person(&self, request: Request<CreatePersonRequest>) -> Answer<Person> {
        let call = call!(request, "CreatePerson");
        let tenant = call.tenant().id;
        let wanted = requests::create_person(request.into_inner().person)?;
        self.person(tenant, self.app.create_person(call, wanted).await?).await
    }

    async fn update_person(&self, request: Request<UpdatePersonRequest>) -> Answer<Person> {
        let call = call!(request, "UpdatePerson");
        let tenant = call.tenant().id;
        let request = request.into_inner();
        let (target, update) = requests::update_person(request.person, request.update_mask)?;
        self.person(tenant, self.app.update_person(call, target, update).await?).await
    }

    async fn deactivate_person(&self, request: Request<DeactivatePersonRequest>) -> Answer<Person> {
        let call = call!(request, "DeactivatePerson");
        let tenant = call.tenant().id;
        let request = request.into_inner();
        let target = target(&request.id, request.revision)?;
        self.person(tenant, self.app.deactivate_person(call, target).await?).await
    }

    async fn reactivate_person(&self, request: Request<ReactivatePersonRequest>) -> Answer<Person> {
        let call = call!(request, "ReactivatePerson");
        let tenant = call.tenant().id;
        let request = request.into_inner();
        let target = target(&request.id, request.revision)?;
        self.person(tenant, self.app.reactivate_person(call, target).await?).await
    }

    async fn list_person_events(&self, request: Request<ListPersonEventsRequest>) -> Answer<ListPersonEventsResponse> {
        let call = asks("DirectoryService/ListPersonEvents", &request)?;
        let request = request.into_inner();
        let question = Question::history("ListPersonEvents", &request.id, request.page_size, &request.page_token);
        let (events, next_page_token) = self.history::<domain::Person>(&call, question, |_, _| true).await?;
        Ok(Response::new(ListPersonEventsResponse { events, next_page_token }))
    }

    type WatchPeopleStream = Events;

    async fn watch_people(&self, request: Request<WatchPeopleRequest>) -> Answer<Events> {
        let call = asks("DirectoryService/WatchPeople", &request)?;
        let request = request.into_inner();
        let from = convert::watch_from(request.cursor, request.start_time)?;
        self.watch(&call, from, &request.filter, people::WATCH_FIELDS, records::person_field).await
    }

    async fn get_team(&self, request: Request<GetTeamRequest>) -> Answer<Team> {
        let call = asks("DirectoryService/GetTeam", &request)?;
        let team: domain::Team = self.app.get(call.tenant().id, convert::id("id", &request.get_ref().id)?).await?;
        Ok(Response::new(records::team(&team)))
    }

    async fn list_teams(&self, request: Request<ListTeamsRequest>) -> Answer<ListTeamsResponse> {
        let call = asks("DirectoryService/ListTeams", &request)?;
        let request = request.into_inner();
        let question = Question::list("ListTeams", &request.filter, request.page_size, &request.page_token);
        let (page, next_page_token) = self.list::<domain::Team>(&call, question).await?;
        Ok(Response::new(ListTeamsResponse { teams: page.iter().map(records::team).collect(), next_page_token }))
    }

    async fn create_team(&self, request: Request<CreateTeamRequest>) -> Answer<Team> {
        let call = call!(request, "CreateTeam");
        let wanted = requests::create_team(request.into_inner().team)?;
        answer!(self.app.create_team(call, wanted).await?, records::team, records::team_of)
    }

    async fn update_team(&self, request: Request<UpdateTeamRequest>) -> Answer<Team> {
        let call = call!(request, "UpdateTeam");
        let request = request.into_inner();
        let (target, update) = requests::update_team(request.team, request.update_mask)?;
        answer!(self.app.update_team(call, target, update).await?, records::team, records::team_of)
    }

    async fn retire_team(&self, request: Request<RetireTeamRequest>) -> Answer<Team> {
        let call = call!(request, "RetireTeam");
        let request = request.into_inner();
        let target = target(&request.id, request.revision)?;
        answer!(self.app.retire_team(call, target).await?, records::team, records::team_of)
    }

    async fn list_team_events(&self, request: Request<ListTeamEventsRequest>) -> Answer<ListTeamEventsResponse> {
        let call = asks("DirectoryService/ListTeamEvents", &request)?;
        let request = request.into_inner();
        let question = Question::history("ListTeamEvents", &request.id, request.page_size, &request.page_token);
        let (events, next_page_token) = self.history::<domain::Team>(&call, question, |_, _| true).await?;
        Ok(Response::new(ListTeamEventsResponse { events, next_page_token }))
    }

    type WatchTeamsStream = Events;

    async fn watch_teams(&self, request: Request<WatchTeamsRequest>) -> Answer<Events> {
        let call = asks("DirectoryService/WatchTeams", &request)?;
        let request = request.into_inner();
        let from = convert::watch_from(request.cursor, request.start_time)?;
        self.watch(&call, from, &request.filter, teams::FIELDS, records::team_field).await
    }

    async fn get_membership(&self, request: Request<GetMembershipRequest>) -> Answer<Membership> {
        let call = asks("DirectoryService/GetMembership", &request)?;
        let membership: domain::Membership =
            self.app.get(call.tenant().id, convert::id("id", &request.get_ref().id)?).await?;
        Ok(Response::new(records::membership(&membership)))
    }

    async fn list_memberships(&self, request: Request<ListMembershipsRequest>) -> Answer<ListMembershipsResponse> {
        let call = asks("DirectoryService/ListMemberships", &request)?;
        let request = request.into_inner();
        let question = Question::list("ListMemberships", &request.filter, request.page_size, &request.page_token);
        let (page, next_page_token) = self.list::<domain::Membership>(&call, question).await?;
        Ok(Response::new(ListMembershipsResponse {
            memberships: page.iter().map(records::membership).collect(),
            next_page_token,
        }))
    }

    async fn create_membership(&self, request: Request<CreateMembershipRequest>) -> Answer<Membership> {
        let call = call!(request, "CreateMembership");
        let wanted = requests::create_membership(request.into_inner().membership)?;
        answer!(self.app.create_membership(call, wanted).await?, records::membership, records::membership_of)
    }

    async fn update_membership(&self, request: Request<UpdateMembershipRequest>) -> Answer<Membership> {
        let call = call!(request, "UpdateMembership");
        let request = request.into_inner();
        let (target, role) = requests::update_membership(request.membership, request.update_mask)?;
        answer!(self.app.update_membership(call, target, role).await?, records::membership, records::membership_of)
    }

    async fn end_membership(&self, request: Request<EndMembershipRequest>) -> Answer<Membership> {
        let call = call!(request, "EndMembership");
        let request = request.into_inner();
        let target = target(&request.id, request.revision)?;
        answer!(self.app.end_membership(call, target).await?, records::membership, records::membership_of)
    }

    async fn list_membership_events(
        &self,
        request: Request<ListMembershipEventsRequest>,
    ) -> Answer<ListMembershipEventsResponse> {
        let call = asks("DirectoryService/ListMembershipEvents", &request)?;
        let request = request.into_inner();
        let question = Question::history("ListMembershipEvents", &request.id, request.page_size, &request.page_token);
        let (events, next_page_token) = self.history::<domain::Membership>(&call, question, |_, _| true).await?;
        Ok(Response::new(ListMembershipEventsResponse { events, next_page_token }))
    }

    type WatchMembershipsStream = Events;

    async fn watch_memberships(&self, request: Request<WatchMembershipsRequest>) -> Answer<Events> {
        let call = asks("DirectoryService/WatchMemberships", &request)?;
        let request = request.into_inner();
        let from = convert::watch_from(request.cursor, request.start_time)?;
        self.watch(&call, from, &request.filter, memberships::FIELDS, records::membership_field).await
    }

    async fn get_api_key(&self, request: Request<GetApiKeyRequest>) -> Answer<ApiKey> {
        let call = asks("DirectoryService/GetApiKey", &request)?;
        let key = self.app.get_key(&call.person, convert::id("id", &request.get_ref().id)?).await?;
        Ok(Response::new(records::api_key(&key)))
    }

    async fn list_api_keys(&self, request: Request<ListApiKeysRequest>) -> Answer<ListApiKeysResponse> {
        let call = asks("DirectoryService/ListApiKeys", &request)?;
        let request = request.into_inner();
        let question = Question::list("ListApiKeys", &request.filter, request.page_size, &request.page_token);
        let (size, after) = (question.size()?, question.after()?);
        let filter = convert::filter(&request.filter, api_keys::FIELDS)?;
        let mut keys = self.app.list_keys(&call.person, filter, after, size + 1).await?;
        let next_page_token = question.cut(&mut keys, size);
        Ok(Response::new(ListApiKeysResponse {
            api_keys: keys.iter().map(records::api_key).collect(),
            next_page_token,
        }))
    }

    async fn create_api_key(&self, request: Request<CreateApiKeyRequest>) -> Answer<CreateApiKeyResponse> {
        let call = call!(request, "CreateApiKey");
        let wanted = requests::create_key(request.into_inner().api_key)?;
        let (api_key, key) = match self.app.create_key(call, wanted).await? {
            Done::Now((key, text)) => (records::api_key(&key), text.expose().to_owned()),
            // The secret is kept nowhere, so the same request again cannot show it again.
            Done::Before(body) => (records::api_key_of(&body)?, String::new()),
        };
        Ok(Response::new(CreateApiKeyResponse { api_key: Some(api_key), key }))
    }

    async fn revoke_api_key(&self, request: Request<RevokeApiKeyRequest>) -> Answer<ApiKey> {
        let call = call!(request, "RevokeApiKey");
        let request = request.into_inner();
        let target = target(&request.id, request.revision)?;
        answer!(self.app.revoke_key(call, target).await?, records::api_key, records::api_key_of)
    }

    async fn list_api_key_events(&self, request: Request<ListApiKeyEventsRequest>) -> Answer<ListApiKeyEventsResponse> {
        let call = asks("DirectoryService/ListApiKeyEvents", &request)?;
        let request = request.into_inner();
        let question = Question::history("ListApiKeyEvents", &request.id, request.page_size, &request.page_token);
        let (events, next_page_token) = self.history::<domain::ApiKey>(&call, question, visible).await?;
        Ok(Response::new(ListApiKeyEventsResponse { events, next_page_token }))
    }

    async fn get_caller(&self, request: Request<GetCallerRequest>) -> Answer<Caller> {
        let call = asks("DirectoryService/GetCaller", &request)?;
        let caller = &call.person;
        let person = self.app.caller(caller).await?;
        let team = |(id, role): &(TeamId, Role)| CallerTeam { team_id: id.to_string(), role: (*role).into() };
        Ok(Response::new(Caller {
            person_id: caller.id.to_string(),
            tenant_id: caller.tenant.id.to_string(),
            tenant: caller.tenant.slug.clone(),
            display_name: person.display_name.expose().to_owned(),
            administrator: caller.administrator,
            teams: caller.teams.iter().map(team).collect(),
            scopes: caller.scopes.clone(),
            api_key_id: caller.key_id.clone(),
        }))
    }
}

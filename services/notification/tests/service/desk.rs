//! The stage of every test: the service, its sources whose feeds the test writes, and people.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use kit::{
    caller::Person,
    clock::Clock,
    config::Secret,
    id::{PersonId, TeamId},
    testing::{Owner, Stage, eventually},
};
use notification::{App, MIGRATOR, Settings};
use prost::Message;
use proto::{
    common::v1::Role,
    directory::v1::{self as directory, DirectoryEvent, directory_event},
    incident::v1::{Incident, IncidentEvent, IncidentState},
    notification::v1::{
        ContactMethod, CreateContactMethodRequest, CreateRuleRequest, Delivery, DeliveryState, GetDeliveryRequest,
        ListDeliveriesRequest, Method, Recipients, Rule, notification_service_client::NotificationServiceClient,
    },
};
use tempfile::TempDir;
use tonic::{Status, transport::Channel};
use uuid::Uuid;

pub struct Desk {
    pub stage: Stage,
    pub app: Arc<App>,
    pub client: NotificationServiceClient<Channel>,
    pub administrator: Person,
    pub directory: Owner,
    pub incidents: Owner,
    pub alerts: Owner,
    pub clocks: Owner,
    pub folder: TempDir,
    said: Mutex<HashMap<&'static str, i64>>,
}

pub fn settings(folder: &TempDir) -> Settings {
    Settings {
        mail_folder: folder.path().join("mail"),
        webhook_allow: vec!["127.0.0.0/8".to_owned()],
        secret_key: Secret::new("00".repeat(32)),
        ..Settings::default()
    }
}

impl Desk {
    pub async fn open() -> Self {
        let stage = Stage::set(&[("notification", &MIGRATOR)]).await;
        let directory = stage.owner("directory").await;
        let incidents = stage.owner("incident").await;
        let alerts = stage.owner("alert").await;
        let clocks = stage.owner("sla").await;
        stage.owner("change").await;
        let folder = tempfile::tempdir().unwrap();
        let app = notification::start(stage.context("notification").await, settings(&folder)).await.unwrap();
        eventually("readiness", || async { stage.readiness.waiting().is_empty().then_some(()) }).await;
        let client = NotificationServiceClient::new(stage.channel("notification"));
        let administrator = stage.person(Role::Administrator, TeamId::draw());
        let desk = Self {
            stage,
            app,
            client,
            administrator,
            directory,
            incidents,
            alerts,
            clocks,
            folder,
            said: Mutex::default(),
        };
        desk.joins(desk.administrator.id, true).await;
        desk
    }

    /// A person whom the directory knows.
    pub async fn person(&self, team: TeamId) -> Person {
        let person = self.stage.person(Role::Responder, team);
        self.joins(person.id, false).await;
        person
    }

    async fn joins(&self, id: PersonId, administrator: bool) {
        let person = directory::Person {
            id: id.to_string(),
            revision: 1,
            administrator,
            state: directory::PersonState::Active.into(),
            ..directory::Person::default()
        };
        self.directory_says(id.0, "person_created", directory_event::Record::Person(person)).await;
    }

    pub async fn member(&self, person: &Person, team: TeamId) {
        let id = kit::id::draw();
        self.directory_says(id, "membership_started", membership(id, person, team)).await;
    }

    /// The same, in the directory's feed alone.
    pub async fn member_quietly(&self, person: &Person, team: TeamId) {
        let id = kit::id::draw();
        let event = DirectoryEvent { record: Some(membership(id, person, team)), actor: None, what: None };
        self.says("directory", id, "membership_started", event.encode_to_vec(), false).await;
    }

    async fn directory_says(&self, id: Uuid, kind: &str, record: directory_event::Record) {
        let event = DirectoryEvent { record: Some(record), actor: None, what: None };
        self.says("directory", id, kind, event.encode_to_vec(), true).await;
    }

    /// One of the sources says something, on NATS or in its feed alone.
    pub async fn says(&self, source: &'static str, id: Uuid, kind: &str, body: Vec<u8>, publish: bool) {
        let owner = match source {
            "directory" => &self.directory,
            "incident" => &self.incidents,
            "alert" => &self.alerts,
            _ => &self.clocks,
        };
        let entry = owner.say(id, kind, self.stage.clock.now(), body);
        self.said.lock().unwrap().insert(source, entry.position);
        if publish {
            owner.publish(&entry).await;
        }
    }

    /// Something happened to an incident.
    pub async fn incident_says(&self, record: &Incident, kind: &str) {
        let event = IncidentEvent { incident: Some(record.clone()), actor: None, what: None };
        self.says("incident", record.id.parse().unwrap(), kind, event.encode_to_vec(), true).await;
    }

    pub async fn contact(
        &mut self,
        by: &Person,
        method: Method,
        address: &str,
    ) -> Result<(ContactMethod, String), Status> {
        let contact_method = ContactMethod {
            method: method.into(),
            address: address.to_owned(),
            display_name: "a way".to_owned(),
            ..ContactMethod::default()
        };
        let message = CreateContactMethodRequest { contact_method: Some(contact_method), request_id: String::new() };
        let response = self.client.create_contact_method(self.stage.request(by, message)).await?.into_inner();
        Ok((response.contact_method.unwrap(), response.signing_secret))
    }

    pub async fn rule(&mut self, rule: Rule) -> Result<Rule, Status> {
        let message = CreateRuleRequest { rule: Some(rule), request_id: String::new() };
        Ok(self.client.create_rule(self.stage.request(&self.administrator, message)).await?.into_inner())
    }

    pub async fn deliveries(&self) -> Vec<Delivery> {
        let request = self.stage.request(&self.administrator, ListDeliveriesRequest::default());
        self.client.clone().list_deliveries(request).await.unwrap().into_inner().deliveries
    }

    pub async fn delivery(&self, id: &str) -> Delivery {
        let request = self.stage.request(&self.administrator, GetDeliveryRequest { id: id.to_owned() });
        self.client.clone().get_delivery(request).await.unwrap().into_inner()
    }

    /// Waits until there are so many deliveries in a state.
    pub async fn eventually(&self, state: DeliveryState, count: usize) -> Vec<Delivery> {
        eventually(&format!("{count} deliveries {state:?}"), || async {
            let mut found = self.deliveries().await;
            found.retain(|delivery| delivery.state() == state);
            (found.len() == count).then_some(found)
        })
        .await
    }

    /// Waits until a pending delivery was tried so often.
    pub async fn eventually_tried(&self, times: usize) -> Delivery {
        eventually(&format!("{times} attempts"), || async {
            let pending =
                self.deliveries().await.into_iter().find(|delivery| delivery.state() == DeliveryState::Pending)?;
            let delivery = self.delivery(&pending.id).await;
            let ended = delivery.attempts.iter().filter(|attempt| !attempt.outcome.is_empty()).count();
            (ended == times).then_some(delivery)
        })
        .await
    }

    /// Waits until every timer that is due has fired.
    pub async fn nothing_due(&self) {
        eventually("nothing is due", || async {
            let mut admin = self.stage.admin().await;
            let statement = "select count(*) from notification.timer where due_at <= $1";
            let due: i64 =
                sqlx::query_scalar(statement).bind(self.stage.clock.now()).fetch_one(&mut admin).await.unwrap();
            (due == 0).then_some(())
        })
        .await;
    }

    /// Waits until no timer is due and nothing waits to be sent.
    pub async fn quiet(&self) {
        self.caught_up().await;
        eventually("nothing is due", || async {
            let mut admin = self.stage.admin().await;
            let statement = "select (select count(*) from notification.timer where due_at <= $1)
                + (select count(*) from notification.deliveries where state = 'PENDING')";
            let rest: i64 =
                sqlx::query_scalar(statement).bind(self.stage.clock.now()).fetch_one(&mut admin).await.unwrap();
            (rest == 0).then_some(())
        })
        .await;
    }

    /// Waits until the service has applied all that its sources said.
    pub async fn caught_up(&self) {
        let said = self.said.lock().unwrap().clone();
        eventually("what was said is applied", || async {
            let mut admin = self.stage.admin().await;
            for (source, head) in &said {
                let statement = "select position from notification.lease where name = $1";
                let name = format!("consumer:{source}");
                let position: i64 = sqlx::query_scalar(statement).bind(name).fetch_one(&mut admin).await.unwrap();
                if position < *head {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// The mails written so far, by name.
    pub fn mails(&self) -> Vec<String> {
        let folder: PathBuf = self.folder.path().join("mail");
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "eml"))
            .collect();
        paths.sort();
        paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
    }
}

fn membership(id: Uuid, person: &Person, team: TeamId) -> directory_event::Record {
    directory_event::Record::Membership(directory::Membership {
        id: id.to_string(),
        revision: 1,
        team_id: team.to_string(),
        person_id: person.id.to_string(),
        role: Role::Responder.into(),
        state: directory::MembershipState::Active.into(),
        ..directory::Membership::default()
    })
}

/// The first revision of an incident.
pub fn incident(team: Option<TeamId>, priority: i32) -> Incident {
    Incident {
        id: kit::id::draw().to_string(),
        revision: 1,
        number: "INC0000042".to_owned(),
        title: "Checkout is slow".to_owned(),
        state: IncidentState::New.into(),
        priority,
        assigned_team_id: team.map(|team| team.to_string()).unwrap_or_default(),
        ..Incident::default()
    }
}

/// A rule that mails the assigned team, else the administrators.
pub fn rule(event_type: &str) -> Rule {
    Rule {
        display_name: format!("tell {event_type}"),
        event_type: event_type.to_owned(),
        recipients: Some(Recipients { assigned_team: true, else_administrators: true, ..Recipients::default() }),
        ..Rule::default()
    }
}

//! The words that stories are told in: an alert fires, somebody acknowledges, two hours pass.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{collections::HashMap, path::PathBuf, sync::Mutex};

use async_nats::jetstream::{self, consumer::pull, kv, stream};
use chrono::{DateTime, TimeDelta, Utc};
use kit::{
    caller::Person,
    clock::Clock,
    config::Secret,
    id::{PersonId, TeamId, Tenant},
    service::{Context, Tasks},
    testing::{Stage, eventually},
};
use proto::{
    alert::v1::{Alert, ListAlertsRequest, alert_service_client::AlertServiceClient},
    common::v1::Role,
    directory::v1::{self as directory_wire, directory_service_client::DirectoryServiceClient},
    incident::v1::{
        self as wire, AcknowledgeIncidentRequest, Incident, IncidentState, ListIncidentEventsRequest,
        ListIncidentsRequest, incident_service_client::IncidentServiceClient,
    },
    notification::v1::{Delivery, ListDeliveriesRequest, notification_service_client::NotificationServiceClient},
    sla::v1::{Clock as SlaClock, ListClocksRequest, Metric, sla_service_client::SlaServiceClient},
};
use serde_json::{Value, json};
use tonic::{Request, transport::Channel};

/// Every service of the product, one tenant with what a fresh installation has, and a clock.
pub struct World {
    /// Postgres, NATS and the clock.
    pub stage: Stage,
    /// The first administrator, who manages the team.
    pub administrator: Person,
    /// The team `operations`.
    pub team: TeamId,
    tasks: Mutex<HashMap<&'static str, Tasks>>,
    mail: PathBuf,
}

impl World {
    /// A Monday morning at nine, UTC, in a world where everything is quiet.
    pub async fn begin() -> Self {
        let mut stage = Stage::set(&[
            ("directory", &directory::MIGRATOR),
            ("catalog", &catalog::MIGRATOR),
            ("alert", &alert::MIGRATOR),
            ("incident", &incident::MIGRATOR),
            ("change", &change::MIGRATOR),
            ("sla", &sla::MIGRATOR),
            ("notification", &notification::MIGRATOR),
        ])
        .await;
        make_intake(&stage).await;
        let (tenant, administrator, team) = found(&stage, "default").await;
        stage.tenant = tenant.clone();
        let administrator = Person {
            tenant: tenant.clone(),
            id: administrator,
            administrator: true,
            teams: vec![(team, Role::Manager)],
            scopes: vec![],
            key_id: "story".to_owned(),
        };
        let mail = std::env::temp_dir().join(format!("itsm-mail-{}", kit::id::draw().simple()));
        let world = Self { stage, administrator, team, tasks: Mutex::default(), mail };
        for service in proto::SERVICES {
            world.start(service).await;
        }
        world.settled().await;
        world
    }

    /// Founds another tenant with its own administrator.
    pub async fn another_tenant(&self, slug: &str) -> Person {
        let (tenant, id, team) = found(&self.stage, slug).await;
        Person {
            tenant,
            id,
            administrator: true,
            teams: vec![(team, Role::Manager)],
            scopes: vec![],
            key_id: "story".to_owned(),
        }
    }

    /// Waits until every consumer has its read models.
    pub async fn settled(&self) {
        eventually("every service is ready", || async { self.stage.readiness.waiting().is_empty().then_some(()) })
            .await;
    }

    /// Starts one service.
    pub async fn start(&self, service: &'static str) {
        let tasks = Tasks::default();
        let context = Context { tasks: tasks.clone(), ..self.stage.context(service).await };
        match service {
            "directory" => {
                drop(directory::start(context, directory::Settings::default(), self.stage.directory()).await.unwrap())
            }
            "catalog" => drop(catalog::start(context, catalog::Settings::default()).await.unwrap()),
            "alert" => {
                let app = alert::start(context, alert::Settings::default()).await.unwrap();
                app.ensure_integration(self.stage.tenant.clone(), "demo", "Demo", None).await.unwrap();
            }
            "incident" => drop(incident::start(context, incident::Settings::default()).await.unwrap()),
            "change" => drop(change::start(context, change::Settings::default()).await.unwrap()),
            "sla" => {
                let app = sla::start(context, sla::Settings::default()).await.unwrap();
                app.ensure_default_agreement(&self.stage.tenant, None).await.unwrap();
            }
            "notification" => {
                let settings = notification::Settings {
                    mail_folder: self.mail.clone(),
                    webhook_allow: vec!["127.0.0.0/8".to_owned()],
                    secret_key: Secret::new("11".repeat(32)),
                    ..notification::Settings::default()
                };
                let app = notification::start(context, settings).await.unwrap();
                app.ensure_defaults(&self.stage.tenant, self.administrator.id, "ada@example.com").await.unwrap();
            }
            other => panic!("there is no service {other}"),
        }
        self.tasks.lock().unwrap().insert(service, tasks);
    }

    /// Stops one service in order.
    pub async fn stop(&self, service: &'static str) {
        let tasks = self.tasks.lock().unwrap().remove(service).expect("it runs");
        tasks.stop().await;
    }

    /// What the clock says.
    pub fn now(&self) -> DateTime<Utc> {
        self.stage.clock.now()
    }

    /// Lets time pass.
    pub fn later(&self, by: TimeDelta) {
        self.stage.clock.advance(by);
    }

    /// A member of the team.
    pub async fn member(&self, name: &str, role: Role) -> Person {
        let mut directory = self.directory();
        let person = directory_wire::Person {
            kind: directory_wire::PersonKind::Human.into(),
            display_name: name.to_owned(),
            email: format!("{}@example.com", name.to_lowercase()),
            ..Default::default()
        };
        let create = directory_wire::CreatePersonRequest { person: Some(person), request_id: String::new() };
        let person = directory.create_person(self.by_administrator(create)).await.unwrap().into_inner();
        let membership = directory_wire::Membership {
            team_id: self.team.to_string(),
            person_id: person.id.clone(),
            role: role.into(),
            ..Default::default()
        };
        let create =
            directory_wire::CreateMembershipRequest { membership: Some(membership), request_id: String::new() };
        directory.create_membership(self.by_administrator(create)).await.unwrap();
        let id: PersonId = person.id.parse().unwrap();
        Person { id, administrator: false, teams: vec![(self.team, role)], ..self.administrator.clone() }
    }

    /// A request by the administrator.
    pub fn by_administrator<T>(&self, message: T) -> Request<T> {
        self.stage.request(&self.administrator, message)
    }

    /// Monitoring says something by NATS, as a publisher does; the source's time is now.
    pub async fn monitoring_says(&self, tenant: &Tenant, body: Value, message_id: Option<&str>) {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("content-type", "application/json");
        if let Some(id) = message_id {
            headers.insert("Nats-Msg-Id", id);
        }
        let stream = jetstream::new(self.stage.bus.clone());
        let subject = format!("alerts.{}.demo", tenant.slug);
        let sent = stream.publish_with_headers(subject, headers, body.to_string().into()).await.unwrap();
        sent.await.expect("the stream took it");
    }

    /// A condition fires.
    pub async fn alert_fires(&self, condition: &str, severity: &str) {
        let body = json!({
            "title": condition, "dedup_key": condition, "severity": severity, "status": "firing",
            "started_at": self.now().to_rfc3339(),
        });
        self.monitoring_says(&self.stage.tenant, body, None).await;
    }

    /// A condition is over.
    pub async fn alert_clears(&self, condition: &str) {
        let body = json!({
            "title": condition, "dedup_key": condition, "status": "cleared", "ended_at": self.now().to_rfc3339(),
        });
        self.monitoring_says(&self.stage.tenant, body, None).await;
    }

    /// The alerts of the tenant, newest first.
    pub async fn alerts(&self) -> Vec<Alert> {
        self.alerts_of(&self.administrator).await
    }

    /// The alerts that a person sees.
    pub async fn alerts_of(&self, person: &Person) -> Vec<Alert> {
        let mut client = AlertServiceClient::new(self.stage.channel("alert"));
        client.list_alerts(self.stage.request(person, ListAlertsRequest::default())).await.unwrap().into_inner().alerts
    }

    /// The incidents of the tenant, newest first.
    pub async fn incidents(&self) -> Vec<Incident> {
        self.incidents_of(&self.administrator).await
    }

    /// The incidents that a person sees.
    pub async fn incidents_of(&self, person: &Person) -> Vec<Incident> {
        let request = self.stage.request(person, ListIncidentsRequest::default());
        self.incident().list_incidents(request).await.unwrap().into_inner().incidents
    }

    /// Waits until the one incident there is stands somewhere.
    pub async fn the_incident_is(&self, state: IncidentState) -> Incident {
        eventually(&format!("one incident {state:?}"), || async {
            let incidents = self.incidents().await;
            assert!(incidents.len() <= 1, "more than one: {incidents:?}");
            incidents.into_iter().find(|incident| incident.state() == state)
        })
        .await
    }

    /// Somebody acknowledges an incident.
    pub async fn acknowledges(&self, person: &Person, incident: &Incident) -> Incident {
        let message = AcknowledgeIncidentRequest { id: incident.id.clone(), ..Default::default() };
        self.incident().acknowledge_incident(self.stage.request(person, message)).await.unwrap().into_inner()
    }

    /// Somebody resolves an incident.
    pub async fn resolves(&self, person: &Person, incident: &Incident) -> Incident {
        let message = wire::ResolveIncidentRequest {
            id: incident.id.clone(),
            resolution_code: wire::ResolutionCode::Fixed.into(),
            resolution_notes: "Restarted.".to_owned(),
            ..Default::default()
        };
        self.incident().resolve_incident(self.stage.request(person, message)).await.unwrap().into_inner()
    }

    /// Opens an incident by hand.
    pub async fn opens_incident(&self, person: &Person, title: &str, priority: (i32, i32)) -> Incident {
        let incident =
            Incident { title: title.to_owned(), impact: priority.0, urgency: priority.1, ..Default::default() };
        let message = wire::CreateIncidentRequest { incident: Some(incident), request_id: String::new() };
        self.incident().create_incident(self.stage.request(person, message)).await.unwrap().into_inner()
    }

    /// What happened to an incident, oldest first.
    pub async fn history(&self, incident: &Incident) -> Vec<String> {
        let message = ListIncidentEventsRequest { id: incident.id.clone(), page_size: 500, ..Default::default() };
        let events =
            self.incident().list_incident_events(self.by_administrator(message)).await.unwrap().into_inner().events;
        events.into_iter().map(|entry| entry.r#type).collect()
    }

    /// The clocks of an incident.
    pub async fn clocks(&self, incident: &Incident) -> Vec<SlaClock> {
        let message = ListClocksRequest { filter: format!("incident_id = {:?}", incident.id), ..Default::default() };
        self.sla().list_clocks(self.by_administrator(message)).await.unwrap().into_inner().clocks
    }

    /// Waits for a clock of an incident that fits.
    pub async fn clock_until(
        &self,
        incident: &Incident,
        metric: Metric,
        what: &str,
        fits: impl Fn(&SlaClock) -> bool,
    ) -> SlaClock {
        eventually(what, || async {
            let clocks = self.clocks(incident).await;
            clocks.into_iter().find(|clock| clock.metric() == metric && fits(clock))
        })
        .await
    }

    /// The deliveries about an incident.
    pub async fn deliveries(&self, incident: &Incident) -> Vec<Delivery> {
        let filter = format!("subject_record_id = {:?}", incident.id);
        let message = ListDeliveriesRequest { filter, ..Default::default() };
        self.notification().list_deliveries(self.by_administrator(message)).await.unwrap().into_inner().deliveries
    }

    /// The mails that went out, as text, oldest first.
    pub fn mails(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.mail) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "eml"))
            .collect();
        files.sort();
        files.iter().map(|path| std::fs::read_to_string(path).expect("a mail")).collect()
    }

    /// gRPC of the directory.
    pub fn directory(&self) -> DirectoryServiceClient<Channel> {
        DirectoryServiceClient::new(self.stage.channel("directory"))
    }

    /// gRPC of incidents.
    pub fn incident(&self) -> IncidentServiceClient<Channel> {
        IncidentServiceClient::new(self.stage.channel("incident"))
    }

    /// gRPC of service levels.
    pub fn sla(&self) -> SlaServiceClient<Channel> {
        SlaServiceClient::new(self.stage.channel("sla"))
    }

    /// gRPC of notifications.
    pub fn notification(&self) -> NotificationServiceClient<Channel> {
        NotificationServiceClient::new(self.stage.channel("notification"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for tasks in self.tasks.lock().unwrap().values() {
            tasks.stopping().cancel();
        }
        // It may never have been made.
        let _ = std::fs::remove_dir_all(&self.mail);
    }
}

/// Founds a tenant: its administrator and the team `operations`.
async fn found(stage: &Stage, slug: &str) -> (Tenant, PersonId, TeamId) {
    let provisioned = directory::provision_tenant(
        &stage.database("directory"),
        stage.clock.as_ref(),
        slug,
        slug,
        ("Ada Admin", "ada@example.com"),
        Some(("operations", "Operations")),
        None,
    )
    .await
    .unwrap();
    let made = provisioned.made.expect("the tenant is new");
    (provisioned.tenant, made.administrator, made.team.expect("a team"))
}

/// The intake stream, its consumer, and the bucket of integration keys, as the provisioner makes them.
async fn make_intake(stage: &Stage) {
    let jetstream = jetstream::new(stage.bus.clone());
    let alerts = stream::Config {
        name: "ALERTS".to_owned(),
        subjects: vec!["alerts.*.*".to_owned()],
        duplicate_window: std::time::Duration::from_millis(100),
        allow_direct: true,
        ..Default::default()
    };
    let alerts = jetstream.create_stream(alerts).await.unwrap();
    let consumer = pull::Config {
        durable_name: Some("alert".to_owned()),
        ack_wait: std::time::Duration::from_secs(4),
        max_ack_pending: 1_000,
        ..Default::default()
    };
    alerts.create_consumer(consumer).await.unwrap();
    jetstream
        .create_key_value(kv::Config { bucket: "integration_keys".to_owned(), ..Default::default() })
        .await
        .unwrap();
}

//! The service on a stage: its gRPC, an incident service whose feed the test writes, and words for
//! what happens.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use kit::{
    caller::Person,
    id::TeamId,
    service::{Context, Tasks},
    testing::{Owner, Stage, eventually},
};
use prost::Message;
use proto::{
    common::v1::{FeedEntry, Priority, Role},
    incident::v1::{Incident, IncidentEvent, IncidentState, Opened, incident_event},
    sla::v1::{
        Agreement, AgreementKind, Clock, ClockState, CreateAgreementRequest, ListClockEventsRequest, ListClocksRequest,
        Metric, SlaEventEntry, Target, sla_service_client::SlaServiceClient,
    },
};
use sla::{App, MIGRATOR, Settings};
use tonic::transport::Channel;
use uuid::Uuid;

/// A Monday morning.
pub const MONDAY: &str = "2026-03-02T09:00:00Z";

pub fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

pub struct Desk {
    pub stage: Stage,
    pub client: SlaServiceClient<Channel>,
    pub manager: Person,
    pub incidents: Owner,
    pub catalog: Owner,
    /// The tasks of the service alone, so that it can be stopped and started again.
    pub tasks: Tasks,
    pub app: Arc<App>,
}

impl Desk {
    pub async fn open() -> Self {
        Self::open_at(MONDAY).await
    }

    pub async fn open_at(now: &str) -> Self {
        let stage = Stage::set_at(&[("sla", &MIGRATOR)], at(now)).await;
        let (incidents, catalog) = (stage.owner("incident").await, stage.owner("catalog").await);
        let tasks = Tasks::default();
        let context = Context { tasks: tasks.clone(), ..stage.context("sla").await };
        let app = sla::start(context, Settings::default()).await.unwrap();
        let client = SlaServiceClient::new(stage.channel("sla"));
        let manager = stage.person(Role::Manager, TeamId::draw());
        let desk = Self { stage, client, manager, incidents, catalog, tasks, app };
        desk.ready().await;
        desk
    }

    /// Waits until the service follows its sources, since what was before has no effects.
    pub async fn ready(&self) {
        eventually("the service is ready", || async { self.stage.readiness.waiting().is_empty().then_some(()) }).await;
        let mut admin = self.stage.admin().await;
        loop {
            let sources: i64 =
                sqlx::query_scalar("select count(*) from sla.lease where name like 'consumer:%' and bootstrapped")
                    .fetch_one(&mut admin)
                    .await
                    .unwrap();
            if sources == 2 {
                break;
            }
            kit::clock::pause(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Gives the tenant its default agreement.
    pub async fn seed(&self) {
        self.app.ensure_default_agreement(&self.stage.tenant, None).await.unwrap();
    }

    /// Stops the service, in order.
    pub async fn stop(&self) {
        self.tasks.stop().await;
    }

    /// Starts the service again, as given.
    pub async fn start(&mut self, change: impl FnOnce(Context) -> Context, settings: Settings) {
        self.tasks = Tasks::default();
        let context = Context { tasks: self.tasks.clone(), ..self.stage.context("sla").await };
        self.app = sla::start(change(context), settings).await.unwrap();
        self.client = SlaServiceClient::new(self.stage.channel("sla"));
    }

    /// Something happens to an incident, by its own clock; whoever follows reads it from the feed.
    pub fn say(&self, incident: &Incident, what: incident_event::What, at: DateTime<Utc>) -> FeedEntry {
        let kind = match &what {
            incident_event::What::Opened(_) => "opened",
            incident_event::What::Acknowledged(_) => "acknowledged",
            incident_event::What::Held(_) => "held",
            incident_event::What::Resumed(_) => "resumed",
            incident_event::What::Resolved(_) => "resolved",
            incident_event::What::Reopened(_) => "reopened",
            incident_event::What::PriorityChanged(_) => "priority_changed",
            _ => "changed",
        };
        let event = IncidentEvent { incident: Some(incident.clone()), actor: None, what: Some(what) };
        self.incidents.say(incident.id.parse().unwrap(), kind, at, event.encode_to_vec())
    }

    /// An incident opens now; waits until its clocks have started.
    pub async fn opens(&mut self, priority: Priority, service_id: &str, clocks: usize) -> Incident {
        let incident = Incident {
            id: kit::id::draw().to_string(),
            revision: 1,
            number: "INC0000001".to_owned(),
            state: IncidentState::New.into(),
            priority: priority.into(),
            service_id: service_id.to_owned(),
            ..Incident::default()
        };
        let now = kit::clock::Clock::now(self.stage.clock.as_ref());
        let entry = self.say(&incident, incident_event::What::Opened(Opened {}), now);
        self.incidents.publish(&entry).await;
        let count = self.until(&incident, "the clocks have started", |found| found.len() >= clocks).await.len();
        assert_eq!(count, clocks);
        incident
    }

    /// The clocks of an incident, the response first.
    pub async fn clocks(&self, incident: &Incident) -> Vec<Clock> {
        let filter = format!("incident_id = \"{}\"", incident.id);
        let request = ListClocksRequest { filter, ..ListClocksRequest::default() };
        let answer = self.client.clone().list_clocks(self.stage.request(&self.manager, request)).await.unwrap();
        let mut clocks = answer.into_inner().clocks;
        clocks.sort_by_key(|clock| clock.metric);
        clocks
    }

    /// Waits until the clocks of an incident are as wanted.
    pub async fn until(&self, incident: &Incident, what: &str, wanted: impl Fn(&[Clock]) -> bool) -> Vec<Clock> {
        eventually(what, || async { Some(self.clocks(incident).await).filter(|clocks| wanted(clocks)) }).await
    }

    /// Waits until the clock of a metric stands somewhere.
    pub async fn clock_is(&self, incident: &Incident, metric: Metric, state: ClockState) -> Clock {
        let found = |clocks: &[Clock]| clocks.iter().any(|clock| clock.metric() == metric && clock.state() == state);
        let clocks = self.until(incident, &format!("{metric:?} is {state:?}"), found).await;
        clocks.into_iter().find(|clock| clock.metric() == metric).unwrap()
    }

    /// What happened to a clock.
    pub async fn history(&self, clock: &Clock) -> Vec<SlaEventEntry> {
        let request = ListClockEventsRequest { id: clock.id.clone(), ..ListClockEventsRequest::default() };
        let answer = self.client.clone().list_clock_events(self.stage.request(&self.manager, request)).await.unwrap();
        answer.into_inner().events
    }

    /// The types of what happened to a clock.
    pub async fn told(&self, clock: &Clock) -> Vec<String> {
        self.history(clock).await.into_iter().map(|entry| entry.r#type).collect()
    }

    /// Writes an agreement with an hour to resolve, as a draft.
    pub async fn draft(&self, name: &str, service_id: &str) -> Agreement {
        let target = Target { priority: Priority::P1.into(), resolution_seconds: 3_600, ..Target::default() };
        let agreement = Agreement {
            display_name: name.to_owned(),
            kind: AgreementKind::Sla.into(),
            service_id: service_id.to_owned(),
            targets: vec![target],
            ..Agreement::default()
        };
        let request = CreateAgreementRequest { agreement: Some(agreement), request_id: String::new() };
        self.client.clone().create_agreement(self.stage.request(&self.manager, request)).await.unwrap().into_inner()
    }

    /// Moves on.
    pub fn advance(&self, by: TimeDelta) {
        self.stage.clock.advance(by);
    }

    /// How often something was told of all clocks, by the journal.
    pub async fn times_told(&self, kind: &str) -> i64 {
        let mut admin = self.stage.admin().await;
        sqlx::query_scalar("select count(*) from sla.journal where type = $1")
            .bind(kind)
            .fetch_one(&mut admin)
            .await
            .unwrap()
    }

    /// A service of the catalog.
    pub async fn service(&self, name: &str) -> String {
        let id: Uuid = kit::id::draw();
        let service = proto::catalog::v1::Service {
            id: id.to_string(),
            revision: 1,
            name: name.to_owned(),
            ..Default::default()
        };
        let event = proto::catalog::v1::CatalogEvent {
            record: Some(proto::catalog::v1::catalog_event::Record::Service(service)),
            actor: None,
            what: None,
        };
        self.catalog.say(id, "service_created", at(MONDAY), event.encode_to_vec());
        id.to_string()
    }
}

//! The alert service on a stage with its neighbours, its intake stream and its bucket of keys.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use alert::{App, MIGRATOR, ReceiveTime, Settings};
use async_nats::{
    HeaderMap,
    jetstream::{self, consumer, kv, stream},
};
use kit::{
    caller::Person,
    id::TeamId,
    testing::{Owner, Stage, eventually},
};
use prost::Message;
use proto::{
    alert::v1::{
        Alert, CreateIntegrationRequest, Integration, IntegrationKeyResponse, ListAlertEventsRequest,
        ListAlertsRequest, ListRejectedAlertsRequest, RejectedAlert, alert_service_client::AlertServiceClient,
    },
    catalog::v1::{CatalogEvent, LifecycleState, Service, catalog_event},
    common::v1::{Impact, Role},
    directory::v1::{self as directory, DirectoryEvent, TenantState, directory_event},
};
use sqlx::Row;
use std::{sync::Arc, time::Duration};
use tonic::{Status, transport::Channel};
use uuid::Uuid;

pub struct Desk {
    pub stage: Stage,
    pub app: Arc<App>,
    pub client: AlertServiceClient<Channel>,
    pub manager: Person,
    pub catalog: Owner,
    pub jetstream: jetstream::Context,
}

impl Desk {
    /// Opens with an integration named `demo`.
    pub async fn open() -> (Self, IntegrationKeyResponse) {
        Self::open_with(ReceiveTime::Stream).await
    }

    pub async fn open_with(receive_time: ReceiveTime) -> (Self, IntegrationKeyResponse) {
        let stage = Stage::set(&[("alert", &MIGRATOR)]).await;
        let (directory, catalog) = (stage.owner("directory").await, stage.owner("catalog").await);
        let tenant = directory::Tenant {
            id: stage.tenant.id.to_string(),
            revision: 1,
            slug: stage.tenant.slug.clone(),
            state: TenantState::Active.into(),
            ..Default::default()
        };
        let event = DirectoryEvent { record: Some(directory_event::Record::Tenant(tenant)), actor: None, what: None };
        directory.say(stage.tenant.id.0, "tenant_created", stage_time(&stage), event.encode_to_vec());
        let jetstream = jetstream::new(stage.bus.clone());
        make_intake(&jetstream).await;
        make_bucket(&jetstream).await;
        let context = stage.context("alert").await;
        let app = alert::start_with(context, Settings::default(), receive_time).await.unwrap();
        ready(&stage).await;
        let client = AlertServiceClient::new(stage.channel("alert"));
        let manager = stage.person(Role::Manager, TeamId::draw());
        let mut desk = Self { stage, app, client, manager, catalog, jetstream };
        let integration = desk.integrate("demo").await.unwrap();
        (desk, integration)
    }

    pub async fn integrate(&mut self, name: &str) -> Result<IntegrationKeyResponse, Status> {
        let integration =
            Integration { name: name.to_owned(), display_name: "The demo".to_owned(), ..Default::default() };
        let message = CreateIntegrationRequest { integration: Some(integration), request_id: String::new() };
        Ok(self.client.create_integration(self.stage.request(&self.manager, message)).await?.into_inner())
    }

    /// Says in the catalog that a service exists.
    pub async fn service(&self, name: &str, team: TeamId, impact: Impact) -> Uuid {
        let id = kit::id::draw();
        let service = Service {
            id: id.to_string(),
            revision: 1,
            name: name.to_owned(),
            owning_team_id: TeamId::draw().to_string(),
            support_team_id: team.to_string(),
            impact: impact.into(),
            state: LifecycleState::Live.into(),
            ..Default::default()
        };
        self.say(id, "service_created", catalog_event::Record::Service(service)).await;
        id
    }

    /// Says a record of the catalog and waits until it is known here.
    pub async fn say(&self, id: Uuid, kind: &str, record: catalog_event::Record) {
        let event = CatalogEvent { record: Some(record), actor: None, what: None };
        let entry = self.catalog.say(id, kind, stage_time(&self.stage), event.encode_to_vec());
        self.catalog.publish(&entry).await;
        eventually("the catalog's record", || async {
            let query = sqlx::query_scalar::<_, i64>(
                "select (select count(*) from alert.catalog_services where id = $1)
                      + (select count(*) from alert.catalog_configuration_items where id = $1)",
            );
            let found = query.bind(id).fetch_one(&mut self.stage.admin().await).await.unwrap();
            (found == 1).then_some(())
        })
        .await;
    }

    /// Publishes to the integration `demo` and waits for the stream's acknowledgement.
    pub async fn publish(&self, body: &str) -> u64 {
        self.publish_to("alerts.default.demo", &[], body.as_bytes()).await
    }

    pub async fn publish_to(&self, subject: &str, headers: &[(&str, &str)], body: &[u8]) -> u64 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        let sent = self.jetstream.publish_with_headers(subject.to_owned(), map, body.to_vec().into()).await.unwrap();
        sent.await.unwrap().sequence
    }

    pub async fn alerts(&self, filter: &str) -> Vec<Alert> {
        let message = ListAlertsRequest { filter: filter.to_owned(), ..Default::default() };
        let mut client = self.client.clone();
        client.list_alerts(self.stage.request(&self.manager, message)).await.unwrap().into_inner().alerts
    }

    /// Waits until there are so many alerts.
    pub async fn eventually_alerts(&self, filter: &str, count: usize) -> Vec<Alert> {
        eventually(&format!("{count} alerts with {filter:?}"), || async {
            let alerts = self.alerts(filter).await;
            (alerts.len() == count).then_some(alerts)
        })
        .await
    }

    pub async fn rejected(&self) -> Vec<RejectedAlert> {
        let request = self.stage.request(&self.manager, ListRejectedAlertsRequest::default());
        self.client.clone().list_rejected_alerts(request).await.unwrap().into_inner().rejected_alerts
    }

    pub async fn history(&self, id: &str) -> Vec<String> {
        let message = ListAlertEventsRequest { id: id.to_owned(), ..Default::default() };
        let request = self.stage.request(&self.manager, message);
        let response = self.client.clone().list_alert_events(request).await.unwrap();
        response.into_inner().events.into_iter().map(|entry| entry.r#type).collect()
    }

    /// Waits until every message of the stream was acknowledged.
    pub async fn drained(&self) {
        eventually("everything acknowledged", || async {
            let mut consumer: consumer::PullConsumer =
                self.jetstream.get_consumer_from_stream("alert", "ALERTS").await.ok()?;
            let info = consumer.info().await.ok()?;
            (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
        })
        .await;
    }

    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query(query).fetch_one(&mut self.stage.admin().await).await.unwrap().get(0)
    }
}

pub fn stage_time(stage: &Stage) -> chrono::DateTime<chrono::Utc> {
    use kit::clock::Clock;
    stage.clock.now()
}

pub async fn ready(stage: &Stage) {
    eventually("readiness", || async {
        let waiting = stage.readiness.waiting();
        waiting.is_empty().then_some(())
    })
    .await;
}

/// The stream and the consumer, as the provisioner makes them.
pub async fn make_intake(jetstream: &jetstream::Context) {
    let config = stream::Config {
        name: "ALERTS".to_owned(),
        subjects: vec!["alerts.*.*".to_owned()],
        discard: stream::DiscardPolicy::New,
        max_messages_per_subject: 100_000,
        discard_new_per_subject: true,
        duplicate_window: Duration::from_millis(100),
        ..Default::default()
    };
    jetstream.create_stream(config).await.unwrap();
    make_consumer(jetstream).await;
}

pub async fn make_consumer(jetstream: &jetstream::Context) {
    let config = consumer::pull::Config {
        durable_name: Some("alert".to_owned()),
        ack_policy: consumer::AckPolicy::Explicit,
        ack_wait: Duration::from_secs(4),
        max_ack_pending: 2_000,
        ..Default::default()
    };
    jetstream.create_consumer_on_stream(config, "ALERTS").await.unwrap();
}

pub async fn make_bucket(jetstream: &jetstream::Context) -> kv::Store {
    let config = kv::Config { bucket: "integration_keys".to_owned(), history: 1, ..Default::default() };
    jetstream.create_key_value(config).await.unwrap()
}

//! gRPC: short handlers that parse, call the use case, and convert the answer.

pub mod convert;
pub mod internal;
pub mod status;

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use kit::{caller::Call, page, problem::Problem, request::Done};
use proto::alert::v1::{
    Alert, AlertEventEntry, ClearAlertRequest, CreateIntegrationRequest, DisableIntegrationRequest,
    EnableIntegrationRequest, GetAlertRequest, GetIntegrationRequest, Integration, IntegrationKeyResponse,
    ListAlertEventsRequest, ListAlertEventsResponse, ListAlertsRequest, ListAlertsResponse,
    ListIntegrationEventsRequest, ListIntegrationEventsResponse, ListIntegrationsRequest, ListIntegrationsResponse,
    ListRejectedAlertsRequest, ListRejectedAlertsResponse, RotateIntegrationKeyRequest, UpdateIntegrationRequest,
    WatchAlertsRequest, WatchIntegrationsRequest, alert_service_server::AlertService,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    app::{App, commands::Keyed},
    domain,
    store::{alerts, integrations},
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
}

type Answer<T> = Result<Response<T>, Status>;

fn integration(done: Done<domain::Integration>) -> Result<Integration, Problem> {
    match done {
        Done::Now(integration) => Ok(convert::integration(&integration)),
        Done::Before(body) => convert::integration_of(&body),
    }
}

fn keyed(keyed: Keyed) -> Answer<IntegrationKeyResponse> {
    Ok(Response::new(IntegrationKeyResponse { integration: Some(integration(keyed.done)?), key: keyed.key }))
}

/// The call of a request, its key taken out before the request is digested.
macro_rules! call {
    ($request:ident, $method:literal) => {
        Call::of(concat!("AlertService/", $method), &$request, |message| std::mem::take(&mut message.request_id))?
    };
}

/// A question has no key.
fn asks<T: prost::Message + Clone>(method: &'static str, request: &Request<T>) -> Result<Call, Problem> {
    Call::of(method, request, |_| String::new())
}

/// Cuts what was asked for one too many, and says whether and where the page goes on.
fn cut<T>(rows: &mut Vec<T>, size: i64, token: impl Fn(&T) -> String) -> String {
    let size = usize::try_from(size).unwrap_or_default();
    let more = rows.len() > size;
    rows.truncate(size);
    rows.last().filter(|_| more).map(token).unwrap_or_default()
}

#[tonic::async_trait]
impl AlertService for Api {
    async fn get_integration(&self, request: Request<GetIntegrationRequest>) -> Answer<Integration> {
        let call = asks("AlertService/GetIntegration", &request)?;
        let id = convert::id("id", &request.into_inner().id)?;
        Ok(Response::new(convert::integration(&self.app.get_integration(call.tenant().id, id).await?)))
    }

    async fn list_integrations(&self, request: Request<ListIntegrationsRequest>) -> Answer<ListIntegrationsResponse> {
        let call = asks("AlertService/ListIntegrations", &request)?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let after = page::decode(&request.page_token, &request.filter, "ListIntegrations").map_err(convert::paging)?;
        let filter = convert::filter(&request.filter, integrations::FIELDS)?;
        let mut found = self.app.list_integrations(call.tenant().id, filter, after, size + 1).await?;
        let token = |last: &domain::Integration| page::encode(last.id.0, &request.filter, "ListIntegrations");
        let next_page_token = cut(&mut found, size, token);
        let integrations = found.iter().map(convert::integration).collect();
        Ok(Response::new(ListIntegrationsResponse { integrations, next_page_token }))
    }

    async fn create_integration(&self, request: Request<CreateIntegrationRequest>) -> Answer<IntegrationKeyResponse> {
        let call = call!(request, "CreateIntegration");
        keyed(self.app.create_integration(call, convert::create(request.into_inner().integration)?).await?)
    }

    async fn update_integration(&self, request: Request<UpdateIntegrationRequest>) -> Answer<Integration> {
        let call = call!(request, "UpdateIntegration");
        let request = request.into_inner();
        let (target, change) = convert::update(request.integration, request.update_mask)?;
        Ok(Response::new(integration(self.app.update_integration(call, target, change).await?)?))
    }

    async fn rotate_integration_key(
        &self,
        request: Request<RotateIntegrationKeyRequest>,
    ) -> Answer<IntegrationKeyResponse> {
        let call = call!(request, "RotateIntegrationKey");
        let request = request.into_inner();
        keyed(self.app.rotate_key(call, convert::integration_target(&request.id, request.revision)?).await?)
    }

    async fn disable_integration(&self, request: Request<DisableIntegrationRequest>) -> Answer<Integration> {
        let call = call!(request, "DisableIntegration");
        let request = request.into_inner();
        let target = convert::integration_target(&request.id, request.revision)?;
        Ok(Response::new(integration(self.app.disable_integration(call, target).await?)?))
    }

    async fn enable_integration(&self, request: Request<EnableIntegrationRequest>) -> Answer<Integration> {
        let call = call!(request, "EnableIntegration");
        let request = request.into_inner();
        let target = convert::integration_target(&request.id, request.revision)?;
        Ok(Response::new(integration(self.app.enable_integration(call, target).await?)?))
    }

    async fn list_integration_events(
        &self,
        request: Request<ListIntegrationEventsRequest>,
    ) -> Answer<ListIntegrationEventsResponse> {
        const METHOD: &str = "ListIntegrationEvents";
        let call = asks("AlertService/ListIntegrationEvents", &request)?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let id = convert::id("id", &request.id)?;
        let after = page::decode_revision(&request.page_token, &request.id, METHOD).map_err(convert::paging)?;
        let mut entries =
            self.app.integration_history(call.tenant().id, id, after.unwrap_or_default(), size + 1).await?;
        let next_page_token = cut(&mut entries, size, |last| page::encode_revision(last.revision, &request.id, METHOD));
        let events = entries.into_iter().map(|entry| convert::entry(entry, String::new())).collect::<Result<_, _>>()?;
        Ok(Response::new(ListIntegrationEventsResponse { events, next_page_token }))
    }

    type WatchIntegrationsStream = Watching;

    async fn watch_integrations(&self, request: Request<WatchIntegrationsRequest>) -> Answer<Watching> {
        let call = asks("AlertService/WatchIntegrations", &request)?;
        let request = request.into_inner();
        let filter = convert::filter(&request.filter, integrations::FIELDS)?;
        let from = convert::watch_from(request.cursor, request.start_time)?;
        let events = self.app.watch(call.tenant().id, from).await?;
        let entries = events.filter_map(move |watched| {
            let entry = watched.and_then(|watched| convert::watched_integration(watched, filter.as_ref()));
            futures::future::ready(entry.map_err(Status::from).transpose())
        });
        Ok(Response::new(Box::pin(entries)))
    }

    async fn get_alert(&self, request: Request<GetAlertRequest>) -> Answer<Alert> {
        let call = asks("AlertService/GetAlert", &request)?;
        let id = convert::id("id", &request.into_inner().id)?;
        Ok(Response::new(convert::alert(&self.app.get_alert(call.tenant().id, id).await?)))
    }

    async fn list_alerts(&self, request: Request<ListAlertsRequest>) -> Answer<ListAlertsResponse> {
        let call = asks("AlertService/ListAlerts", &request)?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let after = page::decode(&request.page_token, &request.filter, "ListAlerts").map_err(convert::paging)?;
        let filter = convert::filter(&request.filter, alerts::FIELDS)?;
        let mut found = self.app.list_alerts(call.tenant().id, filter, after, size + 1).await?;
        let token = |last: &domain::Alert| page::encode(last.id.0, &request.filter, "ListAlerts");
        let next_page_token = cut(&mut found, size, token);
        Ok(Response::new(ListAlertsResponse { alerts: found.iter().map(convert::alert).collect(), next_page_token }))
    }

    async fn clear_alert(&self, request: Request<ClearAlertRequest>) -> Answer<Alert> {
        let call = call!(request, "ClearAlert");
        let request = request.into_inner();
        let done = self.app.clear_alert(call, convert::alert_target(&request.id, request.revision)?).await?;
        Ok(Response::new(match done {
            Done::Now(alert) => convert::alert(&alert),
            Done::Before(body) => convert::alert_of(&body)?,
        }))
    }

    async fn list_alert_events(&self, request: Request<ListAlertEventsRequest>) -> Answer<ListAlertEventsResponse> {
        const METHOD: &str = "ListAlertEvents";
        let call = asks("AlertService/ListAlertEvents", &request)?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let id = convert::id("id", &request.id)?;
        let after = page::decode_revision(&request.page_token, &request.id, METHOD).map_err(convert::paging)?;
        let mut entries = self.app.alert_history(call.tenant().id, id, after.unwrap_or_default(), size + 1).await?;
        let next_page_token = cut(&mut entries, size, |last| page::encode_revision(last.revision, &request.id, METHOD));
        let events = entries.into_iter().map(|entry| convert::entry(entry, String::new())).collect::<Result<_, _>>()?;
        Ok(Response::new(ListAlertEventsResponse { events, next_page_token }))
    }

    type WatchAlertsStream = Watching;

    async fn watch_alerts(&self, request: Request<WatchAlertsRequest>) -> Answer<Watching> {
        let call = asks("AlertService/WatchAlerts", &request)?;
        let request = request.into_inner();
        let filter = convert::filter(&request.filter, alerts::FIELDS)?;
        let from = convert::watch_from(request.cursor, request.start_time)?;
        let events = self.app.watch(call.tenant().id, from).await?;
        let entries = events.filter_map(move |watched| {
            let entry = watched.and_then(|watched| convert::watched_alert(watched, filter.as_ref()));
            futures::future::ready(entry.map_err(Status::from).transpose())
        });
        Ok(Response::new(Box::pin(entries)))
    }

    async fn list_rejected_alerts(
        &self,
        request: Request<ListRejectedAlertsRequest>,
    ) -> Answer<ListRejectedAlertsResponse> {
        const METHOD: &str = "ListRejectedAlerts";
        let call = asks("AlertService/ListRejectedAlerts", &request)?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let integration = convert::optional_id("integration_id", &request.integration_id)?;
        let after: Option<Uuid> =
            page::decode(&request.page_token, &request.integration_id, METHOD).map_err(convert::paging)?;
        let mut rejected = self.app.list_rejected(call.tenant().id, integration, after, size + 1).await?;
        let next_page_token = cut(&mut rejected, size, |last| page::encode(last.id, &request.integration_id, METHOD));
        let rejected_alerts = rejected.into_iter().map(convert::rejected).collect();
        Ok(Response::new(ListRejectedAlertsResponse { rejected_alerts, next_page_token }))
    }
}

type Watching = Pin<Box<dyn Stream<Item = Result<AlertEventEntry, Status>> + Send>>;

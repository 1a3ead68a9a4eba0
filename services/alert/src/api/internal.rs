//! For the other services alone: the feed, and the records as they are.

use kit::{feed, id::TenantId, problem::Problem};
use proto::{
    alert::v1::internal_server::Internal,
    common::v1::{
        FeedRequest, FeedResponse, LookupRequest, LookupResponse, PositionRequest, PositionResponse, SnapshotEntry,
        SnapshotRequest, SnapshotResponse,
    },
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Answer, Api, convert};
use crate::{
    app::Error,
    domain::{Alert, Integration},
    events::publish,
    store::SCHEMA,
};

const PAGE: i64 = 200;
/// How the token of a page of alerts begins; before them come the integrations.
const ALERTS: &str = "alerts/";

#[tonic::async_trait]
impl Internal for Api {
    async fn feed(&self, request: Request<FeedRequest>) -> Answer<FeedResponse> {
        Ok(Response::new(feed::answer(&self.app.database.workers, SCHEMA, request.get_ref()).await?))
    }

    async fn position(&self, request: Request<PositionRequest>) -> Answer<PositionResponse> {
        Ok(Response::new(feed::position(&self.app.database.workers, SCHEMA, request.get_ref()).await?))
    }

    async fn snapshot(&self, request: Request<SnapshotRequest>) -> Answer<SnapshotResponse> {
        let request = request.into_inner();
        if request.tenant_id.is_empty() {
            let entries = feed::tenants(&self.app.database.workers, SCHEMA).await.map_err(Problem::from)?;
            return Ok(Response::new(SnapshotResponse { entries, next_page_token: String::new() }));
        }
        let tenant: TenantId = convert::id("tenant_id", &request.tenant_id)?;
        let full = usize::try_from(PAGE).unwrap_or_default();
        if let Some(after) = request.page_token.strip_prefix(ALERTS) {
            let after: Option<Uuid> = convert::optional_id("page_token", after)?;
            let alerts = self.app.list_alerts(tenant, None, after, PAGE).await?;
            let last = alerts.last().filter(|_| alerts.len() == full);
            return Ok(Response::new(SnapshotResponse {
                next_page_token: last.map(|last| format!("{ALERTS}{}", last.id)).unwrap_or_default(),
                entries: alerts.iter().map(|alert| alert_entry(tenant, alert)).collect(),
            }));
        }
        let after: Option<Uuid> = convert::optional_id("page_token", &request.page_token)?;
        let integrations = self.app.list_integrations(tenant, None, after, PAGE).await?;
        let last = integrations.last().filter(|_| integrations.len() == full);
        Ok(Response::new(SnapshotResponse {
            next_page_token: last.map_or_else(|| ALERTS.to_owned(), |last| last.id.to_string()),
            entries: integrations.iter().map(|integration| integration_entry(tenant, integration)).collect(),
        }))
    }

    async fn lookup(&self, request: Request<LookupRequest>) -> Answer<LookupResponse> {
        let request = request.into_inner();
        let tenant: TenantId = convert::id("tenant_id", &request.tenant_id)?;
        let id: Uuid = convert::id("record_id", &request.record_id)?;
        let entry = match self.app.get_alert(tenant, id.into()).await {
            Ok(alert) => alert_entry(tenant, &alert),
            Err(Error::Problem(Problem::NotFound { .. })) => {
                let found = self.app.get_integration(tenant, id.into()).await;
                integration_entry(tenant, &found.map_err(Status::from)?)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Response::new(LookupResponse { entry: Some(entry) }))
    }
}

fn alert_entry(tenant: TenantId, alert: &Alert) -> SnapshotEntry {
    SnapshotEntry {
        tenant_id: tenant.to_string(),
        tenant: String::new(),
        record_id: alert.id.to_string(),
        revision: alert.revision,
        body: publish::alert_snapshot(alert).into(),
    }
}

fn integration_entry(tenant: TenantId, integration: &Integration) -> SnapshotEntry {
    SnapshotEntry {
        tenant_id: tenant.to_string(),
        tenant: String::new(),
        record_id: integration.id.to_string(),
        revision: integration.revision,
        body: publish::integration_snapshot(integration).into(),
    }
}

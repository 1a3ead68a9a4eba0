//! For the other services alone: the feed, and the records as they are.

use kit::{
    feed,
    id::{CiId, ServiceId, TenantId},
    problem::Problem,
};
use proto::{
    catalog::v1::internal_server::Internal,
    common::v1::{
        FeedRequest, FeedResponse, LookupRequest, LookupResponse, PositionRequest, PositionResponse, SnapshotEntry,
        SnapshotRequest, SnapshotResponse,
    },
};
use tonic::{Request, Response};
use uuid::Uuid;

use super::{Answer, Api, convert};
use crate::{
    app::Error,
    domain::{ConfigurationItem, Service},
    events::publish,
    store::SCHEMA,
};

const PAGE: i64 = 200;
/// What a page token begins with once the services are through.
const ITEMS: &str = "items:";

#[tonic::async_trait]
impl Internal for Api {
    async fn feed(&self, request: Request<FeedRequest>) -> Answer<FeedResponse> {
        Ok(Response::new(feed::answer(&self.app.database.workers, SCHEMA, request.get_ref()).await?))
    }

    async fn position(&self, request: Request<PositionRequest>) -> Answer<PositionResponse> {
        Ok(Response::new(feed::position(&self.app.database.workers, SCHEMA, request.get_ref()).await?))
    }

    /// Services first, then configuration items, so that a follower knows the service of each item.
    async fn snapshot(&self, request: Request<SnapshotRequest>) -> Answer<SnapshotResponse> {
        let request = request.into_inner();
        if request.tenant_id.is_empty() {
            let entries = feed::tenants(&self.app.database.workers, SCHEMA).await.map_err(Problem::from)?;
            return Ok(Response::new(SnapshotResponse { entries, next_page_token: String::new() }));
        }
        let tenant: TenantId = convert::id("tenant_id", &request.tenant_id)?;
        let (entries, next_page_token) = match request.page_token.strip_prefix(ITEMS) {
            None => {
                let after = convert::optional_id("page_token", &request.page_token)?;
                let services = self.app.services(tenant, None, after, PAGE).await?;
                let next = next(services.last().map(|last| last.id.0), services.len());
                (services.iter().map(|record| service(tenant, record)).collect(), next.unwrap_or(ITEMS.to_owned()))
            }
            Some(after) => {
                let after = convert::optional_id("page_token", after)?;
                let items = self.app.configuration_items(tenant, None, after, PAGE).await?;
                let next = next(items.last().map(|last| last.id.0), items.len()).map(|id| format!("{ITEMS}{id}"));
                (items.iter().map(|record| configuration_item(tenant, record)).collect(), next.unwrap_or_default())
            }
        };
        Ok(Response::new(SnapshotResponse { entries, next_page_token }))
    }

    async fn lookup(&self, request: Request<LookupRequest>) -> Answer<LookupResponse> {
        let request = request.into_inner();
        let tenant: TenantId = convert::id("tenant_id", &request.tenant_id)?;
        let id: Uuid = convert::id("record_id", &request.record_id)?;
        let entry = match self.app.service(tenant, ServiceId(id)).await {
            Ok(found) => service(tenant, &found),
            Err(Error::Problem(Problem::NotFound { .. })) => {
                configuration_item(tenant, &self.app.configuration_item(tenant, CiId(id)).await?)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Response::new(LookupResponse { entry: Some(entry) }))
    }
}

/// Where the page after a full one begins.
fn next(last: Option<Uuid>, count: usize) -> Option<String> {
    last.filter(|_| i64::try_from(count) == Ok(PAGE)).map(|last| last.to_string())
}

fn service(tenant: TenantId, service: &Service) -> SnapshotEntry {
    SnapshotEntry {
        tenant_id: tenant.to_string(),
        tenant: String::new(),
        record_id: service.id.to_string(),
        revision: service.revision,
        body: publish::service_snapshot(service).into(),
    }
}

fn configuration_item(tenant: TenantId, item: &ConfigurationItem) -> SnapshotEntry {
    SnapshotEntry {
        tenant_id: tenant.to_string(),
        tenant: String::new(),
        record_id: item.id.to_string(),
        revision: item.revision,
        body: publish::configuration_item_snapshot(item).into(),
    }
}

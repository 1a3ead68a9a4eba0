//! For the other services alone: the feed, and the records as they are.

use kit::{feed, id::TenantId, problem::Problem};
use proto::{
    change::v1::internal_server::Internal,
    common::v1::{
        FeedRequest, FeedResponse, LookupRequest, LookupResponse, PositionRequest, PositionResponse, SnapshotEntry,
        SnapshotRequest, SnapshotResponse,
    },
};
use tonic::{Request, Response};

use super::{Answer, Api, convert};
use crate::{
    domain::Change,
    events::publish,
    store::{SCHEMA, changes::Key},
};

/// How many changes a page has: few, because each may weigh 150 KiB.
const PAGE: i64 = 50;

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
        let after = convert::optional_id("page_token", &request.page_token)?;
        let changes = self.app.list(tenant, None, after, PAGE).await?;
        let last = changes.last().filter(|_| changes.len() == usize::try_from(PAGE).unwrap_or_default());
        let next_page_token = last.map(|last| last.id.to_string()).unwrap_or_default();
        Ok(Response::new(SnapshotResponse {
            entries: changes.iter().map(|change| entry(tenant, change)).collect(),
            next_page_token,
        }))
    }

    async fn lookup(&self, request: Request<LookupRequest>) -> Answer<LookupResponse> {
        let request = request.into_inner();
        let tenant: TenantId = convert::id("tenant_id", &request.tenant_id)?;
        let id = convert::id("record_id", &request.record_id)?;
        let change = self.app.get(tenant, Key::Id(id)).await?;
        Ok(Response::new(LookupResponse { entry: Some(entry(tenant, &change)) }))
    }
}

fn entry(tenant: TenantId, change: &Change) -> SnapshotEntry {
    SnapshotEntry {
        tenant_id: tenant.to_string(),
        tenant: String::new(),
        record_id: change.id.to_string(),
        revision: change.revision,
        body: publish::snapshot(change).into(),
    }
}

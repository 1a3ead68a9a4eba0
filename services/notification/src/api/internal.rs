//! For the other services alone: the feed, and the records as they are. Contact methods are without
//! addresses here, as in events.

use kit::{feed, id::TenantId, problem::Problem};
use proto::{
    common::v1::{
        FeedRequest, FeedResponse, LookupRequest, LookupResponse, PositionRequest, PositionResponse, SnapshotEntry,
        SnapshotRequest, SnapshotResponse,
    },
    notification::v1::internal_server::Internal,
};
use tonic::{Request, Response};

use super::{Answer, Api, convert};
use crate::{
    events::publish,
    store::{SCHEMA, snapshots::AnyRecord},
};

const PAGE: i64 = 200;

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
        let records = self.app.snapshot(tenant, after, PAGE).await?;
        let last = records.last().filter(|_| i64::try_from(records.len()).unwrap_or_default() == PAGE);
        Ok(Response::new(SnapshotResponse {
            next_page_token: last.map(|last| last.place().0.to_string()).unwrap_or_default(),
            entries: records.iter().map(|record| entry(tenant, record)).collect(),
        }))
    }

    async fn lookup(&self, request: Request<LookupRequest>) -> Answer<LookupResponse> {
        let request = request.into_inner();
        let tenant: TenantId = convert::id("tenant_id", &request.tenant_id)?;
        let record = self.app.lookup(tenant, convert::id("record_id", &request.record_id)?).await?;
        Ok(Response::new(LookupResponse { entry: Some(entry(tenant, &record)) }))
    }
}

fn entry(tenant: TenantId, record: &AnyRecord) -> SnapshotEntry {
    let (id, revision) = record.place();
    SnapshotEntry {
        tenant_id: tenant.to_string(),
        tenant: String::new(),
        record_id: id.to_string(),
        revision,
        body: publish::snapshot(record).into(),
    }
}

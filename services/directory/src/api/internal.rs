//! For the other services alone: the feed, the records as they are, and the exchange of a key for
//! an inner token. People are without names and addresses here, as in events.

use kit::{access, bus::timestamp, feed, id::TenantId};
use proto::{
    common::v1::{
        FeedRequest, FeedResponse, LookupRequest, LookupResponse, PositionRequest, PositionResponse, SnapshotEntry,
        SnapshotRequest, SnapshotResponse,
    },
    directory::v1::{AuthenticateRequest, AuthenticateResponse, internal_server::Internal},
};
use tonic::{Request, Response};

use super::{Answer, Api, convert};
use crate::{
    domain::Tenant,
    events::publish,
    store::{SCHEMA, snapshot::AnyRecord},
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
        let after = convert::optional_id("page_token", &request.page_token)?;
        let records: Vec<(TenantId, AnyRecord)> = if request.tenant_id.is_empty() {
            let tenants = self.app.tenants(after, PAGE).await?;
            tenants.into_iter().map(|tenant: Tenant| (tenant.id, AnyRecord::Tenant(tenant))).collect()
        } else {
            let tenant: TenantId = convert::id("tenant_id", &request.tenant_id)?;
            let records = self.app.snapshot(tenant, after, PAGE).await?;
            records.into_iter().map(|record| (tenant, record)).collect()
        };
        let last = records.last().filter(|_| i64::try_from(records.len()).unwrap_or_default() == PAGE);
        Ok(Response::new(SnapshotResponse {
            next_page_token: last.map(|(_, record)| record.id().to_string()).unwrap_or_default(),
            entries: records.iter().map(|(tenant, record)| entry(*tenant, record)).collect(),
        }))
    }

    async fn lookup(&self, request: Request<LookupRequest>) -> Answer<LookupResponse> {
        let request = request.into_inner();
        let tenant: TenantId = convert::id("tenant_id", &request.tenant_id)?;
        let record = self.app.lookup(tenant, convert::id("record_id", &request.record_id)?).await?;
        Ok(Response::new(LookupResponse { entry: Some(entry(tenant, &record)) }))
    }

    async fn authenticate(&self, request: Request<AuthenticateRequest>) -> Answer<AuthenticateResponse> {
        let signed_in = self.app.authenticate(&request.get_ref().credential).await?;
        let signed_in = signed_in.ok_or_else(access::unauthenticated)?;
        Ok(Response::new(AuthenticateResponse {
            token: signed_in.token,
            expire_time: Some(timestamp(signed_in.expires_at)),
            tenant: signed_in.tenant,
        }))
    }
}

fn entry(tenant: TenantId, record: &AnyRecord) -> SnapshotEntry {
    let slug = match record {
        AnyRecord::Tenant(tenant) => tenant.slug.clone(),
        AnyRecord::Person(_) | AnyRecord::Team(_) | AnyRecord::Membership(_) => String::new(),
    };
    SnapshotEntry {
        tenant_id: tenant.to_string(),
        tenant: slug,
        record_id: record.id().to_string(),
        revision: record.revision(),
        body: publish::snapshot(record).into(),
    }
}

//! For the other services alone: the feed, and the records as they are.

use std::str::FromStr;

use kit::{
    feed,
    id::{IncidentId, TenantId},
    problem::Problem,
};
use proto::{
    common::v1::{
        FeedRequest, FeedResponse, LookupRequest, LookupResponse, PositionRequest, PositionResponse, SnapshotEntry,
        SnapshotRequest, SnapshotResponse,
    },
    incident::v1::internal_server::Internal,
};
use tonic::{Request, Response, Status};

use super::{Answer, Api, convert};
use crate::{
    app::Error,
    domain::Incident,
    events::publish,
    store::{SCHEMA, incidents::Key},
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
        let incidents = self.app.list(tenant, None, after, PAGE).await?;
        let last = incidents.last().filter(|_| incidents.len() == usize::try_from(PAGE).unwrap_or_default());
        let next_page_token = last.map(|last| last.id.to_string()).unwrap_or_default();
        Ok(Response::new(SnapshotResponse {
            entries: incidents.iter().map(|incident| entry(tenant, incident)).collect(),
            next_page_token,
        }))
    }

    async fn lookup(&self, request: Request<LookupRequest>) -> Answer<LookupResponse> {
        let request = request.into_inner();
        let tenant: TenantId = convert::id("tenant_id", &request.tenant_id)?;
        let id =
            IncidentId::from_str(&request.record_id).map_err(|_| Problem::invalid("record_id", "must be an id"))?;
        let incident = self.app.get(tenant, Key::Id(id)).await.map_err(|error: Error| Status::from(error))?;
        Ok(Response::new(LookupResponse { entry: Some(entry(tenant, &incident)) }))
    }
}

fn entry(tenant: TenantId, incident: &Incident) -> SnapshotEntry {
    SnapshotEntry {
        tenant_id: tenant.to_string(),
        tenant: String::new(),
        record_id: incident.id.to_string(),
        revision: incident.revision,
        body: publish::snapshot(incident).into(),
    }
}

//! For the other services alone: the feed, and the records as they are.

use kit::{feed, id::TenantId, problem::Problem};
use proto::{
    common::v1::{
        FeedRequest, FeedResponse, LookupRequest, LookupResponse, PositionRequest, PositionResponse, SnapshotEntry,
        SnapshotRequest, SnapshotResponse,
    },
    sla::v1::internal_server::Internal,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Answer, Api, convert};
use crate::{
    app::Error,
    domain::{Agreement, Calendar, Clock},
    events::publish,
    store::{Page, SCHEMA},
};

const PAGE: i64 = 200;

kit::words!(
    /// The records, in the order in which a snapshot pages through them.
    Kind {
        /// Calendars.
        Calendar = "calendar",
        /// Agreements.
        Agreement = "agreement",
        /// Clocks.
        Clock = "clock",
    }
);

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
        let (kind, after) = place(&request.page_token)?;
        let entries = self.page(tenant, kind, after).await?;
        let full = entries.len() == usize::try_from(PAGE).unwrap_or_default();
        let next_page_token = match (entries.last().filter(|_| full), next(kind)) {
            (Some(last), _) => format!("{}/{}", kind.name(), last.record_id),
            (None, Some(next)) => format!("{}/", next.name()),
            (None, None) => String::new(),
        };
        Ok(Response::new(SnapshotResponse { entries, next_page_token }))
    }

    async fn lookup(&self, request: Request<LookupRequest>) -> Answer<LookupResponse> {
        let request = request.into_inner();
        let tenant: TenantId = convert::id("tenant_id", &request.tenant_id)?;
        let id: Uuid = convert::id("record_id", &request.record_id)?;
        let absent = |error: &Error| matches!(error, Error::Problem(Problem::NotFound { .. }));
        let entry = match self.app.clock(tenant, id.into()).await {
            Ok(found) => clock(tenant, &found),
            Err(error) if absent(&error) => match self.app.agreement(tenant, id.into()).await {
                Ok(found) => agreement(tenant, &found),
                Err(error) if absent(&error) => calendar(tenant, &self.app.calendar(tenant, id.into()).await?),
                Err(error) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        };
        Ok(Response::new(LookupResponse { entry: Some(entry) }))
    }
}

impl Api {
    async fn page(&self, tenant: TenantId, kind: Kind, after: Option<Uuid>) -> Result<Vec<SnapshotEntry>, Status> {
        let page = Page { filter: None, after, limit: PAGE };
        Ok(match kind {
            Kind::Calendar => {
                self.app.calendars(tenant, &page).await?.iter().map(|record| calendar(tenant, record)).collect()
            }
            Kind::Agreement => {
                self.app.agreements(tenant, &page).await?.iter().map(|record| agreement(tenant, record)).collect()
            }
            Kind::Clock => self.app.clocks(tenant, &page).await?.iter().map(|record| clock(tenant, record)).collect(),
        })
    }
}

/// Where a page token leads: `<kind>/<last id>`.
fn place(token: &str) -> Result<(Kind, Option<Uuid>), Problem> {
    if token.is_empty() {
        return Ok((Kind::Calendar, None));
    }
    let invalid = || Problem::invalid("page_token", "is not one that this method gave out");
    let (kind, after) = token.split_once('/').ok_or_else(invalid)?;
    Ok((Kind::of(kind).ok_or_else(invalid)?, convert::optional_id("page_token", after)?))
}

fn next(kind: Kind) -> Option<Kind> {
    match kind {
        Kind::Calendar => Some(Kind::Agreement),
        Kind::Agreement => Some(Kind::Clock),
        Kind::Clock => None,
    }
}

fn entry(tenant: TenantId, record_id: Uuid, revision: i64, body: Vec<u8>) -> SnapshotEntry {
    SnapshotEntry {
        tenant_id: tenant.to_string(),
        tenant: String::new(),
        record_id: record_id.to_string(),
        revision,
        body: body.into(),
    }
}

fn agreement(tenant: TenantId, record: &Agreement) -> SnapshotEntry {
    entry(tenant, record.id.0, record.revision, publish::agreement_snapshot(record))
}

fn calendar(tenant: TenantId, record: &Calendar) -> SnapshotEntry {
    entry(tenant, record.id.0, record.revision, publish::calendar_snapshot(record))
}

fn clock(tenant: TenantId, record: &Clock) -> SnapshotEntry {
    entry(tenant, record.id.0, record.revision, publish::clock_snapshot(record))
}

//! gRPC: short handlers that parse, call the use case, and convert the answer.

pub mod convert;
pub mod internal;
pub mod status;

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use kit::{caller::Call, page, problem::Problem, request::Done};
use proto::change::v1::{
    ApproveChangeRequest, CancelChangeRequest, Change, ChangeEventEntry, CloseChangeRequest, CompleteChangeRequest,
    CreateChangeRequest, FailChangeRequest, GetChangeRequest, ListChangeEventsRequest, ListChangeEventsResponse,
    ListChangesRequest, ListChangesResponse, RejectChangeRequest, RequestChangeRequest, ScheduleChangeRequest,
    StartChangeRequest, UpdateChangeRequest, WatchChangesRequest, change_service_server::ChangeService,
};
use tonic::{Request, Response, Status};

use crate::{app::App, domain};

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

fn answer(done: Done<domain::Change>) -> Answer<Change> {
    let change = match done {
        Done::Now(change) => convert::change(&change),
        Done::Before(body) => convert::change_of(&body)?,
    };
    Ok(Response::new(change))
}

/// The call of a request, its key taken out before the request is digested.
macro_rules! call {
    ($request:ident, $method:literal) => {
        Call::of(concat!("ChangeService/", $method), &$request, |message| std::mem::take(&mut message.request_id))?
    };
}

/// A question has no key.
fn asks<T: prost::Message + Clone>(method: &'static str, request: &Request<T>) -> Result<Call, Problem> {
    Call::of(method, request, |_| String::new())
}

#[tonic::async_trait]
impl ChangeService for Api {
    async fn get_change(&self, request: Request<GetChangeRequest>) -> Answer<Change> {
        let call = asks("ChangeService/GetChange", &request)?;
        let key = convert::key("id", &request.into_inner().id)?;
        Ok(Response::new(convert::change(&self.app.get(call.tenant().id, key).await?)))
    }

    async fn list_changes(&self, request: Request<ListChangesRequest>) -> Answer<ListChangesResponse> {
        let call = asks("ChangeService/ListChanges", &request)?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let after = page::decode(&request.page_token, &request.filter, "ListChanges").map_err(convert::paging)?;
        let mut changes = self.app.list(call.tenant().id, convert::filter(&request.filter)?, after, size + 1).await?;
        let more = changes.len() > usize::try_from(size).unwrap_or_default();
        changes.truncate(usize::try_from(size).unwrap_or_default());
        let last = changes.last().filter(|_| more);
        Ok(Response::new(ListChangesResponse {
            next_page_token: last
                .map(|last| page::encode(last.id.0, &request.filter, "ListChanges"))
                .unwrap_or_default(),
            changes: changes.iter().map(convert::change).collect(),
        }))
    }

    async fn create_change(&self, request: Request<CreateChangeRequest>) -> Answer<Change> {
        let call = call!(request, "CreateChange");
        answer(self.app.create(call, convert::create(request.into_inner().change)?).await?)
    }

    async fn update_change(&self, request: Request<UpdateChangeRequest>) -> Answer<Change> {
        let call = call!(request, "UpdateChange");
        let request = request.into_inner();
        let (target, update) = convert::update(request.change, request.update_mask)?;
        answer(self.app.update(call, target, update).await?)
    }

    async fn request_change(&self, request: Request<RequestChangeRequest>) -> Answer<Change> {
        let call = call!(request, "RequestChange");
        let request = request.into_inner();
        answer(self.app.request(call, convert::target(&request.id, request.revision)?).await?)
    }

    async fn approve_change(&self, request: Request<ApproveChangeRequest>) -> Answer<Change> {
        let call = call!(request, "ApproveChange");
        let request = request.into_inner();
        let target = convert::target(&request.id, request.revision)?;
        answer(self.app.approve(call, target, convert::long("note", request.note)?).await?)
    }

    async fn reject_change(&self, request: Request<RejectChangeRequest>) -> Answer<Change> {
        let call = call!(request, "RejectChange");
        let request = request.into_inner();
        let target = convert::target(&request.id, request.revision)?;
        answer(self.app.reject(call, target, convert::limited("reason", request.reason, 1, 2_000)?).await?)
    }

    async fn schedule_change(&self, request: Request<ScheduleChangeRequest>) -> Answer<Change> {
        let call = call!(request, "ScheduleChange");
        let request = request.into_inner();
        let target = convert::target(&request.id, request.revision)?;
        let window = convert::window(request.planned_start_time, request.planned_end_time)?;
        answer(self.app.schedule(call, target, window).await?)
    }

    async fn start_change(&self, request: Request<StartChangeRequest>) -> Answer<Change> {
        let call = call!(request, "StartChange");
        let request = request.into_inner();
        answer(self.app.start(call, convert::target(&request.id, request.revision)?).await?)
    }

    async fn complete_change(&self, request: Request<CompleteChangeRequest>) -> Answer<Change> {
        let call = call!(request, "CompleteChange");
        let request = request.into_inner();
        let target = convert::target(&request.id, request.revision)?;
        answer(self.app.complete(call, target, convert::long("outcome_notes", request.outcome_notes)?).await?)
    }

    async fn fail_change(&self, request: Request<FailChangeRequest>) -> Answer<Change> {
        let call = call!(request, "FailChange");
        let request = request.into_inner();
        let target = convert::target(&request.id, request.revision)?;
        let notes = convert::limited("outcome_notes", request.outcome_notes, 1, 16_384)?;
        answer(self.app.fail(call, target, notes).await?)
    }

    async fn close_change(&self, request: Request<CloseChangeRequest>) -> Answer<Change> {
        let call = call!(request, "CloseChange");
        let request = request.into_inner();
        let target = convert::target(&request.id, request.revision)?;
        answer(self.app.close(call, target, convert::long("review_notes", request.review_notes)?).await?)
    }

    async fn cancel_change(&self, request: Request<CancelChangeRequest>) -> Answer<Change> {
        let call = call!(request, "CancelChange");
        let request = request.into_inner();
        let target = convert::target(&request.id, request.revision)?;
        answer(self.app.cancel(call, target, convert::limited("reason", request.reason, 1, 2_000)?).await?)
    }

    async fn list_change_events(&self, request: Request<ListChangeEventsRequest>) -> Answer<ListChangeEventsResponse> {
        let call = asks("ChangeService/ListChangeEvents", &request)?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let key = convert::key("id", &request.id)?;
        let after =
            page::decode_revision(&request.page_token, &request.id, "ListChangeEvents").map_err(convert::paging)?;
        let entries = self.app.history(call.tenant().id, key, after.unwrap_or_default(), size).await?;
        let last = entries.last().filter(|_| i64::try_from(entries.len()).unwrap_or_default() == size);
        Ok(Response::new(ListChangeEventsResponse {
            next_page_token: last
                .map(|last| page::encode_revision(last.revision, &request.id, "ListChangeEvents"))
                .unwrap_or_default(),
            events: entries.into_iter().map(|entry| convert::entry(entry, String::new())).collect::<Result<_, _>>()?,
        }))
    }

    type WatchChangesStream = Pin<Box<dyn Stream<Item = Result<ChangeEventEntry, Status>> + Send>>;

    async fn watch_changes(&self, request: Request<WatchChangesRequest>) -> Answer<Self::WatchChangesStream> {
        let call = asks("ChangeService/WatchChanges", &request)?;
        let request = request.into_inner();
        let filter = convert::filter(&request.filter)?;
        let events = self.app.watch(call.tenant().id, convert::watch_from(request.cursor, request.start_time)?).await?;
        let entries = events.filter_map(move |watched| {
            let entry = watched.and_then(|watched| convert::watched(watched, filter.as_ref()));
            futures::future::ready(entry.map_err(Status::from).transpose())
        });
        Ok(Response::new(Box::pin(entries)))
    }
}

//! gRPC: short handlers that parse, call the use case, and convert the answer.

pub mod convert;
pub mod internal;
pub mod status;

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use kit::{caller::Call, page, problem::Problem, request::Done};
use proto::incident::v1::{
    AcknowledgeIncidentRequest, AddNoteRequest, AssignIncidentRequest, CancelIncidentRequest, CloseIncidentRequest,
    CreateIncidentRequest, GetIncidentRequest, HoldIncidentRequest, Incident, IncidentEventEntry, LinkAlertRequest,
    ListIncidentEventsRequest, ListIncidentEventsResponse, ListIncidentsRequest, ListIncidentsResponse,
    OverridePriorityRequest, ReopenIncidentRequest, ResolveIncidentRequest, ResumeIncidentRequest,
    StartIncidentRequest, UnlinkAlertRequest, UpdateIncidentRequest, WatchIncidentsRequest,
    incident_service_server::IncidentService,
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

fn answer(done: Done<domain::Incident>) -> Answer<Incident> {
    let incident = match done {
        Done::Now(incident) => convert::incident(&incident),
        Done::Before(body) => convert::incident_of(&body)?,
    };
    Ok(Response::new(incident))
}

/// The call of a request, its key taken out before the request is digested.
macro_rules! call {
    ($request:ident, $method:literal) => {
        Call::of(concat!("IncidentService/", $method), &$request, |message| std::mem::take(&mut message.request_id))?
    };
}

/// A question has no key.
fn asks<T: prost::Message + Clone>(method: &'static str, request: &Request<T>) -> Result<Call, Problem> {
    Call::of(method, request, |_| String::new())
}

#[tonic::async_trait]
impl IncidentService for Api {
    async fn get_incident(&self, request: Request<GetIncidentRequest>) -> Answer<Incident> {
        let call = asks("IncidentService/GetIncident", &request)?;
        let key = convert::key("id", &request.into_inner().id)?;
        Ok(Response::new(convert::incident(&self.app.get(call.tenant().id, key).await?)))
    }

    async fn list_incidents(&self, request: Request<ListIncidentsRequest>) -> Answer<ListIncidentsResponse> {
        let call = asks("IncidentService/ListIncidents", &request)?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let after = page::decode(&request.page_token, &request.filter, "ListIncidents").map_err(convert::paging)?;
        let mut incidents = self.app.list(call.tenant().id, convert::filter(&request.filter)?, after, size + 1).await?;
        let more = incidents.len() > usize::try_from(size).unwrap_or_default();
        incidents.truncate(usize::try_from(size).unwrap_or_default());
        let last = incidents.last().filter(|_| more);
        Ok(Response::new(ListIncidentsResponse {
            next_page_token: last
                .map(|last| page::encode(last.id.0, &request.filter, "ListIncidents"))
                .unwrap_or_default(),
            incidents: incidents.iter().map(convert::incident).collect(),
        }))
    }

    async fn create_incident(&self, request: Request<CreateIncidentRequest>) -> Answer<Incident> {
        let call = call!(request, "CreateIncident");
        answer(self.app.create(call, convert::create(request.into_inner().incident)?).await?)
    }

    async fn update_incident(&self, request: Request<UpdateIncidentRequest>) -> Answer<Incident> {
        let call = call!(request, "UpdateIncident");
        let request = request.into_inner();
        let (target, update) = convert::update(request.incident, request.update_mask)?;
        answer(self.app.update(call, target, update).await?)
    }

    async fn acknowledge_incident(&self, request: Request<AcknowledgeIncidentRequest>) -> Answer<Incident> {
        let call = call!(request, "AcknowledgeIncident");
        let request = request.into_inner();
        answer(self.app.acknowledge(call, convert::target(&request.id, request.revision)?).await?)
    }

    async fn assign_incident(&self, request: Request<AssignIncidentRequest>) -> Answer<Incident> {
        let call = call!(request, "AssignIncident");
        let request = request.into_inner();
        let target = convert::target(&request.id, request.revision)?;
        let team = convert::optional_id("team_id", &request.team_id)?;
        let assignee = convert::optional_id("assignee_id", &request.assignee_id)?;
        if team.is_none() && assignee.is_none() {
            return Err(Problem::invalid("team_id", "must be given, or assignee_id").into());
        }
        answer(self.app.assign(call, target, team, assignee, convert::note(request.note)?).await?)
    }

    async fn start_incident(&self, request: Request<StartIncidentRequest>) -> Answer<Incident> {
        let call = call!(request, "StartIncident");
        let request = request.into_inner();
        answer(
            self.app.start(call, convert::target(&request.id, request.revision)?, convert::note(request.note)?).await?,
        )
    }

    async fn hold_incident(&self, request: Request<HoldIncidentRequest>) -> Answer<Incident> {
        let call = call!(request, "HoldIncident");
        let request = request.into_inner();
        let reason = convert::wanted_pending_reason(request.pending_reason())?;
        let target = convert::target(&request.id, request.revision)?;
        answer(self.app.hold(call, target, reason, convert::note(request.note)?).await?)
    }

    async fn resume_incident(&self, request: Request<ResumeIncidentRequest>) -> Answer<Incident> {
        let call = call!(request, "ResumeIncident");
        let request = request.into_inner();
        answer(
            self.app
                .resume(call, convert::target(&request.id, request.revision)?, convert::note(request.note)?)
                .await?,
        )
    }

    async fn resolve_incident(&self, request: Request<ResolveIncidentRequest>) -> Answer<Incident> {
        let call = call!(request, "ResolveIncident");
        let request = request.into_inner();
        let code = convert::wanted_resolution_code(request.resolution_code())?;
        let target = convert::target(&request.id, request.revision)?;
        let notes = convert::limited("resolution_notes", request.resolution_notes, 1, 16_384)?;
        answer(self.app.resolve(call, target, code, notes).await?)
    }

    async fn close_incident(&self, request: Request<CloseIncidentRequest>) -> Answer<Incident> {
        let call = call!(request, "CloseIncident");
        let request = request.into_inner();
        answer(
            self.app.close(call, convert::target(&request.id, request.revision)?, convert::note(request.note)?).await?,
        )
    }

    async fn cancel_incident(&self, request: Request<CancelIncidentRequest>) -> Answer<Incident> {
        let call = call!(request, "CancelIncident");
        let request = request.into_inner();
        let target = convert::target(&request.id, request.revision)?;
        answer(self.app.cancel(call, target, convert::limited("reason", request.reason, 1, 2_000)?).await?)
    }

    async fn reopen_incident(&self, request: Request<ReopenIncidentRequest>) -> Answer<Incident> {
        let call = call!(request, "ReopenIncident");
        let request = request.into_inner();
        let target = convert::target(&request.id, request.revision)?;
        answer(self.app.reopen(call, target, convert::limited("reason", request.reason, 1, 2_000)?).await?)
    }

    async fn add_note(&self, request: Request<AddNoteRequest>) -> Answer<Incident> {
        let call = call!(request, "AddNote");
        let request = request.into_inner();
        let target = convert::target(&request.id, request.revision)?;
        answer(self.app.add_note(call, target, convert::limited("text", request.text, 1, 16_384)?).await?)
    }

    async fn override_priority(&self, request: Request<OverridePriorityRequest>) -> Answer<Incident> {
        let call = call!(request, "OverridePriority");
        let request = request.into_inner();
        let priority = convert::wanted_priority(request.priority())?;
        let target = convert::target(&request.id, request.revision)?;
        answer(
            self.app
                .override_priority(call, target, priority, convert::limited("reason", request.reason, 1, 2_000)?)
                .await?,
        )
    }

    async fn link_alert(&self, request: Request<LinkAlertRequest>) -> Answer<Incident> {
        let call = call!(request, "LinkAlert");
        let request = request.into_inner();
        let target = convert::target(&request.id, request.revision)?;
        answer(self.app.link_alert(call, target, convert::id("alert_id", &request.alert_id)?).await?)
    }

    async fn unlink_alert(&self, request: Request<UnlinkAlertRequest>) -> Answer<Incident> {
        let call = call!(request, "UnlinkAlert");
        let request = request.into_inner();
        let target = convert::target(&request.id, request.revision)?;
        answer(self.app.unlink_alert(call, target, convert::id("alert_id", &request.alert_id)?).await?)
    }

    async fn list_incident_events(
        &self,
        request: Request<ListIncidentEventsRequest>,
    ) -> Answer<ListIncidentEventsResponse> {
        let call = asks("IncidentService/ListIncidentEvents", &request)?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let key = convert::key("id", &request.id)?;
        let after =
            page::decode_revision(&request.page_token, &request.id, "ListIncidentEvents").map_err(convert::paging)?;
        let entries = self.app.history(call.tenant().id, key, after.unwrap_or_default(), size).await?;
        let last = entries.last().filter(|_| i64::try_from(entries.len()).unwrap_or_default() == size);
        Ok(Response::new(ListIncidentEventsResponse {
            next_page_token: last
                .map(|last| page::encode_revision(last.revision, &request.id, "ListIncidentEvents"))
                .unwrap_or_default(),
            events: entries.into_iter().map(|entry| convert::entry(entry, String::new())).collect::<Result<_, _>>()?,
        }))
    }

    type WatchIncidentsStream = Pin<Box<dyn Stream<Item = Result<IncidentEventEntry, Status>> + Send>>;

    async fn watch_incidents(&self, request: Request<WatchIncidentsRequest>) -> Answer<Self::WatchIncidentsStream> {
        let call = asks("IncidentService/WatchIncidents", &request)?;
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

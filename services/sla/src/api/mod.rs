//! gRPC: short handlers that parse, call the use case, and convert the answer.

pub mod convert;
pub mod internal;
pub mod status;

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use kit::{caller::Call, filter::Field, page, problem::Problem, request::Done};
use proto::sla::v1::{
    ActivateAgreementRequest, Agreement, Calendar, Clock, CreateAgreementRequest, CreateCalendarRequest,
    GetAgreementRequest, GetCalendarRequest, GetClockRequest, ListAgreementEventsRequest, ListAgreementEventsResponse,
    ListAgreementsRequest, ListAgreementsResponse, ListCalendarEventsRequest, ListCalendarEventsResponse,
    ListCalendarsRequest, ListCalendarsResponse, ListClockEventsRequest, ListClockEventsResponse, ListClocksRequest,
    ListClocksResponse, RetireAgreementRequest, RetireCalendarRequest, SlaEventEntry, UpdateAgreementRequest,
    UpdateCalendarRequest, WatchAgreementsRequest, WatchCalendarsRequest, WatchClocksRequest, sla_event::Record,
    sla_service_server::SlaService,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    app::App,
    domain::{self, AgreementId, CalendarId, ClockId},
    store::{Page, agreements, calendars, clocks},
};
use convert::Watches;

/// The service's gRPC.
#[derive(Clone)]
pub struct Api {
    app: Arc<App>,
}

type Answer<T> = Result<Response<T>, Status>;
type Entries = Pin<Box<dyn Stream<Item = Result<SlaEventEntry, Status>> + Send>>;

/// The call of a request, its key taken out before the request is digested.
macro_rules! call {
    ($request:ident, $method:literal) => {
        Call::of(concat!("SlaService/", $method), &$request, |message| std::mem::take(&mut message.request_id))?
    };
}

/// A question has no key.
fn asks<T: prost::Message + Clone>(method: &'static str, request: &Request<T>) -> Result<Call, Problem> {
    Call::of(method, request, |_| String::new())
}

fn agreement(done: Done<domain::Agreement>) -> Answer<Agreement> {
    Ok(Response::new(match done {
        Done::Now(agreement) => convert::agreement(&agreement),
        Done::Before(body) => match convert::record_of(&body)? {
            Some(Record::Agreement(agreement)) => agreement,
            _ => Agreement::default(),
        },
    }))
}

fn calendar(done: Done<domain::Calendar>) -> Answer<Calendar> {
    Ok(Response::new(match done {
        Done::Now(calendar) => convert::calendar(&calendar),
        Done::Before(body) => match convert::record_of(&body)? {
            Some(Record::Calendar(calendar)) => calendar,
            _ => Calendar::default(),
        },
    }))
}

/// What a list asks for: one more than the page holds, to know whether there is a next one.
fn page(size: i32, token: &str, filter: &str, fields: &[Field], rpc: &'static str) -> Result<Page, Problem> {
    Ok(Page {
        limit: convert::page_size(size)? + 1,
        after: page::decode(token, filter, rpc).map_err(convert::paging)?,
        filter: convert::filter(filter, fields)?,
    })
}

/// The page without the one more, and the token of the next.
fn paged<T>(mut records: Vec<T>, page: &Page, id: fn(&T) -> Uuid, filter: &str, rpc: &str) -> (Vec<T>, String) {
    let size = usize::try_from(page.limit - 1).unwrap_or_default();
    let more = records.len() > size;
    records.truncate(size);
    let last = records.last().filter(|_| more);
    let token = last.map(|last| page::encode(id(last), filter, rpc)).unwrap_or_default();
    (records, token)
}

impl Api {
    /// Puts gRPC in front of the use cases.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// A page of the history of a record that exists, and the token of the next.
    async fn history(
        &self,
        call: &Call,
        record: Uuid,
        size: i32,
        token: &str,
        rpc: &str,
    ) -> Result<(Vec<SlaEventEntry>, String), Status> {
        let (size, question) = (convert::page_size(size)?, record.to_string());
        let after = page::decode_revision(token, &question, rpc).map_err(convert::paging)?;
        let entries = self.app.history(call.tenant().id, record, after.unwrap_or_default(), size).await?;
        let last = entries.last().filter(|_| i64::try_from(entries.len()).unwrap_or_default() == size);
        let next = last.map(|last| page::encode_revision(last.revision, &question, rpc)).unwrap_or_default();
        let events: Result<_, Problem> =
            entries.into_iter().map(|entry| convert::entry(entry, String::new())).collect();
        Ok((events?, next))
    }

    async fn watch(
        &self,
        call: &Call,
        from: kit::watch::From,
        watches: Watches,
        filter: Option<kit::filter::Expression>,
    ) -> Answer<Entries> {
        let events = self.app.watch(call.tenant().id, from).await?;
        let entries = events.filter_map(move |watched| {
            let entry = watched.and_then(|watched| convert::watched(watched, watches, filter.as_ref()));
            futures::future::ready(entry.map_err(Status::from).transpose())
        });
        Ok(Response::new(Box::pin(entries)))
    }
}

#[tonic::async_trait]
impl SlaService for Api {
    async fn get_agreement(&self, request: Request<GetAgreementRequest>) -> Answer<Agreement> {
        let call = asks("SlaService/GetAgreement", &request)?;
        let id: AgreementId = convert::id("id", &request.get_ref().id)?;
        Ok(Response::new(convert::agreement(&self.app.agreement(call.tenant().id, id).await?)))
    }

    async fn list_agreements(&self, request: Request<ListAgreementsRequest>) -> Answer<ListAgreementsResponse> {
        const RPC: &str = "ListAgreements";
        let call = asks("SlaService/ListAgreements", &request)?;
        let ListAgreementsRequest { page_size, page_token, filter } = request.into_inner();
        let page = page(page_size, &page_token, &filter, agreements::FIELDS, RPC)?;
        let found = self.app.agreements(call.tenant().id, &page).await?;
        let (found, next_page_token) = paged(found, &page, |agreement| agreement.id.0, &filter, RPC);
        let agreements = found.iter().map(convert::agreement).collect();
        Ok(Response::new(ListAgreementsResponse { agreements, next_page_token }))
    }

    async fn create_agreement(&self, request: Request<CreateAgreementRequest>) -> Answer<Agreement> {
        let call = call!(request, "CreateAgreement");
        let wanted = convert::create_agreement(request.into_inner().agreement)?;
        agreement(self.app.create_agreement(call, wanted).await?)
    }

    async fn update_agreement(&self, request: Request<UpdateAgreementRequest>) -> Answer<Agreement> {
        let call = call!(request, "UpdateAgreement");
        let request = request.into_inner();
        let (target, update) = convert::update_agreement(request.agreement, request.update_mask)?;
        agreement(self.app.update_agreement(call, target, update).await?)
    }

    async fn activate_agreement(&self, request: Request<ActivateAgreementRequest>) -> Answer<Agreement> {
        let call = call!(request, "ActivateAgreement");
        let request = request.into_inner();
        agreement(self.app.activate_agreement(call, convert::target(&request.id, request.revision)?).await?)
    }

    async fn retire_agreement(&self, request: Request<RetireAgreementRequest>) -> Answer<Agreement> {
        let call = call!(request, "RetireAgreement");
        let request = request.into_inner();
        agreement(self.app.retire_agreement(call, convert::target(&request.id, request.revision)?).await?)
    }

    async fn list_agreement_events(
        &self,
        request: Request<ListAgreementEventsRequest>,
    ) -> Answer<ListAgreementEventsResponse> {
        let call = asks("SlaService/ListAgreementEvents", &request)?;
        let request = request.into_inner();
        let id: AgreementId = convert::id("id", &request.id)?;
        self.app.agreement(call.tenant().id, id).await?;
        let (events, next_page_token) =
            self.history(&call, id.0, request.page_size, &request.page_token, "ListAgreementEvents").await?;
        Ok(Response::new(ListAgreementEventsResponse { events, next_page_token }))
    }

    type WatchAgreementsStream = Entries;

    async fn watch_agreements(&self, request: Request<WatchAgreementsRequest>) -> Answer<Entries> {
        let call = asks("SlaService/WatchAgreements", &request)?;
        let request = request.into_inner();
        let filter = convert::filter(&request.filter, agreements::FIELDS)?;
        let from = convert::watch_from(request.cursor, request.start_time)?;
        self.watch(&call, from, Watches::Agreements, filter).await
    }

    async fn get_calendar(&self, request: Request<GetCalendarRequest>) -> Answer<Calendar> {
        let call = asks("SlaService/GetCalendar", &request)?;
        let id: CalendarId = convert::id("id", &request.get_ref().id)?;
        Ok(Response::new(convert::calendar(&self.app.calendar(call.tenant().id, id).await?)))
    }

    async fn list_calendars(&self, request: Request<ListCalendarsRequest>) -> Answer<ListCalendarsResponse> {
        const RPC: &str = "ListCalendars";
        let call = asks("SlaService/ListCalendars", &request)?;
        let ListCalendarsRequest { page_size, page_token, filter } = request.into_inner();
        let page = page(page_size, &page_token, &filter, calendars::FIELDS, RPC)?;
        let found = self.app.calendars(call.tenant().id, &page).await?;
        let (found, next_page_token) = paged(found, &page, |calendar| calendar.id.0, &filter, RPC);
        let calendars = found.iter().map(convert::calendar).collect();
        Ok(Response::new(ListCalendarsResponse { calendars, next_page_token }))
    }

    async fn create_calendar(&self, request: Request<CreateCalendarRequest>) -> Answer<Calendar> {
        let call = call!(request, "CreateCalendar");
        let wanted = convert::create_calendar(request.into_inner().calendar)?;
        calendar(self.app.create_calendar(call, wanted).await?)
    }

    async fn update_calendar(&self, request: Request<UpdateCalendarRequest>) -> Answer<Calendar> {
        let call = call!(request, "UpdateCalendar");
        let request = request.into_inner();
        let (target, update) = convert::update_calendar(request.calendar, request.update_mask)?;
        calendar(self.app.update_calendar(call, target, update).await?)
    }

    async fn retire_calendar(&self, request: Request<RetireCalendarRequest>) -> Answer<Calendar> {
        let call = call!(request, "RetireCalendar");
        let request = request.into_inner();
        calendar(self.app.retire_calendar(call, convert::target(&request.id, request.revision)?).await?)
    }

    async fn list_calendar_events(
        &self,
        request: Request<ListCalendarEventsRequest>,
    ) -> Answer<ListCalendarEventsResponse> {
        let call = asks("SlaService/ListCalendarEvents", &request)?;
        let request = request.into_inner();
        let id: CalendarId = convert::id("id", &request.id)?;
        self.app.calendar(call.tenant().id, id).await?;
        let (events, next_page_token) =
            self.history(&call, id.0, request.page_size, &request.page_token, "ListCalendarEvents").await?;
        Ok(Response::new(ListCalendarEventsResponse { events, next_page_token }))
    }

    type WatchCalendarsStream = Entries;

    async fn watch_calendars(&self, request: Request<WatchCalendarsRequest>) -> Answer<Entries> {
        let call = asks("SlaService/WatchCalendars", &request)?;
        let request = request.into_inner();
        let filter = convert::filter(&request.filter, calendars::FIELDS)?;
        let from = convert::watch_from(request.cursor, request.start_time)?;
        self.watch(&call, from, Watches::Calendars, filter).await
    }

    async fn get_clock(&self, request: Request<GetClockRequest>) -> Answer<Clock> {
        let call = asks("SlaService/GetClock", &request)?;
        let id: ClockId = convert::id("id", &request.get_ref().id)?;
        Ok(Response::new(convert::clock(&self.app.clock(call.tenant().id, id).await?)))
    }

    async fn list_clocks(&self, request: Request<ListClocksRequest>) -> Answer<ListClocksResponse> {
        const RPC: &str = "ListClocks";
        let call = asks("SlaService/ListClocks", &request)?;
        let ListClocksRequest { page_size, page_token, filter } = request.into_inner();
        let page = page(page_size, &page_token, &filter, clocks::FIELDS, RPC)?;
        let found = self.app.clocks(call.tenant().id, &page).await?;
        let (found, next_page_token) = paged(found, &page, |clock| clock.id.0, &filter, RPC);
        let clocks = found.iter().map(convert::clock).collect();
        Ok(Response::new(ListClocksResponse { clocks, next_page_token }))
    }

    async fn list_clock_events(&self, request: Request<ListClockEventsRequest>) -> Answer<ListClockEventsResponse> {
        let call = asks("SlaService/ListClockEvents", &request)?;
        let request = request.into_inner();
        let id: ClockId = convert::id("id", &request.id)?;
        self.app.clock(call.tenant().id, id).await?;
        let (events, next_page_token) =
            self.history(&call, id.0, request.page_size, &request.page_token, "ListClockEvents").await?;
        Ok(Response::new(ListClockEventsResponse { events, next_page_token }))
    }

    type WatchClocksStream = Entries;

    async fn watch_clocks(&self, request: Request<WatchClocksRequest>) -> Answer<Entries> {
        let call = asks("SlaService/WatchClocks", &request)?;
        let request = request.into_inner();
        let filter = convert::filter(&request.filter, clocks::FIELDS)?;
        let from = convert::watch_from(request.cursor, request.start_time)?;
        self.watch(&call, from, Watches::Clocks, filter).await
    }
}

//! gRPC: short handlers that parse, call the use case, and convert the answer.

pub mod convert;
pub mod internal;
pub mod status;

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use kit::{caller::Call, id::CiId, id::ServiceId, page, problem::Problem, request::Done};
use proto::{
    catalog::v1::{
        ActivateConfigurationItemRequest, ActivateServiceRequest, CatalogEventEntry, ConfigurationItem,
        CreateConfigurationItemRequest, CreateServiceRequest, GetConfigurationItemRequest, GetServiceRequest,
        ListConfigurationItemEventsRequest, ListConfigurationItemEventsResponse, ListConfigurationItemsRequest,
        ListConfigurationItemsResponse, ListServiceEventsRequest, ListServiceEventsResponse, ListServicesRequest,
        ListServicesResponse, RetireConfigurationItemRequest, RetireServiceRequest, Service,
        UpdateConfigurationItemRequest, UpdateServiceRequest, WatchConfigurationItemsRequest, WatchServicesRequest,
        catalog_service_server::CatalogService,
    },
    common::v1::FeedEntry,
};
use tonic::{Request, Response, Status};

use self::convert::Noun;
use crate::{app::App, domain, store::configuration_items, store::services};

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

    async fn watch(
        &self,
        call: Call,
        from: kit::watch::From,
        noun: Noun,
        filter: Option<kit::filter::Expression>,
    ) -> Answer<EventStream> {
        let events = self.app.watch(call.tenant().id, from).await?;
        let entries = events.filter_map(move |watched| {
            let entry = watched.and_then(|watched| convert::watched(watched, noun, filter.as_ref()));
            futures::future::ready(entry.map_err(Status::from).transpose())
        });
        Ok(Response::new(Box::pin(entries)))
    }
}

type Answer<T> = Result<Response<T>, Status>;
type EventStream = Pin<Box<dyn Stream<Item = Result<CatalogEventEntry, Status>> + Send>>;

fn service(done: Done<domain::Service>) -> Answer<Service> {
    let service = match done {
        Done::Now(service) => convert::service(&service),
        Done::Before(body) => convert::service_of(&body)?,
    };
    Ok(Response::new(service))
}

fn configuration_item(done: Done<domain::ConfigurationItem>) -> Answer<ConfigurationItem> {
    let item = match done {
        Done::Now(item) => convert::configuration_item(&item),
        Done::Before(body) => convert::configuration_item_of(&body)?,
    };
    Ok(Response::new(item))
}

/// The call of a request, its key taken out before the request is digested.
macro_rules! call {
    ($request:ident, $method:literal) => {
        Call::of(concat!("CatalogService/", $method), &$request, |message| std::mem::take(&mut message.request_id))?
    };
}

/// A question has no key.
fn asks<T: prost::Message + Clone>(method: &'static str, request: &Request<T>) -> Result<Call, Problem> {
    Call::of(method, request, |_| String::new())
}

/// Cuts a page that was read one too long; says whether there was more.
fn cut<T>(records: &mut Vec<T>, size: i64) -> bool {
    let size = usize::try_from(size).unwrap_or_default();
    let more = records.len() > size;
    records.truncate(size);
    more
}

/// A page of a history, with the token of the next.
fn history(
    entries: Vec<FeedEntry>,
    size: i64,
    record: &str,
    method: &str,
) -> Result<(Vec<CatalogEventEntry>, String), Problem> {
    let last = entries.last().filter(|_| i64::try_from(entries.len()).unwrap_or_default() == size);
    let token = last.map(|last| page::encode_revision(last.revision, record, method)).unwrap_or_default();
    let events = entries.into_iter().map(|entry| convert::entry(entry, String::new())).collect::<Result<_, _>>()?;
    Ok((events, token))
}

#[tonic::async_trait]
impl CatalogService for Api {
    async fn get_service(&self, request: Request<GetServiceRequest>) -> Answer<Service> {
        let call = asks("CatalogService/GetService", &request)?;
        let id = convert::id("id", &request.into_inner().id)?;
        Ok(Response::new(convert::service(&self.app.service(call.tenant().id, id).await?)))
    }

    async fn list_services(&self, request: Request<ListServicesRequest>) -> Answer<ListServicesResponse> {
        let call = asks("CatalogService/ListServices", &request)?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let after = page::decode(&request.page_token, &request.filter, "ListServices").map_err(convert::paging)?;
        let filter = convert::filter(&request.filter, services::FIELDS)?;
        let mut services = self.app.services(call.tenant().id, filter, after, size + 1).await?;
        let more = cut(&mut services, size);
        let last = services.last().filter(|_| more);
        Ok(Response::new(ListServicesResponse {
            next_page_token: last
                .map(|last| page::encode(last.id.0, &request.filter, "ListServices"))
                .unwrap_or_default(),
            services: services.iter().map(convert::service).collect(),
        }))
    }

    async fn create_service(&self, request: Request<CreateServiceRequest>) -> Answer<Service> {
        let call = call!(request, "CreateService");
        service(self.app.create_service(call, convert::new_service(request.into_inner().service)?).await?)
    }

    async fn update_service(&self, request: Request<UpdateServiceRequest>) -> Answer<Service> {
        let call = call!(request, "UpdateService");
        let request = request.into_inner();
        let (target, update) = convert::service_update(request.service, request.update_mask)?;
        service(self.app.update_service(call, target, update).await?)
    }

    async fn activate_service(&self, request: Request<ActivateServiceRequest>) -> Answer<Service> {
        let call = call!(request, "ActivateService");
        let request = request.into_inner();
        service(self.app.activate_service(call, convert::target(&request.id, request.revision)?).await?)
    }

    async fn retire_service(&self, request: Request<RetireServiceRequest>) -> Answer<Service> {
        let call = call!(request, "RetireService");
        let request = request.into_inner();
        service(self.app.retire_service(call, convert::target(&request.id, request.revision)?).await?)
    }

    async fn list_service_events(
        &self,
        request: Request<ListServiceEventsRequest>,
    ) -> Answer<ListServiceEventsResponse> {
        let call = asks("CatalogService/ListServiceEvents", &request)?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let id: ServiceId = convert::id("id", &request.id)?;
        let after =
            page::decode_revision(&request.page_token, &request.id, "ListServiceEvents").map_err(convert::paging)?;
        let entries = self.app.service_history(call.tenant().id, id, after.unwrap_or_default(), size).await?;
        let (events, next_page_token) = history(entries, size, &request.id, "ListServiceEvents")?;
        Ok(Response::new(ListServiceEventsResponse { events, next_page_token }))
    }

    type WatchServicesStream = EventStream;

    async fn watch_services(&self, request: Request<WatchServicesRequest>) -> Answer<Self::WatchServicesStream> {
        let call = asks("CatalogService/WatchServices", &request)?;
        let request = request.into_inner();
        let filter = convert::filter(&request.filter, services::FIELDS)?;
        self.watch(call, convert::watch_from(request.cursor, request.start_time)?, Noun::Service, filter).await
    }

    async fn get_configuration_item(&self, request: Request<GetConfigurationItemRequest>) -> Answer<ConfigurationItem> {
        let call = asks("CatalogService/GetConfigurationItem", &request)?;
        let id = convert::id("id", &request.into_inner().id)?;
        Ok(Response::new(convert::configuration_item(&self.app.configuration_item(call.tenant().id, id).await?)))
    }

    async fn list_configuration_items(
        &self,
        request: Request<ListConfigurationItemsRequest>,
    ) -> Answer<ListConfigurationItemsResponse> {
        let call = asks("CatalogService/ListConfigurationItems", &request)?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let after =
            page::decode(&request.page_token, &request.filter, "ListConfigurationItems").map_err(convert::paging)?;
        let filter = convert::filter(&request.filter, configuration_items::FIELDS)?;
        let mut items = self.app.configuration_items(call.tenant().id, filter, after, size + 1).await?;
        let more = cut(&mut items, size);
        let last = items.last().filter(|_| more);
        Ok(Response::new(ListConfigurationItemsResponse {
            next_page_token: last
                .map(|last| page::encode(last.id.0, &request.filter, "ListConfigurationItems"))
                .unwrap_or_default(),
            configuration_items: items.iter().map(convert::configuration_item).collect(),
        }))
    }

    async fn create_configuration_item(
        &self,
        request: Request<CreateConfigurationItemRequest>,
    ) -> Answer<ConfigurationItem> {
        let call = call!(request, "CreateConfigurationItem");
        let new = convert::new_configuration_item(request.into_inner().configuration_item)?;
        configuration_item(self.app.create_configuration_item(call, new).await?)
    }

    async fn update_configuration_item(
        &self,
        request: Request<UpdateConfigurationItemRequest>,
    ) -> Answer<ConfigurationItem> {
        let call = call!(request, "UpdateConfigurationItem");
        let request = request.into_inner();
        let (target, update) = convert::configuration_item_update(request.configuration_item, request.update_mask)?;
        configuration_item(self.app.update_configuration_item(call, target, update).await?)
    }

    async fn activate_configuration_item(
        &self,
        request: Request<ActivateConfigurationItemRequest>,
    ) -> Answer<ConfigurationItem> {
        let call = call!(request, "ActivateConfigurationItem");
        let request = request.into_inner();
        let target = convert::target(&request.id, request.revision)?;
        configuration_item(self.app.activate_configuration_item(call, target).await?)
    }

    async fn retire_configuration_item(
        &self,
        request: Request<RetireConfigurationItemRequest>,
    ) -> Answer<ConfigurationItem> {
        let call = call!(request, "RetireConfigurationItem");
        let request = request.into_inner();
        let target = convert::target(&request.id, request.revision)?;
        configuration_item(self.app.retire_configuration_item(call, target).await?)
    }

    async fn list_configuration_item_events(
        &self,
        request: Request<ListConfigurationItemEventsRequest>,
    ) -> Answer<ListConfigurationItemEventsResponse> {
        const METHOD: &str = "ListConfigurationItemEvents";
        let call = asks("CatalogService/ListConfigurationItemEvents", &request)?;
        let request = request.into_inner();
        let size = convert::page_size(request.page_size)?;
        let id: CiId = convert::id("id", &request.id)?;
        let after = page::decode_revision(&request.page_token, &request.id, METHOD).map_err(convert::paging)?;
        let entries =
            self.app.configuration_item_history(call.tenant().id, id, after.unwrap_or_default(), size).await?;
        let (events, next_page_token) = history(entries, size, &request.id, METHOD)?;
        Ok(Response::new(ListConfigurationItemEventsResponse { events, next_page_token }))
    }

    type WatchConfigurationItemsStream = EventStream;

    async fn watch_configuration_items(
        &self,
        request: Request<WatchConfigurationItemsRequest>,
    ) -> Answer<Self::WatchConfigurationItemsStream> {
        let call = asks("CatalogService/WatchConfigurationItems", &request)?;
        let request = request.into_inner();
        let filter = convert::filter(&request.filter, configuration_items::FIELDS)?;
        let from = convert::watch_from(request.cursor, request.start_time)?;
        self.watch(call, from, Noun::ConfigurationItem, filter).await
    }
}

//! gRPC: short handlers that parse, call the use case, and convert the answer.

pub mod convert;
pub mod internal;
pub mod pages;
pub mod status;

use std::sync::Arc;

use kit::{
    caller::{Call, Person},
    problem::Problem,
    request::Done,
};
use proto::notification::v1::{
    CancelDeliveryRequest, ContactMethod, ContactMethodResponse, CreateContactMethodRequest, CreateRuleRequest,
    CreateTemplateRequest, Delivery, DisableContactMethodRequest, DisableRuleRequest, EnableContactMethodRequest,
    EnableRuleRequest, GetContactMethodRequest, GetDeliveryRequest, GetRuleRequest, GetTemplateRequest,
    ListContactMethodEventsRequest, ListContactMethodEventsResponse, ListContactMethodsRequest,
    ListContactMethodsResponse, ListDeliveriesRequest, ListDeliveriesResponse, ListDeliveryEventsRequest,
    ListDeliveryEventsResponse, ListNotificationRulesRequest, ListNotificationRulesResponse, ListRuleEventsRequest,
    ListRuleEventsResponse, ListTemplateEventsRequest, ListTemplateEventsResponse, ListTemplatesRequest,
    ListTemplatesResponse, Rule, Template, TestContactMethodRequest, UpdateContactMethodRequest, UpdateRuleRequest,
    UpdateTemplateRequest, WatchContactMethodsRequest, WatchDeliveriesRequest, WatchNotificationRulesRequest,
    WatchTemplatesRequest, notification_service_server::NotificationService,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    app::{App, ways},
    domain::{self, ContactMethodId},
};
use convert::{records, requests};
use pages::{Events, Question};

/// The service's gRPC.
#[derive(Clone)]
pub struct Api {
    app: Arc<App>,
}

type Answer<T> = Result<Response<T>, Status>;

/// A contact method for a caller: with its address if it is theirs.
fn way(person: &Person, way: &domain::ContactMethod) -> ContactMethod {
    records::contact_method(way, ways::is_theirs(person, way).then_some(way.address.as_str()))
}

/// The call of a request, its key taken out before the request is digested.
macro_rules! call {
    ($request:ident, $method:literal) => {
        Call::of(concat!("NotificationService/", $method), &$request, |message| {
            std::mem::take(&mut message.request_id)
        })?
    };
}

/// A question has no key.
fn asks<T: prost::Message + Clone>(method: &'static str, request: &Request<T>) -> Result<Call, Problem> {
    Call::of(method, request, |_| String::new())
}

impl Api {
    /// Puts gRPC in front of the use cases.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// The answer to a command on a contact method; a kept one gets its address again, which no
    /// event holds.
    async fn way_answer(&self, call: &Call, done: Done<domain::ContactMethod>) -> Result<ContactMethod, Status> {
        match done {
            Done::Now(done) => Ok(way(&call.person, &done)),
            Done::Before(body) => {
                let mut kept = records::contact_method_of(&body)?;
                let id: Uuid = convert::id("id", &kept.id)?;
                let now: domain::ContactMethod = self.app.get(call.tenant().id, id).await?;
                kept.address = way(&call.person, &now).address;
                Ok(kept)
            }
        }
    }
}

fn rule_answer(done: Done<domain::Rule>) -> Answer<Rule> {
    Ok(Response::new(match done {
        Done::Now(rule) => records::rule(&rule),
        Done::Before(body) => records::rule_of(&body)?,
    }))
}

fn template_answer(done: Done<domain::Template>) -> Answer<Template> {
    Ok(Response::new(match done {
        Done::Now(template) => records::template(&template),
        Done::Before(body) => records::template_of(&body)?,
    }))
}

fn delivery_answer(done: Done<domain::Delivery>) -> Answer<Delivery> {
    Ok(Response::new(match done {
        Done::Now(delivery) => records::delivery(&delivery),
        Done::Before(body) => records::delivery_of(&body)?,
    }))
}

#[tonic::async_trait]
impl NotificationService for Api {
    async fn get_contact_method(&self, request: Request<GetContactMethodRequest>) -> Answer<ContactMethod> {
        let call = asks("NotificationService/GetContactMethod", &request)?;
        let id: Uuid = convert::id("id", &request.into_inner().id)?;
        let record: domain::ContactMethod = self.app.get(call.tenant().id, id).await?;
        Ok(Response::new(way(&call.person, &record)))
    }

    async fn list_contact_methods(
        &self,
        request: Request<ListContactMethodsRequest>,
    ) -> Answer<ListContactMethodsResponse> {
        let call = asks("NotificationService/ListContactMethods", &request)?;
        let asked = request.get_ref();
        let question = Question {
            method: "ListContactMethods",
            choice: &asked.filter,
            size: asked.page_size,
            token: &asked.page_token,
        };
        let (records, next_page_token) = self.list::<domain::ContactMethod>(&call, question).await?;
        let contact_methods = records.iter().map(|record| way(&call.person, record)).collect();
        Ok(Response::new(ListContactMethodsResponse { contact_methods, next_page_token }))
    }

    async fn create_contact_method(
        &self,
        request: Request<CreateContactMethodRequest>,
    ) -> Answer<ContactMethodResponse> {
        let call = call!(request, "CreateContactMethod");
        let create = requests::create_contact_method(request.into_inner().contact_method)?;
        let (done, secret) = self.app.create_contact_method(call.clone(), create).await?;
        let again = matches!(done, Done::Before(_));
        let contact_method = self.way_answer(&call, done).await?;
        let secret = if again {
            let id: ContactMethodId = convert::id("id", &contact_method.id)?;
            self.app.secret_again(&call, id).await?
        } else {
            secret
        };
        let signing_secret = secret.map(|secret| secret.expose()).unwrap_or_default();
        Ok(Response::new(ContactMethodResponse { contact_method: Some(contact_method), signing_secret }))
    }

    async fn update_contact_method(&self, request: Request<UpdateContactMethodRequest>) -> Answer<ContactMethod> {
        let call = call!(request, "UpdateContactMethod");
        let request = request.into_inner();
        let (target, name, address) = requests::update_contact_method(request.contact_method, request.update_mask)?;
        let done = self.app.update_contact_method(call.clone(), target, name, address).await?;
        Ok(Response::new(self.way_answer(&call, done).await?))
    }

    async fn disable_contact_method(&self, request: Request<DisableContactMethodRequest>) -> Answer<ContactMethod> {
        let call = call!(request, "DisableContactMethod");
        let asked = request.into_inner();
        let target = convert::target(&asked.id, asked.revision)?;
        let done = self.app.disable_contact_method(call.clone(), target).await?;
        Ok(Response::new(self.way_answer(&call, done).await?))
    }

    async fn enable_contact_method(&self, request: Request<EnableContactMethodRequest>) -> Answer<ContactMethod> {
        let call = call!(request, "EnableContactMethod");
        let asked = request.into_inner();
        let target = convert::target(&asked.id, asked.revision)?;
        let done = self.app.enable_contact_method(call.clone(), target).await?;
        Ok(Response::new(self.way_answer(&call, done).await?))
    }

    async fn test_contact_method(&self, request: Request<TestContactMethodRequest>) -> Answer<Delivery> {
        let call = call!(request, "TestContactMethod");
        let asked = request.into_inner();
        delivery_answer(self.app.test_contact_method(call, convert::target(&asked.id, asked.revision)?).await?)
    }

    async fn list_contact_method_events(
        &self,
        request: Request<ListContactMethodEventsRequest>,
    ) -> Answer<ListContactMethodEventsResponse> {
        let call = asks("NotificationService/ListContactMethodEvents", &request)?;
        let asked = request.get_ref();
        let question = Question {
            method: "ListContactMethodEvents",
            choice: &asked.id,
            size: asked.page_size,
            token: &asked.page_token,
        };
        let (events, next_page_token) = self.history::<domain::ContactMethod>(&call, question).await?;
        Ok(Response::new(ListContactMethodEventsResponse { events, next_page_token }))
    }

    type WatchContactMethodsStream = Events;

    async fn watch_contact_methods(&self, request: Request<WatchContactMethodsRequest>) -> Answer<Events> {
        let call = asks("NotificationService/WatchContactMethods", &request)?;
        let asked = request.into_inner();
        let from = convert::watch_from(asked.cursor, asked.start_time)?;
        self.watch::<domain::ContactMethod>(&call, from, &asked.filter, records::contact_method_field).await
    }

    async fn get_rule(&self, request: Request<GetRuleRequest>) -> Answer<Rule> {
        let call = asks("NotificationService/GetRule", &request)?;
        let id: Uuid = convert::id("id", &request.into_inner().id)?;
        let record: domain::Rule = self.app.get(call.tenant().id, id).await?;
        Ok(Response::new(records::rule(&record)))
    }

    async fn list_notification_rules(
        &self,
        request: Request<ListNotificationRulesRequest>,
    ) -> Answer<ListNotificationRulesResponse> {
        let call = asks("NotificationService/ListNotificationRules", &request)?;
        let asked = request.get_ref();
        let question = Question {
            method: "ListNotificationRules",
            choice: &asked.filter,
            size: asked.page_size,
            token: &asked.page_token,
        };
        let (records, next_page_token) = self.list::<domain::Rule>(&call, question).await?;
        let notification_rules = records.iter().map(records::rule).collect();
        Ok(Response::new(ListNotificationRulesResponse { notification_rules, next_page_token }))
    }

    async fn create_rule(&self, request: Request<CreateRuleRequest>) -> Answer<Rule> {
        let call = call!(request, "CreateRule");
        rule_answer(self.app.create_rule(call, requests::create_rule(request.into_inner().rule)?).await?)
    }

    async fn update_rule(&self, request: Request<UpdateRuleRequest>) -> Answer<Rule> {
        let call = call!(request, "UpdateRule");
        let asked = request.into_inner();
        let (target, update) = requests::update_rule(asked.rule, asked.update_mask)?;
        rule_answer(self.app.update_rule(call, target, update).await?)
    }

    async fn disable_rule(&self, request: Request<DisableRuleRequest>) -> Answer<Rule> {
        let call = call!(request, "DisableRule");
        let asked = request.into_inner();
        rule_answer(self.app.disable_rule(call, convert::target(&asked.id, asked.revision)?).await?)
    }

    async fn enable_rule(&self, request: Request<EnableRuleRequest>) -> Answer<Rule> {
        let call = call!(request, "EnableRule");
        let asked = request.into_inner();
        rule_answer(self.app.enable_rule(call, convert::target(&asked.id, asked.revision)?).await?)
    }

    async fn list_rule_events(&self, request: Request<ListRuleEventsRequest>) -> Answer<ListRuleEventsResponse> {
        let call = asks("NotificationService/ListRuleEvents", &request)?;
        let asked = request.get_ref();
        let question =
            Question { method: "ListRuleEvents", choice: &asked.id, size: asked.page_size, token: &asked.page_token };
        let (events, next_page_token) = self.history::<domain::Rule>(&call, question).await?;
        Ok(Response::new(ListRuleEventsResponse { events, next_page_token }))
    }

    type WatchNotificationRulesStream = Events;

    async fn watch_notification_rules(&self, request: Request<WatchNotificationRulesRequest>) -> Answer<Events> {
        let call = asks("NotificationService/WatchNotificationRules", &request)?;
        let asked = request.into_inner();
        let from = convert::watch_from(asked.cursor, asked.start_time)?;
        self.watch::<domain::Rule>(&call, from, &asked.filter, records::rule_field).await
    }

    async fn get_template(&self, request: Request<GetTemplateRequest>) -> Answer<Template> {
        let call = asks("NotificationService/GetTemplate", &request)?;
        let id: Uuid = convert::id("id", &request.into_inner().id)?;
        let record: domain::Template = self.app.get(call.tenant().id, id).await?;
        Ok(Response::new(records::template(&record)))
    }

    async fn list_templates(&self, request: Request<ListTemplatesRequest>) -> Answer<ListTemplatesResponse> {
        let call = asks("NotificationService/ListTemplates", &request)?;
        let asked = request.get_ref();
        let question = Question {
            method: "ListTemplates",
            choice: &asked.filter,
            size: asked.page_size,
            token: &asked.page_token,
        };
        let (records, next_page_token) = self.list::<domain::Template>(&call, question).await?;
        let templates = records.iter().map(records::template).collect();
        Ok(Response::new(ListTemplatesResponse { templates, next_page_token }))
    }

    async fn create_template(&self, request: Request<CreateTemplateRequest>) -> Answer<Template> {
        let call = call!(request, "CreateTemplate");
        let create = requests::create_template(request.into_inner().template)?;
        template_answer(self.app.create_template(call, create).await?)
    }

    async fn update_template(&self, request: Request<UpdateTemplateRequest>) -> Answer<Template> {
        let call = call!(request, "UpdateTemplate");
        let asked = request.into_inner();
        let (target, update) = requests::update_template(asked.template, asked.update_mask)?;
        template_answer(self.app.update_template(call, target, update).await?)
    }

    async fn list_template_events(
        &self,
        request: Request<ListTemplateEventsRequest>,
    ) -> Answer<ListTemplateEventsResponse> {
        let call = asks("NotificationService/ListTemplateEvents", &request)?;
        let asked = request.get_ref();
        let question = Question {
            method: "ListTemplateEvents",
            choice: &asked.id,
            size: asked.page_size,
            token: &asked.page_token,
        };
        let (events, next_page_token) = self.history::<domain::Template>(&call, question).await?;
        Ok(Response::new(ListTemplateEventsResponse { events, next_page_token }))
    }

    type WatchTemplatesStream = Events;

    async fn watch_templates(&self, request: Request<WatchTemplatesRequest>) -> Answer<Events> {
        let call = asks("NotificationService/WatchTemplates", &request)?;
        let asked = request.into_inner();
        let from = convert::watch_from(asked.cursor, asked.start_time)?;
        self.watch::<domain::Template>(&call, from, &asked.filter, records::template_field).await
    }

    async fn get_delivery(&self, request: Request<GetDeliveryRequest>) -> Answer<Delivery> {
        let call = asks("NotificationService/GetDelivery", &request)?;
        let id: Uuid = convert::id("id", &request.into_inner().id)?;
        // The tries first, so that the record is never older than what they say.
        let attempts = self.app.attempts(call.tenant().id, id.into()).await?;
        let record: domain::Delivery = self.app.get(call.tenant().id, id).await?;
        let attempts = attempts.into_iter().map(records::attempt).collect();
        Ok(Response::new(Delivery { attempts, ..records::delivery(&record) }))
    }

    async fn list_deliveries(&self, request: Request<ListDeliveriesRequest>) -> Answer<ListDeliveriesResponse> {
        let call = asks("NotificationService/ListDeliveries", &request)?;
        let asked = request.get_ref();
        let question = Question {
            method: "ListDeliveries",
            choice: &asked.filter,
            size: asked.page_size,
            token: &asked.page_token,
        };
        let (records, next_page_token) = self.list::<domain::Delivery>(&call, question).await?;
        let deliveries = records.iter().map(records::delivery).collect();
        Ok(Response::new(ListDeliveriesResponse { deliveries, next_page_token }))
    }

    async fn cancel_delivery(&self, request: Request<CancelDeliveryRequest>) -> Answer<Delivery> {
        let call = call!(request, "CancelDelivery");
        let asked = request.into_inner();
        delivery_answer(self.app.cancel_delivery(call, convert::target(&asked.id, asked.revision)?).await?)
    }

    async fn list_delivery_events(
        &self,
        request: Request<ListDeliveryEventsRequest>,
    ) -> Answer<ListDeliveryEventsResponse> {
        let call = asks("NotificationService/ListDeliveryEvents", &request)?;
        let asked = request.get_ref();
        let question = Question {
            method: "ListDeliveryEvents",
            choice: &asked.id,
            size: asked.page_size,
            token: &asked.page_token,
        };
        let (events, next_page_token) = self.history::<domain::Delivery>(&call, question).await?;
        Ok(Response::new(ListDeliveryEventsResponse { events, next_page_token }))
    }

    type WatchDeliveriesStream = Events;

    async fn watch_deliveries(&self, request: Request<WatchDeliveriesRequest>) -> Answer<Events> {
        let call = asks("NotificationService/WatchDeliveries", &request)?;
        let asked = request.into_inner();
        let from = convert::watch_from(asked.cursor, asked.start_time)?;
        self.watch::<domain::Delivery>(&call, from, &asked.filter, records::delivery_field).await
    }
}

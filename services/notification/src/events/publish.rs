//! What happened, as an event. Pure. Addresses are taken out here, so that none ever enters the
//! journal, a stream, or another service.

use kit::journal::Entry;
use prost::Message;
use proto::{
    common::v1::Actor,
    notification::v1::{
        self as wire, ContactMethodChanged, ContactMethodCreated, ContactMethodDisabled, ContactMethodEnabled,
        Delivered, DeliveryCancelled, DeliveryFailed, DeliveryRequested, NotificationEvent, RuleChanged, RuleCreated,
        RuleDisabled, RuleEnabled, TemplateChanged, TemplateCreated,
        notification_event::{Record, What},
    },
};
use uuid::Uuid;

use crate::{
    api::convert::records,
    domain::{ContactMethod, ContactMethodWhat, Delivery, DeliveryWhat, Rule, RuleWhat, Template, TemplateWhat},
    store::snapshots::AnyRecord,
};

/// The journal entry of something that happened to a contact method.
#[must_use]
pub fn contact_method(method: &ContactMethod, what: ContactMethodWhat, actor: &Actor) -> Entry {
    let (kind, what) = match what {
        ContactMethodWhat::Created => ("contact_method_created", What::ContactMethodCreated(ContactMethodCreated {})),
        ContactMethodWhat::Changed => ("contact_method_changed", What::ContactMethodChanged(ContactMethodChanged {})),
        ContactMethodWhat::Disabled => {
            ("contact_method_disabled", What::ContactMethodDisabled(ContactMethodDisabled {}))
        }
        ContactMethodWhat::Enabled => ("contact_method_enabled", What::ContactMethodEnabled(ContactMethodEnabled {})),
    };
    entry((method.id.0, method.revision), Record::ContactMethod(without_address(method)), kind, what, actor)
}

/// The journal entry of something that happened to a rule.
#[must_use]
pub fn rule(rule: &Rule, what: RuleWhat, actor: &Actor) -> Entry {
    let (kind, what) = match what {
        RuleWhat::Created => ("rule_created", What::RuleCreated(RuleCreated {})),
        RuleWhat::Changed => ("rule_changed", What::RuleChanged(RuleChanged {})),
        RuleWhat::Disabled => ("rule_disabled", What::RuleDisabled(RuleDisabled {})),
        RuleWhat::Enabled => ("rule_enabled", What::RuleEnabled(RuleEnabled {})),
    };
    entry((rule.id.0, rule.revision), Record::Rule(records::rule(rule)), kind, what, actor)
}

/// The journal entry of something that happened to a template.
#[must_use]
pub fn template(template: &Template, what: TemplateWhat, actor: &Actor) -> Entry {
    let (kind, what) = match what {
        TemplateWhat::Created => ("template_created", What::TemplateCreated(TemplateCreated {})),
        TemplateWhat::Changed => ("template_changed", What::TemplateChanged(TemplateChanged {})),
    };
    entry((template.id.0, template.revision), Record::Template(records::template(template)), kind, what, actor)
}

/// The journal entry of something that happened to a delivery.
#[must_use]
pub fn delivery(delivery: &Delivery, what: DeliveryWhat, actor: &Actor) -> Entry {
    let (kind, what) = match what {
        DeliveryWhat::Requested => ("delivery_requested", What::DeliveryRequested(DeliveryRequested {})),
        DeliveryWhat::Delivered => ("delivered", What::Delivered(Delivered {})),
        DeliveryWhat::Failed => ("delivery_failed", What::DeliveryFailed(DeliveryFailed {})),
        DeliveryWhat::Cancelled => ("delivery_cancelled", What::DeliveryCancelled(DeliveryCancelled {})),
    };
    entry((delivery.id.0, delivery.revision), Record::Delivery(records::delivery(delivery)), kind, what, actor)
}

/// A record as it is now, for a snapshot: nothing happened.
#[must_use]
pub fn snapshot(record: &AnyRecord) -> Vec<u8> {
    let record = match record {
        AnyRecord::ContactMethod(method) => Record::ContactMethod(without_address(method)),
        AnyRecord::Rule(rule) => Record::Rule(records::rule(rule)),
        AnyRecord::Template(template) => Record::Template(records::template(template)),
        AnyRecord::Delivery(delivery) => Record::Delivery(records::delivery(delivery)),
    };
    NotificationEvent { record: Some(record), actor: None, what: None }.encode_to_vec()
}

fn without_address(method: &ContactMethod) -> wire::ContactMethod {
    records::contact_method(method, None)
}

fn entry((record_id, revision): (Uuid, i64), record: Record, kind: &'static str, what: What, actor: &Actor) -> Entry {
    let event = NotificationEvent { record: Some(record), actor: Some(actor.clone()), what: Some(what) };
    Entry { record_id, revision, kind, body: event.encode_to_vec() }
}

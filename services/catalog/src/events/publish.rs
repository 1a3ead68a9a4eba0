//! What happened, as an event. Pure.

use kit::journal::Entry;
use prost::Message;
use proto::{
    catalog::v1::{
        CatalogEvent, ConfigurationItemActivated, ConfigurationItemChanged, ConfigurationItemCreated,
        ConfigurationItemRetired, ServiceActivated, ServiceChanged, ServiceCreated, ServiceRetired,
        catalog_event::{Record, What as Said},
    },
    common::v1::Actor,
};

use crate::{
    api::convert,
    domain::{ConfigurationItem, Service, configuration_item, service},
};

/// The journal entry of something that happened to a service.
#[must_use]
pub fn service(service: &Service, what: service::What, actor: &Actor) -> Entry {
    let (kind, what) = match what {
        service::What::Created => ("service_created", Said::ServiceCreated(ServiceCreated {})),
        service::What::Changed => ("service_changed", Said::ServiceChanged(ServiceChanged {})),
        service::What::Activated => ("service_activated", Said::ServiceActivated(ServiceActivated {})),
        service::What::Retired => ("service_retired", Said::ServiceRetired(ServiceRetired {})),
    };
    let record = Record::Service(convert::service(service));
    let event = CatalogEvent { record: Some(record), actor: Some(actor.clone()), what: Some(what) };
    Entry { record_id: service.id.0, revision: service.revision, kind, body: event.encode_to_vec() }
}

/// The journal entry of something that happened to a configuration item.
#[must_use]
pub fn configuration_item(item: &ConfigurationItem, what: configuration_item::What, actor: &Actor) -> Entry {
    use configuration_item::What;
    let (kind, what) = match what {
        What::Created => ("configuration_item_created", Said::ConfigurationItemCreated(ConfigurationItemCreated {})),
        What::Changed => ("configuration_item_changed", Said::ConfigurationItemChanged(ConfigurationItemChanged {})),
        What::Activated => {
            ("configuration_item_activated", Said::ConfigurationItemActivated(ConfigurationItemActivated {}))
        }
        What::Retired => ("configuration_item_retired", Said::ConfigurationItemRetired(ConfigurationItemRetired {})),
    };
    let record = Record::ConfigurationItem(convert::configuration_item(item));
    let event = CatalogEvent { record: Some(record), actor: Some(actor.clone()), what: Some(what) };
    Entry { record_id: item.id.0, revision: item.revision, kind, body: event.encode_to_vec() }
}

/// A service as it is now, for a snapshot: nothing happened.
#[must_use]
pub fn service_snapshot(service: &Service) -> Vec<u8> {
    let record = Some(Record::Service(convert::service(service)));
    CatalogEvent { record, actor: None, what: None }.encode_to_vec()
}

/// A configuration item as it is now, for a snapshot: nothing happened.
#[must_use]
pub fn configuration_item_snapshot(item: &ConfigurationItem) -> Vec<u8> {
    let record = Some(Record::ConfigurationItem(convert::configuration_item(item)));
    CatalogEvent { record, actor: None, what: None }.encode_to_vec()
}

//! What happened elsewhere: catalog and directory fill the read models.

use std::{str::FromStr, sync::Arc};

use futures::future::BoxFuture;
use kit::{
    consumer::{Delivered, Failure, Follower},
    db::Transaction,
    id::{Tenant, TenantId},
    service::Context,
};
use prost::Message;
use proto::{
    catalog::v1::{CatalogEvent, LifecycleState, catalog_event},
    common::v1::SnapshotEntry,
    directory::v1::{DirectoryEvent, TeamState, directory_event},
};
use uuid::Uuid;

use crate::{
    app::App,
    store::read_models::{self, Known, Noun},
};

/// Follows every source of this service.
pub fn follow(context: &Context, app: &Arc<App>) {
    context.follow("directory", Arc::new(Directory(Arc::clone(app))));
    context.follow("catalog", Arc::new(Catalog(Arc::clone(app))));
}

struct Directory(Arc<App>);
struct Catalog(Arc<App>);

impl Follower for Directory {
    fn apply<'a>(&'a self, tx: &'a mut Transaction, event: &'a Delivered) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(keep_directory(tx, event.tenant.id, &event.body))
    }

    fn snapshot<'a>(
        &'a self,
        tx: &'a mut Transaction,
        tenant: &'a Tenant,
        entry: &'a SnapshotEntry,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(keep_directory(tx, tenant.id, &entry.body))
    }

    fn applied(&self) {
        self.0.committed();
    }
}

impl Follower for Catalog {
    fn apply<'a>(&'a self, tx: &'a mut Transaction, event: &'a Delivered) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(keep_catalog(tx, event.tenant.id, &event.body))
    }

    fn snapshot<'a>(
        &'a self,
        tx: &'a mut Transaction,
        tenant: &'a Tenant,
        entry: &'a SnapshotEntry,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(keep_catalog(tx, tenant.id, &entry.body))
    }

    fn applied(&self) {
        self.0.committed();
    }
}

fn id(text: &str) -> Result<Uuid, Failure> {
    Uuid::from_str(text).map_err(|error| Failure::Event(error.into()))
}

/// Keeps what an event or a snapshot of the catalog says.
///
/// # Errors
/// Fails when the bytes are no event of the catalog, or the database is away.
pub async fn keep_catalog(tx: &mut Transaction, tenant: TenantId, body: &[u8]) -> Result<(), Failure> {
    let active = |state| state != LifecycleState::Retired;
    let known = match CatalogEvent::decode(body)?.record {
        Some(catalog_event::Record::Service(service)) => Known {
            noun: Noun::Service,
            id: id(&service.id)?,
            revision: service.revision,
            active: active(service.state()),
        },
        Some(catalog_event::Record::ConfigurationItem(item)) => Known {
            noun: Noun::ConfigurationItem,
            id: id(&item.id)?,
            revision: item.revision,
            active: active(item.state()),
        },
        None => return Ok(()),
    };
    Ok(read_models::keep(tx, tenant, &known).await?)
}

/// Keeps what an event or a snapshot of the directory says.
///
/// # Errors
/// Fails when the bytes are no event of the directory, or the database is away.
pub async fn keep_directory(tx: &mut Transaction, tenant: TenantId, body: &[u8]) -> Result<(), Failure> {
    let Some(directory_event::Record::Team(team)) = DirectoryEvent::decode(body)?.record else { return Ok(()) };
    let active = team.state() == TeamState::Active;
    let known = Known { noun: Noun::Team, id: id(&team.id)?, revision: team.revision, active };
    Ok(read_models::keep(tx, tenant, &known).await?)
}

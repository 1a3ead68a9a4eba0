//! What happened elsewhere: directory and catalog fill the read models.

use std::{str::FromStr, sync::Arc};

use futures::future::BoxFuture;
use kit::{
    consumer::{Delivered, Failure, Follower},
    db::Transaction,
    id::{CiId, ServiceId, Tenant, TenantId},
    service::Context,
};
use prost::Message;
use proto::{
    catalog::v1::{CatalogEvent, LifecycleState, catalog_event},
    common::v1::SnapshotEntry,
    directory::v1::{DirectoryEvent, TeamState, TenantState, directory_event},
};

use crate::{
    app::App,
    domain::{Impact, routing::ServiceFacts},
    store::read_models::{self, Catalogued},
};

/// Follows every source of this service.
pub fn follow(context: &Context, app: &Arc<App>) {
    context.follow("directory", Arc::new(Directory(Arc::clone(app))));
    context.follow("catalog", Arc::new(Catalog));
}

struct Directory(Arc<App>);
struct Catalog;

impl Follower for Directory {
    fn apply<'a>(&'a self, tx: &'a mut Transaction, event: &'a Delivered) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(keep_directory(tx, &event.tenant, &event.body))
    }

    fn snapshot<'a>(
        &'a self,
        tx: &'a mut Transaction,
        tenant: &'a Tenant,
        entry: &'a SnapshotEntry,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(keep_directory(tx, tenant, &entry.body))
    }

    fn applied(&self) {
        // A tenant may be new, or may no longer be used.
        self.0.keys_changed();
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

    fn applied(&self) {}
}

fn id<T: FromStr>(text: &str) -> Result<T, Failure>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    T::from_str(text).map_err(|error| Failure::Event(error.into()))
}

fn optional<T: FromStr>(text: &str) -> Result<Option<T>, Failure>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    if text.is_empty() { Ok(None) } else { id(text).map(Some) }
}

/// Keeps what an event or a snapshot of the directory says. Whatever it says, its tenant exists.
///
/// # Errors
/// Fails when the bytes are no event of the directory, or the database is away.
pub async fn keep_directory(tx: &mut Transaction, tenant: &Tenant, body: &[u8]) -> Result<(), Failure> {
    let event = DirectoryEvent::decode(body)?;
    match event.record {
        Some(directory_event::Record::Tenant(record)) => {
            let active = record.state() != TenantState::Suspended;
            read_models::keep_tenant(tx, tenant, record.revision, active).await?;
        }
        Some(directory_event::Record::Team(team)) => {
            read_models::keep_tenant(tx, tenant, 0, true).await?;
            let active = team.state() != TeamState::Retired;
            read_models::keep_team(tx, tenant.id, id(&team.id)?, team.revision, active).await?;
        }
        Some(_) | None => read_models::keep_tenant(tx, tenant, 0, true).await?,
    }
    Ok(())
}

/// Keeps what an event or a snapshot of the catalog says.
///
/// # Errors
/// Fails when the bytes are no event of the catalog, or the database is away.
pub async fn keep_catalog(tx: &mut Transaction, tenant: TenantId, body: &[u8]) -> Result<(), Failure> {
    let event = CatalogEvent::decode(body)?;
    match event.record {
        Some(catalog_event::Record::Service(service)) => {
            let team = first(&service.support_team_id, &service.owning_team_id);
            let service_id: ServiceId = id(&service.id)?;
            let kept = Catalogued {
                revision: service.revision,
                facts: ServiceFacts {
                    id: service_id,
                    service_id: Some(service_id),
                    team_id: optional(team)?,
                    impact: i16::try_from(service.impact).ok().and_then(Impact::of),
                },
                retired: service.state() == LifecycleState::Retired,
                name: service.name,
            };
            read_models::keep_service(tx, tenant, &kept).await?;
        }
        Some(catalog_event::Record::ConfigurationItem(item)) => {
            let team = first(&item.support_team_id, &item.owning_team_id);
            let kept = Catalogued {
                revision: item.revision,
                facts: ServiceFacts {
                    id: id::<CiId>(&item.id)?,
                    service_id: optional(&item.service_id)?,
                    team_id: optional(team)?,
                    impact: None,
                },
                retired: item.state() == LifecycleState::Retired,
                name: item.name,
            };
            read_models::keep_item(tx, tenant, &kept).await?;
        }
        None => {}
    }
    Ok(())
}

/// The team that incidents go to: support, else owner.
fn first<'a>(support: &'a str, owner: &'a str) -> &'a str {
    if support.is_empty() { owner } else { support }
}

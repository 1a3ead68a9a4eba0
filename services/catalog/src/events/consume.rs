//! What happened elsewhere: the directory's teams fill the read model.

use std::{str::FromStr, sync::Arc};

use futures::future::BoxFuture;
use kit::{
    consumer::{Delivered, Failure, Follower},
    db::Transaction,
    id::{TeamId, Tenant, TenantId},
    service::Context,
};
use prost::Message;
use proto::{
    common::v1::SnapshotEntry,
    directory::v1::{DirectoryEvent, TeamState, directory_event},
};

use crate::{
    app::App,
    store::read_models::{self, Team},
};

/// Follows every source of this service.
pub fn follow(context: &Context, app: &Arc<App>) {
    context.follow("directory", Arc::new(Directory(Arc::clone(app))));
}

struct Directory(Arc<App>);

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

/// Keeps what an event or a snapshot of the directory says.
///
/// # Errors
/// Fails when the bytes are no event of the directory, or the database is away.
pub async fn keep_directory(tx: &mut Transaction, tenant: TenantId, body: &[u8]) -> Result<(), Failure> {
    let event = DirectoryEvent::decode(body)?;
    let Some(directory_event::Record::Team(team)) = event.record else { return Ok(()) };
    let id = TeamId::from_str(&team.id).map_err(|error| Failure::Event(error.into()))?;
    let kept = Team { id, revision: team.revision, active: team.state() == TeamState::Active };
    Ok(read_models::keep_team(tx, tenant, &kept).await?)
}

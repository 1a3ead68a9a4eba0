//! What happened elsewhere: incidents move their clocks, the catalog fills the read model.

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
    incident::v1::{self as wire, IncidentEvent, incident_event},
};

use crate::{
    app::App,
    domain::{Incident, IncidentState, Priority, Seen},
    store::{
        clocks,
        read_models::{self, Service},
    },
};

/// Follows every source of this service.
pub fn follow(context: &Context, app: &Arc<App>) {
    context.follow("catalog", Arc::new(Catalog(Arc::clone(app))));
    context.follow("incident", Arc::new(Incidents(Arc::clone(app))));
}

struct Catalog(Arc<App>);
struct Incidents(Arc<App>);

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

impl Follower for Incidents {
    fn load<'a>(&'a self, tx: &'a mut Transaction, events: &'a [Delivered]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let opened = events.iter().filter(|event| event.kind == "opened");
            let opened: Vec<_> = opened.map(|event| event.record_id.into()).collect();
            if !opened.is_empty() {
                clocks::load_any_of_incidents(tx, &opened).await?;
            }
            Ok(())
        })
    }

    fn apply<'a>(&'a self, tx: &'a mut Transaction, event: &'a Delivered) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let IncidentEvent { incident, what, .. } = IncidentEvent::decode(event.body.clone())?;
            let incident = read_incident(incident.ok_or_else(|| Failure::Event("the event has no incident".into()))?)?;
            let seen = Seen { incident, at: event.at, event_id: event.event_id };
            match what {
                Some(incident_event::What::Opened(_)) => self.0.incident_opened(tx, event, &seen).await,
                // The record says all that a clock needs, also with a type that is not known yet.
                Some(_) | None => self.0.incident_changed(tx, event, &seen).await,
            }
        })
    }

    fn snapshot<'a>(
        &'a self,
        tx: &'a mut Transaction,
        tenant: &'a Tenant,
        entry: &'a SnapshotEntry,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let event = IncidentEvent::decode(entry.body.clone())?;
            let Some(incident) = event.incident else { return Ok(()) };
            read_models::keep_incident(tx, tenant.id, &read_incident(incident)?);
            Ok(())
        })
    }

    fn applied(&self) {
        self.0.committed();
    }
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

fn read_incident(incident: wire::Incident) -> Result<Incident, Failure> {
    let state = match incident.state() {
        wire::IncidentState::New => IncidentState::New,
        wire::IncidentState::Assigned => IncidentState::Assigned,
        wire::IncidentState::InProgress => IncidentState::InProgress,
        wire::IncidentState::Pending => IncidentState::Pending,
        wire::IncidentState::Resolved => IncidentState::Resolved,
        wire::IncidentState::Closed => IncidentState::Closed,
        wire::IncidentState::Cancelled => IncidentState::Cancelled,
        wire::IncidentState::Unspecified => {
            return Err(Failure::Event(format!("the incident's state {} is not known", incident.state).into()));
        }
    };
    let level = i16::try_from(incident.priority).ok().and_then(Priority::of_level);
    Ok(Incident {
        id: id(&incident.id)?,
        revision: incident.revision,
        state,
        acknowledged: incident.acknowledge_time.is_some(),
        priority: level.ok_or_else(|| {
            Failure::Event(format!("the incident's priority {} is not known", incident.priority).into())
        })?,
        service_id: optional(&incident.service_id)?,
        team_id: optional(&incident.assigned_team_id)?,
        number: incident.number,
    })
}

/// Keeps what an event or a snapshot of the catalog says.
///
/// # Errors
/// Fails when the bytes are no event of the catalog, or the database is away.
pub async fn keep_catalog(tx: &mut Transaction, tenant: TenantId, body: &[u8]) -> Result<(), Failure> {
    let event = CatalogEvent::decode(body)?;
    let Some(catalog_event::Record::Service(service)) = event.record else { return Ok(()) };
    let kept = Service {
        id: id(&service.id)?,
        revision: service.revision,
        retired: service.state() == LifecycleState::Retired,
        name: service.name,
    };
    Ok(read_models::keep_service(tx, tenant, &kept).await?)
}

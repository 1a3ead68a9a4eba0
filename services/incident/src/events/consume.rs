//! What happened elsewhere: alerts become use cases, catalog and directory fill the read models.

use std::{str::FromStr, sync::Arc};

use futures::future::BoxFuture;
use kit::{
    consumer::{Delivered, Failure, Follower},
    db::Transaction,
    id::{Tenant, TenantId},
    service::Context,
};
use prost::{DecodeError, Message};
use proto::{
    alert::v1::{AlertEvent, AlertState, Severity, alert_event},
    catalog::v1::{CatalogEvent, LifecycleState, catalog_event},
    common::v1::SnapshotEntry,
    directory::v1::{DirectoryEvent, PersonState, TeamState, directory_event},
};
use uuid::Uuid;

use crate::{
    app::{App, by_event::Alert},
    domain::{Impact, Urgency},
    store::{
        alerts,
        read_models::{self, Member, MemberKind, Service},
    },
};

/// Follows every source of this service.
pub fn follow(context: &Context, app: &Arc<App>) {
    context.follow("directory", Arc::new(Directory(Arc::clone(app))));
    context.follow("catalog", Arc::new(Catalog(Arc::clone(app))));
    context.follow("alert", Arc::new(Alerts(Arc::clone(app))));
}

struct Directory(Arc<App>);
struct Catalog(Arc<App>);
struct Alerts(Arc<App>);

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

impl Follower for Alerts {
    fn load<'a>(&'a self, tx: &'a mut Transaction, events: &'a [Delivered]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let mut raised = Vec::new();
            for event in events.iter().filter(|event| event.kind == "raised") {
                if let Some(alert_event::Record::Alert(alert)) = AlertEvent::decode(event.body.clone())?.record {
                    let alert = read_alert(alert)?;
                    raised.push((event.tenant.id, alert.id, alert.condition));
                }
            }
            if !raised.is_empty() {
                alerts::load_open_incidents(tx, &raised).await?;
            }
            Ok(())
        })
    }

    fn apply<'a>(&'a self, tx: &'a mut Transaction, event: &'a Delivered) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let AlertEvent { record, what, .. } = AlertEvent::decode(event.body.clone())?;
            let Some(alert_event::Record::Alert(alert)) = record else { return Ok(()) };
            use alert_event::What;
            match what {
                Some(What::Raised(_)) => self.0.alert_raised(tx, event, read_alert(alert)?).await,
                Some(What::SeverityChanged(_)) => self.0.alert_severity_changed(tx, event, read_alert(alert)?).await,
                Some(What::Cleared(_)) => self.0.alert_cleared(tx, event, id(&alert.id)?).await,
                // A repeat changes nothing here, and neither does a type that is not known yet.
                Some(_) | None => Ok(()),
            }
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

fn read_alert(alert: proto::alert::v1::Alert) -> Result<Alert, Failure> {
    let urgency = match alert.severity() {
        Severity::Critical => Urgency::Critical,
        Severity::High => Urgency::High,
        Severity::Medium | Severity::Unspecified => Urgency::Medium,
        Severity::Low | Severity::Info => Urgency::Low,
    };
    let mut title = alert.title;
    if title.chars().count() > 200 {
        title = title.chars().take(199).chain(['…']).collect();
    }
    Ok(Alert {
        id: id(&alert.id)?,
        condition: format!("{}/{}", alert.integration_id, alert.dedup_key),
        title,
        description: alert.description,
        urgency,
        impact: i16::try_from(alert.impact).ok().and_then(Impact::of),
        service_id: optional(&alert.service_id)?,
        ci_id: optional(&alert.ci_id)?,
        team_id: optional(&alert.team_id)?,
        opens_incident: alert.opens_incident,
    })
}

/// Whether the alert in a snapshot of the alert service is active.
///
/// # Errors
/// Fails when the bytes are no event of it.
pub fn alert_is_active(body: &[u8]) -> Result<bool, DecodeError> {
    let event = AlertEvent::decode(body)?;
    Ok(matches!(event.record, Some(alert_event::Record::Alert(alert)) if alert.state() == AlertState::Active))
}

/// Keeps what an event or a snapshot of the catalog says.
///
/// # Errors
/// Fails when the bytes are no event of the catalog, or the database is away.
pub async fn keep_catalog(tx: &mut Transaction, tenant: TenantId, body: &[u8]) -> Result<(), Failure> {
    let event = CatalogEvent::decode(body)?;
    let Some(catalog_event::Record::Service(service)) = event.record else { return Ok(()) };
    let support = if service.support_team_id.is_empty() { &service.owning_team_id } else { &service.support_team_id };
    let kept = Service {
        id: id(&service.id)?,
        revision: service.revision,
        support_team_id: optional(support)?,
        impact: i16::try_from(service.impact).ok().and_then(Impact::of),
        retired: service.state() == LifecycleState::Retired,
    };
    Ok(read_models::keep_service(tx, tenant, &kept).await?)
}

/// Keeps what an event or a snapshot of the directory says.
///
/// # Errors
/// Fails when the bytes are no event of the directory, or the database is away.
pub async fn keep_directory(tx: &mut Transaction, tenant: TenantId, body: &[u8]) -> Result<(), Failure> {
    let event = DirectoryEvent::decode(body)?;
    let member = match event.record {
        Some(directory_event::Record::Person(person)) => Member {
            id: id::<Uuid>(&person.id)?,
            kind: MemberKind::Person,
            revision: person.revision,
            active: person.state() == PersonState::Active,
        },
        Some(directory_event::Record::Team(team)) => Member {
            id: id::<Uuid>(&team.id)?,
            kind: MemberKind::Team,
            revision: team.revision,
            active: team.state() == TeamState::Active,
        },
        Some(_) | None => return Ok(()),
    };
    Ok(read_models::keep_member(tx, tenant, &member).await?)
}

//! What happened elsewhere: every event may be told about, some end what waits, and the directory
//! fills the read models.

use std::sync::Arc;

use futures::future::BoxFuture;
use kit::{
    consumer::{Delivered, Failure, Follower},
    db::Transaction,
    id::{Tenant, TenantId},
    service::Context,
};
use prost::Message;
use proto::{
    alert::v1::{AlertEvent, alert_event},
    change::v1::ChangeEvent,
    common::v1::SnapshotEntry,
    directory::v1::{DirectoryEvent, MembershipState, PersonState, TeamState, directory_event},
    incident::v1::IncidentEvent,
    sla::v1::{SlaEvent, sla_event},
};

use super::subjects::{self, id, optional};
use crate::{
    app::App,
    store::read_models::{self, Incident, Membership, Person, Team},
};

/// Follows every source of this service.
pub fn follow(context: &Context, app: &Arc<App>) {
    context.follow("directory", Arc::new(Directory(Arc::clone(app))));
    context.follow("incident", Arc::new(Incidents(Arc::clone(app))));
    context.follow("alert", Arc::new(Alerts(Arc::clone(app))));
    context.follow("sla", Arc::new(Clocks(Arc::clone(app))));
    context.follow("change", Arc::new(Changes(Arc::clone(app))));
}

struct Directory(Arc<App>);
struct Incidents(Arc<App>);
struct Alerts(Arc<App>);
struct Clocks(Arc<App>);
struct Changes(Arc<App>);

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

impl Follower for Incidents {
    fn prepare<'a>(&'a self, events: &'a [Delivered]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.0.know_recipients(events))
    }

    fn load<'a>(&'a self, tx: &'a mut Transaction, events: &'a [Delivered]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let incidents: Vec<_> = events.iter().map(|event| (event.tenant.id, event.record_id.into())).collect();
            self.0.read_ahead(tx, events, &incidents).await
        })
    }

    fn apply<'a>(&'a self, tx: &'a mut Transaction, event: &'a Delivered) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let Some(incident) = IncidentEvent::decode(event.body.clone())?.incident else { return Ok(()) };
            self.0.incident_changed(tx, event, &read_incident(&incident)?, &subjects::incident(&incident)?).await
        })
    }

    fn snapshot<'a>(
        &'a self,
        tx: &'a mut Transaction,
        tenant: &'a Tenant,
        entry: &'a SnapshotEntry,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let Some(incident) = IncidentEvent::decode(entry.body.clone())?.incident else { return Ok(()) };
            read_models::keep_incident(tx, tenant.id, &read_incident(&incident)?);
            Ok(())
        })
    }

    fn applied(&self) {
        self.0.committed();
    }
}

impl Follower for Alerts {
    fn prepare<'a>(&'a self, events: &'a [Delivered]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.0.know_recipients(events))
    }

    fn load<'a>(&'a self, tx: &'a mut Transaction, events: &'a [Delivered]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.0.read_ahead(tx, events, &[]))
    }

    fn apply<'a>(&'a self, tx: &'a mut Transaction, event: &'a Delivered) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let Some(alert_event::Record::Alert(alert)) = AlertEvent::decode(event.body.clone())?.record else {
                return Ok(());
            };
            self.0.alert_changed(tx, event, &subjects::alert(&alert)?).await
        })
    }

    fn applied(&self) {
        self.0.committed();
    }
}

impl Follower for Clocks {
    fn prepare<'a>(&'a self, events: &'a [Delivered]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.0.know_recipients(events).await?;
            for event in events {
                let Some(sla_event::Record::Clock(clock)) = SlaEvent::decode(event.body.clone())?.record else {
                    continue;
                };
                if let Some(incident) = optional(&clock.incident_id)? {
                    self.0.know_incident(event, incident).await?;
                }
            }
            Ok(())
        })
    }

    fn load<'a>(&'a self, tx: &'a mut Transaction, events: &'a [Delivered]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.0.read_ahead(tx, events, &[]))
    }

    fn apply<'a>(&'a self, tx: &'a mut Transaction, event: &'a Delivered) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let Some(sla_event::Record::Clock(clock)) = SlaEvent::decode(event.body.clone())?.record else {
                return Ok(());
            };
            self.0.clock_changed(tx, event, subjects::clock(&clock)?).await
        })
    }

    fn applied(&self) {
        self.0.committed();
    }
}

impl Follower for Changes {
    fn prepare<'a>(&'a self, events: &'a [Delivered]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.0.know_recipients(events))
    }

    fn load<'a>(&'a self, tx: &'a mut Transaction, events: &'a [Delivered]) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.0.read_ahead(tx, events, &[]))
    }

    fn apply<'a>(&'a self, tx: &'a mut Transaction, event: &'a Delivered) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let Some(change) = ChangeEvent::decode(event.body.clone())?.change else { return Ok(()) };
            self.0.tell(tx, event, &subjects::change(&change)?).await
        })
    }

    fn applied(&self) {
        self.0.committed();
    }
}

fn read_incident(incident: &proto::incident::v1::Incident) -> Result<Incident, Failure> {
    Ok(Incident {
        id: id(&incident.id)?,
        revision: incident.revision,
        number: incident.number.clone(),
        title: incident.title.clone(),
        attention: subjects::attention(incident),
        assignee_id: optional(&incident.assignee_id)?,
    })
}

/// The incident in what the incident service answered. Its revision is 0, and its attention all,
/// so that its events, which come later, are seen to change it.
///
/// # Errors
/// Fails when the bytes are no event of the incident service.
pub fn asked_incident(body: &[u8]) -> Result<Option<Incident>, Failure> {
    let Some(incident) = IncidentEvent::decode(body)?.incident else { return Ok(None) };
    Ok(Some(Incident { revision: 0, attention: crate::domain::Attention::Wanted, ..read_incident(&incident)? }))
}

/// Keeps what an event or a snapshot of the directory says.
///
/// # Errors
/// Fails when the bytes are no event of the directory, or the database is away.
pub async fn keep_directory(tx: &mut Transaction, tenant: TenantId, body: &[u8]) -> Result<(), Failure> {
    match DirectoryEvent::decode(body)?.record {
        Some(directory_event::Record::Person(person)) => {
            let kept = Person {
                id: id(&person.id)?,
                revision: person.revision,
                active: person.state() == PersonState::Active,
                administrator: person.administrator,
            };
            read_models::keep_person(tx, tenant, &kept).await?;
        }
        Some(directory_event::Record::Team(team)) => {
            let kept = Team { id: id(&team.id)?, revision: team.revision, active: team.state() == TeamState::Active };
            read_models::keep_team(tx, tenant, &kept).await?;
        }
        Some(directory_event::Record::Membership(membership)) => {
            let kept = Membership {
                id: id(&membership.id)?,
                revision: membership.revision,
                team_id: id(&membership.team_id)?,
                person_id: id(&membership.person_id)?,
                active: membership.state() == MembershipState::Active,
            };
            read_models::keep_membership(tx, tenant, &kept).await?;
        }
        Some(directory_event::Record::Tenant(_) | directory_event::Record::ApiKey(_)) | None => {}
    }
    Ok(())
}

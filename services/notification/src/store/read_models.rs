//! What this service keeps of others: written only where the owner's revision is newer.

use std::collections::HashMap;

use kit::{
    db::Transaction,
    id::{IncidentId, PersonId, TeamId, TenantId},
};
use uuid::Uuid;

use super::wrong;
use crate::domain::Attention;

/// A person of the directory, as far as telling them needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    /// The person.
    pub id: PersonId,
    /// The directory's revision.
    pub revision: i64,
    /// Whether the person takes part.
    pub active: bool,
    /// Whether the person administers the tenant.
    pub administrator: bool,
}

/// A team of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Team {
    /// The team.
    pub id: TeamId,
    /// The directory's revision.
    pub revision: i64,
    /// Whether it takes part.
    pub active: bool,
}

/// Who belongs to which team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// The membership.
    pub id: Uuid,
    /// The directory's revision.
    pub revision: i64,
    /// The team.
    pub team_id: TeamId,
    /// The person.
    pub person_id: PersonId,
    /// Whether it holds.
    pub active: bool,
}

/// An incident, as far as messages about it and its clocks need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// The incident.
    pub id: IncidentId,
    /// The incident service's revision; 0 for one that was asked for, so that every event is newer.
    pub revision: i64,
    /// The number people say.
    pub number: String,
    /// One line.
    pub title: String,
    /// How much attention it needs.
    pub attention: Attention,
    /// The person that has it.
    pub assignee_id: Option<PersonId>,
}

/// Keeps a person.
///
/// # Errors
/// Fails when the database is away.
pub async fn keep_person(tx: &mut Transaction, tenant: TenantId, person: &Person) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into notification.directory_people as p (tenant_id, id, revision, active, administrator) values ($1, $2, $3, $4, $5)
         on conflict (tenant_id, id) do update set revision = $3, active = $4, administrator = $5 where p.revision < $3",
        tenant.0,
        person.id.0,
        person.revision,
        person.active,
        person.administrator
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Keeps a team.
///
/// # Errors
/// Fails when the database is away.
pub async fn keep_team(tx: &mut Transaction, tenant: TenantId, team: &Team) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into notification.directory_teams as t (tenant_id, id, revision, active) values ($1, $2, $3, $4)
         on conflict (tenant_id, id) do update set revision = $3, active = $4 where t.revision < $3",
        tenant.0,
        team.id.0,
        team.revision,
        team.active
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Keeps a membership.
///
/// # Errors
/// Fails when the database is away.
pub async fn keep_membership(
    tx: &mut Transaction,
    tenant: TenantId,
    membership: &Membership,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into notification.directory_memberships as m (tenant_id, id, revision, team_id, person_id, active) values ($1, $2, $3, $4, $5, $6)
         on conflict (tenant_id, id) do update set revision = $3, active = $6 where m.revision < $3",
        tenant.0,
        membership.id,
        membership.revision,
        membership.team_id.0,
        membership.person_id.0,
        membership.active
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Keeps an incident.
///
/// # Errors
/// Fails when the database is away.
pub async fn keep_incident(tx: &mut Transaction, tenant: TenantId, incident: &Incident) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into notification.incident_incidents as i (tenant_id, id, revision, number, title, attention, assignee_id)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (tenant_id, id) do update set revision = $3, title = $5, attention = $6, assignee_id = $7 where i.revision < $3",
        tenant.0,
        incident.id.0,
        incident.revision,
        incident.number,
        incident.title,
        incident.attention.name(),
        incident.assignee_id.map(|id| id.0)
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Finds an incident.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_incident(
    tx: &mut Transaction,
    tenant: TenantId,
    id: IncidentId,
) -> Result<Option<Incident>, sqlx::Error> {
    let row = sqlx::query!(
        "select revision, number, title, attention, assignee_id from notification.incident_incidents where tenant_id = $1 and id = $2",
        tenant.0,
        id.0
    )
    .fetch_optional(tx.connection())
    .await?;
    row.map(|row| {
        Ok(Incident {
            id,
            revision: row.revision,
            number: row.number,
            title: row.title,
            attention: Attention::of(&row.attention).ok_or_else(|| wrong(id.0, "attention"))?,
            assignee_id: row.assignee_id.map(Into::into),
        })
    })
    .transpose()
}

/// Whether a person takes part; none when not known.
///
/// # Errors
/// Fails when the database is away.
pub async fn person_active(tx: &mut Transaction, tenant: TenantId, id: PersonId) -> Result<Option<bool>, sqlx::Error> {
    if let Some(active) = tx.memo::<Active>().0.get(&(tenant, id)) {
        return Ok(*active);
    }
    let active = sqlx::query_scalar!(
        "select active from notification.directory_people where tenant_id = $1 and id = $2",
        tenant.0,
        id.0
    )
    .fetch_optional(tx.connection())
    .await?;
    tx.memo::<Active>().0.insert((tenant, id), active);
    Ok(active)
}

/// Of whom a sweep asked whether they take part.
#[derive(Default)]
struct Active(HashMap<(TenantId, PersonId), Option<bool>>);

/// Whether a team takes part; none when not known.
///
/// # Errors
/// Fails when the database is away.
pub async fn team_active(tx: &mut Transaction, tenant: TenantId, id: TeamId) -> Result<Option<bool>, sqlx::Error> {
    sqlx::query_scalar!(
        "select active from notification.directory_teams where tenant_id = $1 and id = $2",
        tenant.0,
        id.0
    )
    .fetch_optional(tx.connection())
    .await
}

/// Those of these people, and of the members of these teams, who take part.
///
/// # Errors
/// Fails when the database is away.
pub async fn people(
    tx: &mut Transaction,
    tenant: TenantId,
    people: &[PersonId],
    teams: &[TeamId],
) -> Result<Vec<PersonId>, sqlx::Error> {
    let asked = (tenant, people.to_vec(), teams.to_vec());
    if let Some(found) = tx.memo::<People>().0.get(&asked) {
        return Ok(found.clone());
    }
    let people: Vec<Uuid> = people.iter().map(|id| id.0).collect();
    let teams: Vec<Uuid> = teams.iter().map(|id| id.0).collect();
    let found = sqlx::query_scalar!(
        "select p.id from notification.directory_people p
         where p.tenant_id = $1 and p.active and (p.id = any ($2) or exists (
            select from notification.directory_memberships m
            where m.tenant_id = $1 and m.team_id = any ($3) and m.person_id = p.id and m.active))
         order by p.id",
        tenant.0,
        &people,
        &teams
    )
    .fetch_all(tx.connection())
    .await?;
    let found: Vec<PersonId> = found.into_iter().map(Into::into).collect();
    tx.memo::<People>().0.insert(asked, found.clone());
    Ok(found)
}

/// The people that a batch of events asked for.
#[derive(Default)]
struct People(HashMap<(TenantId, Vec<PersonId>, Vec<TeamId>), Vec<PersonId>>);

/// The administrators of a tenant who take part.
///
/// # Errors
/// Fails when the database is away.
pub async fn administrators(tx: &mut Transaction, tenant: TenantId) -> Result<Vec<PersonId>, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "select id from notification.directory_people where tenant_id = $1 and active and administrator order by id",
        tenant.0
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(found.into_iter().map(Into::into).collect())
}

/// How far this service has applied what a source said.
///
/// # Errors
/// Fails when the database is away.
pub async fn applied(pool: &sqlx::PgPool, source: &str) -> Result<i64, sqlx::Error> {
    let name = format!("consumer:{source}");
    let found = sqlx::query_scalar!("select position from notification.lease where name = $1", name);
    Ok(found.fetch_optional(pool).await?.unwrap_or_default())
}

//! What this service keeps of others: written only where the owner's revision is newer.

use std::collections::HashMap;

use kit::{
    db::Transaction,
    gather::Gathered,
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

/// The incidents that a batch of events read or wrote; none where one is not known.
#[derive(Default)]
struct Known(HashMap<(TenantId, IncidentId), Option<Incident>>);

/// An incident that waits for the commit.
struct Kept {
    tenant: TenantId,
    incident: Incident,
}

/// Keeps an incident, with the commit.
pub fn keep_incident(tx: &mut Transaction, tenant: TenantId, incident: &Incident) {
    let newer = |than: i64| than < incident.revision;
    if let Some(known) = tx.memo::<Known>().0.get_mut(&(tenant, incident.id))
        && known.as_ref().is_none_or(|known| newer(known.revision))
    {
        *known = Some(incident.clone());
    }
    let rows = tx.gathered::<Kept>();
    if rows.get(&incident.id.0).is_none_or(|kept| newer(kept.incident.revision)) {
        rows.insert(incident.id.0, Kept { tenant, incident: incident.clone() });
    }
}

impl Gathered for Kept {
    async fn write(rows: Vec<Self>, tx: &mut Transaction) -> Result<(), sqlx::Error> {
        let all = || rows.iter().map(|row| &row.incident);
        sqlx::query!(
            "insert into notification.incident_incidents as i (tenant_id, id, revision, number, title, attention, assignee_id)
             select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::uuid[])
             on conflict (tenant_id, id) do update set revision = excluded.revision, title = excluded.title,
                attention = excluded.attention, assignee_id = excluded.assignee_id
             where i.revision < excluded.revision",
            &rows.iter().map(|row| row.tenant.0).collect::<Vec<_>>(),
            &all().map(|incident| incident.id.0).collect::<Vec<_>>(),
            &all().map(|incident| incident.revision).collect::<Vec<_>>(),
            &all().map(|incident| incident.number.clone()).collect::<Vec<_>>(),
            &all().map(|incident| incident.title.clone()).collect::<Vec<_>>(),
            &all().map(|incident| incident.attention.name().to_owned()).collect::<Vec<_>>(),
            &all().map(|incident| incident.assignee_id.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>]
        )
        .execute(tx.connection())
        .await?;
        Ok(())
    }
}

/// Reads at once the incidents that a batch is about.
///
/// # Errors
/// Fails when the database is away.
pub async fn load_incidents(tx: &mut Transaction, wanted: &[(TenantId, IncidentId)]) -> Result<(), sqlx::Error> {
    tx.flush().await?;
    let rows = sqlx::query!(
        "select i.tenant_id, i.id, i.revision, i.number, i.title, i.attention, i.assignee_id
         from unnest($1::uuid[], $2::uuid[]) as w (tenant_id, id)
         join notification.incident_incidents i on i.tenant_id = w.tenant_id and i.id = w.id",
        &wanted.iter().map(|(tenant, _)| tenant.0).collect::<Vec<_>>(),
        &wanted.iter().map(|(_, id)| id.0).collect::<Vec<_>>()
    )
    .fetch_all(tx.connection())
    .await?;
    let known = &mut tx.memo::<Known>().0;
    known.extend(wanted.iter().map(|key| (*key, None)));
    for row in rows {
        let incident = Incident {
            id: row.id.into(),
            revision: row.revision,
            number: row.number,
            title: row.title,
            attention: Attention::of(&row.attention).ok_or_else(|| wrong(row.id, "attention"))?,
            assignee_id: row.assignee_id.map(Into::into),
        };
        known.insert((row.tenant_id.into(), incident.id), Some(incident));
    }
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
    let key = (tenant, id);
    if !tx.memo::<Known>().0.contains_key(&key) {
        load_incidents(tx, &[key]).await?;
    }
    Ok(tx.memo::<Known>().0.get(&key).cloned().flatten())
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

//! What this service keeps of others: written only where the owner's revision is newer. And how
//! far it has followed them.

use std::collections::HashMap;

use kit::{
    db::Transaction,
    gather::Gathered,
    id::{IncidentId, ServiceId, TeamId, TenantId},
};
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::Incident;

/// A service of the catalog that an agreement may be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The service.
    pub id: ServiceId,
    /// The catalog's revision.
    pub revision: i64,
    /// The short name.
    pub name: String,
    /// Whether it is out of use.
    pub retired: bool,
}

/// Keeps a service.
///
/// # Errors
/// Fails when the database is away.
pub async fn keep_service(tx: &mut Transaction, tenant: TenantId, service: &Service) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into sla.catalog_services as s (tenant_id, id, revision, name, retired) values ($1, $2, $3, $4, $5)
         on conflict (tenant_id, id) do update set revision = $3, name = $4, retired = $5 where s.revision < $3",
        tenant.0,
        service.id.0,
        service.revision,
        service.name,
        service.retired
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Finds a service.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_service(
    tx: &mut Transaction,
    tenant: TenantId,
    id: ServiceId,
) -> Result<Option<Service>, sqlx::Error> {
    let row = sqlx::query!(
        "select revision, name, retired from sla.catalog_services where tenant_id = $1 and id = $2",
        tenant.0,
        id.0
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map(|row| Service { id, revision: row.revision, name: row.name, retired: row.retired }))
}

/// An incident that waits for the commit.
struct Kept {
    tenant: TenantId,
    incident: Incident,
}

/// Keeps an incident, with the commit.
pub fn keep_incident(tx: &mut Transaction, tenant: TenantId, incident: &Incident) {
    let rows = tx.gathered::<Kept>();
    if rows.get(&incident.id.0).is_none_or(|kept| kept.incident.revision < incident.revision) {
        rows.insert(incident.id.0, Kept { tenant, incident: incident.clone() });
    }
}

impl Gathered for Kept {
    async fn write(rows: Vec<Self>, tx: &mut Transaction) -> Result<(), sqlx::Error> {
        let all = || rows.iter().map(|row| &row.incident);
        sqlx::query!(
            "insert into sla.incident_incidents as i (tenant_id, id, revision, number, state, acknowledged, priority, service_id,
                assigned_team_id)
             select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::boolean[], $7::smallint[],
                $8::uuid[], $9::uuid[])
             on conflict (tenant_id, id) do update set revision = excluded.revision, number = excluded.number,
                state = excluded.state, acknowledged = excluded.acknowledged, priority = excluded.priority,
                service_id = excluded.service_id, assigned_team_id = excluded.assigned_team_id
             where i.revision < excluded.revision",
            &rows.iter().map(|row| row.tenant.0).collect::<Vec<_>>(),
            &all().map(|incident| incident.id.0).collect::<Vec<_>>(),
            &all().map(|incident| incident.revision).collect::<Vec<_>>(),
            &all().map(|incident| incident.number.clone()).collect::<Vec<_>>(),
            &all().map(|incident| incident.state.name().to_owned()).collect::<Vec<_>>(),
            &all().map(|incident| incident.acknowledged).collect::<Vec<_>>(),
            &all().map(|incident| incident.priority.level()).collect::<Vec<_>>(),
            &all().map(|incident| incident.service_id.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>],
            &all().map(|incident| incident.team_id.map(|id| id.0)).collect::<Vec<_>>() as &[Option<Uuid>]
        )
        .execute(tx.connection())
        .await?;
        Ok(())
    }
}

/// The teams that have incidents.
///
/// # Errors
/// Fails when the database is away.
pub async fn teams_of_incidents(
    tx: &mut Transaction,
    incidents: &[IncidentId],
) -> Result<HashMap<IncidentId, TeamId>, sqlx::Error> {
    tx.flush().await?;
    let rows = sqlx::query!(
        r#"select id, assigned_team_id as "team!" from sla.incident_incidents where id = any ($1) and assigned_team_id is not null"#,
        &incidents.iter().map(|id| id.0).collect::<Vec<_>>()
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(|row| (row.id.into(), row.team.into())).collect())
}

/// How far the incidents of a feed's incarnation were followed; none before the first time.
///
/// # Errors
/// Fails when the database is away.
pub async fn followed_incidents(workers: &PgPool, incarnation: Uuid) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "select position from sla.lease where name = 'consumer:incident' and incarnation = $1",
        incarnation
    )
    .fetch_optional(workers)
    .await
}

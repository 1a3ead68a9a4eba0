//! What this service keeps of others: written only where the owner's revision is newer.

use kit::{
    db::Transaction,
    id::{ServiceId, TeamId, TenantId},
};
use uuid::Uuid;

use crate::domain::Impact;

/// A service of the catalog, as far as incidents need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// The service.
    pub id: ServiceId,
    /// The catalog's revision.
    pub revision: i64,
    /// The team that its incidents go to.
    pub support_team_id: Option<TeamId>,
    /// The impact of its failure.
    pub impact: Option<Impact>,
    /// Whether it is out of use.
    pub retired: bool,
}

/// Whom an incident may be given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The person or team.
    pub id: Uuid,
    /// Which of the two.
    pub kind: MemberKind,
    /// The directory's revision.
    pub revision: i64,
    /// Whether it takes part.
    pub active: bool,
}

kit::words!(
    /// Whom an incident may be given to.
    MemberKind {
        /// A person or service account.
        Person = "PERSON",
        /// A team.
        Team = "TEAM",
    }
);

/// Keeps a service.
///
/// # Errors
/// Fails when the database is away.
pub async fn keep_service(tx: &mut Transaction, tenant: TenantId, service: &Service) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into incident.catalog_services as s (tenant_id, id, revision, support_team_id, impact, retired) values ($1, $2, $3, $4, $5, $6)
         on conflict (tenant_id, id) do update set revision = $3, support_team_id = $4, impact = $5, retired = $6 where s.revision < $3",
        tenant.0,
        service.id.0,
        service.revision,
        service.support_team_id.map(|team| team.0),
        service.impact.map(Impact::level),
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
        "select revision, support_team_id, impact, retired from incident.catalog_services where tenant_id = $1 and id = $2",
        tenant.0,
        id.0
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map(|row| Service {
        id,
        revision: row.revision,
        support_team_id: row.support_team_id.map(Into::into),
        impact: row.impact.and_then(Impact::of),
        retired: row.retired,
    }))
}

/// Keeps a person or team.
///
/// # Errors
/// Fails when the database is away.
pub async fn keep_member(tx: &mut Transaction, tenant: TenantId, member: &Member) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into incident.directory_members as m (tenant_id, id, kind, revision, active) values ($1, $2, $3, $4, $5)
         on conflict (tenant_id, id) do update set revision = $4, active = $5 where m.revision < $4",
        tenant.0,
        member.id,
        member.kind.name(),
        member.revision,
        member.active
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Finds a person or team.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_member(
    tx: &mut Transaction,
    tenant: TenantId,
    kind: MemberKind,
    id: Uuid,
) -> Result<Option<Member>, sqlx::Error> {
    let row = sqlx::query!(
        "select revision, active from incident.directory_members where tenant_id = $1 and id = $2 and kind = $3",
        tenant.0,
        id,
        kind.name()
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map(|row| Member { id, kind, revision: row.revision, active: row.active }))
}

//! What this service keeps of the directory: written only where the owner's revision is newer.

use kit::{
    db::Transaction,
    id::{TeamId, TenantId},
};

/// A team, as far as the catalog needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Team {
    /// The team.
    pub id: TeamId,
    /// The directory's revision.
    pub revision: i64,
    /// Whether it takes part.
    pub active: bool,
}

/// Keeps a team.
///
/// # Errors
/// Fails when the database is away.
pub async fn keep_team(tx: &mut Transaction, tenant: TenantId, team: &Team) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into catalog.directory_teams as t (tenant_id, id, revision, active) values ($1, $2, $3, $4)
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

/// Finds a team.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_team(tx: &mut Transaction, tenant: TenantId, id: TeamId) -> Result<Option<Team>, sqlx::Error> {
    let row = sqlx::query!(
        "select revision, active from catalog.directory_teams where tenant_id = $1 and id = $2",
        tenant.0,
        id.0
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map(|row| Team { id, revision: row.revision, active: row.active }))
}

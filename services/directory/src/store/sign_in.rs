//! The one question that is asked before a tenant is known: whose key is this, and what may it do?
//! One statement, as the worker, who sees digests and no names.

use chrono::{DateTime, Utc};
use kit::db::Database;
use uuid::Uuid;

use super::inconsistent;
use crate::domain::{ApiKeyId, PersonState, TeamRole, TenantState, api_key};

/// A key with all that a sign-in depends on.
#[derive(Debug)]
pub struct Found {
    /// SHA-256 of the secret.
    pub digest: Vec<u8>,
    /// What the key is limited to.
    pub scopes: Vec<String>,
    /// When the key stops working.
    pub expires_at: Option<DateTime<Utc>>,
    /// The person.
    pub person_id: Uuid,
    /// Whether the person administers the tenant.
    pub administrator: bool,
    /// The tenant.
    pub tenant_id: Uuid,
    /// The tenant's slug.
    pub slug: String,
    /// The roles held, by team.
    pub teams: Vec<(Uuid, TeamRole)>,
    revoked_at: Option<DateTime<Utc>>,
    person_state: PersonState,
    tenant_state: TenantState,
}

impl Found {
    /// Whether the key, its person and the tenant may be used at an instant.
    #[must_use]
    pub fn usable(&self, now: DateTime<Utc>) -> bool {
        api_key::works(self.expires_at, self.revoked_at, now)
            && self.person_state == PersonState::Active
            && self.tenant_state == TenantState::Active
    }
}

/// Finds a key by its id, of whichever tenant.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(database: &Database, id: ApiKeyId) -> Result<Option<Found>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select k.digest, k.scopes, k.expires_at, k.revoked_at, p.id as person_id, p.administrator,
                  p.state as person_state, t.id as tenant_id, t.slug, t.state as tenant_state,
                  array(select m.team_id from directory.memberships m
                        where m.person_id = p.id and m.state = 'ACTIVE' order by m.team_id) as "team_ids!",
                  array(select m.role from directory.memberships m
                        where m.person_id = p.id and m.state = 'ACTIVE' order by m.team_id) as "roles!"
           from directory.api_keys k
           join directory.people p on p.id = k.person_id
           join directory.tenants t on t.id = k.tenant_id
           where k.id = $1"#,
        id.0
    )
    .fetch_optional(&database.workers)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let wrong = |table, column| inconsistent(table, id.0, column);
    let roles = row.roles.into_iter().map(TeamRole::of_number).collect::<Option<Vec<_>>>();
    Ok(Some(Found {
        digest: row.digest,
        scopes: row.scopes,
        expires_at: row.expires_at,
        person_id: row.person_id,
        administrator: row.administrator,
        tenant_id: row.tenant_id,
        slug: row.slug,
        teams: row.team_ids.into_iter().zip(roles.ok_or_else(|| wrong("memberships", "role"))?).collect(),
        revoked_at: row.revoked_at,
        person_state: PersonState::of(&row.person_state).ok_or_else(|| wrong("people", "state"))?,
        tenant_state: TenantState::of(&row.tenant_state).ok_or_else(|| wrong("tenants", "state"))?,
    }))
}

//! The records of a tenant as the other services page them: of every kind, in one order of id, and
//! so each team and person before the memberships that name them. Keys are nobody else's business.

use kit::{db::Transaction, id::TenantId};
use uuid::Uuid;

use super::{Stored, memberships, people, teams};
use crate::domain::{Membership, Person, Team, Tenant};

/// A record of any kind.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyRecord {
    /// A tenant.
    Tenant(Tenant),
    /// A person.
    Person(Person),
    /// A team.
    Team(Team),
    /// A membership.
    Membership(Membership),
}

impl AnyRecord {
    /// The id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        match self {
            Self::Tenant(tenant) => tenant.id.0,
            Self::Person(person) => person.id.0,
            Self::Team(team) => team.id.0,
            Self::Membership(membership) => membership.id.0,
        }
    }

    /// The revision.
    #[must_use]
    pub fn revision(&self) -> i64 {
        match self {
            Self::Tenant(tenant) => tenant.revision,
            Self::Person(person) => person.revision,
            Self::Team(team) => team.revision,
            Self::Membership(membership) => membership.revision,
        }
    }
}

/// A page of the records of the tenant that the transaction names, oldest first, after an id.
///
/// # Errors
/// Fails when the database is away.
pub async fn page(
    tx: &mut Transaction,
    tenant: TenantId,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<AnyRecord>, sqlx::Error> {
    let ids = sqlx::query_scalar!(
        r#"select id as "id!" from (
               select id from directory.tenants where id = $1
               union all select id from directory.people where tenant_id = $1
               union all select id from directory.teams where tenant_id = $1
               union all select id from directory.memberships where tenant_id = $1) as r
           where $2::uuid is null or id > $2 order by id limit $3"#,
        tenant.0,
        after,
        limit
    )
    .fetch_all(tx.connection())
    .await?;
    let mut records = Vec::with_capacity(ids.len());
    records
        .extend(Tenant::find(tx, tenant.0).await?.filter(|tenant| ids.contains(&tenant.id.0)).map(AnyRecord::Tenant));
    records.extend(people::by_ids(tx, &ids).await?.into_iter().map(AnyRecord::Person));
    records.extend(teams::by_ids(tx, &ids).await?.into_iter().map(AnyRecord::Team));
    records.extend(memberships::by_ids(tx, &ids).await?.into_iter().map(AnyRecord::Membership));
    records.sort_by_key(AnyRecord::id);
    Ok(records)
}

/// A record of any kind of the tenant that the transaction names.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(tx: &mut Transaction, id: Uuid) -> Result<Option<AnyRecord>, sqlx::Error> {
    if let Some(person) = Person::find(tx, id).await? {
        return Ok(Some(AnyRecord::Person(person)));
    }
    if let Some(team) = Team::find(tx, id).await? {
        return Ok(Some(AnyRecord::Team(team)));
    }
    if let Some(membership) = Membership::find(tx, id).await? {
        return Ok(Some(AnyRecord::Membership(membership)));
    }
    Ok(Tenant::find(tx, id).await?.map(AnyRecord::Tenant))
}

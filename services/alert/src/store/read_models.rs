//! What this service keeps of others: written only where the owner's revision is newer.

use std::collections::HashMap;

use kit::{
    db::Transaction,
    id::{CiId, ServiceId, TeamId, Tenant, TenantId},
};
use uuid::Uuid;

use crate::domain::{Impact, routing::ServiceFacts};

/// A tenant and whether it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownTenant {
    /// The tenant.
    pub tenant: Tenant,
    /// Whether it may be used.
    pub active: bool,
}

/// A service or an item of the catalog, as far as alerts need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogued<I> {
    /// The owner's revision.
    pub revision: i64,
    /// The name that labels carry.
    pub name: String,
    /// What it says about alerts.
    pub facts: ServiceFacts<I>,
    /// Whether it is out of use.
    pub retired: bool,
}

/// The part of the catalog that a batch needs.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Services by id.
    pub services: HashMap<ServiceId, ServiceFacts<ServiceId>>,
    /// Services by name.
    pub services_by_name: HashMap<String, ServiceFacts<ServiceId>>,
    /// Items by name.
    pub items_by_name: HashMap<String, ServiceFacts<CiId>>,
}

/// Keeps a tenant.
///
/// # Errors
/// Fails when the database is away.
pub async fn keep_tenant(
    tx: &mut Transaction,
    tenant: &Tenant,
    revision: i64,
    active: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into alert.directory_tenants as t (tenant_id, revision, slug, active) values ($1, $2, $3, $4)
         on conflict (tenant_id) do update set revision = $2, active = $4 where t.revision < $2",
        tenant.id.0,
        revision,
        tenant.slug,
        active
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Every tenant; for a worker.
///
/// # Errors
/// Fails when the database is away.
pub async fn tenants(pool: &sqlx::PgPool) -> Result<Vec<KnownTenant>, sqlx::Error> {
    let rows = sqlx::query!("select tenant_id, slug, active from alert.directory_tenants order by tenant_id")
        .fetch_all(pool)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| KnownTenant { tenant: Tenant { id: row.tenant_id.into(), slug: row.slug }, active: row.active })
        .collect())
}

/// Keeps a team.
///
/// # Errors
/// Fails when the database is away.
pub async fn keep_team(
    tx: &mut Transaction,
    tenant: TenantId,
    team: TeamId,
    revision: i64,
    active: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into alert.directory_teams as t (tenant_id, id, revision, active) values ($1, $2, $3, $4)
         on conflict (tenant_id, id) do update set revision = $3, active = $4 where t.revision < $3",
        tenant.0,
        team.0,
        revision,
        active
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Whether a team takes part, if it is known.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_team(tx: &mut Transaction, tenant: TenantId, team: TeamId) -> Result<Option<bool>, sqlx::Error> {
    sqlx::query_scalar!("select active from alert.directory_teams where tenant_id = $1 and id = $2", tenant.0, team.0)
        .fetch_optional(tx.connection())
        .await
}

/// Keeps a service.
///
/// # Errors
/// Fails when the database is away.
pub async fn keep_service(
    tx: &mut Transaction,
    tenant: TenantId,
    service: &Catalogued<ServiceId>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into alert.catalog_services as s (tenant_id, id, revision, name, team_id, impact, retired)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (tenant_id, id) do update set revision = $3, team_id = $5, impact = $6, retired = $7 where s.revision < $3",
        tenant.0,
        service.facts.id.0,
        service.revision,
        service.name,
        service.facts.team_id.map(|team| team.0),
        service.facts.impact.map(Impact::level),
        service.retired
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Whether a service is in use, if it is known.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_service(tx: &mut Transaction, tenant: TenantId, id: ServiceId) -> Result<Option<bool>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select not retired as "in_use!" from alert.catalog_services where tenant_id = $1 and id = $2"#,
        tenant.0,
        id.0
    )
    .fetch_optional(tx.connection())
    .await
}

/// Keeps a configuration item.
///
/// # Errors
/// Fails when the database is away.
pub async fn keep_item(tx: &mut Transaction, tenant: TenantId, item: &Catalogued<CiId>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into alert.catalog_configuration_items as c (tenant_id, id, revision, name, team_id, service_id, retired)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (tenant_id, id) do update set revision = $3, team_id = $5, service_id = $6, retired = $7 where c.revision < $3",
        tenant.0,
        item.facts.id.0,
        item.revision,
        item.name,
        item.facts.team_id.map(|team| team.0),
        item.facts.service_id.map(|service| service.0),
        item.retired
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Loads what is in use of a tenant's catalog: items and services by these names, services by
/// these ids and of these items.
///
/// # Errors
/// Fails when the database is away.
pub async fn catalog(
    tx: &mut Transaction,
    tenant: TenantId,
    names: &[String],
    ids: &[Uuid],
) -> Result<Catalog, sqlx::Error> {
    let mut catalog = Catalog::default();
    let items = sqlx::query!(
        "select id, name, team_id, service_id from alert.catalog_configuration_items
         where tenant_id = $1 and name = any ($2) and not retired",
        tenant.0,
        names
    )
    .fetch_all(tx.connection())
    .await?;
    let mut ids = ids.to_vec();
    for row in items {
        ids.extend(row.service_id);
        let facts = ServiceFacts {
            id: CiId(row.id),
            service_id: row.service_id.map(Into::into),
            team_id: row.team_id.map(Into::into),
            impact: None,
        };
        catalog.items_by_name.insert(row.name, facts);
    }
    let services = sqlx::query!(
        "select id, name, team_id, impact from alert.catalog_services
         where tenant_id = $1 and (name = any ($2) or id = any ($3)) and not retired",
        tenant.0,
        names,
        &ids
    )
    .fetch_all(tx.connection())
    .await?;
    for row in services {
        let facts = ServiceFacts {
            id: ServiceId(row.id),
            service_id: Some(ServiceId(row.id)),
            team_id: row.team_id.map(Into::into),
            impact: row.impact.and_then(Impact::of),
        };
        catalog.services.insert(facts.id, facts);
        catalog.services_by_name.insert(row.name, facts);
    }
    Ok(catalog)
}

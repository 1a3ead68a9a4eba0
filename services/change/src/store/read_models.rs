//! What this service keeps of others: written only where the owner's revision is newer.

use kit::{db::Transaction, id::TenantId};
use uuid::Uuid;

kit::words!(
    /// What a change may name.
    Noun {
        /// A service of the catalog.
        Service = "service",
        /// A configuration item of the catalog.
        ConfigurationItem = "configuration item",
        /// A team of the directory.
        Team = "team",
    }
);

impl Noun {
    /// The service that owns it.
    #[must_use]
    pub const fn owner(self) -> &'static str {
        match self {
            Self::Service | Self::ConfigurationItem => "catalog",
            Self::Team => "directory",
        }
    }
}

/// Something of another service that a change may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// What it is.
    pub noun: Noun,
    /// Its id.
    pub id: Uuid,
    /// The owner's revision.
    pub revision: i64,
    /// Whether it takes part: not retired.
    pub active: bool,
}

/// Keeps it.
///
/// # Errors
/// Fails when the database is away.
pub async fn keep(tx: &mut Transaction, tenant: TenantId, known: &Known) -> Result<(), sqlx::Error> {
    let (id, revision, active) = (known.id, known.revision, known.active);
    let query = match known.noun {
        Noun::Service => sqlx::query!(
            "insert into change.catalog_services as k (tenant_id, id, revision, active) values ($1, $2, $3, $4)
             on conflict (tenant_id, id) do update set revision = $3, active = $4 where k.revision < $3",
            tenant.0,
            id,
            revision,
            active
        ),
        Noun::ConfigurationItem => sqlx::query!(
            "insert into change.catalog_configuration_items as k (tenant_id, id, revision, active) values ($1, $2, $3, $4)
             on conflict (tenant_id, id) do update set revision = $3, active = $4 where k.revision < $3",
            tenant.0,
            id,
            revision,
            active
        ),
        Noun::Team => sqlx::query!(
            "insert into change.directory_teams as k (tenant_id, id, revision, active) values ($1, $2, $3, $4)
             on conflict (tenant_id, id) do update set revision = $3, active = $4 where k.revision < $3",
            tenant.0,
            id,
            revision,
            active
        ),
    };
    query.execute(tx.connection()).await?;
    Ok(())
}

/// Which of these are known, and whether they take part.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(
    tx: &mut Transaction,
    tenant: TenantId,
    noun: Noun,
    ids: &[Uuid],
) -> Result<Vec<(Uuid, bool)>, sqlx::Error> {
    struct Row {
        id: Uuid,
        active: bool,
    }
    let rows = match noun {
        Noun::Service => {
            sqlx::query_as!(
                Row,
                "select id, active from change.catalog_services where tenant_id = $1 and id = any ($2)",
                tenant.0,
                ids
            )
            .fetch_all(tx.connection())
            .await?
        }
        Noun::ConfigurationItem => {
            sqlx::query_as!(
                Row,
                "select id, active from change.catalog_configuration_items where tenant_id = $1 and id = any ($2)",
                tenant.0,
                ids
            )
            .fetch_all(tx.connection())
            .await?
        }
        Noun::Team => {
            sqlx::query_as!(
                Row,
                "select id, active from change.directory_teams where tenant_id = $1 and id = any ($2)",
                tenant.0,
                ids
            )
            .fetch_all(tx.connection())
            .await?
        }
    };
    Ok(rows.into_iter().map(|row| (row.id, row.active)).collect())
}

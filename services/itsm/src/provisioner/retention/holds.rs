//! Legal holds: what retention leaves alone, of a whole tenant or of one record, until they are
//! lifted. The operator places and lifts them; both are kept for ever, with who and why.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::provisioner::partitions::Kept;

/// Whoever prunes and whoever places a hold take it, each in its own transaction.
const LOCK: &str = "select pg_advisory_xact_lock(hashtext('itsm.retention'), 0)";

/// What is held.
#[derive(Debug, Default, Clone)]
pub struct Holds {
    placed: BTreeSet<(Uuid, Option<Uuid>)>,
    /// Whose everything is held.
    pub tenants: Vec<Uuid>,
    /// Which records are held, with those of other services that belong to them.
    pub records: Vec<Uuid>,
}

impl Holds {
    /// Reads the holds, and asks each service what they hold besides.
    pub async fn load(pool: &PgPool, kept: &[Kept]) -> anyhow::Result<Self> {
        let mut connection = pool.acquire().await?;
        let placed = placed(&mut connection).await?;
        let tenants = placed.iter().filter(|(_, record)| record.is_none()).map(|(tenant, _)| *tenant).collect();
        let named: Vec<Uuid> = placed.iter().filter_map(|(_, record)| *record).collect();
        let mut records = named.clone();
        for (schema, says) in kept {
            let (Some(query), false) = (says.held_too, named.is_empty()) else { continue };
            let more = sqlx::query_scalar(AssertSqlSafe(query)).bind(&named).fetch_all(&mut *connection).await;
            records.extend::<Vec<Uuid>>(more.with_context(|| format!("cannot ask {schema} what is held besides"))?);
        }
        Ok(Self { placed, tenants, records })
    }

    /// Keeps holds from being placed until the transaction ends, and makes sure that none was.
    pub async fn still_stand(&self, connection: &mut PgConnection) -> anyhow::Result<()> {
        sqlx::query(LOCK).execute(&mut *connection).await?;
        if placed(connection).await? != self.placed {
            bail!("a hold was placed or lifted meanwhile");
        }
        Ok(())
    }
}

async fn placed(connection: &mut PgConnection) -> Result<BTreeSet<(Uuid, Option<Uuid>)>, sqlx::Error> {
    let rows = sqlx::query_as("select tenant_id, record_id from directory.hold where lifted_at is null");
    Ok(rows.fetch_all(connection).await?.into_iter().collect())
}

/// A hold, as it is listed.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Hold {
    /// The id.
    pub id: Uuid,
    /// The tenant's slug.
    pub tenant: String,
    /// The record; none means everything of the tenant.
    pub record_id: Option<Uuid>,
    /// Who placed it.
    pub placed_by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub placed_at: DateTime<Utc>,
    /// Who lifted it.
    pub lifted_by: Option<String>,
    /// Why.
    pub lift_reason: Option<String>,
    /// When.
    pub lifted_at: Option<DateTime<Utc>>,
}

/// Places a hold on a tenant, or on one record of it. When it returns, nothing held is pruned any
/// more. Returns its id.
///
/// # Errors
/// There is no such tenant or record, or it is held already.
pub async fn place(
    connection: &mut PgConnection,
    kept: &[Kept],
    tenant: &str,
    record: Option<&str>,
    (by, why): (&str, &str),
    now: DateTime<Utc>,
) -> anyhow::Result<Uuid> {
    if by.trim().is_empty() || why.trim().is_empty() {
        bail!("a hold says who placed it and why");
    }
    let tenant_id = sqlx::query_scalar("select id from directory.tenants where slug = $1").bind(tenant);
    let tenant_id: Option<Uuid> = tenant_id.fetch_optional(&mut *connection).await?;
    let tenant_id = tenant_id.with_context(|| format!("there is no tenant `{tenant}`"))?;
    let record_id = match record {
        Some(record) => Some(find(connection, kept, tenant_id, record).await?),
        None => None,
    };
    let id = kit::id::draw();
    let mut tx = connection.begin().await?;
    sqlx::query(LOCK).execute(&mut *tx).await?;
    let done = sqlx::query(
        "insert into directory.hold (id, tenant_id, record_id, placed_by, reason, placed_at)
         values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
    );
    let done = done.bind(id).bind(tenant_id).bind(record_id).bind(by).bind(why).bind(now).execute(&mut *tx).await?;
    if done.rows_affected() == 0 {
        bail!("{} is held already; see `itsm hold list`", record.unwrap_or(tenant));
    }
    tx.commit().await?;
    Ok(id)
}

/// The record of this id or number, which must be there: a hold on what is gone holds nothing.
async fn find(connection: &mut PgConnection, kept: &[Kept], tenant: Uuid, record: &str) -> anyhow::Result<Uuid> {
    let id = record.parse::<Uuid>().ok();
    for (schema, says) in kept {
        for records in says.records {
            let numbered: bool = sqlx::query_scalar(
                "select exists (select from pg_attribute where attrelid = to_regclass($1) and attname = 'number')",
            )
            .bind(records.table)
            .fetch_one(&mut *connection)
            .await?;
            let key = if numbered { "(id = $2 or number = $3)" } else { "(id = $2 and $3::text is not null)" };
            let query = format!("select id from {} where tenant_id = $1 and {key}", records.table);
            let found = sqlx::query_scalar(AssertSqlSafe(query)).bind(tenant).bind(id).bind(record);
            if let Some(found) = found.fetch_optional(&mut *connection).await? {
                return Ok(found);
            }
        }
        // Its record is gone, its history is not yet.
        let query = format!("select record_id from {schema}.pruned where tenant_id = $1 and record_id = $2");
        let found = sqlx::query_scalar(AssertSqlSafe(query)).bind(tenant).bind(id);
        if let Some(found) = found.fetch_optional(&mut *connection).await? {
            return Ok(found);
        }
    }
    bail!("the tenant has no record `{record}`: give an id, or a number such as INC0000042")
}

/// Lifts a hold.
///
/// # Errors
/// There is none of this id.
pub async fn lift(
    connection: &mut PgConnection,
    id: Uuid,
    (by, why): (&str, &str),
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    if by.trim().is_empty() || why.trim().is_empty() {
        bail!("lifting a hold says who lifts it and why");
    }
    let done = sqlx::query(
        "update directory.hold set lifted_by = $2, lift_reason = $3, lifted_at = $4 where id = $1 and lifted_at is null",
    );
    let done = done.bind(id).bind(by).bind(why).bind(now).execute(connection).await?;
    if done.rows_affected() == 0 {
        bail!("nothing is held by {id}; see `itsm hold list`");
    }
    Ok(())
}

/// The holds, oldest first; with `all`, those that were lifted too.
///
/// # Errors
/// Fails when the database is away.
pub async fn list(connection: &mut PgConnection, all: bool) -> Result<Vec<Hold>, sqlx::Error> {
    let rows = sqlx::query_as(
        "select h.id, t.slug as tenant, h.record_id, h.placed_by, h.reason, h.placed_at, h.lifted_by, h.lift_reason, h.lifted_at
         from directory.hold h join directory.tenants t on t.id = h.tenant_id
         where $1 or h.lifted_at is null order by h.id",
    );
    rows.bind(all).fetch_all(connection).await
}

//! The numbered order of a service's events, as readers see it: `Feed` and `Position` for the other
//! services, and the head that `Watch` waits on. Read by position, never by a sequence: a cursor
//! over a sequence skips rows that commit late.

use std::time::Duration;

use proto::common::v1::{FeedEntry, FeedRequest, FeedResponse, PositionRequest, PositionResponse, SnapshotEntry};
use sqlx::{AssertSqlSafe, PgPool, Row};
use uuid::Uuid;

use crate::{clock, journal, problem::Problem};

/// How long `Position` waits for what is being done.
const SETTLES_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Where a feed begins and ends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Which life of the feed this is.
    pub incarnation: Uuid,
    /// The lowest position kept; 1 when nothing was pruned.
    pub first: i64,
    /// The highest position numbered.
    pub head: i64,
}

/// Asks where the feed begins and ends.
///
/// # Errors
/// Unavailable until a relay has run for the first time.
pub async fn extent(pool: &PgPool, schema: &'static str) -> Result<Extent, Problem> {
    let statement = format!(
        "select l.incarnation, (select min(position) from {schema}.feed) as first,
                greatest((select max(position) from {schema}.feed), l.position) as head
         from {schema}.lease l where l.name = 'relay'"
    );
    let row = sqlx::query(AssertSqlSafe(statement))
        .fetch_optional(pool)
        .await?
        .ok_or(Problem::Unavailable("the relay", None))?;
    let head: i64 = row.try_get("head")?;
    Ok(Extent {
        incarnation: row.try_get("incarnation")?,
        first: row.try_get::<Option<i64>, _>("first")?.unwrap_or(head + 1),
        head,
    })
}

/// The events after a position, in order, of all tenants.
///
/// # Errors
/// Fails when the database is away.
pub async fn page(pool: &PgPool, schema: &'static str, after: i64, limit: i64) -> Result<Vec<FeedEntry>, sqlx::Error> {
    let statement = format!(
        "select f.position, {} from {schema}.feed f join {schema}.journal j on j.record_id = f.record_id and j.revision = f.revision
         where f.position > $1 order by f.position limit $2",
        journal::COLUMNS
    );
    let rows = sqlx::query(AssertSqlSafe(statement)).bind(after).bind(limit).fetch_all(pool).await?;
    rows.iter().map(|row| journal::read(row, row.try_get("position")?)).collect()
}

/// Answers `Internal.Feed`. A page ends early rather than grow past two megabytes.
///
/// # Errors
/// Invalid limits, or the database is away.
pub async fn answer(pool: &PgPool, schema: &'static str, request: &FeedRequest) -> Result<FeedResponse, Problem> {
    let limit = i64::from(request.limit);
    if !(1..=1_000).contains(&limit) {
        return Err(Problem::invalid("limit", "must be 1 to 1,000"));
    }
    let extent = extent(pool, schema).await?;
    let mut entries = page(pool, schema, request.after_position, limit).await?;
    let mut bytes = 0;
    entries.retain(|entry| {
        let fits = bytes == 0 || bytes + entry.body.len() <= 2 * 1024 * 1024;
        bytes += entry.body.len();
        fits
    });
    Ok(FeedResponse {
        incarnation: extent.incarnation.to_string(),
        head_position: extent.head,
        first_position: extent.first,
        entries,
    })
}

/// The tenants that have records here, for a snapshot.
///
/// # Errors
/// Fails when the database is away.
pub async fn tenants(pool: &PgPool, schema: &'static str) -> Result<Vec<SnapshotEntry>, sqlx::Error> {
    // A loose index scan: one step a tenant, however many events there are. Whose events the feed no
    // longer keeps stands beside it.
    let statement = format!(
        "with recursive t as (
            (select tenant_id from {schema}.feed order by tenant_id limit 1)
            union all
            select (select f.tenant_id from {schema}.feed f where f.tenant_id > t.tenant_id order by f.tenant_id limit 1) from t where t.tenant_id is not null)
         select t.tenant_id, (select j.tenant from {schema}.feed f join {schema}.journal j on j.record_id = f.record_id and j.revision = f.revision
                              where f.tenant_id = t.tenant_id limit 1) as tenant
         from t where t.tenant_id is not null
         union select tenant_id, tenant from {schema}.past_tenant"
    );
    let rows = sqlx::query(AssertSqlSafe(statement)).fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            Ok(SnapshotEntry {
                tenant_id: row.try_get::<Uuid, _>("tenant_id")?.to_string(),
                tenant: row.try_get("tenant")?,
                ..SnapshotEntry::default()
            })
        })
        .collect()
}

/// Answers `Internal.Position`. A settled position covers all that was committed, and all that was
/// being done, when it was asked for: whoever has read up to it knows of everything before.
///
/// # Errors
/// As [`extent`]; a settled one also while something stays unfinished, or not numbered.
pub async fn position(
    pool: &PgPool,
    schema: &'static str,
    request: &PositionRequest,
) -> Result<PositionResponse, Problem> {
    if request.settled {
        settle(pool, schema).await?;
    }
    let extent = extent(pool, schema).await?;
    Ok(PositionResponse { incarnation: extent.incarnation.to_string(), head_position: extent.head })
}

async fn settle(pool: &PgPool, schema: &'static str) -> Result<(), Problem> {
    let numbered = async {
        let begun: i64 =
            sqlx::query_scalar("select pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetch_one(pool).await?;
        let over = "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= $1";
        until(pool, over, begun).await?;
        let last = format!("select coalesce(max(seq), 0) from {schema}.outbox");
        let last: i64 = sqlx::query_scalar(AssertSqlSafe(last)).fetch_one(pool).await?;
        until(pool, &format!("select not exists (select from {schema}.outbox where seq <= $1)"), last).await
    };
    let late = || Problem::Unavailable("a position that covers everything", None);
    tokio::time::timeout(SETTLES_WITHIN, numbered).await.map_err(|_| late())?.map_err(Problem::from)
}

/// Asks until the answer is yes.
async fn until(pool: &PgPool, question: &str, about: i64) -> Result<(), sqlx::Error> {
    while !sqlx::query_scalar::<_, bool>(AssertSqlSafe(question)).bind(about).fetch_one(pool).await? {
        clock::pause(LOOK_EVERY).await;
    }
    Ok(())
}

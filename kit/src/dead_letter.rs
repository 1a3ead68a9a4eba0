//! Events that an owner's feed really holds and that could not be applied here: kept with bytes
//! and reason, later events of the same record filed behind them, until a person replays them.

use proto::common::v1::FeedEntry;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use crate::{consumer::Delivered, db::Transaction, journal, problem::Problem};

/// Sets an event aside, in the transaction that moves the consumer past it.
///
/// # Errors
/// Fails when the database is away.
pub async fn file(
    tx: &mut Transaction,
    schema: &'static str,
    event: &Delivered,
    reason: &str,
) -> Result<(), sqlx::Error> {
    let statement = format!(
        "insert into {schema}.dead_letter (source, position, tenant_id, tenant, record_id, revision, event_id, type, body, event_at, trace_parent, reason, at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, clock_timestamp()) on conflict do nothing"
    );
    sqlx::query(AssertSqlSafe(statement))
        .bind(event.source)
        .bind(event.position)
        .bind(event.tenant.id.0)
        .bind(&event.tenant.slug)
        .bind(event.record_id)
        .bind(event.revision)
        .bind(event.event_id)
        .bind(&event.kind)
        .bind(event.body.as_ref())
        .bind(event.at)
        .bind(&event.trace_parent)
        .bind(reason.chars().take(2_000).collect::<String>())
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Which of these records have events set aside, so that later ones go behind them.
///
/// # Errors
/// Fails when the database is away.
pub async fn parked(
    tx: &mut Transaction,
    schema: &'static str,
    source: &str,
    records: &[Uuid],
) -> Result<Vec<Uuid>, sqlx::Error> {
    let statement =
        format!("select distinct record_id from {schema}.dead_letter where source = $1 and record_id = any ($2)");
    sqlx::query_scalar(AssertSqlSafe(statement)).bind(source).bind(records).fetch_all(tx.connection()).await
}

/// What a person asked to apply again, in order, with its position.
///
/// # Errors
/// Fails when the database is away.
pub async fn asked(
    pool: &sqlx::PgPool,
    schema: &'static str,
    source: &str,
) -> Result<Vec<(FeedEntry, i64)>, sqlx::Error> {
    let statement = format!(
        "select j.position, j.tenant_id, j.tenant, j.record_id, j.revision, j.event_id, j.type, j.body, j.event_at as at, j.trace_parent,
                null::text as request_id
         from {schema}.dead_letter j where j.source = $1 and j.replay order by j.position limit 100"
    );
    let rows = sqlx::query(AssertSqlSafe(statement)).bind(source).fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            let position = row.try_get("position")?;
            Ok((journal::read(row, position)?, position))
        })
        .collect()
}

/// Says that a record's events cannot be applied after all.
///
/// # Errors
/// Fails when the database is away.
pub async fn refuse(
    pool: &sqlx::PgPool,
    schema: &'static str,
    source: &str,
    record: Uuid,
    reason: &str,
) -> Result<(), sqlx::Error> {
    let statement =
        format!("update {schema}.dead_letter set replay = false, reason = $3 where source = $1 and record_id = $2");
    let reason: String = reason.chars().take(2_000).collect();
    sqlx::query(AssertSqlSafe(statement)).bind(source).bind(record).bind(reason).execute(pool).await?;
    Ok(())
}

/// Takes one out, in the transaction that applies it.
///
/// # Errors
/// Not found when it is no longer there.
pub async fn remove(tx: &mut Transaction, schema: &'static str, source: &str, position: i64) -> Result<(), Problem> {
    let statement = format!("delete from {schema}.dead_letter where source = $1 and position = $2");
    let done = sqlx::query(AssertSqlSafe(statement)).bind(source).bind(position).execute(tx.connection()).await?;
    if done.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Problem::not_found("dead letter", format!("{source} {position}")))
    }
}

/// How many are set aside.
///
/// # Errors
/// Fails when the database is away.
pub async fn count(pool: &sqlx::PgPool, schema: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {schema}.dead_letter"))).fetch_one(pool).await
}

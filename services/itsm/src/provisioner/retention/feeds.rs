//! Feeds: a partition goes when its newest event is past the period and everybody has read it.
//!
//! A million events are years where little happens, and journals wait for their feed. So a partition
//! whose first quarter is past is rewritten without it. The newest event always stays: positions
//! count on from it.

use anyhow::Context;
use chrono::{DateTime, Utc};
use kit::clock::pause;
use sqlx::AssertSqlSafe;

use super::{
    BETWEEN_TRIES, Round, TRIES, gives_way,
    swap::{Bounds, Swap, partitions},
};

/// A feed's ends.
struct Reach {
    /// The last position numbered.
    head: i64,
    /// Up to where everybody who follows has read it, the stream's copy included.
    read: i64,
}

impl Round<'_> {
    /// Drops the feed's partitions that are past, and rewrites the first that is so in part.
    pub(super) async fn feed(&mut self, schema: &str) -> anyhow::Result<()> {
        let Some(reach) = self.reach(schema).await.context("how far the feed was read")? else { return Ok(()) };
        let mut connection = self.pool.acquire().await?;
        let mut found: Vec<(i64, i64, Bounds)> = partitions(&mut connection, schema, "feed")
            .await?
            .into_iter()
            .filter_map(|bounds| Some((bounds.from.parse().ok()?, bounds.to.parse().ok()?, bounds)))
            .collect();
        drop(connection);
        found.sort_by_key(|(from, _, _)| *from);
        for (_, to, bounds) in found {
            if self.stop.is_cancelled() {
                break;
            }
            let first_kept = self.first_kept(schema, &bounds, &reach).await?;
            let swap = Swap { schema, parent: "feed", column: "position", old: &bounds };
            // One that still is to be filled, or part of which is needed: later ones are newer.
            if to > reach.head || first_kept.is_some() {
                self.shorten(&swap, first_kept.unwrap_or(reach.head).min(reach.head)).await?;
                break;
            }
            self.drop_feed(&swap).await?;
        }
        Ok(())
    }

    /// None where there is no feed yet.
    async fn reach(&mut self, schema: &str) -> anyhow::Result<Option<Reach>> {
        let query = format!(
            "select (select max(position) from {schema}.feed), (select position from {schema}.lease where name = 'relay')"
        );
        let (head, relay): (Option<i64>, Option<i64>) =
            sqlx::query_as(AssertSqlSafe(query)).fetch_one(self.pool).await?;
        let (Some(head), Some(relay)) = (head, relay) else { return Ok(None) };
        let mut read = relay.min(head);
        for (follower, _) in self.kept {
            let query = format!("select position from {follower}.lease where name = 'consumer:' || $1");
            let position: Option<i64> =
                sqlx::query_scalar(AssertSqlSafe(query)).bind(schema).fetch_optional(self.pool).await?;
            read = read.min(position.unwrap_or(read));
        }
        Ok(Some(Reach { head, read }))
    }

    /// The first position of a partition that is still needed: within the period, or not yet read
    /// and within the longest time that a feed waits. None when none is.
    async fn first_kept(&mut self, schema: &str, bounds: &Bounds, reach: &Reach) -> anyhow::Result<Option<i64>> {
        let query = format!(
            "select position from {schema}.{} where at >= $1 or (position > $2 and at >= $3) order by position limit 1",
            bounds.name
        );
        let within: DateTime<Utc> = self.now - self.retention.feeds.delta();
        let at_most: DateTime<Utc> = self.now - self.retention.feeds_at_most.delta();
        let first = sqlx::query_scalar(AssertSqlSafe(query)).bind(within).bind(reach.read).bind(at_most);
        let first: Option<i64> = first.fetch_optional(self.pool).await?;
        if let Some(first) = first.filter(|first| *first > reach.read) {
            let what = format!("{schema} waits");
            if !self.seen(&what, &first.to_string()) {
                tracing::warn!(schema, position = first, "a feed waits for who has not read it");
                self.look(what, first.to_string());
            }
        }
        Ok(first)
    }

    /// Drops a whole partition; whose tenants' events it had stays known, because a snapshot asks.
    async fn drop_feed(&mut self, swap: &Swap<'_>) -> anyhow::Result<()> {
        self.remember_tenants(swap, i64::MAX).await?;
        for left in (0..TRIES).rev() {
            let attempt = async {
                let mut tx = self.begin(swap.schema).await?;
                swap.lock(&mut tx).await?;
                swap.drop(&mut tx).await?;
                anyhow::Ok(tx.commit().await?)
            };
            match attempt.await {
                Err(error) if left > 0 && gives_way(&error) => pause(BETWEEN_TRIES).await,
                Err(error) => return Err(error.context(swap.old())),
                Ok(()) => break,
            }
        }
        self.report.dropped.push(swap.old());
        Ok(())
    }

    /// Writes down the tenants with events before a position.
    async fn remember_tenants(&self, swap: &Swap<'_>, before: i64) -> anyhow::Result<()> {
        let schema = swap.schema;
        let statement = format!(
            "insert into {schema}.past_tenant (tenant_id, tenant)
             select t.tenant_id, (select j.tenant from {old} f
                join {schema}.journal j on j.record_id = f.record_id and j.revision = f.revision
                where f.tenant_id = t.tenant_id limit 1)
             from (select distinct tenant_id from {old} where position < $1) t on conflict do nothing",
            old = swap.old()
        );
        let mut tx = self.begin(schema).await?;
        sqlx::query(AssertSqlSafe(statement)).bind(before).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    /// Rewrites a partition from a position on, when that gives back a quarter of it.
    async fn shorten(&mut self, swap: &Swap<'_>, from: i64) -> anyhow::Result<()> {
        // Positions are dense.
        let query = format!("select min(position), max(position) from {}", swap.old());
        let (first, last): (Option<i64>, Option<i64>) =
            sqlx::query_as(AssertSqlSafe(query)).fetch_one(self.pool).await?;
        let (Some(first), Some(last)) = (first, last) else { return Ok(()) };
        if from <= first || (from - first) * 4 < last - first + 1 {
            return Ok(());
        }
        self.remember_tenants(swap, from).await?;
        // Numbers only rise, so what is numbered while this is copied stands after it.
        let mut tx = self.begin(swap.schema).await?;
        swap.make(&mut tx).await?;
        let copy = format!("insert into {} select * from {} where position >= $1", swap.next(), swap.old());
        sqlx::query(AssertSqlSafe(copy.as_str())).bind(from).execute(&mut *tx).await?;
        let query = format!("select coalesce(max(position), 0) + 1 from {}", swap.next());
        let next: i64 = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut *tx).await?;
        tx.commit().await?;
        for left in (0..TRIES).rev() {
            let attempt = async {
                let mut tx = self.begin(swap.schema).await?;
                swap.lock(&mut tx).await?;
                sqlx::query(AssertSqlSafe(copy.as_str())).bind(next.max(from)).execute(&mut *tx).await?;
                swap.take_place(&mut tx).await?;
                anyhow::Ok(tx.commit().await?)
            };
            match attempt.await {
                Err(error) if left > 0 && gives_way(&error) => pause(BETWEEN_TRIES).await,
                Err(error) => return Err(error.context(swap.old())),
                Ok(()) => break,
            }
        }
        self.report.rewritten.push(swap.old());
        Ok(())
    }
}

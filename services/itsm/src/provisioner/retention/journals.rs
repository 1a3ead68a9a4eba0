//! Journals: the history of records that are gone goes with its month. A month of which nothing
//! stays is dropped; of another, what stays moves to a new table that takes the old one's place.
//!
//! Nobody waits for the copying. It begins at a known position of the feed; every journal row has an
//! outbox row of the same statement, so what was written while it was copied is named by the outbox
//! or by the feed after that position, and is taken over under the lock: a few rows, found by key.

use anyhow::Context;
use chrono::{Datelike as _, Months, NaiveDate, TimeDelta};
use kit::clock::pause;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::{
    BETWEEN_TRIES, Round, TRIES, gives_way,
    slices::is_empty,
    swap::{Bounds, Swap, partitions},
};
use crate::provisioner::partitions::first_id;

/// The copying takes a step at a time, so that no snapshot lives long.
const STEPS: u128 = 64;
/// A feed this short is searched for what it names; of a longer one the age is enough.
const SHORT_FEED: i64 = 200_000;
const PAGE: i64 = 2_000;

/// Which history may go.
struct Going {
    /// Whether the feed no longer names a record `p` that was pruned, by the instant `$1`.
    of_pruned: String,
    /// What was pruned before it is not named by the feed.
    before: chrono::DateTime<chrono::Utc>,
}

impl Round<'_> {
    /// Drops or rewrites the months whose records are gone.
    pub(super) async fn journal(&mut self, schema: &str) -> anyhow::Result<()> {
        let Some(going) = self.going(schema).await? else { return Ok(()) };
        let mut connection = self.pool.acquire().await?;
        let found = partitions(&mut connection, schema, "journal").await?;
        drop(connection);
        // A record made just before the month's end may still be on its way.
        let over = first_id(self.now - TimeDelta::days(1)).to_string();
        for bounds in found.iter().filter(|bounds| bounds.to <= over) {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let swap = Swap { schema, parent: "journal", column: "record_id", old: bounds };
            self.month(&swap, &going).await.with_context(|| swap.old())?;
        }
        if let Some(first) = found.first() {
            self.forget(schema, &Uuid::nil().to_string(), &first.from).await?;
        }
        Ok(())
    }

    /// None where nothing was ever said.
    async fn going(&self, schema: &str) -> anyhow::Result<Option<Going>> {
        let query = format!(
            "select position, at, (select max(position) from {schema}.feed) from {schema}.feed order by position limit 1"
        );
        let first = sqlx::query_as(AssertSqlSafe(query)).fetch_optional(self.pool).await?;
        let Some((first, at, head)): Option<(i64, chrono::DateTime<chrono::Utc>, i64)> = first else { return Ok(None) };
        // The feed is dated by another clock, which is held to the same time.
        let before = at - TimeDelta::hours(1);
        let of_pruned = if head - first < SHORT_FEED {
            format!(
                "$1::timestamptz is not null and not exists (select from {schema}.feed f where f.record_id = p.record_id)"
            )
        } else {
            "p.at < $1".to_owned()
        };
        Ok(Some(Going { of_pruned, before }))
    }

    async fn month(&mut self, swap: &Swap<'_>, going: &Going) -> anyhow::Result<()> {
        let (schema, Bounds { from, to, .. }) = (swap.schema, swap.old);
        let query = format!(
            "select count(*) from {schema}.pruned p where p.record_id >= '{from}' and p.record_id < '{to}' and {}",
            going.of_pruned
        );
        let pruned: i64 = sqlx::query_scalar(AssertSqlSafe(query)).bind(going.before).fetch_one(self.pool).await?;
        let state = format!("{pruned} {:?} {:?}", self.holds.tenants, self.holds.records);
        if pruned == 0 {
            return self.drop_if_empty(swap).await;
        }
        if self.seen(&swap.old(), &state) {
            return Ok(());
        }
        self.shrink(swap, going).await?;
        self.look(swap.old(), state);
        Ok(())
    }

    /// Rewrites a month when that gives back a quarter of it.
    async fn shrink(&mut self, swap: &Swap<'_>, going: &Going) -> anyhow::Result<()> {
        let (schema, Bounds { from, to, .. }) = (swap.schema, swap.old);
        let query = format!(
            "select (select count(*) from {old}), (select count(*) from {old} r where {})",
            goes(schema, going),
            old = swap.old()
        );
        let counts = sqlx::query_as(AssertSqlSafe(query)).bind(going.before);
        let counts = counts.bind(&self.holds.tenants).bind(&self.holds.records);
        let (all, gone): (i64, i64) = counts.fetch_one(self.pool).await?;
        if gone == 0 {
            return self.forget(schema, from, to).await;
        }
        if gone * 4 < all {
            return Ok(());
        }
        self.rewrite(swap, going, gone == all).await?;
        self.forget(schema, from, to).await
    }

    /// A month in which nothing ever happened goes too, unless it would be made again.
    async fn drop_if_empty(&mut self, swap: &Swap<'_>) -> anyhow::Result<()> {
        let this = NaiveDate::from_ymd_opt(self.now.year(), self.now.month(), 1);
        let made_again = this.and_then(|this| this.checked_sub_months(Months::new(1)));
        let made_again = made_again.and_then(|month| month.and_hms_opt(0, 0, 0)).context("there is no such month")?;
        let mut connection = self.pool.acquire().await?;
        if swap.old.to <= first_id(made_again.and_utc()).to_string() && is_empty(&mut connection, &swap.old()).await? {
            drop(connection);
            let head = self.head(swap.schema).await?;
            self.put_in_place(swap, head, true).await?;
        }
        Ok(())
    }

    /// Copies what stays, and puts it in the place of all.
    async fn rewrite(&mut self, swap: &Swap<'_>, going: &Going, nothing_stays: bool) -> anyhow::Result<()> {
        let began_at = self.head(swap.schema).await?;
        let mut tx = self.begin(swap.schema).await?;
        swap.make(&mut tx).await?;
        tx.commit().await?;
        let copy = format!(
            "insert into {} select r.* from {} r where r.record_id >= $4 and r.record_id < $5 and not ({})",
            swap.next(),
            swap.old(),
            goes(swap.schema, going)
        );
        for (from, to) in if nothing_stays { Vec::new() } else { steps(swap.old)? } {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            let mut tx = self.begin(swap.schema).await?;
            let copied = sqlx::query(AssertSqlSafe(copy.as_str()))
                .bind(going.before)
                .bind(&self.holds.tenants)
                .bind(&self.holds.records)
                .bind(from)
                .bind(to)
                .execute(&mut *tx);
            copied.await.context("copying what stays")?;
            tx.commit().await?;
        }
        // Once more without the lock, so that little is left for it.
        let caught_up = self.head(swap.schema).await?;
        let mut tx = self.begin(swap.schema).await?;
        take_over(&mut tx, swap, began_at).await?;
        let analyze = format!("analyze {}", swap.next());
        sqlx::raw_sql(AssertSqlSafe(analyze)).execute(&mut *tx).await?;
        tx.commit().await?;
        self.put_in_place(swap, caught_up, false).await
    }

    /// The last number given in the feed; what is written from now on gets a higher one.
    async fn head(&self, schema: &str) -> Result<i64, sqlx::Error> {
        let query = format!("select coalesce(max(position), 0) from {schema}.feed");
        sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(self.pool).await
    }

    async fn put_in_place(&mut self, swap: &Swap<'_>, after: i64, make: bool) -> anyhow::Result<()> {
        for left in (0..TRIES).rev() {
            match self.try_to_put(swap, after, make).await {
                Err(error) if left > 0 && gives_way(&error) => pause(BETWEEN_TRIES).await,
                Err(error) => return Err(error),
                Ok(true) => {
                    self.report.dropped.push(swap.old());
                    break;
                }
                Ok(false) => {
                    self.report.rewritten.push(swap.old());
                    break;
                }
            }
        }
        Ok(())
    }

    /// The one transaction: what was written since, and the new for the old. True when nothing
    /// stays, and the month is gone.
    async fn try_to_put(&self, swap: &Swap<'_>, after: i64, make: bool) -> anyhow::Result<bool> {
        let mut tx = self.begin(swap.schema).await?;
        if make {
            swap.make(&mut tx).await?;
        }
        swap.lock(&mut tx).await?;
        take_over(&mut tx, swap, after).await?;
        let empty = is_empty(&mut tx, &swap.next()).await?;
        if empty {
            swap.drop(&mut tx).await?;
            sqlx::raw_sql(AssertSqlSafe(format!("drop table {}", swap.next()))).execute(&mut *tx).await?;
        } else {
            swap.take_place(&mut tx).await?;
        }
        tx.commit().await?;
        Ok(empty)
    }

    /// Forgets of a range of records which were pruned, as soon as their history is gone too.
    async fn forget(&mut self, schema: &str, from: &str, to: &str) -> anyhow::Result<()> {
        let statement = format!(
            "with page as (
                select record_id from {schema}.pruned where record_id > $1::uuid and record_id < $2::uuid order by record_id limit {PAGE}),
             done as (
                delete from {schema}.pruned p using page where p.record_id = page.record_id
                    and not exists (select from {schema}.journal j where j.record_id = p.record_id))
             select record_id from page order by record_id desc limit 1"
        );
        let mut after = from.parse::<Uuid>()?;
        let to = to.parse::<Uuid>()?;
        while !self.stop.is_cancelled() {
            let mut tx = self.begin(schema).await?;
            let last = sqlx::query_scalar(AssertSqlSafe(statement.as_str())).bind(after).bind(to);
            let last: Option<Uuid> = last.fetch_optional(&mut *tx).await?;
            tx.commit().await?;
            let Some(last) = last else { break };
            after = last;
        }
        Ok(())
    }
}

/// Whether a journal row `r` goes: `$1` to `$3`. Its record is gone, its feed too, and nobody holds it.
fn goes(schema: &str, going: &Going) -> String {
    format!(
        "exists (select from {schema}.pruned p where p.record_id = r.record_id and {})
         and not r.tenant_id = any ($2) and not r.record_id = any ($3)",
        going.of_pruned
    )
}

/// Copies what was written after a position of the feed was its last. What was copied already stays.
async fn take_over(connection: &mut PgConnection, swap: &Swap<'_>, after: i64) -> anyhow::Result<()> {
    let schema = swap.schema;
    let statement = format!(
        "insert into {new} select j.* from (
            select r.record_id, r.revision from {schema}.feed r where r.position > $1 and {within}
            union select r.record_id, r.revision from {schema}.outbox r where {within}) late
         join {old} j on j.record_id = late.record_id and j.revision = late.revision
         on conflict do nothing",
        new = swap.next(),
        old = swap.old(),
        within = swap.within()
    );
    sqlx::query(AssertSqlSafe(statement)).bind(after).execute(connection).await?;
    Ok(())
}

/// A month in equal steps.
fn steps(bounds: &Bounds) -> anyhow::Result<Vec<(Uuid, Uuid)>> {
    let (from, to) = (bounds.from.parse::<Uuid>()?.as_u128(), bounds.to.parse::<Uuid>()?.as_u128());
    let step = (to.saturating_sub(from) / STEPS).max(1);
    let edge = |number: u128| Uuid::from_u128(if number == STEPS { to } else { from + number * step });
    Ok((0..STEPS).map(|number| (edge(number), edge(number + 1))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_cover_the_month_without_a_gap() {
        let id = |bits: u128| Uuid::from_u128(bits).to_string();
        let bounds = Bounds { name: "x".into(), from: id(7), to: id(1_000_003) };
        let steps = steps(&bounds).unwrap();
        assert_eq!((steps[0].0, steps[63].1), (Uuid::from_u128(7), Uuid::from_u128(1_000_003)));
        assert!(steps.windows(2).all(|pair| pair[0].1 == pair[1].0));
    }
}

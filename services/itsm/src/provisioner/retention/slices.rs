//! Tables whose partitions go by age alone: raw alerts by day, attempts by month.
//!
//! A partition that is past for everybody is dropped. Where some tenant keeps longer, or is held, it
//! is rewritten with their rows alone. Nobody writes into a partition that old, and whoever does all
//! the same waits while its rows are copied.

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use kit::{
    clock::pause,
    retention::{Retention, Slice, Slices},
};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::{
    BETWEEN_TRIES, Round, TRIES, gives_way, periods,
    swap::{Bounds, Swap, partitions},
};

/// For whom a partition is past.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Past {
    /// Whether it is for all but those listed.
    for_all: bool,
    /// Those for whom it is otherwise.
    but: Vec<Uuid>,
}

impl Past {
    fn of(rules: &[periods::Rule], end: DateTime<Utc>) -> Self {
        let for_all = rules.iter().any(|rule| rule.others && end <= rule.before);
        let other = rules.iter().filter(|rule| !rule.others && (end <= rule.before) != for_all);
        Self { for_all, but: other.flat_map(|rule| rule.tenants.clone()).collect() }
    }

    fn of_nobody(&self) -> bool {
        !self.for_all && self.but.is_empty()
    }
}

impl Round<'_> {
    /// Drops or rewrites the partitions that are past.
    pub(super) async fn slices(&mut self, schema: &str, says: &Retention) -> anyhow::Result<()> {
        for slices in says.slices {
            let rules = periods::rules(self.retention, &self.tenants, slices.class, self.now)?;
            let mut connection = self.pool.acquire().await?;
            let found = partitions(&mut connection, schema, slices.table).await?;
            drop(connection);
            for bounds in found {
                if self.stop.is_cancelled() {
                    return Ok(());
                }
                let past = Past::of(&rules, end(slices.by, &bounds)?);
                let state = format!("{past:?} {:?} {:?}", self.holds.tenants, self.holds.records);
                let name = format!("{schema}.{}", bounds.name);
                if !past.of_nobody() && !self.seen(&name, &state) {
                    self.slice(schema, slices, &bounds, &past).await.with_context(|| name.clone())?;
                    self.look(name, state);
                }
            }
        }
        Ok(())
    }

    async fn slice(&mut self, schema: &str, slices: &Slices, old: &Bounds, past: &Past) -> anyhow::Result<()> {
        let column = match slices.by {
            Slice::Month => "delivery_id",
            Slice::Day => "received_at",
        };
        let swap = Swap { schema, parent: slices.table, column, old };
        for left in (0..TRIES).rev() {
            match self.try_slice(&swap, slices, past).await {
                Err(error) if left > 0 && gives_way(&error) => pause(BETWEEN_TRIES).await,
                ended => return ended,
            }
        }
        Ok(())
    }

    /// All in one transaction: what stays is copied while nobody may write there.
    async fn try_slice(&mut self, swap: &Swap<'_>, slices: &Slices, past: &Past) -> anyhow::Result<()> {
        let mut tx = self.begin(swap.schema).await?;
        let share = format!("lock table {} in share mode", swap.old());
        sqlx::raw_sql(AssertSqlSafe(share)).execute(&mut *tx).await?;
        // An empty one that is past for all goes without a look at who stays.
        let nobody_keeps = past.but.is_empty() && self.holds.tenants.is_empty() && self.holds.records.is_empty();
        let empty = past.for_all && (nobody_keeps || is_empty(&mut tx, &swap.old()).await?);
        if !empty && !self.copy_what_stays(&mut tx, swap, slices, past).await? {
            return Ok(());
        }
        let empty = empty || is_empty(&mut tx, &swap.next()).await?;
        swap.lock(&mut tx).await?;
        if empty {
            swap.drop(&mut tx).await?;
            let leave = format!("drop table if exists {}", swap.next());
            sqlx::raw_sql(AssertSqlSafe(leave)).execute(&mut *tx).await?;
        } else {
            swap.take_place(&mut tx).await?;
        }
        tx.commit().await?;
        let done = if empty { &mut self.report.dropped } else { &mut self.report.rewritten };
        done.push(swap.old());
        Ok(())
    }

    /// Fills the new partition; false when everything stays, and there is nothing to do.
    async fn copy_what_stays(
        &self,
        connection: &mut PgConnection,
        swap: &Swap<'_>,
        slices: &Slices,
        past: &Past,
    ) -> anyhow::Result<bool> {
        let goes = format!(
            "coalesce(r.tenant_id = any ($1), false) <> $2 and not coalesce(r.tenant_id = any ($3), false)
             and not ({}) && $4::uuid[]",
            slices.held_by
        );
        let any = format!("select exists (select from {} r where {goes})", swap.old());
        let any = sqlx::query_scalar(AssertSqlSafe(any)).bind(&past.but).bind(past.for_all);
        let any: bool = any.bind(&self.holds.tenants).bind(&self.holds.records).fetch_one(&mut *connection).await?;
        if !any {
            return Ok(false);
        }
        swap.make(&mut *connection).await?;
        let copy = format!("insert into {} select r.* from {} r where not ({goes})", swap.next(), swap.old());
        let copy = sqlx::query(AssertSqlSafe(copy)).bind(&past.but).bind(past.for_all);
        copy.bind(&self.holds.tenants).bind(&self.holds.records).execute(connection).await?;
        Ok(true)
    }
}

/// Whether a table has no row.
pub async fn is_empty(connection: &mut PgConnection, table: &str) -> Result<bool, sqlx::Error> {
    let query = format!("select not exists (select from {table})");
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(connection).await
}

/// The instant at which a partition ends.
fn end(by: Slice, bounds: &Bounds) -> anyhow::Result<DateTime<Utc>> {
    let found = match by {
        Slice::Day => DateTime::parse_from_str(&bounds.to, "%Y-%m-%d %H:%M:%S%#z").ok().map(|at| at.to_utc()),
        Slice::Month => drawn_at(&bounds.to),
    };
    let Some(end) = found else { bail!("{} ends at `{}`, which is no time", bounds.name, bounds.to) };
    Ok(end)
}

/// The instant at which an id was drawn.
pub fn drawn_at(id: &str) -> Option<DateTime<Utc>> {
    let bits = id.parse::<Uuid>().ok()?.as_u128();
    DateTime::from_timestamp_millis(i64::try_from(bits >> 80).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_read_as_postgres_writes_them() {
        let bounds = |to: &str| Bounds { name: "x".into(), from: String::new(), to: to.into() };
        let expected: DateTime<Utc> = "2026-11-01T00:00:00Z".parse().unwrap();
        assert_eq!(end(Slice::Day, &bounds("2026-11-01 00:00:00+00")).unwrap(), expected);
        assert_eq!(end(Slice::Month, &bounds("01a19467-e800-0000-0000-000000000000")).unwrap(), expected);
        assert!(end(Slice::Day, &bounds("infinity")).is_err());
    }

    #[test]
    fn past_is_said_of_all_but_some_or_of_some_alone() {
        let end: DateTime<Utc> = "2026-11-01T00:00:00Z".parse().unwrap();
        let (long, short) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let at = |days| end + chrono::TimeDelta::days(days);
        let rules = |default, of_long, of_short| {
            [
                periods::Rule { before: at(default), tenants: vec![long, short], others: true },
                periods::Rule { before: at(of_long), tenants: vec![long], others: false },
                periods::Rule { before: at(of_short), tenants: vec![short], others: false },
            ]
        };
        assert!(Past::of(&rules(-1, -9, -1), end).of_nobody());
        assert_eq!(Past::of(&rules(-1, -9, 0), end), Past { for_all: false, but: vec![short] });
        assert_eq!(Past::of(&rules(0, -9, 5), end), Past { for_all: true, but: vec![long] });
        assert_eq!(Past::of(&rules(5, 0, 9), end), Past { for_all: true, but: vec![] });
    }
}

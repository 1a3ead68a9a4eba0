//! Taking a partition away, or putting another in its place, in one transaction.
//!
//! The parent is locked last and for an instant: whoever comes meanwhile waits that long, and never
//! longer than our own wait for the lock. What is new was filled before, carries its bounds as a
//! check, so that attaching reads nothing, and like every partition no grants: it is reached
//! through its parent, whose row-level security holds.

use anyhow::Context;
use sqlx::{AssertSqlSafe, PgConnection};

/// A partition and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Its name.
    pub name: String,
    /// The first key in it, as Postgres writes it.
    pub from: String,
    /// The first key after it.
    pub to: String,
}

/// The partitions of a table, without the one for the rest, in order of name.
pub async fn partitions(connection: &mut PgConnection, schema: &str, table: &str) -> anyhow::Result<Vec<Bounds>> {
    let rows = sqlx::query_as(
        "select c.relname::text, pg_get_expr(c.relpartbound, c.oid) from pg_inherits i
         join pg_class c on c.oid = i.inhrelid where i.inhparent = to_regclass($1) order by c.relname",
    );
    let rows: Vec<(String, String)> = rows.bind(format!("{schema}.{table}")).fetch_all(connection).await?;
    let bounds = rows.into_iter().filter_map(|(name, bounds)| {
        let mut quoted = bounds.split('\'').skip(1).step_by(2).map(str::to_owned);
        Some(Bounds { name, from: quoted.next()?, to: quoted.next()? })
    });
    Ok(bounds.collect())
}

/// A partition that shall take the place of another.
#[derive(Debug, Clone)]
pub struct Swap<'a> {
    /// The schema.
    pub schema: &'a str,
    /// The partitioned table.
    pub parent: &'a str,
    /// The column of its key.
    pub column: &'a str,
    /// The partition whose place it takes.
    pub old: &'a Bounds,
}

impl Swap<'_> {
    /// The old one, with its schema.
    pub fn old(&self) -> String {
        format!("{}.{}", self.schema, self.old.name)
    }

    /// The new one, with its schema.
    pub fn next(&self) -> String {
        format!("{}.{}_next", self.schema, self.old.name)
    }

    fn parent(&self) -> String {
        format!("{}.{}", self.schema, self.parent)
    }

    /// Whether a row `r` lies in it.
    pub fn within(&self) -> String {
        let (column, Bounds { from, to, .. }) = (self.column, self.old);
        format!("r.{column} >= '{from}' and r.{column} < '{to}'")
    }

    /// Makes the new one, empty; one that was left behind half full goes.
    pub async fn make(&self, connection: &mut PgConnection) -> anyhow::Result<()> {
        let (new, parent) = (self.next(), self.parent());
        let within = self.within().replace("r.", "");
        let statements = format!(
            "drop table if exists {new}; create table {new} (like {parent} including all);
             alter table {new} add constraint in_bounds check ({within})"
        );
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await.with_context(|| format!("making {new}"))?;
        Ok(())
    }

    /// Takes the lock under which nobody reads or writes any partition.
    pub async fn lock(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let statement = format!("lock table only {} in access exclusive mode", self.parent());
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(drop)
    }

    /// Under the lock: the old one goes for good.
    pub async fn drop(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (old, parent) = (self.old(), self.parent());
        let statements = format!("alter table {parent} detach partition {old}; drop table {old}");
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await.map(drop)
    }

    /// Under the lock: the new one takes the old one's place and name.
    pub async fn take_place(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.drop(&mut *connection).await?;
        let (old, new, parent) = (self.old(), self.next(), self.parent());
        let Bounds { name, from, to } = self.old;
        let statements = format!(
            "alter table {new} rename to {name};
             alter table {parent} attach partition {old} for values from ('{from}') to ('{to}');
             alter table {old} drop constraint in_bounds"
        );
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await.map(drop)
    }
}

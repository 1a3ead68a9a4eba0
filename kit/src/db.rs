//! Transactions that name their tenant and cannot be cut in half.
//!
//! A transaction dropped unfinished closes its connection: sqlx would hand it back open, and later
//! commits on it would be lost. [`uncancelled`] keeps a caller who hangs up from dropping one.

use std::{
    any::{Any, TypeId},
    collections::{BTreeMap, HashMap},
    future::Future,
    ops::{Deref, DerefMut},
    time::Duration,
};

use chrono::{DateTime, Utc};
use sqlx::{
    AssertSqlSafe, PgPool, Postgres, Row,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgConnection, PgPoolOptions},
};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::{
    gather::{Gathered, Gatherer},
    id::{Tenant, TenantId},
    metrics::{self, Backlog},
    problem::Problem,
    trace,
    writes::Writes,
};

/// How many connections a pool has at most.
const CONNECTIONS: u32 = 8;

/// A service's two ways into its schema.
#[derive(Debug, Clone)]
pub struct Database {
    /// The schema, which is the service's name.
    pub schema: &'static str,
    /// Login `<service>`: sees the one tenant that a call names.
    pub calls: PgPool,
    /// Login `<service>_worker`: relay, consumers and sweeps; sees records of the tenants named.
    pub workers: PgPool,
}

impl Database {
    /// Prepares both pools; connections are made when they are needed.
    #[must_use]
    pub fn new(schema: &'static str, calls: PgConnectOptions, workers: PgConnectOptions) -> Self {
        Self { schema, calls: pool(calls, "10000"), workers: pool(workers, "4000") }
    }

    /// Begins a transaction of a call, which sees this tenant alone.
    ///
    /// # Errors
    /// Fails when the database is away.
    pub async fn begin(&self, tenant: TenantId) -> Result<Transaction, sqlx::Error> {
        let statement = format!("begin; select set_config('itsm.tenant', '{tenant}', true)");
        Transaction::begin(self.schema, &self.calls, statement).await
    }

    /// Begins a transaction of a worker, which sees the records of these tenants.
    ///
    /// # Errors
    /// Fails when the database is away.
    pub async fn begin_worker(&self, tenants: impl IntoIterator<Item = TenantId>) -> Result<Transaction, sqlx::Error> {
        Transaction::begin(self.schema, &self.workers, format!("begin; {}", name_tenants(tenants))).await
    }
}

impl Database {
    /// What waits here: to be numbered, to be fired, to be looked at by a person.
    ///
    /// # Errors
    /// Fails when the database is away.
    pub async fn backlog(&self, now: DateTime<Utc>) -> Result<Backlog, sqlx::Error> {
        let statement = format!(
            "select (select count(*) from {0}.outbox) as outbox,
                    (select extract(epoch from $1 - j.at)::float8 from {0}.outbox o
                     join {0}.journal j on j.record_id = o.record_id and j.revision = o.revision order by o.seq limit 1) as age,
                    (select count(*) from {0}.dead_letter) as dead_letters,
                    (select extract(epoch from $1 - min(due_at))::float8 from {0}.timer) as overdue",
            self.schema
        );
        let row = sqlx::query(AssertSqlSafe(statement)).bind(now).fetch_one(&self.workers).await?;
        let count = |name| row.try_get::<i64, _>(name).map(|count| u64::try_from(count).unwrap_or(0));
        let seconds = |name| row.try_get::<Option<f64>, _>(name).map(|seconds| seconds.unwrap_or(0.0).max(0.0));
        Ok(Backlog {
            outbox: count("outbox")?,
            outbox_age_seconds: seconds("age")?,
            dead_letters: count("dead_letters")?,
            timer_overdue_seconds: seconds("overdue")?,
        })
    }

    /// Counts the connections of both pools.
    pub fn count_connections(&self) {
        for (name, pool) in [("calls", &self.calls), ("workers", &self.workers)] {
            let idle = u64::try_from(pool.num_idle()).unwrap_or(0);
            let used = u64::from(pool.size()).saturating_sub(idle);
            metrics::get().pool(self.schema, name, [used, idle, CONNECTIONS.into()]);
        }
    }
}

fn name_tenants(tenants: impl IntoIterator<Item = TenantId>) -> String {
    let mut list: Vec<String> = tenants.into_iter().map(|tenant| tenant.to_string()).collect();
    list.sort_unstable();
    list.dedup();
    format!("select set_config('itsm.tenants', '{}', true)", list.join(","))
}

fn pool(options: PgConnectOptions, idle_in_transaction_ms: &str) -> PgPool {
    let options = options.options([
        ("statement_timeout", "5000"),
        ("lock_timeout", "3000"),
        ("idle_in_transaction_session_timeout", idle_in_transaction_ms),
        ("timezone", "UTC"),
        // A plan that was made when a table was empty is kept until its first analyze, and must not be
        // a scan of it all.
        ("enable_seqscan", "off"),
        // To compile a plan costs more than any of ours takes.
        ("jit", "off"),
    ]);
    PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(Duration::from_secs(3))
        .idle_timeout(Duration::from_secs(120))
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// A transaction that rolls back by closing its connection unless it was committed. What the event
/// path is to write waits in it, and goes out in one statement before the commit.
#[derive(Debug)]
pub struct Transaction {
    connection: Option<PoolConnection<Postgres>>,
    pub(crate) writes: Writes,
    gathered: Gatherer,
    memo: HashMap<TypeId, Box<dyn Any + Send>>,
    #[cfg(mutants)]
    pool: PgPool,
}

impl Transaction {
    async fn begin(schema: &'static str, pool: &PgPool, statement: String) -> Result<Self, sqlx::Error> {
        let mut transaction = Self {
            connection: Some(pool.acquire().await?),
            writes: Writes::new(schema),
            gathered: Gatherer::default(),
            memo: HashMap::new(),
            #[cfg(mutants)]
            pool: pool.clone(),
        };
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(transaction.connection()).await?;
        Ok(transaction)
    }

    /// A second transaction beside this one, for a fault that writes where it must not.
    #[cfg(mutants)]
    pub(crate) async fn another(&mut self, tenant: TenantId) -> Result<Self, sqlx::Error> {
        let statement = format!("begin; select set_config('itsm.tenant', '{tenant}', true)");
        Self::begin(self.writes.schema(), &self.pool, statement).await
    }

    /// Names the tenants whose records this transaction touches from here on.
    ///
    /// # Errors
    /// Fails when the database is away.
    pub async fn name_tenants(&mut self, tenants: impl IntoIterator<Item = TenantId>) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(name_tenants(tenants))).execute(self.connection()).await?;
        Ok(())
    }

    /// What was read once and holds until the end of this transaction; one value of each type. A
    /// batch of events asks the same of the database again and again.
    pub fn memo<T: Default + Send + 'static>(&mut self) -> &mut T {
        let fresh = || Box::new(T::default()) as Box<dyn Any + Send>;
        let kept = self.memo.entry(TypeId::of::<T>()).or_insert_with(fresh);
        #[expect(clippy::expect_used, reason = "the key is the type")]
        kept.downcast_mut().expect("a memo is of its type")
    }

    /// The rows of a kind that wait for the commit, by id.
    pub fn gathered<R: Gathered>(&mut self) -> &mut BTreeMap<Uuid, R> {
        self.gathered.rows()
    }

    /// Writes what waits for the commit; for statements that must meet it.
    ///
    /// # Errors
    /// Fails when the database is away, or as what waited is refused.
    pub async fn flush(&mut self) -> Result<(), sqlx::Error> {
        for rows in self.gathered.take() {
            rows.write(self).await?;
        }
        let writes = self.writes.take();
        writes.write(self).await
    }

    /// Commits.
    ///
    /// # Errors
    /// Fails when the database is away, the outcome is then unknown; or as what waited is refused.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.flush().await?;
        #[cfg(mutants)]
        if crate::planted!("acknowledge_before_commit") {
            tokio::spawn(async move {
                crate::clock::pause(Duration::from_millis(20)).await;
                sqlx::raw_sql("commit").execute(self.connection()).await.map(|_| self.connection.take())
            });
            return Ok(());
        }
        sqlx::raw_sql("commit").execute(self.connection()).await?;
        // Back to the pool, since it is finished.
        self.connection.take();
        Ok(())
    }

    /// Ends as the work ended: committed when it went well, else rolled back. The connection goes
    /// back to the pool either way; only work that was cut off loses it.
    ///
    /// # Errors
    /// As the work, or the database is away.
    pub async fn end<T, E: From<sqlx::Error>>(self, outcome: Result<T, E>) -> Result<T, E> {
        match outcome {
            Ok(done) => {
                self.commit().await?;
                Ok(done)
            }
            Err(refusal) => {
                // The refusal says more than a rollback that failed.
                let _ = self.rollback().await;
                Err(refusal)
            }
        }
    }

    /// Rolls back and keeps the connection.
    ///
    /// # Errors
    /// Fails when the database is away.
    pub async fn rollback(mut self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql("rollback").execute(self.connection()).await?;
        self.connection.take();
        Ok(())
    }
}

#[expect(
    clippy::expect_used,
    reason = "only commit, rollback and drop take the connection, and they consume the transaction"
)]
impl Deref for Transaction {
    type Target = PoolConnection<Postgres>;
    fn deref(&self) -> &Self::Target {
        self.connection.as_ref().expect("a transaction holds its connection until it ends")
    }
}

#[expect(
    clippy::expect_used,
    reason = "only commit, rollback and drop take the connection, and they consume the transaction"
)]
impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.connection.as_mut().expect("a transaction holds its connection until it ends")
    }
}

impl Transaction {
    /// The connection, as sqlx wants it.
    pub fn connection(&mut self) -> &mut PgConnection {
        self
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(connection.detach());
        }
    }
}

/// Whether the database, not the statement, is at fault: away, restarting, locked, out of room, or
/// a conflict that goes away by trying again. Such failures never count against an event.
#[must_use]
pub fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "40", "53", "55", "57", "58", "25P03"].iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

/// Whether a unique or exclusion constraint of this name was hit.
#[must_use]
pub fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.constraint() == Some(constraint))
}

/// Runs database work to its end even when the caller hangs up.
///
/// # Errors
/// Fails as the work does; a panic inside is an internal error.
pub async fn uncancelled<T, E, F>(work: F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<Problem> + Send + 'static,
{
    // What it logs and calls belongs to the caller's request all the same.
    let trace = trace::current();
    let work = async move { trace::under(&trace, work).await };
    match tokio::spawn(work.in_current_span()).await {
        Ok(result) => {
            crate::fail_point!("command.after_commit");
            result
        }
        Err(error) => Err(Problem::Internal(Box::new(error)).into()),
    }
}

/// The tenants of several things, each once.
pub fn tenants_of<'a>(tenants: impl IntoIterator<Item = &'a Tenant>) -> Vec<TenantId> {
    let mut ids: Vec<TenantId> = tenants.into_iter().map(|tenant| tenant.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

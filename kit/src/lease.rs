//! Who is the one relay, or the one consumer of a source, and how far it is. By the database's
//! clock; renewed each second, expires after four. Whatever a holder writes locks its lease row and
//! checks the epoch in the same transaction, so that a zombie writes nothing.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgPool, Row};
use uuid::Uuid;

use crate::{clock, db::Transaction, problem::BoxError};

/// How often an idle holder renews.
pub const RENEWAL: Duration = Duration::from_secs(1);
/// How often one without tries to get it.
const RETRY: Duration = Duration::from_millis(500);

/// A lease that is held.
#[derive(Debug, Clone)]
pub struct Lease {
    /// The schema it is in.
    pub schema: &'static str,
    /// What it is for: `relay`, `consumer:<source>`.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// Counts the holders.
    pub epoch: i64,
    /// How far the holder is.
    pub position: i64,
    /// Of the relay, its feed's; of a consumer, its source's.
    pub incarnation: Uuid,
    /// Whether a consumer's read model was filled.
    pub bootstrapped: bool,
}

/// The lease was taken by another, or moved under us.
#[derive(Debug, thiserror::Error)]
#[error("the lease {0} is held by another")]
pub struct Lost(pub String);

impl Lease {
    /// Takes the lease when it is free, expired, or already this holder's.
    ///
    /// # Errors
    /// Fails when the database is away.
    pub async fn try_acquire(
        pool: &PgPool,
        schema: &'static str,
        name: &str,
        holder: &str,
    ) -> Result<Option<Self>, sqlx::Error> {
        let statement = format!(
            "insert into {schema}.lease as l (name, holder, epoch, expires_at, position, incarnation, bootstrapped)
             values ($1, $2, 1, clock_timestamp() + interval '4 s', 0, gen_random_uuid(), false)
             on conflict (name) do update set holder = $2, epoch = l.epoch + 1, expires_at = clock_timestamp() + interval '4 s'
             where l.expires_at < clock_timestamp() or l.holder = $2
             returning epoch, position, incarnation, bootstrapped"
        );
        let row = sqlx::query(AssertSqlSafe(statement)).bind(name).bind(holder).fetch_optional(pool).await?;
        row.map(|row| {
            Ok(Self {
                schema,
                name: name.to_owned(),
                holder: holder.to_owned(),
                epoch: row.try_get("epoch")?,
                position: row.try_get("position")?,
                incarnation: row.try_get("incarnation")?,
                bootstrapped: row.try_get("bootstrapped")?,
            })
        })
        .transpose()
    }

    /// Waits until the lease is ours; `answered` is told each time that the database says it is not.
    pub async fn acquire(
        pool: &PgPool,
        schema: &'static str,
        name: &str,
        holder: &str,
        answered: impl Fn() + Send + Sync,
    ) -> Self {
        loop {
            match Self::try_acquire(pool, schema, name, holder).await {
                Ok(Some(lease)) => {
                    tracing::info!(service = schema, lease = name, epoch = lease.epoch, "lease taken");
                    return lease;
                }
                Ok(None) => answered(),
                Err(error) => tracing::warn!(service = schema, lease = name, %error, "lease cannot be asked for"),
            }
            clock::pause(RETRY).await;
        }
    }

    /// Locks, checks and renews a consumer's lease and moves its position, as the first statement of
    /// the holder's transaction. Says whether events of the source are set aside; none means that the
    /// lease is no longer ours.
    ///
    /// # Errors
    /// Fails when the database is away.
    pub async fn advance(&self, tx: &mut Transaction, from: i64, to: i64) -> Result<Option<bool>, sqlx::Error> {
        let statement = format!(
            "update {0}.lease set position = $5, expires_at = clock_timestamp() + interval '4 s'
             where name = $1 and {1} and position = $4 and incarnation = $6
             returning exists (select from {0}.dead_letter where 'consumer:' || source = $1)",
            self.schema,
            mine()
        );
        sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(&self.name)
            .bind(&self.holder)
            .bind(self.epoch)
            .bind(from)
            .bind(to)
            .bind(self.incarnation)
            .fetch_optional(tx.connection())
            .await
    }

    /// Locks, checks and renews the lease without moving it. False means that it is lost.
    ///
    /// # Errors
    /// Fails when the database is away.
    pub async fn hold(&self, tx: &mut Transaction) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(AssertSqlSafe(self.renewal()))
            .bind(&self.name)
            .bind(&self.holder)
            .bind(self.epoch)
            .execute(tx.connection())
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Renews an idle holder's lease; without waiting for the disk, since nothing hangs on it. Says
    /// whether the read model still counts as filled: `itsm read-model rebuild` unsets it.
    ///
    /// # Errors
    /// [`Lost`] when another holds it, or the database is away.
    pub async fn renew(&self, pool: &PgPool) -> Result<bool, BoxError> {
        let statement = format!(
            "with s as materialized (select set_config('synchronous_commit', 'off', true)) {} and exists (select from s) returning bootstrapped",
            self.renewal()
        );
        let renewed = sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(&self.name)
            .bind(&self.holder)
            .bind(self.epoch)
            .fetch_optional(pool)
            .await?;
        renewed.ok_or_else(|| Lost(self.name.clone()).into())
    }

    /// The statement that locks, checks and renews it, with name, holder and epoch bound.
    pub(crate) fn renewal(&self) -> String {
        format!(
            "update {}.lease set expires_at = clock_timestamp() + interval '4 s' where name = $1 and {}",
            self.schema,
            mine()
        )
    }

    /// Lets go, so that another need not wait.
    pub async fn release(&self, pool: &PgPool) {
        let statement = format!(
            "update {}.lease set expires_at = clock_timestamp() - interval '1 ms' where name = $1 and holder = $2 and epoch = $3",
            self.schema
        );
        let done = sqlx::query(AssertSqlSafe(statement))
            .bind(&self.name)
            .bind(&self.holder)
            .bind(self.epoch)
            .execute(pool)
            .await;
        if let Err(error) = done {
            tracing::debug!(service = self.schema, lease = self.name, %error, "lease not released; it will expire");
        }
    }
}

/// Whether the row is still this holder's.
pub(crate) fn mine() -> &'static str {
    if crate::planted!("stale_lease_acts") {
        "$2::text is not null and $3::bigint is not null"
    } else {
        "holder = $2 and epoch = $3"
    }
}

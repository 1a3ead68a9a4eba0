//! Partitions of journals, feeds and whatever else a service wants by month or day, made before they
//! are needed.
//!
//! Each is made as a plain table and then attached, which takes no lock that stops writers, under
//! the role that owns the parent. A partition carries no grants: it is reached through its parent,
//! whose row-level security therefore holds. Nothing is ever dropped here; [`super::retention`]
//! does that.

use anyhow::{Context, bail};
use chrono::{DateTime, Datelike, Days, Months, NaiveDate, Utc};
use kit::retention::{Retention, Slice};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tokio::time::{Duration, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Positions in one partition of a feed.
pub const FEED_PARTITION_POSITIONS: i64 = 1_000_000;
const EVERY: Duration = Duration::from_secs(60);
const MONTHS_AHEAD: u32 = 3;
const DAYS_AHEAD: u64 = 3;
const FEEDS_AHEAD: i64 = 2;

/// One table of a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Partition {
    parent: &'static str,
    /// The column of a table by day, whose rows may already lie in the partition for the rest.
    by_day: bool,
    name: String,
    from: String,
    to: String,
}

/// A schema, and what its service says of how long its things are needed.
pub type Kept = (&'static str, &'static Retention);

/// Makes the partitions of each schema's `journal` and `feed`, and of what else it wants sliced,
/// that will be needed in the next months. A schema without one of the tables, or where it is not
/// partitioned, is left alone. Returns the names of those that were made.
pub async fn ensure_partitions(pool: &PgPool, kept: &[Kept], now: DateTime<Utc>) -> anyhow::Result<Vec<String>> {
    let mut made = Vec::new();
    for (schema, retention) in kept {
        if schema.is_empty() || !schema.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            bail!("`{schema}` is not the name of a schema of ours");
        }
        let mut tx = pool.begin().await.context("cannot begin making partitions")?;
        // Two makers at once would both find it missing.
        sqlx::query("select pg_advisory_xact_lock(hashtext('itsm.partitions'), hashtext($1))")
            .bind(schema)
            .execute(&mut *tx)
            .await?;
        let mut wanted = Vec::new();
        if owner(&mut tx, schema, "journal").await?.is_some() {
            wanted.extend(months("journal", now)?);
        }
        if owner(&mut tx, schema, "feed").await?.is_some() {
            let query = format!("select coalesce(max(position), 0) from {schema}.feed");
            let last: i64 = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut *tx).await?;
            wanted.extend(feeds(last));
        }
        for slices in retention.slices {
            if owner(&mut tx, schema, slices.table).await?.is_some() {
                wanted.extend(match slices.by {
                    Slice::Month => months(slices.table, now)?,
                    Slice::Day => days(slices.table, now)?,
                });
            }
        }
        for partition in wanted {
            if make(&mut tx, schema, &partition).await? {
                made.push(format!("{schema}.{}", partition.name));
            }
        }
        tx.commit().await.context("cannot keep the new partitions")?;
    }
    Ok(made)
}

/// Makes partitions at once and each minute until it is stopped: often enough that not even a storm
/// fills the two that a feed is ahead.
pub async fn keep_partitions(pool: PgPool, kept: &'static [Kept], stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        #[expect(clippy::disallowed_methods, reason = "ids take their time from the machine's clock, so partitions do")]
        let now = Utc::now();
        if let Err(error) = ensure_partitions(&pool, kept, now).await {
            tracing::error!(error = format!("{error:#}"), "cannot make partitions; trying again in a minute");
        }
    }
}

/// The owner of a partitioned table, if there is such a table.
async fn owner(connection: &mut PgConnection, schema: &str, table: &str) -> anyhow::Result<Option<String>> {
    let owner = sqlx::query_scalar(
        "select pg_get_userbyid(relowner)::text from pg_class join pg_namespace on pg_namespace.oid = relnamespace
         where nspname = $1 and relname = $2 and relkind = 'p'",
    );
    let owner = owner.bind(schema).bind(table).fetch_optional(connection).await;
    owner.with_context(|| format!("cannot look for {schema}.{table}"))
}

async fn make(connection: &mut PgConnection, schema: &str, partition: &Partition) -> anyhow::Result<bool> {
    let Partition { parent, by_day, name, from, to } = partition;
    let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(format!("{schema}.{name}"))
        .fetch_one(&mut *connection)
        .await?;
    if exists {
        return Ok(false);
    }
    let Some(owner) = owner(connection, schema, parent).await? else { return Ok(false) };
    let owner = owner.replace('"', "\"\"");
    let mut statements = vec![
        format!("set local role \"{owner}\""),
        format!("create table {schema}.{name} (like {schema}.{parent} including all)"),
    ];
    if *by_day {
        // What came before there was a partition for it.
        let range = format!("received_at >= '{from}' and received_at < '{to}'");
        statements.push(format!(
            "with moved as (delete from {schema}.{parent}_rest where {range} returning *)
             insert into {schema}.{name} select * from moved"
        ));
    }
    statements.extend([
        format!(
            "alter table {schema}.{parent} attach partition {schema}.{name} for values from ('{from}') to ('{to}')"
        ),
        "reset role".to_owned(),
    ]);
    for statement in statements {
        let done = sqlx::query(AssertSqlSafe(statement)).execute(&mut *connection).await;
        done.with_context(|| format!("cannot make the partition {schema}.{name}"))?;
    }
    tracing::info!(partition = format!("{schema}.{name}"), "made the partition");
    Ok(true)
}

/// The partitions of a table by month, from the month before `now` to three months after: a record
/// made just before a month's end is still being written to when the next has begun.
fn months(parent: &'static str, now: DateTime<Utc>) -> anyhow::Result<Vec<Partition>> {
    let first = NaiveDate::from_ymd_opt(now.year(), now.month(), 1).context("there is no such month")?;
    let previous = first.checked_sub_months(Months::new(1)).context("there is no month before")?;
    (0..=MONTHS_AHEAD + 1)
        .map(|ahead| {
            let month = previous.checked_add_months(Months::new(ahead)).context("there is no month after")?;
            let next = month.checked_add_months(Months::new(1)).context("there is no month after")?;
            Ok(Partition {
                parent,
                by_day: false,
                name: format!("{parent}_{:04}_{:02}", month.year(), month.month()),
                from: first_id(midnight(month)).to_string(),
                to: first_id(midnight(next)).to_string(),
            })
        })
        .collect()
}

/// The partitions of a table by day, from the day before `now` to three days after. Its partition
/// for the rest is called `<table>_rest`, and its column `received_at`.
fn days(parent: &'static str, now: DateTime<Utc>) -> anyhow::Result<Vec<Partition>> {
    let previous = now.date_naive().checked_sub_days(Days::new(1)).context("there is no day before")?;
    (0..=DAYS_AHEAD + 1)
        .map(|ahead| {
            let day = previous.checked_add_days(Days::new(ahead)).context("there is no day after")?;
            let next = day.checked_add_days(Days::new(1)).context("there is no day after")?;
            Ok(Partition {
                parent,
                by_day: true,
                name: format!("{parent}_{}", day.format("%Y_%m_%d")),
                from: midnight(day).to_rfc3339(),
                to: midnight(next).to_rfc3339(),
            })
        })
        .collect()
}

fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_hms_opt(0, 0, 0).unwrap_or_default().and_utc()
}

/// The least id that can be drawn at an instant: its first 48 bits are milliseconds since 1970.
pub fn first_id(instant: DateTime<Utc>) -> Uuid {
    Uuid::from_u128(u128::try_from(instant.timestamp_millis()).unwrap_or_default() << 80)
}

/// The feed's partition that holds the last position, and two after it.
fn feeds(last: i64) -> Vec<Partition> {
    let current = last / FEED_PARTITION_POSITIONS;
    (current..=current + FEEDS_AHEAD)
        .map(|number| Partition {
            parent: "feed",
            by_day: false,
            name: format!("feed_{number}"),
            from: (number * FEED_PARTITION_POSITIONS).to_string(),
            to: ((number + 1) * FEED_PARTITION_POSITIONS).to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgPoolOptions;

    use super::*;
    use crate::embedded::folder::{DataFolder, make_folder};
    use crate::embedded::postgres::Postgres;
    use kit::retention::Slices;

    const SLICED: Retention = Retention {
        slices: &[Slices { class: "raw", table: "intake", by: Slice::Day, held_by: "'{}'::uuid[]" }],
        ..Retention::NOTHING
    };

    #[test]
    fn months_follow_each_other_without_a_gap_over_new_year() {
        let now = "2026-11-23T13:00:00Z".parse().unwrap();
        let partitions = months("journal", now).unwrap();
        let names: Vec<&str> = partitions.iter().map(|partition| partition.name.as_str()).collect();
        let expected = ["journal_2026_10", "journal_2026_11", "journal_2026_12", "journal_2027_01", "journal_2027_02"];
        assert_eq!(names, expected);
        for pair in partitions.windows(2) {
            assert_eq!(pair[0].to, pair[1].from);
        }
        // 2026-11-01T00:00:00Z is 1,793,491,200,000 ms.
        assert_eq!(partitions[1].from, "01a19467-e800-0000-0000-000000000000");
    }

    #[test]
    fn an_id_of_the_month_lies_in_its_partition() {
        let drawn = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_793_491_200, 0));
        let partitions = months("journal", "2026-11-23T13:00:00Z".parse().unwrap()).unwrap();
        assert!(drawn >= partitions[1].from.parse::<Uuid>().unwrap());
        assert!(drawn < partitions[1].to.parse::<Uuid>().unwrap());
        let before = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_793_491_199, 999_000_000));
        assert!(before < partitions[1].from.parse::<Uuid>().unwrap());
    }

    #[test]
    fn a_feed_is_two_partitions_ahead() {
        let names = |last| feeds(last).into_iter().map(|partition| partition.name).collect::<Vec<_>>();
        assert_eq!(names(0), ["feed_0", "feed_1", "feed_2"]);
        assert_eq!(names(999_999), ["feed_0", "feed_1", "feed_2"]);
        assert_eq!(names(1_000_000), ["feed_1", "feed_2", "feed_3"]);
        assert_eq!((feeds(0)[0].from.as_str(), feeds(0)[0].to.as_str()), ("0", "1000000"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn partitions_are_made_once_owned_like_their_parent_and_carry_no_grants() {
        let temporary = tempfile::Builder::new().prefix("itsm-t").tempdir_in("/tmp").unwrap();
        make_folder(temporary.path(), 0o711).unwrap();
        let folder = DataFolder::open(&temporary.path().join("var")).unwrap();
        let postgres = Postgres::start(&folder, None).await.unwrap();
        let pool = PgPoolOptions::new().max_connections(2).connect_with(postgres.admin_options()).await.unwrap();
        let schema = "
            create role incident_owner;
            create role incident;
            create schema incident authorization incident_owner;
            create schema directory authorization incident_owner;
            set role incident_owner;
            create table incident.journal (record_id uuid not null, revision bigint not null, at timestamptz not null,
                primary key (record_id, revision)) partition by range (record_id);
            create index journal_at on incident.journal (at);
            create table incident.feed (position bigint primary key) partition by range (position);
            grant select, insert on incident.journal to incident;
            create table incident.intake (received_at timestamptz primary key) partition by range (received_at);
            create table incident.intake_rest partition of incident.intake default;
            insert into incident.intake values ('2026-11-22T00:00:00Z'), ('2026-11-20T00:00:00Z');
            create table directory.journal (record_id uuid primary key);
            reset role;";
        sqlx::raw_sql(schema).execute(&pool).await.unwrap();
        let now = "2026-11-23T13:00:00Z".parse().unwrap();
        let schemas: [Kept; 2] = [("incident", &SLICED), ("directory", &Retention::NOTHING)];
        let made = ensure_partitions(&pool, &schemas, now).await.unwrap();
        assert_eq!(made.len(), 5 + 3 + 5, "{made:?}");
        assert_eq!(made[1], "incident.journal_2026_11");
        assert!(ensure_partitions(&pool, &schemas, now).await.unwrap().is_empty());
        // What came before its day had a partition has moved there; the rest stays.
        for table in ["intake_2026_11_22", "intake_rest"] {
            let count = format!("select count(*) from incident.{table}");
            assert_eq!(
                sqlx::query_scalar::<_, i64>(AssertSqlSafe(count)).fetch_one(&pool).await.unwrap(),
                1,
                "{table}"
            );
        }

        let id = uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_795_438_800, 0));
        sqlx::query("insert into incident.journal values ($1, 1, now())").bind(id).execute(&pool).await.unwrap();
        sqlx::query("insert into incident.feed values (1000001)").execute(&pool).await.unwrap();
        let count = "select count(*) from incident.journal_2026_11";
        assert_eq!(sqlx::query_scalar::<_, i64>(count).fetch_one(&pool).await.unwrap(), 1);
        let granted = "select count(*) from pg_class where relispartition and relkind = 'r'
            and (relacl is not null or pg_get_userbyid(relowner) <> 'incident_owner')";
        assert_eq!(sqlx::query_scalar::<_, i64>(granted).fetch_one(&pool).await.unwrap(), 0);
        let indexes = "select count(*) from pg_indexes where tablename = 'journal_2026_11'";
        assert_eq!(sqlx::query_scalar::<_, i64>(indexes).fetch_one(&pool).await.unwrap(), 2);
        let invalid = "select count(*) from pg_index where not indisvalid";
        assert_eq!(sqlx::query_scalar::<_, i64>(invalid).fetch_one(&pool).await.unwrap(), 0);

        let later = "2026-12-01T00:00:00Z".parse().unwrap();
        let made = ensure_partitions(&pool, &schemas, later).await.unwrap();
        assert_eq!(made[..2], ["incident.journal_2027_03", "incident.feed_3"]);
        assert_eq!(made.last().unwrap(), "incident.intake_2026_12_04");
        assert!(ensure_partitions(&pool, &[("in;ci", &Retention::NOTHING)], now).await.is_err());
        pool.close().await;
        postgres.stop().await.unwrap();
    }
}

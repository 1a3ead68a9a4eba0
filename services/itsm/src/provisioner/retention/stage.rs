//! The stage of the tests of retention: a Postgres of their own with every schema, and rows that
//! were written long ago. The relay is played here too: it numbers what stands in an outbox.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Pruner, Report};
use crate::{
    embedded::{
        folder::{DataFolder, make_folder},
        postgres::Postgres,
    },
    migrate,
    provisioner::partitions::ensure_partitions,
    settings::retention::Retention,
    wiring::{self, keyring::Passwords},
};

/// What the tests write by.
const WORDS: &str = "
    create schema stage;
    create function stage.id(at timestamptz, n bigint) returns uuid language sql immutable as $$
        select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || left(md5(n::text), 3) || '8' || right(md5(n::text), 15))::uuid
    $$;
    create function stage.incident(tenant uuid, at timestamptz, n bigint, closed timestamptz) returns uuid language plpgsql as $$
    declare
        new uuid := stage.id(at, n);
    begin
        insert into incident.incidents values (new, tenant, 2, 'INC' || lpad(n::text, 7, '0'), 'title', 'description',
            case when closed is null then 'IN_PROGRESS' else 'CLOSED' end, null, 3, 3, 3, 'matrix', false, '', null, null, null, null, null,
            'alert', 'auto', null, '', null, null, closed, closed, 0, false, '[]', at, coalesce(closed, at));
        insert into incident.journal select tenant, 'acme', new, r, stage.id(at, n * 10 + r), 'opened', '\\x00', 'system:x/y', at, null, null
            from generate_series(1, 2) r;
        insert into incident.outbox (tenant_id, record_id, revision) select tenant, new, r from generate_series(1, 2) r;
        return new;
    end $$;
    create function stage.relay(schema text, at timestamptz) returns void language plpgsql as $$
    begin
        execute format('with taken as (delete from %1$I.outbox returning *)
            insert into %1$I.feed select (select coalesce(max(position), 0) from %1$I.feed) + row_number() over (order by seq),
                tenant_id, record_id, revision, 1, %2$L from taken', schema, at);
        execute format('insert into %1$I.lease values (''relay'', ''x'', 1, now(), 0, gen_random_uuid(), true) on conflict (name) do nothing', schema);
        execute format('update %1$I.lease set position = (select max(position) from %1$I.feed) where name = ''relay''', schema);
    end $$;";

/// A database of its own, gone with it.
pub struct Stage {
    /// The superuser's way in.
    pub pool: PgPool,
    postgres: Postgres,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Every schema, migrated, and empty.
    pub async fn set() -> Self {
        let temporary = tempfile::Builder::new().prefix("itsm-t").tempdir_in("/tmp").unwrap();
        make_folder(temporary.path(), 0o711).unwrap();
        let folder = DataFolder::open(&temporary.path().join("var")).unwrap();
        let postgres = Postgres::start(&folder, None).await.unwrap();
        let passwords = Passwords::new([7; 32], std::collections::BTreeMap::new());
        migrate::run(&postgres.admin_options(), &passwords, 40).await.unwrap();
        let options = postgres.admin_options().options([
            ("timezone", "UTC"),
            ("synchronous_commit", "off"),
            ("lock_timeout", "10000"),
        ]);
        let pool = PgPoolOptions::new().max_connections(6).connect_with(options).await.unwrap();
        sqlx::raw_sql(WORDS).execute(&pool).await.unwrap();
        Self { pool, postgres, _folder: temporary }
    }

    /// Carries out a statement.
    pub async fn run(&self, statement: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&self.pool).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// A number.
    pub async fn count(&self, query: &str) -> i64 {
        let found = sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&self.pool).await;
        found.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// A tenant by its slug.
    pub async fn tenant(&self, slug: &str) -> Uuid {
        let statement =
            "insert into directory.tenants (id, revision, slug, display_name, state, created_at, updated_at)
            values (gen_random_uuid(), 1, $1, $1, 'ACTIVE', now(), now()) returning id";
        sqlx::query_scalar(statement).bind(slug).fetch_one(&self.pool).await.unwrap()
    }

    /// An incident that was made and perhaps closed so many days before `now`; its two events are
    /// numbered when [`Self::relay`] is called.
    pub async fn incident(
        &self,
        tenant: Uuid,
        now: DateTime<Utc>,
        number: i64,
        made: i64,
        closed: Option<i64>,
    ) -> Uuid {
        let before = |days| now - TimeDelta::days(days);
        sqlx::query_scalar("select stage.incident($1, $2, $3, $4)")
            .bind(tenant)
            .bind(before(made))
            .bind(number)
            .bind(closed.map(before))
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Numbers what stands in a schema's outbox.
    pub async fn relay(&self, schema: &str, at: DateTime<Utc>) {
        sqlx::query("select stage.relay($1, $2)").bind(schema).bind(at).execute(&self.pool).await.unwrap();
    }

    /// How far a service has read another's feed.
    pub async fn read(&self, follower: &str, source: &str, position: i64) {
        let statement = format!(
            "insert into {follower}.lease values ('consumer:{source}', 'x', 1, now(), {position}, gen_random_uuid(), true)
             on conflict (name) do update set position = excluded.position"
        );
        self.run(&statement).await;
    }

    /// Partitions as they were made over the months up to `now`.
    pub async fn partitions(&self, from: DateTime<Utc>, now: DateTime<Utc>) {
        let mut at = from;
        while at < now {
            ensure_partitions(&self.pool, wiring::kept(), at).await.unwrap();
            at += TimeDelta::days(28);
        }
        ensure_partitions(&self.pool, wiring::kept(), now).await.unwrap();
    }

    /// What prunes, by settings as in a file.
    pub fn pruner(&self, settings: &str) -> Pruner {
        let retention: Retention = toml::from_str(settings).unwrap();
        retention.check().unwrap();
        Pruner::new(self.pool.clone(), retention, wiring::kept().to_vec(), CancellationToken::new())
    }

    /// Ids, sorted.
    pub async fn ids(&self, query: &str) -> Vec<Uuid> {
        let found = sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_all(&self.pool).await;
        let mut found: Vec<Uuid> = found.unwrap_or_else(|error| panic!("{query}: {error}"));
        found.sort_unstable();
        found
    }

    /// Stops the server.
    pub async fn clear(self) {
        self.pool.close().await;
        self.postgres.stop().await.unwrap();
    }
}

/// A round that must not fail in part.
pub async fn round(pruner: &mut Pruner, now: DateTime<Utc>) -> Report {
    let report = pruner.round(now).await.unwrap();
    assert!(report.failed.is_empty(), "{report:?}");
    report
}

//! The database: its version and clock, what was migrated, and whose rows who may see.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use sqlx::{PgConnection, Row as _};

use super::Finding;
use crate::{migrate, wiring};

/// Tokens between services count for seconds, and certificates and leases are judged by two clocks.
const OFFSET_NOTED: f64 = 1.0;
const OFFSET_AT_MOST: f64 = 5.0;

/// Looks at all of it; what cannot be asked is wrong.
pub async fn look(connection: &mut PgConnection, found: &mut Vec<Finding>) {
    let judged = |check, finding: anyhow::Result<Finding>| {
        let mend = "ask as a user who may read the catalogue and all schemas";
        finding.unwrap_or_else(|error| Finding::wrong(check, format!("{error:#}"), mend))
    };
    found.push(judged("database", version(connection).await));
    found.push(judged("clock", clock(connection).await));
    found.push(judged("migrations", migrations(connection).await));
    found.push(judged("roles", roles(connection).await));
    found.push(judged("row security", row_security(connection).await));
}

async fn version(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let version: String = sqlx::query_scalar("show server_version").fetch_one(&mut *connection).await?;
    Ok(match migrate::check_version(connection).await {
        Ok(()) => Finding::ok("database", format!("Postgres {version}")),
        Err(error) => Finding::wrong("database", format!("{error:#}"), "upgrade it first"),
    })
}

async fn clock(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let before = now();
    let theirs: f64 = sqlx::query_scalar("select extract(epoch from clock_timestamp())::float8")
        .fetch_one(connection)
        .await
        .context("cannot ask the database for its time")?;
    let offset = (theirs - f64::midpoint(before, now())).abs();
    let said = format!("{offset:.1} s between this machine and the database");
    let mend = "let NTP set the clocks of both";
    Ok(match offset {
        offset if offset > OFFSET_AT_MOST => Finding::wrong("clock", said, mend),
        offset if offset > OFFSET_NOTED => Finding::warning("clock", said, mend),
        _ => Finding::ok("clock", said),
    })
}

#[expect(clippy::disallowed_methods, reason = "the machine's clock itself is judged")]
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

async fn migrations(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    Ok(match migrate::missing(connection).await {
        Err(error) => Finding::wrong("migrations", format!("{error:#}"), "run the build that the database has"),
        Ok((_, 0)) => Finding::ok("migrations", "all are applied"),
        Ok((0, _)) => {
            Finding::warning("migrations", "none is applied yet", "run `itsm migrate`; `itsm up` does so itself")
        }
        Ok((_, missing)) => Finding::wrong("migrations", format!("{missing} are missing"), "run `itsm migrate`"),
    })
}

async fn roles(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let names: Vec<String> =
        wiring::schemas().iter().flat_map(|name| ["", "_worker", "_owner"].map(|end| format!("{name}{end}"))).collect();
    let statement =
        "select rolname::text as name, rolsuper or rolbypassrls as mighty from pg_roles where rolname = any ($1)";
    let rows = sqlx::query(statement).bind(&names).fetch_all(connection).await?;
    let mut mighty: Vec<String> = Vec::new();
    for row in &rows {
        if row.try_get("mighty")? {
            mighty.push(row.try_get("name")?);
        }
    }
    Ok(match rows.len() {
        _ if !mighty.is_empty() => {
            let said = format!("row-level security does not bind {}", mighty.join(", "));
            Finding::wrong("roles", said, "`alter role NAME nosuperuser nobypassrls` for each")
        }
        0 => Finding::warning("roles", "there are none yet", "run `itsm migrate`; `itsm up` does so itself"),
        count if count < names.len() => {
            Finding::wrong("roles", format!("{} are missing", names.len() - count), "run `itsm migrate`")
        }
        count => Finding::ok("roles", format!("{count} roles, none of them above row-level security")),
    })
}

async fn row_security(connection: &mut PgConnection) -> anyhow::Result<Finding> {
    let open: Vec<String> = sqlx::query_scalar(
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
         join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
         where n.nspname = any ($1) and c.relkind in ('r', 'p') and not c.relispartition
           and not (c.relrowsecurity and c.relforcerowsecurity) order by 1",
    )
    .bind(wiring::schemas())
    .fetch_all(connection)
    .await?;
    Ok(if open.is_empty() {
        Finding::ok("row security", "every table of tenants forces it")
    } else {
        let mend = "`alter table NAME enable row level security, force row level security` for each";
        Finding::wrong("row security", format!("it is not forced on {}", open.join(", ")), mend)
    })
}

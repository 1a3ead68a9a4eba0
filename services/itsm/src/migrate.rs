//! Makes the database what this build needs: roles, schemas, tables.
//!
//! It may be run at any time and by several at once. It looks before it changes anything, and
//! refuses a database that a newer build has migrated. No other part of the program makes a table.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, Row,
    migrate::{MigrateError, Migrator},
    postgres::PgConnectOptions,
};

use crate::{
    embedded::binaries::POSTGRES_NEEDED,
    wiring::{SERVICES, Service, keyring::Passwords},
};

#[cfg(test)]
mod rights;

/// How often a migration tries to get its locks, each time waiting two seconds: it must not make
/// everybody else wait behind it.
const LOCK_TRIES: usize = 10;
/// `lock_not_available`.
const LOCK_TIMED_OUT: &str = "55P03";

/// What a role waits for at most. Our pools set the same or less; this is for whoever else logs in so.
const LIMITS: [(&str, &str); 3] =
    [("statement_timeout", "5s"), ("lock_timeout", "3s"), ("idle_in_transaction_session_timeout", "10s")];

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Roles that were made or changed.
    pub roles: usize,
    /// Migrations that were applied.
    pub migrations: usize,
}

/// Migrates the database that `admin` leads to.
///
/// # Errors
/// Fails when the database is away, too old or too new, or the user may not do what is needed.
pub async fn run(admin: &PgConnectOptions, passwords: &Passwords, role_connections: u16) -> anyhow::Result<Report> {
    let mut connection = connect(admin).await?;
    check_version(&mut connection).await?;
    // Freed by the end of the connection.
    sqlx::query("select pg_advisory_lock(hashtext('itsm.migrate'))").execute(&mut connection).await?;
    sqlx::raw_sql("set lock_timeout = '2s'").execute(&mut connection).await?;
    let applied = applied(&mut connection).await?;
    for service in SERVICES {
        refuse_newer(service.name, service.migrator, applied.get(service.name).map_or(&[], Vec::as_slice))?;
    }
    close_to_everybody(&mut connection).await?;
    let mut report = Report::default();
    let marks = marks(&mut connection).await?;
    for service in SERVICES {
        report.roles += make_roles_of(&mut connection, service, passwords, role_connections, &marks).await?;
        let known = applied.get(service.name).map_or(0, Vec::len);
        let missing = service.migrator.iter().count().saturating_sub(known);
        if missing > 0 {
            make_schema(&mut connection, service.name).await?;
            migrate(admin, service).await?;
            report.migrations += missing;
        }
    }
    if report != Report::default() {
        flush(&mut connection).await?;
    }
    connection.close().await?;
    Ok(report)
}

/// Makes the roles alone: a database that is restored refers to them.
///
/// # Errors
/// Fails when the database is away, or the user may not make roles.
pub async fn make_roles(admin: &PgConnectOptions, passwords: &Passwords, role_connections: u16) -> anyhow::Result<()> {
    let mut connection = connect(admin).await?;
    let marks = marks(&mut connection).await?;
    for service in SERVICES {
        make_roles_of(&mut connection, service, passwords, role_connections, &marks).await?;
    }
    flush(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Makes the roles of a service that are missing or other than they shall be, and says how many.
async fn make_roles_of(
    connection: &mut PgConnection,
    service: &Service,
    passwords: &Passwords,
    role_connections: u16,
    marks: &BTreeMap<String, String>,
) -> anyhow::Result<usize> {
    let mut made = 0;
    for role in roles(service.name, passwords, role_connections) {
        let mark = passwords.mark(&role.definition());
        if marks.get(&role.name) != Some(&mark) {
            make_role(connection, &role, &mark, !marks.contains_key(&role.name)).await?;
            made += 1;
        }
    }
    Ok(made)
}

/// A session that does not wait for the disk after each of its many small commits: what a power cut
/// takes away is a tail of them, which the next run makes again. [`flush`] comes at the end.
async fn connect(admin: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    let mut connection = PgConnection::connect_with(admin).await.context("cannot reach the database")?;
    let settings = "set timezone = 'UTC'; set client_min_messages = warning; set synchronous_commit = off";
    sqlx::raw_sql(settings).execute(&mut connection).await?;
    Ok(connection)
}

/// Waits until everything is on disk: a commit that waits takes all before it along.
async fn flush(connection: &mut PgConnection) -> anyhow::Result<()> {
    let commit = "begin; set local synchronous_commit = on; select pg_current_xact_id(); commit";
    sqlx::raw_sql(commit).execute(connection).await.context("cannot wait for the disk")?;
    Ok(())
}

/// Whether the database is new enough.
///
/// # Errors
/// Says that it is not.
pub async fn check_version(connection: &mut PgConnection) -> anyhow::Result<()> {
    let version: String = sqlx::query_scalar("show server_version_num").fetch_one(&mut *connection).await?;
    let major = version.parse::<u32>().unwrap_or_default() / 10_000;
    if major < POSTGRES_NEEDED {
        bail!("Postgres {POSTGRES_NEEDED} or newer is needed; the database is {major}");
    }
    Ok(())
}

/// How many migrations of this build are applied, and how many are not.
///
/// # Errors
/// Fails when the database has others than this build, or cannot be asked.
pub async fn missing(connection: &mut PgConnection) -> anyhow::Result<(usize, usize)> {
    let applied = applied(connection).await?;
    let mut counts = (0, 0);
    for service in SERVICES {
        let known = applied.get(service.name).map_or(&[][..], Vec::as_slice);
        refuse_newer(service.name, service.migrator, known)?;
        counts.0 += known.len();
        counts.1 += service.migrator.iter().count().saturating_sub(known.len());
    }
    Ok(counts)
}

/// A migration in the database: its number and the digest of its text.
type Applied = (i64, Vec<u8>);

/// What each schema has.
async fn applied(connection: &mut PgConnection) -> anyhow::Result<BTreeMap<&'static str, Vec<Applied>>> {
    let mut found = BTreeMap::new();
    for service in SERVICES {
        let table = service.migrator.table_name.as_ref();
        let exists: bool =
            sqlx::query_scalar("select to_regclass($1) is not null").bind(table).fetch_one(&mut *connection).await?;
        if exists {
            let query = format!("select version, checksum from {table} where success order by version");
            let rows = sqlx::query(AssertSqlSafe(query)).fetch_all(&mut *connection).await;
            let rows = rows.with_context(|| format!("cannot read {table}"))?;
            let rows = rows.iter().map(|row| Ok((row.try_get("version")?, row.try_get("checksum")?)));
            found.insert(service.name, rows.collect::<Result<_, sqlx::Error>>()?);
        }
    }
    Ok(found)
}

fn refuse_newer(service: &str, migrator: &Migrator, applied: &[Applied]) -> anyhow::Result<()> {
    for (version, checksum) in applied {
        match migrator.iter().find(|migration| migration.version == *version) {
            None => bail!(
                "the database is newer than this build: {service} has migration {version}, which this build does not \
                 know; use the newer build"
            ),
            Some(migration) if migration.checksum.as_ref() != checksum.as_slice() => {
                bail!("migration {version} of {service} in the database is another than the one of this build")
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Takes from everybody what a new database gives them beyond a connection: a service that was taken
/// over must not fill the disk with tables of its own. Who does not own the database leaves it as it is.
async fn close_to_everybody(connection: &mut PgConnection) -> anyhow::Result<()> {
    let statement = "do $$ begin
        if exists (select from pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
                   where d.datname = current_database() and a.grantee = 0 and a.privilege_type = 'TEMPORARY'
                     and pg_has_role(d.datdba, 'usage')) then
            execute format('revoke temporary on database %I from public', current_database());
        end if;
    end $$";
    let done = sqlx::raw_sql(statement).execute(connection).await;
    done.context("cannot take temporary tables from everybody")?;
    Ok(())
}

/// A database role of a service.
struct Role {
    name: String,
    /// What Postgres keeps of the password of those who log in; the owner does not.
    password: Option<String>,
    connections: u16,
    schema: &'static str,
}

impl Role {
    /// Everything that it is, so that a change shows.
    fn definition(&self) -> String {
        format!("3 {} {} {} {}", self.name, self.connections, self.schema, self.password.as_deref().unwrap_or_default())
    }
}

fn roles(service: &'static str, passwords: &Passwords, connections: u16) -> [Role; 3] {
    let login = |name: String| Role { password: Some(passwords.kept(&name)), name, connections, schema: service };
    [
        Role { name: format!("{service}_owner"), password: None, connections, schema: service },
        login(service.to_owned()),
        login(format!("{service}_worker")),
    ]
}

/// What our roles were made as, by their comments.
async fn marks(connection: &mut PgConnection) -> anyhow::Result<BTreeMap<String, String>> {
    let rows = sqlx::query(
        "select rolname::text, coalesce(shobj_description(oid, 'pg_authid'), '') as mark from pg_roles
         where rolname = any ($1)",
    );
    let names =
        SERVICES.iter().flat_map(|service| ["", "_worker", "_owner"].map(|end| format!("{}{end}", service.name)));
    let rows = rows.bind(names.collect::<Vec<_>>()).fetch_all(connection).await?;
    let marks = rows.iter().map(|row| Ok((row.try_get("rolname")?, row.try_get("mark")?)));
    Ok(marks.collect::<Result<_, sqlx::Error>>()?)
}

async fn make_role(connection: &mut PgConnection, role: &Role, mark: &str, new: bool) -> anyhow::Result<()> {
    let (name, schema) = (quote(&role.name), quote(role.schema));
    let mut statements = Vec::new();
    if new {
        statements.push(format!("create role {name} nologin"));
    }
    match &role.password {
        Some(password) => {
            let (limit, password) = (role.connections, literal(password));
            statements.push(format!("alter role {name} login connection limit {limit} password {password}"));
            for (setting, value) in LIMITS {
                statements.push(format!("alter role {name} set {setting} = '{value}'"));
            }
        }
        None => {
            // Whoever migrates and makes partitions acts as the owner.
            statements.push(format!("alter role {name} nologin"));
            statements.push(format!("grant {name} to current_user"));
        }
    }
    // All SQL names its schema; this keeps a table that somebody puts elsewhere from being found.
    statements.push(format!("alter role {name} set search_path = pg_catalog, {schema}, pg_temp"));
    statements.push(format!("comment on role {name} is {}", literal(mark)));
    let mut tx = connection.begin().await?;
    for statement in statements {
        // Not with the statement in the error: it may hold the password.
        let done = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *tx).await;
        done.with_context(|| format!("cannot make the database role {}", role.name))?;
    }
    tx.commit().await?;
    Ok(())
}

async fn make_schema(connection: &mut PgConnection, service: &str) -> anyhow::Result<()> {
    let (schema, owner) = (quote(service), quote(&format!("{service}_owner")));
    let statement = format!("create schema if not exists {schema} authorization {owner}");
    let made = sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await;
    made.with_context(|| format!("cannot make the schema {service}"))?;
    Ok(())
}

/// Applies what is missing, as the owner, on a connection of its own.
async fn migrate(admin: &PgConnectOptions, service: &Service) -> anyhow::Result<()> {
    let mut connection = connect(admin).await?;
    let owner = quote(&format!("{}_owner", service.name));
    let settings = format!("set lock_timeout = '2s'; set statement_timeout = 0; set role {owner}");
    sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut connection).await?;
    for attempt in 1.. {
        match service.migrator.run(&mut connection).await {
            Ok(()) => break,
            Err(error) if attempt < LOCK_TRIES && waits_for_a_lock(&error) => {
                tracing::warn!(service = service.name, attempt, "a table is in use; trying the migration again");
            }
            Err(error) => return Err(error).with_context(|| format!("cannot migrate {}", service.name)),
        }
    }
    connection.close().await?;
    Ok(())
}

fn waits_for_a_lock(error: &MigrateError) -> bool {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some(LOCK_TIMED_OUT))
        }
        _ => false,
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    // `E''` reads the same whatever the server's `standard_conforming_strings` is.
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

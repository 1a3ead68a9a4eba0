//! What the roles of services may in a migrated database: compared with a committed table, and
//! everything that the table does not give them tried.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, postgres::PgRow};

use super::run;
use crate::{
    embedded::{
        folder::{DataFolder, make_folder},
        postgres::Postgres,
    },
    golden,
    wiring::{SERVICES, keyring::Passwords},
};

const GOLDEN: &str = "database_rights.txt";
/// `insufficient_privilege`.
const REFUSED: &str = "42501";
/// Tables whose rows belong to no tenant: they name services and positions, and migrations.
const WITHOUT_TENANT: [&str; 3] = ["_migrations", "attempt", "lease"];

const HEAD: &str = "\
# What the roles of services may do in the database, read from the catalog of a migrated one. What stands here is
# possible, everything else is refused: the tests of services/itsm/src/migrate/rights.rs try both.
# After the verbs: which rows, by row-level security. `all` of an event path are those that a worker moves on.
";

const ROLES: &str = "
    select rolname || ' | ' || concat_ws(' ', case when rolcanlogin then 'login' end, case when rolsuper then 'SUPERUSER' end,
            case when rolcreaterole then 'CREATEROLE' end, case when rolcreatedb then 'CREATEDB' end,
            case when rolreplication then 'REPLICATION' end, case when rolbypassrls then 'BYPASSRLS' end)
        || ' | ' || case when rolcanlogin then rolconnlimit::text else '-' end
        || ' | ' || coalesce((select string_agg(g.rolname, ' ' order by g.rolname) from pg_auth_members m
                              join pg_roles g on g.oid = m.roleid where m.member = r.oid), '-')
        || ' | ' || array_to_string(rolconfig, '; ')
    from pg_roles r where rolname = any ($1) order by rolname";

const PLACES: &str = "
    select place || ' | ' || coalesce(rolname, 'everybody') || ' | ' || string_agg(lower(privilege_type), ' ' order by privilege_type)
    from (select 'database' as place, datdba as owner, a.* from pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) a
          where datname = current_database()
          union all
          select 'schema ' || nspname, nspowner, a.* from pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a
          where nspname !~ '^pg_' and nspname <> 'information_schema') granted
    left join pg_roles r on r.oid = grantee
    where grantee <> owner group by place, rolname order by place, rolname";

/// Each with the rows that its role's policies leave visible; a policy for one command says so.
const TABLES: &str = "
    with verb as (
        select c.oid, a.grantee, lower(a.privilege_type) || case when a.is_grantable then '*' else '' end as verb from pg_class c, aclexplode(c.relacl) a where a.grantee <> c.relowner
        union all
        select attrelid, a.grantee, lower(a.privilege_type) || '(' || string_agg(attname, ',' order by attnum) || ')'
        from pg_attribute, aclexplode(attacl) a group by attrelid, a.grantee, a.privilege_type)
    select c.oid::regclass || ' | ' || coalesce(rolname, 'everybody') || ' | '
        || string_agg(verb, ' ' order by array_position(array['select', 'insert', 'update', 'delete'], verb), verb) || ' | '
        || case when not c.relrowsecurity then '-' else coalesce((
            select string_agg(case
                    when qual = 'true' then 'all'
                    when qual = '(tenant_id = ( SELECT (NULLIF(current_setting(''itsm.tenant''::text, true), ''''::text))::uuid AS \"nullif\"))' then 'one tenant'
                    when qual like '(tenant_id = ANY (%''itsm.tenants''%' then 'named tenants'
                    when qual like '((tenant_id IS NULL) OR (tenant_id = ANY (%''itsm.tenants''%' then 'named tenants and none'
                    else qual end
                || case cmd when '*' then '' when 'r' then ' for select' else ' for ' || cmd end
                || coalesce(' with check ' || checked, ''), ', ' order by name)
            from (select polname as name, polcmd::text as cmd, pg_get_expr(polqual, polrelid) as qual,
                         pg_get_expr(polwithcheck, polrelid) as checked
                  from pg_policy where polrelid = c.oid and polroles && array[r.oid, 0::oid]) policy), 'none') end
    from verb join pg_class c on c.oid = verb.oid join pg_namespace n on n.oid = c.relnamespace left join pg_roles r on r.oid = grantee
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    group by c.oid, c.relrowsecurity, r.oid, n.nspname, rolname order by n.nspname, c.oid::regclass::text, rolname";

/// A database as `migrate` leaves it, with the passwords of its roles.
struct Place {
    postgres: Postgres,
    passwords: Passwords,
    _folder: tempfile::TempDir,
}

impl Place {
    async fn migrated() -> Self {
        let temporary = tempfile::Builder::new().prefix("itsm-t").tempdir_in("/tmp").unwrap();
        make_folder(temporary.path(), 0o711).unwrap();
        let folder = DataFolder::open(&temporary.path().join("var")).unwrap();
        let postgres = Postgres::start(&folder, None).await.unwrap();
        let passwords = Passwords::new([7; 32], BTreeMap::new());
        run(&postgres.admin_options(), &passwords, 40).await.unwrap();
        Self { postgres, passwords, _folder: temporary }
    }

    async fn admin(&self) -> PgConnection {
        PgConnection::connect_with(&self.postgres.admin_options()).await.unwrap()
    }

    async fn login(&self, role: &str) -> PgConnection {
        let options = self.postgres.admin_options().username(role).password(&self.passwords.of(role));
        PgConnection::connect_with(&options).await.unwrap()
    }
}

/// The two roles of each service that log in.
fn logins() -> impl Iterator<Item = (&'static str, String)> {
    SERVICES.iter().flat_map(|service| ["", "_worker"].map(|end| (service.name, format!("{}{end}", service.name))))
}

async fn column(connection: &mut PgConnection, query: &'static str) -> Vec<String> {
    sqlx::query_scalar(query).fetch_all(connection).await.unwrap()
}

/// Whether it was refused for want of a right; anything else that goes wrong is a mistake here.
async fn refused(connection: &mut PgConnection, statement: &str) -> bool {
    match sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await {
        Ok(_) => false,
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(REFUSED) => true,
        Err(error) => panic!("{statement}: {error}"),
    }
}

/// Verbs, and the columns where only some are given.
type Verbs = BTreeMap<String, Option<BTreeSet<String>>>;

/// The committed table: what a role may do with a table.
struct Matrix(BTreeMap<(String, String), Verbs>);

impl Matrix {
    fn read(text: &str) -> Self {
        let rows = text.lines().filter_map(|line| {
            let cells: Vec<&str> = line.split(" | ").collect();
            let [table, role, verbs, _rows] = cells[..] else { return None };
            let verbs =
                verbs.split(' ').map(|verb| match verb.strip_suffix(')').and_then(|verb| verb.split_once('(')) {
                    Some((verb, columns)) => (verb.to_owned(), Some(columns.split(',').map(str::to_owned).collect())),
                    None => (verb.to_owned(), None),
                });
            Some(((table.to_owned(), role.to_owned()), verbs.collect()))
        });
        Self(rows.collect())
    }

    /// Whether a role has the verb on a column, or on any.
    fn gives(&self, table: &str, role: &str, verb: &str, column: Option<&str>) -> bool {
        let verbs = self.0.get(&(table.to_owned(), role.to_owned()));
        match (verbs.and_then(|verbs| verbs.get(verb)), column) {
            (None, _) => false,
            (Some(Some(columns)), Some(column)) => columns.contains(column),
            (Some(_), _) => true,
        }
    }
}

/// What may be done with a table at the most, whatever somebody accepts.
fn at_most(service: &str, table: &str, role: &str) -> &'static [&'static str] {
    let Some(table) = table.strip_prefix(&format!("{service}.")) else { return &[] };
    match (table, role == service) {
        ("journal", _) => &["select", "insert"],
        ("outbox", true) => &["insert"],
        ("outbox", false) => &["select", "insert", "delete"],
        ("feed" | "past_tenant", true) => &["select"],
        ("feed", false) => &["select", "insert"],
        ("past_tenant", false) => &["select"],
        ("lease" | "attempt" | "dead_letter", true)
        | ("request" | "number", false)
        | ("_migrations" | "pruned" | "hold", _) => &[],
        ("dead_letter", false) | ("timer", _) => &["select", "insert", "update", "delete"],
        ("request", true) | ("rejected_alerts", false) => &["select", "insert"],
        ("outbox_seq_seq", _) => &["usage"],
        _ => &["select", "insert", "update"],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_may_what_the_committed_table_says() {
    let place = Place::migrated().await;
    let mut admin = place.admin().await;
    let owners = SERVICES.iter().map(|service| format!("{}_owner", service.name));
    let names: Vec<String> = logins().map(|(_, login)| login).chain(owners).collect();
    let roles: Vec<String> = sqlx::query_scalar(ROLES).bind(names).fetch_all(&mut admin).await.unwrap();
    let places = column(&mut admin, PLACES).await;
    let tables = column(&mut admin, TABLES).await;
    let part = |head: &str, lines: &[String]| format!("\n# {head}\n{}\n", lines.join("\n"));
    let text = [
        HEAD.to_owned(),
        part("role | may | connections | member of | settings", &roles),
        part("place | role | may", &places),
        part("table | role | may | rows", &tables),
    ];
    golden::compare(GOLDEN, &text.concat());

    for ((table, role), verbs) in &Matrix::read(&tables.join("\n")).0 {
        let service = role.strip_suffix("_worker").unwrap_or(role);
        let most = at_most(service, table, role);
        assert!(verbs.keys().all(|verb| most.contains(&verb.as_str())), "{role} may {verbs:?} on {table}");
    }
    for role in &roles {
        assert!(!role.chars().any(|letter| letter.is_ascii_uppercase()), "a role with powers: {role}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_of_every_service_forces_row_level_security_and_belongs_to_its_owner() {
    let place = Place::migrated().await;
    let mut admin = place.admin().await;
    let query = "select n.nspname::text as schema, c.relname::text as name, c.relrowsecurity and c.relforcerowsecurity as forced,
            c.relispartition as part, c.relacl is null as closed, pg_get_userbyid(c.relowner)::text as owner
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'";
    let rows = sqlx::query(query).fetch_all(&mut admin).await.unwrap();
    assert!(rows.len() > 100, "{} tables", rows.len());
    for row in rows {
        let text = |row: &PgRow, name: &str| row.get::<String, _>(name);
        let (schema, name) = (text(&row, "schema"), text(&row, "name"));
        assert_eq!(text(&row, "owner"), format!("{schema}_owner"), "{schema}.{name}");
        if row.get("part") {
            // Row-level security of a parent does not hold for who names the partition: nobody may.
            assert!(row.get::<bool, _>("closed"), "a grant on the partition {schema}.{name}");
        } else {
            assert!(row.get("forced") || WITHOUT_TENANT.contains(&name.as_str()), "{schema}.{name} shows all tenants");
        }
    }
    // A function with the rights of its owner, or a grant on what will be made, would be a way round.
    let functions = "select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'";
    assert!(column(&mut admin, functions).await.is_empty());
    assert!(column(&mut admin, "select oid::text from pg_default_acl").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_committed_table_does_not_give_is_refused() {
    let place = Place::migrated().await;
    let mut admin = place.admin().await;
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(GOLDEN);
    let matrix = Matrix::read(&std::fs::read_to_string(golden).unwrap());
    let query = "select n.nspname::text as schema, c.oid::regclass::text as name, c.relkind = 'S' as sequence,
            c.relispartition as part, array(select quote_ident(attname) from pg_attribute
                where attrelid = c.oid and attnum > 0 and not attisdropped order by attnum) as columns
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'S') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'";
    let tables = sqlx::query(query).fetch_all(&mut admin).await.unwrap();
    let mut tried = 0;
    for (schema, role) in logins() {
        let mut connection = place.login(&role).await;
        for row in &tables {
            let table: &str = row.get("name");
            if row.get("part") && row.get::<&str, _>("schema") != schema {
                continue;
            }
            for (verb, column, statement) in attempts(table, row.get("sequence"), &row.get::<Vec<String>, _>("columns"))
            {
                let given = matrix.gives(table, &role, verb, column.as_deref());
                assert_eq!(refused(&mut connection, &statement).await, !given, "{role}: {statement}");
                tried += 1;
            }
        }
    }
    assert!(tried > 10_000, "only {tried} statements were tried");
}

/// Statements that change nothing, one for each verb and, for reading, one for each column.
fn attempts<'a>(table: &str, sequence: bool, columns: &[String]) -> Vec<(&'a str, Option<String>, String)> {
    if sequence {
        return vec![
            ("usage", None, format!("select nextval('{table}')")),
            ("update", None, format!("select setval('{table}', 1000000)")),
        ];
    }
    let first = &columns[0];
    let reads = columns
        .iter()
        .map(|column| ("select", Some(column.clone()), format!("select {column} from {table} where false")));
    let changes = [
        ("insert", None, format!("insert into {table} select where false")),
        ("update", None, format!("update {table} set {first} = null where false")),
        ("delete", None, format!("delete from {table} where false")),
        ("truncate", None, format!("truncate {table}")),
        ("own", None, format!("alter table {table} disable row level security")),
    ];
    reads.chain(changes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_makes_nothing_becomes_nobody_and_leaves_the_database_alone() {
    let place = Place::migrated().await;
    let mut admin = place.admin().await;
    let untrusted = "select name::text from pg_available_extensions where installed_version is null order by 1 limit 1";
    let extensions = column(&mut admin, untrusted).await;
    for (schema, role) in logins() {
        let mut connection = place.login(&role).await;
        let other = if schema == "sla" { "incident" } else { "sla" };
        let mut statements = vec![
            format!("create table {schema}.mine (id int)"),
            "create table public.mine (id int)".to_owned(),
            "create temporary table mine (id int)".to_owned(),
            "create schema mine".to_owned(),
            "create publication mine for all tables".to_owned(),
            format!("create function {schema}.mine() returns int language sql as 'select 1'"),
            format!("create policy mine on {schema}.journal using (true)"),
            format!("create rule mine as on insert to {schema}.journal do instead nothing"),
            format!("alter table {schema}.journal disable trigger all"),
            format!("drop table {schema}.journal"),
            format!("do $$ begin lock table {schema}.journal in access exclusive mode; end $$"),
            "copy (select 1) to program 'true'".to_owned(),
            "copy (select 1) to '/tmp/itsm-mine'".to_owned(),
            "select pg_read_file('PG_VERSION')".to_owned(),
            "select pg_ls_dir('.')".to_owned(),
            "select lo_import('/etc/passwd')".to_owned(),
            "select rolpassword from pg_authid".to_owned(),
            "alter system set fsync = off".to_owned(),
            "set session_replication_role = replica".to_owned(),
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'itsm'".to_owned(),
            format!("set role {schema}_owner"),
            format!("set role {other}"),
            "set role itsm".to_owned(),
            "set session authorization itsm".to_owned(),
            format!("grant {schema}_owner to {role}"),
            format!("alter role {role} bypassrls"),
            format!("alter role {role} superuser"),
            format!("alter role {role} connection limit -1"),
            format!("alter role {other} password 'mine'"),
            "create role mine".to_owned(),
            "create database mine".to_owned(),
        ];
        statements.extend(extensions.iter().map(|name| format!("create extension \"{name}\"")));
        for statement in statements {
            assert!(refused(&mut connection, &statement).await, "{role} may: {statement}");
        }
    }
    // A password of somebody else's opens nothing.
    let options = place.postgres.admin_options().username("sla").password(&place.passwords.of("incident"));
    assert!(PgConnection::connect_with(&options).await.is_err());
}

//! For tests: a private database from a migrated template, a NATS of its own, a clock driven by
//! hand, people with tokens, and owners whose feed a test writes itself.
//!
//! The cluster comes from `tools/testenv`, which starts one for a whole run and stops it.

#![expect(clippy::expect_used, reason = "tests fail by panicking")]

use std::{
    collections::HashMap,
    path::PathBuf,
    process::{Child, Command, Stdio},
    str::FromStr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_nats::{Client, HeaderMap, jetstream};
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use proto::common::v1::{
    FeedEntry, FeedRequest, FeedResponse, LookupRequest, LookupResponse, PositionRequest, PositionResponse, Role,
    SnapshotEntry, SnapshotRequest, SnapshotResponse,
};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, Connection, PgConnection, migrate::Migrator, postgres::PgConnectOptions};
use tempfile::TempDir;
use tonic::{Request, Response, Status, metadata::MetadataValue, service::Routes};
use uuid::Uuid;

use crate::{
    bus::{self, BusOptions},
    caller::Person,
    clock::{self, Clock, ManualClock},
    db::Database,
    id::{PersonId, TeamId, Tenant, TenantId},
    peer::Peers,
    service::{Context, Listen, Readiness, Tasks, unix_addresses},
    token::{Signer, Verifier},
};

/// A variable that `tools/testenv` sets.
fn variable(name: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "tests are told their servers by variables")]
    let value = std::env::var(name);
    value.unwrap_or_else(|_| panic!("{name} is not set: run tests by `tools/testenv cargo nextest run`"))
}

/// Everything that services under test are given.
pub struct Stage {
    /// Domain time.
    pub clock: Arc<ManualClock>,
    /// A NATS connection of the test.
    pub bus: Client,
    /// The tasks of all services; stop them to simulate a stop.
    pub tasks: Tasks,
    /// What services wait for.
    pub readiness: Readiness,
    /// The tenant that people belong to by default.
    pub tenant: Tenant,
    folder: TempDir,
    database: String,
    nats_url: String,
    nats: Mutex<Child>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.tasks.stopping().cancel();
        if let Ok(mut nats) = self.nats.lock() {
            // It may have been ended by the test itself.
            let _ = nats.kill();
            let _ = nats.wait();
        }
        let database = self.database.clone();
        let dropped = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?.block_on(async {
                let mut admin = PgConnection::connect_with(&options("postgres", "postgres")).await.ok()?;
                sqlx::query(AssertSqlSafe(format!("drop database if exists {database} with (force)")))
                    .execute(&mut admin)
                    .await
                    .ok()
            })
        });
        // The whole cluster goes at the end of the run anyway.
        let _ = dropped.join();
    }
}

fn options(user: &str, database: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(PathBuf::from(variable("ITSM_TEST_POSTGRES")))
        .username(user)
        .database(database)
}

/// The seed of a service's signing key in tests.
fn seed(service: &str) -> [u8; 32] {
    Sha256::digest(service).into()
}

impl Stage {
    /// Sets the stage with these schemas, at a Monday morning.
    pub async fn set(schemas: &[(&'static str, &Migrator)]) -> Self {
        Self::set_at(schemas, DateTime::from_str("2026-03-02T09:00:00Z").expect("a time")).await
    }

    /// Sets the stage with these schemas, at an instant.
    pub async fn set_at(schemas: &[(&'static str, &Migrator)], now: DateTime<Utc>) -> Self {
        // Another test may have done so.
        let _ = crate::telemetry::init(crate::telemetry::Format::Text, "warn");
        let folder = tempfile::Builder::new().prefix("itsm-t").tempdir_in("/tmp").expect("a folder");
        let database = database(schemas).await;
        let (nats, nats_url) = start_nats(&folder, 0);
        let bus =
            bus::connect("test", &BusOptions { url: nats_url.clone(), ..Default::default() }).await.expect("NATS");
        let stage = Self {
            clock: Arc::new(ManualClock::at(now)),
            bus,
            tasks: Tasks::default(),
            readiness: Readiness::default(),
            tenant: Tenant { id: TenantId::draw(), slug: "default".to_owned() },
            folder,
            database,
            nats_url,
            nats: Mutex::new(nats),
        };
        stage.make_streams().await;
        stage
    }

    /// Makes the event streams that relays publish to.
    pub async fn make_streams(&self) {
        let jetstream = jetstream::new(self.bus.clone());
        for service in proto::SERVICES {
            let config = jetstream::stream::Config {
                name: service.to_uppercase(),
                subjects: vec![format!("itsm.*.{service}.>")],
                ..Default::default()
            };
            jetstream.get_or_create_stream(config).await.expect("a stream");
        }
    }

    /// What a service is given, on this stage.
    pub async fn context(&self, service: &'static str) -> Context {
        self.replica(service, "one").await
    }

    /// What one replica of a service is given.
    pub async fn replica(&self, service: &'static str, replica: &str) -> Context {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let signer = Signer::new(service, &seed(service)).expect("a key");
        let keys = proto::SERVICES
            .iter()
            .map(|name| ((*name).to_owned(), Signer::new(*name, &seed(name)).expect("a key").public_key()));
        let bus = bus::connect(service, &BusOptions { url: self.nats_url.clone(), ..Default::default() })
            .await
            .expect("NATS");
        Context {
            service,
            clock: Arc::clone(&clock),
            database: self.database(service),
            bus,
            peers: Peers::new(signer, clock, &unix_addresses(self.folder.path())).expect("addresses"),
            verifier: Arc::new(Verifier::new(service, keys.collect())),
            listen: Listen::Unix(self.folder.path().join(format!("{service}.sock"))),
            holder: format!("{service}-{replica}"),
            readiness: self.readiness.clone(),
            tasks: self.tasks.clone(),
        }
    }

    /// The ways into a schema.
    #[must_use]
    pub fn database(&self, service: &'static str) -> Database {
        Database::new(service, options(service, &self.database), options(&format!("{service}_worker"), &self.database))
    }

    /// A connection that sees everything.
    pub async fn admin(&self) -> PgConnection {
        PgConnection::connect_with(&options("postgres", &self.database)).await.expect("Postgres")
    }

    /// The signer of the directory, who makes inner tokens.
    #[must_use]
    pub fn directory(&self) -> Signer {
        Signer::new("directory", &seed("directory")).expect("a key")
    }

    /// A person of the stage's tenant with a role in a team.
    #[must_use]
    pub fn person(&self, role: Role, team: TeamId) -> Person {
        Person {
            tenant: self.tenant.clone(),
            id: PersonId::draw(),
            administrator: role == Role::Administrator,
            teams: vec![(team, role)],
            scopes: vec![],
            key_id: "test".to_owned(),
        }
    }

    /// A request as a person.
    #[must_use]
    pub fn request<T>(&self, person: &Person, message: T) -> Request<T> {
        let token = self.directory().inner_token(person, self.clock.now(), TimeDelta::hours(1));
        bearer(&token, message)
    }

    /// A request as a service.
    #[must_use]
    pub fn service_request<T>(&self, from: &str, to: &str, message: T) -> Request<T> {
        bearer(&Signer::new(from, &seed(from)).expect("a key").service_token(to, self.clock.now()), message)
    }

    /// A channel to a service on this stage.
    #[must_use]
    pub fn channel(&self, service: &str) -> tonic::transport::Channel {
        let address = format!("unix:{}", self.folder.path().join(format!("{service}.sock")).display());
        tonic::transport::Endpoint::from_shared(address).expect("an address").connect_lazy()
    }

    /// Ends NATS at once, as a crash would.
    pub fn kill_nats(&self) {
        let mut nats = self.nats.lock().expect("no test panicked here");
        nats.kill().expect("it runs");
        nats.wait().expect("it ended");
    }

    /// Starts NATS again where it was, with what it had stored.
    pub fn restart_nats(&self) {
        let port = self.nats_url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        *self.nats.lock().expect("no test panicked here") = start_nats(&self.folder, port).0;
    }

    /// An owner of events whose feed the test writes itself.
    pub async fn owner(&self, service: &'static str) -> Owner {
        let owner = Owner {
            service,
            bus: self.bus.clone(),
            incarnation: Uuid::from_u128(7),
            tenant: self.tenant.clone(),
            state: Arc::default(),
        };
        let context = Context { tasks: self.tasks.clone(), ..self.context(service).await };
        context.serve(owner.routes()).await.expect("a socket");
        owner
    }
}

fn bearer<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", MetadataValue::try_from(format!("Bearer {token}")).expect("a header"));
    request
}

/// Waits until something holds, ten seconds at most; says what did not come.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut probe: impl FnMut() -> F) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{what}: it did not come within ten seconds");
        clock::pause(Duration::from_millis(10)).await;
    }
}

/// A database of its own, from a template that is migrated once a run.
async fn database(schemas: &[(&'static str, &Migrator)]) -> String {
    let mut digest = Sha256::new();
    for (schema, migrator) in schemas {
        digest.update(schema);
        for migration in migrator.iter() {
            digest.update(&migration.checksum);
        }
    }
    let template =
        format!("template_{}", digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>());
    let mut admin = PgConnection::connect_with(&options("postgres", "postgres")).await.expect("Postgres");
    sqlx::query("select pg_advisory_lock(1)").execute(&mut admin).await.expect("a lock");
    let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(&template)
        .fetch_one(&mut admin)
        .await
        .expect("an answer");
    if !exists {
        let half = format!("{template}_half");
        for statement in [format!("drop database if exists {half}"), format!("create database {half}")] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut admin).await.expect("a template");
        }
        migrate(&half, schemas).await;
        sqlx::query(AssertSqlSafe(format!("alter database {half} rename to {template}")))
            .execute(&mut admin)
            .await
            .expect("a template");
    }
    sqlx::query("select pg_advisory_unlock(1)").execute(&mut admin).await.expect("a lock");
    let name = format!("test_{}", crate::id::draw().simple());
    sqlx::query(AssertSqlSafe(format!("create database {name} template {template} strategy file_copy")))
        .execute(&mut admin)
        .await
        .expect("a database");
    name
}

async fn migrate(database: &str, schemas: &[(&'static str, &Migrator)]) {
    let mut owner = PgConnection::connect_with(&options("postgres", database)).await.expect("Postgres");
    sqlx::raw_sql("set timezone to 'UTC'").execute(&mut owner).await.expect("a setting");
    for (schema, migrator) in schemas {
        for role in
            [format!("{schema}_owner"), (*schema).to_owned(), format!("{schema}_worker"), format!("{schema}_search")]
        {
            let statement = format!(
                "do $$ begin if not exists (select from pg_roles where rolname = '{role}') then create role {role} login; end if; end $$"
            );
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut owner).await.expect("a role");
        }
        sqlx::raw_sql(AssertSqlSafe(format!(
            "create schema {schema} authorization {schema}_owner; set role {schema}_owner"
        )))
        .execute(&mut owner)
        .await
        .expect("a schema");
        migrator.run(&mut owner).await.expect("migrations");
        sqlx::raw_sql("reset role").execute(&mut owner).await.expect("a role");
    }
}

/// Starts a nats-server; port 0 takes a free one.
fn start_nats(folder: &TempDir, port: u16) -> (Child, String) {
    let port = if port == 0 {
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port()
    } else {
        port
    };
    let child = Command::new(variable("ITSM_NATS_SERVER"))
        .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
        .arg(folder.path().join("js"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server");
    (child, format!("nats://127.0.0.1:{port}"))
}

/// An owner of events whose feed and records a test writes itself, and which it publishes or not.
#[derive(Clone)]
pub struct Owner {
    service: &'static str,
    bus: Client,
    incarnation: Uuid,
    tenant: Tenant,
    state: Arc<Mutex<OwnerState>>,
}

#[derive(Default)]
struct OwnerState {
    feed: Vec<FeedEntry>,
    records: HashMap<String, SnapshotEntry>,
}

impl Owner {
    /// Adds an event to the feed without publishing it, and keeps the record for look-ups.
    pub fn say(&self, record_id: Uuid, kind: &str, at: DateTime<Utc>, body: Vec<u8>) -> FeedEntry {
        let mut state = self.state.lock().expect("no test panicked here");
        let record = record_id.to_string();
        let revision =
            1 + i64::try_from(state.feed.iter().filter(|entry| entry.record_id == record).count()).expect("few");
        let entry = FeedEntry {
            position: i64::try_from(state.feed.len()).expect("few") + 1,
            tenant_id: self.tenant.id.to_string(),
            tenant: self.tenant.slug.clone(),
            record_id: record.clone(),
            revision,
            event_id: crate::id::draw().to_string(),
            r#type: kind.to_owned(),
            at: Some(bus::timestamp(at)),
            body: body.clone().into(),
            trace_parent: String::new(),
            request_id: String::new(),
        };
        state.feed.push(entry.clone());
        let snapshot = SnapshotEntry {
            tenant_id: entry.tenant_id.clone(),
            tenant: entry.tenant.clone(),
            record_id: record.clone(),
            revision,
            body: body.into(),
        };
        state.records.insert(record, snapshot);
        entry
    }

    /// Publishes an event of the feed on NATS.
    pub async fn publish(&self, entry: &FeedEntry) {
        let headers: HeaderMap = bus::headers(self.service, self.incarnation, entry);
        let subject = bus::subject(&entry.tenant, self.service, &entry.r#type);
        self.bus.publish_with_headers(subject, headers, entry.body.clone()).await.expect("NATS");
        self.bus.flush().await.expect("NATS");
    }

    /// Says how far the feed is, as a relay does each second.
    pub async fn beat(&self) {
        use prost::Message as _;
        let beat = self.head();
        self.bus.publish(bus::heartbeat_subject(self.service), beat.encode_to_vec().into()).await.expect("NATS");
    }

    fn head(&self) -> PositionResponse {
        let head_position = i64::try_from(self.state.lock().expect("no test panicked here").feed.len()).expect("few");
        PositionResponse { incarnation: self.incarnation.to_string(), head_position }
    }

    fn feed(&self, request: &FeedRequest) -> FeedResponse {
        let head = self.head();
        let state = self.state.lock().expect("no test panicked here");
        let after = usize::try_from(request.after_position).expect("a position");
        let entries =
            state.feed.iter().skip(after).take(usize::try_from(request.limit).expect("a limit")).cloned().collect();
        FeedResponse { incarnation: head.incarnation, head_position: head.head_position, first_position: 1, entries }
    }

    fn snapshot(&self, request: &SnapshotRequest) -> SnapshotResponse {
        let state = self.state.lock().expect("no test panicked here");
        let entries = if request.tenant_id.is_empty() {
            vec![SnapshotEntry {
                tenant_id: self.tenant.id.to_string(),
                tenant: self.tenant.slug.clone(),
                ..Default::default()
            }]
        } else {
            state.records.values().cloned().collect()
        };
        SnapshotResponse { entries, next_page_token: String::new() }
    }

    fn lookup(&self, request: &LookupRequest) -> Result<LookupResponse, Status> {
        let state = self.state.lock().expect("no test panicked here");
        let entry = state.records.get(&request.record_id).cloned();
        entry.map(|entry| LookupResponse { entry: Some(entry) }).ok_or_else(|| Status::not_found("absent"))
    }

    fn routes(&self) -> Routes {
        let path = |method: &str| format!("/itsm.{}.v1.Internal/{method}", self.service);
        let (feed, position, snapshot, lookup) = (self.clone(), self.clone(), self.clone(), self.clone());
        let router = axum::Router::new()
            .route(&path("Feed"), axum::routing::post(unary(move |request: FeedRequest| Ok(feed.feed(&request)))))
            .route(&path("Position"), axum::routing::post(unary(move |_: PositionRequest| Ok(position.head()))))
            .route(
                &path("Snapshot"),
                axum::routing::post(unary(move |request: SnapshotRequest| Ok(snapshot.snapshot(&request)))),
            )
            .route(&path("Lookup"), axum::routing::post(unary(move |request: LookupRequest| lookup.lookup(&request))));
        Routes::from(router)
    }
}

/// A gRPC method without generated code.
fn unary<Q, A, F>(
    answer: F,
) -> impl Fn(http::Request<axum::body::Body>) -> BoxFuture<'static, http::Response<tonic::body::Body>> + Clone + Send
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Default + Send + 'static,
    F: Fn(Q) -> Result<A, Status> + Clone + Send + Sync + 'static,
{
    move |request| {
        let answer = answer.clone();
        Box::pin(async move {
            let handler = tower::service_fn(move |request: Request<Q>| {
                futures::future::ready(answer(request.into_inner()).map(Response::new))
            });
            tonic::server::Grpc::new(tonic_prost::ProstCodec::<A, Q>::default()).unary(handler, request).await
        })
    }
}

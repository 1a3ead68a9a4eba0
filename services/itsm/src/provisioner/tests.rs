//! The provisioner against a real nats-server: who may do what, what is made again,
//! and what survives.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, consumer::PullConsumer};
use async_nats::{Client, ConnectOptions};
use futures::StreamExt;
use kit::bus::{self, BusOptions};
use nix::sys::signal::Signal;
use tokio::time::timeout;

use super::accounts::{Accounts, Purpose};
use super::authority::{Authority, OutsideConsumer, slug};
use super::connection::{Access, connect};
use super::reconcile::{Provisioner, Settings, create_consumer};
use super::rights;
use super::streams::Streams;
use crate::embedded::child::{Child, Spec};
use crate::embedded::folder::{DataFolder, make_folder};
use crate::embedded::nats::Nats;

mod forbidden;

/// Longer than any answer on loopback takes, short enough to wait for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(15);

struct World {
    folder: DataFolder,
    nats: Option<Nats>,
    authority: Arc<Authority>,
    _temporary: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let temporary = tempfile::Builder::new().prefix("itsm-t").tempdir_in("/tmp").unwrap();
        make_folder(temporary.path(), 0o711).unwrap();
        let folder = DataFolder::open(&temporary.path().join("var")).unwrap();
        let authority = Arc::new(Authority::open(&folder).unwrap());
        authority.issue_internal().unwrap();
        let mut world = Self { folder, nats: None, authority, _temporary: temporary };
        world.start_nats().await;
        world
    }

    async fn start_nats(&mut self) {
        let trust = self.authority.trust().unwrap();
        self.nats = Some(Nats::start(&self.folder, Some(&server()), &trust).await.unwrap());
    }

    async fn stop_nats(&mut self) {
        self.nats.take().unwrap().stop().await.unwrap();
    }

    fn access(&self) -> Access {
        Access::Operator { url: self.url(), authority: self.authority.clone(), certificates: None }
    }

    fn url(&self) -> String {
        self.nats.as_ref().unwrap().url().to_owned()
    }

    async fn provisioner(&self) -> Provisioner {
        let marks_path = Some(self.folder.nats().join("streams.json"));
        Provisioner::start(Settings { access: self.access(), replicas: 1, marks_path }).await.unwrap()
    }

    async fn user(&self, credentials: &Path, inbox: &str) -> Client {
        let options = ConnectOptions::new().custom_inbox_prefix(format!("_INBOX_{inbox}")).max_reconnects(1);
        let options = options.request_timeout(Some(SILENCE)).credentials_file(credentials).await.unwrap();
        options.connect(self.url()).await.unwrap()
    }

    async fn publisher(&self, accounts: &Accounts, tenant: &str, integration: &str) -> (Client, PathBuf) {
        accounts.ensure_tenant(tenant).await.unwrap();
        let path = self.folder.root().join(format!("{tenant}-{integration}.creds"));
        accounts.issue_publisher(tenant, integration, &path).await.unwrap();
        (self.user(&path, integration).await, path)
    }
}

fn server() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/nats-server").canonicalize().unwrap()
}

/// Publishes and returns the stream and sequence that acknowledged it, or nothing.
async fn publish(client: &Client, subject: &str) -> Option<(String, u64)> {
    let mut jetstream = jetstream::new(client.clone());
    jetstream.set_timeout(SILENCE);
    let sent = jetstream.publish(subject.to_owned(), "{}".into()).await.ok()?;
    let answer = timeout(SILENCE, sent.into_future()).await.ok()?.ok()?;
    Some((answer.stream, answer.sequence))
}

async fn messages(jetstream: &jetstream::Context, stream: &str) -> u64 {
    jetstream.get_stream(stream).await.unwrap().cached_info().state.messages
}

async fn admin(world: &World) -> jetstream::Context {
    jetstream::new(connect(&world.access(), "provisioner").await.unwrap().client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_reaches_its_own_subject_and_no_other() {
    let world = World::start().await;
    let provisioner = world.provisioner().await;
    let accounts = provisioner.accounts().unwrap();
    let (demo, path) = world.publisher(accounts, "default", "demo").await;
    accounts.ensure_tenant("globex").await.unwrap();
    assert_eq!(publish(&demo, "alerts.default.demo").await, Some(("ALERTS".to_owned(), 1)));
    let others = [
        "alerts.default.other",
        "alerts.globex.demo",
        "itsm.default.alert.raised",
        "itsm.globex.alert.raised",
        "$KV.integration_keys.x",
        "$JS.API.STREAM.PURGE.ALERTS",
        "$JS.API.STREAM.DELETE.ALERTS",
    ];
    for subject in others {
        assert_eq!(publish(&demo, subject).await, None, "{subject}");
    }
    // Whatever a publisher names as the place to answer, nothing is put there.
    for reply in ["alerts.globex.demo", "itsm.default.alert.raised", "$JS.API.STREAM.DELETE.ALERTS"] {
        demo.publish_with_reply("alerts.default.demo", reply, "{}".into()).await.unwrap();
    }
    demo.flush().await.unwrap();
    let admin = admin(&world).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while messages(&admin, "ALERTS").await < 4 {
        assert!(tokio::time::Instant::now() < deadline, "the alerts with a reply are not stored");
    }
    assert_eq!((messages(&admin, "ALERTS").await, messages(&admin, "ALERT").await), (4, 0));

    // Issued again, the file stays; lost, there is another key and the first one is cut off.
    let before = std::fs::read_to_string(&path).unwrap();
    accounts.issue_publisher("default", "demo", &path).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    std::fs::remove_file(&path).unwrap();
    accounts.issue_publisher("default", "demo", &path).await.unwrap();
    assert_ne!(std::fs::read_to_string(&path).unwrap(), before);
    assert_eq!(publish(&demo, "alerts.default.demo").await, None);
    assert!(publish(&world.user(&path, "demo").await, "alerts.default.demo").await.is_some());
    provisioner.stop().await;
    world.nats.unwrap().stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_hears_its_own_tenant_only() {
    let world = World::start().await;
    let provisioner = world.provisioner().await;
    let accounts = provisioner.accounts().unwrap();
    accounts.ensure_tenant("acme").await.unwrap();
    let reader = world.user(&accounts.issue_reader("acme").await.unwrap(), "reader").await;
    let mut heard = reader.subscribe("itsm.acme.>").await.unwrap();
    let mut closed = reader.subscribe("itsm.>").await.unwrap();
    reader.flush().await.unwrap();
    let incident = connect(&world.access(), "incident").await.unwrap().client;
    assert_eq!(publish(&incident, "itsm.globex.incident.opened").await, Some(("INCIDENT".to_owned(), 1)));
    assert_eq!(publish(&incident, "itsm.acme.incident.opened").await, Some(("INCIDENT".to_owned(), 2)));
    assert_eq!(publish(&incident, "itsm.acme.change.approved").await, None, "a service speaks for another");
    assert_eq!(publish(&incident, "alerts.acme.demo").await, None, "a service hands alerts in");
    let first = timeout(PATIENCE, heard.next()).await.unwrap().unwrap();
    assert_eq!(first.subject.as_str(), "itsm.acme.incident.opened");
    assert!(timeout(SILENCE, heard.next()).await.is_err());
    assert!(!matches!(timeout(SILENCE, closed.next()).await, Ok(Some(_))), "a reader hears all tenants");
    assert_eq!(publish(&reader, "itsm.acme.incident.opened").await, None);
    provisioner.stop().await;
    world.nats.unwrap().stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_user_and_a_removed_tenant_are_cut_off_for_ever() {
    let mut world = World::start().await;
    let provisioner = world.provisioner().await;
    let accounts = provisioner.accounts().unwrap().clone();
    let (demo, path) = world.publisher(&accounts, "default", "demo").await;
    let (other, _) = world.publisher(&accounts, "default", "other").await;
    let (gone, gone_path) = world.publisher(&accounts, "gone", "demo").await;
    for (client, subject) in [(&demo, "alerts.default.demo"), (&gone, "alerts.gone.demo")] {
        assert!(publish(client, subject).await.is_some());
    }
    let purpose = Purpose::Publisher("demo".to_owned());
    assert!(accounts.revoke("default", &purpose).await.unwrap());
    assert!(!accounts.revoke("default", &purpose).await.unwrap());
    accounts.remove_tenant("gone").await.unwrap();
    assert_eq!(publish(&demo, "alerts.default.demo").await, None);
    assert_eq!(publish(&gone, "alerts.gone.demo").await, None);
    assert!(publish(&other, "alerts.default.other").await.is_some());
    assert!(accounts.issue_reader("gone").await.is_err());
    provisioner.stop().await;

    // The server forgets everything but what is configured: the accounts come from disk.
    world.stop_nats().await;
    std::fs::remove_dir_all(world.folder.nats().join("jwt")).unwrap();
    world.start_nats().await;
    let provisioner = world.provisioner().await;
    let accounts = provisioner.accounts().unwrap();
    let refused = ConnectOptions::new().credentials_file(&path).await.unwrap().connect(world.url()).await;
    assert!(refused.is_err(), "a revoked user is back after a restart");
    assert!(accounts.ensure_tenant("gone").await.unwrap());
    let refused = ConnectOptions::new().credentials_file(&gone_path).await.unwrap().connect(world.url()).await;
    assert!(refused.is_err(), "a removed tenant's user is back with the tenant");
    let (back, _) = world.publisher(accounts, "gone", "demo").await;
    assert!(publish(&back, "alerts.gone.demo").await.is_some());
    provisioner.stop().await;
    world.nats.unwrap().stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_made_again_and_told() {
    let mut world = World::start().await;
    let provisioner = world.provisioner().await;
    let admin = admin(&world).await;
    let mut losses = provisioner.recreated();
    assert_eq!(losses.borrow_and_update().len(), rights::SERVICES.len(), "new streams are empty streams");
    admin.delete_stream("INCIDENT").await.unwrap();
    admin.delete_stream("KV_integration_keys").await.unwrap();
    admin.delete_consumer_from_stream("alert", "ALERTS").await.unwrap();
    timeout(PATIENCE, losses.wait_for(|losses| losses["incident"] == 2)).await.unwrap().unwrap();
    assert_eq!(losses.borrow()["change"], 1);
    for stream in ["INCIDENT", "ALERTS", "KV_integration_keys"] {
        admin.get_stream(stream).await.unwrap();
    }
    let consumer: PullConsumer = admin.get_consumer_from_stream("alert", "ALERTS").await.unwrap();
    let config = &consumer.cached_info().config;
    assert_eq!((config.ack_wait, config.max_deliver, config.max_ack_pending), (Duration::from_secs(4), -1, 1_000));

    // A changed setting is set back.
    let mut config = admin.get_stream("ALERTS").await.unwrap().cached_info().config.clone();
    config.max_messages_per_subject = 5;
    admin.update_stream(config).await.unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while admin.get_stream("ALERTS").await.unwrap().cached_info().config.max_messages_per_subject != 100_000 {
        assert!(tokio::time::Instant::now() < deadline, "the changed stream stays changed");
    }

    // Lost while nobody looked: told at the next start. What was not touched is not told.
    let change = connect(&world.access(), "change").await.unwrap().client;
    publish(&change, "itsm.acme.change.requested").await.unwrap();
    provisioner.stop().await;
    let provisioner = world.provisioner().await;
    assert!(provisioner.recreated().borrow().is_empty(), "{:?}", provisioner.recreated().borrow());
    provisioner.stop().await;
    admin.get_stream("CHANGE").await.unwrap().purge().await.unwrap();
    admin.delete_stream("SLA").await.unwrap();
    world.stop_nats().await;
    world.start_nats().await;
    let provisioner = world.provisioner().await;
    assert_eq!(provisioner.recreated().borrow().keys().copied().collect::<Vec<_>>(), ["sla"]);
    provisioner.stop().await;
    world.nats.unwrap().stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_intake_is_purged_up_to_what_was_taken() {
    let world = World::start().await;
    let provisioner = world.provisioner().await;
    let gateway = connect(&world.access(), "gateway").await.unwrap().client;
    for _ in 0..5 {
        publish(&gateway, "alerts.acme.demo").await.unwrap();
    }
    let alert = jetstream::new(connect(&world.access(), "alert").await.unwrap().client);
    let consumer: PullConsumer = alert.get_consumer_from_stream("alert", "ALERTS").await.unwrap();
    let mut taken = consumer.fetch().max_messages(4).messages().await.unwrap();
    let mut held = Vec::new();
    while let Some(message) = taken.next().await {
        held.push(message.unwrap());
    }
    // The first three and not the fourth: the floor stands before it.
    for message in &held[..3] {
        message.double_ack().await.unwrap();
    }
    let admin = admin(&world).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while messages(&admin, "ALERTS").await > 2 {
        assert!(tokio::time::Instant::now() < deadline, "what was taken is not purged");
    }
    let state = admin.get_stream("ALERTS").await.unwrap().cached_info().state.clone();
    assert_eq!((state.messages, state.first_sequence, state.last_sequence), (2, 4, 5));
    // The keys: alert writes, the gateway watches, and neither does the other's.
    let bucket = alert.get_key_value(rights::KEYS_BUCKET).await.unwrap();
    let watched = jetstream::new(gateway).get_key_value(rights::KEYS_BUCKET).await.unwrap();
    let mut watch = watched.watch_with_history(">").await.unwrap();
    bucket.put("digest", "acme".into()).await.unwrap();
    assert_eq!(timeout(PATIENCE, watch.next()).await.unwrap().unwrap().unwrap().key, "digest");
    let put = timeout(SILENCE, watched.put("digest", "evil".into())).await;
    assert!(!matches!(put, Ok(Ok(_))), "the gateway writes keys");
    provisioner.stop().await;
    world.nats.unwrap().stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_that_come_while_it_looks_are_no_loss() {
    let world = World::start().await;
    let provisioner = world.provisioner().await;
    let alert = jetstream::new(connect(&world.access(), "alert").await.unwrap().client);
    let consumer: PullConsumer = alert.get_consumer_from_stream("alert", "ALERTS").await.unwrap();
    let mut taken = consumer.messages().await.unwrap();
    let mut busy = tokio::task::JoinSet::new();
    busy.spawn(async move {
        while let Some(Ok(message)) = taken.next().await {
            message.ack().await.unwrap();
        }
    });
    for _ in 0..4 {
        let gateway = connect(&world.access(), "gateway").await.unwrap().client;
        busy.spawn(async move { while publish(&gateway, "alerts.acme.demo").await.is_some() {} });
    }
    let admin = admin(&world).await;
    let mut streams = Streams::new(admin.clone(), 1, None).unwrap();
    for _ in 0..100 {
        streams.reconcile(&[]).await.unwrap();
    }
    let now: PullConsumer = admin.get_consumer_from_stream("alert", "ALERTS").await.unwrap();
    assert_eq!(now.cached_info().created, consumer.cached_info().created, "the consumer was made anew");
    assert!(now.cached_info().delivered.stream_sequence > 100, "the load was real");
    busy.shutdown().await;
    provisioner.stop().await;
    world.nats.unwrap().stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_outside_reads_by_its_own_durable_consumer_only() {
    let world = World::start().await;
    let provisioner = world.provisioner().await;
    for tenant in ["acme", "globex"] {
        provisioner.accounts().unwrap().ensure_tenant(tenant).await.unwrap();
    }
    let cmdb = OutsideConsumer::new("acme", "incident", "cmdb").unwrap();
    let theirs = OutsideConsumer::new("globex", "incident", "cmdb").unwrap();
    // One by the running provisioner, one beside it, as the command does.
    let credentials = provisioner.create_consumer(&cmdb).await.unwrap().unwrap();
    create_consumer(&world.access(), 1, &theirs).await.unwrap().unwrap();
    assert!(OutsideConsumer::new("acme", "weather", "cmdb").is_err());
    assert!(provisioner.create_consumer(&OutsideConsumer::new("acme", "change", "cmdb").unwrap()).await.is_err());

    let incident = connect(&world.access(), "incident").await.unwrap().client;
    publish(&incident, "itsm.globex.incident.opened").await.unwrap();
    publish(&incident, "itsm.acme.incident.opened").await.unwrap();
    let client = world.user(&credentials, &cmdb.durable()).await;
    let outside = jetstream::with_prefix(client, rights::OUTSIDE_API);
    let take = || async {
        let consumer: PullConsumer = outside.get_consumer_from_stream(cmdb.durable(), "INCIDENT").await.unwrap();
        let mut batch = consumer.fetch().max_messages(10).messages().await.unwrap();
        let mut subjects = Vec::new();
        while let Some(message) = batch.next().await {
            let message = message.unwrap();
            message.double_ack().await.unwrap();
            subjects.push(message.subject.to_string());
        }
        subjects
    };
    assert_eq!(take().await, ["itsm.acme.incident.opened"]);
    let other =
        outside.get_consumer_from_stream::<jetstream::consumer::pull::Config, _, _>(theirs.durable(), "INCIDENT");
    assert!(!matches!(timeout(SILENCE, other).await, Ok(Ok(_))), "a tenant reaches another's consumer");

    // Lost with its stream, it is made again.
    let admin = admin(&world).await;
    admin.delete_stream("INCIDENT").await.unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let made = || admin.get_consumer_from_stream::<jetstream::consumer::pull::Config, _, _>(cmdb.durable(), "INCIDENT");
    while made().await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the consumer is not made again");
    }
    publish(&incident, "itsm.acme.incident.closed").await.unwrap();
    assert_eq!(take().await, ["itsm.acme.incident.closed"]);
    provisioner.stop().await;
    world.nats.unwrap().stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_gets_its_accounts_again() {
    let mut world = World::start().await;
    let provisioner = world.provisioner().await;
    let accounts = provisioner.accounts().unwrap();
    let (_, path) = world.publisher(accounts, "default", "demo").await;
    world.stop_nats().await;
    std::fs::remove_dir_all(world.folder.nats().join("jwt")).unwrap();
    std::fs::remove_dir_all(world.folder.nats().join("js")).unwrap();
    world.start_nats().await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let options = ConnectOptions::new().custom_inbox_prefix("_INBOX_demo").credentials_file(&path).await.unwrap();
        if let Ok(client) = options.connect(world.url()).await
            && publish(&client, "alerts.default.demo").await.is_some()
        {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the publisher stays locked out");
    }
    let mut healthy = provisioner.healthy();
    timeout(PATIENCE, healthy.wait_for(|well| *well)).await.unwrap().unwrap();
    assert!(provisioner.recreated().borrow().values().all(|times| *times == 2));
    provisioner.stop().await;
    world.nats.unwrap().stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_server_gets_streams_and_no_accounts() {
    let temporary = tempfile::Builder::new().prefix("itsm-t").tempdir_in("/tmp").unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = format!(
        "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}/js\" }}\nauthorization {{ user: it, password: \"p@ss\" }}\n",
        temporary.path().display()
    );
    let configuration = temporary.path().join("server.conf");
    std::fs::write(&configuration, settings).unwrap();
    let spec = Spec {
        name: "theirs",
        program: server(),
        arguments: vec!["--config".into(), configuration.to_str().unwrap().into()],
        environment: vec![],
        user: None,
        stop: vec![(Signal::SIGTERM, PATIENCE)],
    };
    let theirs = Child::spawn(&spec, temporary.path(), temporary.path()).await.unwrap();
    let access = |url: String| Access::Plain { url, certificates: None };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while connect(&access(format!("nats://it:p%40ss@127.0.0.1:{port}")), "provisioner").await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "their server does not start: {}", theirs.log_tail());
    }
    assert!(connect(&access(format!("nats://127.0.0.1:{port}")), "provisioner").await.is_err());
    let refused = Settings { access: access(format!("nats://127.0.0.1:{port}")), replicas: 1, marks_path: None };
    assert!(timeout(PATIENCE, Provisioner::start(refused)).await.unwrap().is_err(), "waits for what never comes");
    let access = access(format!("nats://it:p%40ss@127.0.0.1:{port}"));
    let settings = Settings { access: access.clone(), replicas: 1, marks_path: None };
    let provisioner = Provisioner::start(settings).await.unwrap();
    assert!(provisioner.accounts().is_none());
    let consumer = OutsideConsumer::new("acme", "incident", "cmdb").unwrap();
    assert_eq!(provisioner.create_consumer(&consumer).await.unwrap(), None);
    let client = connect(&access, "incident").await.unwrap().client;
    assert_eq!(publish(&client, "itsm.acme.incident.opened").await, Some(("INCIDENT".to_owned(), 1)));
    provisioner.stop().await;
    theirs.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_for_certificates_is_reached_by_them_alone() {
    const CERTIFICATE: &str = include_str!("../../../gateway/tests/fixtures/tls-test-only.crt.pem");
    const KEY: &str = include_str!("../../../gateway/tests/fixtures/tls-test-only.key.pem");
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    for part in ["provisioner", "incident"] {
        std::fs::write(folder.join(format!("{part}.crt")), CERTIFICATE).unwrap();
        std::fs::write(folder.join(format!("{part}.key")), KEY).unwrap();
    }
    std::fs::write(folder.join("ca.crt"), CERTIFICATE).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let here = folder.display();
    let settings = format!(
        "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{here}/js\" }}\ntls {{ cert_file: \"{here}/incident.crt\", \
         key_file: \"{here}/incident.key\", ca_file: \"{here}/ca.crt\", verify: true }}\n"
    );
    let configuration = folder.join("server.conf");
    std::fs::write(&configuration, settings).unwrap();
    let spec = Spec {
        name: "tls",
        program: server(),
        arguments: vec!["--config".into(), configuration.to_str().unwrap().into()],
        environment: vec![],
        user: None,
        stop: vec![(Signal::SIGTERM, PATIENCE)],
    };
    let server = Child::spawn(&spec, folder, folder).await.unwrap();
    let url = format!("tls://127.0.0.1:{port}");
    let access = |certificates| Access::Plain { url: url.clone(), certificates };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while let Err(error) = connect(&access(Some(folder.to_owned())), "provisioner").await {
        assert!(tokio::time::Instant::now() < deadline, "{error:#}: {}", server.log_tail());
    }
    let options = |certificates_folder| BusOptions { url: url.clone(), credentials: None, certificates_folder };
    let incident = bus::connect("incident", &options(Some(folder.to_owned()))).await.unwrap();
    timeout(PATIENCE, incident.flush()).await.unwrap().unwrap();

    assert!(connect(&access(None), "provisioner").await.is_err(), "let in without a certificate");
    let stranger = bus::connect("incident", &options(None)).await.unwrap();
    assert!(!matches!(timeout(SILENCE, stranger.flush()).await, Ok(Ok(()))), "let in without a certificate");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_for_a_server_that_is_away() {
    let mut world = World::start().await;
    let access = world.access();
    world.stop_nats().await;
    let starting = tokio::spawn(Provisioner::start(Settings { access, replicas: 1, marks_path: None }));
    let mut starting = starting;
    assert!(timeout(SILENCE * 6, &mut starting).await.is_err(), "gave up, or found a server");
    world.start_nats().await;
    timeout(PATIENCE, starting).await.unwrap().unwrap().unwrap().stop().await;
    world.nats.unwrap().stop().await.unwrap();
}

#[test]
fn names_that_would_be_subjects_or_paths_are_refused() {
    for name in ["", "a.b", "../x", "*", ">", "Acme", "a_b", &"x".repeat(41)] {
        assert!(slug(name).is_err(), "{name}");
    }
    assert_eq!(slug("acme-2").unwrap(), "acme-2");
}

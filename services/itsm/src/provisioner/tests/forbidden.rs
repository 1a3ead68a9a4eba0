//! Every user that the provisioner signs tries every subject there is, against a real server: what
//! its committed list gives is let through, all else is refused. And nothing can be made to land in
//! a stream by naming it as the place to answer.

use std::{fmt::Write, path::Path};

use async_nats::{Client, ConnectOptions, Event};
use tokio::{sync::mpsc, time::timeout};

use super::{PATIENCE, World, admin, messages, publish};
use crate::{
    golden,
    provisioner::{
        authority::OutsideConsumer,
        claims::{Allow, Rights},
        connection::connect,
        rights,
    },
};

/// A connection of one user, and what the server refused it.
struct Caller {
    client: Client,
    refusals: mpsc::UnboundedReceiver<String>,
}

impl Caller {
    async fn connect(world: &World, credentials: &Path, inbox: &str) -> Self {
        let (sender, refusals) = mpsc::unbounded_channel();
        let options =
            ConnectOptions::new().custom_inbox_prefix(rights::inbox_prefix(inbox)).event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    // Nobody listens any more once the test has failed.
                    drop(sender.send(error.to_string()));
                }
                std::future::ready(())
            });
        let client = options.credentials_file(credentials).await.unwrap().connect(world.url()).await.unwrap();
        Self { client, refusals }
    }

    /// What was refused so far. The server answers in order, so all of it is there before the
    /// refusal of a last subject that nobody may publish to.
    async fn refusals(&mut self) -> Vec<String> {
        self.client.publish("nobody.may", "".into()).await.unwrap();
        let mut seen = Vec::new();
        loop {
            let refusal = timeout(PATIENCE, self.refusals.recv()).await.unwrap().unwrap();
            if refusal.contains("\"nobody.may\"") {
                return seen;
            }
            seen.push(refusal);
        }
    }
}

/// Whether a list gives a subject, which may have wildcards itself.
fn gives(allow: &Allow, subject: &str) -> bool {
    let covers = |pattern: &str| {
        let (mut left, mut right) = (pattern.split('.'), subject.split('.'));
        loop {
            match (left.next(), right.next()) {
                (Some(">"), Some(_)) | (None, None) => return true,
                (Some("*"), Some(token)) if token != ">" => {}
                (Some(token), Some(same)) if token == same => {}
                _ => return false,
            }
        }
    };
    match allow {
        Allow::Everything => true,
        Allow::Nothing => false,
        Allow::Only(patterns) => patterns.iter().any(|pattern| covers(pattern)),
    }
}

const OUTSIDE: &str = "ext-acme_cmdb";

/// Everybody but the provisioner, who may everything: a name, an account, and the rights in it.
fn users() -> Vec<(&'static str, &'static str, Rights)> {
    let services = rights::SERVICES.iter().map(|service| (service.name, "services", rights::of_service(service)));
    let others = [
        (rights::GATEWAY, "services", rights::of_gateway()),
        ("system", "system", rights::of_system()),
        ("demo", "tenant acme", rights::of_publisher("acme", "demo")),
        ("reader", "tenant acme", rights::of_reader("acme")),
        (OUTSIDE, "tenant acme", rights::of_consumer("INCIDENT", OUTSIDE)),
    ];
    services.chain(others).collect()
}

/// What somebody who was taken over would publish: events, alerts and wake-ups of others, keys, and
/// every request that reads or changes a stream, a consumer or an account.
fn publishes() -> Vec<String> {
    let mut subjects: Vec<String> = rights::SERVICES
        .iter()
        .flat_map(|service| {
            let name = service.name;
            [format!("itsm.acme.{name}.forged"), format!("itsm._feed.{name}"), format!("itsm._wake.{name}")]
        })
        .collect();
    for stream in ["ALERTS", "INCIDENT", "KV_integration_keys"] {
        for action in [
            "CREATE",
            "UPDATE",
            "DELETE",
            "PURGE",
            "INFO",
            "MSG.GET",
            "MSG.DELETE",
            "SNAPSHOT",
            "RESTORE",
            "LEADER.STEPDOWN",
        ] {
            subjects.push(format!("$JS.API.STREAM.{action}.{stream}"));
        }
        for action in ["NAMES", "LIST", "CREATE"] {
            subjects.push(format!("$JS.API.CONSUMER.{action}.{stream}"));
        }
        for consumer in ["alert", OUTSIDE, "mine"] {
            for action in ["CREATE", "DURABLE.CREATE", "DELETE", "INFO", "MSG.NEXT", "PAUSE", "LEADER.STEPDOWN"] {
                subjects.push(format!("$JS.API.CONSUMER.{action}.{stream}.{consumer}"));
                subjects.push(format!("itsm-api.CONSUMER.{action}.{stream}.{consumer}"));
            }
            subjects.push(format!("$JS.ACK.{stream}.{consumer}.1.1.1.1.0"));
            subjects.push(format!("$JS.FC.{stream}.{consumer}.x"));
        }
        subjects.push(format!("$JS.API.DIRECT.GET.{stream}"));
        subjects.push(format!("$JS.API.DIRECT.GET.{stream}.$KV.x"));
    }
    let more = [
        "alerts.acme.demo",
        "alerts.acme.other",
        "alerts.globex.demo",
        "itsm.globex.incident.forged",
        "itsm.incident",
        "$KV.integration_keys.forged",
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.LIST",
        "$JS.API.ACCOUNT.PURGE.x",
        "$JS.EVENT.ADVISORY.forged",
        "$SYS.REQ.CLAIMS.UPDATE",
        "$SYS.REQ.CLAIMS.DELETE",
        "$SYS.REQ.ACCOUNT.PING.CONNZ",
        "$SYS.REQ.SERVER.PING",
        "$SYS.REQ.SERVER.x.RELOAD",
        "_INBOX.x",
        "_INBOX_provisioner.x",
        "_INBOX_alert.x",
        "_INBOX_demo.x",
    ];
    subjects.extend(more.map(str::to_owned));
    subjects
}

/// What somebody who was taken over would listen to.
fn subscriptions() -> Vec<String> {
    let services = rights::SERVICES.iter().flat_map(|service| {
        let name = service.name;
        [
            format!("itsm.*.{name}.>"),
            format!("itsm._feed.{name}"),
            format!("itsm._wake.{name}"),
            format!("_INBOX_{name}.>"),
        ]
    });
    let more = [
        ">",
        "*.>",
        "itsm.>",
        "itsm.*.*.>",
        "itsm.acme.>",
        "itsm.globex.>",
        "alerts.>",
        "alerts.*.*",
        "alerts.acme.demo",
        "_INBOX.>",
        "_INBOX_provisioner.>",
        "_INBOX_gateway.>",
        "_INBOX_system.>",
        "_INBOX_demo.>",
        "_INBOX_ext-acme_cmdb.>",
        "$KV.>",
        "$KV.integration_keys.>",
        "$JS.API.>",
        "$JS.ACK.>",
        "$JS.EVENT.ADVISORY.>",
        "$SYS.>",
        "$SYS.REQ.CLAIMS.>",
    ];
    services.chain(more.map(str::to_owned)).collect()
}

#[test]
fn the_lists_are_those_committed() {
    let mut text =
        "# What each user of NATS may publish and hear, as signed by the provisioner. Everything else is refused.\n"
            .to_owned();
    let provisioner = ("provisioner", "services", rights::of_provisioner());
    let unnamed = ("(given nothing else)", "tenant acme", rights::of_tenant("acme"));
    for (name, account, rights) in users().into_iter().chain([provisioner, unnamed]) {
        for (verb, allow) in [("publishes", &rights.publish), ("hears", &rights.subscribe)] {
            let subjects = match allow {
                Allow::Only(subjects) => subjects.clone(),
                Allow::Nothing => vec!["nothing".to_owned()],
                Allow::Everything => vec!["everything".to_owned()],
            };
            for subject in subjects {
                writeln!(text, "{account} | {name} | {verb} | {subject}").unwrap();
            }
        }
    }
    golden::compare("nats_rights.txt", &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_not_on_a_list_is_refused() {
    let world = World::start().await;
    let provisioner = world.provisioner().await;
    let accounts = provisioner.accounts().unwrap();
    for tenant in ["acme", "globex"] {
        accounts.ensure_tenant(tenant).await.unwrap();
    }
    let anonymous = ConnectOptions::new().connect(world.url()).await;
    assert!(anonymous.is_err(), "nobody in particular is let in");
    let publisher = world.folder.root().join("demo.creds");
    accounts.issue_publisher("acme", "demo", &publisher).await.unwrap();
    let reader = accounts.issue_reader("acme").await.unwrap();
    let outside = OutsideConsumer::new("acme", "incident", "cmdb").unwrap();
    assert_eq!(outside.durable(), OUTSIDE);
    let consumer = provisioner.create_consumer(&outside).await.unwrap().unwrap();

    let (mut refused, mut tried) = (0, 0);
    for (name, _, rights) in users() {
        let credentials = match name {
            "demo" => publisher.clone(),
            "reader" => reader.clone(),
            OUTSIDE => consumer.clone(),
            internal => world.authority.credentials_path(internal),
        };
        let mut caller = Caller::connect(&world, &credentials, name).await;
        let mut refusals = Vec::new();
        // A few at a time: of too many events at once, the client forgets some.
        for subjects in publishes().chunks(50) {
            for subject in subjects {
                caller.client.publish(subject.clone(), "{}".into()).await.unwrap();
            }
            refusals.extend(caller.refusals().await);
        }
        // Kept until the end: a subscription that goes away would not be judged.
        let mut kept = Vec::new();
        for subject in subscriptions() {
            kept.push(caller.client.subscribe(subject).await.unwrap());
        }
        refusals.extend(caller.refusals().await);
        let judge = |verb: &str, allow: &Allow, subject: &str| {
            let told = refusals.iter().any(|refusal| refusal.contains(&format!("for {verb} to \"{subject}\"")));
            assert_eq!(told, !gives(allow, subject), "{name}: {verb} to {subject}: {refusals:#?}");
        };
        for subject in publishes() {
            judge("Publish", &rights.publish, &subject);
        }
        for subject in subscriptions() {
            judge("Subscription", &rights.subscribe, &subject);
        }
        refused += refusals.len();
        tried += publishes().len() + subscriptions().len();
    }
    assert!(tried > 2_500 && refused * 10 > tried * 9, "{refused} of {tried} were refused");
    provisioner.stop().await;
    world.nats.unwrap().stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_lands_in_a_stream() {
    let world = World::start().await;
    let provisioner = world.provisioner().await;
    let accounts = provisioner.accounts().unwrap();
    let (demo, _) = world.publisher(accounts, "acme", "demo").await;
    accounts.ensure_tenant("globex").await.unwrap();
    let outside = OutsideConsumer::new("acme", "incident", "cmdb").unwrap();
    let credentials = provisioner.create_consumer(&outside).await.unwrap().unwrap();
    let consumer = world.user(&credentials, &outside.durable()).await;
    let incident = connect(&world.access(), "incident").await.unwrap().client;
    publish(&incident, "itsm.acme.incident.opened").await.unwrap();

    let admin = admin(&world).await;
    let others: Vec<String> =
        rights::SERVICES.iter().map(rights::Service::stream).chain(["KV_integration_keys".to_owned()]).collect();
    let stored = async || {
        let mut counts = Vec::new();
        for stream in &others {
            counts.push(messages(&admin, stream).await);
        }
        counts
    };
    let before = stored().await;
    for reply in publishes() {
        demo.publish_with_reply("alerts.acme.demo", reply.clone(), "{}".into()).await.unwrap();
        for request in ["MSG.NEXT", "INFO"] {
            let subject = format!("itsm-api.CONSUMER.{request}.INCIDENT.{OUTSIDE}");
            consumer.publish_with_reply(subject, reply.clone(), "".into()).await.unwrap();
        }
    }
    consumer.flush().await.unwrap();
    // Two more that are acknowledged: the answers to those before have been sent.
    publish(&demo, "alerts.acme.demo").await.unwrap();
    let (_, last) = publish(&demo, "alerts.acme.demo").await.unwrap();
    assert!(last > 100, "of the alerts only {last} were stored");
    assert_eq!(messages(&admin, "ALERTS").await, last, "alerts were deleted");
    let alerts = admin.get_stream("ALERTS").await.unwrap();
    for sequence in 1..=last {
        let message = alerts.get_raw_message(sequence).await.unwrap();
        assert_eq!((message.subject.as_str(), message.payload.as_ref()), ("alerts.acme.demo", b"{}".as_slice()));
    }
    assert_eq!(stored().await, before, "an answer was stored, or something deleted");
    provisioner.stop().await;
    world.nats.unwrap().stop().await.unwrap();
}

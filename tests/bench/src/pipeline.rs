//! The floor: the least that an alert's way to a webhook can cost with the same Postgres, NATS and
//! receiver. A stream of alerts; one statement that deduplicates and writes incident, timeline and
//! outbox; a relay to a stream of events; two clocks; one delivery; the POST. It has no tenants, no
//! rights, no retries and one order of nothing: what the product adds is what its ratio costs.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use anyhow::Context as _;
use async_nats::{
    HeaderMap,
    jetstream::{
        self, Context, Message,
        consumer::{AckPolicy, PullConsumer, pull},
        context::PublishAckFuture,
        stream::{self, StorageType},
    },
};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Mutex, mpsc},
};
use tokio_postgres::NoTls;
use uuid::Uuid;

use crate::options::Options;

/// How many POSTs one worker has under way.
const POSTS: usize = 16;

const INCIDENTS: &str = "
    with s as (select * from unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[]) as s (id, fp, title, n, payload)),
    i as (
        insert into incident.incidents (id, title, description, severity, status, source, fingerprint, occurrences)
        select id, title, title, 2, 'open', 'mon', fp, n from s
        on conflict (fingerprint) where status <> 'closed'
        do update set occurrences = incidents.occurrences + excluded.occurrences, last_seen_at = now()
        returning id),
    w as (select s.id, s.payload from s join i using (id)),
    t as (insert into incident.timeline (incident_id, kind, body) select id, 'created', '{\"by\":\"alert\"}'::jsonb from w)
    insert into incident.outbox (subject, payload) select 'itsm.incident.created', payload from w returning id, payload";
const CLOCKS: &str = "
    with s as (insert into sla.inbox select unnest($1::uuid[]) on conflict do nothing returning msg_id)
    insert into sla.clocks (incident_id, kind, due_at)
    select msg_id, k, now() + d from s, (values ('response', interval '15 min'), ('resolution', interval '4 h')) x (k, d)";
const DELIVERIES: &str = "
    insert into notify.deliveries (incident_id, channel, target, status)
    select unnest($1::uuid[]), 'webhook', 'ops', 'sending' on conflict do nothing";
const SENT: &str = "update notify.deliveries set status = 'sent', attempts = 1 where incident_id = any ($1)";

type Inbox = Arc<Mutex<mpsc::Receiver<Message>>>;
type Poster = Client<HttpConnector, Full<Bytes>>;

struct Floor {
    database: String,
    stream: Context,
    hook: String,
    batch: usize,
    workers: usize,
}

impl Floor {
    async fn database(&self) -> anyhow::Result<tokio_postgres::Client> {
        let (client, connection) = tokio_postgres::connect(&self.database, NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    async fn make_streams(&self) -> anyhow::Result<()> {
        for (name, subjects) in [("ALERTS", "alerts.>"), ("EVENTS", "itsm.>")] {
            let _ = self.stream.delete_stream(name).await;
            let config = stream::Config {
                name: name.to_owned(),
                subjects: vec![subjects.to_owned()],
                storage: StorageType::File,
                ..Default::default()
            };
            self.stream.create_stream(config).await?;
        }
        Ok(())
    }

    async fn inbox(&self, stream: &str, name: &str, filter: &str) -> anyhow::Result<Inbox> {
        let config = pull::Config {
            durable_name: Some(name.to_owned()),
            filter_subject: filter.to_owned(),
            ack_policy: AckPolicy::Explicit,
            max_ack_pending: 20_000,
            ..Default::default()
        };
        let consumer: PullConsumer = self.stream.get_stream(stream).await?.create_consumer(config).await?;
        let mut messages = consumer.stream().max_messages_per_batch(1000).messages().await?;
        let (sender, receiver) = mpsc::channel(4096);
        tokio::spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                if sender.send(message).await.is_err() {
                    break;
                }
            }
        });
        Ok(Arc::new(Mutex::new(receiver)))
    }

    /// Publishes what was just committed and deletes it when it is acknowledged.
    async fn relay(&self, mut rows: mpsc::Receiver<(i64, String, String)>) -> anyhow::Result<()> {
        let database = self.database().await?;
        let delete = database.prepare("delete from incident.outbox where id = any ($1)").await?;
        let (sender, mut sent) = mpsc::unbounded_channel::<(i64, PublishAckFuture)>();
        tokio::spawn(async move {
            while let Some((id, acknowledged)) = sent.recv().await {
                acknowledged.await?;
                let mut ids = vec![id];
                while ids.len() < 1000
                    && let Ok((id, acknowledged)) = sent.try_recv()
                {
                    acknowledged.await?;
                    ids.push(id);
                }
                database.execute(&delete, &[&ids]).await?;
            }
            anyhow::Ok(())
        });
        while let Some((row, incident, payload)) = rows.recv().await {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", incident.as_str());
            let subject = "itsm.incident.created";
            let acknowledged = self.stream.publish_with_headers(subject, headers, payload.into()).await?;
            let _ = sender.send((row, acknowledged));
        }
        Ok(())
    }

    async fn incidents(self: Arc<Self>, inbox: Inbox) -> anyhow::Result<()> {
        let database = self.database().await?;
        let statement = database.prepare(INCIDENTS).await?;
        let (sender, rows) = mpsc::channel(20_000);
        let floor = Arc::clone(&self);
        tokio::spawn(async move { fatal(floor.relay(rows).await) });
        loop {
            let messages = take(&inbox, self.batch).await?;
            let batch = Batch::of(&messages)?;
            let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
                [&batch.ids, &batch.fingerprints, &batch.titles, &batch.counts, &batch.payloads];
            for row in database.query(&statement, &parameters).await? {
                let payload: String = row.get(1);
                sender.send((row.get(0), incident(payload.as_bytes())?.to_string(), payload)).await?;
            }
            acknowledge(messages).await?;
        }
    }

    async fn clocks(self: Arc<Self>, inbox: Inbox) -> anyhow::Result<()> {
        let database = self.database().await?;
        let statement = database.prepare(CLOCKS).await?;
        loop {
            let messages = take(&inbox, self.batch).await?;
            database.execute(&statement, &[&incidents(&messages)?]).await?;
            acknowledge(messages).await?;
        }
    }

    async fn deliveries(self: Arc<Self>, inbox: Inbox, poster: Poster) -> anyhow::Result<()> {
        let database = self.database().await?;
        let (claim, sent) = (database.prepare(DELIVERIES).await?, database.prepare(SENT).await?);
        loop {
            let messages = take(&inbox, self.batch).await?;
            let ids = incidents(&messages)?;
            database.execute(&claim, &[&ids]).await?;
            let bodies: Vec<Bytes> = messages.iter().map(|message| message.payload.clone()).collect();
            let mut posts =
                futures::stream::iter(bodies.into_iter().map(|body| self.post(&poster, body))).buffer_unordered(POSTS);
            while let Some(answer) = posts.next().await {
                answer?;
            }
            drop(posts);
            database.execute(&sent, &[&ids]).await?;
            acknowledge(messages).await?;
        }
    }

    async fn post(&self, poster: &Poster, body: Bytes) -> anyhow::Result<()> {
        let request = Request::post(&self.hook).header("content-type", "application/json").body(Full::new(body))?;
        poster.request(request).await?.into_body().collect().await?;
        Ok(())
    }
}

/// New incidents of some messages; the same fingerprint twice is one with a count.
#[derive(Default)]
struct Batch {
    ids: Vec<Uuid>,
    fingerprints: Vec<String>,
    titles: Vec<String>,
    counts: Vec<i32>,
    payloads: Vec<String>,
}

impl Batch {
    fn of(messages: &[Message]) -> anyhow::Result<Self> {
        let (mut batch, mut places) = (Self::default(), HashMap::new());
        for message in messages {
            let alert: Value = serde_json::from_slice(&message.payload)?;
            let fingerprint = alert["fingerprint"].as_str().context("an alert without fingerprint")?.to_owned();
            match places.entry(fingerprint) {
                Entry::Occupied(place) => batch.counts[*place.get()] += 1,
                Entry::Vacant(place) => {
                    let (id, fingerprint) = (Uuid::now_v7(), place.key().clone());
                    place.insert(batch.ids.len());
                    let payload = json!({
                        "incident_id": id.to_string(), "title": alert["title"], "severity": 2,
                        "fingerprint": fingerprint, "sent_ns": alert["sent_ns"],
                    });
                    batch.payloads.push(payload.to_string());
                    batch.ids.push(id);
                    batch.fingerprints.push(fingerprint);
                    batch.titles.push(alert["title"].as_str().unwrap_or_default().to_owned());
                    batch.counts.push(1);
                }
            }
        }
        Ok(batch)
    }
}

fn incident(payload: &[u8]) -> anyhow::Result<Uuid> {
    let event: Value = serde_json::from_slice(payload)?;
    Ok(event["incident_id"].as_str().context("an event without incident")?.parse()?)
}

fn incidents(messages: &[Message]) -> anyhow::Result<Vec<Uuid>> {
    messages.iter().map(|message| incident(&message.payload)).collect()
}

/// The first message, and whatever else is there already.
async fn take(inbox: &Inbox, at_most: usize) -> anyhow::Result<Vec<Message>> {
    let mut inbox = inbox.lock().await;
    let mut messages = vec![inbox.recv().await.context("the stream of messages ended")?];
    while messages.len() < at_most
        && let Some(Some(message)) = inbox.recv().now_or_never()
    {
        messages.push(message);
    }
    Ok(messages)
}

async fn acknowledge(messages: Vec<Message>) -> anyhow::Result<()> {
    for message in messages {
        message.ack().await.map_err(|error| anyhow::anyhow!(error))?;
    }
    Ok(())
}

/// A floor with a broken part measures nothing: it ends, and the run with it.
fn fatal(outcome: anyhow::Result<()>) {
    if let Err(error) = outcome {
        eprintln!("the bare pipeline broke: {error:#}");
        std::process::exit(1);
    }
}

/// Runs it on `--database`, `--nats` and `--hook` until SIGTERM.
///
/// # Errors
/// Fails when a server is not reached.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let client = async_nats::connect(options.need::<String>("nats")?).await?;
    let floor = Arc::new(Floor {
        database: options.need("database")?,
        stream: jetstream::ContextBuilder::new().max_ack_inflight(65_536).build(client),
        hook: options.need("hook")?,
        batch: options.or("batch", 100)?,
        workers: options.or("workers", 2)?,
    });
    floor.database().await?.batch_execute(include_str!("pipeline.sql")).await?;
    floor.make_streams().await?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let poster: Poster = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(64).build(connector);
    let alerts = floor.inbox("ALERTS", "incident", "alerts.>").await?;
    let for_clocks = floor.inbox("EVENTS", "sla", "itsm.incident.created").await?;
    let for_deliveries = floor.inbox("EVENTS", "notify", "itsm.incident.created").await?;
    for _ in 0..floor.workers {
        let (one, two, three) = (Arc::clone(&floor), Arc::clone(&floor), Arc::clone(&floor));
        let (alerts, for_clocks, for_deliveries) = (alerts.clone(), for_clocks.clone(), for_deliveries.clone());
        let poster = poster.clone();
        tokio::spawn(async move { fatal(one.incidents(alerts).await) });
        tokio::spawn(async move { fatal(two.clocks(for_clocks).await) });
        tokio::spawn(async move { fatal(three.deliveries(for_deliveries, poster).await) });
    }
    println!("{}", json!({"ready": true}));
    let mut ended = signal(SignalKind::terminate())?;
    ended.recv().await;
    Ok(())
}

//! NATS: durable messages with many in flight (the ceiling of a run), and alerts at a rate.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{
    ConnectOptions, HeaderMap,
    jetstream::{self, Context, context::PublishAckFuture, stream},
};
use bytes::Bytes;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        mpsc::{UnboundedReceiver, unbounded_channel},
    },
    task::JoinHandle,
};

use crate::{
    options::Options,
    stats::{histogram, latencies, rounded},
    template::Template,
};

const PATIENCE: Duration = Duration::from_secs(30);

async fn context(options: &Options) -> anyhow::Result<Context> {
    let mut connect = ConnectOptions::new();
    if let Some(path) = options.find::<String>("credentials")? {
        connect = connect.credentials_file(path).await?;
    }
    if let Some(prefix) = options.find::<String>("inbox")? {
        connect = connect.custom_inbox_prefix(prefix);
    }
    let client = connect.connect(options.need::<String>("url")?).await?;
    let builder = jetstream::ContextBuilder::new().max_ack_inflight(65_536);
    Ok(builder.timeout(PATIENCE).ack_timeout(PATIENCE).build(client))
}

/// A message on its way: when it left, its acknowledgement, and its place among those in flight.
type Sent = (Instant, PublishAckFuture, Option<OwnedSemaphorePermit>);

struct Acknowledged {
    latency: Histogram<u64>,
    failed: u64,
    first_error: Option<String>,
}

/// Acknowledgements come in order on one connection, so one task takes them in the order of sending.
fn take_acknowledgements(mut sent: UnboundedReceiver<Sent>) -> JoinHandle<Acknowledged> {
    tokio::spawn(async move {
        let mut taken = Acknowledged { latency: histogram(), failed: 0, first_error: None };
        while let Some((at, acknowledgement, permit)) = sent.recv().await {
            match acknowledgement.await {
                Ok(_) => taken.latency.saturating_record(at.elapsed().as_micros() as u64),
                Err(error) => {
                    taken.failed += 1;
                    taken.first_error.get_or_insert(error.to_string());
                }
            }
            drop(permit);
        }
        taken
    })
}

fn tell(taken: &Acknowledged, seconds: f64) {
    let mut told: Value = latencies(&taken.latency);
    told["failed"] = json!(taken.failed);
    told["first_error"] = json!(taken.first_error);
    told["seconds"] = json!(rounded(seconds));
    told["messages_per_second"] = json!(rounded(taken.latency.len() as f64 / seconds));
    println!("{told}");
}

/// Publishes `--count` messages of `--size` bytes to a stream of its own, `--flight` unacknowledged.
///
/// # Errors
/// Fails when the server is not reached.
pub async fn publish(options: &Options) -> anyhow::Result<()> {
    let context = context(options).await?;
    let count: usize = options.or("count", 10_000)?;
    let payload = Bytes::from(vec![b'x'; options.or("size", 512)?]);
    let _ = context.delete_stream("BENCH").await;
    let config =
        stream::Config { name: "BENCH".to_owned(), subjects: vec!["bench.>".to_owned()], ..Default::default() };
    context.create_stream(config).await?;
    let room = Arc::new(Semaphore::new(options.or("flight", 256)?));
    let (sender, receiver) = unbounded_channel();
    let taking = take_acknowledgements(receiver);
    let began = Instant::now();
    for _ in 0..count {
        let permit = Arc::clone(&room).acquire_owned().await?;
        let at = Instant::now();
        let acknowledgement = context.publish("bench.a", payload.clone()).await?;
        let _ = sender.send((at, acknowledgement, Some(permit)));
    }
    drop(sender);
    let taken = taking.await?;
    let seconds = began.elapsed().as_secs_f64();
    let _ = context.delete_stream("BENCH").await;
    tell(&taken, seconds);
    Ok(())
}

/// Sends alerts to `--subject` at `--rate` for `--seconds`, by the clock and not by the answers.
///
/// # Errors
/// Fails when the server is not reached.
pub async fn generate(options: &Options) -> anyhow::Result<()> {
    let context = context(options).await?;
    let template = Template::read(options)?;
    let subject: String = options.need("subject")?;
    let rate: f64 = options.need("rate")?;
    let count = (rate * options.need::<f64>("seconds")?) as u64;
    let ids: bool = options.or("message-ids", false)?;
    let (sender, receiver) = unbounded_channel();
    let taking = take_acknowledgements(receiver);
    let began = Instant::now();
    let mut latest = Duration::ZERO;
    for number in 0..count {
        let due = began + Duration::from_secs_f64(number as f64 / rate);
        // Timers are exact to a millisecond; what is due sooner is sent at once.
        if due > Instant::now() + Duration::from_micros(500) {
            tokio::time::sleep_until(due.into()).await;
        }
        latest = latest.max(Instant::now().saturating_duration_since(due));
        let body = template.body(number);
        let mut headers = HeaderMap::new();
        if ids {
            headers.insert("Nats-Msg-Id", format!("g{number}-{}", options.or("first", 0_u64)?).as_str());
        }
        let acknowledgement = context.publish_with_headers(subject.clone(), headers, body.into()).await?;
        let _ = sender.send((Instant::now(), acknowledgement, None));
    }
    let sending = began.elapsed().as_secs_f64();
    drop(sender);
    let taken = taking.await?;
    anyhow::ensure!(taken.failed == 0, "{} of {count} alerts were refused: {:?}", taken.failed, taken.first_error);
    let mut told = latencies(&taken.latency);
    told["sent"] = json!(count);
    told["sent_per_second"] = json!(rounded(count as f64 / sending));
    told["late_us"] = json!(latest.as_micros() as u64);
    println!("{told}");
    Ok(())
}

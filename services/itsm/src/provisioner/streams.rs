//! The streams, the bucket and the durable consumers as they have to be, made again when missing.
//!
//! One round asks the server what is there and changes what differs; it may be repeated at any
//! time and takes no input but the list of consumers outside. The intake stream is never deleted
//! here: what it acknowledged may be nowhere else yet.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, Info as ConsumerInfo, pull};
use async_nats::jetstream::context::{Context as JetStream, GetStreamErrorKind};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, PersistenceMode, StorageType};
use kit::metrics;
use serde::{Deserialize, Serialize};

use super::authority::OutsideConsumer;
use super::rights::{INTAKE_CONSUMER, INTAKE_STREAM, KEYS_BUCKET, SERVICES, Service};
use crate::embedded::folder::{read_text, write_private};

const MIB: i64 = 1024 * 1024;
/// How long the event streams keep their copies for outsiders.
pub const EVENT_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Under which name it is marked how far the alert service has taken the intake.
const INTAKE_TAKEN: &str = "ALERTS, taken";

/// What was last seen of a stream, to notice that it came back empty or short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    created_ns: i64,
    last_sequence: u64,
}

impl Mark {
    fn of(info: &Info) -> Self {
        Self {
            created_ns: info.created.timestamp_nanos_opt().unwrap_or_default(),
            last_sequence: info.state.last_sequence,
        }
    }

    /// Whether something that was there is gone, other than by age or size.
    fn lost_since(&self, before: &Self) -> bool {
        self.created_ns != before.created_ns || self.last_sequence < before.last_sequence
    }
}

/// The reconciler of everything in JetStream.
#[derive(Debug)]
pub struct Streams {
    jetstream: JetStream,
    replicas: usize,
    marks: BTreeMap<String, Mark>,
    marks_path: Option<PathBuf>,
}

impl Streams {
    /// Over a connection that may do everything. `marks_path` keeps what was seen over a restart;
    /// without it a loss while nobody looked goes unnoticed.
    pub fn new(jetstream: JetStream, replicas: usize, marks_path: Option<PathBuf>) -> anyhow::Result<Self> {
        let marks = match marks_path.as_deref().map(read_text).transpose()?.flatten() {
            // A file that cannot be read tells nothing about the streams, which are as they are.
            Some(text) => serde_json::from_str(&text).unwrap_or_else(|error| {
                tracing::warn!(%error, "forgetting what was seen of the streams");
                BTreeMap::new()
            }),
            None => BTreeMap::new(),
        };
        Ok(Self { jetstream, replicas, marks, marks_path })
    }

    /// One round. Returns the services whose event stream was made empty or came back short.
    pub async fn reconcile(&mut self, outside: &[OutsideConsumer]) -> anyhow::Result<Vec<&'static str>> {
        let before = self.marks.clone();
        // Intake first: it is what monitoring waits for.
        self.intake().await?;
        self.stream(&keys_bucket(self.replicas)).await?;
        let mut lost = Vec::new();
        for service in SERVICES {
            if self.event_stream(service).await? {
                lost.push(service.name);
            }
        }
        for consumer in outside {
            ensure_outside_consumer(&self.jetstream, self.replicas, consumer).await?;
        }
        if self.marks != before
            && let Some(path) = &self.marks_path
        {
            let text =
                serde_json::to_string_pretty(&self.marks).context("cannot write what was seen of the streams")?;
            write_private(path, text.as_bytes())?;
        }
        Ok(lost)
    }

    async fn event_stream(&mut self, service: &Service) -> anyhow::Result<bool> {
        let wanted = event_stream(service, self.replicas);
        let found = info(&self.jetstream, &wanted.name).await?;
        if let Some(found) = &found
            && persistence(&found.config) != persistence(&wanted)
        {
            // Not changeable in place. The stream is a copy; the relay publishes it again.
            tracing::warn!(stream = wanted.name, "making the stream anew: its persistence mode is another one");
            let deleted = self.jetstream.delete_stream(&wanted.name).await;
            deleted.with_context(|| format!("cannot delete the stream {}", wanted.name))?;
        }
        let info = self.stream(&wanted).await?;
        let mark = Mark::of(&info);
        let known = self.marks.insert(wanted.name.clone(), mark);
        let lost = match known {
            Some(known) => mark.lost_since(&known),
            // Never seen: new if it was not there, else somebody looked at it before us.
            None => found.is_none(),
        };
        if lost && known.is_some() {
            tracing::warn!(stream = wanted.name, "the stream is empty or short; its relay publishes again");
        }
        Ok(lost)
    }

    async fn intake(&mut self) -> anyhow::Result<()> {
        let wanted_stream = intake_stream(self.replicas);
        let mark = Mark::of(&self.stream(&wanted_stream).await?);
        self.count_lost_intake(mark);
        let wanted = intake_consumer(self.replicas);
        if let Some(consumer) = consumer_info(&self.jetstream, INTAKE_STREAM, INTAKE_CONSUMER).await? {
            // Asked after the consumer: an alert that came in between must not look like a loss.
            let stream = self.stream(&wanted_stream).await?;
            let last = stream.state.last_sequence;
            let taken = Mark { last_sequence: consumer.ack_floor.stream_sequence, ..mark };
            self.marks.insert(INTAKE_TAKEN.to_owned(), taken);
            if consumer.delivered.stream_sequence > last {
                // The stream lost its end: the consumer would skip as many new alerts.
                tracing::error!(last, delivered = consumer.delivered.stream_sequence, "the intake stream is truncated");
                let deleted = self.jetstream.delete_consumer_from_stream(INTAKE_CONSUMER, INTAKE_STREAM).await;
                deleted.context("cannot delete the consumer of the intake stream")?;
            } else if same_consumer(&consumer, &wanted) {
                return self.purge(stream.state.first_sequence, consumer.ack_floor.stream_sequence).await;
            }
        }
        let made = self.jetstream.create_consumer_on_stream(wanted, INTAKE_STREAM).await;
        made.context("cannot make the consumer of the intake stream")?;
        Ok(())
    }

    /// What the stream had when it was last seen, and the alert service had not taken, went with it.
    fn count_lost_intake(&mut self, mark: Mark) {
        let known = self.marks.insert(INTAKE_STREAM.to_owned(), mark);
        let Some(known) = known.filter(|known| mark.lost_since(known)) else { return };
        let taken = self.marks.get(INTAKE_TAKEN).filter(|taken| taken.created_ns == known.created_ns);
        let lost = known.last_sequence - taken.map_or(0, |taken| taken.last_sequence.min(known.last_sequence));
        tracing::error!(lost, "the intake stream came back empty or short; so many messages were not taken yet");
        metrics::get().intake_lost(lost);
    }

    /// Drops what the alert service has taken, so that full means backlog.
    async fn purge(&self, first: u64, ack_floor: u64) -> anyhow::Result<()> {
        if ack_floor < first || ack_floor == 0 {
            return Ok(());
        }
        let stream = self.jetstream.get_stream_no_info(INTAKE_STREAM).await.context("cannot name the intake stream")?;
        let purged = stream.purge().sequence(ack_floor + 1).await.context("cannot purge the intake stream")?;
        tracing::debug!(purged = purged.purged, ack_floor, "purged the intake stream");
        Ok(())
    }

    /// Makes a stream, or changes what differs.
    async fn stream(&self, wanted: &Config) -> anyhow::Result<Info> {
        let name = &wanted.name;
        match info(&self.jetstream, name).await? {
            None => {
                let made = self.jetstream.create_stream(wanted.clone()).await;
                let made = made.with_context(|| format!("cannot make the stream {name}"))?;
                tracing::info!(stream = name, "made the stream");
                Ok(made.cached_info().clone())
            }
            Some(found) if essence(&found.config) == essence(wanted) => Ok(found),
            Some(_) => {
                tracing::info!(stream = name, "changing the stream");
                let changed = self.jetstream.update_stream(wanted.clone()).await;
                changed.with_context(|| format!("cannot change the stream {name}"))
            }
        }
    }
}

/// How full a stream is, and whether it is as it has to be.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fill {
    /// Its name.
    pub name: String,
    /// How many messages it holds; none when there is no such stream.
    pub messages: Option<u64>,
    /// Their size.
    pub bytes: u64,
    /// The size at which it is full.
    pub at_most_bytes: u64,
    /// Whether it then forgets the oldest message; else it refuses new ones.
    pub forgets: bool,
    /// Whether a round would leave it as it is.
    pub as_wanted: bool,
}

impl Fill {
    /// How full it is.
    pub fn percent(&self) -> u64 {
        self.bytes.saturating_mul(100).checked_div(self.at_most_bytes).unwrap_or_default()
    }
}

/// Looks at every stream there has to be, and changes nothing.
pub async fn look(jetstream: &JetStream, replicas: usize) -> anyhow::Result<Vec<Fill>> {
    let events = SERVICES.iter().map(|service| event_stream(service, replicas));
    let mut found = Vec::new();
    for wanted in [intake_stream(replicas), keys_bucket(replicas)].into_iter().chain(events) {
        let info = info(jetstream, &wanted.name).await?;
        found.push(Fill {
            messages: info.as_ref().map(|info| info.state.messages),
            bytes: info.as_ref().map_or(0, |info| info.state.bytes),
            at_most_bytes: u64::try_from(wanted.max_bytes).unwrap_or_default(),
            forgets: wanted.discard == DiscardPolicy::Old,
            as_wanted: info.is_some_and(|info| {
                essence(&info.config) == essence(&wanted) && persistence(&info.config) == persistence(&wanted)
            }),
            name: wanted.name,
        });
    }
    Ok(found)
}

/// A copy of a service's events for consumers outside.
fn event_stream(service: &Service, replicas: usize) -> Config {
    Config {
        name: service.stream(),
        description: Some(format!("events of {}, for consumers outside", service.name)),
        subjects: vec![format!("itsm.*.{}.>", service.name)],
        max_age: EVENT_AGE,
        max_bytes: 256 * MIB,
        discard: DiscardPolicy::Old,
        duplicate_window: Duration::from_secs(300),
        // Refused by the server with more than one replica.
        persist_mode: (replicas == 1).then_some(PersistenceMode::Async),
        ..stream_defaults(replicas)
    }
}

/// Where alerts come in: it refuses rather than forgets, and each message is on disk when it is
/// acknowledged.
fn intake_stream(replicas: usize) -> Config {
    Config {
        name: INTAKE_STREAM.to_owned(),
        description: Some("alerts as they came in, until taken".to_owned()),
        subjects: vec!["alerts.*.*".to_owned()],
        max_bytes: 1024 * MIB,
        max_messages_per_subject: 100_000,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        // The least the server takes: it would drop one tenant's alert for another's id.
        duplicate_window: Duration::from_millis(100),
        allow_direct: true,
        ..stream_defaults(replicas)
    }
}

/// The bucket as a stream, so that it is compared like the others.
fn keys_bucket(replicas: usize) -> Config {
    Config {
        name: format!("KV_{KEYS_BUCKET}"),
        description: Some("digests of the integrations' keys, for the gateway".to_owned()),
        subjects: vec![format!("$KV.{KEYS_BUCKET}.>")],
        max_messages_per_subject: 1,
        max_bytes: 64 * MIB,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        duplicate_window: Duration::from_secs(120),
        ..stream_defaults(replicas)
    }
}

fn stream_defaults(replicas: usize) -> Config {
    Config {
        storage: StorageType::File,
        num_replicas: replicas,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        ..Config::default()
    }
}

fn persistence(config: &Config) -> PersistenceMode {
    config.persist_mode.unwrap_or_default()
}

/// What is ours to decide; the server fills in the rest.
fn essence(config: &Config) -> impl PartialEq + use<> {
    (
        config.subjects.clone(),
        (config.max_age, config.max_bytes, config.max_messages_per_subject, config.duplicate_window),
        (config.discard, config.discard_new_per_subject, config.num_replicas),
        (config.allow_direct, config.allow_rollup, config.deny_delete),
        config.description.clone(),
    )
}

fn intake_consumer(replicas: usize) -> pull::Config {
    pull::Config {
        durable_name: Some(INTAKE_CONSUMER.to_owned()),
        description: Some("the alert service".to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(4),
        // At a limit JetStream would drop without a word.
        max_deliver: -1,
        max_ack_pending: 1_000,
        num_replicas: replicas,
        ..pull::Config::default()
    }
}

fn outside_consumer(consumer: &OutsideConsumer, replicas: usize) -> pull::Config {
    pull::Config {
        durable_name: Some(consumer.durable()),
        description: Some(format!("made for tenant {}", consumer.tenant)),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(30),
        max_deliver: -1,
        max_ack_pending: 1_000,
        filter_subject: consumer.filter(),
        num_replicas: replicas,
        ..pull::Config::default()
    }
}

fn same_consumer(found: &ConsumerInfo, wanted: &pull::Config) -> bool {
    let config = &found.config;
    config.ack_policy == wanted.ack_policy
        && config.ack_wait == wanted.ack_wait
        && config.max_deliver == wanted.max_deliver
        && config.max_ack_pending == wanted.max_ack_pending
        && config.filter_subject == wanted.filter_subject
}

/// Makes the durable consumer of a client outside, if it is not there as it should be.
pub async fn ensure_outside_consumer(
    jetstream: &JetStream,
    replicas: usize,
    consumer: &OutsideConsumer,
) -> anyhow::Result<()> {
    let wanted = outside_consumer(consumer, replicas);
    let (stream, name) = (consumer.stream(), consumer.durable());
    let found = consumer_info(jetstream, &stream, &name).await?;
    if found.is_some_and(|found| same_consumer(&found, &wanted)) {
        return Ok(());
    }
    let made = jetstream.create_consumer_on_stream(wanted, &stream).await;
    made.with_context(|| format!("cannot make the consumer {name} on {stream}"))?;
    tracing::info!(stream, consumer = name, "made the consumer");
    Ok(())
}

async fn info(jetstream: &JetStream, name: &str) -> anyhow::Result<Option<Info>> {
    match jetstream.get_stream(name).await {
        Ok(stream) => Ok(Some(stream.cached_info().clone())),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(answer) if answer.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
            _ => Err(error).with_context(|| format!("cannot ask for the stream {name}")),
        },
    }
}

async fn consumer_info(jetstream: &JetStream, stream: &str, name: &str) -> anyhow::Result<Option<ConsumerInfo>> {
    let answer = jetstream.request(format!("CONSUMER.INFO.{stream}.{name}"), &serde_json::json!({})).await;
    match answer.with_context(|| format!("cannot ask for the consumer {name} on {stream}"))? {
        Response::Ok(info) => Ok(Some(info)),
        Response::Err { error }
            if [ErrorCode::CONSUMER_NOT_FOUND, ErrorCode::STREAM_NOT_FOUND].contains(&error.error_code()) =>
        {
            Ok(None)
        }
        Response::Err { error } => bail!("cannot ask for the consumer {name} on {stream}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_from_age_and_growth() {
        let before = Mark { created_ns: 1, last_sequence: 10 };
        assert!(!Mark { last_sequence: 10, ..before }.lost_since(&before));
        assert!(!Mark { last_sequence: 11, ..before }.lost_since(&before));
        assert!(Mark { last_sequence: 9, ..before }.lost_since(&before));
        assert!(Mark { created_ns: 2, last_sequence: 50 }.lost_since(&before));
    }

    #[test]
    fn only_copies_are_written_late() {
        assert_eq!(persistence(&intake_stream(1)), PersistenceMode::Default);
        assert_eq!(persistence(&keys_bucket(1)), PersistenceMode::Default);
        assert_eq!(persistence(&event_stream(&SERVICES[0], 1)), PersistenceMode::Async);
        assert_eq!(persistence(&event_stream(&SERVICES[0], 3)), PersistenceMode::Default);
    }
}

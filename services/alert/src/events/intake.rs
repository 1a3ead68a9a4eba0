//! The intake stream: what sources say, taken by the durable consumer that the provisioner makes.
//!
//! A message is acknowledged after the commit of what it makes, and never before: while the
//! database is away nothing is acknowledged. A batch that fails for its own sake is taken apart;
//! a message that fails alone is kept as rejected. Nobody's message id means anything here.

use std::{collections::HashSet, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_nats::jetstream::{self, AckKind, Message as Delivery, consumer::PullConsumer};
use futures::{FutureExt, StreamExt};
use kit::{
    clock,
    consumer::Failure,
    metrics,
    problem::{BoxError, chain},
    service::{Context, Readiness},
    trace::{self, Kind, Span},
    vital::Lag,
};
use sha2::{Digest, Sha256};

use crate::{
    app::{App, by_intake::Message},
    events::read,
    store::intake::Place,
};

/// The stream and the consumer that the provisioner makes.
const STREAM: &str = "ALERTS";
const CONSUMER: &str = "alert";
/// What a batch may weigh.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Well below the four seconds after which a message is delivered again.
const PROGRESS: Duration = Duration::from_millis(1_500);
/// How long to wait for what is away.
const RETRY: Duration = Duration::from_millis(500);
/// When a message is delivered again whose tenant cannot be known yet.
const LATER: Duration = Duration::from_secs(2);
/// How often a message is tried alone before it is kept as rejected.
const TRIES: usize = 3;
/// What people read of a message that cannot be applied; the log has the error.
const NOT_APPLIED: &str = "could not be applied for a reason of ours; the log says which";

/// What counts as the time at which a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiveTime {
    /// The stream's, as in production.
    Stream,
    /// That of domain time when it is taken; for stories on a clock driven by hand, which no server
    /// follows.
    Clock,
}

/// Takes the intake stream until the stop.
pub fn start(context: &Context, app: &Arc<App>, receive_time: ReceiveTime) {
    let intake = Intake {
        receive_time,
        app: Arc::clone(app),
        jetstream: jetstream::new(context.bus.clone()),
        readiness: context.readiness.clone(),
        lag: Lag::new("alert", "intake"),
    };
    intake.waits_for("starting");
    context.tasks.spawn("alert", "intake", async move {
        intake.run().await;
        Ok(())
    });
}

struct Intake {
    receive_time: ReceiveTime,
    app: Arc<App>,
    jetstream: jetstream::Context,
    readiness: Readiness,
    lag: Arc<Lag>,
}

impl Intake {
    fn waits_for(&self, reason: &str) {
        self.readiness.waits_for("alert", "intake", reason);
    }

    fn away(&self, reason: &str) {
        self.waits_for(reason);
        self.app.progress.away();
    }

    /// Works for ever. When stream or consumer are gone, the provisioner makes them again, and so a
    /// new handle is taken.
    async fn run(&self) {
        loop {
            if let Err(error) = self.take_stream().await {
                let reason = chain(error.as_ref());
                tracing::warn!(service = "alert", reason, "intake pauses");
                self.away(&reason);
            }
            clock::pause(RETRY).await;
        }
    }

    async fn take_stream(&self) -> Result<(), BoxError> {
        let consumer: PullConsumer = self.jetstream.get_consumer_from_stream(CONSUMER, STREAM).await?;
        let created = self.jetstream.get_stream(STREAM).await?.cached_info().created;
        let incarnation = created.timestamp_nanos_opt().ok_or("the stream was created in no time that fits")?;
        let batch_at_most = self.app.settings.intake_batch;
        let mut deliveries = consumer
            .stream()
            .max_messages_per_batch(batch_at_most)
            .expires(Duration::from_secs(30))
            .heartbeat(Duration::from_secs(5))
            .messages()
            .await?;
        self.readiness.ready("alert", "intake");
        let behind = consumer.cached_info().num_pending > 0;
        self.app.progress.taken(self.app.clock.now(), behind.then_some(chrono::DateTime::UNIX_EPOCH));
        loop {
            let first = deliveries.next().await.ok_or("the intake stream ended")??;
            let mut bytes = first.payload.len();
            let mut batch = vec![first];
            while batch.len() < batch_at_most && bytes < BATCH_BYTES {
                match deliveries.next().now_or_never() {
                    Some(Some(delivery)) => {
                        let delivery = delivery?;
                        bytes += delivery.payload.len();
                        batch.push(delivery);
                    }
                    Some(None) | None => break,
                }
            }
            self.take_batch(&batch, incarnation).await;
        }
    }

    /// Takes a batch, however long the database is away.
    async fn take_batch(&self, batch: &[Delivery], incarnation: i64) {
        let mut messages = Vec::with_capacity(batch.len());
        for delivery in batch {
            match self.message(delivery, incarnation) {
                Ok(message) => messages.push(message),
                Err(error) => tracing::error!(service = "alert", %error, "a delivery of no stream was passed over"),
            }
        }
        let steps = steps(&mut messages);
        let taking = self.take_in(&messages);
        tokio::pin!(taking);
        let later = loop {
            tokio::select! {
                later = &mut taking => break later,
                () = clock::pause(PROGRESS) => answer_all(batch, |_| AckKind::Progress).await,
            }
        };
        kit::fail_point!("intake.after_commit");
        answer_all(batch, |sequence| match sequence {
            Some(sequence) if later.iter().any(|place| place.sequence == sequence) => AckKind::Nak(Some(LATER)),
            Some(_) | None => AckKind::Ack,
        })
        .await;
        drop(steps);
        let taken = u64::try_from(messages.len() - later.len()).unwrap_or(0);
        metrics::get().consumer_applied("alert", "intake", taken);
        if let Some(Ok(info)) = batch.last().map(Delivery::info) {
            let taken = i64::try_from(info.stream_sequence).unwrap_or(i64::MAX);
            self.lag.note(taken, taken.saturating_add(i64::try_from(info.pending).unwrap_or(i64::MAX)));
            let last = messages.last().map(|message| message.received_at);
            self.app.progress.taken(self.app.clock.now(), last.filter(|_| info.pending > 0));
        }
    }

    fn message(&self, delivery: &Delivery, incarnation: i64) -> Result<Message, BoxError> {
        let info = delivery.info()?;
        let headers =
            delivery.headers.iter().flat_map(|headers| headers.iter()).flat_map(|(name, values)| {
                values.iter().map(move |value| (name.to_string(), value.as_str().to_owned()))
            });
        let at = chrono::DateTime::from_timestamp_micros(info.published.timestamp_micros());
        let at = at.ok_or("the stream's time does not fit")?;
        let mut place = Place { incarnation, sequence: i64::try_from(info.stream_sequence)?, at };
        if kit::planted!("intake_by_msg_id")
            && let Some(id) = delivery.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"))
        {
            place = Place {
                incarnation: 0,
                sequence: i64::from_be_bytes(Sha256::digest(id.as_str())[..8].try_into()?),
                at: chrono::DateTime::UNIX_EPOCH,
            };
        }
        Ok(Message {
            place,
            received_at: match self.receive_time {
                ReceiveTime::Stream => at,
                ReceiveTime::Clock => self.app.clock.now(),
            },
            subject: delivery.subject.to_string(),
            headers: read::kept(headers),
            body: delivery.payload.clone(),
            trace_parent: None,
        })
    }

    /// Takes messages in one transaction, or each in its own when that fails for its own sake.
    async fn take_in(&self, messages: &[Message]) -> HashSet<Place> {
        match self.insist(messages, None, 1).await {
            Ok(later) => later,
            Err(error) => {
                tracing::warn!(service = "alert", %error, messages = messages.len(), "a batch is taken apart");
                let mut later = HashSet::new();
                for message in messages {
                    later.extend(self.take_alone(message).await);
                }
                later
            }
        }
    }

    async fn take_alone(&self, message: &Message) -> HashSet<Place> {
        let one = std::slice::from_ref(message);
        let error = match self.insist(one, None, TRIES).await {
            Ok(later) => return later,
            Err(error) => error,
        };
        let sequence = message.place.sequence;
        tracing::error!(service = "alert", sequence, subject = message.subject, %error, "a message cannot be applied; kept as rejected");
        metrics::get().consumer_dropped("alert", "intake", "rejected");
        match self.insist(one, Some(NOT_APPLIED), TRIES).await {
            Ok(later) => later,
            Err(error) => {
                tracing::error!(service = "alert", sequence, %error, "a message cannot even be kept; it stays in the stream");
                one.iter().map(|message| message.place).collect()
            }
        }
    }

    /// Tries as often as said, not counting while something is away.
    async fn insist(
        &self,
        messages: &[Message],
        verdict: Option<&str>,
        tries: usize,
    ) -> Result<HashSet<Place>, BoxError> {
        let mut tried = 0;
        loop {
            let taking = AssertUnwindSafe(self.app.take_in(messages, verdict)).catch_unwind();
            match taking.await.unwrap_or_else(|_| Err(Failure::Event("panicked".into()))) {
                Ok(later) => {
                    self.readiness.ready("alert", "intake");
                    return Ok(later);
                }
                Err(Failure::Away(error)) => {
                    let reason = chain(error.as_ref());
                    tracing::warn!(service = "alert", reason, "intake waits");
                    self.away(&reason);
                }
                Err(Failure::Event(error)) => {
                    tried += 1;
                    if tried == tries {
                        return Err(error);
                    }
                }
            }
            clock::pause(RETRY).await;
        }
    }
}

/// The processing of each message as a step of its sender's trace, or as the first of a new one. A
/// batch that joins several is a trace of its own, which they link to.
fn steps(messages: &mut [Message]) -> Vec<Span> {
    if !trace::on() {
        return Vec::new();
    }
    let traces: Vec<String> =
        messages.iter().map(|message| message.headers.get("traceparent").cloned().unwrap_or_default()).collect();
    let mut batch =
        trace::joined("alert", Kind::Consumer, traces.iter().map(String::as_str), || "process batch ALERTS".to_owned());
    batch.set("messaging.batch.message_count", i64::try_from(messages.len()).unwrap_or(i64::MAX));
    let step = |(message, trace): (&mut Message, &String)| {
        let mut step = trace::begin("alert", Kind::Consumer, trace, || "process ALERTS".to_owned());
        kit::bus::describe(&mut step, "process", "process", &message.subject, &message.place.sequence.to_string());
        step.link(&batch);
        message.trace_parent = step.trace_parent();
        step
    };
    let mut steps: Vec<Span> = messages.iter_mut().zip(&traces).map(step).collect();
    steps.push(batch);
    steps
}

/// Answers each delivery; what does not arrive makes a redelivery, which is known by its key.
async fn answer_all(batch: &[Delivery], kind: impl Fn(Option<i64>) -> AckKind) {
    for delivery in batch {
        let sequence = delivery.info().ok().and_then(|info| i64::try_from(info.stream_sequence).ok());
        if let Err(error) = delivery.ack_with(kind(sequence)).await {
            tracing::debug!(service = "alert", %error, "a message was not acknowledged; it comes again");
        }
    }
}

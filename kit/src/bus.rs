//! NATS: CloudEvents in binary mode out, checked envelopes in. The bus only makes things fast, so
//! whatever does not fit together is dropped; the feed has the truth.

use std::{path::Path, str::FromStr, time::Duration};

use async_nats::{Client, ConnectOptions, Event, HeaderMap, Message, ServerAddr};
use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use prost::bytes::Bytes;
use proto::common::v1::FeedEntry;
use uuid::Uuid;

use crate::trace::Span;

/// How many messages a subscription holds before NATS counts us slow; what is dropped then comes
/// by the feed.
const SUBSCRIPTION_CAPACITY: usize = 8_192;

/// How to reach NATS.
#[derive(Debug, Clone, Default)]
pub struct BusOptions {
    /// The server, `nats://host:port`, with user and password where the server wants them.
    pub url: String,
    /// The credentials file, in operator mode.
    pub credentials: Option<std::path::PathBuf>,
    /// A folder with `ca.crt`, `<part>.crt` and `<part>.key`, where the server asks for certificates.
    pub certificates_folder: Option<std::path::PathBuf>,
}

/// Has a part and the server show each other certificates, where there is a folder of them. The files
/// are read at each connect, so that new ones count without a restart.
#[must_use]
pub fn with_certificates(options: ConnectOptions, folder: Option<&Path>, part: &str) -> ConnectOptions {
    let Some(folder) = folder else { return options };
    let own = |ending: &str| folder.join(format!("{part}.{ending}"));
    let options = options.require_tls(true).add_root_certificates(folder.join("ca.crt"));
    options.add_client_certificate(own("crt"), own("key"))
}

/// Connects as a service; goes on trying for ever, also at first.
///
/// # Errors
/// Fails when the URL is none or the credentials cannot be read.
pub async fn connect(service: &str, options: &BusOptions) -> Result<Client, std::io::Error> {
    let name = service.to_owned();
    let mut connect = ConnectOptions::new();
    if let Some(file) = &options.credentials {
        connect = ConnectOptions::with_credentials_file(file).await?;
    }
    connect = with_certificates(connect, options.certificates_folder.as_deref(), service);
    // The client itself ignores what stands before the host.
    let address = ServerAddr::from_str(&options.url)?;
    if let Some(user) = address.username() {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        connect = connect.user_and_password(decode(user), decode(address.password().unwrap_or_default()));
    }
    connect
        .name(format!("itsm {service}"))
        .custom_inbox_prefix(format!("_INBOX_{service}"))
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .ping_interval(Duration::from_secs(5))
        .request_timeout(Some(Duration::from_secs(5)))
        .retry_on_initial_connect()
        .reconnect_delay_callback(|attempts| {
            Duration::from_millis((50 * u64::try_from(attempts).unwrap_or(20)).min(1_000))
        })
        .event_callback(move |event| {
            let service = name.clone();
            async move {
                match event {
                    Event::Connected => tracing::info!(service, "NATS connected"),
                    Event::ServerError(error) => tracing::warn!(service, %error, "NATS refused something"),
                    Event::SlowConsumer(subscription) => {
                        tracing::warn!(service, subscription, "NATS dropped messages; catching up by feed")
                    }
                    other => tracing::debug!(service, event = %other, "NATS"),
                }
            }
        })
        .connect(address)
        .await
        .map_err(std::io::Error::other)
}

/// The subject of an event.
#[must_use]
pub fn subject(tenant: &str, service: &str, kind: &str) -> String {
    format!("itsm.{tenant}.{service}.{kind}")
}

/// The subject of a service's heartbeat.
#[must_use]
pub fn heartbeat_subject(service: &str) -> String {
    format!("itsm._feed.{service}")
}

/// The subject that wakes a service's relay.
#[must_use]
pub fn wake_subject(service: &str) -> String {
    format!("itsm._wake.{service}")
}

/// The headers of an event.
#[must_use]
pub fn headers(service: &str, incarnation: Uuid, entry: &FeedEntry) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", entry.event_id.as_str());
    headers.insert("Itsm-Position", entry.position.to_string());
    headers.insert("Itsm-Incarnation", incarnation.to_string());
    headers.insert("Itsm-Revision", entry.revision.to_string());
    headers.insert("Itsm-Tenant-Id", entry.tenant_id.as_str());
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", entry.event_id.as_str());
    headers.insert("ce-source", format!("/itsm/{service}"));
    headers.insert("ce-type", format!("itsm.{service}.v1.{}", entry.r#type));
    headers.insert("ce-subject", entry.record_id.as_str());
    if let Some(at) = entry.at.as_ref().and_then(time) {
        headers.insert("ce-time", at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
    }
    headers.insert("ce-datacontenttype", "application/protobuf");
    if !entry.trace_parent.is_empty() {
        headers.insert("traceparent", entry.trace_parent.as_str());
    }
    headers
}

/// Says of a step which message it is about, in the words of the conventions.
pub fn describe(step: &mut Span, kind: &'static str, operation: &'static str, subject: &str, message: &str) {
    step.set("messaging.system", "nats");
    step.set("messaging.operation.type", kind);
    step.set("messaging.operation.name", operation);
    step.set("messaging.destination.name", subject.to_owned());
    step.set("messaging.message.id", message.to_owned());
}

/// A protobuf time as ours.
#[must_use]
pub fn time(at: &prost_types::Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?)
}

/// Our time as protobuf's.
#[must_use]
pub fn timestamp(at: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.timestamp(),
        nanos: i32::try_from(at.timestamp_subsec_nanos()).unwrap_or_default(),
    }
}

/// Reads an event of a source out of a message, if its subject and headers fit together.
#[must_use]
pub fn entry(source: &str, message: &Message) -> Option<(Uuid, FeedEntry)> {
    let headers = message.headers.as_ref()?;
    let text = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    let mut tokens = message.subject.as_str().split('.');
    let (root, tenant, service, kind) = (tokens.next()?, tokens.next()?, tokens.next()?, tokens.next()?);
    let event_id = text("ce-id")?;
    let fits = root == "itsm"
        && service == source
        && tokens.next().is_none()
        && text("Nats-Msg-Id")? == event_id
        && text("ce-source")? == format!("/itsm/{source}")
        && text("ce-type")? == format!("itsm.{source}.v1.{kind}");
    if !fits {
        return None;
    }
    let incarnation = Uuid::from_str(&text("Itsm-Incarnation")?).ok()?;
    let entry = FeedEntry {
        position: text("Itsm-Position")?.parse().ok()?,
        tenant_id: text("Itsm-Tenant-Id")?,
        tenant: tenant.to_owned(),
        record_id: text("ce-subject")?,
        revision: text("Itsm-Revision")?.parse().ok()?,
        event_id,
        r#type: kind.to_owned(),
        at: DateTime::parse_from_rfc3339(&text("ce-time")?).ok().map(|at| timestamp(at.to_utc())),
        body: Bytes::clone(&message.payload),
        trace_parent: text("traceparent").unwrap_or_default(),
        request_id: String::new(),
    };
    Some((incarnation, entry))
}

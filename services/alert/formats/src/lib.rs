//! The intake formats: bytes in, accepted and rejected alerts out.
//!
//! Two services share this crate: the gateway asks it what to answer, the alert service asks it
//! what to store. So it is pure, and the same bytes with the same receive time give the same
//! result for ever: no clock, no I/O, no configuration.
//!
//! What every format has in common:
//!
//! - The limits of [`limits`] are checked before the memory they bound is used.
//! - Unknown fields are ignored. A field that occurs twice counts as its last occurrence, as in
//!   the programs that send these formats.
//! - One unusable alert never takes the others of its body with it.
//! - NUL characters are refused, because the database's text cannot hold them.
//! - Instants are cut to microseconds, so that what was stored compares equal to what comes again.
//!   `0001-01-01T00:00:00Z` means "not set".
//! - A label with an empty value is the same as no label.
//!
//! The files `alertmanager.rs`, `prometheus.rs`, `generic.rs` and `cloudevents.rs` say what is
//! particular to each.

mod alertmanager;
mod binary;
mod cloudevents;
mod fault;
mod generic;
mod json;
mod key;
pub mod limits;
mod parsed;
mod period;
mod prometheus;
mod refused;
mod text;

pub use binary::cloudevent_from_headers;
pub use parsed::{Accepted, Parsed, Rejected, Severity, Status};
pub use refused::Refused;

use chrono::{DateTime, Utc};

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Alertmanager's webhook, version 4: one group of alerts.
    AlertmanagerWebhook,
    /// What Prometheus posts to Alertmanager's `/api/v2/alerts`: an array of alerts.
    PrometheusAlerts,
    /// Our own: one alert, an array of them, or `{"alerts": [..]}`.
    Generic,
    /// Structured CloudEvents 1.0, one or a batch.
    CloudEvents,
}

impl Format {
    /// Every format, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::AlertmanagerWebhook, Self::PrometheusAlerts, Self::Generic, Self::CloudEvents];

    /// The name that headers, tables and integrations use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlertmanagerWebhook => "alertmanager",
            Self::PrometheusAlerts => "prometheus",
            Self::Generic => "generic",
            Self::CloudEvents => "cloudevents",
        }
    }

    /// The format of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == name)
    }
}

/// Reads a body that was received at `received_at`.
///
/// # Errors
/// When the body as a whole is unusable; then nothing of it may be stored as an alert.
pub fn parse(format: Format, body: &[u8], received_at: DateTime<Utc>) -> Result<Parsed, Refused> {
    let text = text::checked(body)?;
    let received_at = period::to_microseconds(received_at);
    match format {
        Format::AlertmanagerWebhook => alertmanager::read(text, received_at),
        Format::PrometheusAlerts => prometheus::read(text, received_at),
        Format::Generic => generic::read(text, received_at),
        Format::CloudEvents => cloudevents::read(text, received_at),
    }
}

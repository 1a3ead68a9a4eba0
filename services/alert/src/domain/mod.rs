//! The rules of alerts, pure: what a signal means for what is already known. No clock, no chance,
//! no database; whoever asks brings the time and the ids.
//!
//! A source says signals ([`Signal`]) about a condition, which is a dedup key of an integration
//! ([`Condition`]). Each episode in which the condition holds is one [`Alert`]. An
//! [`Integration`] is the source with its own key.

pub mod alert;
pub mod condition;
pub mod integration;
pub mod refusal;
pub mod routing;
pub mod severity;

pub use alert::{Alert, ClearReason, Repeat, State, What};
pub use condition::{Condition, Heard, Source, Stale};
pub use integration::{Integration, IntegrationId, IntegrationState, IntegrationWhat};
pub use refusal::Refusal;
pub use routing::{Choice, Impact, Route, choose};
pub use severity::Severity;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

/// What a source says once about a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// What makes it the same condition.
    pub dedup_key: String,
    /// Whether it fires or is over.
    pub said: Said,
    /// When the episode began, by the source, never after `received_at`.
    pub starts_at: DateTime<Utc>,
    /// When it came in: the intake stream's time.
    pub received_at: DateTime<Utc>,
    /// How bad it is.
    pub severity: Severity,
    /// What it says in words.
    pub content: Content,
    /// W3C trace context of the intake.
    pub trace_parent: String,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It fires, and is over at this time unless it is said again.
    Firing {
        /// When it is over by itself; none means never.
        expires_at: Option<DateTime<Utc>>,
    },
    /// It is over.
    Cleared {
        /// Since when, by the source.
        ended_at: DateTime<Utc>,
    },
}

/// What a source says in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// One line.
    pub title: String,
    /// More.
    pub description: String,
    /// What identifies the condition.
    pub labels: BTreeMap<String, String>,
    /// What explains it.
    pub annotations: BTreeMap<String, String>,
    /// Where the source shows it.
    pub source_url: String,
    /// The source's own group.
    pub group_key: String,
}

impl Signal {
    /// The same signal with no instant after it came in: a source whose clock runs ahead, or that
    /// writes nonsense, must not make every later signal look old.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.starts_at = self.starts_at.min(self.received_at);
        if let Said::Cleared { ended_at } = &mut self.said {
            *ended_at = (*ended_at).min(self.received_at).max(self.starts_at);
        }
        self
    }
}

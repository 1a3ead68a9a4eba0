//! What comes out: alerts in one shape, whatever they came in.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::fault::Fault;
use crate::json::Element;
use crate::{Refused, limits, text};

/// A body, read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Parsed {
    /// The usable alerts, in the order of the body.
    pub accepted: Vec<Accepted>,
    /// The unusable alerts, in the order of the body.
    pub rejected: Vec<Rejected>,
    /// How many alerts of the group the sender left out. While it is not zero, the absence of an
    /// alert says nothing about it.
    pub truncated: u64,
}

/// A usable alert.
///
/// Its text holds no NUL and keeps the [`limits`]; `ends_at` is never before `starts_at`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// What the source means by "the same alert": never empty.
    pub dedup_key: String,
    /// Whether it fires or has cleared.
    pub status: Status,
    /// How bad it is.
    pub severity: Severity,
    /// One line for people, never empty.
    pub title: String,
    /// More for people.
    pub description: Option<String>,
    /// What identifies and routes it. No value is empty.
    pub labels: BTreeMap<String, String>,
    /// What explains it.
    pub annotations: BTreeMap<String, String>,
    /// When the episode began, by the source's time where the source says it.
    pub starts_at: DateTime<Utc>,
    /// Of a firing alert: when it clears by itself unless it comes again. Of a cleared one: when
    /// it ended, always there.
    pub ends_at: Option<DateTime<Utc>>,
    /// Where the source shows it: http or https, other links are left out.
    pub source_url: Option<String>,
    /// The sender's group.
    pub group_key: Option<String>,
    /// Its place in the body.
    pub index: usize,
}

/// An alert of a body that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Its place in the body.
    pub index: usize,
    /// Its JSON text as it was sent, cut at [`limits::REJECTED_BYTES`].
    pub raw: String,
    /// What is wrong with it: a path from the body's root such as `alerts[3].labels`.
    pub field: String,
    /// Why, for people; reads on after the field.
    pub reason: String,
    /// Why, for programs: UPPER_SNAKE and stable.
    pub code: &'static str,
    /// Whether a limit was exceeded, rather than a rule broken.
    pub size_limit: bool,
}

/// Whether an alert fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It fires.
    Firing,
    /// It has ended.
    Cleared,
}

/// How bad an alert is, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Act at once.
    Critical,
    /// Act soon.
    High,
    /// Act.
    Medium,
    /// Act when there is time.
    Low,
    /// Nothing to do.
    Info,
}

impl Status {
    /// `firing` or `cleared`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Cleared => "cleared",
        }
    }

    /// The status that senders mean by a word, in any case of letters.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word.trim().to_ascii_lowercase().as_str() {
            "firing" => Some(Self::Firing),
            "cleared" | "resolved" | "ok" => Some(Self::Cleared),
            _ => None,
        }
    }
}

impl Severity {
    /// `critical`, `high`, `medium`, `low` or `info`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
            Self::Info => "info",
        }
    }

    /// The severity that senders mean by a word, in any case of letters.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word.trim().to_ascii_lowercase().as_str() {
            "critical" | "page" | "emergency" | "fatal" => Some(Self::Critical),
            "error" | "high" | "major" => Some(Self::High),
            "warning" | "warn" | "medium" | "minor" => Some(Self::Medium),
            "low" => Some(Self::Low),
            "info" | "informational" | "none" | "debug" | "ok" => Some(Self::Info),
            _ => None,
        }
    }

    /// The severity that the label `severity` says. A word we do not know must not lose the alert
    /// of a program that was not written for us, so it counts as none.
    pub(crate) fn of_labels(labels: &BTreeMap<String, String>) -> Self {
        labels.get("severity").and_then(|word| Self::from_word(word)).unwrap_or(Self::Medium)
    }
}

impl Parsed {
    /// Reads each element; what one of them is must not depend on the others.
    pub(crate) fn each(
        elements: &[Element<'_>],
        mut read: impl FnMut(&Element<'_>) -> Result<Accepted, Fault>,
    ) -> Self {
        let mut parsed = Self::default();
        for element in elements {
            match read(element) {
                Ok(accepted) => parsed.accepted.push(accepted),
                Err(fault) => parsed.rejected.push(Rejected {
                    index: element.index,
                    raw: text::cut(element.value.get(), limits::REJECTED_BYTES).to_owned(),
                    field: element.path(&fault.field),
                    reason: fault.detail,
                    code: fault.code,
                    size_limit: fault.size_limit,
                }),
            }
        }
        parsed
    }

    /// The refusal to answer with when the body held alerts and none of them is usable: that of
    /// its first.
    #[must_use]
    pub fn refusal_of_all(&self) -> Option<Refused> {
        let first = self.rejected.first().filter(|_| self.accepted.is_empty())?;
        Some(Refused::Unusable {
            field: first.field.clone(),
            detail: first.reason.clone(),
            code: first.code,
            size_limit: first.size_limit,
        })
    }
}

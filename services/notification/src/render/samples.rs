//! What templates may rely on: the facts of every kind of record, and a sample of each.

use std::collections::BTreeMap;

use chrono::DateTime;
use uuid::Uuid;

use crate::domain::{Fact, Subject, event::Kind};

/// A record of a kind with everything in it, to try a template on.
#[must_use]
pub fn sample(kind: Kind) -> Subject {
    let mut subject = Subject::bare(kind, Uuid::nil());
    subject.number = "INC0000001".to_owned();
    subject.title = "Checkout answers slowly".to_owned();
    subject.state = "NEW".to_owned();
    subject.priority = Some(1);
    subject.severity = Some("critical".to_owned());
    subject.service_ids = vec![Uuid::nil().into()];
    subject.labels = BTreeMap::from([("alertname".to_owned(), "Slow".to_owned())]);
    let text = |key| (key, Fact::Text("words".to_owned()));
    let time = |key| (key, Fact::Time(Some(DateTime::UNIX_EPOCH)));
    subject.facts = facts(kind)
        .iter()
        .map(|(key, what)| match what {
            FactKind::Text => text(*key),
            FactKind::Number => (*key, Fact::Number(1)),
            FactKind::Flag => (*key, Fact::Flag(true)),
            FactKind::Time => time(*key),
        })
        .collect();
    subject
}

/// What a fact holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactKind {
    /// Words.
    Text,
    /// A number.
    Number,
    /// Yes or no.
    Flag,
    /// An instant.
    Time,
}

/// The facts of every record of a kind, which templates may rely on.
#[must_use]
pub const fn facts(kind: Kind) -> &'static [(&'static str, FactKind)] {
    use FactKind::{Flag, Number, Text, Time};
    match kind {
        Kind::Incident => &[
            ("category", Text),
            ("impact", Number),
            ("urgency", Number),
            ("priority_reason", Text),
            ("pending_reason", Text),
            ("resolution_code", Text),
            ("resolution_notes", Text),
            ("alert_count", Number),
            ("acknowledge_time", Time),
            ("create_time", Time),
        ],
        Kind::Alert => &[
            ("source_url", Text),
            ("dedup_key", Text),
            ("decision", Text),
            ("occurrence_count", Number),
            ("start_time", Time),
            ("clear_time", Time),
        ],
        Kind::Clock => &[
            ("metric", Text),
            ("explanation", Text),
            ("target_seconds", Number),
            ("elapsed_seconds", Number),
            ("breached", Flag),
            ("provisional", Flag),
            ("start_time", Time),
            ("due_time", Time),
            ("breach_time", Time),
        ],
        Kind::Change => &[
            ("type", Text),
            ("risk", Text),
            ("reason", Text),
            ("requester_id", Text),
            ("planned_start_time", Time),
            ("planned_end_time", Time),
        ],
        Kind::Test => &[],
    }
}

//! Texts from templates, and the JSON of webhooks. A template sees its own record and nothing else:
//! no files, no other templates, bounded work, bounded output. It is tried on a sample when it is
//! saved, so that a misspelling is found before the night it is needed.

pub mod builtin;
pub mod samples;

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    io,
    sync::{Arc, LazyLock},
};

use chrono::{DateTime, SecondsFormat, Utc};
use minijinja::{
    AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value,
    value::{Enumerator, Object},
};
use serde_json::{Map, json};
use uuid::Uuid;

use crate::domain::{
    Fact, Message, Subject,
    event::{self, Kind},
};
use samples::sample;

const FUEL: u64 = 50_000;
const OUTPUT_AT_MOST: usize = 64 * 1024;
const SUBJECT_AT_MOST: usize = 300;

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The subject.
    #[error("the subject line: {0}")]
    Subject(String),
    /// The text.
    #[error("the text: {0}")]
    Body(String),
}

/// The two templates of a message.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Of the subject line.
    pub subject: &'a str,
    /// Of the text.
    pub body: &'a str,
}

/// What a message is about.
#[derive(Debug, Clone)]
pub struct About<'a> {
    /// The event.
    pub event_id: Uuid,
    /// Its type.
    pub event_type: &'a str,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The record that it happened to.
    pub subject: &'a Subject,
    /// The name of the rule that tells.
    pub rule: &'a str,
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(50);
    // What shows the engine's own insides is of no use in a message.
    environment.remove_global("debug");
    environment
});

/// Renders a message.
///
/// # Errors
/// A template that is none, uses what is not there, works or writes too much.
pub fn message(source: Source<'_>, about: &About<'_>) -> Result<Message, RenderError> {
    let context = context(about);
    let subject = render("subject", source.subject, &context).map_err(RenderError::Subject)?;
    let body = render("body", source.body, &context).map_err(RenderError::Body)?;
    Ok(Message { subject: one_line(&subject), body })
}

/// Renders the built-in message of an event.
#[must_use]
pub fn builtin(about: &About<'_>) -> Message {
    let (subject, body) = builtin::texts(about.subject.kind);
    message(Source { subject, body }, about).unwrap_or_else(|error| {
        // A text that long has no room for its built-in frame; what counts still gets through.
        tracing::warn!(%error, event_type = about.event_type, "the built-in text could not be rendered");
        let line = one_line(&format!("{} {}: {}", about.event_type, about.subject.number, about.subject.title));
        Message { body: line.clone(), subject: line }
    })
}

/// The body of a webhook: what happened, to what, and the text that people get.
#[must_use]
pub fn webhook(about: &About<'_>, message: &Message) -> String {
    let mut data = Map::new();
    data.insert(about.subject.kind.name().to_owned(), record(about.subject).into());
    data.insert("event_id".to_owned(), json!(about.event_id));
    data.insert("rule".to_owned(), json!(about.rule));
    data.insert("message".to_owned(), json!({"subject": message.subject, "text": message.body}));
    json!({"type": about.event_type, "timestamp": instant(about.at), "data": data}).to_string()
}

/// Tries a template on a sample of an event.
///
/// # Errors
/// As [`message`], naming what is not known.
pub fn try_on_sample(source: Source<'_>, event_type: &str) -> Result<(), RenderError> {
    let kind = event::find(event_type).map_or(Kind::Test, |told| told.kind);
    let subject = sample(kind);
    let about =
        About { event_id: Uuid::nil(), event_type, at: DateTime::UNIX_EPOCH, subject: &subject, rule: "a rule" };
    message(source, &about).map(drop)
}

/// Tries a template on a sample of every kind of record; one of them must do.
///
/// # Errors
/// What is wrong with it for an incident, when it does for none.
pub fn try_on_any_sample(source: Source<'_>) -> Result<(), RenderError> {
    let first =
        |kind: Kind| event::EVENTS.iter().find(|told| told.kind == kind).map_or(event::TEST, |told| told.event_type);
    let tried = [Kind::Incident, Kind::Alert, Kind::Clock, Kind::Change].map(|kind| try_on_sample(source, first(kind)));
    if tried.iter().any(Result::is_ok) {
        return Ok(());
    }
    tried.into_iter().next().unwrap_or(Ok(()))
}

fn render(name: &'static str, source: &str, context: &Value) -> Result<String, String> {
    let template = ENVIRONMENT.template_from_named_str(name, source).map_err(|error| error.to_string())?;
    let mut output = Bounded(Vec::new());
    match template.render_captured_to(context.clone(), &mut output) {
        Ok(_) => String::from_utf8(output.0).map_err(|error| error.to_string()),
        Err(_) if output.0.len() > OUTPUT_AT_MOST => Err(format!("must not write more than {OUTPUT_AT_MOST} bytes")),
        Err(error) if error.kind() == ErrorKind::OutOfFuel => Err("takes too much work; write it simpler".to_owned()),
        Err(error) if error.kind() == ErrorKind::UndefinedError => {
            let unknown = template.undeclared_variables(true).into_iter().filter(|path| !known(context, path));
            let mut unknown: Vec<String> = unknown.collect();
            unknown.sort();
            Err(format!(
                "{error}; not known: {}",
                if unknown.is_empty() { "a part of it".to_owned() } else { unknown.join(", ") }
            ))
        }
        Err(error) => Err(error.to_string()),
    }
}

fn known(context: &Value, path: &str) -> bool {
    let mut value = context.clone();
    for part in path.split('.') {
        match value.get_attr(part) {
            Ok(next) if !next.is_undefined() => value = next,
            _ => return false,
        }
    }
    true
}

/// Takes only so much.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if self.0.len() > OUTPUT_AT_MOST { Err(io::Error::other("the output is too long")) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One line without anything that could end a mail header.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(SUBJECT_AT_MOST));
    for word in text
        .split(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
        .filter(|word| !word.is_empty())
    {
        let gap = if line.is_empty() { "" } else { " " };
        // Writing to a text cannot fail.
        let _ = write!(line, "{gap}{word}");
    }
    match line.char_indices().nth(SUBJECT_AT_MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A record as plain JSON; what is not known is null.
fn record(subject: &Subject) -> Map<String, serde_json::Value> {
    let mut map = Map::new();
    let mut set = |key: &str, value: serde_json::Value| map.insert(key.to_owned(), value);
    set("id", json!(subject.id));
    set("number", json!(Some(&subject.number).filter(|number| !number.is_empty())));
    set("title", json!(subject.title));
    set("description", json!(subject.description));
    set("state", json!(subject.state));
    set("priority", json!(subject.priority.map(|priority| format!("P{priority}"))));
    set("severity", json!(subject.severity));
    set("service_ids", json!(subject.service_ids.iter().map(|id| id.0).collect::<Vec<_>>()));
    set("assigned_team_id", json!(subject.assigned_team_id.map(|id| id.0)));
    set("assignee_id", json!(subject.assignee_id.map(|id| id.0)));
    set("incident_id", json!(subject.incident_id.map(|id| id.0)));
    if subject.kind == Kind::Alert {
        set("labels", json!(subject.labels));
    }
    for (key, fact) in &subject.facts {
        set(
            key,
            match fact {
                Fact::Text(text) => json!(text),
                Fact::Number(number) => json!(number),
                Fact::Flag(flag) => json!(flag),
                Fact::Time(at) => json!(at.map(instant)),
            },
        );
    }
    map
}

/// What a template sees: the record under its kind and as `record`, the event, the rule.
fn context(about: &About<'_>) -> Value {
    let mut fields: BTreeMap<String, Value> =
        record(about.subject).into_iter().map(|(key, value)| (key, plain(value))).collect();
    if about.subject.kind == Kind::Alert {
        fields.insert("labels".to_owned(), Value::from_object(Labels(about.subject.labels.clone())));
    }
    let record: Value = fields.into_iter().collect::<BTreeMap<_, _>>().into();
    let phrase = event::find(about.event_type).map_or("", |told| told.phrase);
    let event: BTreeMap<&str, Value> = BTreeMap::from([
        ("id", about.event_id.to_string().into()),
        ("type", about.event_type.into()),
        ("time", instant(about.at).into()),
        ("phrase", phrase.into()),
    ]);
    let rule: BTreeMap<&str, Value> = BTreeMap::from([("name", about.rule.into())]);
    let whole: BTreeMap<&str, Value> = BTreeMap::from([
        ("record", record.clone()),
        (about.subject.kind.name(), record),
        ("event", event.into()),
        ("rule", rule.into()),
    ]);
    whole.into()
}

/// JSON as a template shows it: what is not known is an empty text.
fn plain(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => "".into(),
        serde_json::Value::Bool(flag) => flag.into(),
        serde_json::Value::Number(number) => number.as_i64().map_or_else(|| number.to_string().into(), Value::from),
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(values) => values.into_iter().map(plain).collect(),
        serde_json::Value::Object(map) => {
            map.into_iter().map(|(key, value)| (key, plain(value))).collect::<BTreeMap<_, _>>().into()
        }
    }
}

/// Labels differ from alert to alert, so that one that is missing is empty and no error.
struct Labels(BTreeMap<String, String>);

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.0).finish()
    }
}

impl Object for Labels {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(key.as_str().and_then(|key| self.0.get(key)).map_or_else(|| "".into(), |value| value.as_str().into()))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.keys().map(|key| key.as_str().into()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about<'a>(subject: &'a Subject, event_type: &'a str) -> About<'a> {
        About { event_id: Uuid::nil(), event_type, at: DateTime::UNIX_EPOCH, subject, rule: "night watch" }
    }

    fn body(body: &str) -> Result<String, RenderError> {
        let subject = sample(Kind::Incident);
        message(Source { subject: "s", body }, &about(&subject, "incident.opened")).map(|message| message.body)
    }

    fn refused(text: &str) -> String {
        body(text).unwrap_err().to_string()
    }

    #[test]
    fn every_event_has_a_built_in_text_for_full_and_for_bare_records() {
        for told in event::EVENTS {
            let mut bare = Subject::bare(told.kind, Uuid::nil());
            bare.facts = sample(told.kind)
                .facts
                .into_iter()
                .map(|(key, fact)| match fact {
                    Fact::Time(_) => (key, Fact::Time(None)),
                    other => (key, other),
                })
                .collect();
            for subject in [sample(told.kind), bare] {
                let made = builtin(&about(&subject, told.event_type));
                assert!(made.subject.contains(told.phrase), "{}: {}", told.event_type, made.subject);
                assert!(made.body.contains("night watch"), "{}: {}", told.event_type, made.body);
            }
        }
        let test = builtin(&about(&sample(Kind::Test), event::TEST));
        assert_eq!(test.subject, "Test message");
    }

    #[test]
    fn the_built_in_subject_reads_like_a_sentence() {
        let subject = sample(Kind::Incident);
        assert_eq!(
            builtin(&about(&subject, "incident.opened")).subject,
            "[P1] INC0000001 opened: Checkout answers slowly"
        );
    }

    #[test]
    fn a_misspelling_is_named_when_the_template_is_saved() {
        let source = |body| Source { subject: "{{ record.title }}", body };
        assert_eq!(try_on_any_sample(source("{{ alert.labels.team }}{{ record.state }}")), Ok(()));
        assert_eq!(try_on_sample(source("{{ alert.labels.team }}"), "alert.raised"), Ok(()));
        let said = try_on_any_sample(source("{{ incident.titel }}")).unwrap_err().to_string();
        assert!(said.contains("not known: incident.titel"), "{said}");
        let said = try_on_sample(source("{{ alert.title }}"), "incident.opened").unwrap_err().to_string();
        assert!(said.contains("not known: alert.title"), "{said}");
        assert!(matches!(try_on_any_sample(Source { subject: "{{ x", body: "" }), Err(RenderError::Subject(_))));
        assert!(refused("{% if %}").contains("syntax error"));
    }

    #[test]
    fn a_template_cannot_work_or_write_for_ever_nor_read_others() {
        for text in [
            "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
            "{% for a in range(10000000000) %}{% endfor %}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{{ 'x' * 1000000000 }}",
            "{{ range(1000000)|list|length }}",
            "{% include 'body' %}",
            "{% import 'body' as b %}{{ b.x() }}",
            "{% extends 'body' %}",
            "{{ record.__class__.__mro__ }}",
            "{{ ''.__class__ }}",
            "{{ debug() }}",
            "{{ self }}",
        ] {
            let began = std::time::Instant::now();
            assert!(body(text).is_err(), "{text}");
            assert!(began.elapsed().as_secs() < 2, "{text} took {:?}", began.elapsed());
        }
        assert!(
            refused("{% for a in range(2000) %}0123456789012345678901234567890123456789{% endfor %}").contains("65536")
        );
        assert!(
            refused("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}")
                .contains("too much work")
        );
    }

    #[test]
    fn a_subject_stays_one_line() {
        let mut subject = sample(Kind::Incident);
        subject.title = "a\r\nBcc: eve@example.com\u{2028}b\u{2029}c\0d\u{85}e".to_owned();
        let made = builtin(&about(&subject, "incident.opened"));
        assert_eq!(made.subject, "[P1] INC0000001 opened: a Bcc: eve@example.com b c d e");
        subject.title = "x".repeat(1_000);
        assert_eq!(builtin(&about(&subject, "incident.opened")).subject.chars().count(), SUBJECT_AT_MOST + 1);
    }

    #[test]
    fn markup_in_a_record_stays_text() {
        let mut subject = sample(Kind::Incident);
        subject.title = "{{ 7 * 7 }} <b>".to_owned();
        assert!(builtin(&about(&subject, "incident.opened")).body.contains("{{ 7 * 7 }} <b>"));
    }

    #[test]
    fn a_webhook_says_what_happened_to_what() {
        let subject = sample(Kind::Alert);
        let about = about(&subject, "alert.raised");
        let value: serde_json::Value = serde_json::from_str(&webhook(&about, &builtin(&about))).unwrap();
        assert_eq!((&value["type"], &value["timestamp"]), (&json!("alert.raised"), &json!("1970-01-01T00:00:00Z")));
        let alert = &value["data"]["alert"];
        assert_eq!((&alert["priority"], &alert["labels"]["alertname"]), (&json!("P1"), &json!("Slow")));
        assert_eq!(alert["assigned_team_id"], serde_json::Value::Null);
    }
}

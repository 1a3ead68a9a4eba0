//! The templates of messages.

use chrono::DateTime;
use notification::{
    domain::{Subject, event},
    render::{self, About, Source, samples::sample},
};
use uuid::Uuid;

/// The most bytes that a message may have.
const BODY_BYTES: usize = 64 * 1024;
/// The most characters of its subject line, with the sign that something was left out.
const SUBJECT_CHARACTERS: usize = 301;

/// Tries a subject and a text as they are saved, and renders them for an awkward record.
pub fn templates(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let [subject, body] = super::parts(&text);
    let source = Source { subject, body };
    if let Err(error) = render::try_on_any_sample(source) {
        assert!(!error.to_string().is_empty());
    }
    for told in [&event::EVENTS[0], &event::EVENTS[event::EVENTS.len() - 1]] {
        let record = awkward(sample(told.kind));
        let about = About {
            event_id: Uuid::nil(),
            event_type: told.event_type,
            at: DateTime::UNIX_EPOCH,
            subject: &record,
            rule: "{{ rule }}\r\n",
        };
        let Ok(message) = render::message(source, &about) else { continue };
        assert!(message.body.len() <= BODY_BYTES, "{} bytes", message.body.len());
        assert!(message.subject.chars().count() <= SUBJECT_CHARACTERS, "{}", message.subject);
        let ends_a_header = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        assert!(!message.subject.contains(ends_a_header), "{:?}", message.subject);
    }
}

/// A record whose texts are templates themselves, and break lines.
fn awkward(mut record: Subject) -> Subject {
    record.title = "{{ 7 * 7 }}\r\nBcc: x@example.com\u{2028}".to_owned();
    record.description = "{% for a in range(9999) %}{{ record }}{% endfor %}".to_owned();
    record
}

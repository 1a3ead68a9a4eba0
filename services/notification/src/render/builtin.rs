//! The built-in text of every kind of record: used when a rule names no template, and when its
//! template fails.

use crate::domain::event::Kind;

/// The templates of subject line and text.
#[must_use]
pub const fn texts(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Incident => (SUBJECT, INCIDENT),
        Kind::Alert => (SUBJECT, ALERT),
        Kind::Clock => (SUBJECT, CLOCK),
        Kind::Change => (SUBJECT, CHANGE),
        Kind::Test => (TEST_SUBJECT, TEST),
    }
}

const SUBJECT: &str = "{% if record.priority %}[{{ record.priority }}] {% elif record.severity %}[{{ record.severity }}] {% endif %}{% if record.number %}{{ record.number }} {% endif %}{{ event.phrase }}: {{ record.title }}";
const INCIDENT: &str = "{{ incident.number }} {{ event.phrase }}, {{ event.time }}

{{ incident.title }}
priority {{ incident.priority }}: {{ incident.priority_reason }}
state {{ incident.state }}
{% if incident.resolution_code %}resolution {{ incident.resolution_code }}: {{ incident.resolution_notes }}
{% endif %}{% if incident.description %}
{{ incident.description }}
{% endif %}
itsm incident show {{ incident.number }}
itsm incident acknowledge {{ incident.number }}

You are told by the rule \"{{ rule.name }}\".
";
const ALERT: &str = "Alert {{ event.phrase }}, {{ event.time }}

{{ alert.title }}
severity {{ alert.severity }}, since {{ alert.start_time }}
{% for name in alert.labels %}{{ name }}={{ alert.labels[name] }}
{% endfor %}{% if alert.description %}
{{ alert.description }}
{% endif %}{% if alert.source_url %}
{{ alert.source_url }}
{% endif %}
You are told by the rule \"{{ rule.name }}\".
";
const CLOCK: &str = "{{ clock.metric }} clock of {{ clock.number }} {{ event.phrase }}, {{ event.time }}

{{ clock.title }}
priority {{ clock.priority }}, {{ clock.target_seconds }} s allowed, due {{ clock.due_time }}
{{ clock.explanation }}
{% if clock.provisional %}The incident service could not be asked; this may be withdrawn.
{% endif %}
itsm incident show {{ clock.number }}

You are told by the rule \"{{ rule.name }}\".
";
const CHANGE: &str = "{{ change.number }} {{ event.phrase }}, {{ event.time }}

{{ change.title }}
{{ change.type }}, risk {{ change.risk }}, state {{ change.state }}
{% if change.planned_start_time %}planned {{ change.planned_start_time }} to {{ change.planned_end_time }}
{% endif %}{% if change.reason %}
{{ change.reason }}
{% endif %}
itsm change show {{ change.number }}

You are told by the rule \"{{ rule.name }}\".
";
const TEST_SUBJECT: &str = "Test message";
const TEST: &str = "This is a test message, sent {{ event.time }}. This way works.
";

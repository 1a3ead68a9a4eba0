//! Whether a rule's filter holds for a record. Pure.

use kit::filter::{self, Expression, Field, FilterError, Kind, Value};

use crate::domain::Subject;

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, column: name, kind }
}

/// What rules filter by.
pub const FIELDS: &[Field] = &[
    field("priority", Kind::Ranked(&[("P1", 1), ("P2", 2), ("P3", 3), ("P4", 4)])),
    field("severity", Kind::Ranked(&[("critical", 1), ("high", 2), ("medium", 3), ("low", 4), ("info", 5)])),
    field("service_id", Kind::Uuid),
    field("assigned_team_id", Kind::Uuid),
    field(
        "state",
        Kind::Enum(&[
            ("NEW", "NEW"),
            ("ASSIGNED", "ASSIGNED"),
            ("IN_PROGRESS", "IN_PROGRESS"),
            ("PENDING", "PENDING"),
            ("RESOLVED", "RESOLVED"),
            ("CLOSED", "CLOSED"),
            ("CANCELLED", "CANCELLED"),
            ("ACTIVE", "ACTIVE"),
            ("CLEARED", "CLEARED"),
            ("RUNNING", "RUNNING"),
            ("PAUSED", "PAUSED"),
            ("MET", "MET"),
            ("DRAFT", "DRAFT"),
            ("REQUESTED", "REQUESTED"),
            ("APPROVED", "APPROVED"),
            ("REJECTED", "REJECTED"),
            ("SCHEDULED", "SCHEDULED"),
            ("COMPLETED", "COMPLETED"),
            ("FAILED", "FAILED"),
        ]),
    ),
];

/// Reads a filter and tries its fields and values.
///
/// # Errors
/// A filter that is none.
pub fn read(text: &str) -> Result<Expression, FilterError> {
    let expression = filter::parse(text)?;
    expression.check(FIELDS)?;
    Ok(expression)
}

/// Whether a record passes; one of several services is enough. A filter that cannot be judged
/// passes: better told once too often than not at all.
#[must_use]
pub fn passes(filter: &str, subject: &Subject) -> bool {
    let services: Vec<Option<uuid::Uuid>> = match subject.service_ids.as_slice() {
        [] => vec![None],
        ids => ids.iter().map(|id| Some(id.0)).collect(),
    };
    let judged = read(filter).and_then(|expression| {
        services.iter().try_fold(false, |passes, service| {
            Ok(expression.matches(FIELDS, &|name| value(subject, *service, name))? || passes)
        })
    });
    judged.unwrap_or_else(|error| {
        tracing::warn!(%error, record_id = %subject.id, "a rule's filter cannot be judged; the event is told");
        true
    })
}

fn value(subject: &Subject, service: Option<uuid::Uuid>, name: &str) -> Option<Value> {
    match name {
        "priority" => subject.priority.map(|priority| Value::Text(format!("P{priority}"))),
        "severity" => subject.severity.clone().map(Value::Text),
        "service_id" => service.map(Value::Uuid),
        "assigned_team_id" => subject.assigned_team_id.map(|id| Value::Uuid(id.0)),
        "state" => Some(Value::Text(subject.state.clone())).filter(|_| !subject.state.is_empty()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Kind;

    #[test]
    fn a_rule_may_ask_for_urgent_records_of_one_service() {
        let mut subject = Subject::bare(Kind::Change, uuid::Uuid::nil());
        let (one, other) = (kit::id::ServiceId::draw(), kit::id::ServiceId::draw());
        subject.service_ids = vec![one, other];
        subject.priority = Some(2);
        subject.severity = Some("high".to_owned());
        subject.state = "FAILED".to_owned();
        for (filter, expected) in [
            (String::new(), true),
            ("priority <= P2".to_owned(), true),
            ("priority = P1".to_owned(), false),
            ("severity <= high".to_owned(), true),
            ("severity = critical".to_owned(), false),
            (format!("service_id = {other}"), true),
            (format!("service_id = {}", kit::id::draw()), false),
            ("state = FAILED AND priority < P3".to_owned(), true),
            ("assigned_team_id:*".to_owned(), false),
        ] {
            assert!(read(&filter).is_ok(), "{filter}");
            assert_eq!(passes(&filter, &subject), expected, "{filter}");
        }
        for filter in ["priority = 1", "colour = red", "state = GONE", "state <= NEW", "priority <"] {
            assert!(read(filter).is_err(), "{filter}");
        }
    }
}

//! The filter language.

use chrono::DateTime;
use kit::filter::{Field, FilterError, Kind, Value, parse};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

/// One field of every kind.
const FIELDS: &[Field] = &[
    Field { name: "title", column: "r.title", kind: Kind::Text },
    Field { name: "team_id", column: "r.team_id", kind: Kind::Uuid },
    Field { name: "service_ids", column: "r.service_ids", kind: Kind::Uuids },
    Field { name: "priority", column: "r.priority", kind: Kind::Integer },
    Field { name: "active", column: "r.active", kind: Kind::Boolean },
    Field { name: "create_time", column: "r.created_at", kind: Kind::Time },
    Field { name: "state", column: "r.state", kind: Kind::Enum(&[("OPEN", "open"), ("CLOSED", "closed")]) },
    Field { name: "severity", column: "r.severity", kind: Kind::Ranked(&[("HIGH", 1), ("LOW", 2)]) },
];

/// The words that the SQL of a filter is made of, beside columns and operators.
const WORDS: &[&str] = &["true", "false", "and", "or", "not", "is", "null", "nullif", "any"];

/// Reads a filter, asks a record with everything and one with nothing, and writes it as SQL.
pub fn filters(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let expression = match parse(&text) {
        Ok(expression) => expression,
        Err(error) => return explained(&error),
    };
    let checked = expression.check(FIELDS);
    let mut query = QueryBuilder::<Postgres>::new("");
    let written = expression.push_sql(FIELDS, &mut query);
    assert_eq!(written.is_ok(), checked.is_ok(), "memory and SQL judge a filter alike: {text:?}");
    match checked {
        Ok(()) => {
            expression.matches(FIELDS, &full).expect("a filter that was checked can be asked");
            ours_alone(query.sql().as_ref());
        }
        Err(error) => explained(&error),
    }
}

fn explained(error: &FilterError) {
    let said = error.to_string();
    assert!(!said.is_empty() && said.len() <= 10_000, "{said:?}");
    assert!(!matches!(error, FilterError::Record(_)), "no caller's fault: {said}");
}

/// Nothing of the caller's text stands in the SQL: values are bound, and columns are ours.
fn ours_alone(sql: &str) {
    let bare = sql.replace("''", " ").replace("'{}'", " ");
    for word in bare.split(|c: char| c.is_whitespace() || "(),=<>$".contains(c)).filter(|word| !word.is_empty()) {
        let ours = WORDS.contains(&word)
            || FIELDS.iter().any(|field| field.column == word)
            || word.bytes().all(|byte| byte.is_ascii_digit());
        assert!(ours, "{word:?} got into the SQL: {sql}");
    }
}

fn full(field: &str) -> Option<Value> {
    match field {
        "title" => Some(Value::Text("a title".to_owned())),
        "team_id" => Some(Value::Uuid(Uuid::nil())),
        "service_ids" => Some(Value::Uuids(vec![Uuid::nil()])),
        "priority" => Some(Value::Integer(2)),
        "active" => Some(Value::Boolean(true)),
        "create_time" => Some(Value::Time(DateTime::UNIX_EPOCH)),
        "state" => Some(Value::Text("OPEN".to_owned())),
        "severity" => Some(Value::Text("HIGH".to_owned())),
        _ => None,
    }
}

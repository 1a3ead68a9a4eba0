//! The filter language of lists, watches and rules: a part of AIP-160.
//!
//! `state = open AND (severity <= high OR assignee:*) AND NOT title = "a test"`. As AIP-160 says,
//! `OR` binds tighter than `AND`. No text of a caller ever becomes SQL: columns come from the
//! service's own [`Field`]s, values are bound. A comparison is two-valued: with a field that is
//! not set only `!=` holds, and `NOT` turns exactly the rest around, in SQL and in memory alike.

use std::cmp::Ordering;

use chrono::{DateTime, SubsecRound as _, Utc};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

const LONGEST: usize = 2_000;
const MOST_COMPARISONS: usize = 50;
const DEEPEST: usize = 10;

/// A field people filter by.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name in the filter.
    pub name: &'static str,
    /// Its column, or an SQL expression as tight as one, from code alone.
    pub column: &'static str,
    /// What it holds.
    pub kind: Kind,
}

/// What a field holds, and so which operators and values it takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Text; only `=`, `!=` and `:*`, since an order of text differs between machines.
    Text,
    /// An id.
    Uuid,
    /// Several ids, never null: `=` holds when one of them is it, `!=` when none is.
    Uuids,
    /// A whole number.
    Integer,
    /// `true` or `false`; only `=`, `!=` and `:*`.
    Boolean,
    /// An instant, written as in RFC 3339, compared to the microsecond.
    Time,
    /// Names and what is stored for each; only `=`, `!=` and `:*`. Case does not matter.
    Enum(&'static [(&'static str, &'static str)]),
    /// Names in an order and the number stored for each. Case does not matter.
    Ranked(&'static [(&'static str, i64)]),
}

/// What a field of a record holds; for an [`Kind::Enum`] or [`Kind::Ranked`] the name as `Text`.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub enum Value {
    /// For `Text`, `Enum` and `Ranked`.
    Text(String),
    /// For `Uuid`, and what a filter says of `Uuids`.
    Uuid(Uuid),
    /// For `Uuids`.
    Uuids(Vec<Uuid>),
    /// For `Integer`.
    Integer(i64),
    /// For `Boolean`.
    Boolean(bool),
    /// For `Time`.
    Time(DateTime<Utc>),
}

/// Why a filter was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not in the language: at which character, from 1, and what the language allows there.
    #[error("{1} expected at character {0}")]
    Syntax(usize, &'static str),
    /// More than one filter may ask.
    #[error("at most {LONGEST} characters, {MOST_COMPARISONS} comparisons and {DEEPEST} levels")]
    TooLarge,
    /// A field that cannot be filtered by, and those that can.
    #[error("unknown field `{0}`; known fields: {1}")]
    UnknownField(String, String),
    /// An operator the field does not take.
    #[error("`{0}` has no order; compare it with =, != or :*")]
    Unordered(&'static str),
    /// A value the field does not take, and what it takes.
    #[error("`{1}` is no value for `{0}`; write {2}")]
    Value(&'static str, String, String),
    /// The service gave a value of another kind than it declared: its fault, not the caller's.
    #[error("the record's `{0}` is not of the declared kind")]
    Record(&'static str),
}

/// A filter that was read; which fields there are is asked only when it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression(Node);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    IsSet(String),
    Compare(String, Outcomes, String),
}

/// For which outcomes of a comparison an operator holds; `NOT` holds for the others.
type Outcomes = u8;
const LESS: Outcomes = 1;
const EQUAL: Outcomes = 2;
const MORE: Outcomes = 4;
const UNSET: Outcomes = 8;
const EVERY: Outcomes = 15;

/// In the language and in SQL; longer spellings first, so that `<=` is not read as `<`.
const OPERATORS: [(&str, &str, Outcomes); 6] = [
    ("!=", "<>", LESS | MORE | UNSET),
    ("<=", "<=", LESS | EQUAL),
    (">=", ">=", MORE | EQUAL),
    ("=", "=", EQUAL),
    ("<", "<", LESS),
    (">", ">", MORE),
];

/// Reads a filter; an empty one holds for every record.
///
/// # Errors
/// Text outside the language, or beyond its limits.
pub fn parse(text: &str) -> Result<Expression, FilterError> {
    if text.chars().count() > LONGEST {
        return Err(FilterError::TooLarge);
    }
    let mut reader = Reader { text, rest: text.trim_start(), comparisons: 0 };
    if reader.rest.is_empty() {
        return Ok(Expression(Node::All(Vec::new())));
    }
    let node = reader.all(1)?;
    if reader.rest.is_empty() { Ok(Expression(node)) } else { Err(reader.expected("AND or OR")) }
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    comparisons: usize,
}

impl<'a> Reader<'a> {
    fn all(&mut self, depth: usize) -> Result<Node, FilterError> {
        let mut nodes = vec![self.any(depth)?];
        while self.word("AND") {
            nodes.push(self.any(depth)?);
        }
        Ok(one_or(nodes, Node::All))
    }

    fn any(&mut self, depth: usize) -> Result<Node, FilterError> {
        let mut nodes = vec![self.term(depth)?];
        while self.word("OR") {
            nodes.push(self.term(depth)?);
        }
        Ok(one_or(nodes, Node::Any))
    }

    fn term(&mut self, depth: usize) -> Result<Node, FilterError> {
        if depth > DEEPEST {
            return Err(FilterError::TooLarge);
        }
        if self.word("NOT") {
            return Ok(Node::Not(Box::new(self.term(depth + 1)?)));
        }
        if !self.skip("(") {
            return self.comparison();
        }
        let node = self.all(depth + 1)?;
        if self.skip(")") { Ok(node) } else { Err(self.expected("AND, OR or `)`")) }
    }

    fn comparison(&mut self) -> Result<Node, FilterError> {
        self.comparisons += 1;
        if self.comparisons > MOST_COMPARISONS {
            return Err(FilterError::TooLarge);
        }
        let field = self.take(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
        if field.is_empty() {
            return Err(self.expected("a field, NOT or `(`"));
        }
        let field = field.to_owned();
        if self.skip(":*") {
            return Ok(Node::IsSet(field));
        }
        let operator = OPERATORS.iter().find(|(spelling, ..)| self.skip(spelling));
        let (.., outcomes) = operator.ok_or_else(|| self.expected("an operator (= != < <= > >= :*)"))?;
        Ok(Node::Compare(field, *outcomes, self.value()?))
    }

    fn value(&mut self) -> Result<String, FilterError> {
        let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            let bare = self.take(|c| !c.is_whitespace() && !c.is_control() && !"()\"'=<>!*,\\".contains(c));
            return if bare.is_empty() {
                Err(self.expected("a value, in quotes unless it is one plain word"))
            } else {
                Ok(bare.to_owned())
            };
        };
        let mut value = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((index, character)) = characters.next() {
            match character {
                '\\' => match characters.next() {
                    Some((_, escaped @ ('\\' | '"' | '\''))) => value.push(escaped),
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, 't')) => value.push('\t'),
                    _ => return Err(self.expected(r#"a text with no escapes but \\ \" \' \n \t"#)),
                },
                // Postgres stores no such character, and would refuse the whole query.
                '\0' => return Err(self.expected("a text without a NUL character")),
                _ if character == quote => {
                    self.rest = self.rest[index + 1..].trim_start();
                    return Ok(value);
                }
                _ => value.push(character),
            }
        }
        Err(self.expected("a closing quote for the text"))
    }

    fn take(&mut self, part: impl Fn(char) -> bool) -> &'a str {
        let (taken, rest) = self.rest.split_at(self.rest.find(|c| !part(c)).unwrap_or(self.rest.len()));
        self.rest = rest.trim_start();
        taken
    }

    fn skip(&mut self, symbol: &str) -> bool {
        let rest = self.rest.strip_prefix(symbol).map(str::trim_start);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self, word: &str) -> bool {
        let ends = |rest: &str| rest.starts_with(|c: char| c.is_whitespace() || c == '(');
        self.rest.strip_prefix(word).is_some_and(ends) && self.skip(word)
    }

    fn expected(&self, expected: &'static str) -> FilterError {
        let at = self.text.chars().count() - self.rest.chars().count() + 1;
        FilterError::Syntax(at, expected)
    }
}

fn one_or(mut nodes: Vec<Node>, join: fn(Vec<Node>) -> Node) -> Node {
    match nodes.pop() {
        Some(node) if nodes.is_empty() => node,
        Some(node) => {
            nodes.push(node);
            join(nodes)
        }
        None => join(nodes),
    }
}

impl Expression {
    /// Appends the filter as one SQL condition in parentheses.
    ///
    /// # Errors
    /// A field, operator or value that `fields` does not allow; the query is then of no use.
    pub fn push_sql(&self, fields: &[Field], query: &mut QueryBuilder<Postgres>) -> Result<(), FilterError> {
        push(&self.0, true, fields, query)
    }

    /// Whether a record passes, whose fields `lookup` gives: none for one that is not set.
    ///
    /// # Errors
    /// As [`Expression::push_sql`], and a record's value of another kind than declared.
    pub fn matches(&self, fields: &[Field], lookup: &dyn Fn(&str) -> Option<Value>) -> Result<bool, FilterError> {
        holds(&self.0, fields, lookup)
    }

    /// Whether `fields` allow the filter: to refuse a rule when it is written, not when it is used.
    ///
    /// # Errors
    /// As [`Expression::push_sql`].
    pub fn check(&self, fields: &[Field]) -> Result<(), FilterError> {
        self.matches(fields, &|_| None).map(drop)
    }
}

fn push(node: &Node, affirmed: bool, fields: &[Field], query: &mut QueryBuilder<Postgres>) -> Result<(), FilterError> {
    match node {
        Node::Not(inner) => push(inner, !affirmed, fields, query)?,
        Node::All(nodes) | Node::Any(nodes) => {
            let all = matches!(node, Node::All(_)) == affirmed;
            query.push(if all { "(true" } else { "(false" });
            for node in nodes {
                query.push(if all { " and " } else { " or " });
                push(node, affirmed, fields, query)?;
            }
            query.push(")");
        }
        Node::IsSet(name) => {
            let Field { column, kind, .. } = find(fields, name)?;
            let not = if affirmed { "not " } else { "" };
            match kind {
                Kind::Text => query.push(format_args!("nullif({column}, '') is {not}null")),
                Kind::Uuids => query.push(format_args!("nullif({column}, '{{}}') is {not}null")),
                _ => query.push(format_args!("{column} is {not}null")),
            };
        }
        Node::Compare(name, outcomes, value) => {
            // `NOT` is pushed down to here: SQL's own would make nothing of an unset column.
            let field = find(fields, name)?;
            let outcomes = if affirmed { *outcomes } else { EVERY ^ *outcomes };
            match (field.kind, literal(field, outcomes, value)?) {
                (Kind::Uuids, Value::Uuid(wanted)) => {
                    query.push(if outcomes & EQUAL == 0 { "(not " } else { "(" });
                    query.push_bind(wanted).push(format_args!(" = any ({}))", field.column));
                }
                (_, wanted) => push_comparison(field.column, outcomes, wanted, query),
            }
        }
    }
    Ok(())
}

fn push_comparison(column: &'static str, outcomes: Outcomes, wanted: Value, query: &mut QueryBuilder<Postgres>) {
    let ordered = |outcomes: Outcomes| outcomes & !UNSET;
    let operator = OPERATORS.iter().find(|(.., each)| ordered(*each) == ordered(outcomes));
    let symbol = operator.map_or("=", |(_, symbol, _)| symbol);
    query.push(format_args!("({column} {symbol} "));
    match wanted {
        Value::Text(value) => query.push_bind(value),
        Value::Uuid(value) => query.push_bind(value),
        Value::Uuids(value) => query.push_bind(value),
        Value::Integer(value) => query.push_bind(value),
        Value::Boolean(value) => query.push_bind(value),
        Value::Time(value) => query.push_bind(value),
    };
    if outcomes & UNSET != 0 {
        query.push(format_args!(" or {column} is null"));
    }
    query.push(")");
}

/// Goes through every comparison, so that a wrong one is refused whatever the others say.
fn holds(node: &Node, fields: &[Field], lookup: &dyn Fn(&str) -> Option<Value>) -> Result<bool, FilterError> {
    let each = |node| holds(node, fields, lookup);
    match node {
        Node::All(nodes) => nodes.iter().try_fold(true, |all, node| Ok(each(node)? && all)),
        Node::Any(nodes) => nodes.iter().try_fold(false, |any, node| Ok(each(node)? || any)),
        Node::Not(inner) => Ok(!each(inner)?),
        Node::IsSet(name) => {
            let actual = lookup(find(fields, name)?.name);
            Ok(actual.is_some_and(|value| value != Value::Text(String::new()) && value != Value::Uuids(Vec::new())))
        }
        Node::Compare(name, outcomes, value) => {
            let field = find(fields, name)?;
            let wanted = literal(field, *outcomes, value)?;
            let actual = lookup(field.name).map(|value| stored(field, value)).transpose()?;
            let actual = actual.and_then(|actual| match (actual, &wanted) {
                (Value::Uuids(all), Value::Uuid(one)) => all.contains(one).then_some(Value::Uuid(*one)),
                (actual, _) => Some(actual),
            });
            let outcome = match actual.and_then(|actual| actual.partial_cmp(&wanted)) {
                None => UNSET,
                Some(Ordering::Less) => LESS,
                Some(Ordering::Equal) => EQUAL,
                Some(Ordering::Greater) => MORE,
            };
            Ok(outcomes & outcome != 0)
        }
    }
}

fn find<'a>(fields: &'a [Field], name: &str) -> Result<&'a Field, FilterError> {
    fields.iter().find(|field| field.name == name).ok_or_else(|| {
        let known: Vec<_> = fields.iter().map(|field| field.name).collect();
        FilterError::UnknownField(name.to_owned(), known.join(", "))
    })
}

/// What the filter says, in the form the column stores.
fn literal(field: &Field, outcomes: Outcomes, text: &str) -> Result<Value, FilterError> {
    let unordered = matches!(field.kind, Kind::Text | Kind::Uuids | Kind::Boolean | Kind::Enum(_));
    if unordered && (outcomes & LESS == 0) != (outcomes & MORE == 0) {
        return Err(FilterError::Unordered(field.name));
    }
    let read = match field.kind {
        Kind::Uuid | Kind::Uuids => Uuid::parse_str(text).ok().map(Value::Uuid),
        Kind::Integer => text.parse().ok().map(Value::Integer),
        Kind::Boolean => text.parse().ok().map(Value::Boolean),
        Kind::Time => DateTime::parse_from_rfc3339(text).ok().map(|at| Value::Time(at.to_utc())),
        Kind::Text | Kind::Enum(_) | Kind::Ranked(_) => Some(Value::Text(text.to_owned())),
    };
    let wanted = read.and_then(|value| stored(field, value).ok());
    wanted.ok_or_else(|| FilterError::Value(field.name, text.to_owned(), expected(field.kind)))
}

fn expected(kind: Kind) -> String {
    let names: Vec<&str> = match kind {
        Kind::Text => return "a text".to_owned(),
        Kind::Uuid | Kind::Uuids => return "an id such as 0199c0de-0000-7000-8000-000000000001".to_owned(),
        Kind::Integer => return "a whole number".to_owned(),
        Kind::Boolean => return "true or false".to_owned(),
        Kind::Time => return "a time such as 2026-01-31T08:00:00Z".to_owned(),
        Kind::Enum(names) => names.iter().map(|(name, _)| *name).collect(),
        Kind::Ranked(names) => names.iter().map(|(name, _)| *name).collect(),
    };
    format!("one of {}", names.join(", "))
}

/// A value in the form the column stores it: names replaced, times to the microsecond.
fn stored(field: &Field, value: Value) -> Result<Value, FilterError> {
    let found = match (field.kind, value) {
        (Kind::Text, value @ Value::Text(_))
        | (Kind::Uuid, value @ Value::Uuid(_))
        | (Kind::Uuids, value @ (Value::Uuid(_) | Value::Uuids(_)))
        | (Kind::Integer, value @ Value::Integer(_))
        | (Kind::Boolean, value @ Value::Boolean(_)) => Some(value),
        (Kind::Time, Value::Time(time)) => Some(Value::Time(time.trunc_subsecs(6))),
        (Kind::Enum(names), Value::Text(name)) => named(names, &name).map(|stored| Value::Text(stored.to_owned())),
        (Kind::Ranked(names), Value::Text(name)) => named(names, &name).map(Value::Integer),
        _ => None,
    };
    found.ok_or(FilterError::Record(field.name))
}

fn named<T: Copy>(names: &[(&'static str, T)], name: &str) -> Option<T> {
    names.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, stored)| *stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sqlx::Execute as _;

    const fn field(name: &'static str, kind: Kind) -> Field {
        Field { name, column: name, kind }
    }

    const FIELDS: [Field; 8] = [
        field("title", Kind::Text),
        field("id", Kind::Uuid),
        field("teams", Kind::Uuids),
        field("priority", Kind::Integer),
        field("restricted", Kind::Boolean),
        field("opened", Kind::Time),
        field("state", Kind::Enum(&[("open", "O"), ("closed", "C")])),
        field("severity", Kind::Ranked(&[("critical", 1), ("high", 2), ("low", 4)])),
    ];

    fn sql(text: &str) -> Result<String, FilterError> {
        let mut query = QueryBuilder::new("");
        parse(text)?.push_sql(&FIELDS, &mut query)?;
        Ok(query.build().sql().as_str().to_owned())
    }

    fn record(name: &str) -> Option<Value> {
        match name {
            "title" => Some(Value::Text(String::new())),
            "priority" => Some(Value::Integer(2)),
            "opened" => Some(Value::Time(DateTime::from_timestamp(1_000, 123_456_789)?)),
            "state" => Some(Value::Text("OPEN".into())),
            "severity" => Some(Value::Text("high".into())),
            "teams" => Some(Value::Uuids(vec![Uuid::from_u128(1), Uuid::from_u128(2)])),
            _ => None,
        }
    }

    fn holds(text: &str) -> bool {
        parse(text).unwrap().matches(&FIELDS, &record).unwrap()
    }

    #[test]
    fn sql_names_columns_and_binds_values() {
        assert_eq!(sql("").unwrap(), "(true)");
        assert_eq!(sql("priority <= 2").unwrap(), "(priority <= $1)");
        let text = sql("title = 'a\\'b' AND NOT (state != Open OR severity < low) AND NOT id:*").unwrap();
        assert_eq!(
            text,
            "(true and (title = $1) and (true and (state = $2) and (severity >= $3 or severity is null)) and id is null)"
        );
        let id = Uuid::from_u128(1);
        let text = sql(&format!("teams = {id} AND NOT teams = {id} AND teams != {id} AND teams:*")).unwrap();
        assert_eq!(
            text,
            "(true and ($1 = any (teams)) and (not $2 = any (teams)) and (not $3 = any (teams)) and nullif(teams, '{}') is not null)"
        );
    }

    #[test]
    fn records_pass_by_kind_and_unset_fields_only_by_unequal() {
        for text in [
            "",
            "priority <= 2",
            "priority = \"2\"",
            "state = open",
            "severity <= HIGH",
            "severity > critical",
            "NOT title:*",
            "NOT id:*",
            "restricted != true",
            "NOT restricted = true",
            "title = ''",
            "opened = 1970-01-01T01:16:40.123456+01:00",
            "priority=1 OR priority=2 AND state=open",
            "state = closed AND priority = 1 OR state = open",
            "NOT(priority>2)AND(severity:*)",
            "teams = 00000000-0000-0000-0000-000000000002 AND teams:*",
            "teams != 00000000-0000-0000-0000-000000000003",
        ] {
            // AIP-160: OR first, so the last but one is false.
            assert_eq!(holds(text), text != "state = closed AND priority = 1 OR state = open", "{text}");
        }
        for text in [
            "restricted = false",
            "id < 0199c0de-0000-7000-8000-000000000001",
            "state != open",
            "priority > 2",
            "teams != 00000000-0000-0000-0000-000000000002",
            "NOT teams = 00000000-0000-0000-0000-000000000002",
            "teams = 00000000-0000-0000-0000-000000000003",
        ] {
            assert!(!holds(text), "{text}");
        }
    }

    #[test]
    fn refusals_say_what_to_write() {
        for (text, said) in [
            ("colour = red", "unknown field `colour`; known fields: title, id,"),
            ("state = done", "`done` is no value for `state`; write one of open, closed"),
            ("id:* AND state = done", "`done` is no value for `state`; write one of open, closed"),
            ("priority < 2.5", "`2.5` is no value for `priority`; write a whole number"),
            ("title < b", "`title` has no order; compare it with =, != or :*"),
            ("state = open and id:*", "AND or OR expected at character 14"),
            ("title = 'abc", "a closing quote for the text expected at character 9"),
            ("title = 'a\0'", "a text without a NUL"),
            ("title = a* ", "AND or OR expected at character 10"),
            ("(state = open", "AND, OR or `)` expected at character 14"),
            ("= open", "a field, NOT or `(` expected at character 1"),
        ] {
            let error = sql(text).unwrap_err();
            assert!(error.to_string().starts_with(said), "{error}");
            let expression = parse(text);
            assert_eq!(expression.and_then(|it| it.check(&FIELDS)), Err(error), "{text}");
        }
        let nested = |depth| format!("{}id:*{}", "(".repeat(depth), ")".repeat(depth));
        let long = |count| vec!["id:*"; count].join(" AND ");
        let title = |length: usize| format!("title={}", "é".repeat(length - 6));
        for (fits, exceeds) in [(nested(9), nested(10)), (long(50), long(51)), (title(2_000), title(2_001))] {
            assert!(sql(&fits).is_ok());
            assert_eq!(sql(&exceeds), Err(FilterError::TooLarge));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered_alike_and_never_becomes_sql(
            text in prop_oneof![
                any::<String>(),
                "((title|id|teams|priority|opened|state|severity|NOT|AND|OR|[(]|[)]|=|!=|<|:[*]|'zz;'|2|open|-|\\\\|9999-12-31T23:59:60Z) ?){1,12}",
            ],
        ) {
            let written = sql(&text);
            let checked = parse(&text).and_then(|it| it.check(&FIELDS));
            prop_assert_eq!(written.as_ref().err(), checked.as_ref().err());
            prop_assert!(!written.unwrap_or_default().contains("zz;"));
            drop(parse(&text).map(|it| it.matches(&FIELDS, &record)));
        }
    }
}

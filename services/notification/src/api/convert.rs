//! Messages to the domain and back. The only place that turns a bad field into INVALID_ARGUMENT,
//! with the field's path: [`requests`] reads what is asked, [`records`] writes what is answered.

pub mod records;
pub mod requests;

use std::str::FromStr;

use kit::{
    filter::{Expression, Field, FilterError},
    page::{self, PageError},
    problem::Problem,
    watch::From as WatchFrom,
};
use uuid::Uuid;

use crate::app::Target;

/// The record that a verb is about.
///
/// # Errors
/// Invalid when the id is none.
pub fn target(text: &str, revision: Option<i64>) -> Result<Target, Problem> {
    Ok(Target { id: id::<Uuid>("id", text)?, revision })
}

/// An id.
///
/// # Errors
/// Invalid when it is none.
pub fn id<T: FromStr>(field: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::invalid(field, "must be an id (a UUID)"))
}

/// An id that may be empty.
///
/// # Errors
/// Invalid when it is neither empty nor an id.
pub fn optional_id<T: FromStr>(field: &str, text: &str) -> Result<Option<T>, Problem> {
    if text.is_empty() { Ok(None) } else { id(field, text).map(Some) }
}

/// A text of at least `least` and at most `most` characters, without control characters but line
/// breaks and tabs.
///
/// # Errors
/// Invalid otherwise.
pub fn limited(field: &str, text: String, least: usize, most: usize) -> Result<String, Problem> {
    let length = text.chars().count();
    if length < least || text.trim().is_empty() && least > 0 {
        return Err(Problem::invalid(field, format!("must have at least {least} characters")));
    }
    if length > most {
        return Err(Problem::invalid(field, format!("must have at most {most} characters, not {length}")));
    }
    if text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\r' | '\t')) {
        return Err(Problem::invalid(field, "must not have control characters"));
    }
    Ok(text)
}

/// A text of one line.
///
/// # Errors
/// Invalid when it is too short, too long, or more than a line.
pub fn line(field: &str, text: String, least: usize, most: usize) -> Result<String, Problem> {
    let text = limited(field, text, least, most)?;
    let breaks = |c: char| matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}');
    if text.contains(breaks) { Err(Problem::invalid(field, "must be one line")) } else { Ok(text) }
}

/// A filter over these fields, which may be empty.
///
/// # Errors
/// Invalid when it is none, or names unknown fields.
pub fn filter(text: &str, fields: &[Field]) -> Result<Option<Expression>, Problem> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let expression = kit::filter::parse(text).map_err(invalid_filter)?;
    expression.check(fields).map_err(invalid_filter)?;
    Ok(Some(expression))
}

fn invalid_filter(error: FilterError) -> Problem {
    Problem::invalid("filter", error.to_string())
}

/// Where a watch begins.
///
/// # Errors
/// Invalid when the time is none.
pub fn watch_from(cursor: String, start_time: Option<prost_types::Timestamp>) -> Result<WatchFrom, Problem> {
    match (cursor.is_empty(), start_time) {
        (false, _) => Ok(WatchFrom::Cursor(cursor)),
        (true, Some(at)) => {
            kit::bus::time(&at).map(WatchFrom::Time).ok_or_else(|| Problem::invalid("start_time", "is no time"))
        }
        (true, None) => Ok(WatchFrom::Now),
    }
}

/// A fault of paging as a problem.
#[must_use]
pub fn paging(error: PageError) -> Problem {
    Problem::invalid(error.field(), error.to_string())
}

/// The size of a page.
///
/// # Errors
/// Invalid when it is out of bounds.
pub fn page_size(requested: i32) -> Result<i64, Problem> {
    page::page_size(requested).map_err(paging)
}

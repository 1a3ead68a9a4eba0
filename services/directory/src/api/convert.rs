//! Messages to the domain and back. The only place that turns a bad field into INVALID_ARGUMENT,
//! with the field's path. [`records`] has the way out, [`requests`] the way in; here what both use.

pub mod records;
pub mod requests;

use std::str::FromStr;

use kit::{
    filter::{Expression, Field, FilterError},
    page::{self, PageError},
    problem::Problem,
    watch::From as WatchFrom,
};

use crate::app::Target;

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

/// The record that a verb is about.
///
/// # Errors
/// Invalid when the id is none.
pub fn target<I: FromStr>(text: &str, revision: Option<i64>) -> Result<Target<I>, Problem> {
    Ok(Target { id: id("id", text)?, revision })
}

/// The record that an update is about; its revision must be given.
///
/// # Errors
/// Invalid when the id is none or the revision is missing.
fn update_target<I: FromStr>(noun: &str, text: &str, revision: i64) -> Result<Target<I>, Problem> {
    let id = id(&format!("{noun}.id"), text)?;
    if revision <= 0 {
        return Err(Problem::invalid(format!("{noun}.revision"), "must be the revision that the change is based on"));
    }
    Ok(Target { id, revision: Some(revision) })
}

/// The paths of a mask, each of them one that can change.
fn paths(mask: Option<prost_types::FieldMask>, can_change: &[&str]) -> Result<Vec<String>, Problem> {
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        return Err(Problem::invalid("update_mask", format!("must name what changes: {}", can_change.join(", "))));
    }
    match paths.iter().find(|path| !can_change.contains(&path.as_str())) {
        Some(other) => Err(Problem::invalid(
            "update_mask",
            format!("`{other}` cannot be changed; what can: {}", can_change.join(", ")),
        )),
        None => Ok(paths),
    }
}

/// One line of at least `least` and at most `most` characters, without control characters.
fn line(field: &str, text: String, least: usize, most: usize) -> Result<String, Problem> {
    if text.contains(['\n', '\r', '\t']) {
        return Err(Problem::invalid(field, "must be one line"));
    }
    limited(field, text, least, most)
}

/// A text of at least `least` and at most `most` characters, without control characters but line
/// breaks and tabs.
fn limited(field: &str, text: String, least: usize, most: usize) -> Result<String, Problem> {
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

/// A name that stands in subjects and addresses.
fn slug(field: &str, text: String) -> Result<String, Problem> {
    let fits = (1..=40).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if fits { Ok(text) } else { Err(Problem::invalid(field, "must be 1 to 40 of a-z, 0-9 and `-`")) }
}

/// A mail address, or nothing. Judged by form alone: whether it works, mail tells.
fn email(field: &str, text: String) -> Result<String, Problem> {
    let fits = |text: &str| {
        let (local, domain) = text.rsplit_once('@')?;
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"<>(),;:\"[]\\@".contains(c);
        let labels = domain.split('.').all(|label| !label.is_empty());
        ((1..=64).contains(&local.len())
            && text.len() <= 254
            && labels
            && local.chars().all(plain)
            && domain.chars().all(plain))
        .then_some(())
    };
    if text.is_empty() || fits(&text).is_some() {
        Ok(text)
    } else {
        Err(Problem::invalid(field, "must be a mail address such as jo@example.com, or empty"))
    }
}

/// An IANA time zone, or nothing.
fn time_zone(field: &str, text: String) -> Result<String, Problem> {
    if text.is_empty() || chrono_tz::Tz::from_str(&text).is_ok() {
        Ok(text)
    } else {
        Err(Problem::invalid(field, "must be an IANA time zone such as Europe/Berlin, or empty for UTC"))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_judged_by_form() {
        for text in ["", "jo@example.com", "admin@localhost", "jo+tag@a.b.c", "jö@bücher.example"] {
            assert_eq!(email("f", text.to_owned()).unwrap(), text);
        }
        let long = format!("{}@example.com", "a".repeat(65));
        let bad = [
            "jo",
            "@example.com",
            "jo@",
            "jo@a..b",
            "jo@.a",
            "a b@c.d",
            "jo@a.b\r\nBcc: x@y.z",
            "<jo@a.b>",
            "a@b@c.d",
            &long,
        ];
        for text in bad {
            assert!(email("f", text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn slugs_fit_into_subjects() {
        for text in ["a", "default", "team-1", &"x".repeat(40)] {
            assert!(slug("f", text.to_owned()).is_ok(), "{text}");
        }
        for text in ["", "A", "a.b", "a b", "a_b", "*", ">", &"x".repeat(41)] {
            assert!(slug("f", text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_line_counts_characters_and_has_no_breaks() {
        assert!(line("f", "ä".repeat(200), 1, 200).is_ok());
        for text in [String::new(), "  ".to_owned(), "ä".repeat(201), "a\nb".to_owned(), "a\u{0}b".to_owned()] {
            assert!(line("f", text.clone(), 1, 200).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mask_names_only_what_can_change() {
        let mask =
            |paths: &[&str]| Some(prost_types::FieldMask { paths: paths.iter().map(|&p| p.to_owned()).collect() });
        assert_eq!(paths(mask(&["email"]), &["email", "name"]).unwrap(), ["email"]);
        for wrong in [None, mask(&[]), mask(&["email", "state"]), mask(&["*"])] {
            assert!(paths(wrong, &["email", "name"]).unwrap_err().to_string().contains("email, name"));
        }
    }

    #[test]
    fn zones_are_those_of_iana() {
        assert!(time_zone("f", "Europe/Berlin".to_owned()).is_ok());
        assert!(time_zone("f", String::new()).is_ok());
        assert!(time_zone("f", "Berlin".to_owned()).is_err());
    }
}

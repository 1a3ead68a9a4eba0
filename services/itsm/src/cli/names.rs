//! Names for ids and ids for names. What is shown is looked up once for each record that is
//! pointed at, and a name that cannot be read is shown as the end of its id.

use std::collections::{BTreeSet, HashMap};

use futures::{StreamExt as _, stream};
use serde_json::Value;
use uuid::Uuid;

use super::{
    failure::Failure,
    format::id_end,
    noun::{Handle, Kind, Noun},
    rest::Rest,
    value::{at, text},
};

/// How many are looked up at once.
const AT_ONCE: usize = 8;
/// How many records are searched for the end of an id.
const SEARCHED_AT_MOST: usize = 2_000;
/// The shortest end of an id that is taken for one.
const SHORTEST_END: usize = 4;

/// Names that are known.
#[derive(Debug, Default)]
pub struct Names {
    known: HashMap<(Kind, String), String>,
}

impl Names {
    /// Looks up what is not known yet.
    pub async fn learn(&mut self, rest: &Rest, wanted: BTreeSet<(Kind, String)>) {
        let missing = wanted.into_iter().filter(|wanted| !wanted.1.is_empty() && !self.known.contains_key(wanted));
        let found: Vec<_> = stream::iter(missing)
            .map(|(kind, id)| async move {
                let record = rest.get(&format!("{}/{id}", kind.path()), &[]).await.ok();
                let name = record.map(|record| text(&record, kind.name_field()).to_owned());
                ((kind, id), name.filter(|name| !name.is_empty()))
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for ((kind, id), name) in found {
            let name = name.unwrap_or_else(|| id_end(&id, 8).to_owned());
            self.known.insert((kind, id), name);
        }
    }

    /// Remembers a name.
    #[cfg(test)]
    pub fn remember(&mut self, kind: Kind, id: &str, name: &str) {
        self.known.insert((kind, id.to_owned()), name.to_owned());
    }

    /// What a record is called.
    pub fn of(&self, kind: Kind, id: &str) -> String {
        match self.known.get(&(kind, id.to_owned())) {
            Some(name) => name.clone(),
            None => id_end(id, 8).to_owned(),
        }
    }
}

/// The id of a record of a noun, or whatever the server takes for one.
pub async fn resolve(rest: &Rest, noun: &Noun, given: &str) -> Result<String, Failure> {
    let search = Search { word: noun.name, path: noun.path, list_field: noun.list_field };
    match noun.handle {
        Handle::Number { prefix } if is_number(prefix, given) => Ok(given.to_ascii_uppercase()),
        Handle::Number { .. } | Handle::Id => search.find(rest, given, None, &["displayName"]).await,
        Handle::Name { shown, filter } => search.find(rest, given, Some(filter), &[shown, "displayName"]).await,
    }
}

/// The id of a record that a field points at.
pub async fn resolve_kind(rest: &Rest, kind: Kind, given: &str) -> Result<String, Failure> {
    if kind == Kind::Person && given == "me" {
        return Ok(text(&rest.get("me", &[]).await?, "personId").to_owned());
    }
    let search = Search { word: kind.word(), path: kind.path(), list_field: kind.path() };
    search.find(rest, given, kind.filter_field(), &[kind.name_field(), "displayName"]).await
}

fn is_number(prefix: &str, given: &str) -> bool {
    let digits =
        given.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix)).map(|_| &given[prefix.len()..]);
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

struct Search {
    word: &'static str,
    path: &'static str,
    list_field: &'static str,
}

impl Search {
    /// By the whole id, exactly by a field of the filter, by the end of the id or a name.
    async fn find(
        &self,
        rest: &Rest,
        given: &str,
        filter_field: Option<&str>,
        name_fields: &[&str],
    ) -> Result<String, Failure> {
        let given = given.trim();
        if Uuid::try_parse(given).is_ok() {
            return Ok(given.to_owned());
        }
        if given.is_empty() {
            return Err(Failure::Usage(format!("which {}? its name is empty", self.word)));
        }
        if let Some(field) = filter_field {
            let filter = format!("{field} = {}", quoted(given));
            let exact = rest.list(self.path, self.list_field, &filter, 2).await?;
            if let [one] = exact.records.as_slice() {
                return Ok(text(one, "id").to_owned());
            }
        }
        let searched = rest.list(self.path, self.list_field, "", SEARCHED_AT_MOST).await?;
        let named = |record: &&Value| name_fields.iter().any(|field| same(text(record, field), given));
        let ends = |record: &&Value| is_end(given) && text(record, "id").ends_with(&given.to_ascii_lowercase());
        let found: Vec<&Value> = searched.records.iter().filter(|record| named(record) || ends(record)).collect();
        match found.as_slice() {
            [one] => Ok(text(one, "id").to_owned()),
            [] if searched.next_page_token.is_empty() => Err(Failure::no_such(self.word, given)),
            [] => Err(Failure::Usage(format!(
                "none of the newest {SEARCHED_AT_MOST} is `{given}`; give the whole id of the {}",
                self.word
            ))),
            several => {
                let ids = several.iter().map(|record| at(record, "id").as_str().unwrap_or_default());
                let ids: Vec<&str> = ids.take(5).collect();
                Err(Failure::Usage(format!("`{given}` may be {}; give more of the id", ids.join(" or "))))
            }
        }
    }
}

fn same(name: &str, given: &str) -> bool {
    !name.is_empty() && name.to_lowercase() == given.to_lowercase()
}

fn is_end(given: &str) -> bool {
    given.len() >= SHORTEST_END && given.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// A text as a filter writes it.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_told_from_a_name() {
        assert!(is_number("INC", "inc0001042"));
        assert!(!is_number("INC", "INC"));
        assert!(!is_number("INC", "CHG0000001"));
        assert!(!is_number("INC", "INC00x"));
    }

    #[test]
    fn text_of_a_person_cannot_leave_its_quotes() {
        assert_eq!(quoted(r#"a" OR name = "b\"#), r#""a\" OR name = \"b\\""#);
    }
}

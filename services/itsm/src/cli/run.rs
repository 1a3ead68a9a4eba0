//! What the verbs do: one function for each kind of verb, whatever the noun.

use clap::ArgMatches;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{
    arguments::{self, ID},
    connection::Connection,
    failure::Failure,
    format::Reader,
    names::{Names, resolve},
    noun::{Answer, Column, Does, Noun, Verb},
    out::{Look, Tone, remark, say},
    rest::Rest,
    show, special, story, table,
    table::Page,
    value::text,
    watch,
};

/// A command with all it needs.
#[derive(Debug)]
pub struct Run {
    /// Which noun.
    pub noun: &'static Noun,
    /// Which verb.
    pub verb: &'static Verb,
    /// What was given.
    pub given: ArgMatches,
    /// Where and as whom.
    pub connection: Connection,
    /// The server.
    pub rest: Rest,
    /// Who reads.
    pub reader: Reader,
    /// How it looks.
    pub look: Look,
}

impl Run {
    /// A command about to run.
    ///
    /// # Errors
    /// Fails when the server's URL is none.
    pub fn new(noun: &'static Noun, verb: &'static Verb, given: ArgMatches) -> Result<Self, Failure> {
        let connection = Connection::of(&given);
        let rest = connection.rest()?;
        Ok(Self { noun, verb, given, connection, rest, reader: Reader::here(), look: Look::of_stdout() })
    }

    /// Does it.
    ///
    /// # Errors
    /// Fails as the server says, and when it says nothing.
    pub async fn go(&self) -> Result<(), Failure> {
        match self.verb.does {
            Does::List => self.list(self.noun).await,
            Does::ListOf(noun) => self.list(noun).await,
            Does::Show(also) => {
                let id = self.id().await?;
                show::show(self, &id, also).await
            }
            Does::Create(answer) => {
                let body = self.body().await?;
                let said = self.rest.post(self.noun.path, &Value::Object(body)).await?;
                self.answer(said, answer).await
            }
            Does::Update => self.update().await,
            Does::Act(verb, answer) => {
                let id = self.id().await?;
                let mut body = self.body().await?;
                if let Some(revision) = self.given.get_one::<i64>("revision") {
                    body.insert("revision".to_owned(), json!(revision.to_string()));
                }
                let said = self.rest.post(&format!("{}/{id}:{verb}", self.noun.path), &Value::Object(body)).await?;
                self.answer(said, answer).await
            }
            Does::Watch => watch::watch(self).await,
            Does::History => self.history().await,
            Does::Special(what) => special::run(self, what).await,
        }
    }

    /// The record that was named.
    pub async fn id(&self) -> Result<String, Failure> {
        resolve(&self.rest, self.noun, arguments::text(&self.given, ID).unwrap_or_default()).await
    }

    /// The body that was given.
    pub async fn body(&self) -> Result<Map<String, Value>, Failure> {
        arguments::body(&self.rest, self.verb, &self.given, self.reader.now).await
    }

    async fn list(&self, noun: &Noun) -> Result<(), Failure> {
        let limit =
            self.given.get_one::<u32>("limit").map_or(50, |limit| usize::try_from(*limit).unwrap_or(usize::MAX));
        let filter = self.given.try_get_one::<String>("filter").ok().flatten().map_or("", String::as_str);
        let found = self.rest.list(noun.path, noun.list_field, filter, limit).await?;
        if self.connection.json {
            return self.raw(&json!({ noun.list_field: found.records, "nextPageToken": found.next_page_token }));
        }
        if found.records.is_empty() {
            remark("none");
            return Ok(());
        }
        self.rows(noun.columns, &found.records).await?;
        if !found.next_page_token.is_empty() {
            remark(&format!("the newest {}; there are more, see --limit", found.records.len()));
        }
        Ok(())
    }

    async fn update(&self) -> Result<(), Failure> {
        let id = self.id().await?;
        let mut body = self.body().await?;
        if body.is_empty() {
            return Err(Failure::Usage("nothing to change; see --help".to_owned()));
        }
        let path = format!("{}/{id}", self.noun.path);
        let mask = body.keys().cloned().collect::<Vec<_>>().join(",");
        let revision = match self.given.get_one::<i64>("revision") {
            Some(revision) => revision.to_string(),
            None => text(&self.rest.get(&path, &[]).await?, "revision").to_owned(),
        };
        body.insert("revision".to_owned(), json!(revision));
        let said = self.rest.mutate(Method::PATCH, &path, &[("updateMask", &mask)], &Value::Object(body)).await?;
        self.answer(said, Answer::Record).await
    }

    async fn history(&self) -> Result<(), Failure> {
        let id = self.id().await?;
        let entries = self.rest.history(self.noun.path, &id).await?;
        if self.connection.json {
            return self.raw(&json!({ "events": entries }));
        }
        let mut names = Names::default();
        names.learn(&self.rest, story::pointed_at(&entries)).await;
        say(&story::story(&self.page(&names), self.noun, &entries))
    }

    /// Shows what a mutation answered.
    async fn answer(&self, said: Value, answer: Answer) -> Result<(), Failure> {
        if self.connection.json {
            return self.raw(&said);
        }
        match answer {
            Answer::Record => self.rows(self.noun.columns, &[said]).await,
            Answer::WithSecret { record, secret } => {
                self.rows(self.noun.columns, std::slice::from_ref(&said[record])).await?;
                match text(&said, secret) {
                    "" => Ok(()),
                    value => {
                        remark("shown this once; keep it safe:");
                        say(&self.look.paint(Tone::Strong, value))
                    }
                }
            }
        }
    }

    /// Shows records as a table.
    pub async fn rows(&self, columns: &[Column], records: &[Value]) -> Result<(), Failure> {
        let mut names = Names::default();
        names.learn(&self.rest, table::pointed_at(columns, records)).await;
        say(&table::table(&self.page(&names), columns, records))
    }

    /// Shows the API's own JSON.
    pub fn raw(&self, value: &Value) -> Result<(), Failure> {
        say(&serde_json::to_string_pretty(value).unwrap_or_default())
    }

    /// What is needed to show values.
    pub fn page<'a>(&self, names: &'a Names) -> Page<'a> {
        Page { reader: self.reader, names, look: self.look }
    }
}

//! What lists, histories and watches share: sizes, tokens, and streams of entries.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use kit::{
    caller::{Call, Person as Caller},
    filter::Field,
    page,
    problem::Problem,
    watch,
};
use proto::directory::v1::DirectoryEventEntry;
use tonic::{Response, Status};
use uuid::Uuid;

use super::{
    Answer, Api,
    convert::{self, records},
};
use crate::{
    domain::Record,
    store::{Listed, Stored},
};

/// A stream of events.
pub type Events = Pin<Box<dyn Stream<Item = Result<DirectoryEventEntry, Status>> + Send>>;

/// What a caller asks a page of.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    method: &'static str,
    /// What chooses the rows: the filter of a list, the record of a history.
    choice: &'a str,
    size: i32,
    token: &'a str,
}

impl<'a> Question<'a> {
    /// A page of a list.
    #[must_use]
    pub const fn list(method: &'static str, filter: &'a str, size: i32, token: &'a str) -> Self {
        Self { method, choice: filter, size, token }
    }

    /// A page of the history of a record.
    #[must_use]
    pub const fn history(method: &'static str, id: &'a str, size: i32, token: &'a str) -> Self {
        Self { method, choice: id, size, token }
    }

    /// How many are wanted.
    ///
    /// # Errors
    /// Invalid when it is out of bounds.
    pub fn size(&self) -> Result<i64, Problem> {
        convert::page_size(self.size)
    }

    /// The record that the page goes on after.
    ///
    /// # Errors
    /// Invalid when the token is of another question.
    pub fn after(&self) -> Result<Option<Uuid>, Problem> {
        page::decode(self.token, self.choice, self.method).map_err(convert::paging)
    }

    /// Cuts the one that was asked for too many, and says where the next page begins.
    pub fn cut<R: Record>(&self, records: &mut Vec<R>, size: i64) -> String {
        let size = usize::try_from(size).unwrap_or_default();
        let more = records.len() > size;
        records.truncate(size);
        let last = records.last().filter(|_| more);
        last.map(|last| page::encode(last.id(), self.choice, self.method)).unwrap_or_default()
    }
}

impl Api {
    /// A page of records, and the token of the next.
    pub(super) async fn list<R: Listed>(
        &self,
        call: &Call,
        question: Question<'_>,
    ) -> Result<(Vec<R>, String), Status> {
        let (size, after) = (question.size()?, question.after()?);
        let filter = convert::filter(question.choice, R::FIELDS)?;
        let mut records = self.app.list::<R>(call.tenant().id, filter, after, size + 1).await?;
        let next = question.cut(&mut records, size);
        Ok((records, next))
    }

    /// A page of the history of a record that the caller may see, and the token of the next.
    pub(super) async fn history<R: Stored>(
        &self,
        call: &Call,
        question: Question<'_>,
        visible: fn(&R, &Caller) -> bool,
    ) -> Result<(Vec<DirectoryEventEntry>, String), Status> {
        let size = question.size()?;
        let id = convert::id("id", question.choice)?;
        let after = page::decode_revision(question.token, question.choice, question.method).map_err(convert::paging)?;
        let mut entries = self.app.history(&call.person, id, after.unwrap_or_default(), size + 1, visible).await?;
        let wanted = usize::try_from(size).unwrap_or_default();
        let more = entries.len() > wanted;
        entries.truncate(wanted);
        let last = entries.last().filter(|_| more);
        let next = last.map(|last| page::encode_revision(last.revision, question.choice, question.method));
        let events = entries.into_iter().map(|entry| records::entry(entry, String::new())).collect::<Result<_, _>>()?;
        Ok((events, next.unwrap_or_default()))
    }

    /// Streams the events of one kind of record.
    pub(super) async fn watch(
        &self,
        call: &Call,
        from: watch::From,
        filter: &str,
        fields: &'static [Field],
        field_of: records::FieldOf,
    ) -> Answer<Events> {
        let filter = convert::filter(filter, fields)?;
        let events = self.app.watch(call.tenant().id, from).await?;
        let entries = events.filter_map(move |watched| {
            let entry = watched.and_then(|watched| records::watched(watched, fields, field_of, filter.as_ref()));
            futures::future::ready(entry.map_err(Status::from).transpose())
        });
        Ok(Response::new(Box::pin(entries)))
    }
}

//! What lists, histories and watches share: sizes, tokens, and streams of entries.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use kit::{caller::Call, page, problem::Problem, watch};
use proto::notification::v1::NotificationEventEntry;
use tonic::{Response, Status};
use uuid::Uuid;

use super::{
    Answer, Api,
    convert::{self, records},
};
use crate::store::Stored;

/// A stream of events.
pub type Events = Pin<Box<dyn Stream<Item = Result<NotificationEventEntry, Status>> + Send>>;

/// What a caller asks a page of.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The method.
    pub method: &'static str,
    /// What chooses the rows: the filter of a list, the record of a history.
    pub choice: &'a str,
    /// How many are wanted.
    pub size: i32,
    /// Where the page begins.
    pub token: &'a str,
}

/// Cuts the one that was asked for too many, and says whether there was one.
fn cut<T>(rows: &mut Vec<T>, size: i64) -> bool {
    let size = usize::try_from(size).unwrap_or_default();
    let more = rows.len() > size;
    rows.truncate(size);
    more
}

impl Api {
    /// A page of records, and the token of the next.
    pub(super) async fn list<R: Stored>(
        &self,
        call: &Call,
        question: Question<'_>,
    ) -> Result<(Vec<R>, String), Status> {
        let size = convert::page_size(question.size)?;
        let after = page::decode(question.token, question.choice, question.method).map_err(convert::paging)?;
        let filter = convert::filter(question.choice, R::FIELDS)?;
        let mut records = self.app.list::<R>(call.tenant().id, filter, after, size + 1).await?;
        let more = cut(&mut records, size);
        let last = records.last().filter(|_| more);
        let next = last.map(|last| page::encode(last.place().0, question.choice, question.method));
        Ok((records, next.unwrap_or_default()))
    }

    /// A page of the history of a record, and the token of the next.
    pub(super) async fn history<R: Stored>(
        &self,
        call: &Call,
        question: Question<'_>,
    ) -> Result<(Vec<NotificationEventEntry>, String), Status> {
        let size = convert::page_size(question.size)?;
        let id: Uuid = convert::id("id", question.choice)?;
        let after = page::decode_revision(question.token, question.choice, question.method).map_err(convert::paging)?;
        let mut entries = self.app.history::<R>(call.tenant().id, id, after.unwrap_or_default(), size + 1).await?;
        let more = cut(&mut entries, size);
        let last = entries.last().filter(|_| more);
        let next = last.map(|last| page::encode_revision(last.revision, question.choice, question.method));
        let events: Result<Vec<_>, Problem> =
            entries.into_iter().map(|entry| records::entry(entry, String::new())).collect();
        Ok((events?, next.unwrap_or_default()))
    }

    /// Streams the events of one kind of record.
    pub(super) async fn watch<R: Stored>(
        &self,
        call: &Call,
        from: watch::From,
        filter: &str,
        field_of: records::FieldOf,
    ) -> Answer<Events> {
        let filter = convert::filter(filter, R::FIELDS)?;
        let events = self.app.watch(call.tenant().id, from).await?;
        let entries = events.filter_map(move |watched| {
            let entry = watched.and_then(|watched| records::watched(watched, R::FIELDS, field_of, filter.as_ref()));
            futures::future::ready(entry.map_err(Status::from).transpose())
        });
        Ok(Response::new(Box::pin(entries)))
    }
}

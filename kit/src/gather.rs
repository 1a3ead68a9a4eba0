//! Rows that wait for the commit of their transaction, so that a batch of events writes each table
//! once: the last word about a row counts. Whoever reads such a table in the same transaction
//! flushes first.

use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
};

use futures::future::BoxFuture;
use uuid::Uuid;

use crate::db::Transaction;

/// A kind of row that is written many at a time.
pub trait Gathered: Sized + Send + 'static {
    /// Writes rows in one statement, in the order of their ids, as every command locks them.
    ///
    /// # Errors
    /// Fails when the database is away, or as a row is refused.
    fn write(rows: Vec<Self>, tx: &mut Transaction) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// All rows that wait, by kind, in the order in which the kinds were first met: what is referred to
/// is there before what refers to it.
#[derive(Default)]
pub(crate) struct Gatherer(Vec<(TypeId, Box<dyn Waiting>)>);

impl std::fmt::Debug for Gatherer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} kinds of rows", self.0.len())
    }
}

impl Gatherer {
    pub(crate) fn rows<R: Gathered>(&mut self) -> &mut BTreeMap<Uuid, R> {
        let kind = TypeId::of::<R>();
        let place = self.0.iter().position(|(of, _)| *of == kind).unwrap_or_else(|| {
            self.0.push((kind, Box::new(BTreeMap::<Uuid, R>::new())));
            self.0.len() - 1
        });
        #[expect(clippy::expect_used, reason = "the key is the type")]
        self.0[place].1.as_any().downcast_mut().expect("rows are of their kind")
    }

    pub(crate) fn take(&mut self) -> impl Iterator<Item = Box<dyn Waiting>> + use<> {
        std::mem::take(&mut self.0).into_iter().map(|(_, rows)| rows)
    }
}

pub(crate) trait Waiting: Send {
    fn as_any(&mut self) -> &mut dyn Any;
    fn write<'a>(self: Box<Self>, tx: &'a mut Transaction) -> BoxFuture<'a, Result<(), sqlx::Error>>;
}

impl<R: Gathered> Waiting for BTreeMap<Uuid, R> {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn write<'a>(self: Box<Self>, tx: &'a mut Transaction) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(R::write(self.into_values().collect(), tx))
    }
}

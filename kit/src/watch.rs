//! `Watch`: every event of a tenant from a cursor on, then live, without gap or repeat.

use std::time::Duration;

use chrono::{DateTime, Utc};
use proto::common::v1::FeedEntry;
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    clock,
    db::Database,
    feed::{self, Extent},
    id::TenantId,
    journal,
    page::Cursor,
    problem::Problem,
};

const PAGE: i64 = 200;
const QUEUE: usize = 64;
const POLL: Duration = Duration::from_millis(200);

/// Where a watch begins.
#[derive(Debug, Clone)]
pub enum From {
    /// After this cursor.
    Cursor(String),
    /// At the first event not before this time.
    Time(DateTime<Utc>),
    /// With whatever comes next.
    Now,
}

/// An event with the cursor to resume after it.
#[derive(Debug, Clone)]
pub struct Watched {
    /// The event.
    pub entry: FeedEntry,
    /// The cursor after it.
    pub cursor: String,
}

/// Streams the events of a tenant. Ends when the service stops or the reader is gone.
///
/// # Errors
/// [`Problem::CursorExpired`] for a cursor of a restored feed or behind its pruned end.
pub async fn open(
    database: Database,
    tenant: TenantId,
    from: From,
    head: watch::Receiver<i64>,
    stop: CancellationToken,
) -> Result<ReceiverStream<Result<Watched, Problem>>, Problem> {
    let extent = feed::extent(&database.workers, database.schema).await?;
    let start = start(&database, tenant, from, extent).await?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let watch = Watch { database, tenant, incarnation: extent.incarnation, head, sender };
        tokio::select! {
            () = stop.cancelled() => {}
            ended = watch.run(start) => if let Err(problem) = ended {
                // The reader may be gone as well.
                let _ = watch.sender.send(Err(problem)).await;
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}

async fn start(database: &Database, tenant: TenantId, from: From, extent: Extent) -> Result<i64, Problem> {
    match from {
        From::Now => Ok(extent.head),
        From::Cursor(text) => {
            let cursor = Cursor::decode(&text)
                .map_err(|_| Problem::invalid("cursor", "is none; use the `cursor` of an entry"))?;
            if cursor.incarnation != extent.incarnation
                || cursor.position + 1 < extent.first
                || cursor.position > extent.head
            {
                return Err(Problem::CursorExpired);
            }
            Ok(cursor.position)
        }
        From::Time(at) => {
            let mut tx = database.begin(tenant).await?;
            let statement =
                format!("select min(position) from {}.feed where tenant_id = $1 and at >= $2", database.schema);
            let first: Option<i64> =
                sqlx::query_scalar(AssertSqlSafe(statement)).bind(tenant.0).bind(at).fetch_one(tx.connection()).await?;
            tx.commit().await?;
            Ok(first.map_or(extent.head, |first| first - 1))
        }
    }
}

struct Watch {
    database: Database,
    tenant: TenantId,
    incarnation: Uuid,
    head: watch::Receiver<i64>,
    sender: mpsc::Sender<Result<Watched, Problem>>,
}

impl Watch {
    async fn run(&self, mut position: i64) -> Result<(), Problem> {
        let mut head = self.head.clone();
        loop {
            let (entries, scanned) = self.page(position).await?;
            let full = i64::try_from(entries.len()).unwrap_or(PAGE) == PAGE;
            for entry in entries {
                position = entry.position;
                let cursor = Cursor { incarnation: self.incarnation, position }.encode();
                if self.sender.send(Ok(Watched { entry, cursor })).await.is_err() {
                    return Ok(());
                }
            }
            if full {
                continue;
            }
            position = position.max(scanned);
            tokio::select! {
                _ = head.wait_for(|head| *head > position) => {}
                () = clock::pause(POLL) => {}
                () = self.sender.closed() => return Ok(()),
            }
        }
    }

    /// The tenant's next events, and how far the feed was looked through for them.
    async fn page(&self, after: i64) -> Result<(Vec<FeedEntry>, i64), Problem> {
        let schema = self.database.schema;
        let statement = format!(
            "with head as materialized (select coalesce(max(position), 0) as head from {schema}.feed)
             select h.head, f.position, {} from head h
             left join lateral (select * from {schema}.feed f where f.tenant_id = $1 and f.position > $2 and f.position <= h.head order by f.position limit {PAGE}) f on true
             left join {schema}.journal j on j.record_id = f.record_id and j.revision = f.revision
             order by f.position",
            journal::COLUMNS
        );
        let mut tx = self.database.begin(self.tenant).await?;
        let rows =
            sqlx::query(AssertSqlSafe(statement)).bind(self.tenant.0).bind(after).fetch_all(tx.connection()).await?;
        tx.commit().await?;
        let mut entries = Vec::with_capacity(rows.len());
        let mut head = 0;
        for row in &rows {
            head = row.try_get("head")?;
            if let Some(position) = row.try_get::<Option<i64>, _>("position")? {
                entries.push(journal::read(row, position)?);
            }
        }
        Ok((entries, head))
    }
}

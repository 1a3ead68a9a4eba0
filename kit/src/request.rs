//! The same request again gets the first answer. What is kept is where the answer stands in the
//! journal, for 24 hours; a refusal leaves nothing and is judged anew.

use chrono::{DateTime, Utc};
use prost::bytes::Bytes;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use crate::{caller::Call, db::Transaction, journal, problem::Problem, writes::Kept};

/// How an answer came about.
#[derive(Debug, Clone, PartialEq)]
pub enum Done<T> {
    /// Now.
    Now(T),
    /// By the same request before: the encoded event that holds the record as it was then.
    Before(Bytes),
}

/// Looks for the answer to the same request, and keeps a second one out while it runs.
///
/// # Errors
/// [`Problem::RequestReused`] for another request under the same key, [`Problem::RequestRunning`]
/// while the first still runs.
pub async fn kept(tx: &mut Transaction, schema: &'static str, call: &Call) -> Result<Option<Bytes>, Problem> {
    crate::fail_point!("command.after_begin");
    let Some(key) = &call.request else { return Ok(None) };
    if crate::planted!("request_id_ignored") {
        return Ok(None);
    }
    let statement = format!(
        "with mine as materialized (select pg_try_advisory_xact_lock(hashtextextended($1 || '/' || $2 || '/' || $3, 0)) as mine)
         select m.mine, r.digest, r.record_id, r.revision
         from mine m left join {schema}.request r on r.caller = $1 and r.method = $2 and r.request_id = $3"
    );
    let row = sqlx::query(AssertSqlSafe(statement))
        .bind(call.person.id.to_string())
        .bind(call.method)
        .bind(&key.id)
        .fetch_one(tx.connection())
        .await?;
    let Some(digest) = row.try_get::<Option<Vec<u8>>, _>("digest")? else {
        return if row.try_get("mine")? { Ok(None) } else { Err(Problem::RequestRunning) };
    };
    if digest != key.digest {
        return Err(Problem::RequestReused);
    }
    let (record, revision): (Uuid, i64) = (row.try_get("record_id")?, row.try_get("revision")?);
    let entry = journal::at_revision(tx, schema, record, revision).await?;
    Ok(Some(entry.map(|entry| entry.body).unwrap_or_default()))
}

/// Keeps where the answer stands, with the commit.
pub(crate) fn keep(tx: &mut Transaction, call: &Call, answer: (Uuid, i64), at: DateTime<Utc>) {
    if let Some(key) = call.request.as_ref().filter(|_| !crate::planted!("request_id_ignored")) {
        tx.writes.keep(Kept {
            tenant: call.tenant().id.0,
            caller: call.person.id.to_string(),
            method: call.method,
            request_id: key.id.clone(),
            digest: key.digest.to_vec(),
            answer,
            at,
        });
    }
}

//! The tables of the change service: tenants apart, history immutable and equal to the rows.

use change::store::read_models::{self, Known, Noun};
use kit::id::TenantId;
use prost::Message;
use proto::change::v1::{Change, ChangeEvent, ChangeType, GetChangeRequest};
use sqlx::Row;
use uuid::Uuid;

use crate::desk::{Desk, Verb};

#[tokio::test]
async fn replaying_the_journal_gives_the_row_at_each_step() {
    let desk = Desk::open().await;
    let mut change = desk.create(desk.change(ChangeType::Emergency), "").await.unwrap();
    let mut answers = vec![change.clone()];
    let verbs = [
        Verb::Request,
        Verb::Schedule,
        Verb::Start,
        Verb::Approve,
        Verb::Fail("The disk failed."),
        Verb::Close("Other disks."),
    ];
    for verb in verbs {
        change = desk.go(&change.id, &[verb]).await;
        answers.push(change.clone());
    }
    let get = GetChangeRequest { id: change.number.clone() };
    let row = desk.client.clone().get_change(desk.stage.request(&desk.requester, get)).await.unwrap().into_inner();
    assert_eq!(row, change, "what was answered is what was stored");

    let mut admin = desk.stage.admin().await;
    let journal = sqlx::query("select body from change.journal order by revision").fetch_all(&mut admin).await.unwrap();
    let replayed: Vec<Change> = journal
        .iter()
        .map(|row| ChangeEvent::decode(row.get::<Vec<u8>, _>("body").as_slice()).unwrap().change.unwrap())
        .collect();
    assert_eq!(replayed, answers);
    let undelivered: i64 = sqlx::query_scalar(
        "select count(*) from change.journal j where not exists
            (select from change.feed f where f.record_id = j.record_id and f.revision = j.revision)
         and not exists (select from change.outbox o where o.record_id = j.record_id and o.revision = j.revision)",
    )
    .fetch_one(&mut admin)
    .await
    .unwrap();
    assert_eq!(undelivered, 0, "no event without its place in the outbox or the feed");
}

#[tokio::test]
async fn a_call_sees_one_tenant_and_a_worker_those_it_names() {
    let desk = Desk::open().await;
    desk.create(desk.change(ChangeType::Normal), "").await.unwrap();
    let database = desk.stage.database("change");
    for table in ["changes", "directory_teams", "journal", "number"] {
        let count = || sqlx::AssertSqlSafe(format!("select count(*) from change.{table}"));
        for (tenant, sees) in [(desk.stage.tenant.id, true), (TenantId::draw(), false)] {
            let mut call = database.begin(tenant).await.unwrap();
            let n: i64 = sqlx::query_scalar(count()).fetch_one(call.connection()).await.unwrap();
            assert_eq!(n > 0, sees, "{table} in a call");
            call.commit().await.unwrap();
            if ["changes", "directory_teams"].contains(&table) {
                let mut worker = database.begin_worker([tenant]).await.unwrap();
                let n: i64 = sqlx::query_scalar(count()).fetch_one(worker.connection()).await.unwrap();
                assert_eq!(n > 0, sees, "{table} in a worker");
                worker.commit().await.unwrap();
            }
        }
        let n: i64 = sqlx::query_scalar(count()).fetch_one(&database.calls).await.unwrap();
        assert_eq!(n, 0, "{table} without a tenant");
    }
}

#[tokio::test]
async fn nobody_rewrites_history_or_deletes_a_record() {
    let desk = Desk::open().await;
    desk.create(desk.change(ChangeType::Normal), "").await.unwrap();
    let database = desk.stage.database("change");
    for statement in [
        "update change.journal set body = ''",
        "delete from change.journal",
        "delete from change.changes",
        "update change.feed set position = 7",
    ] {
        let mut tx = database.begin(desk.stage.tenant.id).await.unwrap();
        assert!(sqlx::query(statement).execute(tx.connection()).await.is_err(), "{statement}");
        let mut tx = database.begin_worker([desk.stage.tenant.id]).await.unwrap();
        assert!(sqlx::query(statement).execute(tx.connection()).await.is_err(), "{statement} by a worker");
    }
}

#[tokio::test]
async fn a_read_model_keeps_the_newest_whatever_comes_last() {
    let desk = Desk::open().await;
    let (database, tenant) = (desk.stage.database("change"), desk.stage.tenant.id);
    for &noun in Noun::ALL {
        let id = Uuid::from_u128(21);
        let mut tx = database.begin(tenant).await.unwrap();
        for (revision, active) in [(3, true), (5, false), (4, true), (5, true)] {
            read_models::keep(&mut tx, tenant, &Known { noun, id, revision, active }).await.unwrap();
        }
        assert_eq!(read_models::find(&mut tx, tenant, noun, &[id]).await.unwrap(), [(id, false)], "{noun:?}");
        tx.commit().await.unwrap();
    }
}

//! The tables of the catalog service: tenants apart, history immutable and equal to the rows.

use crate::desk::Desk;
use catalog::store::read_models::{self, Team};
use kit::id::{TeamId, TenantId};
use prost::Message;
use proto::catalog::v1::{CatalogEvent, GetServiceRequest, RetireServiceRequest, catalog_event};
use sqlx::Row;

#[tokio::test]
async fn the_last_event_of_a_record_is_its_row() {
    let desk = Desk::open().await;
    let shop = desk.create(desk.service("shop"), "").await.unwrap();
    let retire = RetireServiceRequest { id: shop.id.clone(), ..Default::default() };
    desk.client.clone().retire_service(desk.stage.request(&desk.manager, retire)).await.unwrap();
    let get = GetServiceRequest { id: shop.id.clone() };
    let now = desk.client.clone().get_service(desk.stage.request(&desk.manager, get)).await.unwrap().into_inner();

    let mut admin = desk.stage.admin().await;
    let rows = sqlx::query("select body, revision, actor from catalog.journal order by revision")
        .fetch_all(&mut admin)
        .await
        .unwrap();
    let revisions: Vec<i64> = rows.iter().map(|row| row.get("revision")).collect();
    assert_eq!(revisions, [1, 2]);
    let last = CatalogEvent::decode(rows[1].get::<Vec<u8>, _>("body").as_slice()).unwrap();
    assert_eq!(last.record, Some(catalog_event::Record::Service(now)));
    assert_eq!(rows[1].get::<String, _>("actor"), format!("person:{}", desk.manager.id));
}

#[tokio::test]
async fn a_call_sees_one_tenant_and_a_worker_those_it_names() {
    let desk = Desk::open().await;
    desk.create(desk.service("shop"), "").await.unwrap();
    desk.create_item(desk.item("db")).await.unwrap();
    let database = desk.stage.database("catalog");
    for table in ["services", "configuration_items", "directory_teams"] {
        let count = || sqlx::AssertSqlSafe(format!("select count(*) from catalog.{table}"));
        for (tenant, sees) in [(desk.stage.tenant.id, true), (TenantId::draw(), false)] {
            let mut call = database.begin(tenant).await.unwrap();
            let n: i64 = sqlx::query_scalar(count()).fetch_one(call.connection()).await.unwrap();
            assert_eq!(n > 0, sees, "{table} in a call");
            call.commit().await.unwrap();
            let mut worker = database.begin_worker([tenant]).await.unwrap();
            let n: i64 = sqlx::query_scalar(count()).fetch_one(worker.connection()).await.unwrap();
            assert_eq!(n > 0, sees, "{table} in a worker");
            worker.commit().await.unwrap();
        }
        let n: i64 = sqlx::query_scalar(count()).fetch_one(&database.calls).await.unwrap();
        assert_eq!(n, 0, "{table} without a tenant");
    }
}

#[tokio::test]
async fn nobody_rewrites_history_or_deletes_a_record() {
    let desk = Desk::open().await;
    desk.create(desk.service("shop"), "").await.unwrap();
    let database = desk.stage.database("catalog");
    for statement in [
        "update catalog.journal set body = ''",
        "delete from catalog.journal",
        "delete from catalog.services",
        "delete from catalog.configuration_items",
        "update catalog.feed set position = 7",
    ] {
        let mut tx = database.begin(desk.stage.tenant.id).await.unwrap();
        assert!(sqlx::query(statement).execute(tx.connection()).await.is_err(), "{statement}");
        let mut tx = database.begin_worker([desk.stage.tenant.id]).await.unwrap();
        assert!(sqlx::query(statement).execute(tx.connection()).await.is_err(), "{statement} by a worker");
    }
}

#[tokio::test]
async fn the_read_model_keeps_the_newest_whatever_comes_last() {
    let desk = Desk::open().await;
    let (database, tenant, id) = (desk.stage.database("catalog"), desk.stage.tenant.id, TeamId::draw());
    let mut tx = database.begin(tenant).await.unwrap();
    for (revision, active) in [(3, true), (5, false), (4, true), (5, true)] {
        read_models::keep_team(&mut tx, tenant, &Team { id, revision, active }).await.unwrap();
    }
    let kept = read_models::find_team(&mut tx, tenant, id).await.unwrap();
    assert_eq!(kept, Some(Team { id, revision: 5, active: false }));
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn what_is_refused_costs_no_connection() {
    let desk = Desk::open().await;
    let connections = || async {
        let statement =
            "select pid from pg_stat_activity where usename = 'catalog' and datname = current_database() order by pid";
        let pids: Vec<i32> = sqlx::query_scalar(statement).fetch_all(&mut desk.stage.admin().await).await.unwrap();
        pids
    };
    desk.create(desk.service("shop"), "").await.unwrap();
    let before = connections().await;
    for _ in 0..5 {
        desk.create(desk.service("shop"), "").await.unwrap_err();
        let retire = RetireServiceRequest { id: TeamId::draw().to_string(), ..Default::default() };
        desk.client.clone().retire_service(desk.stage.request(&desk.manager, retire)).await.unwrap_err();
    }
    // The pool may have opened more meanwhile.
    let after = connections().await;
    assert!(!before.is_empty() && before.iter().all(|pid| after.contains(pid)), "{before:?} became {after:?}");
}

//! What the tables hold and refuse.

use kit::{
    clock::Clock,
    id::{PersonId, Tenant, TenantId},
    journal::Cause,
    testing::Stage,
};
use notification::{
    MIGRATOR,
    domain::{
        ContactMethod, ContactMethodId, Delivery, DeliveryId, Message, Method, contact_method::NewContactMethod,
        delivery::NewDelivery,
    },
    store::{self, deliveries},
};
use sqlx::Row;

fn cause(stage: &Stage, tenant: &Tenant) -> Cause {
    Cause::timer("notification", "a_test", tenant.clone(), stage.clock.now())
}

async fn way(stage: &Stage, tenant: &Tenant) -> ContactMethod {
    let database = stage.database("notification");
    let new = NewContactMethod {
        id: ContactMethodId::draw(),
        person_id: PersonId::draw(),
        method: Method::Mail,
        display_name: "mail".to_owned(),
        address: "ann@example.com".to_owned(),
    };
    let mut tx = database.begin_worker([tenant.id]).await.unwrap();
    let decision = ContactMethod::create(new, stage.clock.now());
    let way = store::commit(&mut tx, decision, &cause(stage, tenant)).await.unwrap();
    tx.commit().await.unwrap();
    way
}

fn wanted(way: &ContactMethod, event_id: uuid::Uuid) -> NewDelivery {
    NewDelivery {
        id: DeliveryId::draw(),
        rule_id: None,
        event_id,
        event_type: "incident.opened".to_owned(),
        subject_record_id: kit::id::draw(),
        subject_record_number: "INC0000001".to_owned(),
        incident_id: None,
        person_id: way.person_id,
        contact_method_id: way.id,
        method: way.method,
        repeat_after_seconds: 60,
        reason: "a test".to_owned(),
    }
}

#[tokio::test]
async fn a_way_is_told_of_an_event_once_whatever_the_code_does() {
    let stage = Stage::set(&[("notification", &MIGRATOR)]).await;
    let way = way(&stage, &stage.tenant).await;
    let event = kit::id::draw();
    let message = Message { subject: "s".to_owned(), body: "b".to_owned() };
    let database = stage.database("notification");
    for expected in [true, false] {
        let mut tx = database.begin_worker([stage.tenant.id]).await.unwrap();
        let decision = Delivery::request(wanted(&way, event), stage.clock.now());
        deliveries::request(&mut tx, decision, message.clone(), &cause(&stage, &stage.tenant));
        let saved = tx.commit().await;
        assert_eq!(saved.is_ok(), expected, "{saved:?}");
        if let Err(error) = saved {
            assert!(kit::db::violates(&error, "delivery_once"), "{error}");
        }
    }
    let mut admin = stage.admin().await;
    let timers = sqlx::query("select kind from notification.timer order by kind").fetch_all(&mut admin).await.unwrap();
    let kinds: Vec<String> = timers.iter().map(|row| row.get("kind")).collect();
    assert_eq!(kinds, ["repeat", "send"]);
}

#[tokio::test]
async fn what_is_saved_reads_back_and_a_cancelled_delivery_has_no_timers() {
    let stage = Stage::set(&[("notification", &MIGRATOR)]).await;
    let way = way(&stage, &stage.tenant).await;
    let message = Message { subject: "s".to_owned(), body: "b".to_owned() };
    let mut tx = stage.database("notification").begin_worker([stage.tenant.id]).await.unwrap();
    let decision = Delivery::request(wanted(&way, kit::id::draw()), stage.clock.now());
    let saved = deliveries::request(&mut tx, decision, message.clone(), &cause(&stage, &stage.tenant));
    assert_eq!(deliveries::find(&mut tx, saved.id).await.unwrap().unwrap(), saved);
    assert_eq!(deliveries::message(&mut tx, saved.id).await.unwrap(), message);
    let cancelled = saved.cancel("seen".to_owned(), stage.clock.now()).unwrap();
    let cancelled = store::commit(&mut tx, cancelled, &cause(&stage, &stage.tenant)).await.unwrap();
    assert_eq!(deliveries::find(&mut tx, saved.id).await.unwrap().unwrap(), cancelled);
    tx.commit().await.unwrap();
    let mut admin = stage.admin().await;
    let timers: i64 =
        sqlx::query_scalar("select count(*) from notification.timer").fetch_one(&mut admin).await.unwrap();
    assert_eq!(timers, 0);
}

#[tokio::test]
async fn a_worker_sees_records_of_the_tenants_that_it_names() {
    let stage = Stage::set(&[("notification", &MIGRATOR)]).await;
    let other = Tenant { id: TenantId::draw(), slug: "other".to_owned() };
    let (mine, theirs) = (way(&stage, &stage.tenant).await, way(&stage, &other).await);
    let database = stage.database("notification");
    for (tenants, sees) in [
        (vec![stage.tenant.id], (true, false)),
        (vec![stage.tenant.id, other.id], (true, true)),
        (vec![], (false, false)),
    ] {
        let mut tx = database.begin_worker(tenants).await.unwrap();
        let mine = store::contact_methods::find(&mut tx, mine.id).await.unwrap().is_some();
        let theirs = store::contact_methods::find(&mut tx, theirs.id).await.unwrap().is_some();
        assert_eq!((mine, theirs), sees);
        tx.commit().await.unwrap();
    }
    let mut tx = database.begin(other.id).await.unwrap();
    assert!(store::contact_methods::find(&mut tx, mine.id).await.unwrap().is_none());
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn every_table_of_tenants_forces_row_level_security() {
    let stage = Stage::set(&[("notification", &MIGRATOR)]).await;
    let mut admin = stage.admin().await;
    let open = sqlx::query(
        "select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
         join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
         where n.nspname = 'notification' and c.relkind in ('r', 'p') and not c.relispartition
           and not (c.relrowsecurity and c.relforcerowsecurity)",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    let open: Vec<String> = open.iter().map(|row| row.get("relname")).collect();
    assert!(open.is_empty(), "{open:?}");
}

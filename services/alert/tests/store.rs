//! The store of the alert service on a real Postgres: what the database itself holds to.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use alert::{
    MIGRATOR,
    domain::{
        Alert, Content, Integration, IntegrationId, Route, Said, Severity, Signal,
        integration::{Key, NewIntegration},
    },
    store,
};
use chrono::{DateTime, TimeDelta, Utc};
use kit::{
    caller::system,
    db::{Transaction, violates},
    id::{AlertId, Tenant, TenantId},
    journal::Cause,
    testing::Stage,
};
use sqlx::Row;

fn now() -> DateTime<Utc> {
    "2026-03-02T09:00:00Z".parse().unwrap()
}

fn cause(tenant: &Tenant) -> Cause {
    let actor = system("alert", "test", None);
    Cause { tenant: tenant.clone(), actor, at: now(), call: None, trace_parent: String::new() }
}

fn signal(key: &str) -> Signal {
    Signal {
        dedup_key: key.to_owned(),
        said: Said::Firing { expires_at: Some(now() + TimeDelta::minutes(5)) },
        starts_at: now(),
        received_at: now(),
        severity: Severity::High,
        content: Content {
            title: "Disk full".to_owned(),
            labels: [("host".to_owned(), "db1".to_owned())].into(),
            ..Content::default()
        },
        trace_parent: String::new(),
    }
}

async fn integration(tx: &mut Transaction, tenant: &Tenant) -> IntegrationId {
    let new = NewIntegration {
        name: "demo".to_owned(),
        display_name: "Demo".to_owned(),
        team_id: None,
        service_id: None,
        open_incident_from: Severity::Medium,
    };
    let id = IntegrationId::draw();
    let digest = [id.0.as_bytes().as_slice(), id.0.as_bytes().as_slice()].concat().try_into().unwrap();
    let decision = Integration::create(id, new, Key { digest, hint: "itsm".to_owned() }, now());
    let saved = store::integrations::commit(tx, decision, &cause(tenant)).await.unwrap();
    assert_eq!(store::integrations::find(tx, id).await.unwrap(), Some(saved));
    id
}

fn raise(integration: IntegrationId, key: &str) -> alert::domain::alert::Decision {
    Alert::raise(AlertId::draw(), (integration, "demo", Severity::Medium), &signal(key), Route::default(), now())
}

#[tokio::test]
async fn an_alert_comes_back_as_it_was_saved_and_measures_make_no_event() {
    let stage = Stage::set(&[("alert", &MIGRATOR)]).await;
    let database = stage.database("alert");
    let mut tx = database.begin_worker([stage.tenant.id]).await.unwrap();
    let integration = integration(&mut tx, &stage.tenant).await;
    let saved = store::alerts::commit(&mut tx, raise(integration, "disk"), &cause(&stage.tenant));
    assert_eq!(store::alerts::find(&mut tx, saved.id).await.unwrap(), Some(saved.clone()));

    let later = now() + TimeDelta::minutes(9);
    let measured = Alert { occurrence_count: 7, last_seen_at: later, expires_at: Some(later), ..saved.clone() };
    store::alerts::measure(&mut tx, &[(stage.tenant.clone(), measured.clone())]).await.unwrap();
    assert_eq!(store::alerts::find(&mut tx, saved.id).await.unwrap(), Some(measured.clone()));
    let cleared = store::alerts::commit(&mut tx, measured.clear_by_person(later), &cause(&stage.tenant));
    assert_eq!(store::alerts::find(&mut tx, saved.id).await.unwrap(), Some(cleared));
    tx.commit().await.unwrap();

    let mut admin = stage.admin().await;
    let query = sqlx::query("select revision, type from alert.journal where record_id = $1 order by revision");
    let rows = query.bind(saved.id.0).fetch_all(&mut admin).await.unwrap();
    let told: Vec<(i64, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(told, [(1, "raised".to_owned()), (2, "cleared".to_owned())]);
    let timers: i64 = sqlx::query_scalar("select count(*) from alert.timer").fetch_one(&mut admin).await.unwrap();
    assert_eq!(timers, 0, "what is over expires no more");
}

#[tokio::test]
async fn at_most_one_alert_of_a_condition_is_active() {
    let stage = Stage::set(&[("alert", &MIGRATOR)]).await;
    let database = stage.database("alert");
    let mut tx = database.begin_worker([stage.tenant.id]).await.unwrap();
    let integration = integration(&mut tx, &stage.tenant).await;
    let first = store::alerts::commit(&mut tx, raise(integration, "disk"), &cause(&stage.tenant));
    store::alerts::commit(&mut tx, raise(integration, "memory"), &cause(&stage.tenant));
    store::alerts::commit(&mut tx, first.clear_by_person(now()), &cause(&stage.tenant));
    store::alerts::commit(&mut tx, raise(integration, "disk"), &cause(&stage.tenant));
    store::alerts::commit(&mut tx, raise(integration, "disk"), &cause(&stage.tenant));
    let second = tx.flush().await.unwrap_err();
    assert!(violates(&second, "alert_active"), "{second}");
}

#[tokio::test]
async fn a_transaction_sees_the_tenants_that_it_names() {
    let stage = Stage::set(&[("alert", &MIGRATOR)]).await;
    let database = stage.database("alert");
    let other = Tenant { id: TenantId::draw(), slug: "globex".to_owned() };
    let mut saved = Vec::new();
    for tenant in [&stage.tenant, &other] {
        let mut tx = database.begin_worker([tenant.id]).await.unwrap();
        let integration = integration(&mut tx, tenant).await;
        saved.push(store::alerts::commit(&mut tx, raise(integration, "disk"), &cause(tenant)).id);
        tx.commit().await.unwrap();
    }
    let mut tx = database.begin(other.id).await.unwrap();
    assert_eq!(store::alerts::find(&mut tx, saved[0]).await.unwrap(), None);
    assert!(store::alerts::find(&mut tx, saved[1]).await.unwrap().is_some());
    assert_eq!(store::alerts::list(&mut tx, &None, None, 10).await.unwrap().len(), 1);
    tx.commit().await.unwrap();
    let mut tx = database.begin_worker([stage.tenant.id]).await.unwrap();
    assert_eq!(store::alerts::list(&mut tx, &None, None, 10).await.unwrap().len(), 1);
    tx.name_tenants([]).await.unwrap();
    assert_eq!(store::alerts::list(&mut tx, &None, None, 10).await.unwrap().len(), 0);
}

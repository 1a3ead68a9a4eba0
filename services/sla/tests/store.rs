//! The store on real Postgres: what goes in comes out, only newer revisions are kept, and nobody
//! sees another tenant's rows.
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc, Weekday};
use kit::{
    id::{IncidentId, ServiceId, TeamId, Tenant, TenantId},
    journal::Cause,
    testing::Stage,
};
use sla::{
    MIGRATOR,
    domain::{
        Agreement, AgreementId, AgreementKind, Calendar, CalendarId, Clock, ClockId, Hours, Incident, IncidentState,
        Metric, Priority, Schedule, Seen,
        agreement::{NewAgreement, default_targets},
        calendar::NewCalendar,
    },
    store::{self, Page},
};

fn now() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-03-02T09:00:00.123456Z").unwrap().to_utc()
}

fn cause(tenant: &Tenant) -> Cause {
    Cause::timer("sla", "test", tenant.clone(), now())
}

fn calendar() -> Calendar {
    let hours = vec![Hours::new(Weekday::Mon, 540, 1_020).unwrap(), Hours::new(Weekday::Sun, 1_320, 1_440).unwrap()];
    let holidays = BTreeSet::from([now().date_naive() + TimeDelta::days(7)]);
    let wanted = NewCalendar {
        name: "office".to_owned(),
        display_name: "Office".to_owned(),
        schedule: Schedule::new(chrono_tz::Australia::Lord_Howe, hours, holidays),
    };
    Calendar::create(CalendarId::draw(), wanted, now()).unwrap().open().0
}

fn agreement(calendar: &Calendar) -> Agreement {
    let wanted = NewAgreement {
        display_name: "Shop".to_owned(),
        kind: AgreementKind::Ola,
        service_id: Some(ServiceId::draw()),
        targets: default_targets(calendar.id),
    };
    let calendars = BTreeMap::from([(calendar.id, calendar.clone())]);
    Agreement::create(AgreementId::draw(), wanted, &calendars, now()).unwrap().open().0
}

fn seen(state: IncidentState, revision: i64, at: DateTime<Utc>) -> Seen {
    let incident = Incident {
        id: IncidentId(uuid::Uuid::from_u128(9)),
        revision,
        number: "INC0000009".to_owned(),
        state,
        acknowledged: false,
        priority: Priority::P3,
        service_id: Some(ServiceId::draw()),
        team_id: Some(TeamId::draw()),
    };
    Seen { incident, at, event_id: kit::id::draw() }
}

#[tokio::test]
async fn what_goes_in_comes_out_and_the_timers_follow() {
    let stage = Stage::set(&[("sla", &MIGRATOR)]).await;
    let (database, tenant) = (stage.database("sla"), stage.tenant.clone());
    let mut tx = database.begin(tenant.id).await.unwrap();
    let (calendar, cause) = (calendar(), cause(&tenant));
    let created = kit::decide::Decision::unchanged(Calendar { revision: 0, ..calendar.clone() })
        .then(calendar.clone(), sla::domain::CalendarWhat::Created);
    store::calendars::commit(&mut tx, created, &cause).await.unwrap();
    assert_eq!(store::calendars::find(&mut tx, calendar.id).await.unwrap(), Some(calendar.clone()));
    let agreement = agreement(&calendar);
    let created = kit::decide::Decision::unchanged(Agreement { revision: 0, ..agreement.clone() })
        .then(agreement.clone(), sla::domain::AgreementWhat::Created);
    store::agreements::commit(&mut tx, created, &cause).await.unwrap();
    assert_eq!(store::agreements::find(&mut tx, agreement.id).await.unwrap(), Some(agreement.clone()));

    let calendars = BTreeMap::from([(calendar.id, calendar)]);
    let terms = agreement.terms(Metric::Resolution, &calendars).unwrap();
    let opened = seen(IncidentState::New, 1, now());
    let clock = Clock::start(ClockId::draw(), Metric::Resolution, terms, &opened);
    let clock = store::clocks::commit(&mut tx, clock, &cause);
    assert_eq!(store::clocks::find(&mut tx, clock.id).await.unwrap(), Some(clock.clone()));
    tx.commit().await.unwrap();
    let mut admin = stage.admin().await;
    let timers: Vec<(String, DateTime<Utc>)> =
        sqlx::query_as("select kind, due_at from sla.timer order by kind").fetch_all(&mut admin).await.unwrap();
    assert_eq!(
        timers,
        [("at_risk".to_owned(), clock.at_risk_due_at().unwrap()), ("due".to_owned(), clock.due_at().unwrap())]
    );

    let mut tx = database.begin_worker([tenant.id]).await.unwrap();
    let held = clock.observe(&seen(IncidentState::Pending, 2, now() + TimeDelta::hours(1)));
    let held = store::clocks::commit(&mut tx, held, &cause);
    let incident = held.incident_id;
    assert_eq!(store::clocks::of_incident_for_update(&mut tx, incident).await.unwrap(), [held]);
    tx.commit().await.unwrap();
    let left: i64 = sqlx::query_scalar("select count(*) from sla.timer").fetch_one(&mut admin).await.unwrap();
    assert_eq!(left, 0, "a paused clock waits for nothing");
}

#[tokio::test]
async fn read_models_keep_only_what_is_newer() {
    let stage = Stage::set(&[("sla", &MIGRATOR)]).await;
    let (database, tenant) = (stage.database("sla"), stage.tenant.id);
    let mut tx = database.begin_worker([tenant]).await.unwrap();
    let (newer, older) = (seen(IncidentState::Pending, 2, now()).incident, seen(IncidentState::New, 1, now()).incident);
    store::read_models::keep_incident(&mut tx, tenant, &newer);
    // In one batch, and by the row that is there.
    store::read_models::keep_incident(&mut tx, tenant, &older);
    tx.flush().await.unwrap();
    store::read_models::keep_incident(&mut tx, tenant, &older);
    let teams = store::read_models::teams_of_incidents(&mut tx, &[newer.id]).await.unwrap();
    assert_eq!(teams.get(&newer.id).copied(), newer.team_id);
    let service =
        store::read_models::Service { id: ServiceId::draw(), revision: 2, name: "shop".to_owned(), retired: true };
    let before = store::read_models::Service { revision: 1, retired: false, ..service.clone() };
    store::read_models::keep_service(&mut tx, tenant, &service).await.unwrap();
    store::read_models::keep_service(&mut tx, tenant, &before).await.unwrap();
    assert_eq!(store::read_models::find_service(&mut tx, tenant, service.id).await.unwrap(), Some(service));
}

#[tokio::test]
async fn nobody_sees_another_tenants_rows() {
    let stage = Stage::set(&[("sla", &MIGRATOR)]).await;
    let (database, tenant) = (stage.database("sla"), stage.tenant.clone());
    let mut tx = database.begin(tenant.id).await.unwrap();
    let calendar = calendar();
    let created = kit::decide::Decision::unchanged(Calendar { revision: 0, ..calendar.clone() })
        .then(calendar.clone(), sla::domain::CalendarWhat::Created);
    store::calendars::commit(&mut tx, created, &cause(&tenant)).await.unwrap();
    tx.commit().await.unwrap();
    let page = Page { limit: 10, ..Page::default() };
    let mut mine = database.begin(tenant.id).await.unwrap();
    assert_eq!(store::calendars::list(&mut mine, &page).await.unwrap().len(), 1);
    let mut other = database.begin(TenantId::draw()).await.unwrap();
    assert!(store::calendars::list(&mut other, &page).await.unwrap().is_empty());
    let mut worker = database.begin_worker([TenantId::draw()]).await.unwrap();
    assert_eq!(store::calendars::find(&mut worker, calendar.id).await.unwrap(), None);
}

#[tokio::test]
async fn in_a_batch_of_several_tenants_each_has_its_own_agreements() {
    let stage = Stage::set(&[("sla", &MIGRATOR)]).await;
    let (database, tenant) = (stage.database("sla"), stage.tenant.clone());
    let (cause, calendar) = (cause(&tenant), calendar());
    let wanted = NewAgreement {
        display_name: "Default".to_owned(),
        kind: AgreementKind::Sla,
        service_id: None,
        targets: default_targets(calendar.id),
    };
    let calendars = BTreeMap::from([(calendar.id, calendar)]);
    let mut tx = database.begin(tenant.id).await.unwrap();
    let draft = Agreement::create(AgreementId::draw(), wanted, &calendars, now()).unwrap();
    let draft = store::agreements::commit(&mut tx, draft, &cause).await.unwrap();
    let active = draft.activate(&calendars, now()).unwrap();
    store::agreements::commit(&mut tx, active, &cause).await.unwrap();
    tx.commit().await.unwrap();

    let other = TenantId::draw();
    let mut batch = database.begin_worker([tenant.id, other]).await.unwrap();
    assert_eq!(store::agreements::recall_active_for(&mut batch, tenant.id, None).await.unwrap().len(), 1);
    assert!(store::agreements::recall_active_for(&mut batch, other, None).await.unwrap().is_empty());
}

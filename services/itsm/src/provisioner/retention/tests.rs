//! What goes and what stays, on a real Postgres with every schema, by a hand-driven now.

#![expect(clippy::print_stdout, reason = "the longest wait is shown to who asks")]

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::Connection as _;
use tokio_util::sync::CancellationToken;

use super::{
    holds,
    stage::{Stage, round},
};
use crate::wiring;

/// Of the machine, because the migrations make partitions around it; the tests move it on.
fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(kit::id::draw().get_timestamp().unwrap().to_unix().0.cast_signed(), 0).unwrap()
}

const JOURNALS: &str = "select count(*) from incident.journal";
const INCIDENTS: &str = "select id from incident.incidents";

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_long_ago_goes_and_what_is_open_held_or_kept_longer_stays() {
    let stage = Stage::set().await;
    let now = now();
    stage.partitions(now - TimeDelta::days(300), now).await;
    let [acme, slow, held] = [stage.tenant("acme").await, stage.tenant("slow").await, stage.tenant("held").await];
    let mut gone = Vec::new();
    for number in 0..6 {
        gone.push(stage.incident(acme, now, number, 150, Some(140)).await);
    }
    gone.sort_unstable();
    let mut stay = vec![
        stage.incident(acme, now, 10, 150, None).await,
        stage.incident(acme, now, 11, 150, Some(99)).await,
        stage.incident(slow, now, 12, 150, Some(140)).await,
        stage.incident(held, now, 13, 150, Some(140)).await,
        stage.incident(acme, now, 14, 150, Some(140)).await,
    ];
    let own_hold = stay[4];
    stay.sort_unstable();
    stage.relay("incident", now - TimeDelta::days(140)).await;
    stage.incident(acme, now, 20, 1, None).await;
    stage.relay("incident", now).await;
    stage.read("sla", "incident", 24).await;
    stage
        .run("insert into incident.timer select tenant_id, 'acme', id, 'auto_close', now() from incident.incidents")
        .await;
    let mut connection = stage.pool.acquire().await.unwrap();
    let because = ("Ada", "case 4711");
    let hold = holds::place(&mut connection, wiring::kept(), "held", None, because, now).await.unwrap();
    let by_number =
        holds::place(&mut connection, wiring::kept(), "acme", Some("INC0000014"), because, now).await.unwrap();

    let mut pruner = stage.pruner("incidents = '100d'\ntenants = { slow = { incidents = '365d' } }");
    let report = round(&mut pruner, now).await;
    assert_eq!(report.records, 6);
    assert_eq!(stage.ids("select id from incident.incidents where number < 'INC0000020'").await, stay);
    assert_eq!(stage.count("select count(*) from incident.timer").await, 6);
    // Their journals went with the month, and exactly theirs; nothing remembers them any more.
    assert_eq!(stage.count(JOURNALS).await, 12, "{report:?}");
    assert_eq!(
        stage.ids("select distinct record_id from incident.journal where at < now() - interval '9 days'").await,
        stay
    );
    assert_eq!(stage.count("select count(*) from incident.pruned").await, 0);
    assert_eq!(report.rewritten.iter().filter(|name| name.starts_with("incident.journal_")).count(), 1, "{report:?}");
    assert!(round(&mut pruner, now).await.rewritten.is_empty());

    // Lifted: those two go, and with another period the third.
    holds::lift(&mut connection, hold, because, now).await.unwrap();
    holds::lift(&mut connection, by_number, because, now).await.unwrap();
    assert!(holds::lift(&mut connection, by_number, because, now).await.is_err());
    assert_eq!(round(&mut pruner, now).await.records, 2);
    assert!(!stage.ids(INCIDENTS).await.contains(&own_hold));
    assert_eq!(round(&mut pruner, now + TimeDelta::days(230)).await.records, 2);
    assert_eq!(stage.count("select count(*) from incident.incidents where closed_at is not null").await, 0);
    drop(connection);
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_say_who_and_why_and_find_their_record() {
    let stage = Stage::set().await;
    let now = now();
    let acme = stage.tenant("acme").await;
    stage.tenant("other").await;
    let id = stage.incident(acme, now, 42, 1, Some(0)).await;
    stage.run(&format!("insert into incident.incident_alerts values ('{acme}', '{acme}', '{id}', 'x', false)")).await;
    let mut connection = stage.pool.acquire().await.unwrap();
    let kept = wiring::kept();
    let because = ("Ada", "case 4711");
    let said = async |connection: &mut sqlx::PgConnection, tenant: &str, record: Option<&str>, because| {
        holds::place(connection, kept, tenant, record, because, now).await.unwrap_err().to_string()
    };
    assert!(said(&mut connection, "nobody", None, because).await.contains("no tenant `nobody`"));
    assert!(said(&mut connection, "acme", Some("INC0000043"), because).await.contains("no record `INC0000043`"));
    assert!(
        said(&mut connection, "other", Some("INC0000042"), because).await.contains("no record"),
        "another tenant's"
    );
    assert!(said(&mut connection, "acme", None, ("", "x")).await.contains("who placed it and why"));
    let hold = holds::place(&mut connection, kept, "acme", Some(&id.to_string()), because, now).await.unwrap();
    assert!(said(&mut connection, "acme", Some("INC0000042"), because).await.contains("held already"));
    // Its alerts are held with it.
    let loaded = holds::Holds::load(&stage.pool, kept).await.unwrap();
    assert_eq!((loaded.tenants.len(), &loaded.records), (0, &vec![id, acme]));
    let listed = holds::list(&mut connection, false).await.unwrap();
    assert_eq!((listed[0].id, listed[0].placed_by.as_str(), listed[0].reason.as_str()), (hold, "Ada", "case 4711"));
    holds::lift(&mut connection, hold, ("Ben", "settled"), now).await.unwrap();
    assert!(holds::list(&mut connection, false).await.unwrap().is_empty());
    let all = holds::list(&mut connection, true).await.unwrap();
    assert_eq!((all[0].lifted_by.as_deref(), all[0].lift_reason.as_deref()), (Some("Ben"), Some("settled")));

    // A hold waits for the batch under way, and the next batch sees it.
    let mut tx = connection.begin().await.unwrap();
    loaded.still_stand(&mut tx).await.unwrap_err();
    holds::Holds::load(&stage.pool, kept).await.unwrap().still_stand(&mut tx).await.unwrap();
    let placing = tokio::spawn({
        let pool = stage.pool.clone();
        async move { holds::place(&mut pool.acquire().await.unwrap(), kept, "acme", None, because, now).await }
    });
    let waiting = "select count(*) from pg_stat_activity where wait_event = 'advisory'";
    let deadline = Instant::now() + Duration::from_secs(8);
    while stage.count(waiting).await == 0 {
        assert!(Instant::now() < deadline, "it does not wait");
    }
    tx.rollback().await.unwrap();
    placing.await.unwrap().unwrap();
    drop(connection);
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_that_somebody_has_not_read() {
    let stage = Stage::set().await;
    let now = now();
    stage.partitions(now - TimeDelta::days(300), now).await;
    let acme = stage.tenant("acme").await;
    for number in 0..10 {
        stage.incident(acme, now, number, 120, Some(115)).await;
    }
    stage.relay("incident", now - TimeDelta::days(115)).await;
    let open = stage.incident(acme, now, 20, 1, None).await;
    stage.read("sla", "incident", 4).await;
    stage.read("notification", "incident", 22).await;
    let mut pruner = stage.pruner("incidents = '100d'");
    // What has no number yet counts as open.
    let pending = stage.incident(acme, now, 21, 130, Some(130)).await;
    let report = round(&mut pruner, now).await;
    assert_eq!(report.records, 10);
    assert!(stage.ids(INCIDENTS).await.contains(&pending));
    // sla has read up to 4, and the pieces of four are less than a quarter of twenty.
    assert_eq!(stage.count("select min(position) from incident.feed").await, 1);
    assert_eq!(stage.count(JOURNALS).await, 24, "the feed still names them");
    stage.relay("incident", now).await;
    stage.read("sla", "incident", 12).await;
    round(&mut pruner, now).await;
    assert_eq!(stage.count("select min(position) from incident.feed").await, 13);
    let named = "select count(*) from incident.feed f join incident.journal using (record_id, revision)";
    assert_eq!(stage.count(named).await, 12, "a position without its event would stop every reader");
    let known = "select count(*) from incident.past_tenant where tenant = 'acme'";
    assert_eq!(stage.count(known).await, 1);
    // A service that never reads again does not keep it for ever.
    round(&mut pruner, now + TimeDelta::days(66)).await;
    let first = stage.count("select min(position) from incident.feed").await;
    assert_eq!(first, 21, "past the longest time that a feed waits");
    assert!(stage.ids(INCIDENTS).await.contains(&open));
    // The newest position stays, whatever its age: positions count on from it.
    round(&mut pruner, now + TimeDelta::days(2_000)).await;
    let ends = stage.count("select min(position) * 100 + max(position) from incident.feed").await;
    assert_eq!(ends, 24 * 100 + 24);
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_partition_of_a_feed_is_dropped_when_its_newest_is_past() {
    let stage = Stage::set().await;
    let now = now();
    let acme = stage.tenant("acme").await;
    let id = stage.incident(acme, now, 1, 20, None).await;
    stage.relay("incident", now - TimeDelta::days(100)).await;
    let feed = |position: i64, age: i64| {
        format!("insert into incident.feed values ({position}, '{acme}', '{id}', 1, 1, now() - interval '{age} days')")
    };
    stage.run(&feed(999_999, 91)).await;
    stage.run(&feed(1_000_000, 89)).await;
    stage.run("update incident.lease set position = 1000000").await;
    let mut pruner = stage.pruner("");
    let report = round(&mut pruner, now).await;
    assert!(report.dropped.contains(&"incident.feed_0".to_owned()), "{report:?}");
    assert_eq!(stage.count("select count(*) from incident.feed").await, 1);
    assert_eq!(stage.count("select count(*) from incident.past_tenant").await, 1);
    assert_eq!(stage.count("select count(*) from incident.journal").await, 2, "an open incident keeps its history");
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_alerts_and_attempts_go_by_whole_partitions_but_for_who_keeps_longer() {
    let stage = Stage::set().await;
    let now = now();
    stage.partitions(now - TimeDelta::days(160), now).await;
    let [acme, slow, held, brief] = [
        stage.tenant("acme").await,
        stage.tenant("slow").await,
        stage.tenant("held").await,
        stage.tenant("brief").await,
    ];
    for day in (0..50_i64).step_by(2) {
        crate::provisioner::partitions::ensure_partitions(&stage.pool, wiring::kept(), now - TimeDelta::days(day))
            .await
            .unwrap();
    }
    let raw = format!(
        "insert into alert.intake
         select 1, row_number() over (), '{now}'::timestamptz - make_interval(days => day), 's', tenant, null, 'generic', '{{}}', '\\x00', ''
         from generate_series(0, 45) day, unnest(array['{acme}', '{slow}', '{held}', '{brief}', null]::uuid[]) tenant"
    );
    stage.run(&raw).await;
    stage.run("insert into alert.intake_rest select 1, -1, now() - interval '500 days', 's', null, null, 'g', '{}', '', ''").await;
    let attempts = format!(
        "insert into notification.attempts
         select tenant, stage.id('{now}'::timestamptz - make_interval(days => days), n), 1, tenant, now(), null, null, ''
         from unnest(array[150, 5]) days, unnest(array['{acme}', '{held}']::uuid[]) with ordinality t (tenant, n)"
    );
    stage.run(&attempts).await;
    let mut connection = stage.pool.acquire().await.unwrap();
    holds::place(&mut connection, wiring::kept(), "held", None, ("Ada", "case"), now).await.unwrap();
    let mut pruner = stage.pruner("tenants = { slow = { raw_alerts = '40d' }, brief = { raw_alerts = '7d' } }");
    let report = round(&mut pruner, now).await;
    let left =
        async |tenant: &str| stage.count(&format!("select count(*) from alert.intake where tenant_id {tenant}")).await;
    // A day goes when its end is past the period: today, the days between, and the one that is not yet.
    for (tenant, days) in [(acme, 31), (slow, 41), (brief, 8)] {
        assert_eq!(left(&format!("= '{tenant}'")).await, days);
    }
    assert_eq!(left("is null").await, 31, "what names no tenant goes as for all");
    assert_eq!(left(&format!("= '{held}'")).await, 46);
    assert_eq!(stage.count("select count(*) from notification.attempts").await, 3);
    assert_eq!(stage.count(&format!("select count(*) from notification.attempts where tenant_id = '{held}'")).await, 2);
    assert_eq!(report.rewritten.iter().filter(|name| name.contains("intake")).count(), 45 - 7, "{report:?}");
    let again = round(&mut pruner, now).await;
    assert_eq!((again.rewritten.len(), again.dropped.len()), (0, 0), "{again:?}");
    let hold = holds::list(&mut connection, false).await.unwrap()[0].id;
    holds::lift(&mut connection, hold, ("Ada", "over"), now).await.unwrap();
    let report = round(&mut pruner, now).await;
    assert!(report.dropped.iter().any(|name| name.contains("intake")), "{report:?}");
    assert_eq!(left(&format!("= '{held}'")).await, 31);
    // What took their place is as the others are.
    let odd = "select count(*) from pg_class c where c.relispartition and c.relkind = 'r'
        and (c.relacl is not null or pg_get_userbyid(c.relowner) !~ '_owner$'
            or exists (select from pg_constraint k where k.conrelid = c.oid and k.contype = 'c'))";
    assert_eq!(stage.count(odd).await, 0);
    assert_eq!(stage.count("select count(*) from pg_index where not indisvalid").await, 0);
    drop(connection);
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_answers_conditions_and_read_models_go_too() {
    let stage = Stage::set().await;
    let now = now();
    stage.partitions(now - TimeDelta::days(300), now).await;
    let acme = stage.tenant("acme").await;
    let rows = format!(
        "insert into incident.request select '{acme}', 'ada', 'm', n::text, '', '{acme}', 1, '{now}'::timestamptz - make_interval(hours => n)
            from generate_series(0, 47) n;
         insert into sla.attempt select 'incident', n, 1, '', '{now}'::timestamptz - make_interval(days => n * 20) from generate_series(1, 20) n;
         insert into sla.dead_letter select 'incident', n, '{acme}', 'acme', '{acme}', 1, '{acme}', 't', '', now(), '', '',
            '{now}'::timestamptz - make_interval(days => n * 20) from generate_series(1, 20) n;
         insert into alert.integrations values ('{acme}', '{acme}', 1, 'demo', 'Demo', null, null, 'LOW', 'ACTIVE', '\\x00', 'x', now(), now());
         insert into alert.alerts select stage.id(at, n), '{acme}', 1, '{acme}', 'key' || n, case when n = 3 then 'ACTIVE' else 'CLEARED' end,
                'HIGH', 't', '', '{{}}', '{{}}', '', '', null, null, null, null, true, '', at, at, 'SOURCE', 1, at, null, at, at, '', at, at
            from (select n, '{now}'::timestamptz - make_interval(days => case when n = 4 then 100 else 200 end) as at from generate_series(1, 5) n) a;
         insert into alert.conditions select tenant_id, integration_id, dedup_key, cleared_at, id from alert.alerts;
         insert into alert.conditions values ('{acme}', '{acme}', 'cleared only', '{now}'::timestamptz - interval '200 days', null),
            ('{acme}', '{acme}', 'cleared lately', '{now}'::timestamptz - interval '2 days', null);
         insert into notification.incident_incidents select '{acme}', stage.id('{now}'::timestamptz - interval '800 days', n), 1, 'x', 'x',
            case n when 1 then 'OVER' else 'WANTED' end, null from generate_series(1, 2) n;
         insert into sla.incident_incidents select '{acme}', stage.id('{now}'::timestamptz - interval '800 days', n), 1, 'x',
            case n when 1 then 'CLOSED' else 'IN_PROGRESS' end, true, 1, null, null from generate_series(1, 2) n;
         insert into sla.agreements values ('{acme}', '{acme}', 1, 'x', 'SLA', null, '{{}}', 'ACTIVE', now(), now());
         insert into sla.clocks select stage.id('{now}'::timestamptz - interval '800 days', n + 10), '{acme}', 1,
            stage.id('{now}'::timestamptz - interval '800 days', n), 'x', '{acme}', 1, 'RESPONSE', 'MET', 1, '{{}}', null, null, '[]', null, null,
            false, null, now() - interval '800 days', now() - interval '799 days' from generate_series(1, 2) n"
    );
    stage.run(&rows).await;
    let mut pruner = stage.pruner("");
    round(&mut pruner, now).await;
    assert_eq!(stage.count("select count(*) from incident.request").await, 25, "24 h are kept");
    assert_eq!(stage.count("select count(*) from sla.attempt").await, 9);
    assert_eq!(stage.count("select count(*) from sla.dead_letter").await, 9);
    let keys = "select count(*) from alert.alerts where dedup_key in ('key3', 'key4')";
    assert_eq!((stage.count(keys).await, stage.count("select count(*) from alert.alerts").await), (2, 2));
    assert_eq!(stage.count("select count(*) from alert.conditions").await, 3);
    assert_eq!(stage.count("select count(*) from notification.incident_incidents where attention = 'WANTED'").await, 1);
    assert_eq!(stage.count("select count(*) from notification.incident_incidents").await, 1);
    // The clock of the incident that is still open was met years ago, and stays.
    assert_eq!(stage.count("select count(*) from sla.clocks").await, 1);
    round(&mut pruner, now).await;
    assert_eq!(stage.count("select count(*) from sla.incident_incidents where state <> 'CLOSED'").await, 1);
    assert_eq!(stage.count("select count(*) from sla.incident_incidents").await, 1);
    stage.clear().await;
}

/// Commands go on while the month is rewritten: none is lost, none waits longer than for a lock.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewrite_keeps_what_is_written_meanwhile_and_lets_nobody_wait() {
    let stage = Stage::set().await;
    let now = now();
    stage.partitions(now - TimeDelta::days(300), now).await;
    let acme = stage.tenant("acme").await;
    let open = stage.incident(acme, now, 1, 150, None).await;
    let many = format!(
        "select count(stage.incident('{acme}', '{now}'::timestamptz - interval '150 days', n, case when n % 2 = 0 then '{now}'::timestamptz - interval '140 days' end))
         from generate_series(2, 20001) n"
    );
    assert_eq!(stage.count(&many).await, 20_000);
    stage.relay("incident", now - TimeDelta::days(140)).await;
    let stop = CancellationToken::new();
    let numbers = tokio::spawn({
        let (pool, stop) = (stage.pool.clone(), stop.clone());
        async move {
            while !stop.is_cancelled() {
                sqlx::query("select stage.relay('incident', now())").execute(&pool).await.unwrap();
            }
        }
    });
    let writer = tokio::spawn({
        let (pool, stop) = (stage.pool.clone(), stop.clone());
        async move {
            let (mut revision, mut longest) = (2_i64, Duration::ZERO);
            while !stop.is_cancelled() {
                revision += 1;
                let began = Instant::now();
                // As a command writes it: both rows in one statement.
                let written = sqlx::query(
                    "with written as (
                        insert into incident.journal values ($1, 'acme', $2, $3, gen_random_uuid(), 'noted', '', 'person:x', now(), null, null)
                        returning tenant_id, record_id, revision)
                     insert into incident.outbox (tenant_id, record_id, revision) select * from written",
                );
                written.bind(acme).bind(open).bind(revision).execute(&pool).await.unwrap();
                longest = longest.max(began.elapsed());
            }
            (revision, longest)
        }
    });
    let mut pruner = stage.pruner("incidents = '100d'");
    let report = round(&mut pruner, now).await;
    stop.cancel();
    numbers.await.unwrap();
    let (revision, longest) = writer.await.unwrap();
    assert_eq!(report.records, 10_000);
    assert!(report.rewritten.iter().any(|name| name.starts_with("incident.journal_")), "{report:?}");
    assert!(longest < Duration::from_secs(3), "a writer waited {longest:?}, longer than services wait for a lock");
    assert!(revision > 20, "nobody wrote: {revision}");
    println!("written meanwhile: {}, the longest wait {longest:?}", revision - 2);
    let mine = format!("select count(*) from incident.journal where record_id = '{open}'");
    assert_eq!(stage.count(&mine).await, revision);
    assert_eq!(stage.count(JOURNALS).await, revision + 20_000);
    // The feed was rewritten meanwhile too: dense, and every event of it once.
    let numbered = "select count(*) from incident.feed";
    assert_eq!(
        stage.count("select max(position) - min(position) + 1 from incident.feed").await,
        stage.count(numbered).await
    );
    let told = format!(
        "select (select count(distinct revision) from incident.feed where record_id = '{open}' and revision > 2)
        + (select count(*) from incident.outbox)"
    );
    assert_eq!(stage.count(&told).await, revision - 2);
    let kept = "select count(*) from incident.journal j join incident.incidents i on i.id = j.record_id";
    assert_eq!(stage.count(kept).await, revision + 20_000);
    stage.clear().await;
}

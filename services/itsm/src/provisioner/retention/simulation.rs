//! Days at a steady rate of alerts, pruned at the end of each: what every table takes on disk, day
//! by day, and that it takes no more once the longest period has passed.
//!
//! As a test it runs at a small rate over three months, so that whole months go. The month at ten
//! alerts a second is the same with `ITSM_RETENTION_PER_SECOND=10 ITSM_RETENTION_DAYS=45`, and takes
//! a while; `--nocapture` shows the table.

#![expect(clippy::print_stdout, reason = "the table is shown to who asks")]

use std::{collections::BTreeMap, time::Instant};

use chrono::{DateTime, Days, TimeDelta, Utc};
use uuid::Uuid;

use super::stage::{Stage, round};
use crate::{provisioner::partitions::ensure_partitions, wiring};

/// Short, so that a simulation sees what years would show; feeds must keep longer than streams.
const PERIODS: &str = "raw_alerts = '3d'\nrejected_alerts = '3d'\nattempts = '3d'\nfeeds = '8d'\nfeeds_at_most = '9d'
    incidents = '9d'\nchanges = '9d'\nalerts = '9d'\nclocks = '9d'\ndeliveries = '9d'\ndead_letters = '9d'";
/// One alert in so many is new, and has an incident, two clocks and a delivery; the others repeat it.
const ONE_IN: i64 = 100;
const SHOWN: [(&str, &[&str]); 12] = [
    ("intake", &["alert.intake"]),
    ("alerts", &["alert.alerts", "alert.conditions"]),
    ("incidents", &["incident.incidents", "incident.incident_alerts"]),
    ("clocks", &["sla.clocks"]),
    ("deliveries", &["notification.deliveries"]),
    ("attempts", &["notification.attempts"]),
    ("journals", &["alert.journal", "incident.journal", "sla.journal", "notification.journal"]),
    ("feeds", &["alert.feed", "incident.feed", "sla.feed", "notification.feed"]),
    ("models", &["sla.incident_incidents", "notification.incident_incidents"]),
    ("answers", &["incident.request"]),
    ("outboxes", &["alert.outbox", "incident.outbox", "sla.outbox", "notification.outbox"]),
    ("pruned", &["alert.pruned", "incident.pruned", "sla.pruned", "notification.pruned"]),
];

fn asked(name: &str, else_: f64) -> f64 {
    #[expect(clippy::disallowed_methods, reason = "a longer run is asked for by hand")]
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(else_)
}

/// What a day writes: `$day`, `$raw` messages, of which `$new` are new, `$base` counts them.
const DAY: &str = "
    insert into alert.intake select 1, $base + g, '$day'::timestamptz + g * (interval '1 day' / $raw), 'alerts.acme.demo', '$acme', '$acme',
        'generic', '{\"content-type\": \"application/json\"}', repeat(md5(g::text), 8)::bytea, '' from generate_series(0, $raw - 1) g;
    create table stage.new as select $base + g as n, '$day'::timestamptz + g * (interval '1 day' / $new) as at from generate_series(0, $new - 1) g;
    insert into alert.alerts select stage.id(at, n), '$acme', 2, '$acme', 'key' || n, 'CLEARED', 'HIGH', 'title', 'description', '{}', '{}', '',
        '', null, null, null, null, true, 'critical opens an incident', at, at + interval '1 hour', 'SOURCE', 9, at, null, at, at, '', at,
        at + interval '1 hour' from stage.new;
    insert into alert.conditions select '$acme', '$acme', 'key' || n, at + interval '1 hour', stage.id(at, n) from stage.new;
    insert into incident.incidents select stage.id(at, n + 1), '$acme', 5, 'INC' || n, 'title', repeat('description ', 20), state, null,
        3, 3, 3, 'matrix', false, '', null, null, null, null, null, 'alert', 'auto', null, '', null, at, at,
        case state when 'CLOSED' then at + interval '1 day' end, 0, false, '[]', at, at + interval '1 day'
        from stage.new, lateral (select case n when 0 then 'IN_PROGRESS' else 'CLOSED' end as state) s;
    insert into incident.incident_alerts select '$acme', stage.id(at, n), stage.id(at, n + 1), 'key' || n, false from stage.new;
    insert into incident.request select '$acme', 'ada', 'Acknowledge', n::text, sha256('x'), stage.id(at, n + 1), 2, at from stage.new;
    insert into sla.incident_incidents select '$acme', stage.id(at, n + 1), 5, 'INC' || n, 'CLOSED', true, 3, null, null from stage.new;
    insert into sla.clocks select stage.id(at, n + 2 + m), '$acme', 2, stage.id(at, n + 1), 'INC' || n, '$acme', 1,
        case m when 1 then 'RESPONSE' else 'RESOLUTION' end, 'MET', 3, '{}', null, null, '[]', null, null, false, at + interval '1 day', at,
        at + interval '1 day' from stage.new, generate_series(1, 2) m;
    insert into notification.incident_incidents select '$acme', stage.id(at, n + 1), 5, 'INC' || n, 'title', 'OVER', null from stage.new;
    insert into notification.deliveries select stage.id(at, n + 5), '$acme', 2, null, stage.id(at, n + 6), 'incident.opened', stage.id(at, n + 1),
        'INC' || n, stage.id(at, n + 1), '$acme', '$acme', 'EMAIL', 1, 0, 'DELIVERED', 'rule', 1, null, at, 'subject', repeat('body ', 40), at, at
        from stage.new;
    insert into notification.attempts select '$acme', stage.id(at, n + 5), 1, '$acme', at, at, 'delivered', '250 accepted' from stage.new;";

/// The history of a class: `$schema`, the offset of its ids, revisions of each record.
const HISTORY: &str = "
    insert into $schema.journal select '$acme', 'acme', stage.id(at, n + $offset), r, stage.id(at, n * 10 + r), 'happened',
        repeat(md5((n + r)::text), 12)::bytea, 'system:x/y', at, null, null from stage.new, generate_series(1, $revisions) r;
    insert into $schema.outbox (tenant_id, record_id, revision)
        select '$acme', stage.id(at, n + $offset), r from stage.new, generate_series(1, $revisions) r;";

async fn write_day(stage: &Stage, acme: Uuid, day: DateTime<Utc>, base: i64, (raw, new): (i64, i64)) {
    let fill = |text: &str| {
        text.replace("$day", &day.to_rfc3339())
            .replace("$base", &base.to_string())
            .replace("$raw", &raw.to_string())
            .replace("$new", &new.to_string())
            .replace("$acme", &acme.to_string())
    };
    stage.run(&fill(DAY)).await;
    let records = [("alert", 0, 2), ("incident", 1, 5), ("sla", 3, 2), ("sla", 4, 2), ("notification", 5, 2)];
    for (schema, offset, revisions) in records {
        let history = HISTORY.replace("$schema", schema).replace("$offset", &offset.to_string());
        stage.run(&fill(&history.replace("$revisions", &revisions.to_string()))).await;
    }
    for schema in ["alert", "incident", "sla", "notification"] {
        stage.relay(schema, day + TimeDelta::hours(24)).await;
        let head = stage.count(&format!("select max(position) from {schema}.feed")).await;
        stage.read("notification", schema, head).await;
    }
    stage.run("drop table stage.new").await;
}

/// What autovacuum does within a day of real time.
async fn vacuum(stage: &Stage) {
    let tables = "select format('%s.%s', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = any (array['alert', 'incident', 'sla', 'notification']) and c.relkind = 'r' and not c.relispartition";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&stage.pool).await.unwrap();
    stage.run(&format!("vacuum (analyze) {}", tables.join(", "))).await;
}

async fn sizes(stage: &Stage) -> BTreeMap<String, i64> {
    let query = "select format('%s.%s', n.nspname, c.relname), sum(pg_total_relation_size(p.relid))::bigint
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        cross join lateral (select c.oid as relid where c.relkind = 'r'
            union all select relid::oid from pg_partition_tree(c.oid) where c.relkind = 'p') p
        where n.nspname = any (array['alert', 'incident', 'sla', 'notification']) and c.relkind in ('r', 'p') and not c.relispartition
        group by 1";
    let rows: Vec<(String, i64)> = sqlx::query_as(query).fetch_all(&stage.pool).await.unwrap();
    rows.into_iter().collect()
}

fn show(day: i64, sizes: &BTreeMap<String, i64>, pruned_ms: u128) {
    if day == 1 {
        let heads: Vec<String> = SHOWN.iter().map(|(name, _)| format!("{name:>10}")).collect();
        println!("MB on disk\n  day {} {:>10} {:>9}", heads.join(" "), "all", "round ms");
    }
    let megabytes = |bytes: i64| format!("{:>10.1}", bytes as f64 / 1e6);
    let columns = SHOWN.iter().map(|(_, tables)| megabytes(tables.iter().filter_map(|table| sizes.get(*table)).sum()));
    println!("{day:>5} {} {} {pruned_ms:>9}", columns.collect::<Vec<_>>().join(" "), megabytes(sizes.values().sum()));
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_are_flat_once_the_periods_have_passed() {
    let (rate, days) = (asked("ITSM_RETENTION_PER_SECOND", 0.05), asked("ITSM_RETENTION_DAYS", 92.0) as i64);
    let raw = (rate * 86_400.0) as i64;
    let new = (raw / ONE_IN).max(1);
    let stage = Stage::set().await;
    let acme = stage.tenant("acme").await;
    let rows = format!(
        "insert into alert.integrations values ('{acme}', '{acme}', 1, 'demo', 'Demo', null, null, 'LOW', 'ACTIVE', '\\x00', 'x', now(), now());
         insert into sla.agreements values ('{acme}', '{acme}', 1, 'x', 'SLA', null, '{{}}', 'ACTIVE', now(), now());
         insert into notification.contact_methods values ('{acme}', '{acme}', 1, '{acme}', 'EMAIL', 'x', 'x', null, 'ACTIVE', '', now(), now())"
    );
    stage.run(&rows).await;
    let mut pruner = stage.pruner(PERIODS);
    let first: DateTime<Utc> = "2031-01-01T00:00:00Z".parse().unwrap();
    let mut history: Vec<BTreeMap<String, i64>> = Vec::new();
    for number in 1..=days {
        let day = first + Days::new(number.unsigned_abs() - 1);
        ensure_partitions(&stage.pool, wiring::kept(), day).await.unwrap();
        write_day(&stage, acme, day, (number - 1) * raw, (raw, new)).await;
        let began = Instant::now();
        round(&mut pruner, day + TimeDelta::hours(24)).await;
        let pruned_ms = began.elapsed().as_millis();
        vacuum(&stage).await;
        history.push(sizes(&stage).await);
        if number <= 3 || number % 5 == 0 || number == days {
            show(number, history.last().unwrap(), pruned_ms);
        }
    }
    // Whole months count: the first window has the largest that journals grow to.
    let settled = history.len() * 3 / 5;
    for table in history[0].keys() {
        let most = |days: &[BTreeMap<String, i64>]| days.iter().map(|day| day[table]).max().unwrap();
        let (before, after) = (most(&history[..settled]), most(&history[settled..]));
        assert!(after <= before + before / 5 + 400_000, "{table} grew from {before} to {after} bytes");
    }
    // What is open is there from the first day to the last, with its history.
    let open = "select count(*) from incident.incidents i join incident.journal j on j.record_id = i.id where i.state = 'IN_PROGRESS'";
    assert_eq!(stage.count(open).await, 5);
    assert!(stage.count("select count(*) from incident.incidents").await <= 11 * new + 1);
    stage.clear().await;
}

//! Golden tables: what people read, to the letter.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::super::{
    format::{Reader, Zone, bar, digits_needed, id_end, length, one_line, read_length, read_time, word},
    names::Names,
    noun::{Kind, Noun},
    nouns::{ALERT, CLOCK, DELIVERY, INCIDENT, NOUNS},
    out::{Look, Tone, harmless},
    show::{Whole, text_of},
    story,
    table::{self, Page},
};

const TEAM: &str = "0193a5b2-0000-7000-8000-00000000team";
const ADA: &str = "0193a5b2-0000-7000-8000-000000000ada";
const SERVICE: &str = "0193a5b2-0000-7000-8000-0000checkout";
const INCIDENT_ID: &str = "0193a5b2-1111-7000-8000-00000000aaaa";
const ALERT_ID: &str = "0193a5b2-2222-7000-8000-0000deadbeef";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn names() -> Names {
    let mut names = Names::default();
    names.remember(Kind::Team, TEAM, "payments");
    names.remember(Kind::Person, ADA, "Ada Okafor");
    names.remember(Kind::Service, SERVICE, "checkout");
    names
}

fn page(names: &Names) -> Page<'_> {
    Page { reader: Reader { now: at("2026-11-23T14:07:00Z"), zone: Zone::Utc }, names, look: Look::PLAIN }
}

fn incident() -> Value {
    json!({
        "id": INCIDENT_ID, "revision": "4", "number": "INC0001042", "title": "7.3 % of payments fail in checkout",
        "description": "", "state": "RESOLVED", "pendingReason": "UNSPECIFIED", "impact": "EXTENSIVE",
        "urgency": "CRITICAL", "priority": "P1", "priorityReason": "impact 1 x urgency 1", "priorityOverridden": false,
        "category": "", "serviceId": SERVICE, "ciId": "", "assignedTeamId": TEAM, "assigneeId": "", "reporterId": "",
        "channel": "ALERT", "resolutionMode": "AUTOMATIC", "resolutionCode": "CLEARED_BY_MONITORING",
        "resolutionNotes": "the last alert cleared", "acknowledgedById": ADA,
        "acknowledgeTime": "2026-11-23T14:04:10Z", "resolveTime": "2026-11-23T14:06:30Z", "reopenCount": 0,
        "alerts": [{"alertId": ALERT_ID, "active": false}], "takenOver": false,
        "createTime": "2026-11-23T14:03:22.512Z", "updateTime": "2026-11-23T14:06:30Z",
    })
}

fn clock(metric: &str, state: &str, target: i64, elapsed: i64) -> Value {
    json!({
        "id": "0193a5b2-3333-7000-8000-000000000001", "incidentId": INCIDENT_ID, "incidentNumber": "INC0001042",
        "metric": metric, "state": state, "priority": "P1", "targetSeconds": target.to_string(), "calendarId": "",
        "elapsedSeconds": elapsed.to_string(), "breached": false, "explanation": "15 min round the clock",
    })
}

fn person() -> Value {
    json!({ "kind": "PERSON", "id": ADA, "rule": "", "causeEventId": "" })
}

fn system(id: &str, rule: &str) -> Value {
    json!({ "kind": "SYSTEM", "id": id, "rule": rule })
}

fn entry(kind: &str, at: &str, actor: Value, what: (&str, Value)) -> Value {
    json!({
        "eventId": "e", "type": kind, "recordId": INCIDENT_ID, "revision": "1", "at": at, "cursor": "", "requestId": "",
        "event": { "incident": incident(), "actor": actor, what.0: what.1 },
    })
}

fn events() -> Vec<Value> {
    let alert = json!({ "alertId": ALERT_ID });
    vec![
        entry("opened", "2026-11-23T14:03:22.512Z", system("incident", "alert_raised"), ("opened", json!({}))),
        entry("acknowledged", "2026-11-23T14:04:10Z", person(), ("acknowledged", json!({}))),
        entry("assigned", "2026-11-23T14:04:30Z", person(), ("assigned", json!({ "note": "the database team knows" }))),
        entry("noted", "2026-11-23T14:05:00Z", person(), ("noted", json!({ "text": "two lines\nof a note" }))),
        entry(
            "priority_changed",
            "2026-11-23T14:05:10Z",
            person(),
            ("priorityChanged", json!({ "from": "P2", "reason": "everybody is hurt" })),
        ),
        entry(
            "changed",
            "2026-11-23T14:05:20Z",
            person(),
            ("changed", json!({ "changes": [{ "field": "category", "from": "", "to": "database" }] })),
        ),
        entry("alert_cleared", "2026-11-23T14:06:29Z", system("incident", "alert_cleared"), ("alertCleared", alert)),
        entry("resolved", "2026-11-23T14:06:30Z", system("incident", "last_alert_cleared"), ("resolved", json!({}))),
        entry("made_tomorrow", "2026-11-23T14:06:31Z", system("incident", ""), ("madeTomorrow", json!({}))),
    ]
}

#[test]
fn a_list_of_incidents() {
    let names = names();
    let mut waiting = incident();
    waiting["number"] = json!("INC0001043");
    waiting["state"] = json!("IN_PROGRESS");
    waiting["priority"] = json!("P3");
    waiting["assigneeId"] = json!(ADA);
    waiting["serviceId"] = json!("");
    waiting["createTime"] = json!("2026-11-21T09:00:00Z");
    insta::assert_snapshot!(table::table(&page(&names), INCIDENT.columns, &[incident(), waiting]));
}

#[test]
fn a_list_of_alerts_and_deliveries() {
    let names = names();
    let alert = |id: &str, severity: &str| {
        json!({
            "id": id, "severity": severity, "state": "ACTIVE", "title": "Disk is full", "serviceId": SERVICE,
            "occurrenceCount": "12", "startTime": "2026-11-23T14:00:00Z", "lastSeenTime": "2026-11-23T14:06:58Z",
        })
    };
    // The last eight digits are the same, so that twelve are needed.
    let alerts = [
        alert("0193a5b2-2222-7000-8000-1111deadbeef", "CRITICAL"),
        alert("0193a5b2-2222-7000-8000-2222deadbeef", "LOW"),
    ];
    insta::assert_snapshot!("alerts", table::table(&page(&names), ALERT.columns, &alerts));
    let delivery = json!({
        "id": ALERT_ID, "state": "CANCELLED", "personId": ADA, "method": "MAIL", "eventType": "incident.opened",
        "subjectRecordNumber": "INC0001042", "attemptCount": 0, "createTime": "2026-11-23T14:03:23Z",
    });
    insta::assert_snapshot!("deliveries", table::table(&page(&names), DELIVERY.columns, &[delivery]));
}

#[test]
fn a_clock_counts_while_nobody_says_so() {
    let names = names();
    let mut running = clock("RESOLUTION", "RUNNING", 14_400, 0);
    running["dueTime"] = json!("2026-11-23T18:03:00Z");
    let mut by_calendar = running.clone();
    by_calendar["id"] = json!("0193a5b2-3333-7000-8000-000000000002");
    by_calendar["calendarId"] = json!("office");
    by_calendar["elapsedSeconds"] = json!("3600");
    let mut late = clock("RESPONSE", "RUNNING", 900, 0);
    late["id"] = json!("0193a5b2-3333-7000-8000-000000000003");
    late["dueTime"] = json!("2026-11-23T14:00:00Z");
    late["breachTime"] = json!("2026-11-23T14:00:00Z");
    late["breached"] = json!(true);
    let mut met = clock("RESPONSE", "MET", 900, 48);
    met["id"] = json!("0193a5b2-3333-7000-8000-000000000004");
    insta::assert_snapshot!(table::table(&page(&names), CLOCK.columns, &[running, by_calendar, late, met]));
}

#[test]
fn an_incident_whole() {
    let names = names();
    let delivery = json!({
        "personId": ADA, "method": "MAIL", "eventType": "incident.opened", "state": "DELIVERED",
        "deliverTime": "2026-11-23T14:03:23.100Z", "reason": "rule: tell payments",
    });
    let whole = Whole {
        record: incident(),
        clocks: vec![clock("RESPONSE", "MET", 900, 48), clock("RESOLUTION", "MET", 14_400, 188)],
        deliveries: vec![delivery],
        events: events(),
        missing: Vec::new(),
    };
    insta::assert_snapshot!(text_of(&page(&names), &INCIDENT, &whole));
}

#[test]
fn an_event_as_it_comes() {
    let names = names();
    let events = events();
    insta::assert_snapshot!(story::live(&page(&names), &INCIDENT, &events[1]), @"14:04:10.000  INC0001042  Ada Okafor                        acknowledged it");
}

#[test]
fn an_event_of_any_other_noun() {
    let names = names();
    let change = NOUNS.iter().find(|noun| noun.name == "change").unwrap();
    let entry = json!({
        "type": "rejected", "recordId": INCIDENT_ID, "at": "2026-11-23T14:04:10Z",
        "event": { "change": { "number": "CHG0000017" }, "actor": person(), "rejected": { "reason": "not tonight" } },
    });
    insta::assert_snapshot!(story::live(&page(&names), change, &entry), @"14:04:10.000  CHG0000017  Ada Okafor                        rejected - not tonight");
}

#[test]
fn clocks_and_messages_in_words() {
    let names = names();
    let mut started = clock("RESPONSE", "RUNNING", 900, 0);
    started["dueTime"] = json!("2026-11-23T14:18:22Z");
    let of_clock = |kind: &str, clock: &Value| json!({ "type": kind, "at": "2026-11-23T14:03:22Z", "event": { "clock": clock, "actor": system("sla", "") } });
    let delivery =
        json!({ "personId": ADA, "method": "MAIL", "eventType": "incident.opened", "reason": "acknowledged" });
    let of_delivery = |kind: &str| {
        let actor = system("notification", "01a208e3-9f3a-7672-936c-7f64f85f64e4");
        json!({ "type": kind, "at": "2026-11-23T14:03:23Z", "event": { "delivery": delivery, "actor": actor } })
    };
    let entries = [
        (&CLOCK, of_clock("clock_started", &started)),
        (&CLOCK, of_clock("clock_at_risk", &started)),
        (&CLOCK, of_clock("clock_breached", &started)),
        (&CLOCK, of_clock("clock_met", &clock("RESPONSE", "MET", 900, 48))),
        (&DELIVERY, of_delivery("delivery_requested")),
        (&DELIVERY, of_delivery("delivered")),
        (&DELIVERY, of_delivery("delivery_cancelled")),
    ];
    let told = story::together(&page(&names), entries.iter().map(|(noun, entry)| (*noun, entry)));
    insta::assert_snapshot!(told);
}

#[test]
fn what_is_pointed_at_is_looked_up_once() {
    let wanted = table::pointed_at(INCIDENT.columns, &[incident(), incident()]);
    assert_eq!(wanted.iter().filter(|(_, id)| !id.is_empty()).count(), 2);
    assert_eq!(
        story::pointed_at(&events()).into_iter().collect::<Vec<_>>(),
        [(Kind::Person, ADA.to_owned()), (Kind::Team, TEAM.to_owned())]
    );
}

#[test]
fn a_name_that_is_not_known_is_the_end_of_its_id() {
    assert_eq!(Names::default().of(Kind::Person, "0193a5b2-2222-7000-8000-0000deadbeef"), "deadbeef");
}

#[test]
fn lengths_of_time_are_read_as_they_are_written() {
    for (text, seconds) in
        [("90s", 90), ("15m", 900), ("4h", 14_400), ("1h30m", 5_400), ("2d", 172_800), ("1w", 604_800)]
    {
        assert_eq!(read_length(text), Some(seconds), "{text}");
    }
    for text in ["", "15", "m", "-5m", "5x", "99999999999999999999d", "1h30"] {
        assert_eq!(read_length(text), None, "{text}");
    }
    let shown: Vec<String> = [0, 48, 60, 75, 5_400, 14_400, 172_800, 176_461, -90].into_iter().map(length).collect();
    assert_eq!(shown, ["0 s", "48 s", "1 min", "1 min 15 s", "1 h 30 min", "4 h", "48 h", "49 h 1 min", "-1 min 30 s"]);
}

#[test]
fn times_are_read_from_people() {
    let now = at("2026-11-23T14:07:00Z");
    assert_eq!(read_time("+2h", now), Some(at("2026-11-23T16:07:00Z")));
    assert_eq!(read_time("2026-11-24T22:00:00+01:00", now), Some(at("2026-11-24T21:00:00Z")));
    assert!(read_time("2026-11-24 22:00", now).is_some());
    assert_eq!(read_time("tomorrow", now), None);
}

#[test]
fn how_far_away_an_instant_is() {
    let reader = Reader { now: at("2026-11-23T14:07:00Z"), zone: Zone::Utc };
    let shown: Vec<String> = [
        "2026-11-23T14:07:00.9Z",
        "2026-11-23T14:06:01Z",
        "2026-11-23T14:05:31Z",
        "2026-11-23T16:06:59Z",
        "2026-11-22T14:07:00Z",
        "2027-02-21T14:06:59Z",
        "no time",
    ]
    .into_iter()
    .map(|at| reader.time(at))
    .collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    14:07:00 (now)
    14:06:01 (59 s ago)
    14:05:31 (1 min ago)
    16:06:59 (in 2 h)
    2026-11-22 14:07 (24 h ago)
    2027-02-21 14:06 (in 90 d)
    no time
    ");
    assert_eq!(one_line("a\n  b"), "a b");
    assert_eq!(one_line(&"ü".repeat(70)).chars().count(), 61);
}

#[test]
fn words_bars_and_ids() {
    assert_eq!([word("IN_PROGRESS"), word("P1"), word("UNSPECIFIED")], ["in progress", "P1", ""]);
    assert_eq!(bar(0, 900), "░░░░░░░░░░   0 %");
    assert_eq!(bar(450, 900), "█████░░░░░  50 %");
    assert_eq!(bar(1_800, 900), "██████████ 200 %");
    assert_eq!(bar(5, 0), "░░░░░░░░░░   0 %");
    assert_eq!(id_end("ab", 8), "ab");
    assert_eq!(digits_needed(["a-1111deadbeef", "b-2222deadbeef"].into_iter()), 12);
    assert_eq!(digits_needed(["a-11111111", "b-22222222"].into_iter()), 8);
}

#[test]
fn a_title_cannot_command_the_terminal() {
    assert_eq!(harmless("a\u{1b}[2Jb\u{202e}c\td"), "a\u{fffd}[2Jb\u{fffd}c d");
    let names = names();
    let mut evil = incident();
    evil["title"] = json!("\u{1b}]0;owned\u{7}");
    assert!(!table::table(&page(&names), INCIDENT.columns, &[evil]).contains('\u{1b}'));
}

#[test]
fn only_people_get_colours() {
    let names = names();
    let painted = Page { look: Look { colour: true, width: Some(120) }, ..page(&names) };
    assert!(table::table(&painted, INCIDENT.columns, &[incident()]).contains("\u{1b}["));
    assert!(!table::table(&page(&names), INCIDENT.columns, &[incident()]).contains('\u{1b}'));
    assert_eq!(Look::PLAIN.paint(Tone::Bad, "x"), "x");
    assert_eq!(painted.look.paint(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
}

/// A noun that points at a field its API does not have would show an empty column for ever.
#[test]
fn every_column_and_field_is_one_of_the_contract() {
    let pool = prost_reflect::DescriptorPool::decode(proto::DESCRIPTOR_SET).unwrap();
    let nouns: Vec<&Noun> =
        NOUNS.iter().flat_map(|noun| std::iter::once(*noun).chain(noun.nested.iter().copied())).collect();
    for noun in nouns {
        let listed = pool
            .all_messages()
            .filter(|message| message.name().starts_with("List") && message.name().ends_with("Response"))
            .find_map(|message| message.fields().find(|field| field.json_name() == noun.list_field));
        let record = listed.unwrap_or_else(|| panic!("no list has `{}`", noun.list_field));
        let record = record.kind().as_message().unwrap().clone();
        let columns = noun.columns.iter().chain(noun.particulars).map(|column| column.path);
        let fields = noun
            .verbs
            .iter()
            .filter(|verb| matches!(verb.does, super::super::noun::Does::Create(_) | super::super::noun::Does::Update))
            .flat_map(|verb| verb.fields.iter().map(|field| field.json));
        for path in columns.chain(fields).filter(|path| !path.is_empty()) {
            let mut message = record.clone();
            for part in path.split('.') {
                let field = message.fields().find(|field| field.json_name() == part);
                let field = field.unwrap_or_else(|| panic!("{}: {} has no `{path}`", noun.name, record.full_name()));
                if let Some(inner) = field.kind().as_message() {
                    message = inner.clone();
                }
            }
        }
    }
}

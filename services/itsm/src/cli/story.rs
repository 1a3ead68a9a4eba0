//! Events as sentences: when, who, what, and what they said about it. Pure.

use std::collections::BTreeSet;

use serde_json::Value;
use uuid::Uuid;

use super::{
    format::{Reader, id_end, instant, length, word},
    names::Names,
    noun::{Kind, Noun},
    out::{Tone, harmless},
    table::Page,
    value::{items, number, text},
};

/// What happened, in words.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    what: String,
    note: String,
}

/// What the entries point at, so that it can be looked up.
pub fn pointed_at(entries: &[Value]) -> BTreeSet<(Kind, String)> {
    let mut found = BTreeSet::new();
    for entry in entries {
        let event = &entry["event"];
        if text(event, "actor.kind") == "PERSON" {
            found.insert((Kind::Person, text(event, "actor.id").to_owned()));
        }
        for (kind, path) in [
            (Kind::Team, "incident.assignedTeamId"),
            (Kind::Person, "incident.assigneeId"),
            (Kind::Person, "delivery.personId"),
            (Kind::Team, "membership.teamId"),
            (Kind::Person, "membership.personId"),
        ] {
            found.insert((kind, text(event, path).to_owned()));
        }
    }
    found.retain(|(_, id)| !id.is_empty());
    found
}

/// The history of one record, a line for each event.
pub fn story(page: &Page<'_>, noun: &Noun, entries: &[Value]) -> String {
    together(page, entries.iter().map(|entry| (noun, entry)))
}

/// Events of several records as one story, in the order given.
pub fn together<'a>(page: &Page<'_>, entries: impl Iterator<Item = (&'a Noun, &'a Value)>) -> String {
    let lines: Vec<_> = entries
        .map(|(noun, entry)| {
            let at = text(entry, "at");
            let time = instant(at).map_or_else(|| at.to_owned(), |at| page.reader.exact(at));
            (time, who(page.names, &entry["event"]), told(page, noun, entry))
        })
        .collect();
    let width = lines.iter().map(|(_, who, _)| who.chars().count()).max().unwrap_or_default().min(36);
    let shown = lines.iter().map(|(time, who, told)| line(page, time, "", who, width, told));
    shown.collect::<Vec<_>>().join("\n")
}

/// One event of a stream, with the record it happened to.
pub fn live(page: &Page<'_>, noun: &Noun, entry: &Value) -> String {
    let at = text(entry, "at");
    let time = instant(at).map_or_else(|| at.to_owned(), |at| page.reader.exact(at));
    let record = &entry["event"][noun.record_field];
    let handle = ["number", "incidentNumber", "subjectRecordNumber", "name"]
        .into_iter()
        .map(|path| text(record, path))
        .find(|handle| !handle.is_empty())
        .unwrap_or_else(|| id_end(text(entry, "recordId"), 8));
    line(page, &time, handle, &who(page.names, &entry["event"]), 32, &told(page, noun, entry))
}

fn line(page: &Page<'_>, time: &str, handle: &str, who: &str, width: usize, told: &Told) -> String {
    let time = page.look.paint(Tone::Faint, time);
    let handle = if handle.is_empty() {
        String::new()
    } else {
        format!("{}  ", page.look.paint(Tone::Strong, &harmless(handle)))
    };
    let mut shown = format!("{time}  {handle}{:width$}  {}", harmless(who), harmless(&told.what));
    if !told.note.is_empty() {
        let note = harmless(told.note.trim()).replace('\n', "\n      ");
        let separator = if note.contains('\n') { "\n      " } else { " - " };
        shown.push_str(&page.look.paint(Tone::Faint, &format!("{separator}{note}")));
    }
    shown
}

/// Who did it: a person by name, the product by the service and its rule.
fn who(names: &Names, event: &Value) -> String {
    let (id, rule) = (text(event, "actor.id"), text(event, "actor.rule"));
    match text(event, "actor.kind") {
        "PERSON" => names.of(Kind::Person, id),
        _ if id.is_empty() => "the system".to_owned(),
        // A rule that people made has an id; the note says its name.
        _ if rule.is_empty() || Uuid::try_parse(rule).is_ok() => id.to_owned(),
        _ => format!("{id} ({})", rule.replace('_', " ")),
    }
}

fn told(page: &Page<'_>, noun: &Noun, entry: &Value) -> Told {
    let names = page.names;
    let kind = text(entry, "type");
    let event = &entry["event"];
    let (record, what) = (&event[noun.record_field], &event[camel(kind)]);
    match noun.record_field {
        "incident" => of_incident(names, kind, record, what),
        "alert" => of_alert(kind, record, what),
        "clock" => of_clock(page.reader, kind, record, what),
        "delivery" => of_delivery(names, kind, record),
        _ => of_any(noun, kind, record, what),
    }
}

fn said(what: impl Into<String>) -> Told {
    Told { what: what.into(), note: String::new() }
}

fn noted(what: impl Into<String>, note: &str) -> Told {
    Told { what: what.into(), note: note.to_owned() }
}

fn of_incident(names: &Names, kind: &str, record: &Value, what: &Value) -> Told {
    let note = text(what, "note");
    let alert = || id_end(text(what, "alertId"), 8).to_owned();
    match kind {
        "opened" => noted(format!("opened it as {}", word(text(record, "priority"))), text(record, "title")),
        "acknowledged" => said("acknowledged it"),
        "assigned" => {
            let team = Some(text(record, "assignedTeamId")).filter(|id| !id.is_empty());
            let person = Some(text(record, "assigneeId")).filter(|id| !id.is_empty());
            let to = [
                person.map(|id| names.of(Kind::Person, id)),
                team.map(|id| format!("team {}", names.of(Kind::Team, id))),
            ];
            let to: Vec<String> = to.into_iter().flatten().collect();
            noted(
                if to.is_empty() {
                    "took it from everybody".to_owned()
                } else {
                    format!("gave it to {}", to.join(", "))
                },
                note,
            )
        }
        "started" => noted("began to work on it", note),
        "held" => noted(format!("put it on hold, waiting for: {}", word(text(record, "pendingReason"))), note),
        "resumed" => noted("went on with it", note),
        "resolved" => {
            noted(format!("resolved it: {}", word(text(record, "resolutionCode"))), text(record, "resolutionNotes"))
        }
        "closed" => noted("closed it", note),
        "cancelled" => noted("cancelled it", text(what, "reason")),
        "reopened" => noted("reopened it", text(what, "reason")),
        "noted" => noted("noted", text(what, "text")),
        "changed" => {
            let changes = items(what, "changes").iter().map(|change| {
                let (from, to) = (text(change, "from"), text(change, "to"));
                let from = if from.is_empty() { String::new() } else { format!(" from `{from}`") };
                format!("{}{from} to `{to}`", text(change, "field"))
            });
            said(format!("changed {}", changes.collect::<Vec<_>>().join(", ")))
        }
        "priority_changed" => noted(
            format!("priority {} is now {}", word(text(what, "from")), word(text(record, "priority"))),
            text(what, "reason"),
        ),
        "alert_linked" => said(format!("linked alert {}", alert())),
        "alert_cleared" => said(format!("alert {} cleared", alert())),
        "alert_unlinked" => said(format!("took alert {} away", alert())),
        "alert_refired" => said(format!("alert {} fires again", alert())),
        other => said(plain_words(other)),
    }
}

fn of_alert(kind: &str, record: &Value, what: &Value) -> Told {
    let severity = word(text(record, "severity"));
    match kind {
        "raised" => noted(format!("raised, {severity}: {}", text(record, "title")), text(record, "decision")),
        "repeated" => {
            said(format!("said again, {} times by now", number(record, "occurrenceCount").unwrap_or_default()))
        }
        "severity_changed" => said(format!("severity {} is now {severity}", word(text(what, "from")))),
        "cleared" => said(format!("cleared by {}", word(text(record, "clearReason")))),
        other => said(plain_words(other)),
    }
}

fn of_clock(reader: Reader, kind: &str, record: &Value, what: &Value) -> Told {
    let metric = word(text(record, "metric"));
    let target = length(number(record, "targetSeconds").unwrap_or_default());
    let elapsed = length(number(record, "elapsedSeconds").unwrap_or_default());
    let due = instant(text(record, "dueTime")).map_or_else(String::new, |due| format!("due {}", reader.absolute(due)));
    match kind {
        "clock_started" => noted(format!("{metric} clock started: {target}"), &due),
        "clock_paused" => said(format!("{metric} clock paused after {elapsed}")),
        "clock_resumed" => noted(format!("{metric} clock goes on"), &due),
        "clock_recomputed" => noted(format!("{metric} clock now has {target}"), text(what, "reason")),
        "clock_at_risk" => said(format!("{metric} clock is at risk")),
        "clock_breached" => said(format!("{metric} clock breached its {target}")),
        "clock_breach_withdrawn" => noted(format!("{metric} clock was not breached after all"), text(what, "reason")),
        "clock_met" => said(format!("{metric} clock stopped after {elapsed} of {target}")),
        "clock_cancelled" => said(format!("{metric} clock cancelled")),
        other => said(plain_words(other)),
    }
}

fn of_delivery(names: &Names, kind: &str, record: &Value) -> Told {
    let person = names.of(Kind::Person, text(record, "personId"));
    let by = word(text(record, "method"));
    match kind {
        "delivery_requested" => {
            noted(format!("{person} shall be told by {by} of {}", text(record, "eventType")), text(record, "reason"))
        }
        "delivered" => said(format!("{person} was told by {by} of {}", text(record, "eventType"))),
        "delivery_failed" => noted(format!("{person} could not be told by {by}"), text(record, "reason")),
        "delivery_cancelled" => noted(format!("{person} need not be told by {by}"), text(record, "reason")),
        other => said(plain_words(other)),
    }
}

fn of_any(noun: &Noun, kind: &str, record: &Value, what: &Value) -> Told {
    let kind = kind.strip_prefix(noun.record_field).map_or(kind, |rest| rest.trim_start_matches('_'));
    let note = match kind {
        "approved" => text(record, "approval.note"),
        "completed" | "failed" => text(record, "outcomeNotes"),
        "closed" => text(record, "reviewNotes"),
        "drafted" => text(record, "title"),
        _ => text(what, "reason"),
    };
    let fields: Vec<&str> = items(what, "fields").iter().filter_map(Value::as_str).collect();
    let fields = if fields.is_empty() { String::new() } else { format!(" {}", fields.join(", ")) };
    noted(format!("{}{fields}", plain_words(kind)), note)
}

fn plain_words(kind: &str) -> String {
    kind.replace('_', " ")
}

/// The JSON name of an event type: `clock_at_risk` is `clockAtRisk`.
fn camel(kind: &str) -> String {
    let mut words = kind.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let mut letters = word.chars();
        let start = letters.next().map(|c| c.to_ascii_uppercase());
        name + &start.into_iter().chain(letters).collect::<String>()
    })
}

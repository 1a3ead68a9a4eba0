//! One record with what belongs to it: its clocks, who was told, its story.

use serde_json::{Value, json};

use super::{
    failure::Failure,
    names::{Names, quoted},
    noun::{Also, Column, Noun, Shown, column},
    nouns::{CLOCK, DELIVERY},
    out::{Look, Tone, harmless, remark, say},
    run::Run,
    story, table,
    table::Page,
    value::{at, text},
};

/// How many clocks and messages of one incident are shown.
const SHOWN_AT_MOST: usize = 100;

const CLOCKS: &[Column] = &[
    column("clock", "metric", Shown::Word),
    column("state", "state", Shown::Word),
    column("counted", "elapsedSeconds", Shown::Progress),
    column("due", "dueTime", Shown::Time),
    column("breached", "breachTime", Shown::Time),
];

const DELIVERIES: &[Column] = &[
    column("told", "personId", DELIVERY_PERSON),
    column("by", "method", Shown::Word),
    column("of", "eventType", Shown::Text),
    column("state", "state", Shown::Word),
    column("delivered", "deliverTime", Shown::Time),
    column("why", "reason", Shown::Text),
];
const DELIVERY_PERSON: Shown = Shown::Of(super::noun::Kind::Person);

/// What belongs to a record.
#[derive(Debug, Default)]
pub struct Whole {
    /// The record.
    pub record: Value,
    /// The clocks of an incident.
    pub clocks: Vec<Value>,
    /// The messages about it and about its clocks.
    pub deliveries: Vec<Value>,
    /// What happened.
    pub events: Vec<Value>,
    /// Why something of this is not here.
    pub missing: Vec<String>,
}

/// Shows a record whole.
pub async fn show(run: &Run, id: &str, also: &[Also]) -> Result<(), Failure> {
    let record = run.rest.get(&format!("{}/{id}", run.noun.path), &[]).await?;
    if run.connection.json {
        return run.raw(&record);
    }
    let whole = gather(run, record, also).await?;
    let mut names = Names::default();
    let mut wanted = table::pointed_at(run.noun.columns, std::slice::from_ref(&whole.record));
    wanted.extend(table::pointed_at(run.noun.particulars, std::slice::from_ref(&whole.record)));
    wanted.extend(table::pointed_at(DELIVERIES, &whole.deliveries));
    wanted.extend(story::pointed_at(&whole.events));
    names.learn(&run.rest, wanted).await;
    say(&text_of(&run.page(&names), run.noun, &whole))?;
    whole.missing.iter().for_each(|why| remark(&harmless(&format!("not everything is shown: {why}"))));
    Ok(())
}

async fn gather(run: &Run, record: Value, also: &[Also]) -> Result<Whole, Failure> {
    let id = text(&record, "id").to_owned();
    let mut whole = Whole { record, ..Whole::default() };
    for part in also {
        match add(run, &id, *part, &mut whole).await {
            // The record is there; what a service that is away would add, or what this key may not
            // read, is missed and said.
            Err(failure @ (Failure::Unreachable { .. } | Failure::Denied(_))) => {
                whole.missing.push(failure.to_string())
            }
            added => added?,
        }
    }
    Ok(whole)
}

async fn add(run: &Run, id: &str, part: Also, whole: &mut Whole) -> Result<(), Failure> {
    match part {
        Also::Clocks => {
            let filter = format!("incident_id = {}", quoted(id));
            whole.clocks = run.rest.list(CLOCK.path, CLOCK.list_field, &filter, SHOWN_AT_MOST).await?.records;
            // As they were started: to respond first.
            whole.clocks.reverse();
        }
        Also::Deliveries => {
            let clocks = whole.clocks.iter().map(|clock| text(clock, "id"));
            let about = clocks.chain([id]).take(20);
            let filter: Vec<_> = about.map(|id| format!("subject_record_id = {}", quoted(id))).collect();
            let filter = filter.join(" OR ");
            whole.deliveries = run.rest.list(DELIVERY.path, DELIVERY.list_field, &filter, SHOWN_AT_MOST).await?.records;
            whole.deliveries.reverse();
        }
        Also::Story => whole.events = run.rest.history(run.noun.path, id).await?,
    }
    Ok(())
}

/// A record and what belongs to it, as text.
pub fn text_of(page: &Page<'_>, noun: &Noun, whole: &Whole) -> String {
    let lines: Vec<Column> = noun
        .columns
        .iter()
        // The whole id is among the particulars.
        .filter(|column| column.shown != Shown::Id)
        .chain(noun.particulars)
        .copied()
        .collect();
    let mut parts = vec![table::particulars(page, &lines, &whole.record)];
    let tries = trials(&whole.record);
    for (title, body) in [
        ("Clocks", table_of(page, CLOCKS, &whole.clocks)),
        ("Told", table_of(page, DELIVERIES, &whole.deliveries)),
        ("Tries", table_of(page, TRIES, &tries)),
        ("Story", story::story(page, noun, &whole.events)),
    ] {
        if !body.is_empty() {
            parts.push(format!("{}\n{body}", heading(page.look, title)));
        }
    }
    parts.join("\n\n")
}

const TRIES: &[Column] = &[
    column("try", "number", Shown::Text),
    column("began", "startTime", Shown::Time),
    column("outcome", "outcome", Shown::Text),
    column("said", "detail", Shown::Text),
];

/// The tries of a delivery, if the record has any.
fn trials(record: &Value) -> Vec<Value> {
    record.get("attempts").unwrap_or(&json!([])).as_array().cloned().unwrap_or_default()
}

fn table_of(page: &Page<'_>, columns: &[Column], records: &[Value]) -> String {
    let said = |column: &&Column| {
        records.iter().any(|record| !matches!(at(record, column.path), Value::Null) && at(record, column.path) != "")
    };
    let columns: Vec<Column> = columns.iter().filter(said).copied().collect();
    if records.is_empty() { String::new() } else { table::table(page, &columns, records) }
}

fn heading(look: Look, title: &str) -> String {
    look.paint(Tone::Strong, title)
}

//! Records as a table, and one record as a list of what it says. Pure.

use std::collections::BTreeSet;

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use serde_json::Value;

use super::{
    format::{Reader, bar, digits_needed, id_end, instant, length, one_line, short_length, tone, word},
    names::Names,
    noun::{Column, Kind, Shown},
    out::{Look, Tone, harmless},
    value::{at, flag, items, number, text},
};

/// What is needed to show a value.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// Who reads.
    pub reader: Reader,
    /// What others are called.
    pub names: &'a Names,
    /// How it looks.
    pub look: Look,
}

/// What records point at, so that it can be looked up.
pub fn pointed_at(columns: &[Column], records: &[Value]) -> BTreeSet<(Kind, String)> {
    let mut found = BTreeSet::new();
    for column in columns {
        for record in records {
            match column.shown {
                Shown::Of(kind) => {
                    found.insert((kind, text(record, column.path).to_owned()));
                }
                Shown::AllOf(kind) => {
                    found.extend(
                        items(record, column.path).iter().filter_map(|id| Some((kind, id.as_str()?.to_owned()))),
                    );
                }
                _ => {}
            }
        }
    }
    found
}

/// A table of records.
pub fn table(page: &Page<'_>, columns: &[Column], records: &[Value]) -> String {
    let digits = digits_needed(records.iter().map(|record| text(record, "id")));
    let rows = records
        .iter()
        .map(|record| columns.iter().map(|column| cell(page, column, record, digits)).collect::<Vec<(String, Tone)>>());
    grid(page.look, &columns.iter().map(|column| column.title).collect::<Vec<_>>(), rows.collect())
}

/// A table of anything.
pub fn grid(look: Look, titles: &[&str], rows: Vec<Vec<(String, Tone)>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    match look.width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.force_no_tty().set_content_arrangement(ContentArrangement::Disabled),
    };
    if look.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let heading = |title: &&str| paint(look, Cell::new(title.to_uppercase()), Tone::Faint);
    table.set_header(titles.iter().map(heading));
    for row in rows {
        table.add_row(row.into_iter().map(|(text, tone)| paint(look, Cell::new(harmless(&text)), tone)));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        column.set_cell_alignment(CellAlignment::Left);
        debug_assert!(index < titles.len());
    }
    table.trim_fmt()
}

fn paint(look: Look, cell: Cell, tone: Tone) -> Cell {
    if !look.colour {
        return cell;
    }
    match tone {
        Tone::Plain => cell,
        Tone::Faint => cell.fg(Color::DarkGrey),
        Tone::Good => cell.fg(Color::Green),
        Tone::Warning => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
        Tone::Strong => cell.add_attribute(comfy_table::Attribute::Bold),
    }
}

/// One record, a line for everything it says.
pub fn particulars(page: &Page<'_>, columns: &[Column], record: &Value) -> String {
    let lines: Vec<(&str, String, Tone)> = columns
        .iter()
        .map(|column| {
            let (text, tone) = cell(page, column, record, 8);
            (column.title, text, tone)
        })
        .filter(|(_, text, _)| !text.is_empty())
        .collect();
    let width = lines.iter().map(|(title, ..)| title.len()).max().unwrap_or_default();
    let indent = format!("\n{:width$}  ", "");
    let shown = lines.iter().map(|(title, text, tone)| {
        let text = harmless(text).trim_end().replace('\n', &indent);
        format!("{}  {}", page.look.paint(Tone::Faint, &format!("{title:width$}")), page.look.paint(*tone, &text))
    });
    shown.collect::<Vec<_>>().join("\n")
}

fn cell(page: &Page<'_>, column: &Column, record: &Value, digits: usize) -> (String, Tone) {
    let plain = |text: String| (text, Tone::Plain);
    let said = text(record, column.path);
    match column.shown {
        Shown::Id => (id_end(said, digits).to_owned(), Tone::Faint),
        Shown::Text => plain(match at(record, column.path) {
            Value::Number(number) => number.to_string(),
            _ => said.to_owned(),
        }),
        Shown::Line => plain(one_line(said)),
        Shown::Word => (word(said), tone(said)),
        Shown::Time if said.is_empty() => plain(String::new()),
        Shown::Time => plain(page.reader.time(said)),
        Shown::Seconds => plain(number(record, column.path).filter(|s| *s != 0).map(length).unwrap_or_default()),
        Shown::Flag => plain(if flag(record, column.path) { "yes".to_owned() } else { String::new() }),
        Shown::Of(_) if said.is_empty() => plain(String::new()),
        Shown::Of(kind) => plain(page.names.of(kind, said)),
        Shown::AllOf(kind) => {
            let ids = items(record, column.path).iter().filter_map(Value::as_str);
            plain(ids.map(|id| page.names.of(kind, id)).collect::<Vec<_>>().join(", "))
        }
        Shown::List => {
            let words = items(record, column.path).iter().filter_map(Value::as_str);
            plain(
                words
                    .map(|text| if is_word(text) { word(text) } else { text.to_owned() })
                    .collect::<Vec<_>>()
                    .join(", "),
            )
        }
        Shown::Pairs => {
            let pairs = at(record, column.path).as_object().into_iter().flatten();
            plain(
                pairs
                    .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
                    .collect::<Vec<_>>()
                    .join("\n"),
            )
        }
        Shown::Progress => progress(page.reader, record),
        Shown::Targets => plain(items(record, column.path).iter().map(target).collect::<Vec<_>>().join(", ")),
    }
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

fn target(target: &Value) -> String {
    let side = |path: &str| match number(target, path) {
        None | Some(0) => "-".to_owned(),
        Some(seconds) => short_length(seconds),
    };
    format!("{} {}/{}", text(target, "priority"), side("responseSeconds"), side("resolutionSeconds"))
}

/// What a clock has counted. Of a running one the server says what had counted at its last event;
/// round the clock the rest is arithmetic, by a calendar it stays unsaid.
pub fn progress(reader: Reader, clock: &Value) -> (String, Tone) {
    let target = number(clock, "targetSeconds").unwrap_or_default();
    let said = number(clock, "elapsedSeconds").unwrap_or_default();
    let running = text(clock, "state") == "RUNNING";
    let due = instant(text(clock, "dueTime"));
    let (elapsed, at_least) = match due {
        Some(due) if running && text(clock, "calendarId").is_empty() => (target - (due - reader.now).num_seconds(), ""),
        _ => (said, if running { "at least " } else { "" }),
    };
    let risky = !text(clock, "atRiskTime").is_empty();
    let tone = match text(clock, "state") {
        _ if flag(clock, "breached") || elapsed > target => Tone::Bad,
        "RUNNING" | "PAUSED" if risky => Tone::Warning,
        "MET" => Tone::Good,
        _ => Tone::Plain,
    };
    (format!("{}  {at_least}{} of {}", bar(elapsed, target), length(elapsed), length(target)), tone)
}

//! How a clock got its due time, in words: agreement, priority, target, calendar, pauses.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::{
    clock::{Clock, ClockState, Metric, Segment, Term},
    schedule::TIME_ZONE_VERSION,
};

/// How many pauses are told one by one.
const PAUSES_TOLD: usize = 10;

/// An instant, as it stands in texts.
#[must_use]
pub fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A stretch of counted time, as it stands in texts: hours, never days, since days of a calendar
/// differ.
#[must_use]
pub fn span(span: TimeDelta) -> String {
    let seconds = span.num_seconds();
    let parts = [(seconds / 3_600, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let words: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n} {unit}")).collect();
    if words.is_empty() { "0 s".to_owned() } else { words.join(" ") }
}

/// Explains a clock.
#[must_use]
pub fn explain(clock: &Clock) -> String {
    let agreement =
        format!("agreement \"{}\" (revision {})", clock.terms.agreement_name, clock.terms.agreement_revision);
    let measured = match clock.metric {
        Metric::Response => "respond",
        Metric::Resolution => "resolve",
    };
    let Some(term) = clock.term() else {
        return format!("No due time: {agreement} has no time to {measured} for {}.", clock.priority.name());
    };
    let mut text = format!(
        "For {} {agreement} allows {} to {measured}, counted {}. It counts since {}.",
        clock.priority.name(),
        span(term.allowed()),
        counted_in(term),
        instant(clock.started_at()),
    );
    tell_pauses(&mut text, clock, term);
    tell_due(&mut text, clock, term);
    text
}

fn counted_in(term: &Term) -> String {
    match term.calendar_id {
        None => "round the clock".to_owned(),
        Some(_) => format!(
            "in calendar \"{}\" ({}, time zone data {TIME_ZONE_VERSION})",
            term.calendar_name,
            term.schedule.zone().name()
        ),
    }
}

fn tell_pauses(text: &mut String, clock: &Clock, term: &Term) {
    let over = |segment: &&Segment| !segment.counted() && segment.end.is_some();
    let pauses: Vec<&Segment> = clock.segments.iter().filter(over).collect();
    let untold = pauses.len().saturating_sub(PAUSES_TOLD);
    if untold > 0 {
        let _ = write!(text, " Not counted: {untold} earlier stretches.");
    }
    for pause in &pauses[untold..] {
        let end = pause.end.unwrap_or(pause.start);
        let _ = write!(
            text,
            " Not counted: {} to {} ({}, {} of the calendar).",
            instant(pause.start),
            instant(end),
            pause.reason.name(),
            span(term.schedule.elapsed(pause.start, end)),
        );
    }
}

fn tell_due(text: &mut String, clock: &Clock, term: &Term) {
    let _ = match (clock.state, clock.due_at()) {
        (ClockState::Paused, None) => {
            let left = span(term.allowed() - clock.elapsed(clock.updated_at));
            write!(text, " No due time while it waits; {left} are left.")
        }
        (ClockState::Cancelled, None) => write!(text, " No due time, since its incident was cancelled."),
        (_, None) => write!(text, " No due time, since its calendar does not get there within ten years."),
        (_, Some(due)) => {
            let at_risk = clock.at_risk_due_at().map(instant).unwrap_or_default();
            write!(text, " Due {}; at risk at {} %, {at_risk}.", instant(due), term.at_risk_percent)
        }
    };
    if let Some(stopped) = clock.stopped_at {
        let ended = if clock.state == ClockState::Met { "Met" } else { "Cancelled" };
        let _ = write!(text, " {ended} {} after {}.", instant(stopped), span(clock.elapsed(stopped)));
    }
    if let Some(breached) = clock.breached_at {
        let unsure = if clock.provisional { ", told while the incident's owner could not be asked" } else { "" };
        let _ = write!(text, " Breached {}{unsure}.", instant(breached));
    }
}

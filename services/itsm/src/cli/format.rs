//! Values as people read them. Pure: the instant, the zone and the look are given.

use chrono::{DateTime, Local, NaiveDateTime, TimeDelta, Utc};

use super::out::Tone;

/// In which zone times are shown.
#[derive(Debug, Clone, Copy)]
pub enum Zone {
    /// The machine's own.
    Local,
    /// UTC.
    #[cfg_attr(not(test), expect(dead_code, reason = "golden tables are in UTC"))]
    Utc,
}

/// When and where somebody reads.
#[derive(Debug, Clone, Copy)]
pub struct Reader {
    /// The instant.
    pub now: DateTime<Utc>,
    /// The zone.
    pub zone: Zone,
}

impl Reader {
    /// The person at this machine, now.
    pub fn here() -> Self {
        Self { now: now(), zone: Zone::Local }
    }

    /// The time on the reader's wall.
    pub fn on_the_wall(self, at: DateTime<Utc>) -> NaiveDateTime {
        match self.zone {
            Zone::Local => at.with_timezone(&Local).naive_local(),
            Zone::Utc => at.naive_utc(),
        }
    }

    /// An instant, and how far away it is: `14:03:22 (5 min ago)`.
    pub fn time(self, rfc3339: &str) -> String {
        let Some(at) = instant(rfc3339) else { return rfc3339.to_owned() };
        format!("{} ({})", self.absolute(at), self.relative(at))
    }

    /// An instant: the time alone when it is of today.
    pub fn absolute(self, at: DateTime<Utc>) -> String {
        let (wall, today) = (self.on_the_wall(at), self.on_the_wall(self.now));
        let form = if wall.date() == today.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
        wall.format(form).to_string()
    }

    /// To the millisecond, for stories.
    pub fn exact(self, at: DateTime<Utc>) -> String {
        let (wall, today) = (self.on_the_wall(at), self.on_the_wall(self.now));
        let form = if wall.date() == today.date() { "%H:%M:%S%.3f" } else { "%Y-%m-%d %H:%M:%S" };
        wall.format(form).to_string()
    }

    fn relative(self, at: DateTime<Utc>) -> String {
        let away = at - self.now;
        if away.abs() < TimeDelta::seconds(1) {
            return "now".to_owned();
        }
        let length = largest_unit(away.abs());
        if away > TimeDelta::zero() { format!("in {length}") } else { format!("{length} ago") }
    }
}

/// The instant of the machine's clock: what a person at it calls now.
pub fn now() -> DateTime<Utc> {
    #[expect(clippy::disallowed_methods, reason = "a client shows times to a person and decides nothing by them")]
    Utc::now()
}

/// An instant of the API.
pub fn instant(rfc3339: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(rfc3339).ok().map(|at| at.with_timezone(&Utc))
}

fn largest_unit(length: TimeDelta) -> String {
    let seconds = length.num_seconds();
    let rounded = |unit: i64| (seconds + unit / 2) / unit;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_570 => format!("{} min", rounded(60)),
        3_570..171_000 => format!("{} h", rounded(3_600)),
        _ => format!("{} d", rounded(86_400)),
    }
}

/// A length of time in its two largest units: `1 h 30 min`. Hours are the largest: the days of a
/// business calendar are shorter than others.
pub fn length(seconds: i64) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let rest = seconds.unsigned_abs();
    let units = [(rest / 3_600, "h"), (rest / 60 % 60, "min"), (rest % 60, "s")];
    let mut parts: Vec<String> = Vec::new();
    for (count, unit) in units {
        if parts.len() == 2 || (count == 0 && parts.is_empty()) {
            continue;
        }
        if count == 0 {
            break;
        }
        parts.push(format!("{count} {unit}"));
    }
    if parts.is_empty() { "0 s".to_owned() } else { format!("{sign}{}", parts.join(" ")) }
}

/// The same without spaces, as targets are written: `1h30m`.
pub fn short_length(seconds: i64) -> String {
    length(seconds).replace("min", "m").replace(' ', "")
}

/// Reads a length of time: `90s`, `15m`, `4h`, `1h30m`, `2d`.
pub fn read_length(text: &str) -> Option<i64> {
    let mut total: i64 = 0;
    let mut digits = String::new();
    for c in text.trim().chars().filter(|c| !c.is_whitespace()) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit: i64 = match c {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(digits.parse::<i64>().ok()?.checked_mul(unit)?)?;
        digits.clear();
    }
    (digits.is_empty() && !text.trim().is_empty()).then_some(total)
}

/// Reads an instant: RFC 3339, `2026-11-24 22:00` on the reader's wall, or `+2h` from now.
pub fn read_time(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if let Some(ahead) = text.strip_prefix('+') {
        return now.checked_add_signed(TimeDelta::try_seconds(read_length(ahead)?)?);
    }
    if let Some(at) = instant(text) {
        return Some(at);
    }
    let forms = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"];
    let wall = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?;
    wall.and_local_timezone(Local).earliest().map(|at| at.with_timezone(&Utc))
}

/// A word of the contract as people read it: `IN_PROGRESS` is `in progress`, `P1` stays.
pub fn word(word: &str) -> String {
    match word {
        "" | "UNSPECIFIED" => String::new(),
        "SLA" | "OLA" | "API" | "P1" | "P2" | "P3" | "P4" => word.to_owned(),
        _ => word.to_lowercase().replace('_', " "),
    }
}

/// How a word of the contract stands.
pub fn tone(word: &str) -> Tone {
    match word {
        "CRITICAL" | "P1" | "BREACHED" | "FAILED" | "EXTENSIVE" | "MAJOR" => Tone::Bad,
        "HIGH" | "P2" | "NEW" | "ACTIVE_ALERT" | "REQUESTED" | "SIGNIFICANT" | "EMERGENCY" => Tone::Warning,
        "RESOLVED" | "MET" | "DELIVERED" | "COMPLETED" | "APPROVED" => Tone::Good,
        "CLOSED" | "CANCELLED" | "CLEARED" | "RETIRED" | "DISABLED" | "DEACTIVATED" | "ENDED" | "INFO" => Tone::Faint,
        _ => Tone::Plain,
    }
}

/// Text on one line that does not fill it.
pub fn one_line(text: &str) -> String {
    const LONGEST: usize = 60;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The end of an id: its beginning is the time, which neighbours share.
pub fn id_end(id: &str, digits: usize) -> &str {
    let start = id.len().saturating_sub(digits);
    if id.is_char_boundary(start) { &id[start..] } else { id }
}

/// How many digits of the ends of these ids tell them apart.
pub fn digits_needed<'a>(ids: impl Iterator<Item = &'a str>) -> usize {
    let ids: Vec<&str> = ids.collect();
    let apart = |digits: usize| {
        let mut ends: Vec<&str> = ids.iter().map(|id| id_end(id, digits)).collect();
        ends.sort_unstable();
        ends.windows(2).all(|pair| pair[0] != pair[1])
    };
    [8, 12].into_iter().find(|digits| apart(*digits)).unwrap_or(36)
}

/// A bar of ten, and the share in words.
pub fn bar(elapsed: i64, target: i64) -> String {
    let percent = if target > 0 { elapsed.max(0).saturating_mul(100) / target } else { 0 };
    let full = usize::try_from((percent + 5) / 10).unwrap_or(10).min(10);
    format!("{}{} {percent:>3} %", "█".repeat(full), "░".repeat(10 - full))
}

//! Bodies of alerts from a template with `{SEQ}` (a running number), `{FP}` (the number of the alert,
//! `SEQ` modulo the unique ones), `{NOW_NS}`, `{NOW_RFC}` and `{END_RFC}` (an hour later).

use crate::{options::Options, stats::now_ns};

/// A template and how its numbers run.
#[derive(Debug, Clone)]
pub struct Template {
    text: String,
    unique: u64,
    first: u64,
}

impl Template {
    /// Reads `--item FILE`, `--unique N` (0: each alert is another) and `--first N`.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn read(options: &Options) -> anyhow::Result<Self> {
        let path: String = options.need("item")?;
        let text = std::fs::read_to_string(path)?.trim().to_owned();
        Ok(Self { text, unique: options.or("unique", 0)?, first: options.or("first", 0)? })
    }

    /// The body with this running number, sent now.
    pub fn body(&self, number: u64) -> String {
        let number = self.first + number;
        let alert = if self.unique > 0 { number % self.unique } else { number };
        let now = now_ns();
        let mut body = self.text.replace("{SEQ}", &number.to_string()).replace("{FP}", &alert.to_string());
        body = body.replace("{NOW_NS}", &now.to_string());
        if body.contains("_RFC}") {
            let seconds = now / 1_000_000_000;
            body = body.replace("{NOW_RFC}", &rfc3339(seconds)).replace("{END_RFC}", &rfc3339(seconds + 3600));
        }
        body
    }
}

/// RFC 3339 of seconds since 1970, by the civil calendar.
fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest % 3600 / 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn instants_are_written_by_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(rfc3339(1_798_761_599), "2026-12-31T23:59:59Z");
    }
}

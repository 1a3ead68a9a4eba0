//! Following events. A stream that breaks is taken up after the last entry seen; one that the
//! server refuses is not.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;

use super::{
    arguments,
    failure::Failure,
    format::{read_length, read_time},
    names::Names,
    out::{remark, say},
    rest::Lines,
    run::Run,
    story,
    value::text,
};

/// What waits before the stream is taken up again, growing to the last.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(10)];

/// Prints every event until it is stopped.
pub async fn watch(run: &Run) -> Result<(), Failure> {
    let filter = arguments::text(&run.given, "filter").unwrap_or_default().to_owned();
    let mut cursor = arguments::text(&run.given, "cursor").unwrap_or_default().to_owned();
    let since = arguments::text(&run.given, "since").map(|text| since(text, run.reader.now)).transpose()?;
    // Without a start of its own, a stream that breaks before its first entry goes on from here.
    let start = since.unwrap_or(run.reader.now).to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let mut names = Names::default();
    let mut failures = 0;
    loop {
        let mut query = Vec::new();
        if !filter.is_empty() {
            query.push(("filter", filter.as_str()));
        }
        match (cursor.as_str(), since, failures) {
            ("", None, 0) => {}
            ("", ..) => query.push(("startTime", start.as_str())),
            (cursor, ..) => query.push(("cursor", cursor)),
        }
        let broken = match run.rest.watch(run.noun.path, &query).await {
            Ok(mut lines) => loop {
                match next(&mut lines).await {
                    Ok(entry) => {
                        failures = 0;
                        let after = text(&entry, "cursor");
                        if !after.is_empty() {
                            after.clone_into(&mut cursor);
                        }
                        tell(run, &mut names, &entry).await?;
                    }
                    Err(failure) => break failure,
                }
            },
            // A server that was never there is not waited for; one that went away is.
            Err(failure) if failures == 0 && cursor.is_empty() => return Err(failure),
            Err(failure) => failure,
        };
        let Failure::Unreachable { .. } = broken else { return Err(broken) };
        if failures == 0 {
            remark(&format!("{broken}; trying again"));
        }
        kit::clock::pause(PAUSES[failures.min(PAUSES.len() - 1)]).await;
        failures += 1;
    }
}

async fn next(lines: &mut Lines) -> Result<Value, Failure> {
    let ended = || Failure::Unreachable { url: "the stream".to_owned(), why: "it ended".to_owned() };
    lines.next().await?.ok_or_else(ended)
}

async fn tell(run: &Run, names: &mut Names, entry: &Value) -> Result<(), Failure> {
    if run.connection.json {
        return say(&entry.to_string());
    }
    names.learn(&run.rest, story::pointed_at(std::slice::from_ref(entry))).await;
    say(&story::live(&run.page(names), run.noun, entry))
}

/// `1h` ago, or an instant.
fn since(given: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Failure> {
    let ago = read_length(given).and_then(TimeDelta::try_seconds).and_then(|ago| now.checked_sub_signed(ago));
    ago.or_else(|| read_time(given, now))
        .ok_or_else(|| Failure::Usage(format!("--since `{given}`: write 1h, or a time as 2026-11-24T22:00:00Z")))
}

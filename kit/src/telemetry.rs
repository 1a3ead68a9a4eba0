//! Logs on standard error, and the W3C trace context that travels with requests and events.
//!
//! Nothing of a record's content is logged here or elsewhere: ids, positions and reasons only.

use std::fmt;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What is logged when the settings say nothing: ours, and warnings of the chatty libraries.
pub const DEFAULT_FILTER: &str = "info,async_nats=warn,sqlx=warn,h2=warn,hyper=warn";

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line, for machines.
    Json,
    /// For people at a terminal.
    #[default]
    Text,
}

/// A log filter that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("log filter `{filter}`: {source}; write levels as in `{DEFAULT_FILTER}`")]
pub struct FilterError {
    filter: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Sends what is traced to standard error; an empty `filter` means [`DEFAULT_FILTER`].
///
/// The first call of a process decides; later ones check their filter and change nothing.
///
/// # Errors
/// A filter that cannot be read.
pub fn init(format: Format, filter: &str) -> Result<(), FilterError> {
    let filter = if filter.trim().is_empty() { DEFAULT_FILTER } else { filter };
    let parsed = EnvFilter::builder().parse(filter);
    let parsed = parsed.map_err(|source| FilterError { filter: filter.to_owned(), source })?;
    let dispatch = dispatch(format, parsed, std::io::stderr);
    // Fails only when the process has a subscriber already, which then stays.
    drop(tracing::dispatcher::set_global_default(dispatch));
    Ok(())
}

fn dispatch<W>(format: Format, filter: EnvFilter, writer: W) -> tracing::Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        Format::Json => lines.json().flatten_event(true).with_span_list(false).into(),
        Format::Text => lines.with_ansi(false).into(),
    }
}

/// The W3C `traceparent`: which trace a call or an event belongs to, and which step of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    pub(crate) trace: u128,
    pub(crate) step: u64,
    pub(crate) flags: u8,
}

impl TraceParent {
    /// Reads a header; one that is malformed is nothing, and the reader starts a trace of its own.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let (head, rest) = header.split_at_checked(55)?;
        let mut parts = head.split('-');
        let version = hex(parts.next()?, 2)?;
        let trace = hex(parts.next()?, 32)?;
        let step = u64::try_from(hex(parts.next()?, 16)?).ok()?;
        let flags = u8::try_from(hex(parts.next()?, 2)?).ok()?;
        // A later version may append fields; version 0 may not, and 255 is none.
        let ending = if version == 0 { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
        let valid = ending && version != 0xff && trace != 0 && step != 0;
        valid.then_some(Self { trace, step, flags: flags & 0b11 })
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "00-{:032x}-{:016x}-{:02x}", self.trace, self.step, self.flags)
    }
}

/// Lower case and exact length, as the recommendation asks; `from_str_radix` would take more.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let exact = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    exact.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_lines_carry_fields_and_the_filter_holds() {
        let lines = Lines::default();
        let writer = lines.clone();
        let filter = EnvFilter::builder().parse(DEFAULT_FILTER).unwrap();
        tracing::dispatcher::with_default(&dispatch(Format::Json, filter, move || writer.clone()), || {
            tracing::info!(incident.id = "7", "resolved");
            tracing::info!(target: "async_nats", "client error");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["message"], &line["incident.id"]), (&"resolved".into(), &"7".into()));
    }

    #[test]
    fn init_may_be_repeated_and_names_a_bad_filter() {
        init(Format::Text, "").unwrap();
        init(Format::Json, "warn").unwrap();
        assert!(init(Format::Text, "kit=loud").unwrap_err().to_string().contains("kit=loud"));
    }

    #[test]
    fn a_trace_passes_through_and_a_malformed_one_does_not() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = TraceParent::parse(text).unwrap();
        assert_eq!(trace.to_string(), text);
        let later = format!("cc{}", &text[2..]);
        for later in [format!("{later}-more"), later] {
            assert_eq!(TraceParent::parse(&later), Some(trace), "{later}");
        }
        let upper = text.to_uppercase();
        let (none, longer) = (text.replace("00f067aa0ba902b7", "0000000000000000"), format!("{text}-more"));
        let joined = text.replace('-', "0");
        for bad in [
            "",
            "00",
            &text[1..],
            &upper,
            &none,
            &longer,
            &joined,
            &text.replacen("00", "ff", 1),
            "ä".repeat(40).as_str(),
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }
}

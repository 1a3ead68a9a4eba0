//! The one place that prints. It knows whether a person reads, and paints only for people.

use std::io::{self, IsTerminal as _, Write as _};

use super::failure::Failure;

/// The narrowest terminal for which tables are folded.
const NARROWEST: u16 = 60;

/// How something stands, and so its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As everything else.
    Plain,
    /// Over, or beside the point.
    Faint,
    /// As it should be.
    Good,
    /// Somebody should look.
    Warning,
    /// Somebody must look.
    Bad,
    /// A heading.
    Strong,
}

/// Where output goes and how it looks.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Whether to paint.
    pub colour: bool,
    /// How wide the terminal is; none when no terminal reads.
    pub width: Option<u16>,
}

impl Look {
    /// Neither colours nor a width: for files and pipes.
    pub const PLAIN: Self = Self { colour: false, width: None };

    /// As the standard output is.
    pub fn of_stdout() -> Self {
        if !io::stdout().is_terminal() {
            return Self::PLAIN;
        }
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        // A terminal that does not say how wide it is, or is too narrow for columns, breaks lines by
        // itself.
        let width = comfy_table::Table::new().width().filter(|width| *width >= NARROWEST);
        Self { colour: !unwanted, width }
    }

    /// The text in the colour of its tone.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.colour || text.is_empty() => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Faint => "2",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Prints a line, or several.
///
/// # Errors
/// Fails when nobody reads any more, which ends the command without a complaint.
pub fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|_| Failure::ReaderGone)
}

/// Prints bytes as they are.
///
/// # Errors
/// As [`say`].
pub fn pour(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|_| Failure::ReaderGone)
}

/// Says beside the output what is not part of it. A closed standard error is nobody's loss.
pub fn remark(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Text from the server as it may be shown: a terminal obeys control characters, and titles and
/// notes are written by others.
pub fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => '\n',
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            // Marks that turn the direction of writing make a line read otherwise than it is.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            c => c,
        })
        .collect()
}

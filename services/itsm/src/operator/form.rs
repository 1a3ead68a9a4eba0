//! The form of what an operator's command prints.

use clap::{Args, ValueEnum};

/// Who reads.
#[derive(Debug, Args)]
pub struct Form {
    /// A table for people, or JSON for scripts.
    #[arg(long, short, value_name = "FORMAT", value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Table,
    Json,
}

impl Form {
    /// Whether a script reads.
    pub fn json(&self) -> bool {
        self.output == Output::Json
    }
}

//! Where the server is and with which key it is asked: what was given, else what `itsm up` left in
//! the data folder.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command, builder::PossibleValuesParser};

use super::{failure::Failure, rest::Rest};

const DEFAULT_URL: &str = "http://127.0.0.1:8080";

const AFTER_THE_VERBS_OWN: usize = 900;

/// What every command takes.
pub fn augment(command: Command) -> Command {
    let global = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).global(true).help_heading("Connection")
    };
    command
        .arg(
            global("url", "URL", "The server; else `url` of the data folder, else http://127.0.0.1:8080")
                .env("ITSM_URL"),
        )
        .arg(
            global("key", "KEY", "The API key; else `admin.key` of the data folder")
                .env("ITSM_API_KEY")
                .hide_env_values(true),
        )
        .arg(global("data", "DIR", "The data folder of `itsm up`").env("ITSM_DATA").default_value("./var"))
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("FORMAT")
                .value_parser(PossibleValuesParser::new(["table", "json"]))
                .default_value("table")
                .global(true)
                .display_order(AFTER_THE_VERBS_OWN)
                .help("A table for people, or the API's own JSON for scripts"),
        )
}

/// Where and as whom.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The server.
    pub url: String,
    /// The key, if one was found.
    pub key: Option<String>,
    /// The data folder, whether it exists or not.
    pub data: PathBuf,
    /// Whether JSON is wanted.
    pub json: bool,
}

impl Connection {
    /// Of what was given.
    pub fn of(given: &ArgMatches) -> Self {
        let text = |name: &str| given.get_one::<String>(name).filter(|text| !text.trim().is_empty()).cloned();
        let data = PathBuf::from(text("data").unwrap_or_else(|| "./var".to_owned()));
        Self {
            url: text("url").or_else(|| read(&data.join("url"))).unwrap_or_else(|| DEFAULT_URL.to_owned()),
            key: text("key").or_else(|| read(&data.join("admin.key"))),
            json: text("output").as_deref() == Some("json"),
            data,
        }
    }

    /// A client.
    pub fn rest(&self) -> Result<Rest, Failure> {
        Rest::new(&self.url, self.key.clone())
    }
}

/// The content of a file of one line, if there is one.
pub fn read(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

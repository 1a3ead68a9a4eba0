//! The client: nouns and verbs over the REST API. What it does anyone can do with curl; it must not
//! reach around the API, neither to the database nor to NATS.
//!
//! A noun is data ([`noun::Noun`], all of them in `nouns/`); the code that lists, shows, creates,
//! acts and watches is the same for each. [`run`] is the place to begin reading.

mod arguments;
pub mod connection;
pub mod failure;
pub mod format;
pub mod names;
pub mod noun;
pub mod nouns;
pub mod out;
pub mod rest;
mod run;
pub mod show;
mod special;
pub mod story;
pub mod table;
pub mod value;
mod watch;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, FromArgMatches, Subcommand, error::ErrorKind, value_parser};
use clap_complete::Shell;

use self::{
    failure::Failure,
    noun::{Noun, Verb},
    nouns::NOUNS,
};

/// A client command.
#[derive(Debug)]
pub enum Client {
    /// A verb of a noun.
    Verb {
        /// The noun.
        noun: &'static Noun,
        /// The verb.
        verb: &'static Verb,
        /// What was given.
        given: Box<ArgMatches>,
    },
    /// The completion script of a shell.
    Completion(Shell),
}

const COMPLETION: &str = "completion";

impl Client {
    /// Does it, and answers with the exit code that the help promises.
    pub async fn run(self) -> ExitCode {
        let (noun, verb, given) = match self {
            Self::Verb { noun, verb, given } => (noun, verb, given),
            Self::Completion(shell) => return completion(shell),
        };
        let done = match run::Run::new(noun, verb, *given) {
            Ok(run) => run.go().await,
            Err(failure) => Err(failure),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                if !matches!(failure, Failure::ReaderGone) {
                    out::remark(&out::harmless(&format!("itsm: {failure}")));
                }
                ExitCode::from(failure.code())
            }
        }
    }
}

/// Prints the completion script of a shell, for every command and not the client's alone.
fn completion(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut <crate::Command as clap::CommandFactory>::command(), "itsm", &mut script);
    // A reader that has gone wants no script.
    let _ = out::pour(&script);
    ExitCode::SUCCESS
}

impl FromArgMatches for Client {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let missing = || clap::Error::raw(ErrorKind::MissingSubcommand, "a noun and a verb are needed");
        let (name, below) = matches.subcommand().ok_or_else(missing)?;
        if name == COMPLETION {
            return below.get_one::<Shell>("shell").copied().map(Self::Completion).ok_or_else(missing);
        }
        let noun: &'static Noun = NOUNS.iter().copied().find(|noun| noun.name == name).ok_or_else(missing)?;
        let (name, given) = below.subcommand().ok_or_else(missing)?;
        if let Some(verb) = noun.verb(name) {
            return Ok(Self::Verb { noun, verb, given: Box::new(given.clone()) });
        }
        let noun: &'static Noun = noun.nested.iter().copied().find(|noun| noun.name == name).ok_or_else(missing)?;
        let (name, given) = given.subcommand().ok_or_else(missing)?;
        let verb = noun.verb(name).ok_or_else(missing)?;
        Ok(Self::Verb { noun, verb, given: Box::new(given.clone()) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for Client {
    fn augment_subcommands(command: Command) -> Command {
        let completion = Command::new(COMPLETION)
            .about("Prints the completion script of a shell")
            .after_help("Examples:\n  source <(itsm completion bash)\n  itsm completion fish > ~/.config/fish/completions/itsm.fish")
            .arg(Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell)));
        let nouns = NOUNS.iter().fold(command, |command, noun| command.subcommand(arguments::command(noun)));
        nouns.subcommand(completion)
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        name == COMPLETION || NOUNS.iter().any(|noun| noun.name == name)
    }
}

//! From the tables of nouns to command-line arguments, and from what was given to a JSON body. It
//! must not know any noun by name.

use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Arg, ArgAction, ArgMatches, Command, builder::PossibleValuesParser, value_parser};
use serde_json::{Map, Value, json};

use super::{
    connection,
    failure::{EXIT_CODES, Failure},
    format::{read_length, read_time},
    names::resolve_kind,
    noun::{Does, Field, Handle, Kind, Need, Noun, Takes, Verb},
    rest::Rest,
    value::put,
};

/// How many records a list shows unless it is told.
const DEFAULT_LIMIT: &str = "50";
/// The record that a verb is about.
pub const ID: &str = "id";

/// The command of a noun, with its verbs.
pub fn command(noun: &'static Noun) -> Command {
    let mut command = connection::augment(Command::new(noun.name))
        .about(noun.about)
        .after_help(after_help(noun))
        .subcommand_required(true)
        .arg_required_else_help(true);
    for verb in noun.verbs {
        command = command.subcommand(verb_command(noun, verb));
    }
    for nested in noun.nested {
        let mut inner =
            Command::new(nested.name).about(nested.about).subcommand_required(true).arg_required_else_help(true);
        for verb in nested.verbs {
            inner = inner.subcommand(verb_command(nested, verb));
        }
        command = command.subcommand(inner);
    }
    command
}

fn after_help(noun: &Noun) -> String {
    if noun.examples.is_empty() { EXIT_CODES.to_owned() } else { format!("{}\n\n{EXIT_CODES}", noun.examples) }
}

fn verb_command(noun: &'static Noun, verb: &'static Verb) -> Command {
    let mut command = Command::new(verb.name).about(verb.about).after_help(EXIT_CODES);
    let subject = match verb.does {
        Does::ListOf(listed) => listed,
        _ => noun,
    };
    match verb.does {
        Does::List | Does::ListOf(_) => {
            let limit = Arg::new("limit").long("limit").short('n').value_name("COUNT");
            command = command.arg(
                limit
                    .value_parser(value_parser!(u32).range(1..))
                    .default_value(DEFAULT_LIMIT)
                    .help("At most this many, page after page"),
            );
            if !subject.filters.is_empty() {
                command = command.arg(filter(subject));
            }
        }
        Does::Watch => {
            command = command.arg(filter(subject)).args([
                Arg::new("since")
                    .long("since")
                    .value_name("TIME")
                    .help("From then on: RFC 3339, or `1h` ago; else from now"),
                Arg::new("cursor").long("cursor").value_name("CURSOR").help("After the entry that had this cursor"),
            ]);
        }
        Does::Show(_) | Does::Update | Does::Act(..) | Does::History => {
            command = command.arg(Arg::new(ID).value_name(noun.name).required(true).help(handle_help(noun)));
        }
        Does::Create(_) | Does::Special(_) => {}
    }
    if matches!(verb.does, Does::Act(..) | Does::Update) {
        let revision = Arg::new("revision").long("revision").value_name("NUMBER").value_parser(value_parser!(i64));
        command = command.arg(revision.help("Refuse unless this is the current revision"));
    }
    verb.fields.iter().fold(command, |command, field| command.arg(argument(field)))
}

fn filter(noun: &Noun) -> Arg {
    let help = format!("An AIP-160 filter over {}", noun.filters);
    Arg::new("filter").long("filter").short('f').value_name("FILTER").help(help)
}

fn handle_help(noun: &Noun) -> String {
    match noun.handle {
        Handle::Number { prefix } => format!("Its number ({prefix}...), its id, or the end of its id"),
        Handle::Name { filter: "email", .. } => "Its name, mail address, id, or the end of its id".to_owned(),
        Handle::Name { .. } => "Its name, its id, or the end of its id".to_owned(),
        Handle::Id => "Its id, or the end of its id".to_owned(),
    }
}

fn argument(field: &Field) -> Arg {
    let mut arg = Arg::new(field.name).help(field.help);
    arg = match field.need {
        Need::Positional => arg.required(true),
        Need::OptionalPositional => arg,
        Need::Required => arg.long(field.name).required(true),
        Need::Optional => arg.long(field.name),
    };
    if !field.default.is_empty() {
        arg = arg.default_value(field.default);
    }
    if matches!(field.need, Need::Required | Need::Optional) && !matches!(field.takes, Takes::Flag) {
        arg = arg.value_name(value_name(field.takes));
    }
    match field.takes {
        Takes::Text | Takes::One(_) | Takes::Time | Takes::Seconds => {
            arg.allow_hyphen_values(field.need == Need::Positional)
        }
        Takes::Secret(variable) => arg.env(variable).hide_env_values(true),
        Takes::Word(words) => arg.value_parser(choices(words)).ignore_case(true),
        Takes::Words(words) => arg.value_parser(choices(words)).ignore_case(true).action(ArgAction::Append),
        Takes::Many(_) | Takes::Texts | Takes::Pairs | Takes::Targets => arg.action(ArgAction::Append),
        Takes::Flag => arg.action(ArgAction::SetTrue),
        Takes::File => arg.value_parser(value_parser!(PathBuf)),
    }
}

fn value_name(takes: Takes) -> &'static str {
    match takes {
        Takes::Text | Takes::Texts | Takes::Flag => "TEXT",
        Takes::Secret(_) => "KEY",
        Takes::Word(_) | Takes::Words(_) => "WORD",
        Takes::One(_) | Takes::Many(_) => "NAME",
        Takes::Time => "TIME",
        Takes::Seconds => "DURATION",
        Takes::Pairs => "NAME=VALUE",
        Takes::Targets => "TARGET",
        Takes::File => "FILE",
    }
}

fn choices(words: &'static [&'static str]) -> PossibleValuesParser {
    PossibleValuesParser::new(words)
}

/// The text of an option.
pub fn text<'a>(given: &'a ArgMatches, name: &str) -> Option<&'a str> {
    given.get_one::<String>(name).map(String::as_str)
}

/// The body that was given, with names resolved to ids.
///
/// # Errors
/// Fails for values that make no sense, and for records that are not there.
pub async fn body(
    rest: &Rest,
    verb: &Verb,
    given: &ArgMatches,
    now: DateTime<Utc>,
) -> Result<Map<String, Value>, Failure> {
    let mut body = Map::new();
    for field in verb.fields.iter().filter(|field| !field.json.is_empty()) {
        if let Some(value) = value(rest, field, given, now).await? {
            put(&mut body, field.json, value);
        }
    }
    // People read a display name everywhere; where only the short name was given, they read that.
    let takes_both = |json: &str| verb.fields.iter().any(|field| field.json == json);
    if takes_both("name") && takes_both("displayName") && !body.contains_key("displayName") {
        let name = body.get("name").cloned().unwrap_or(Value::Null);
        body.insert("displayName".to_owned(), name);
    }
    Ok(body)
}

async fn value(rest: &Rest, field: &Field, given: &ArgMatches, now: DateTime<Utc>) -> Result<Option<Value>, Failure> {
    let one = || given.get_one::<String>(field.name);
    let wrong = |given: &str, expected: &str| Failure::Usage(format!("--{} `{given}`: write {expected}", field.name));
    Ok(match field.takes {
        Takes::File => None,
        Takes::Flag => given.get_flag(field.name).then_some(Value::Bool(true)),
        Takes::Text | Takes::Secret(_) => one().map(|text| json!(text)),
        Takes::Word(_) => one().map(|word| json!(of_the_contract(word))),
        Takes::Words(_) => {
            several(given, field).map(|words| json!(words.map(|word| of_the_contract(word)).collect::<Vec<_>>()))
        }
        Takes::Texts => several(given, field).map(|texts| json!(texts.collect::<Vec<_>>())),
        Takes::One(kind) => match one() {
            Some(name) => Some(json!(resolve_kind(rest, kind, name).await?)),
            None => None,
        },
        Takes::Many(kind) => match several(given, field) {
            Some(names) => {
                let mut ids = Vec::new();
                for name in names {
                    ids.push(resolve_kind(rest, kind, name).await?);
                }
                Some(json!(ids))
            }
            None => None,
        },
        Takes::Time => match one() {
            Some(text) => {
                let at = read_time(text, now)
                    .ok_or_else(|| wrong(text, "a time as 2026-11-24T22:00:00Z, '2026-11-24 22:00' or +2h"))?;
                Some(json!(at.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
            }
            None => None,
        },
        Takes::Seconds => match one() {
            Some(text) => {
                let seconds = read_length(text).ok_or_else(|| wrong(text, "a length of time as 90s, 15m or 1h30m"))?;
                Some(json!(seconds.to_string()))
            }
            None => None,
        },
        Takes::Pairs => match several(given, field) {
            Some(pairs) => {
                let mut map = Map::new();
                for pair in pairs {
                    let (name, value) = pair.split_once('=').ok_or_else(|| wrong(pair, "NAME=VALUE"))?;
                    map.insert(name.to_owned(), json!(value));
                }
                Some(Value::Object(map))
            }
            None => None,
        },
        Takes::Targets => match several(given, field) {
            Some(texts) => {
                let mut targets = Vec::new();
                for text in texts {
                    targets.push(target(rest, text).await?);
                }
                Some(Value::Array(targets))
            }
            None => None,
        },
    })
}

fn several<'a>(given: &'a ArgMatches, field: &Field) -> Option<clap::parser::ValuesRef<'a, String>> {
    given.get_many::<String>(field.name)
}

/// A word as the API writes it.
pub fn of_the_contract(word: &str) -> String {
    word.to_uppercase().replace('-', "_")
}

/// `P1=15m/4h@office`.
async fn target(rest: &Rest, text: &str) -> Result<Value, Failure> {
    let wrong = || Failure::Usage(format!("--target `{text}`: write PRIORITY=RESPONSE/RESOLUTION, such as P1=15m/4h"));
    let (priority, rest_of_it) = text.split_once('=').ok_or_else(wrong)?;
    let (times, calendar) = match rest_of_it.split_once('@') {
        Some((times, calendar)) => (times, Some(calendar)),
        None => (rest_of_it, None),
    };
    let (response, resolution) = times.split_once('/').ok_or_else(wrong)?;
    let seconds = |text: &str| if text == "-" { Some(0) } else { read_length(text) };
    let calendar_id = match calendar {
        Some(name) => resolve_kind(rest, Kind::Calendar, name).await?,
        None => String::new(),
    };
    Ok(json!({
        "priority": priority.trim().to_uppercase(),
        "responseSeconds": seconds(response.trim()).ok_or_else(wrong)?.to_string(),
        "resolutionSeconds": seconds(resolution.trim()).ok_or_else(wrong)?.to_string(),
        "calendarId": calendar_id,
    }))
}

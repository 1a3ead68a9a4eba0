//! What the command line takes.

use clap::{CommandFactory as _, Parser as _};

use super::super::{
    Client,
    noun::{Does, Need, Noun, Takes},
    nouns::NOUNS,
};

fn parse(line: &str) -> Result<(&'static str, &'static str), clap::Error> {
    let command = crate::Command::try_parse_from(line.split(' ').map(|word| word.replace('~', " ")))?;
    match command.verb {
        crate::Verb::Client(Client::Verb { noun, verb, .. }) => Ok((noun.name, verb.name)),
        crate::Verb::Client(Client::Completion(_)) => Ok(("completion", "")),
        _ => Ok(("", "")),
    }
}

#[test]
fn every_command_is_well_formed() {
    crate::Command::command().debug_assert();
}

#[test]
fn every_example_of_the_help_parses() {
    let mut seen = 0;
    for noun in NOUNS {
        let joined = noun.examples.replace("\\\n", " ");
        for line in joined.lines().map(str::trim).filter(|line| line.starts_with("itsm ")) {
            let words = shell_words(line);
            crate::Command::try_parse_from(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

/// Enough of a shell for examples: words, and quotes of both kinds.
fn shell_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn nouns_and_verbs_of_the_issue_are_there() {
    let expected = [
        (
            "incident",
            "list show create acknowledge assign start hold resume resolve close cancel reopen note watch history",
        ),
        ("alert", "list show clear watch history send rejected"),
        ("change", "list show create request approve reject schedule start complete fail close cancel watch history"),
        ("clock", "list show watch history"),
        ("delivery", "list show cancel watch history"),
        ("integration", "list show create rotate-key disable enable"),
        ("person", "list show create deactivate"),
        ("team", "list show create retire"),
        ("member", "list add end"),
        ("service", "list show create activate retire"),
        ("ci", "list show create activate retire"),
        ("agreement", "list show create activate retire"),
        ("key", "list create revoke whoami"),
        ("notification", "test"),
    ];
    let all: Vec<&Noun> =
        NOUNS.iter().flat_map(|noun| std::iter::once(*noun).chain(noun.nested.iter().copied())).collect();
    for (name, verbs) in expected {
        let noun = all.iter().find(|noun| noun.name == name).unwrap_or_else(|| panic!("no {name}"));
        for verb in verbs.split(' ') {
            assert!(noun.verb(verb).is_some(), "{name} {verb}");
        }
    }
}

#[test]
fn lines_are_taken_apart() {
    assert_eq!(parse("itsm incident show INC0001042").unwrap(), ("incident", "show"));
    assert_eq!(parse("itsm team member add payments me --role manager").unwrap(), ("member", "add"));
    assert_eq!(
        parse("itsm --url http://x:1 incident list").unwrap_err().kind(),
        clap::error::ErrorKind::UnknownArgument
    );
    assert_eq!(parse("itsm incident list --url http://x:1 -o json --limit 7").unwrap(), ("incident", "list"));
    assert_eq!(parse("itsm incident create T --impact EXTENSIVE --urgency Low").unwrap(), ("incident", "create"));
    assert_eq!(parse("itsm incident set-priority INC1 p1 --reason x").unwrap(), ("incident", "set-priority"));
    assert_eq!(parse("itsm completion fish").unwrap(), ("completion", ""));
}

#[test]
fn what_makes_no_sense_is_refused_as_usage() {
    for line in [
        "itsm incident",
        "itsm incident explode",
        "itsm incident create T --impact huge --urgency low",
        "itsm incident create T --impact minor",
        "itsm incident resolve INC1 --code fixed",
        "itsm incident list --limit 0",
        "itsm incident list -o xml",
        "itsm team member add payments",
        "itsm completion cobol",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}

/// A table could promise what the code cannot keep.
#[test]
fn tables_are_sound() {
    for noun in NOUNS.iter().flat_map(|noun| std::iter::once(noun).chain(noun.nested)) {
        assert!(!noun.columns.is_empty(), "{}", noun.name);
        for verb in noun.verbs {
            for field in verb.fields {
                let is_flag = matches!(field.takes, Takes::Flag);
                let by_place = matches!(field.need, Need::Positional | Need::OptionalPositional);
                assert!(!(is_flag && by_place), "{} {} {}", noun.name, verb.name, field.name);
                let names_itself = !field.json.is_empty() || matches!(verb.does, Does::Special(_));
                assert!(names_itself, "{} {} {} goes nowhere", noun.name, verb.name, field.name);
            }
        }
        assert!(noun.verbs.iter().filter(|verb| noun.verb(verb.name).is_some()).count() == noun.verbs.len());
    }
}

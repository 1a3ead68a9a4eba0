//! `itsm config`: every setting as it holds, and where it was said. Secrets stay masked, since the
//! settings themselves mask them.

use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use toml::{Table, Value};

use super::form::Form;
use crate::{
    cli::{
        out::{Look, Tone},
        table::grid,
    },
    settings::{self, Settings, Variable},
};

/// Prints every setting with its value and where that was said; secrets are masked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  itsm config\n  itsm config --settings deploy/config/itsm.toml --output json\n\n\
                  itsm serve and itsm up read the same file and variables. Keys without a value are not shown.")]
pub struct Options {
    #[command(flatten)]
    form: Form,
}

/// A setting as it holds.
#[derive(Debug, PartialEq, Serialize)]
struct Setting {
    key: String,
    value: Value,
    /// `default`, `file` or `variable`.
    origin: &'static str,
    /// The file's path or the variable's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

/// `itsm config`.
///
/// # Errors
/// Fails as every command does whose settings cannot be used.
pub fn run(options: &Options, file: Option<&Path>, variables: Vec<(String, String)>) -> anyhow::Result<String> {
    let found = effective(file, variables)?;
    if options.form.json() {
        return serde_json::to_string_pretty(&found).context("cannot write the settings as JSON");
    }
    let rows = found.into_iter().map(|setting| {
        let tone = if setting.origin == "default" { Tone::Faint } else { Tone::Plain };
        let origin = setting.source.map_or_else(String::new, |source| format!(" {source}"));
        vec![(setting.key, tone), (setting.value.to_string(), tone), (format!("{}{origin}", setting.origin), tone)]
    });
    Ok(grid(Look::of_stdout(), &["key", "value", "origin"], rows.collect()))
}

fn effective(file: Option<&Path>, variables: Vec<(String, String)>) -> anyhow::Result<Vec<Setting>> {
    let settings: Settings = settings::load(file, variables.iter().cloned())?;
    let mut holds = Vec::new();
    flatten("", Value::Table(Table::try_from(settings).context("cannot write the settings as TOML")?), &mut holds);
    let mut in_file = Vec::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        // It was read above; were it another now, the error would quote its line.
        let table: Table = text.parse().map_err(|_| anyhow::anyhow!("{} has just changed", path.display()))?;
        flatten("", Value::Table(table), &mut in_file);
    }
    let mut variables: Vec<(String, Variable)> = settings::named(variables.into_iter())
        .into_iter()
        .filter_map(|variable| Some((variable.name.strip_prefix("ITSM_")?.to_lowercase(), variable)))
        .filter(|(name, _)| name.contains("__"))
        .map(|(name, variable)| (name.replace("__", "."), variable))
        .collect();
    // As they are applied: what comes later overrides.
    variables.sort_by(|(one, _), (other, _)| one.cmp(other));
    let found = holds.into_iter().map(|(key, value)| {
        let variable = variables.iter().rev().find(|(said, _)| covers(said, &key));
        let (origin, source) = match (variable, file) {
            (Some((_, variable)), _) => ("variable", Some(variable.given.clone())),
            (None, Some(path)) if in_file.iter().any(|(said, _)| covers(said, &key)) => {
                ("file", Some(path.display().to_string()))
            }
            _ => ("default", None),
        };
        Setting { key, value: masked(value), origin, source }
    });
    Ok(found.collect())
}

/// A table as its keys with dots; an empty one is a value.
fn flatten(key: &str, value: Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Table(table) if !table.is_empty() || key.is_empty() => {
            for (name, value) in table {
                flatten(&if key.is_empty() { name } else { format!("{key}.{name}") }, value, found);
            }
        }
        value => found.push((key.to_owned(), value)),
    }
}

/// Whether what was said of one key is about the other: a secret's file is said below the secret, and
/// a variable may say a whole table.
fn covers(said: &str, key: &str) -> bool {
    let below = |long: &str, short: &str| long.strip_prefix(short).is_some_and(|rest| rest.starts_with('.'));
    said == key || below(said, key) || below(key, said)
}

/// Addresses that are no secrets may still carry a user and a password.
fn masked(value: Value) -> Value {
    match &value {
        Value::String(text) => match text.split_once("://") {
            Some((scheme, rest)) => match rest.rsplit_once('@') {
                Some((_, host)) => Value::String(format!("{scheme}://***@{host}")),
                None => value,
            },
            None => value,
        },
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_tells_who_said_it_last() {
        let folder = tempfile::tempdir().unwrap();
        let (path, secret) = (folder.path().join("itsm.toml"), folder.path().join("smtp"));
        std::fs::write(&secret, "smtp://u:hunter2@mail").unwrap();
        let text = "[database]\nurl = 'postgres://u:hunter2@h/d'\nrole_connections = 7\n[nats]\nreplicas = 3\n\
                    [database.passwords]\nsla = 'hunter2'\n[services.addresses]\nsla = 'http://127.0.0.1:1'";
        std::fs::write(&path, text).unwrap();
        let variables = [
            ("NATS_URL", "nats://u:hunter2@h"),
            ("ITSM_NATS__REPLICAS", "1"),
            ("ITSM_NOTIFICATION__SMTP_URL__FILE", secret.to_str().unwrap()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:hunter2@collector:4317"),
            ("DATABASE_URL", ""),
            ("ITSM_URL", "no setting"),
        ];
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let found = effective(Some(&path), variables).unwrap();
        let said = |key: &str| {
            let setting = found.iter().find(|setting| setting.key == key).unwrap_or_else(|| panic!("no {key}"));
            let source = setting.source.as_deref().unwrap_or_default().replace(path.to_str().unwrap(), "FILE");
            format!("{} {} {source}", setting.value, setting.origin)
        };
        assert_eq!(said("database.url"), "\"***\" file FILE");
        assert_eq!(said("database.role_connections"), "7 file FILE");
        assert_eq!(said("database.passwords.sla"), "\"***\" file FILE");
        assert_eq!(said("nats.url"), "\"***\" variable NATS_URL");
        assert_eq!(said("nats.replicas"), "1 variable ITSM_NATS__REPLICAS");
        assert_eq!(said("notification.smtp_url"), "\"***\" variable ITSM_NOTIFICATION__SMTP_URL__FILE");
        assert_eq!(said("tracing.otlp_endpoint"), "\"http://***@collector:4317\" variable OTEL_EXPORTER_OTLP_ENDPOINT");
        assert_eq!(said("services.listen"), "{} default ");
        assert!(!serde_json::to_string(&found).unwrap().contains("hunter2"));
    }

    #[test]
    fn every_key_that_has_a_default_is_shown() {
        let found = effective(None, Vec::new()).unwrap();
        assert!(found.iter().all(|setting| setting.origin == "default" && setting.source.is_none()));
        assert!(found.iter().any(|setting| setting.key == "retention.incidents"));
    }
}

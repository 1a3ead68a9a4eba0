//! Settings: defaults, then a TOML file, then variables, each overriding the one before.
//!
//! It reads what it is given and nothing else: the caller passes the environment, and no other
//! module looks a variable up.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value};

/// Why the settings could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("settings file {0}: {1}; give the path of a readable TOML file")]
    File(String, std::io::Error),
    /// The file is not TOML. The line itself stays out of the text, since it may hold a secret.
    #[error("settings file {0} is not TOML at line {1}: {2}")]
    Syntax(String, usize, String),
    /// A key nobody reads, most often a misspelling, and what is known there.
    #[error("unknown key `{0}`; {1}")]
    Unknown(String, String),
    /// A value that its key cannot take.
    #[error("key `{0}`: {1}")]
    Invalid(String, String),
    /// The defaults cannot be written as TOML: a fault of the program.
    #[error("the built-in defaults cannot be written as TOML: {0}")]
    Defaults(#[from] toml::ser::Error),
}

/// Reads settings: the defaults of `T`, overridden by `file`, overridden by those variables of
/// `environment` that are named `ITSM_SECTION__KEY` (sections nest by `__`, case is ignored).
///
/// A variable's value is read as TOML (`30`, `true`, `["a", "b"]`) unless the key holds text
/// already or it is no TOML: then it is the text itself. Tables merge key by key.
///
/// # Errors
/// A file that cannot be read, a key `T` does not know (`T` must say `deny_unknown_fields`), a
/// value of the wrong form.
pub fn load<T: DeserializeOwned + Default + Serialize>(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let mut settings = Table::try_from(T::default())?;
    if let Some(path) = file {
        merge(&mut settings, read(path)?);
    }
    let mut variables: Vec<_> = environment
        .filter_map(|(name, value)| Some((name.strip_prefix("ITSM_")?.to_lowercase(), value)))
        .filter(|(name, _)| name.contains("__"))
        .collect();
    variables.sort();
    for (name, text) in variables {
        assign(&mut settings, &name, text);
    }
    T::deserialize(settings).map_err(|error| explain(&error))
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| ConfigError::File(shown.clone(), error))?;
    text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        ConfigError::Syntax(shown, line, error.message().to_owned())
    })
}

fn merge(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(outer)) => merge(inner, outer),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

fn assign(table: &mut Table, name: &str, text: String) {
    if let Some((section, rest)) = name.split_once("__") {
        let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if !inner.is_table() {
            *inner = Value::Table(Table::new());
        }
        if let Value::Table(inner) = inner {
            assign(inner, rest, text);
        }
        return;
    }
    let value = match (table.get(name), text.parse()) {
        (Some(Value::String(_)), _) | (_, Err(_) | Ok(Value::Datetime(_))) => Value::String(text),
        (_, Ok(value)) => value,
    };
    table.insert(name.to_owned(), value);
}

/// serde tells the place and the known keys only as text; toml keeps the place in its last line.
fn explain(error: &toml::de::Error) -> ConfigError {
    let (message, shown) = (error.message().to_owned(), error.to_string());
    let place = shown.lines().last().and_then(|line| line.strip_prefix("in `")?.strip_suffix('`'));
    let place = place.unwrap_or_default().to_owned();
    if !message.starts_with("unknown field") {
        return ConfigError::Invalid(place, message);
    }
    let mut names = message.split('`').skip(1).step_by(2);
    let key = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    let nearest = known.iter().map(|name| (strsim::jaro_winkler(key, name), *name)).max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = match nearest {
        Some((likeness, name)) if likeness > 0.8 => format!("did you mean `{name}`?"),
        _ => format!("known here: {}", known.join(", ")),
    };
    let key = if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
    ConfigError::Unknown(key, hint)
}

/// A value that must not be seen: masked wherever it is printed or serialised.
///
/// In settings a text, or `{ file = "path" }` for the content of a file without its last newline.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// Keeps `value` from being printed.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself: only for the call that must send or check it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether nothing was set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.is_empty() { "" } else { "***" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, deny_unknown_fields)]
        enum Source {
            Text(String),
            File { file: PathBuf },
        }
        // serde's own text would show the value.
        match Source::deserialize(deserializer) {
            Err(_) => Err(D::Error::custom("a secret is a quoted text or { file = \"path\" }")),
            Ok(Source::Text(text)) => Ok(Self(text)),
            Ok(Source::File { file }) => match std::fs::read_to_string(&file) {
                Err(error) => Err(D::Error::custom(format!("cannot read {}: {error}", file.display()))),
                Ok(text) if text.trim().is_empty() => Err(D::Error::custom(format!("{} is empty", file.display()))),
                Ok(text) => Ok(Self(text.trim_end_matches(['\r', '\n']).to_owned())),
            },
        }
    }
}

/// A length of time as people write it: `500ms`, `30s`, `15m`, `4h`, `7d`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(u64);

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const LONGEST_MS: u64 = 36_500 * 86_400_000;

/// A text that is no [`Period`].
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no period: write a whole number and a unit, such as 500ms, 30s, 15m, 4h or 7d (at most 36500d)")]
pub struct PeriodError(String);

impl Period {
    /// That long, to the millisecond and at most 36,500 days.
    #[must_use]
    pub const fn new(length: Duration) -> Self {
        let total = length.as_millis();
        Self(if total > LONGEST_MS as u128 { LONGEST_MS } else { total as u64 })
    }

    /// For timers of the runtime.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// For sums with instants of the domain.
    #[must_use]
    pub const fn delta(self) -> chrono::TimeDelta {
        chrono::TimeDelta::milliseconds(self.0.cast_signed())
    }
}

impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().find(|(_, length)| self.0 != 0 && self.0.is_multiple_of(*length));
        let (unit, length) = whole.unwrap_or(&("s", 1_000));
        write!(formatter, "{}{unit}", self.0 / length)
    }
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let (count, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let length = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, length)| *length);
        let total = length.and_then(|length| count.parse::<u64>().ok()?.checked_mul(length));
        total.filter(|total| *total <= LONGEST_MS).map(Self).ok_or_else(|| PeriodError(text.to_owned()))
    }
}

impl TryFrom<String> for Period {
    type Error = PeriodError;

    fn try_from(text: String) -> Result<Self, PeriodError> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        listen: String,
        incident: Incident,
        key: Secret,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Incident {
        auto_close_after: Period,
        limit: u16,
        names: Option<Vec<String>>,
        title: String,
    }

    impl Default for Settings {
        fn default() -> Self {
            let incident = Incident {
                auto_close_after: Period::new(Duration::from_hours(168)),
                limit: 50,
                names: None,
                title: String::new(),
            };
            Self { listen: "127.0.0.1:8080".into(), incident, key: Secret::default() }
        }
    }

    fn with(file: &str, variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("itsm.toml");
        std::fs::write(&path, file).unwrap();
        std::fs::write(folder.path().join("key"), "s3cret\n").unwrap();
        let here = folder.path().display().to_string();
        load(Some(&path), variables.iter().map(|(name, value)| ((*name).into(), value.replace("{here}", &here))))
    }

    #[test]
    fn later_sources_override_earlier_ones() {
        let file = "key = 'a'\n[incident]\nlimit = 60\nauto_close_after = '4h'";
        let variables = [
            ("ITSM_INCIDENT__LIMIT", "70"),
            ("ITSM_INCIDENT__NAMES", r#"["a", "b"]"#),
            ("ITSM_INCIDENT__TITLE", "42"),
            ("ITSM_KEY__FILE", "{here}/key"),
            ("ITSM_URL", "not ours: one underscore"),
        ];
        let read = with(file, &variables).unwrap();
        assert_eq!((read.listen.as_str(), read.incident.limit), ("127.0.0.1:8080", 70));
        assert_eq!(read.incident.auto_close_after, Period::new(Duration::from_hours(4)));
        assert_eq!((read.incident.names.unwrap().len(), read.key.expose()), (2, "s3cret"));
        assert_eq!(format!("{:?} {}", read.key, read.key), "*** ***");
    }

    #[test]
    fn refusals_name_the_key_and_show_no_secret() {
        let said = |file: &str, variables: &[(&str, &str)]| with(file, variables).unwrap_err().to_string();
        let text = said("[incident]\nauto_close_aftr = '1h'", &[]);
        assert_eq!(text, "unknown key `incident.auto_close_aftr`; did you mean `auto_close_after`?");
        let text = said("", &[("ITSM_INCIDENT__COLOUR", "1")]);
        assert_eq!(text, "unknown key `incident.colour`; known here: auto_close_after, limit, names, title");
        assert!(
            said("[incident]\nauto_close_after = '15 min'", &[])
                .starts_with("key `incident.auto_close_after`: `15 min`")
        );
        assert!(said("\nkey = 'hunter2", &[]).contains("at line 2"));
        for text in [said("\nkey = 'hunter2", &[]), said("key = { fil = 'hunter2' }", &[])] {
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn periods_read_back_as_written() {
        for text in ["500ms", "30s", "90m", "4h", "7d", "0s"] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
        assert_eq!("90s".parse::<Period>().unwrap().duration(), Duration::from_secs(90));
        for text in ["", "m", "15", "15 m", "-1s", "1w", "36501d", "99999999999999999999d"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}

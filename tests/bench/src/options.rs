//! The command line: `--name value` pairs, a name as often as wanted.

use std::{fmt::Display, str::FromStr};

use anyhow::{Context, bail};

/// What was said on the command line.
#[derive(Debug)]
pub struct Options(Vec<(String, String)>);

impl Options {
    /// Reads pairs of names and values.
    ///
    /// # Errors
    /// Fails for a value without a name and for a name without a value.
    pub fn read(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut pairs = Vec::new();
        while let Some(name) = arguments.next() {
            let Some(name) = name.strip_prefix("--") else { bail!("`{name}` is no option") };
            let value = arguments.next().with_context(|| format!("--{name} needs a value"))?;
            pairs.push((name.to_owned(), value));
        }
        Ok(Self(pairs))
    }

    /// All values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value of a name, if it was said.
    pub fn find<T: FromStr>(&self, name: &str) -> anyhow::Result<Option<T>>
    where
        T::Err: Display,
    {
        self.all(name)
            .next()
            .map(|text| text.parse().map_err(|error| anyhow::anyhow!("--{name} {text}: {error}")))
            .transpose()
    }

    /// The value of a name, or what holds without it.
    pub fn or<T: FromStr>(&self, name: &str, default: T) -> anyhow::Result<T>
    where
        T::Err: Display,
    {
        Ok(self.find(name)?.unwrap_or(default))
    }

    /// The value of a name that must be said.
    pub fn need<T: FromStr>(&self, name: &str) -> anyhow::Result<T>
    where
        T::Err: Display,
    {
        self.find(name)?.with_context(|| format!("--{name} is missing"))
    }
}

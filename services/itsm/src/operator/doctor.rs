//! `itsm doctor`: whether an installation is fit, before its first start and after. Each finding that
//! is not well says how to mend it.
//!
//! It mends nothing itself. Where the settings name the operator's keys for NATS, it takes them into
//! the data folder as the provisioner's start does.

mod database;
mod files;

use anyhow::Context as _;
use async_nats::jetstream;
use clap::Args;
use serde::Serialize;

use super::{Place, connect, form::Form, status};
use crate::{
    cli::{
        out::{Look, Tone},
        table::grid,
    },
    embedded::folder::DataPaths,
    provisioner::{connection, streams},
    settings::Settings,
    wiring::{PROVISIONER, place::Bus},
};

/// Checks whether an installation is fit, and ends with 1 when something is wrong.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  itsm doctor\n  itsm doctor --settings /etc/itsm.toml --data /var/lib/itsm --output json\n\n\
                  Run it with the settings and the data folder of the provisioner or of `itsm up`, before the first start \
                  and after. Warnings do not count as wrong."
)]
pub struct Doctor {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    form: Form,
}

/// How something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do about it; empty when it is well.
    mend: String,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), mend: String::new() }
    }

    fn warning(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, found: found.into(), mend: mend.into() }
    }

    fn wrong(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Wrong, found: found.into(), mend: mend.into() }
    }
}

impl Doctor {
    /// What to print, and whether nothing is wrong.
    ///
    /// # Errors
    /// Fails when the findings cannot be written; what cannot be looked at is a finding.
    pub async fn run(self, settings: &Settings) -> anyhow::Result<(String, bool)> {
        let paths = DataPaths::new(&self.place.data)?;
        let mut found = Vec::new();
        let own = settings.database.url.is_empty();
        match connect(&self.place, settings).await {
            Ok(mut connection) => database::look(&mut connection, &mut found).await,
            Err(_) if own && !paths.postgres().exists() => {
                found.push(Finding::warning("database", "there is none yet", "start `itsm up`, or set DATABASE_URL"));
            }
            Err(error) => {
                found.push(Finding::wrong("database", format!("{error:#}"), "start it, or mend DATABASE_URL"))
            }
        }
        match Bus::find(settings, &paths) {
            Ok(bus) => nats(&bus, settings.nats.replicas, &mut found).await,
            Err(error) => {
                found.push(Finding::warning("nats", format!("{error:#}"), "start `itsm up`, or set NATS_URL"))
            }
        }
        files::look(settings, &paths, &mut found);
        found.push(match status::disk(&paths) {
            None => Finding::warning("disk", "the data folder is not there yet", "the first start makes it"),
            Some(disk) if disk.free_bytes < status::FREE_NEEDED => {
                Finding::wrong("disk", disk.to_string(), "make room: the intake alone may need 1 GiB")
            }
            Some(disk) => Finding::ok("disk", disk.to_string()),
        });
        let well = found.iter().all(|finding| finding.verdict != Verdict::Wrong);
        let text = if self.form.json() {
            serde_json::to_string_pretty(&found).context("cannot write the findings as JSON")?
        } else {
            table(Look::of_stdout(), &found)
        };
        Ok((text, well))
    }
}

async fn nats(bus: &Bus, replicas: usize, found: &mut Vec<Finding>) {
    // It refuses a server that is too old or has no JetStream.
    let connection = match connection::connect(&bus.access(), PROVISIONER).await {
        Ok(connection) => connection,
        Err(error) => {
            let mend =
                "start a nats-server 2.12 or newer with JetStream, or mend `nats.url`, credentials and certificates";
            return found.push(Finding::wrong("nats", format!("{error:#}"), mend));
        }
    };
    found.push(Finding::ok("nats", format!("nats-server {}", connection.client.server_info().version)));
    found.push(match streams::look(&jetstream::new(connection.client), replicas).await {
        Err(error) => Finding::wrong("streams", format!("{error:#}"), "give the provisioner's credentials"),
        Ok(streams) => {
            let odd: Vec<String> =
                streams.iter().filter(|stream| !stream.as_wanted).map(|stream| stream.name.clone()).collect();
            if odd.is_empty() {
                Finding::ok("streams", format!("{} streams are as they have to be", streams.len()))
            } else {
                let odd = format!("missing or otherwise configured: {}", odd.join(", "));
                Finding::warning("streams", odd, "a running provisioner makes them within seconds; see its log")
            }
        }
    });
}

fn table(look: Look, found: &[Finding]) -> String {
    let rows = found.iter().map(|finding| {
        let (word, tone) = match finding.verdict {
            Verdict::Ok => ("ok", Tone::Good),
            Verdict::Warning => ("warning", Tone::Warning),
            Verdict::Wrong => ("wrong", Tone::Bad),
        };
        let said = if finding.mend.is_empty() {
            finding.found.clone()
        } else {
            format!("{}. To mend it: {}", finding.found, finding.mend)
        };
        vec![(word.to_owned(), tone), (finding.check.to_owned(), Tone::Plain), (said, Tone::Plain)]
    });
    grid(look, &["", "check", "found"], rows.collect())
}

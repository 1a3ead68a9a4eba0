//! `itsm status`: how a running installation stands, on one screen.
//!
//! Each part is asked where it can be asked whole, whatever process runs it: the event path in the
//! database, the streams in NATS, readiness at the public port.

mod event_path;

use std::{fmt, time::Duration};

use anyhow::Context as _;
use async_nats::jetstream;
use clap::Args;
use nix::sys::statvfs::statvfs;
use serde::Serialize;
use serde_json::Value;

use super::{Place, connect, form::Form};
use crate::{
    cli::{
        connection::read,
        format::short_length,
        out::{Look, Tone},
        table::grid,
    },
    embedded::folder::DataPaths,
    provisioner::{
        connection,
        streams::{self, Fill},
    },
    settings::Settings,
    wiring::{PROVISIONER, place},
};
use event_path::Service;

const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// The intake alone may take as much while the alert service is away.
pub const FREE_NEEDED: u64 = 1 << 30;
/// Of a stream that refuses when it is full, in percent.
const FULL_AT: u64 = 80;

/// Shows how a running installation stands, and ends with 1 when something is wrong.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  itsm status\n  itsm status --data /var/lib/itsm --output json\n  \
                  DATABASE_URL=postgres://admin@db/itsm NATS_URL=nats://nats:4222 itsm status --url https://itsm.example\n\n\
                  It asks the database, NATS and the public port. Without a URL the port is left out, without NATS the streams.")]
pub struct Status {
    #[command(flatten)]
    place: Place,
    /// The URL of the installation. Default: the one of the data folder's `itsm up`.
    #[arg(long, value_name = "URL", env = "ITSM_URL")]
    url: Option<String>,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    server: Option<Server>,
    services: Vec<Service>,
    streams: Vec<Fill>,
    disk: Option<Disk>,
    /// What is not as it should be, a sentence each.
    wrong: Vec<String>,
}

/// What the public port says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    url: String,
    version: Option<String>,
    ready: bool,
    waiting_for: Value,
}

/// The file system of the data folder.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    folder: String,
    /// What may still be written.
    pub free_bytes: u64,
    size_bytes: u64,
}

impl Status {
    /// What to print, and whether all is well.
    ///
    /// # Errors
    /// Fails when the report cannot be written; what cannot be asked is part of the report.
    pub async fn run(self, settings: &Settings) -> anyhow::Result<(String, bool)> {
        let mut report = Report::default();
        let url = self.url.filter(|url| !url.is_empty()).or_else(|| read(&self.place.data.join("url")));
        if let Some(url) = url {
            match ask(url.trim_end_matches('/')).await {
                Ok(server) => report.server = Some(server),
                Err(error) => report.wrong.push(format!("{error:#}")),
            }
        }
        match connect(&self.place, settings).await {
            Ok(mut connection) => match event_path::look(&mut connection).await {
                Ok(services) => report.services = services,
                Err(error) => report.wrong.push(format!("{error:#}")),
            },
            Err(error) => report.wrong.push(format!("{error:#}")),
        }
        let paths = DataPaths::new(&self.place.data)?;
        // Where no NATS is named there are no streams to ask for.
        if let Ok(bus) = place::Bus::find(settings, &paths) {
            match look_at_streams(&bus, settings.nats.replicas).await {
                Ok(streams) => report.streams = streams,
                Err(error) => report.wrong.push(format!("{error:#}")),
            }
        }
        report.disk = disk(&paths);
        report.judge();
        let text = if self.form.json() {
            serde_json::to_string_pretty(&report).context("cannot write the report as JSON")?
        } else {
            report.screen(Look::of_stdout())
        };
        Ok((text, report.wrong.is_empty()))
    }
}

async fn ask(url: &str) -> anyhow::Result<Server> {
    let client = reqwest::Client::builder().timeout(ANSWERS_WITHIN).no_proxy().build()?;
    let get = async |path: &str| -> anyhow::Result<String> {
        let answer = client.get(format!("{url}{path}")).send().await;
        let answer = answer.with_context(|| format!("{url} does not answer"))?;
        answer.text().await.with_context(|| format!("{url}{path} does not answer whole"))
    };
    let said: Value = serde_json::from_str(&get("/readyz").await?)
        .with_context(|| format!("{url}/readyz answers otherwise than an installation does"))?;
    let numbers = get("/metrics").await?;
    let version = numbers.lines().find_map(|line| line.strip_prefix("itsm_build_info{")?.split('"').nth(1));
    Ok(Server {
        url: url.to_owned(),
        version: version.map(str::to_owned),
        ready: said["ready"] == true,
        waiting_for: said["waitingFor"].clone(),
    })
}

async fn look_at_streams(bus: &place::Bus, replicas: usize) -> anyhow::Result<Vec<Fill>> {
    let connection = connection::connect(&bus.access(), PROVISIONER).await?;
    streams::look(&jetstream::new(connection.client), replicas).await
}

/// How much room there is; none when the folder is not there.
pub fn disk(paths: &DataPaths) -> Option<Disk> {
    let found = statvfs(paths.root()).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
    Some(Disk {
        folder: paths.root().display().to_string(),
        free_bytes: bytes(found.blocks_available()),
        size_bytes: bytes(found.blocks()),
    })
}

impl fmt::Display for Disk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of {} free at {}", bytes(self.free_bytes), bytes(self.size_bytes), self.folder)
    }
}

impl Report {
    /// Adds what is wrong by what was found. The limits are those of the alarms.
    fn judge(&mut self) {
        let mut wrong = Vec::new();
        if let Some(server) = self.server.as_ref().filter(|server| !server.ready) {
            let waiting = server.waiting_for.as_object().into_iter().flatten();
            let waiting: Vec<String> =
                waiting.map(|(part, what)| format!("{part}: {}", what.as_str().unwrap_or_default())).collect();
            wrong.push(format!("{} is not ready; it waits for {}", server.url, waiting.join("; ")));
        }
        for service in &self.services {
            service.judge(&mut wrong);
        }
        for stream in &self.streams {
            let full = stream.percent() >= FULL_AT && !stream.forgets;
            match stream.messages {
                None => wrong.push(format!("the stream {} is missing; does a provisioner run?", stream.name)),
                Some(_) if full => wrong.push(format!("the stream {} is {} % full", stream.name, stream.percent())),
                Some(_) => {}
            }
        }
        if let Some(disk) = self.disk.as_ref().filter(|disk| disk.free_bytes < FREE_NEEDED) {
            wrong.push(format!("only {} are free at {}", bytes(disk.free_bytes), disk.folder));
        }
        self.wrong.append(&mut wrong);
    }

    fn screen(&self, look: Look) -> String {
        let mut parts = Vec::new();
        if let Some(server) = &self.server {
            let (state, tone) = if server.ready { ("ready", Tone::Good) } else { ("not ready", Tone::Bad) };
            let version = server.version.as_deref().unwrap_or("of an unknown version");
            parts.push(format!("itsm {version} at {}: {}", server.url, look.paint(tone, state)));
        }
        if !self.services.is_empty() {
            parts.push(event_path::services(look, &self.services));
            parts.push(event_path::leases(look, &self.services));
        }
        if !self.streams.is_empty() {
            let rows = self.streams.iter().map(|stream| {
                let tone = if stream.messages.is_none() { Tone::Bad } else { Tone::Plain };
                let room = if stream.forgets { "the oldest goes" } else { "refuses when full" };
                let messages = stream.messages.map_or_else(|| "missing".to_owned(), |count| count.to_string());
                vec![
                    (stream.name.clone(), tone),
                    (messages, tone),
                    (format!("{} of {}", bytes(stream.bytes), bytes(stream.at_most_bytes)), tone),
                    (format!("{} %, {room}", stream.percent()), tone),
                ]
            });
            parts.push(grid(look, &["stream", "messages", "size", "full"], rows.collect()));
        }
        if let Some(disk) = &self.disk {
            parts.push(disk.to_string());
        }
        if self.wrong.is_empty() {
            parts.push(look.paint(Tone::Good, "nothing is wrong"));
        } else {
            let wrong = self.wrong.iter().map(|wrong| look.paint(Tone::Bad, &format!("wrong: {wrong}")));
            parts.push(wrong.collect::<Vec<_>>().join("\n"));
        }
        parts.join("\n\n")
    }
}

/// A length of time, to the second.
fn seconds(length: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and nothing is so long")]
    short_length(length as i64)
}

/// A size in the largest unit of which there are ten.
fn bytes(count: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(bits, _)| count >> bits >= 10);
    unit.map_or_else(|| format!("{count} B"), |(bits, unit)| format!("{} {unit}", count >> bits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use event_path::Held;

    fn report() -> Report {
        let held = |name: &str| Held {
            name: name.to_owned(),
            holder: "host-1".to_owned(),
            expired_seconds: -3.0,
            behind: Some(0),
            behind_seconds: 0.0,
        };
        let service = Service {
            name: "sla",
            outbox: 0,
            outbox_oldest_seconds: 0.0,
            dead_letters: 0,
            timer_due_in_seconds: Some(90.0),
            leases: vec![held("relay"), held("consumer:incident")],
        };
        let stream = |name: &str, forgets| Fill {
            name: name.to_owned(),
            messages: Some(2),
            bytes: 90 << 20,
            at_most_bytes: 1 << 30,
            forgets,
            as_wanted: true,
        };
        let server = Server {
            url: "http://127.0.0.1:8080".to_owned(),
            version: Some("0.1.0".to_owned()),
            ready: true,
            waiting_for: Value::Null,
        };
        Report {
            server: Some(server),
            services: vec![service],
            streams: vec![stream("ALERTS", false), stream("EVT_incident", true)],
            disk: Some(Disk { folder: "/data".to_owned(), free_bytes: 50 << 30, size_bytes: 100 << 30 }),
            wrong: Vec::new(),
        }
    }

    #[test]
    fn a_well_installation_is_one_screen() {
        let mut report = report();
        report.judge();
        let shown = report.screen(Look::PLAIN);
        for line in [
            "itsm 0.1.0 at http://127.0.0.1:8080: ready",
            "sla      0               0             in 1m30s",
            "ALERTS        2         90 MiB of 1024 MiB  8 %, refuses when full",
            "50 GiB of 100 GiB free at /data",
            "nothing is wrong",
        ] {
            assert!(shown.contains(line), "no `{line}` in\n{shown}");
        }
    }

    #[test]
    fn whatever_is_wrong_is_said() {
        let mut report = report();
        if let Some(server) = &mut report.server {
            server.ready = false;
            server.waiting_for = serde_json::json!({"incident relay": "no sign of life"});
        }
        let sla = &mut report.services[0];
        (sla.outbox, sla.outbox_oldest_seconds, sla.dead_letters) = (3, 31.0, 2);
        sla.timer_due_in_seconds = Some(-31.0);
        sla.leases[0].expired_seconds = 7.0;
        (sla.leases[1].behind, sla.leases[1].behind_seconds) = (Some(9), 61.0);
        report.streams[0].bytes = 900 << 20;
        report.streams[1].bytes = 1 << 30;
        report.streams.push(Fill { messages: None, name: "KV_keys".to_owned(), ..report.streams[0].clone() });
        report.disk = Some(Disk { folder: "/data".to_owned(), free_bytes: 1 << 20, size_bytes: 100 << 30 });
        report.judge();
        assert_eq!(
            report.wrong,
            [
                "http://127.0.0.1:8080 is not ready; it waits for incident relay: no sign of life",
                "sla: 3 events are not numbered, the oldest for 31s",
                "sla: 2 events are set aside; see `itsm dead-letter list`",
                "sla: a timer is overdue for 31s",
                "sla: nobody holds the lease relay, for 7s",
                "sla: consumer:incident is 9 events behind, for 1m1s",
                "the stream ALERTS is 87 % full",
                "the stream KV_keys is missing; does a provisioner run?",
                "only 1024 KiB are free at /data",
            ]
        );
        assert!(report.screen(Look::PLAIN).contains("wrong: only 1024 KiB"));
    }
}

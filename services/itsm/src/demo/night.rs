//! The night itself: the alert comes, people are told, somebody answers, it goes. Each step is
//! awaited as a client sees it, and measured from the moment the alert was sent.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, bail};
use chrono::TimeDelta;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    PATIENCE, PAUSE,
    payload::Condition,
    sink::Sink,
    stage::{Pager, Stage},
    watcher::{Seen, Watcher},
};
use crate::cli::{
    format::{instant, length, now, word},
    names::quoted,
    out::Tone,
    rest::Rest,
    value::{number, text},
};

/// How often the source repeats itself.
const REPEATS: usize = 5;
/// How far in the past the source says that it began.
const BEGAN_BEFORE: TimeDelta = TimeDelta::minutes(4);

/// What happened.
#[derive(Debug)]
pub struct Night {
    /// The incident.
    pub incident_id: String,
    /// Its number.
    pub incident_number: String,
    /// Every event of it, in the order in which it happened.
    pub events: Vec<Seen>,
    steps: Vec<Step>,
    intake: Instant,
}

#[derive(Debug)]
struct Step {
    name: &'static str,
    happened: String,
    at: Instant,
}

impl Night {
    fn step(&mut self, name: &'static str, at: Instant, happened: impl Into<String>) {
        self.steps.push(Step { name, happened: happened.into(), at });
    }

    /// The rows of the table, in the order in which things were seen.
    pub fn rows(&self) -> Vec<Vec<(String, Tone)>> {
        let mut steps: Vec<&Step> = self.steps.iter().collect();
        steps.sort_by_key(|step| step.at);
        let row = |step: &&Step| {
            let ms = step.at.saturating_duration_since(self.intake).as_millis();
            vec![
                (step.name.to_owned(), Tone::Strong),
                (step.happened.clone(), Tone::Plain),
                (format!("{ms:>6}"), Tone::Faint),
            ]
        };
        steps.iter().map(row).collect()
    }
}

/// Plays it.
pub async fn play(rest: &Rest, stage: &Stage, mut sink: Sink, data: &Path) -> anyhow::Result<Night> {
    let mut watcher = Watcher::open(rest).await.context("opening the streams of events")?;
    let condition = Condition {
        service: stage.service_name.clone(),
        team: stage.team_name.clone(),
        fingerprint: kit::id::draw().simple().to_string().split_off(16),
        started: now() - BEGAN_BEFORE,
    };
    let intake = Instant::now();
    let mut night = Night {
        incident_id: String::new(),
        incident_number: String::new(),
        events: Vec::new(),
        steps: Vec::new(),
        intake,
    };
    post(rest, stage, &condition.firing()).await?;
    night.step("alert accepted", Instant::now(), "Alertmanager's webhook (version 4) is kept for good");
    let alert_id = opens(&mut night, &mut watcher, stage).await?;
    told(&mut night, &mut watcher, &mut sink, stage, data).await?;
    repeats(&mut night, &mut watcher, rest, stage, &condition, &alert_id).await?;
    acknowledges(&mut night, &mut watcher, rest, stage).await?;
    clears(&mut night, &mut watcher, rest, stage, &condition, &alert_id).await?;
    let is_ours = |seen: &Seen| {
        let about = ["incidentId", "subjectRecordId", "id"].map(|path| text(seen.record(), path));
        let is_about = about.contains(&night.incident_id.as_str()) || about.contains(&alert_id.as_str());
        // That somebody shall be told is told again when they were.
        is_about && seen.kind() != "delivery_requested"
    };
    night.events = watcher.all(is_ours).into_iter().cloned().collect();
    night.events.sort_by_key(|seen| instant(text(&seen.entry, "at")));
    Ok(night)
}

async fn post(rest: &Rest, stage: &Stage, payload: &Value) -> anyhow::Result<()> {
    let body = payload.to_string();
    let sent = rest.intake(&stage.integration_key, "alertmanager", "application/json", body.as_bytes()).await;
    sent.map(drop).context("posting to /intake/KEY/alertmanager")
}

/// The alert opens one incident, which starts two clocks.
async fn opens(night: &mut Night, watcher: &mut Watcher, stage: &Stage) -> anyhow::Result<String> {
    let is_ours = |seen: &Seen| {
        seen.kind() == "raised"
            && text(seen.record(), "serviceId") == stage.service_id
            && text(seen.record(), "severity") == "CRITICAL"
    };
    let raised = watcher.until("the alert", |seen| seen.noun.name == "alert" && is_ours(seen)).await?;
    let alert_id = text(raised.record(), "id").to_owned();
    night.step(
        "alert raised",
        raised.at,
        format!("{}: {}", word(text(raised.record(), "severity")), text(raised.record(), "title")),
    );
    let opened = watcher.until("the incident", |seen| {
        let same = text(seen.record(), "serviceId") == stage.service_id;
        seen.noun.name == "incident" && seen.kind() == "opened" && same
    });
    let opened = opened.await?;
    let incident = opened.record();
    night.incident_id = text(incident, "id").to_owned();
    night.incident_number = text(incident, "number").to_owned();
    if text(incident, "assignedTeamId") != stage.team_id {
        bail!("{} opened, but for another team than {}", night.incident_number, stage.team_name);
    }
    let happened = format!("{} as {} for team {}", night.incident_number, text(incident, "priority"), stage.team_name);
    night.step("incident opened", opened.at, happened);
    for metric in ["RESPONSE", "RESOLUTION"] {
        let clock = clock(watcher, &night.incident_id, metric, "clock_started").await?;
        let target = length(number(clock.record(), "targetSeconds").unwrap_or_default());
        night.step("clock started", clock.at, format!("{}: {target}", word(metric)));
    }
    Ok(alert_id)
}

async fn clock(watcher: &mut Watcher, incident_id: &str, metric: &str, kind: &str) -> anyhow::Result<Seen> {
    let what = format!("the {} clock ({})", word(metric), kind.replace('_', " "));
    let wanted = |seen: &Seen| {
        seen.noun.name == "clock"
            && seen.kind() == kind
            && text(seen.record(), "incidentId") == incident_id
            && text(seen.record(), "metric") == metric
    };
    watcher.until(&what, wanted).await
}

/// What became of the message to a person about an event.
async fn delivery(watcher: &mut Watcher, night: &Night, person: &str, name: &str, event: &str) -> anyhow::Result<Seen> {
    let wanted = |seen: &Seen| {
        let delivery = seen.record();
        seen.noun.name == "delivery"
            && matches!(seen.kind(), "delivered" | "delivery_failed")
            && text(delivery, "personId") == person
            && text(delivery, "eventType") == event
            && text(delivery, "subjectRecordId") == night.incident_id
    };
    watcher.until(&format!("the message to {name} about {event}"), wanted).await
}

/// Ada gets a mail, Ben's pager a signed webhook.
async fn told(
    night: &mut Night,
    watcher: &mut Watcher,
    sink: &mut Sink,
    stage: &Stage,
    data: &Path,
) -> anyhow::Result<()> {
    let mail = delivery(watcher, night, &stage.ada.id, stage.ada.name, "incident.opened").await?;
    if mail.kind() != "delivered" {
        bail!("the mail to {} failed: {}", stage.ada.name, text(mail.record(), "reason"));
    }
    let file = mail_file(data, &night.incident_number);
    let place = file.map_or_else(String::new, |file| format!(": {}", file.display()));
    night.step("mail sent", mail.at, format!("to {}{place}", stage.ada.name));
    let other = delivery(watcher, night, &stage.ben.id, stage.ben.name, "incident.opened").await?;
    if other.kind() != "delivered" {
        bail!("the message to {} failed: {}", stage.ben.name, text(other.record(), "reason"));
    }
    match &stage.pager {
        Pager::Mail { .. } => night.step("mail sent", other.at, format!("to {}", stage.ben.name)),
        Pager::Webhook { signing_secret } => {
            let received = paged(night, sink, signing_secret).await?;
            night.step("webhook received", received, format!("by {}'s pager, signature checked", stage.ben.name));
        }
    }
    Ok(())
}

/// The webhook about the incident, as its receiver sees it.
async fn paged(night: &Night, sink: &mut Sink, signing_secret: &str) -> anyhow::Result<Instant> {
    let received = timeout(PATIENCE, async {
        while let Some(received) = sink.next().await {
            if received.mentions(&night.incident_number) {
                return Some(received);
            }
        }
        None
    });
    let Ok(Some(received)) = received.await else {
        bail!("the webhook counts as delivered, but never came to {}", sink.url());
    };
    if !received.signed_with(signing_secret) {
        bail!("the webhook came, but its signature is not that of its secret");
    }
    Ok(received.at)
}

/// The mail as a file, where mail goes to files on this machine.
fn mail_file(data: &Path, number: &str) -> Option<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(data.join("mail")).ok()?.filter_map(|e| Some(e.ok()?.path())).collect();
    files.sort();
    let is_mail = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "eml");
    let speaks = |file: &PathBuf| std::fs::read_to_string(file).is_ok_and(|mail| mail.contains(number));
    let found = files.into_iter().rev().take(200).filter(is_mail).find(speaks)?;
    // As somebody standing here would open it.
    let here = std::env::current_dir().ok();
    Some(here.and_then(|here| found.strip_prefix(here).ok().map(Path::to_path_buf)).unwrap_or(found))
}

/// The source says the same again; nobody is woken twice.
async fn repeats(
    night: &mut Night,
    watcher: &mut Watcher,
    rest: &Rest,
    stage: &Stage,
    condition: &Condition,
    alert_id: &str,
) -> anyhow::Result<()> {
    for _ in 0..REPEATS {
        post(rest, stage, &condition.firing()).await?;
    }
    let expected = i64::try_from(REPEATS)? + 1;
    let counted = timeout(PATIENCE, async {
        loop {
            let count = stage.occurrences(rest, alert_id).await?;
            if count >= expected {
                return Ok::<_, anyhow::Error>(count);
            }
            kit::clock::pause(PAUSE).await;
        }
    });
    let count = counted.await.map_err(|_| late("counting the repeats"))??;
    let filter = format!("service_id = {}", quoted(&stage.service_id));
    let incidents = rest.list("incidents", "incidents", &filter, 10).await?.records.len();
    let opened = watcher.all(|seen| seen.kind() == "opened" && text(seen.record(), "serviceId") == stage.service_id);
    if incidents != 1 || opened.len() != 1 {
        bail!("{REPEATS} repeats of one alert left {incidents} incidents where 1 was expected");
    }
    night.step("repeats counted", Instant::now(), format!("said {count} times by now, still 1 incident"));
    Ok(())
}

fn late(what: &str) -> anyhow::Error {
    anyhow::anyhow!("{what} did not come within {} s", PATIENCE.as_secs())
}

/// Ada has seen it: the response clock stops.
async fn acknowledges(night: &mut Night, watcher: &mut Watcher, rest: &Rest, stage: &Stage) -> anyhow::Result<()> {
    let ada = rest.with_key(&stage.ada_key);
    let path = format!("incidents/{}:acknowledge", night.incident_id);
    ada.post(&path, &json!({})).await.with_context(|| format!("{} acknowledges", stage.ada.name))?;
    let incident_id = night.incident_id.clone();
    let acknowledged = watcher.until("the acknowledgement", |seen| {
        seen.noun.name == "incident" && seen.kind() == "acknowledged" && text(seen.record(), "id") == incident_id
    });
    let acknowledged = acknowledged.await?;
    night.step("acknowledged", acknowledged.at, format!("by {}, with her own key", stage.ada.name));
    met(night, watcher, "RESPONSE").await
}

async fn met(night: &mut Night, watcher: &mut Watcher, metric: &str) -> anyhow::Result<()> {
    let clock = clock(watcher, &night.incident_id, metric, "clock_met").await?;
    let target = length(number(clock.record(), "targetSeconds").unwrap_or_default());
    let elapsed = length(number(clock.record(), "elapsedSeconds").unwrap_or_default());
    night.step("clock stopped", clock.at, format!("{}: {elapsed} of {target}", word(metric)));
    Ok(())
}

/// The source says that it is over; nobody took the incident over, so it resolves by itself.
async fn clears(
    night: &mut Night,
    watcher: &mut Watcher,
    rest: &Rest,
    stage: &Stage,
    condition: &Condition,
    alert_id: &str,
) -> anyhow::Result<()> {
    post(rest, stage, &condition.resolved(now())).await?;
    let cleared = watcher.until("the end of the alert", |seen| {
        seen.noun.name == "alert" && seen.kind() == "cleared" && text(seen.record(), "id") == alert_id
    });
    let cleared = cleared.await?;
    night.step("alert cleared", cleared.at, "Alertmanager says resolved");
    let incident_id = night.incident_id.clone();
    let resolved = watcher.until("the resolution", |seen| {
        seen.noun.name == "incident" && seen.kind() == "resolved" && text(seen.record(), "id") == incident_id
    });
    let resolved = resolved.await?;
    let code = word(text(resolved.record(), "resolutionCode"));
    night.step("incident resolved", resolved.at, format!("{} by itself: {code}", night.incident_number));
    met(night, watcher, "RESOLUTION").await?;
    let mut told = Vec::new();
    for actor in [&stage.ada, &stage.ben] {
        told.push(delivery(watcher, night, &actor.id, actor.name, "incident.resolved").await?.at);
    }
    let last = told.into_iter().max().unwrap_or(resolved.at);
    night.step("all clear", last, format!("{} and {} may sleep on", stage.ada.name, stage.ben.name));
    Ok(())
}

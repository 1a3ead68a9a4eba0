//! The stage: a team with two people, what they answer for and what was promised. Names that are
//! taken get a number, so that the demo can be played again.

use std::path::Path;

use anyhow::Context as _;
use chrono::{SecondsFormat, TimeDelta};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{PATIENCE, PAUSE};
use crate::cli::{
    connection::read,
    failure::Failure,
    format::now,
    names::quoted,
    rest::Rest,
    value::{number, text},
};

/// Someone on the stage.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The person.
    pub id: String,
    /// What they are called.
    pub name: &'static str,
    /// By which way they are reached.
    pub contact_method_id: String,
}

/// How Ben is reached.
#[derive(Debug)]
pub enum Pager {
    /// By a webhook to this process, signed with this secret.
    Webhook {
        /// The secret.
        signing_secret: String,
    },
    /// By mail, since the server lets no webhook reach this machine; and why.
    Mail {
        /// What the server said.
        refused: String,
    },
}

/// Everything that was made.
#[derive(Debug)]
pub struct Stage {
    /// The team.
    pub team_id: String,
    /// Its short name.
    pub team_name: String,
    /// The service.
    pub service_id: String,
    /// Its short name.
    pub service_name: String,
    /// Is mailed and acknowledges.
    pub ada: Actor,
    /// Has a webhook.
    pub ben: Actor,
    /// Ada's own key.
    pub ada_key: String,
    ada_key_id: String,
    /// How Ben is reached.
    pub pager: Pager,
    /// The key by which alerts come in.
    pub integration_key: String,
}

/// Sets it.
pub async fn set(rest: &Rest, data: &Path, webhook: &str) -> anyhow::Result<Stage> {
    let suffix = free_suffix(rest).await.context("looking for free names")?;
    let team_name = format!("payments{suffix}");
    let service_name = format!("checkout{suffix}");
    let team = json!({ "name": team_name, "displayName": "Payments", "description": "Made by the demo" });
    let team_id = made(rest, "teams", team).await?;
    let ada_email = format!("ada.okafor{suffix}@payments.example");
    let ada_id = person(rest, &team_id, "Ada Okafor", &ada_email, "RESPONDER").await?;
    let ben_email = format!("ben.lindqvist{suffix}@payments.example");
    let ben_id = person(rest, &team_id, "Ben Lindqvist", &ben_email, "MANAGER").await?;
    let mail = json!({ "personId": ada_id, "method": "MAIL", "displayName": "work mail", "address": ada_email });
    let mail = create(rest, "contactMethods", mail).await?;
    let (hook, pager) = pager(rest, &ben_id, webhook, &ben_email).await?;
    let expires = (now() + TimeDelta::hours(1)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let key =
        create(rest, "apiKeys", json!({ "personId": ada_id, "displayName": "demo", "expireTime": expires })).await?;
    for event in ["incident.opened", "incident.resolved"] {
        rule(rest, &team_id, &team_name, event).await?;
    }
    let integration_key = integration_key(rest, data, &suffix).await?;
    let service_id = service(rest, &team_id, &service_name).await?;
    agreement(rest, &service_id, &service_name).await?;
    let contact = |answer: &Value| text(answer, "contactMethod.id").to_owned();
    let stage = Stage {
        ada: Actor { id: ada_id, name: "Ada", contact_method_id: contact(&mail) },
        ben: Actor { id: ben_id, name: "Ben", contact_method_id: contact(&hook) },
        ada_key: text(&key, "key").to_owned(),
        ada_key_id: text(&key, "apiKey.id").to_owned(),
        pager,
        team_id,
        team_name,
        service_id,
        service_name,
        integration_key,
    };
    stage.until_known(rest).await?;
    Ok(stage)
}

/// `""`, `-2`, `-3`: the first with which neither team nor service is taken.
async fn free_suffix(rest: &Rest) -> Result<String, Failure> {
    for count in 1.. {
        let suffix = if count == 1 { String::new() } else { format!("-{count}") };
        let mut taken = false;
        for (path, name) in [("teams", "payments"), ("services", "checkout")] {
            let filter = format!("name = {}", quoted(&format!("{name}{suffix}")));
            taken |= !rest.list(path, path, &filter, 1).await?.records.is_empty();
        }
        if !taken {
            return Ok(suffix);
        }
    }
    Ok(String::new())
}

async fn create(rest: &Rest, path: &str, body: Value) -> anyhow::Result<Value> {
    rest.post(path, &body).await.with_context(|| format!("setting the stage: POST /v1/{path}"))
}

async fn made(rest: &Rest, path: &str, body: Value) -> anyhow::Result<String> {
    Ok(text(&create(rest, path, body).await?, "id").to_owned())
}

async fn person(rest: &Rest, team_id: &str, name: &str, email: &str, role: &str) -> anyhow::Result<String> {
    let person = json!({ "kind": "HUMAN", "displayName": name, "email": email, "timeZone": "Europe/Stockholm" });
    let id = made(rest, "people", person).await?;
    made(rest, "memberships", json!({ "teamId": team_id, "personId": id, "role": role })).await?;
    Ok(id)
}

/// A webhook to this process, which the server must allow; else a mail.
async fn pager(rest: &Rest, ben_id: &str, webhook: &str, email: &str) -> anyhow::Result<(Value, Pager)> {
    let way = |method: &str, address: &str| json!({ "personId": ben_id, "method": method, "displayName": "pager", "address": address });
    match rest.post("contactMethods", &way("WEBHOOK", webhook)).await {
        Ok(answer) => {
            let signing_secret = text(&answer, "signingSecret").to_owned();
            Ok((answer, Pager::Webhook { signing_secret }))
        }
        Err(Failure::Refused(problem)) => {
            let answer = create(rest, "contactMethods", way("MAIL", email)).await?;
            Ok((answer, Pager::Mail { refused: problem.detail }))
        }
        Err(failure) => Err(failure).context("setting the stage: POST /v1/contactMethods"),
    }
}

/// Everyone of the team is told by every way they have.
async fn rule(rest: &Rest, team_id: &str, team_name: &str, event: &str) -> anyhow::Result<()> {
    let rule = json!({
        "displayName": format!("{event}: tell {team_name}"),
        "eventType": event,
        "filter": format!("assigned_team_id = {}", quoted(team_id)),
        "recipients": { "assignedTeam": true },
    });
    made(rest, "notificationRules", rule).await.map(drop)
}

async fn service(rest: &Rest, team_id: &str, name: &str) -> anyhow::Result<String> {
    let service = json!({
        "name": name, "displayName": "Checkout", "description": "Made by the demo", "kind": "BUSINESS",
        "impact": "EXTENSIVE", "owningTeamId": team_id, "supportTeamId": team_id,
    });
    let id = made(rest, "services", service).await?;
    create(rest, &format!("services/{id}:activate"), json!({})).await?;
    Ok(id)
}

async fn agreement(rest: &Rest, service_id: &str, service_name: &str) -> anyhow::Result<()> {
    let target = |priority: &str, response: i64, resolution: i64| {
        json!({
            "priority": priority,
            "responseSeconds": (response * 60).to_string(),
            "resolutionSeconds": (resolution * 60).to_string(),
        })
    };
    let agreement = json!({
        "displayName": format!("{service_name}, gold"), "kind": "SLA", "serviceId": service_id,
        "targets": [target("P1", 15, 240), target("P2", 30, 480), target("P3", 120, 1_440), target("P4", 480, 4_320)],
    });
    let id = made(rest, "agreements", agreement).await?;
    create(rest, &format!("agreements/{id}:activate"), json!({})).await.map(drop)
}

/// The key of the integration `demo` where the data folder is here, else of one of its own.
async fn integration_key(rest: &Rest, data: &Path, suffix: &str) -> anyhow::Result<String> {
    if let Some(key) = read(&data.join("demo.key")) {
        return Ok(key);
    }
    let integration = json!({ "name": format!("payments-monitoring{suffix}"), "displayName": "Made by the demo" });
    Ok(text(&create(rest, "integrations", integration).await?, "key").to_owned())
}

impl Stage {
    /// Waits until the service and the key are known where alerts come in. The services hear of each
    /// other by events, and the night would be a poor one if its alert belonged to nobody: alerts
    /// that are only kept are sent until one belongs to the service.
    async fn until_known(&self, rest: &Rest) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        let late = || {
            let seconds = PATIENCE.as_secs();
            format!("setting the stage: service {} was not known to alerts within {seconds} s", self.service_name)
        };
        for count in 1.. {
            let key = format!("demo/{}/{count}", self.service_name);
            let alert = |status: &str| {
                json!({
                    "title": format!("{} was deployed", self.service_name), "severity": "info", "status": status,
                    "dedup_key": key, "labels": { "service": self.service_name },
                })
            };
            self.post(rest, &alert("firing"), end).await.with_context(late)?;
            let kept = self.kept(rest, &key, end).await.with_context(late)?;
            self.post(rest, &alert("cleared"), end).await.with_context(late)?;
            if text(&kept, "serviceId") == self.service_id {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < end, late());
            kit::clock::pause(PAUSE).await;
        }
        Ok(())
    }

    /// Posts an alert; a key that was made this moment may not be known yet.
    async fn post(&self, rest: &Rest, alert: &Value, end: Instant) -> anyhow::Result<()> {
        loop {
            match rest.intake(&self.integration_key, "alerts", "application/json", alert.to_string().as_bytes()).await {
                Ok(_) => return Ok(()),
                Err(Failure::Denied(_)) if Instant::now() < end => kit::clock::pause(PAUSE).await,
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    async fn kept(&self, rest: &Rest, dedup_key: &str, end: Instant) -> anyhow::Result<Value> {
        let filter = format!("dedup_key = {}", quoted(dedup_key));
        loop {
            if let Some(alert) = rest.list("alerts", "alerts", &filter, 1).await?.records.pop() {
                return Ok(alert);
            }
            anyhow::ensure!(Instant::now() < end, "the alert does not show up in /v1/alerts");
            kit::clock::pause(PAUSE).await;
        }
    }

    /// How often an alert was said.
    pub async fn occurrences(&self, rest: &Rest, alert_id: &str) -> Result<i64, Failure> {
        Ok(number(&rest.get(&format!("alerts/{alert_id}"), &[]).await?, "occurrenceCount").unwrap_or_default())
    }

    /// Takes back what must not outlive the demo: a key, and a webhook to a port that others may
    /// get. What fails here the user cannot help.
    pub async fn clean_up(&self, rest: &Rest) {
        let disable = format!("contactMethods/{}:disable", self.ben.contact_method_id);
        let revoke = format!("apiKeys/{}:revoke", self.ada_key_id);
        for path in [disable, revoke] {
            let _ = rest.post(&path, &json!({})).await;
        }
    }
}

//! A believable night in a few seconds, through the public API alone: what it shows, anyone can do
//! with curl. It may not reach into the server; what it knows, it asked for or was told by `Watch`.
//!
//! [`stage`] makes a team, a service and an agreement; [`night`] lets the alert come and go;
//! [`watcher`] says when each event was seen; [`sink`] is the receiver of the webhook.

mod night;
mod payload;
mod sink;
mod stage;
mod watcher;

use std::{path::Path, time::Duration};

use crate::cli::{
    format::Reader,
    names::Names,
    out::{Look, Tone, say},
    rest::Rest,
    story, table,
    table::Page,
};

/// How long a step may take before the demo gives up and says which one.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often something is asked for that no stream tells.
const PAUSE: Duration = Duration::from_millis(50);

/// Plays it against the server at `url`, with an administrator's key; `data` is the server's data
/// folder where it is on this machine.
///
/// # Errors
/// Fails when a step does not come in time, or the server refuses one.
pub async fn run(url: &str, key: &str, data: &Path) -> anyhow::Result<()> {
    let look = Look::of_stdout();
    let rest = Rest::new(url, Some(key.trim().to_owned()))?;
    say(&look.paint(Tone::Strong, "A night at the payments team"))?;
    let sink = sink::Sink::open().await?;
    let stage = stage::set(&rest, data, &sink.url()).await?;
    let pager = match &stage.pager {
        stage::Pager::Webhook { .. } => "webhook",
        stage::Pager::Mail { .. } => "mail",
    };
    say(&format!(
        "{} has team {} ({} by mail, {} by {pager}), service {} and its agreement: P1 is seen in 15 min, solved in 4 h.",
        rest.url(),
        stage.team_name,
        stage.ada.name,
        stage.ben.name,
        stage.service_name,
    ))?;
    if let stage::Pager::Mail { refused } = &stage.pager {
        say(&format!("No webhook tonight: {refused}. A server started by `itsm up --demo` permits loopback."))?;
    }
    let played = night::play(&rest, &stage, sink, data).await;
    stage.clean_up(&rest).await;
    let night = played?;
    say("")?;
    say(&table::grid(look, &["step", "what happened", "ms since intake"], night.rows()))?;
    say("")?;
    say(&look.paint(
        Tone::Faint,
        "The times are real. Only the source's own startsAt was made up: the alert says that it began 4 minutes earlier.",
    ))?;
    tell(&rest, look, &night).await?;
    say("")?;
    say(&look.paint(Tone::Strong, "Try next"))?;
    say(&commands(data, &night.incident_number))?;
    Ok(())
}

async fn tell(rest: &Rest, look: Look, night: &night::Night) -> anyhow::Result<()> {
    let mut names = Names::default();
    let entries: Vec<serde_json::Value> = night.events.iter().map(|seen| seen.entry.clone()).collect();
    names.learn(rest, story::pointed_at(&entries)).await;
    let page = Page { reader: Reader::here(), names: &names, look };
    say("")?;
    say(&look.paint(Tone::Strong, &format!("The story of {}", night.incident_number)))?;
    say(&story::together(&page, night.events.iter().map(|seen| (seen.noun, &seen.entry))))?;
    Ok(())
}

/// What a user would try next, as they would have to type it here.
fn commands(data: &Path, number: &str) -> String {
    let program = std::env::args_os().next().map(|arg| arg.to_string_lossy().into_owned());
    let program = program.filter(|program| program.contains('/')).unwrap_or_else(|| "itsm".to_owned());
    // The client looks into ./var by itself; `up` names its folder from the root on.
    let is_default = std::path::absolute(data).ok() == std::path::absolute("var").ok();
    let data = if is_default { String::new() } else { format!(" --data {}", data.display()) };
    [
        format!("  {program} incident show {number}{data}"),
        format!("  {program} alert send \"Disk of db1 is full\" --severity critical --label host=db1{data}"),
        format!("  {program} incident watch --since 1h{data}"),
    ]
    .join("\n")
}

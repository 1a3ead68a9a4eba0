//! The events as a client sees them: one stream for each kind of record, and when each entry came.

use std::time::Instant;

use anyhow::bail;
use serde_json::Value;
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    task::JoinSet,
    time::timeout,
};

use super::PATIENCE;
use crate::cli::{
    failure::Failure,
    noun::Noun,
    nouns::{ALERT, CLOCK, DELIVERY, INCIDENT},
    rest::Rest,
    value::text,
};

/// How many entries may wait to be looked at; the streams wait with them.
const WAITING_AT_MOST: usize = 256;

/// An event, and when it was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When the entry arrived here.
    pub at: Instant,
    /// Of what.
    pub noun: &'static Noun,
    /// The entry.
    pub entry: Value,
}

impl Seen {
    /// What happened.
    pub fn kind(&self) -> &str {
        text(&self.entry, "type")
    }

    /// The record as it was afterwards.
    pub fn record(&self) -> &Value {
        &self.entry["event"][self.noun.record_field]
    }
}

/// Streams that are open.
#[derive(Debug)]
pub struct Watcher {
    seen: Vec<Seen>,
    entries: Receiver<Result<Seen, Failure>>,
    _streams: JoinSet<()>,
}

impl Watcher {
    /// Opens the streams from now on.
    pub async fn open(rest: &Rest) -> Result<Self, Failure> {
        let (sender, entries) = mpsc::channel(WAITING_AT_MOST);
        let mut streams = JoinSet::new();
        for noun in [&ALERT, &INCIDENT, &CLOCK, &DELIVERY] {
            let lines = rest.watch(noun.path, &[]).await?;
            streams.spawn(follow(noun, lines, sender.clone()));
        }
        Ok(Self { seen: Vec::new(), entries, _streams: streams })
    }

    /// Waits for an event, also among those that were seen before.
    ///
    /// # Errors
    /// Fails when it does not come in time, or a stream breaks.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Seen) -> bool) -> anyhow::Result<Seen> {
        if let Some(seen) = self.seen.iter().find(|seen| wanted(seen)) {
            return Ok(seen.clone());
        }
        let came = timeout(PATIENCE, async {
            while let Some(entry) = self.entries.recv().await {
                let seen = entry?;
                self.seen.push(seen.clone());
                if wanted(&seen) {
                    return Ok::<_, anyhow::Error>(Some(seen));
                }
            }
            Ok(None)
        });
        match came.await {
            Ok(Ok(Some(seen))) => Ok(seen),
            Ok(Ok(None)) => bail!("{what}: the streams ended before it came"),
            Ok(Err(failure)) => Err(failure.context(format!("{what}: a stream broke before it came"))),
            Err(_) => bail!("{what} did not come within {} s; {}", PATIENCE.as_secs(), self.last_seen()),
        }
    }

    /// Every event seen so far that is wanted.
    pub fn all(&self, wanted: impl Fn(&Seen) -> bool) -> Vec<&Seen> {
        self.seen.iter().filter(|seen| wanted(seen)).collect()
    }

    fn last_seen(&self) -> String {
        let last: Vec<String> =
            self.seen.iter().rev().take(5).map(|seen| format!("{}: {}", seen.noun.name, seen.kind())).collect();
        if last.is_empty() {
            "no event was seen".to_owned()
        } else {
            format!("the last events were {}", last.join(", "))
        }
    }
}

async fn follow(noun: &'static Noun, mut lines: crate::cli::rest::Lines, sender: Sender<Result<Seen, Failure>>) {
    loop {
        let entry = match lines.next().await {
            Ok(Some(entry)) => Ok(Seen { at: Instant::now(), noun, entry }),
            Ok(None) => return,
            Err(failure) => Err(failure),
        };
        let broken = entry.is_err();
        if sender.send(entry).await.is_err() || broken {
            return;
        }
    }
}

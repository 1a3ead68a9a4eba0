//! `itsm health`: whether a part of the installation lives and is ready, for supervisors that can
//! only run a command. An image without a shell has no other.
//!
//! `itsm serve` writes down in its data folder what it still waits for, and touches the file as long
//! as it lives. Nothing listens for this, so there is no port to protect.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use clap::Args;
use kit::{clock::pause, service::Readiness};

use crate::embedded::folder::{DataPaths, read_text, write_private};

const LOOK: Duration = Duration::from_millis(500);
/// A sign that is older says that the process is gone, or stuck.
const SILENT: Duration = Duration::from_secs(10);
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Says by its exit code whether a part lives and is ready.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  itsm health incident\n  itsm health http://127.0.0.1:8080/readyz")]
pub struct Options {
    /// A part that `itsm serve` runs with this data folder, or a URL that shall answer with success.
    #[arg(value_name = "NAME|URL")]
    target: String,
    /// The data folder.
    #[arg(long, value_name = "DIR", default_value = "./var")]
    data: PathBuf,
}

/// `itsm health`.
///
/// # Errors
/// Says why it is not well.
pub async fn run(options: Options) -> anyhow::Result<ExitCode> {
    if options.target.contains("://") {
        ask(&options.target).await?;
    } else {
        look(&sign(&DataPaths::new(&options.data)?, &options.target))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(url: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(ANSWERS_WITHIN).no_proxy().build()?;
    let answer = client.get(url).send().await.with_context(|| format!("{url} does not answer"))?;
    let status = answer.status();
    if !status.is_success() {
        bail!("{url} answers {status}: {}", answer.text().await.unwrap_or_default().trim());
    }
    Ok(())
}

fn look(sign: &Path) -> anyhow::Result<()> {
    let waiting = read_text(sign)?.with_context(|| format!("{} is not there: nothing runs", sign.display()))?;
    let age = age(sign)?;
    if age > SILENT {
        bail!("no sign of life for {} s", age.as_secs());
    }
    if !waiting.is_empty() {
        bail!("it waits for: {}", waiting.trim().replace('\n', "; "));
    }
    Ok(())
}

fn age(sign: &Path) -> anyhow::Result<Duration> {
    let written = fs::metadata(sign).and_then(|metadata| metadata.modified()).context("cannot read its age")?;
    Ok(now().duration_since(written).unwrap_or_default())
}

#[expect(clippy::disallowed_methods, reason = "compared with the file system's time, which is the machine's")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn sign(paths: &DataPaths, name: &str) -> PathBuf {
    paths.run().join(format!("{name}.health"))
}

/// Writes down how the parts are, for ever. Where that fails the signs grow old, and whoever looks
/// judges; the work itself goes on.
pub async fn keep(paths: &DataPaths, names: &[String], readiness: &Readiness) {
    let signs: Vec<PathBuf> = names.iter().map(|name| sign(paths, name)).collect();
    let mut said = None;
    let mut well = true;
    loop {
        let waiting: String = readiness.waiting().iter().map(|(part, why)| format!("{part}: {why}\n")).collect();
        let done = signs.iter().try_for_each(|sign| write(sign, &waiting, said.as_ref() == Some(&waiting)));
        let was_well = std::mem::replace(&mut well, done.is_ok());
        if let (Err(error), true) = (&done, was_well) {
            tracing::error!(error = format!("{error:#}"), "cannot write down how this process is");
        }
        said = well.then_some(waiting);
        pause(LOOK).await;
    }
}

fn write(sign: &Path, waiting: &str, unchanged: bool) -> anyhow::Result<()> {
    if !unchanged {
        return Ok(write_private(sign, waiting.as_bytes())?);
    }
    let touched = File::options().write(true).open(sign).and_then(|file| file.set_modified(now()));
    touched.with_context(|| format!("cannot touch {}", sign.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_is_well_when_it_waits_for_nothing_and_lives() {
        let temporary = tempfile::tempdir().unwrap();
        let paths = DataPaths::new(temporary.path()).unwrap();
        fs::create_dir(paths.run()).unwrap();
        let sign = sign(&paths, "sla");
        let said = || look(&sign).unwrap_err().to_string();
        assert!(said().contains("nothing runs"));
        let readiness = Readiness::default();
        readiness.waits_for("sla", "consumer", "the feed of incident");
        let keeping = tokio::spawn({
            let (paths, readiness) = (paths.clone(), readiness.clone());
            async move { keep(&paths, &["sla".to_owned()], &readiness).await }
        });
        while !sign.exists() {
            pause(Duration::from_millis(5)).await;
        }
        assert!(said().contains("sla consumer: the feed of incident"), "{}", said());
        readiness.ready("sla", "consumer");
        while look(&sign).is_err() {
            pause(Duration::from_millis(5)).await;
        }
        keeping.abort();
        assert!(keeping.await.is_err());
        let long_ago = now().checked_sub(SILENT * 2).unwrap();
        File::options().write(true).open(&sign).unwrap().set_modified(long_ago).unwrap();
        assert!(said().contains("no sign of life"), "{}", said());
    }

    #[tokio::test]
    async fn a_url_that_nobody_answers_is_not_well() {
        let options = Options { target: "http://127.0.0.1:1/readyz".to_owned(), data: "unused".into() };
        assert!(run(options).await.unwrap_err().to_string().contains("does not answer"));
    }
}

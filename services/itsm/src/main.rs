//! The binary: every service, and the client.
//!
//! It reads the command line and the environment, and hands over to the command's own module.

mod backup;
mod cli;
mod demo;
mod embedded;
mod health;
mod migrate;
mod observe;
mod operator;
mod pki;
mod provision;
mod provisioner;
mod secrets;
mod serve;
mod settings;
mod signals;
mod up;
mod wiring;

#[cfg(test)]
#[path = "../tests/common/golden.rs"]
mod golden;

use std::{future::Future, io::Write, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use settings::Settings;

/// IT service management core: alerts become incidents, start SLA clocks and reach the right person.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Command {
    /// A TOML file with settings; variables ITSM_SECTION__KEY override it.
    #[arg(long, global = true, value_name = "FILE", env = "ITSM_SETTINGS")]
    settings: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Up(up::Options),
    Serve(serve::Options),
    Migrate(Migrate),
    Provision(provision::Options),
    Secrets(secrets::Options),
    Health(health::Options),
    Config(operator::config::Options),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Demo(Demo),
    #[command(subcommand)]
    Pki(pki::Pki),
    #[command(flatten)]
    Operator(operator::Operator),
    #[command(flatten)]
    Client(cli::Client),
}

/// Makes or updates roles, schemas and tables in the database of DATABASE_URL.
#[derive(Debug, Args)]
struct Migrate {
    /// The data folder with the secret key, from which the roles' passwords are made.
    #[arg(long, value_name = "DIR", default_value = "./var")]
    data: PathBuf,
}

/// Plays a believable night through the public API of a running installation.
#[derive(Debug, Args)]
struct Demo {
    /// The URL of the installation. Default: the one of the data folder's `itsm up`.
    #[arg(long, value_name = "URL", env = "ITSM_URL")]
    url: Option<String>,
    /// An administrator's API key. Default: `admin.key` in the data folder.
    #[arg(long, value_name = "KEY", env = "ITSM_API_KEY", hide_env_values = true)]
    key: Option<String>,
    /// The data folder.
    #[arg(long, value_name = "DIR", default_value = "./var")]
    data: PathBuf,
}

fn main() -> ExitCode {
    let command = Command::parse();
    let outcome = match command.verb {
        Verb::Client(client) => run(async { Ok(client.run().await) }),
        Verb::Demo(demo) => run(play(demo)),
        Verb::Health(options) => run(health::run(options)),
        Verb::Secrets(options) => secrets::run(&options).and_then(|line| say(&line)),
        Verb::Pki(pki) => pki.run(),
        Verb::Config(options) => {
            let variables = std::env::vars().collect();
            operator::config::run(&options, command.settings.as_deref(), variables).and_then(|text| say(&text))
        }
        verb => settings(command.settings).and_then(|settings| run(serve_verb(verb, settings))),
    };
    outcome.unwrap_or_else(|error| {
        // With standard error gone there is nobody to tell.
        drop(writeln!(std::io::stderr(), "itsm: {error:#}"));
        ExitCode::FAILURE
    })
}

fn settings(file: Option<PathBuf>) -> anyhow::Result<Settings> {
    let settings = settings::load(file.as_deref(), std::env::vars())?;
    settings.log.start()?;
    Ok(settings)
}

async fn serve_verb(verb: Verb, settings: Settings) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Up(options) => {
            observe::traced(settings.tracing.clone(), "itsm".to_owned(), up::run(options, settings)).await
        }
        Verb::Serve(options) => {
            observe::traced(settings.tracing.clone(), options.process_name(), serve::run(options, settings)).await
        }
        Verb::Migrate(options) => {
            let paths = wiring::place::shared_folder(&options.data).await?;
            let passwords = wiring::place::passwords(&settings, &paths)?;
            if settings.database.url.is_empty() {
                anyhow::bail!("no database: set DATABASE_URL; `itsm up` migrates its own by itself");
            }
            let database = wiring::place::database_at(&settings.database.url)?;
            let report = migrate::run(&database, &passwords, settings.database.role_connections).await?;
            say(&format!("{} roles and {} migrations were missing", report.roles, report.migrations))
        }
        Verb::Provision(options) => say(&provision::run(options, &settings).await?),
        Verb::Backup(options) => say(&backup::backup(&options, &settings).await?),
        Verb::Restore(options) => say(&backup::restore(&options, &settings).await?),
        Verb::Operator(operator) => operator::run(operator, &settings).await,
        Verb::Demo(_) | Verb::Health(_) | Verb::Pki(_) | Verb::Secrets(_) | Verb::Config(_) | Verb::Client(_) => {
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn play(options: Demo) -> anyhow::Result<ExitCode> {
    let key = match options.key {
        Some(key) => key,
        None => {
            let path = options.data.join("admin.key");
            std::fs::read_to_string(&path).with_context(|| {
                format!("no API key: set ITSM_API_KEY, or give the data folder ({} cannot be read)", path.display())
            })?
        }
    };
    let url = match options.url {
        Some(url) => url,
        None => {
            let path = options.data.join("url");
            std::fs::read_to_string(&path).with_context(|| {
                format!("no server: set ITSM_URL, or start `itsm up` ({} cannot be read)", path.display())
            })?
        }
    };
    demo::run(url.trim(), key.trim(), &options.data).await?;
    Ok(ExitCode::SUCCESS)
}

fn say(line: &str) -> anyhow::Result<ExitCode> {
    writeln!(std::io::stdout(), "{line}").context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a command on a thread for each core.
fn run(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    // One provider for all of TLS: two that are compiled in would panic at first use.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("another TLS provider was installed before");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(work)
}

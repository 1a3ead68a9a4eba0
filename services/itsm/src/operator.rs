//! What only an operator of the installation may do: look at events that were set aside and have
//! them applied again, fill a read model again, give an outsider a durable consumer, place a legal
//! hold, see how everything stands.
//!
//! It reaches around the API, to the database and to NATS, with the rights of the data folder. It
//! asks; the services do the work: they see the request within a second.

pub mod config;
mod doctor;
mod form;
mod hold;
mod status;

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    embedded::{folder::DataPaths, postgres},
    provisioner::{authority::OutsideConsumer, reconcile},
    settings::Settings,
    wiring::{self, place},
};

/// A command of an operator.
#[derive(Debug, Subcommand)]
pub enum Operator {
    /// Events of other services that could not be applied, and were set aside.
    #[command(subcommand)]
    DeadLetter(DeadLetter),
    /// What a service keeps of another.
    #[command(subcommand)]
    ReadModel(ReadModel),
    /// Durable consumers for clients outside.
    #[command(subcommand)]
    Consumer(Consumer),
    /// Legal holds: what is not pruned, whatever its age.
    #[command(subcommand)]
    Hold(hold::Hold),
    Status(status::Status),
    Doctor(doctor::Doctor),
}

/// A command about events that were set aside.
#[derive(Debug, Subcommand)]
pub enum DeadLetter {
    /// Lists them, of all services, oldest first.
    List(Place),
    /// Shows one with its reason and its bytes.
    Show {
        #[command(flatten)]
        place: Place,
        /// The service that could not apply it, such as `incident`.
        service: String,
        /// The service that said it, such as `alert`.
        source: String,
        /// Its position.
        position: i64,
    },
    /// Has them applied again, in order: all that a service has of a source, or of one record.
    Replay {
        #[command(flatten)]
        place: Place,
        /// The service that could not apply them.
        service: String,
        /// The service that said them.
        source: String,
        /// Only those of this record.
        #[arg(long, value_name = "ID")]
        record: Option<Uuid>,
    },
}

/// A command about read models.
#[derive(Debug, Subcommand)]
pub enum ReadModel {
    /// Pages the owner's records again into what a service keeps of it; touches no position.
    Rebuild {
        #[command(flatten)]
        place: Place,
        /// The service that keeps it, such as `incident`.
        service: String,
        /// The owner, such as `catalog`.
        source: String,
        /// The owner was restored, or no longer keeps what was not read: start at its position of
        /// now. What lies between is not applied.
        #[arg(long)]
        adopt: bool,
    },
}

/// A command about durable consumers.
#[derive(Debug, Subcommand)]
pub enum Consumer {
    /// Makes one and prints where its credentials are. Clients use the JetStream prefix `itsm-api`.
    Create {
        #[command(flatten)]
        place: Place,
        /// The tenant's slug.
        tenant: String,
        /// The service whose events it delivers, such as `incident`.
        service: String,
        /// What the tenant calls it, `[a-z0-9-]{1,40}`.
        name: String,
    },
}

/// Where the installation is. Its group has a name of its own, since commands are called `place`.
#[derive(Debug, Args)]
#[group(id = "installation")]
pub struct Place {
    /// The data folder.
    #[arg(long, value_name = "DIR", default_value = "./var")]
    data: PathBuf,
}

/// Carries out a command.
///
/// # Errors
/// Fails when the installation cannot be reached, or there is no such service.
pub async fn run(operator: Operator, settings: &Settings) -> anyhow::Result<ExitCode> {
    let mut well = true;
    let text = match operator {
        Operator::DeadLetter(DeadLetter::List(place)) => list(&mut connect(&place, settings).await?).await?,
        Operator::DeadLetter(DeadLetter::Show { place, service, source, position }) => {
            show(&mut connect(&place, settings).await?, known(&service)?, &source, position).await?
        }
        Operator::DeadLetter(DeadLetter::Replay { place, service, source, record }) => {
            replay(&mut connect(&place, settings).await?, known(&service)?, &source, record).await?
        }
        Operator::ReadModel(ReadModel::Rebuild { place, service, source, adopt }) => {
            rebuild(&mut connect(&place, settings).await?, known(&service)?, &source, adopt).await?
        }
        Operator::Consumer(Consumer::Create { place, tenant, service, name }) => {
            create_consumer(&place, settings, &OutsideConsumer::new(&tenant, &service, &name)?).await?
        }
        Operator::Hold(hold) => hold.run(settings).await?,
        Operator::Status(status) => {
            let said = status.run(settings).await?;
            well = said.1;
            said.0
        }
        Operator::Doctor(doctor) => {
            let said = doctor.run(settings).await?;
            well = said.1;
            said.0
        }
    };
    // With standard output gone there is nobody to tell.
    drop(writeln!(std::io::stdout(), "{text}"));
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn connect(place: &Place, settings: &Settings) -> anyhow::Result<PgConnection> {
    let options = if settings.database.url.is_empty() {
        postgres::superuser_beside(&DataPaths::new(&place.data)?)?
    } else {
        place::database_at(&settings.database.url)?
    };
    PgConnection::connect_with(&options).await.context("cannot reach the database; is `itsm up` running?")
}

/// The schema of a service that owns data.
fn known(service: &str) -> anyhow::Result<&'static str> {
    let found = wiring::schemas().iter().find(|schema| **schema == service);
    found
        .copied()
        .with_context(|| format!("there is no service `{service}`; services: {}", wiring::schemas().join(", ")))
}

async fn list(connection: &mut PgConnection) -> anyhow::Result<String> {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["service", "source", "position", "tenant", "event", "record", "set aside", "reason"]);
    let mut rows: Vec<(&'static str, PgRow)> = Vec::new();
    for schema in wiring::schemas() {
        let statement = format!(
            "select source, position, tenant, type, record_id, at, reason, replay from {schema}.dead_letter order by source, position limit 1000"
        );
        let found = sqlx::query(AssertSqlSafe(statement)).fetch_all(&mut *connection).await?;
        rows.extend(found.into_iter().map(|row| (*schema, row)));
    }
    if rows.is_empty() {
        return Ok("nothing is set aside".to_owned());
    }
    for (schema, row) in &rows {
        let at: chrono::DateTime<chrono::Utc> = row.try_get("at")?;
        let waiting = if row.try_get("replay")? { " (asked to apply again)" } else { "" };
        table.add_row([
            (*schema).to_owned(),
            row.try_get("source")?,
            row.try_get::<i64, _>("position")?.to_string(),
            row.try_get("tenant")?,
            row.try_get("type")?,
            row.try_get::<Uuid, _>("record_id")?.to_string(),
            at.format("%Y-%m-%d %H:%M:%S").to_string(),
            row.try_get::<String, _>("reason")? + waiting,
        ]);
    }
    Ok(table.to_string())
}

async fn show(connection: &mut PgConnection, schema: &str, source: &str, position: i64) -> anyhow::Result<String> {
    let statement = format!(
        "select event_id, revision, event_at, reason, encode(body, 'hex') as body from {schema}.dead_letter where source = $1 and position = $2"
    );
    let row = sqlx::query(AssertSqlSafe(statement)).bind(source).bind(position).fetch_optional(connection).await?;
    let row = row.with_context(|| format!("{schema} has set aside nothing of {source} at position {position}"))?;
    let event_at: chrono::DateTime<chrono::Utc> = row.try_get("event_at")?;
    Ok(format!(
        "event     {}\nrevision  {}\nhappened  {}\nreason    {}\nbytes     {}",
        row.try_get::<Uuid, _>("event_id")?,
        row.try_get::<i64, _>("revision")?,
        event_at.to_rfc3339(),
        row.try_get::<String, _>("reason")?,
        row.try_get::<String, _>("body")?,
    ))
}

async fn replay(
    connection: &mut PgConnection,
    schema: &str,
    source: &str,
    record: Option<Uuid>,
) -> anyhow::Result<String> {
    let statement = format!(
        "update {schema}.dead_letter set replay = true where source = $1 and ($2::uuid is null or record_id = $2)"
    );
    let asked =
        sqlx::query(AssertSqlSafe(statement)).bind(source).bind(record).execute(connection).await?.rows_affected();
    if asked == 0 {
        bail!(
            "{schema} has set aside nothing of {source}{}",
            record.map(|id| format!(" about {id}")).unwrap_or_default()
        );
    }
    Ok(format!(
        "{asked} events will be applied again within a second; `itsm dead-letter list` shows what still cannot be"
    ))
}

async fn rebuild(connection: &mut PgConnection, schema: &str, source: &str, adopt: bool) -> anyhow::Result<String> {
    let statement = format!(
        "update {schema}.lease set bootstrapped = false, position = case when $2 then 0 else position end where name = 'consumer:' || $1"
    );
    let done = sqlx::query(AssertSqlSafe(statement)).bind(source).bind(adopt).execute(connection).await?;
    if done.rows_affected() == 0 {
        bail!("{schema} does not follow {source}");
    }
    Ok(format!("{schema} fills its read model of {source} again within a second; /readyz waits for it"))
}

async fn create_consumer(place: &Place, settings: &Settings, consumer: &OutsideConsumer) -> anyhow::Result<String> {
    let bus = place::Bus::find(settings, &DataPaths::new(&place.data)?)?;
    let credentials = reconcile::create_consumer(&bus.access(), 1, consumer).await?;
    let how = format!("consumer {} on stream {}", consumer.durable(), consumer.stream());
    Ok(match credentials {
        Some(path) => format!("{how}; credentials in {}; JetStream API prefix `itsm-api`", path.display()),
        None => how,
    })
}

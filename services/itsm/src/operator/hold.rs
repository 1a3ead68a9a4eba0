//! `itsm hold`: legal holds, by which retention leaves a tenant or a record alone.

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Place, connect};
use crate::{
    provisioner::retention::holds::{self, Hold as Placed},
    settings::Settings,
    wiring,
};

/// A command about holds.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  itsm hold place --tenant acme --by 'Ada Okafor' --why 'case 4711'\n  itsm hold place --tenant \
                        acme --record INC0000042 --by 'Ada Okafor' --why 'case 4711'"
)]
pub enum Hold {
    /// Places one: from then on nothing of the tenant, or the one record with its journal, is
    /// pruned. An incident keeps its alerts, clocks and deliveries too.
    Place {
        #[command(flatten)]
        place: Place,
        /// The tenant's slug.
        #[arg(long, value_name = "SLUG")]
        tenant: String,
        /// A record, by its id or number. Without it: everything of the tenant.
        #[arg(long, value_name = "ID")]
        record: Option<String>,
        #[command(flatten)]
        because: Because,
    },
    /// Lifts one: what is past its period goes with the next round.
    Lift {
        #[command(flatten)]
        place: Place,
        /// The hold's id.
        id: Uuid,
        #[command(flatten)]
        because: Because,
    },
    /// Lists those that hold, oldest first.
    List {
        #[command(flatten)]
        place: Place,
        /// Those that were lifted too.
        #[arg(long)]
        all: bool,
    },
}

/// Who does it and why: kept for ever.
#[derive(Debug, Args)]
pub struct Because {
    /// Who decided it.
    #[arg(long, value_name = "NAME")]
    by: String,
    /// The reason.
    #[arg(long, value_name = "TEXT")]
    why: String,
}

impl Hold {
    /// Carries the command out.
    ///
    /// # Errors
    /// Fails when the database cannot be reached, or there is nothing of that name.
    pub async fn run(self, settings: &Settings) -> anyhow::Result<String> {
        match self {
            Self::Place { place, tenant, record, because: Because { by, why } } => {
                let mut connection = connect(&place, settings).await?;
                let now = now(&mut connection).await?;
                let record = record.as_deref();
                let id = holds::place(&mut connection, wiring::kept(), &tenant, record, (&by, &why), now).await?;
                Ok(format!("{} is held by {id}", record.unwrap_or(&tenant)))
            }
            Self::Lift { place, id, because: Because { by, why } } => {
                let mut connection = connect(&place, settings).await?;
                let now = now(&mut connection).await?;
                holds::lift(&mut connection, id, (&by, &why), now).await?;
                Ok(format!("{id} holds nothing any more"))
            }
            Self::List { place, all } => {
                let found = holds::list(&mut connect(&place, settings).await?, all).await?;
                Ok(if found.is_empty() { "nothing is held".to_owned() } else { table(&found) })
            }
        }
    }
}

/// The database's time, as the services have it.
async fn now(connection: &mut PgConnection) -> anyhow::Result<chrono::DateTime<chrono::Utc>> {
    Ok(sqlx::query_scalar("select clock_timestamp()").fetch_one(connection).await?)
}

fn table(found: &[Placed]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["hold", "tenant", "record", "placed", "by", "why", "lifted"]);
    for hold in found {
        let lifted = match (&hold.lifted_at, &hold.lifted_by, &hold.lift_reason) {
            (Some(at), Some(by), Some(why)) => format!("{} by {by}: {why}", at.format("%Y-%m-%d %H:%M:%S")),
            _ => String::new(),
        };
        table.add_row([
            hold.id.to_string(),
            hold.tenant.clone(),
            hold.record_id.map_or_else(|| "everything".to_owned(), |id| id.to_string()),
            hold.placed_at.format("%Y-%m-%d %H:%M:%S").to_string(),
            hold.placed_by.clone(),
            hold.reason.clone(),
            lifted,
        ]);
    }
    table.to_string()
}

//! The event path of every service, by the tables that all of them have alike.

use anyhow::Context as _;
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::seconds;
use crate::{
    cli::{
        out::{Look, Tone},
        table::grid,
    },
    wiring::{self, PROVISIONER},
};

const OUTBOX_AT_MOST: f64 = 30.0;
const RELAY_AT_MOST: f64 = 30.0;
const CONSUMER_AT_MOST: f64 = 60.0;
const TIMER_AT_MOST: f64 = 30.0;
const RELAY: &str = "relay";
const CONSUMER: &str = "consumer:";

/// What waits in a service, and who works on it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// Events not yet numbered.
    pub outbox: i64,
    /// How long the first of them waits.
    pub outbox_oldest_seconds: f64,
    /// Events set aside.
    pub dead_letters: i64,
    /// When the first timer is due; below zero it is overdue.
    pub timer_due_in_seconds: Option<f64>,
    /// Its leases.
    pub leases: Vec<Held>,
}

/// A lease.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// `relay`, `consumer:<source>`, or another.
    pub name: String,
    /// Who has it, or had it last.
    pub holder: String,
    /// For how long nobody has it; below zero it is held.
    pub expired_seconds: f64,
    /// Of a relay and a consumer: how many events it is behind.
    pub behind: Option<i64>,
    /// For how long the first of them is there.
    pub behind_seconds: f64,
}

/// Looks at every service.
///
/// # Errors
/// Fails when the database is away or has not all tables.
pub async fn look(connection: &mut PgConnection) -> anyhow::Result<Vec<Service>> {
    let mut services = Vec::new();
    for schema in wiring::schemas() {
        let service = of(connection, schema).await;
        services.push(service.with_context(|| format!("cannot look at {schema}; was `itsm migrate` run?"))?);
    }
    Ok(services)
}

async fn of(connection: &mut PgConnection, schema: &'static str) -> anyhow::Result<Service> {
    let statement = format!(
        "select (select count(*) from {schema}.outbox) as outbox,
                coalesce((select extract(epoch from clock_timestamp() - j.at)::float8 from {schema}.outbox o
                 join {schema}.journal j on j.record_id = o.record_id and j.revision = o.revision order by o.seq limit 1), 0) as oldest,
                (select count(*) from {schema}.dead_letter) as dead_letters,
                (select extract(epoch from min(due_at) - clock_timestamp())::float8 from {schema}.timer) as timer"
    );
    let waits = sqlx::query(AssertSqlSafe(statement)).fetch_one(&mut *connection).await?;
    let statement = format!(
        "select name, holder, position, extract(epoch from clock_timestamp() - expires_at)::float8 as expired
         from {schema}.lease order by name <> '{RELAY}', name"
    );
    let mut leases = Vec::new();
    for row in sqlx::query(AssertSqlSafe(statement)).fetch_all(&mut *connection).await? {
        let name: String = row.try_get("name")?;
        let source = if name == RELAY { Some(schema) } else { name.strip_prefix(CONSUMER) };
        // Another source than a service, such as the intake, has no feed.
        let source = source.and_then(|source| wiring::schemas().iter().find(|schema| **schema == source));
        let (behind, behind_seconds) = match source {
            Some(source) => {
                let (behind, seconds) = behind(connection, source, row.try_get("position")?).await?;
                (Some(behind), seconds)
            }
            None => (None, 0.0),
        };
        let (holder, expired_seconds) = (row.try_get("holder")?, row.try_get("expired")?);
        leases.push(Held { name, holder, expired_seconds, behind, behind_seconds });
    }
    Ok(Service {
        name: schema,
        outbox: waits.try_get("outbox")?,
        outbox_oldest_seconds: waits.try_get("oldest")?,
        dead_letters: waits.try_get("dead_letters")?,
        timer_due_in_seconds: waits.try_get("timer")?,
        leases,
    })
}

/// How many events of a feed lie beyond a position, and for how long the first of them.
async fn behind(connection: &mut PgConnection, source: &str, position: i64) -> anyhow::Result<(i64, f64)> {
    let statement = format!(
        "select greatest(coalesce((select max(position) from {source}.feed), 0) - $1, 0) as behind,
                coalesce((select extract(epoch from clock_timestamp() - at)::float8 from {source}.feed
                 where position > $1 order by position limit 1), 0) as since"
    );
    let row = sqlx::query(AssertSqlSafe(statement)).bind(position).fetch_one(connection).await?;
    Ok((row.try_get("behind")?, row.try_get("since")?))
}

impl Service {
    /// Says what is wrong here.
    pub fn judge(&self, wrong: &mut Vec<String>) {
        let name = self.name;
        if self.outbox_oldest_seconds > OUTBOX_AT_MOST {
            let oldest = seconds(self.outbox_oldest_seconds);
            wrong.push(format!("{name}: {} events are not numbered, the oldest for {oldest}", self.outbox));
        }
        if self.dead_letters > 0 {
            wrong.push(format!("{name}: {} events are set aside; see `itsm dead-letter list`", self.dead_letters));
        }
        if let Some(overdue) = self.timer_due_in_seconds.map(|due| -due).filter(|overdue| *overdue > TIMER_AT_MOST) {
            wrong.push(format!("{name}: a timer is overdue for {}", seconds(overdue)));
        }
        if !self.leases.iter().any(|lease| lease.name == RELAY) {
            wrong.push(format!("{name}: it has not run yet"));
        }
        for lease in &self.leases {
            if lease.is_needed() && lease.expired_seconds > 0.0 {
                let since = seconds(lease.expired_seconds);
                wrong.push(format!("{name}: nobody holds the lease {}, for {since}", lease.name));
            }
            if lease.behind_seconds > lease.late() {
                let (behind, since) = (lease.behind.unwrap_or_default(), seconds(lease.behind_seconds));
                wrong.push(format!("{name}: {} is {behind} events behind, for {since}", lease.name));
            }
        }
    }
}

impl Held {
    /// Whether somebody must have it: the parts of a service's work that are shared out come and go.
    fn is_needed(&self) -> bool {
        self.name == RELAY || self.name == PROVISIONER || self.name.starts_with(CONSUMER)
    }

    fn late(&self) -> f64 {
        if self.name == RELAY { RELAY_AT_MOST } else { CONSUMER_AT_MOST }
    }
}

fn tone(bad: bool) -> Tone {
    if bad { Tone::Bad } else { Tone::Plain }
}

/// A line for what waits in each service.
pub fn services(look: Look, services: &[Service]) -> String {
    let rows = services.iter().map(|service| {
        let due = service.timer_due_in_seconds;
        let timer = due.map_or_else(String::new, |due| match due {
            due if due < 0.0 => format!("{} overdue", seconds(-due)),
            due => format!("in {}", seconds(due)),
        });
        let oldest = Some(service.outbox_oldest_seconds).filter(|_| service.outbox > 0).map(seconds);
        vec![
            (service.name.to_owned(), Tone::Plain),
            (service.outbox.to_string(), Tone::Plain),
            (oldest.unwrap_or_default(), tone(service.outbox_oldest_seconds > OUTBOX_AT_MOST)),
            (service.dead_letters.to_string(), tone(service.dead_letters > 0)),
            (timer, tone(due.is_some_and(|due| -due > TIMER_AT_MOST))),
        ]
    });
    grid(look, &["service", "outbox", "oldest", "dead letters", "next timer"], rows.collect())
}

/// A line for each lease.
pub fn leases(look: Look, services: &[Service]) -> String {
    let rows = services.iter().flat_map(|service| {
        service.leases.iter().map(|lease| {
            let free = lease.expired_seconds > 0.0;
            let holder =
                if free { format!("nobody for {}", seconds(lease.expired_seconds)) } else { lease.holder.clone() };
            let behind = lease.behind.map_or_else(String::new, |behind| match behind {
                0 => "0".to_owned(),
                behind => format!("{behind}, for {}", seconds(lease.behind_seconds)),
            });
            vec![
                (service.name.to_owned(), Tone::Plain),
                (lease.name.clone(), Tone::Plain),
                (behind, tone(lease.behind_seconds > lease.late())),
                (holder, tone(free && lease.is_needed())),
            ]
        })
    });
    grid(look, &["service", "lease", "events behind", "held by"], rows.collect())
}

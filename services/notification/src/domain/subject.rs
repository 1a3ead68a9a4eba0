//! The record that an event happened to, as far as telling people needs it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use kit::id::{IncidentId, PersonId, ServiceId, TeamId};
use uuid::Uuid;

use super::event::Kind;

kit::words!(
    /// How much attention an incident still needs, from most to none.
    Attention {
        /// Nobody has seen it.
        Wanted = "WANTED",
        /// Somebody has.
        Acknowledged = "ACKNOWLEDGED",
        /// It is resolved, closed or cancelled.
        Over = "OVER",
    }
);

/// A particular of a record that only texts show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// Words.
    Text(String),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
    /// An instant, if there is one.
    Time(Option<DateTime<Utc>>),
}

/// The record that an event happened to.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// What kind of record.
    pub kind: Kind,
    /// Its id.
    pub id: Uuid,
    /// The number people say, if it has one.
    pub number: String,
    /// One line.
    pub title: String,
    /// More.
    pub description: String,
    /// Where it stands.
    pub state: String,
    /// 1 to 4, if it has one.
    pub priority: Option<i64>,
    /// How bad the source says it is, in lower case, if it does.
    pub severity: Option<String>,
    /// The services it is about.
    pub service_ids: Vec<ServiceId>,
    /// The team that has it.
    pub assigned_team_id: Option<TeamId>,
    /// The person that has it.
    pub assignee_id: Option<PersonId>,
    /// The incident whose acknowledgement or end makes messages about it needless.
    pub incident_id: Option<IncidentId>,
    /// What identifies the condition; of alerts alone.
    pub labels: BTreeMap<String, String>,
    /// The rest, the same keys for every record of a kind.
    pub facts: BTreeMap<&'static str, Fact>,
}

impl Subject {
    /// A record of a kind with nothing known but its id.
    #[must_use]
    pub fn bare(kind: Kind, id: Uuid) -> Self {
        Self {
            kind,
            id,
            number: String::new(),
            title: String::new(),
            description: String::new(),
            state: String::new(),
            priority: None,
            severity: None,
            service_ids: Vec::new(),
            assigned_team_id: None,
            assignee_id: None,
            incident_id: None,
            labels: BTreeMap::new(),
            facts: BTreeMap::new(),
        }
    }
}

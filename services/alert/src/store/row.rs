//! The rows of alerts and integrations, and the way there and back. What the database cannot hold
//! by our own writing is a fault of ours, said with the column's name.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::{
    Alert, Choice, ClearReason, Content, Impact, Integration, IntegrationState, Route, Severity, State,
    integration::Key,
};

/// A column that holds what it must not.
#[derive(Debug, thiserror::Error)]
#[error("alert.{table} {id}: column {column} holds what it must not")]
struct Inconsistent {
    table: &'static str,
    id: Uuid,
    column: &'static str,
}

fn inconsistent(table: &'static str, id: Uuid, column: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(Inconsistent { table, id, column }))
}

pub(super) type Texts = Json<BTreeMap<String, String>>;

#[derive(Debug, sqlx::FromRow)]
pub(super) struct AlertRow {
    pub id: Uuid,
    pub revision: i64,
    pub integration_id: Uuid,
    pub dedup_key: String,
    pub state: String,
    pub severity: String,
    pub title: String,
    pub description: String,
    pub labels: Texts,
    pub annotations: Texts,
    pub source_url: String,
    pub group_key: String,
    pub service_id: Option<Uuid>,
    pub ci_id: Option<Uuid>,
    pub team_id: Option<Uuid>,
    pub impact: Option<i16>,
    pub opens_incident: bool,
    pub decision: String,
    pub started_at: DateTime<Utc>,
    pub cleared_at: Option<DateTime<Utc>>,
    pub clear_reason: Option<String>,
    pub occurrence_count: i64,
    pub last_seen_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub fired_at: DateTime<Utc>,
    pub heard_at: DateTime<Utc>,
    pub trace_parent: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl TryFrom<AlertRow> for Alert {
    type Error = sqlx::Error;

    fn try_from(row: AlertRow) -> Result<Self, sqlx::Error> {
        let wrong = |column| inconsistent("alerts", row.id, column);
        let cleared = match (row.cleared_at, row.clear_reason.as_deref()) {
            (Some(at), Some(reason)) => Some((at, ClearReason::of(reason).ok_or_else(|| wrong("clear_reason"))?)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(wrong("cleared_at")),
        };
        let state = State::of(&row.state).ok_or_else(|| wrong("state"))?;
        if (state == State::Cleared) != cleared.is_some() {
            return Err(wrong("state"));
        }
        let impact = match row.impact {
            Some(level) => Some(Impact::of(level).ok_or_else(|| wrong("impact"))?),
            None => None,
        };
        Ok(Self {
            cleared,
            severity: Severity::of(&row.severity).ok_or_else(|| wrong("severity"))?,
            id: row.id.into(),
            revision: row.revision,
            integration_id: row.integration_id.into(),
            dedup_key: row.dedup_key,
            content: Content {
                title: row.title,
                description: row.description,
                labels: row.labels.0,
                annotations: row.annotations.0,
                source_url: row.source_url,
                group_key: row.group_key,
            },
            route: Route {
                service_id: row.service_id.map(Into::into),
                ci_id: row.ci_id.map(Into::into),
                team_id: row.team_id.map(Into::into),
                impact,
            },
            choice: Choice { opens_incident: row.opens_incident, decision: row.decision },
            started_at: row.started_at,
            occurrence_count: row.occurrence_count,
            last_seen_at: row.last_seen_at,
            expires_at: row.expires_at,
            fired_at: row.fired_at,
            heard_at: row.heard_at,
            trace_parent: row.trace_parent,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

#[derive(Debug, sqlx::FromRow)]
pub(super) struct IntegrationRow {
    pub id: Uuid,
    pub revision: i64,
    pub name: String,
    pub display_name: String,
    pub team_id: Option<Uuid>,
    pub service_id: Option<Uuid>,
    pub open_incident_from: String,
    pub state: String,
    pub key_digest: Vec<u8>,
    pub key_hint: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl TryFrom<IntegrationRow> for Integration {
    type Error = sqlx::Error;

    fn try_from(row: IntegrationRow) -> Result<Self, sqlx::Error> {
        let wrong = |column| inconsistent("integrations", row.id, column);
        Ok(Self {
            open_incident_from: Severity::of(&row.open_incident_from).ok_or_else(|| wrong("open_incident_from"))?,
            state: IntegrationState::of(&row.state).ok_or_else(|| wrong("state"))?,
            key: Key {
                digest: row.key_digest.as_slice().try_into().map_err(|_| wrong("key_digest"))?,
                hint: row.key_hint,
            },
            id: row.id.into(),
            revision: row.revision,
            name: row.name,
            display_name: row.display_name,
            team_id: row.team_id.map(Into::into),
            service_id: row.service_id.map(Into::into),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

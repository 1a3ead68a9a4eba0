//! The row of an incident, and the way there and back. What the database cannot hold by our own
//! writing is a fault of ours, said with the column's name.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use uuid::Uuid;

use crate::domain::{
    AlertLink, Channel, Impact, Incident, PendingReason, Priority, ResolutionCode, ResolutionMode, State, Urgency,
    incident::{Acknowledgement, Resolution},
};

/// A column that holds what it must not.
#[derive(Debug, thiserror::Error)]
#[error("incident.incidents {id}: column {column} holds what it must not")]
struct Inconsistent {
    id: Uuid,
    column: &'static str,
}

/// An alert in the column `alerts`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Link {
    alert_id: Uuid,
    active: bool,
    linked_at: DateTime<Utc>,
}

#[derive(Debug, sqlx::FromRow)]
pub(super) struct Row {
    pub id: Uuid,
    pub revision: i64,
    pub number: String,
    pub title: String,
    pub description: String,
    pub state: String,
    pub pending_reason: Option<String>,
    pub impact: i16,
    pub urgency: i16,
    pub priority: i16,
    pub priority_reason: String,
    pub priority_overridden: bool,
    pub category: String,
    pub service_id: Option<Uuid>,
    pub ci_id: Option<Uuid>,
    pub assigned_team_id: Option<Uuid>,
    pub assignee_id: Option<Uuid>,
    pub reporter_id: Option<Uuid>,
    pub channel: String,
    pub resolution_mode: String,
    pub resolution_code: Option<String>,
    pub resolution_notes: String,
    pub acknowledged_by: Option<Uuid>,
    pub acknowledged_at: Option<DateTime<Utc>>,
    pub resolved_at: Option<DateTime<Utc>>,
    pub closed_at: Option<DateTime<Utc>>,
    pub reopen_count: i32,
    pub taken_over: bool,
    pub alerts: Json<Vec<Link>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

pub(super) fn links(incident: &Incident) -> Json<Vec<Link>> {
    let link = |link: &AlertLink| Link { alert_id: link.alert_id.0, active: link.active, linked_at: link.linked_at };
    Json(incident.alerts.iter().map(link).collect())
}

impl TryFrom<Row> for Incident {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let wrong = |column| sqlx::Error::Decode(Box::new(Inconsistent { id: row.id, column }));
        let resolution = match (row.resolution_code.as_deref(), row.resolved_at) {
            (Some(code), Some(at)) => Some(Resolution {
                code: ResolutionCode::of(code).ok_or_else(|| wrong("resolution_code"))?,
                notes: row.resolution_notes.clone(),
                at,
            }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(wrong("resolved_at")),
        };
        let acknowledgement = match (row.acknowledged_by, row.acknowledged_at) {
            (Some(by), Some(at)) => Some(Acknowledgement { by: by.into(), at }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(wrong("acknowledged_at")),
        };
        let pending_reason = match row.pending_reason.as_deref() {
            Some(reason) => Some(PendingReason::of(reason).ok_or_else(|| wrong("pending_reason"))?),
            None => None,
        };
        Ok(Self {
            state: State::of(&row.state).ok_or_else(|| wrong("state"))?,
            impact: Impact::of(row.impact).ok_or_else(|| wrong("impact"))?,
            urgency: Urgency::of(row.urgency).ok_or_else(|| wrong("urgency"))?,
            priority: Priority::of(row.priority).ok_or_else(|| wrong("priority"))?,
            channel: Channel::of(&row.channel).ok_or_else(|| wrong("channel"))?,
            resolution_mode: ResolutionMode::of(&row.resolution_mode).ok_or_else(|| wrong("resolution_mode"))?,
            resolution,
            acknowledgement,
            pending_reason,
            id: row.id.into(),
            revision: row.revision,
            number: row.number,
            title: row.title,
            description: row.description,
            priority_reason: row.priority_reason,
            priority_overridden: row.priority_overridden,
            category: row.category,
            service_id: row.service_id.map(Into::into),
            ci_id: row.ci_id.map(Into::into),
            assigned_team_id: row.assigned_team_id.map(Into::into),
            assignee_id: row.assignee_id.map(Into::into),
            reporter_id: row.reporter_id.map(Into::into),
            closed_at: row.closed_at,
            reopen_count: row.reopen_count,
            taken_over: row.taken_over,
            alerts: row
                .alerts
                .0
                .into_iter()
                .map(|link| AlertLink {
                    alert_id: link.alert_id.into(),
                    active: link.active,
                    linked_at: link.linked_at,
                })
                .collect(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

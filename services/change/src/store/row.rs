//! The row of a change, and the way there and back. What the database cannot hold by our own
//! writing is a fault of ours, said with the column's name.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::{Approval, Change, ChangeType, Risk, State, change::Window};

/// A column that holds what it must not.
#[derive(Debug, thiserror::Error)]
#[error("change.changes {id}: column {column} holds what it must not")]
struct Inconsistent {
    id: Uuid,
    column: &'static str,
}

#[derive(Debug, sqlx::FromRow)]
pub(super) struct Row {
    pub id: Uuid,
    pub revision: i64,
    pub number: String,
    pub title: String,
    pub description: String,
    pub r#type: String,
    pub state: String,
    pub risk: String,
    pub reason: String,
    pub implementation_plan: String,
    pub backout_plan: String,
    pub test_plan: String,
    pub service_ids: Vec<Uuid>,
    pub ci_ids: Vec<Uuid>,
    pub assigned_team_id: Option<Uuid>,
    pub requester_id: Uuid,
    pub plan_revision: i64,
    pub approver_id: Option<Uuid>,
    pub approved_at: Option<DateTime<Utc>>,
    pub approved_plan_revision: Option<i64>,
    pub approval_note: String,
    pub planned_start_at: Option<DateTime<Utc>>,
    pub planned_end_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub outcome_notes: String,
    pub review_notes: String,
    pub closed_at: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Change {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let wrong = |column| sqlx::Error::Decode(Box::new(Inconsistent { id: row.id, column }));
        let approval = match (row.approved_at, row.approved_plan_revision) {
            (Some(at), Some(plan_revision)) => Some(Approval {
                approver_id: row.approver_id.map(Into::into),
                at,
                plan_revision,
                note: row.approval_note.clone(),
            }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(wrong("approved_plan_revision")),
        };
        let planned = match (row.planned_start_at, row.planned_end_at) {
            (Some(start), Some(end)) => Some(Window { start, end }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(wrong("planned_end_at")),
        };
        Ok(Self {
            kind: ChangeType::of(&row.r#type).ok_or_else(|| wrong("type"))?,
            state: State::of(&row.state).ok_or_else(|| wrong("state"))?,
            risk: Risk::of(&row.risk).ok_or_else(|| wrong("risk"))?,
            approval,
            planned,
            id: row.id.into(),
            revision: row.revision,
            number: row.number,
            title: row.title,
            description: row.description,
            reason: row.reason,
            implementation_plan: row.implementation_plan,
            backout_plan: row.backout_plan,
            test_plan: row.test_plan,
            service_ids: row.service_ids.into_iter().map(Into::into).collect(),
            ci_ids: row.ci_ids.into_iter().map(Into::into).collect(),
            assigned_team_id: row.assigned_team_id.map(Into::into),
            requester_id: row.requester_id.into(),
            plan_revision: row.plan_revision,
            started_at: row.started_at,
            ended_at: row.ended_at,
            outcome_notes: row.outcome_notes,
            review_notes: row.review_notes,
            closed_at: row.closed_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

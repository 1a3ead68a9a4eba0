//! The record, and what can happen to it.

use chrono::{DateTime, Utc};
use kit::{
    decide::Revised,
    id::{CiId, PersonId, ServiceId, TeamId},
};

use super::{Decision, state::State};

kit::id!(
    /// A change.
    ChangeId
);

kit::words!(
    /// How a change is authorised.
    ChangeType {
        /// Authorised beforehand; low risk and well known.
        Standard = "STANDARD",
        /// Approved by somebody other than its requester.
        Normal = "NORMAL",
        /// Approved quickly, or afterwards; reviewed before it is closed.
        Emergency = "EMERGENCY",
    }
);

kit::words!(
    /// What could go wrong.
    Risk {
        /// Little.
        Minor = "MINOR",
        /// Some.
        Significant = "SIGNIFICANT",
        /// Much.
        Major = "MAJOR",
    }
);

/// Somebody's approval of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Who; none when the type is authorised beforehand.
    pub approver_id: Option<PersonId>,
    /// When.
    pub at: DateTime<Utc>,
    /// The edit of the plan it holds for.
    pub plan_revision: i64,
    /// What the approver said.
    pub note: String,
}

/// When a change shall happen: its start is before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// When it shall start.
    pub start: DateTime<Utc>,
    /// When it shall be over.
    pub end: DateTime<Utc>,
}

/// The addition, modification or removal of anything that could affect services (ITIL).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The id.
    pub id: ChangeId,
    /// Counts the changes of the record.
    pub revision: i64,
    /// The number people say.
    pub number: String,
    /// One line.
    pub title: String,
    /// More.
    pub description: String,
    /// How it is authorised; never changes.
    pub kind: ChangeType,
    /// Where it stands.
    pub state: State,
    /// What could go wrong.
    pub risk: Risk,
    /// Why it is wanted.
    pub reason: String,
    /// What will be done.
    pub implementation_plan: String,
    /// How it is taken back.
    pub backout_plan: String,
    /// How it is known to work.
    pub test_plan: String,
    /// The services affected.
    pub service_ids: Vec<ServiceId>,
    /// The configuration items affected.
    pub ci_ids: Vec<CiId>,
    /// The team that carries it out.
    pub assigned_team_id: Option<TeamId>,
    /// Who asked for it; never changes.
    pub requester_id: PersonId,
    /// Counts the edits of the plan since it was first requested; an approval holds for one of them.
    pub plan_revision: i64,
    /// The approval that holds.
    pub approval: Option<Approval>,
    /// When it shall happen; from being scheduled on.
    pub planned: Option<Window>,
    /// When it started.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was over.
    pub ended_at: Option<DateTime<Utc>>,
    /// What came of it.
    pub outcome_notes: String,
    /// What was learnt.
    pub review_notes: String,
    /// When it was closed.
    pub closed_at: Option<DateTime<Utc>>,
    /// When it was written down.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl Revised for Change {
    fn revision_mut(&mut self) -> &mut i64 {
        &mut self.revision
    }
}

/// What happened to a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It was written down.
    Drafted,
    /// Fields were changed.
    Changed {
        /// Which.
        fields: Vec<&'static str>,
    },
    /// The plan is being edited, so the approval no longer holds.
    ApprovalVoided,
    /// Approval was asked for.
    Requested,
    /// It was approved.
    Approved,
    /// It was refused.
    Rejected {
        /// Why.
        reason: String,
    },
    /// It got a time.
    Scheduled,
    /// It is being carried out.
    Started,
    /// It is done as planned.
    Completed,
    /// It was not done as planned.
    Failed,
    /// It ended for good.
    Closed,
    /// It was given up.
    Cancelled {
        /// Why.
        reason: String,
    },
}

/// What is needed to write down a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewChange {
    /// One line.
    pub title: String,
    /// More.
    pub description: String,
    /// How it is authorised.
    pub kind: ChangeType,
    /// What could go wrong.
    pub risk: Risk,
    /// Why it is wanted.
    pub reason: String,
    /// What will be done.
    pub implementation_plan: String,
    /// How it is taken back.
    pub backout_plan: String,
    /// How it is known to work.
    pub test_plan: String,
    /// The services affected.
    pub service_ids: Vec<ServiceId>,
    /// The configuration items affected.
    pub ci_ids: Vec<CiId>,
    /// The team that carries it out.
    pub assigned_team_id: Option<TeamId>,
}

impl Change {
    /// Writes a change down.
    pub fn draft(id: ChangeId, number: String, requester_id: PersonId, new: NewChange, now: DateTime<Utc>) -> Decision {
        let change = Self {
            id,
            revision: 0,
            number,
            title: new.title,
            description: new.description,
            kind: new.kind,
            state: State::Draft,
            risk: new.risk,
            reason: new.reason,
            implementation_plan: new.implementation_plan,
            backout_plan: new.backout_plan,
            test_plan: new.test_plan,
            service_ids: new.service_ids,
            ci_ids: new.ci_ids,
            assigned_team_id: new.assigned_team_id,
            requester_id,
            plan_revision: 1,
            approval: None,
            planned: None,
            started_at: None,
            ended_at: None,
            outcome_notes: String::new(),
            review_notes: String::new(),
            closed_at: None,
            created_at: now,
            updated_at: now,
        };
        Decision::of(change, What::Drafted)
    }

    /// The teams that may work on it.
    #[must_use]
    pub fn teams(&self) -> Vec<TeamId> {
        self.assigned_team_id.into_iter().collect()
    }

    /// Whether an approval holds for the plan as it is now.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        self.approval.as_ref().is_some_and(|approval| approval.plan_revision == self.plan_revision)
    }
}

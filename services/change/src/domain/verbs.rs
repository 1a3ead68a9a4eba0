//! What people can do to a change.

use chrono::{DateTime, Utc};
use kit::id::PersonId;

use super::{
    Decision, Refusal,
    change::{Approval, Change, ChangeType, What, Window},
    state::{Move, State, target},
};

type Verdict = Result<Decision, Refusal>;

impl Change {
    /// The change after a legal move, with nothing else changed. Only what is scheduled or was has
    /// a planned time.
    pub(super) fn moved(&self, by: Move, now: DateTime<Utc>) -> Result<Self, Refusal> {
        let state =
            target(self.kind, self.state, by).ok_or(Refusal::IllegalMove { kind: self.kind, state: self.state, by })?;
        let mut next = self.at(now);
        next.state = state;
        if matches!(state, State::Draft | State::Requested | State::Approved | State::Rejected) {
            next.planned = None;
        }
        Ok(next)
    }

    /// The change, changed now.
    pub(super) fn at(&self, now: DateTime<Utc>) -> Self {
        Self { updated_at: now.max(self.updated_at), ..self.clone() }
    }

    fn unchanged(&self) -> Verdict {
        Ok(Decision::unchanged(self.clone()))
    }

    /// Asks for approval; a standard change is approved at once, by its type.
    ///
    /// # Errors
    /// Refused when it lacks reason or plans, and when it was requested and went on from there.
    pub fn request(&self, now: DateTime<Utc>) -> Verdict {
        let waits = if self.kind == ChangeType::Standard { State::Approved } else { State::Requested };
        if self.state == waits {
            return self.unchanged();
        }
        let next = self.moved(Move::Request, now)?;
        next.complete()?;
        let requested = Decision::of(next.clone(), What::Requested);
        if self.kind != ChangeType::Standard {
            return Ok(requested);
        }
        let mut approved = next.moved(Move::Approve, now)?;
        approved.approval =
            Some(Approval { approver_id: None, at: now, plan_revision: self.plan_revision, note: String::new() });
        Ok(requested.then(approved, What::Approved))
    }

    /// Approves it as it is planned now.
    ///
    /// # Errors
    /// Refused to its requester, also when an administrator; and where there is nothing to approve.
    pub fn approve(&self, by: PersonId, note: String, now: DateTime<Utc>) -> Verdict {
        if by == self.requester_id {
            return Err(Refusal::SelfApproval);
        }
        if self.is_approved() && !self.state.is_over() {
            return self.unchanged();
        }
        let mut next = self.moved(Move::Approve, now)?;
        next.approval = Some(Approval { approver_id: Some(by), at: now, plan_revision: self.plan_revision, note });
        Ok(Decision::of(next, What::Approved))
    }

    /// Refuses it.
    ///
    /// # Errors
    /// Refused unless it waits for approval.
    pub fn reject(&self, reason: String, now: DateTime<Utc>) -> Verdict {
        if self.state == State::Rejected {
            return self.unchanged();
        }
        let next = self.moved(Move::Reject, now)?;
        if self.is_approved() {
            return Err(Refusal::AlreadyApproved);
        }
        Ok(Decision::of(next, What::Rejected { reason }))
    }

    /// Gives it a time, or another.
    ///
    /// # Errors
    /// Refused unless it is approved; an emergency change needs only to be requested.
    pub fn schedule(&self, window: Window, now: DateTime<Utc>) -> Verdict {
        if window.start >= window.end {
            return Err(Refusal::EndsBeforeStart);
        }
        let mut next = self.moved(Move::Schedule, now)?;
        self.may_go_on()?;
        if self.state == State::Scheduled && self.planned == Some(window) {
            return self.unchanged();
        }
        next.planned = Some(window);
        Ok(Decision::of(next, What::Scheduled))
    }

    /// Says that it is being carried out.
    ///
    /// # Errors
    /// Refused unless it is approved and, when normal, scheduled; an emergency change needs only to
    /// be requested.
    pub fn start(&self, now: DateTime<Utc>) -> Verdict {
        if self.state == State::InProgress {
            return self.unchanged();
        }
        let mut next = self.moved(Move::Start, now)?;
        self.may_go_on()?;
        next.started_at = Some(now);
        Ok(Decision::of(next, What::Started))
    }

    fn may_go_on(&self) -> Result<(), Refusal> {
        if self.kind == ChangeType::Emergency || self.is_approved() { Ok(()) } else { Err(Refusal::NotApproved) }
    }

    /// Says that it is done as planned.
    ///
    /// # Errors
    /// Refused unless it is being carried out.
    pub fn complete_as_planned(&self, outcome_notes: String, now: DateTime<Utc>) -> Verdict {
        if self.state == State::Completed {
            return self.unchanged();
        }
        Ok(Decision::of(self.over(Move::Complete, outcome_notes, now)?, What::Completed))
    }

    /// Says that it was not done as planned.
    ///
    /// # Errors
    /// Refused unless it is being carried out, and without notes.
    pub fn fail(&self, outcome_notes: String, now: DateTime<Utc>) -> Verdict {
        if self.state == State::Failed {
            return self.unchanged();
        }
        let next = self.over(Move::Fail, outcome_notes, now)?;
        if next.outcome_notes.trim().is_empty() {
            return Err(Refusal::OutcomeNotesMissing);
        }
        Ok(Decision::of(next, What::Failed))
    }

    fn over(&self, by: Move, outcome_notes: String, now: DateTime<Utc>) -> Result<Self, Refusal> {
        let mut next = self.moved(by, now)?;
        next.ended_at = Some(self.started_at.map_or(now, |started| now.max(started)));
        next.outcome_notes = outcome_notes;
        Ok(next)
    }

    /// Ends it for good.
    ///
    /// # Errors
    /// Refused unless it is completed or failed; without review notes when it failed or was an
    /// emergency; and without approval.
    pub fn close(&self, review_notes: String, now: DateTime<Utc>) -> Verdict {
        if self.state == State::Closed {
            return self.unchanged();
        }
        let mut next = self.moved(Move::Close, now)?;
        if !self.is_approved() {
            return Err(Refusal::NotApproved);
        }
        let needs_review = self.state == State::Failed || self.kind == ChangeType::Emergency;
        if needs_review && review_notes.trim().is_empty() {
            return Err(Refusal::ReviewNotesMissing);
        }
        next.review_notes = review_notes;
        next.closed_at = Some(now);
        Ok(Decision::of(next, What::Closed))
    }

    /// Gives it up.
    ///
    /// # Errors
    /// Refused once it was started.
    pub fn cancel(&self, reason: String, now: DateTime<Utc>) -> Verdict {
        if self.state == State::Cancelled {
            return self.unchanged();
        }
        Ok(Decision::of(self.moved(Move::Cancel, now)?, What::Cancelled { reason }))
    }
}

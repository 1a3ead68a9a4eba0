//! How each refusal looks on the wire: one exhaustive match.

use kit::problem::Problem;
use tonic::Status;

use crate::{app::Error, domain::Refusal};

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let reason = match &refusal {
            Refusal::IllegalMove { .. } => "CHANGE_ILLEGAL_MOVE",
            Refusal::Over(_) => "CHANGE_OVER",
            Refusal::PlanFixed { .. } => "CHANGE_PLAN_FIXED",
            Refusal::PlanIncomplete(_) => "CHANGE_PLAN_INCOMPLETE",
            Refusal::SelfApproval => "SELF_APPROVAL",
            Refusal::AlreadyApproved => "CHANGE_ALREADY_APPROVED",
            Refusal::NotApproved => "CHANGE_NOT_APPROVED",
            Refusal::ReviewNotesMissing => "CHANGE_REVIEW_NOTES_MISSING",
            Refusal::EndsBeforeStart => return Self::invalid("planned_end_time", "must be after planned_start_time"),
            Refusal::OutcomeNotesMissing => return Self::invalid("outcome_notes", "must say what came of it"),
        };
        Self::Refused { reason, message: refusal.to_string() }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => Problem::from(refusal).into(),
            Error::Problem(problem) => problem.into(),
        }
    }
}

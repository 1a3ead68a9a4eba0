//! How each refusal looks on the wire: one exhaustive match.

use kit::problem::Problem;
use tonic::Status;

use crate::{app::Error, domain::Refusal};

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let reason = match &refusal {
            Refusal::AgreementRetired => "AGREEMENT_RETIRED",
            Refusal::NoTarget => "AGREEMENT_NO_TARGET",
            Refusal::NeverDue(_) => "AGREEMENT_NEVER_DUE",
            Refusal::TargetCalendarRetired(_) => "AGREEMENT_CALENDAR_RETIRED",
            Refusal::CalendarRetired => "CALENDAR_RETIRED",
            Refusal::NeverWorks => "CALENDAR_NEVER_WORKS",
            Refusal::CalendarInUse(_) => "CALENDAR_IN_USE",
            Refusal::NameTaken(_) => return Self::Exists { reason: "CALENDAR_NAME_TAKEN", message },
        };
        Self::Refused { reason, message }
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

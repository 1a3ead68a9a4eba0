//! How each refusal looks on the wire: one exhaustive match.

use kit::problem::Problem;
use tonic::Status;

use crate::{app::Error, domain::Refusal};

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let reason = match &refusal {
            Refusal::IllegalMove { .. } => "INCIDENT_ILLEGAL_MOVE",
            Refusal::Over(_) => "INCIDENT_OVER",
            Refusal::ReopenWindowPassed { .. } => "INCIDENT_REOPEN_WINDOW_PASSED",
            Refusal::AlertElsewhere(_) => "INCIDENT_ALERT_ELSEWHERE",
            Refusal::AlertNotLinked => "INCIDENT_ALERT_NOT_LINKED",
            Refusal::TooManyAlerts(_) => "INCIDENT_TOO_MANY_ALERTS",
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

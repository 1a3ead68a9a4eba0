//! How each refusal looks on the wire: one exhaustive match.

use kit::problem::Problem;
use tonic::Status;

use crate::{app::Error, domain::Refusal};

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let reason = match &refusal {
            Refusal::NameTaken(_) => "INTEGRATION_NAME_TAKEN",
        };
        Self::Exists { reason, message: refusal.to_string() }
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

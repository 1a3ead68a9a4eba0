//! How each refusal looks on the wire: one exhaustive match.

use kit::problem::Problem;
use tonic::Status;

use crate::{app::Error, domain::Refusal};

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::DeliveryOver(_) => Self::Refused { reason: "DELIVERY_OVER", message },
            Refusal::MethodDisabled(_) => Self::Refused { reason: "CONTACT_METHOD_DISABLED", message },
            Refusal::UnknownEvent(_) => Self::invalid("rule.event_type", message),
            Refusal::NobodyToTell => Self::invalid("rule.recipients", message),
            Refusal::NothingToAcknowledge(_) => Self::invalid("rule.repeat_after_seconds", message),
        }
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

//! How each refusal looks on the wire: one exhaustive match.

use kit::problem::Problem;
use tonic::Status;

use crate::{app::Error, domain::Refusal};

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let reason = match &refusal {
            Refusal::LastAdministrator => "LAST_ADMINISTRATOR",
            Refusal::PersonDeactivated(_) => "PERSON_DEACTIVATED",
            Refusal::ServiceAccountEmail => "SERVICE_ACCOUNT_EMAIL",
            Refusal::TeamRetired(_) => "TEAM_RETIRED",
            Refusal::MembershipEnded => "MEMBERSHIP_ENDED",
            Refusal::TooManyKeys(_) => "TOO_MANY_API_KEYS",
            Refusal::ScopeTooWide(_) => return Self::Denied(refusal.to_string()),
            Refusal::ExpiryPast => "API_KEY_EXPIRY_PAST",
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

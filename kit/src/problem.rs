//! How a refusal looks to a caller: a gRPC code, a stable reason, and what to do about it.
//! What happened inside is logged once, here, and told to the caller as an id only.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of every error reason (AIP-193).
pub const DOMAIN: &str = "itsm";

/// A field that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field, such as `incident.title`.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub description: String,
}

/// Why a command or a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Fields break rules.
    #[error("{}", violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect::<Vec<_>>().join("; "))]
    Invalid {
        /// Each of them.
        violations: Vec<Violation>,
    },
    /// There is no such record, or it is another tenant's.
    #[error("there is no {kind} {id}")]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// By which id.
        id: String,
    },
    /// The record is in a state in which this cannot be done.
    #[error("{message}")]
    Refused {
        /// The stable reason, upper snake case.
        reason: &'static str,
        /// What is the matter and what would be legal now.
        message: String,
    },
    /// Something like it exists already.
    #[error("{message}")]
    Exists {
        /// The stable reason.
        reason: &'static str,
        /// What exists.
        message: String,
    },
    /// The caller may not do this.
    #[error("{0}")]
    Denied(String),
    /// The record changed since the caller read it.
    #[error("the record is at revision {current}, not {given}; read it again")]
    Stale {
        /// The revision it has.
        current: i64,
        /// The revision the caller had.
        given: i64,
    },
    /// The request id was used for something else.
    #[error("request_id was used before with another request; use a new one")]
    RequestReused,
    /// The same request is being carried out.
    #[error("the same request is still running; ask again")]
    RequestRunning,
    /// The cursor is older than the feed, or of a feed that was restored.
    #[error("the cursor is no longer valid; list the records, then watch without a cursor")]
    CursorExpired,
    /// Too much at once.
    #[error("{0}; try again later")]
    Exhausted(String),
    /// Something needed is away.
    #[error("{0} is not available; try again")]
    Unavailable(&'static str, #[source] Option<BoxError>),
    /// A fault of ours.
    #[error("internal error")]
    Internal(#[source] BoxError),
}

/// Any error, for the log.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Problem {
    /// One field breaks a rule.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid { violations: vec![Violation { field: field.into(), description: description.into() }] }
    }

    /// There is no such record.
    pub fn not_found(kind: &'static str, id: impl ToString) -> Self {
        Self::NotFound { kind, id: id.to_string() }
    }

    /// The stable reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "INVALID_FIELD",
            Self::NotFound { .. } => "NOT_FOUND",
            Self::Refused { reason, .. } | Self::Exists { reason, .. } => reason,
            Self::Denied(_) => "PERMISSION_DENIED",
            Self::Stale { .. } => "STALE_REVISION",
            Self::RequestReused => "REQUEST_ID_REUSED",
            Self::RequestRunning => "REQUEST_RUNNING",
            Self::CursorExpired => "CURSOR_EXPIRED",
            Self::Exhausted(_) => "RESOURCE_EXHAUSTED",
            Self::Unavailable(..) => "UNAVAILABLE",
            Self::Internal(_) => "INTERNAL",
        }
    }

    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid { .. } | Self::RequestReused => Code::InvalidArgument,
            Self::NotFound { .. } => Code::NotFound,
            Self::Refused { .. } => Code::FailedPrecondition,
            Self::Exists { .. } => Code::AlreadyExists,
            Self::Denied(_) => Code::PermissionDenied,
            Self::Stale { .. } | Self::RequestRunning => Code::Aborted,
            Self::CursorExpired => Code::OutOfRange,
            Self::Exhausted(_) => Code::ResourceExhausted,
            Self::Unavailable(..) => Code::Unavailable,
            Self::Internal(_) => Code::Internal,
        }
    }
}

impl From<Problem> for Status {
    fn from(problem: Problem) -> Self {
        let mut details = ErrorDetails::new();
        let mut metadata = std::collections::HashMap::new();
        let mut message = problem.to_string();
        match &problem {
            Problem::Invalid { violations } => {
                for violation in violations {
                    details.add_bad_request_violation(&violation.field, &violation.description);
                }
            }
            Problem::NotFound { kind, id } => {
                details.set_resource_info(*kind, id, "", "");
            }
            Problem::Refused { reason, message } => {
                details.add_precondition_failure_violation(*reason, "", message);
            }
            Problem::Stale { current, .. } => {
                metadata.insert("current_revision".to_owned(), current.to_string());
            }
            Problem::RequestRunning | Problem::Exhausted(_) => {
                details.set_retry_info(Some(Duration::from_secs(1)));
            }
            Problem::Unavailable(what, source) => {
                tracing::warn!(what, source = source.as_ref().map(tracing::field::display), "not available");
                details.set_retry_info(Some(Duration::from_secs(1)));
            }
            Problem::Internal(source) => {
                let incident = crate::id::draw();
                tracing::error!(error_id = %incident, source = %chain(source.as_ref()), "internal error");
                message = format!("internal error {incident}");
            }
            Problem::Exists { .. } | Problem::Denied(_) | Problem::RequestReused | Problem::CursorExpired => {}
        }
        details.set_error_info(problem.reason(), DOMAIN, metadata);
        Status::with_error_details(problem.code(), message, details)
    }
}

/// An error with all it wraps, on one line.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        if crate::db::violates(&error, "request_pkey") {
            // The same request was committed between our look and our write.
            return Self::RequestRunning;
        }
        if crate::db::is_away(&error) {
            Self::Unavailable("the database", Some(error.into()))
        } else {
            Self::Internal(error.into())
        }
    }
}

impl From<prost::DecodeError> for Problem {
    fn from(error: prost::DecodeError) -> Self {
        Self::Internal(error.into())
    }
}

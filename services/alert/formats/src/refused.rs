//! Why a whole body was refused.

use crate::limits;

/// A whole body that cannot be used. Its text names the field or the limit and shows nothing of
/// the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// More bytes than a body may have.
    #[error("the body is larger than {} bytes", limits::BODY_BYTES)]
    BodyTooLarge,
    /// Arrays and objects too deep inside each other.
    #[error("the body nests deeper than {} levels", limits::NESTING_DEPTH)]
    NestedTooDeep,
    /// More alerts than a body may have.
    #[error("`{field}` holds more than {} alerts", limits::ALERTS)]
    TooManyAlerts {
        /// The array.
        field: String,
    },
    /// More `ce-` headers than an event may have.
    #[error("the event has more than {} attributes", limits::EVENT_ATTRIBUTES)]
    TooManyAttributes,
    /// Not UTF-8.
    #[error("the body is not UTF-8: byte {offset} does not belong to it")]
    NotUtf8 {
        /// The first byte that is wrong.
        offset: usize,
    },
    /// Not JSON.
    #[error("the body is not JSON: {detail}")]
    NotJson {
        /// What the parser found, and where.
        detail: String,
    },
    /// A field, or the body itself, that is of another kind than the format says.
    #[error("`{field}` must be {expected}")]
    WrongType {
        /// The field; `body` for the body itself.
        field: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A field that the format requires.
    #[error("`{field}` is missing")]
    Missing {
        /// The field.
        field: String,
    },
    /// A version of the format that we do not read.
    #[error("`{field}` must be {expected}")]
    UnsupportedVersion {
        /// The field.
        field: String,
        /// The version that we read.
        expected: &'static str,
    },
    /// A field that breaks a rule: of the whole body, or of the first alert where none of the
    /// body's alerts is usable.
    #[error("`{field}` {detail}")]
    Unusable {
        /// The field.
        field: String,
        /// The rule.
        detail: String,
        /// The rule, as in [`crate::Rejected::code`].
        code: &'static str,
        /// Whether the rule is a limit.
        size_limit: bool,
    },
}

impl Refused {
    /// Why, for programs: UPPER_SNAKE and stable.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BodyTooLarge => "BODY_TOO_LARGE",
            Self::NestedTooDeep => "NESTED_TOO_DEEP",
            Self::TooManyAlerts { .. } => "TOO_MANY_ALERTS",
            Self::TooManyAttributes => "TOO_MANY_ATTRIBUTES",
            Self::NotUtf8 { .. } => "NOT_UTF8",
            Self::NotJson { .. } => "NOT_JSON",
            Self::WrongType { .. } => "WRONG_TYPE",
            Self::Missing { .. } => "MISSING_FIELD",
            Self::UnsupportedVersion { .. } => "UNSUPPORTED_VERSION",
            Self::Unusable { code, .. } => code,
        }
    }

    /// What is wrong: a path from the body's root, or `body`.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::BodyTooLarge
            | Self::NestedTooDeep
            | Self::TooManyAttributes
            | Self::NotUtf8 { .. }
            | Self::NotJson { .. } => "body",
            Self::TooManyAlerts { field }
            | Self::WrongType { field, .. }
            | Self::Missing { field }
            | Self::UnsupportedVersion { field, .. }
            | Self::Unusable { field, .. } => field,
        }
    }

    /// Whether a limit was exceeded (over HTTP: 413), rather than a rule broken (400).
    #[must_use]
    pub fn is_size_limit(&self) -> bool {
        match self {
            Self::BodyTooLarge | Self::NestedTooDeep | Self::TooManyAlerts { .. } | Self::TooManyAttributes => true,
            Self::Unusable { size_limit, .. } => *size_limit,
            Self::NotUtf8 { .. }
            | Self::NotJson { .. }
            | Self::WrongType { .. }
            | Self::Missing { .. }
            | Self::UnsupportedVersion { .. } => false,
        }
    }
}

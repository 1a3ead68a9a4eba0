//! Why a verb is refused: one variant a reason.

/// Why a verb is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name is taken in this tenant.
    #[error("an integration named {0} exists already; choose another name")]
    NameTaken(String),
}

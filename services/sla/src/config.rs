//! The settings of the sla service, with their defaults.

use kit::config::Period;
use serde::{Deserialize, Serialize};

/// How clocks behave.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long the incident service may stay out of reach before what is due is told without it,
    /// as provisional. Default 10 seconds.
    pub provisional_after: Period,
}

impl Default for Settings {
    fn default() -> Self {
        Self { provisional_after: Period::new(std::time::Duration::from_secs(10)) }
    }
}

impl Settings {
    /// Checks what the fields must hold together.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn check(&self) -> Result<(), String> {
        if self.provisional_after.duration().is_zero() {
            return Err("sla.provisional_after: must be longer than nothing".to_owned());
        }
        Ok(())
    }
}

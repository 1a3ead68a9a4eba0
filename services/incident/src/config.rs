//! The settings of the incident service, with their defaults.

use kit::config::Period;
use serde::{Deserialize, Serialize};

/// How incidents behave.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long after its resolution an incident is closed for good. Default 3 days.
    pub auto_close_after: Period,
    /// How long after its resolution an incident may be reopened, by a person or by its condition
    /// firing again. At most `auto_close_after`. Default 1 day.
    pub reopen_window: Period,
}

impl Default for Settings {
    fn default() -> Self {
        let days = |days: u64| Period::new(std::time::Duration::from_secs(days * 24 * 3_600));
        Self { auto_close_after: days(3), reopen_window: days(1) }
    }
}

impl Settings {
    /// Checks what the fields must hold together.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn check(&self) -> Result<(), String> {
        if self.reopen_window.duration() > self.auto_close_after.duration() {
            return Err("incident.reopen_window: must not be longer than incident.auto_close_after".to_owned());
        }
        Ok(())
    }
}

//! The settings of the alert service, with their defaults.

use kit::config::Period;
use serde::{Deserialize, Serialize};

/// How alerts are taken in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many messages of the intake stream are taken in one transaction, 1 to 200. Default 100.
    pub intake_batch: usize,
    /// How long nothing expires after the intake was away, so that sources can repeat themselves
    /// before their alerts count as over. Default 1 minute.
    pub expiry_grace: Period,
}

impl Default for Settings {
    fn default() -> Self {
        Self { intake_batch: 100, expiry_grace: Period::new(std::time::Duration::from_secs(60)) }
    }
}

impl Settings {
    /// Checks what the fields must hold together.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn check(&self) -> Result<(), String> {
        if (1..=200).contains(&self.intake_batch) {
            Ok(())
        } else {
            Err("alert.intake_batch: must be 1 to 200".to_owned())
        }
    }
}

//! The settings of the catalog service: none yet, but a section that a file may name.

use serde::{Deserialize, Serialize};

/// How the catalog behaves.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {}

impl Settings {
    /// Checks what the fields must hold together.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

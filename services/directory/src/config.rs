//! The settings of the directory service, with their defaults.

use std::time::Duration;

use kit::config::Period;
use serde::{Deserialize, Serialize};

/// How long a sign-in lasts and how many keys there may be.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long the token lasts that a key is exchanged for inside. Whoever holds one may act until
    /// it ends, also after the key was revoked; so at most 5 minutes, at least 5 s. Default 60 s.
    pub token_life: Period,
    /// How many keys that work one person may have, 1 to 1,000. Default 20.
    pub keys_per_person: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self { token_life: Period::new(Duration::from_secs(60)), keys_per_person: 20 }
    }
}

impl Settings {
    /// Checks what the fields must hold.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn check(&self) -> Result<(), String> {
        let life = self.token_life.duration();
        if life < Duration::from_secs(5) || life > Duration::from_secs(300) {
            return Err("directory.token_life: must be 5s to 5m".to_owned());
        }
        if !(1..=1_000).contains(&self.keys_per_person) {
            return Err("directory.keys_per_person: must be 1 to 1,000".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_hold_and_limits_are_named() {
        Settings::default().check().unwrap();
        let long = Settings { token_life: "6m".parse().unwrap(), ..Settings::default() };
        assert!(long.check().unwrap_err().starts_with("directory.token_life"));
        let none = Settings { keys_per_person: 0, ..Settings::default() };
        assert!(none.check().unwrap_err().starts_with("directory.keys_per_person"));
    }
}

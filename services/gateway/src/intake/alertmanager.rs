//! Alertmanager's webhook, version 4. It tries again after 5xx only.

/// Below the key.
pub const PATH: &str = "alertmanager";

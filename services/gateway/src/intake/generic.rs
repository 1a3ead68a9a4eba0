//! Our own JSON, for senders without a format of their own.

/// Below the key.
pub const PATH: &str = "alerts";

//! How long things are needed here; the provisioner prunes by it.

use kit::retention::Retention;

/// Records are retired and stay, since what happened long ago still names them.
pub const RETENTION: Retention = Retention::NOTHING;

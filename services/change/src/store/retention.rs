//! How long things are needed here; the provisioner prunes by it.

use kit::retention::{Records, Retention};

/// What ends, and what goes with it.
pub const RETENTION: Retention = Retention {
    records: &[Records {
        class: "changes",
        table: "change.changes",
        ended_at: "case when r.state in ('CLOSED', 'CANCELLED') then coalesce(r.closed_at, r.updated_at) end",
        held_by: "array[r.id]",
        with: &[],
    }],
    leftovers: &[],
    slices: &[],
    held_too: None,
};

//! How long things are needed here; the provisioner prunes by it.

use kit::retention::{Records, Retention};

/// What ends, and what goes with it.
pub const RETENTION: Retention = Retention {
    records: &[Records {
        class: "incidents",
        table: "incident.incidents",
        ended_at: "case when r.state in ('CLOSED', 'CANCELLED') then coalesce(r.closed_at, r.updated_at) end",
        held_by: "array[r.id]",
        with: &["delete from incident.incident_alerts where incident_id = any ($1)"],
    }],
    leftovers: &[],
    slices: &[],
    held_too: Some("select alert_id from incident.incident_alerts where incident_id = any ($1)"),
};

//! How long things are needed here; the provisioner prunes by it.

use kit::retention::{Leftovers, Records, Retention, Slice, Slices};

/// What ends, and what goes with it.
pub const RETENTION: Retention = Retention {
    records: &[Records {
        class: "deliveries",
        table: "notification.deliveries",
        ended_at: "case when r.state <> 'PENDING' then r.updated_at end",
        held_by: "array[r.id, r.incident_id, r.subject_record_id]",
        with: &[],
    }],
    // The least that is known of an incident: another event of it brings all of it again.
    leftovers: &[Leftovers {
        class: "incidents",
        table: "notification.incident_incidents",
        over: "r.id < $2 and r.attention = 'OVER'",
        held_by: "array[r.id]",
    }],
    slices: &[Slices {
        class: "attempts",
        table: "attempts",
        by: Slice::Month,
        held_by: "array[r.delivery_id] || coalesce((select array[d.incident_id, d.subject_record_id]
            from notification.deliveries d where d.id = r.delivery_id), '{}')",
    }],
    held_too: None,
};

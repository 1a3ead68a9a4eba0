//! How long things are needed here; the provisioner prunes by it.

use kit::retention::{Leftovers, Records, Retention};

/// What ends, and what goes with it. A clock stays as long as its incident is open, or another
/// event of that incident would start it anew.
pub const RETENTION: Retention = Retention {
    records: &[Records {
        class: "clocks",
        table: "sla.clocks",
        ended_at: "case when r.state not in ('RUNNING', 'PAUSED') and not exists (
                select from sla.incident_incidents i
                where i.tenant_id = r.tenant_id and i.id = r.incident_id and i.state not in ('CLOSED', 'CANCELLED'))
            then r.updated_at end",
        held_by: "array[r.id, r.incident_id]",
        with: &[],
    }],
    leftovers: &[Leftovers {
        class: "clocks",
        table: "sla.incident_incidents",
        over: "r.id < $2 and r.state in ('CLOSED', 'CANCELLED')
            and not exists (select from sla.clocks c where c.incident_id = r.id)",
        held_by: "array[r.id]",
    }],
    slices: &[],
    held_too: None,
};

//! How long things are needed here; the provisioner prunes by it.

use kit::retention::{Leftovers, Records, Retention, Slice, Slices};

/// What ends, and what goes with it. A condition goes before its latest alert, because signals are
/// judged by locking them in that order.
pub const RETENTION: Retention = Retention {
    records: &[Records {
        class: "alerts",
        table: "alert.alerts",
        ended_at: "case when r.state = 'CLEARED' and not exists (
                select from alert.conditions c
                where c.tenant_id = r.tenant_id and c.integration_id = r.integration_id and c.dedup_key = r.dedup_key
                    and c.alert_id = r.id)
            then r.updated_at end",
        held_by: "array[r.id]",
        with: &[],
    }],
    leftovers: &[
        Leftovers {
            class: "alerts",
            table: "alert.conditions",
            over: "r.alert_id is null and coalesce(r.cleared_at < $1, true)
                or exists (select from alert.alerts a
                    where a.id = r.alert_id and a.id < $2 and a.state = 'CLEARED' and a.updated_at < $1)",
            held_by: "array[r.alert_id]",
        },
        Leftovers {
            class: "rejected_alerts",
            table: "alert.rejected_alerts",
            over: "r.id < $2 and r.received_at < $1",
            held_by: "array[r.id]",
        },
        // Nearly always empty: what came on a day for which there was no partition.
        Leftovers {
            class: "raw_alerts",
            table: "alert.intake_rest",
            over: "r.received_at < $1",
            held_by: "'{}'::uuid[]",
        },
    ],
    slices: &[Slices { class: "raw_alerts", table: "intake", by: Slice::Day, held_by: "'{}'::uuid[]" }],
    held_too: None,
};

//! What this service knows of an incident, and where a clock stands while an incident stands where
//! it does: one table, which code, tests and the README share.

use chrono::{DateTime, Utc};
use kit::id::{IncidentId, ServiceId, TeamId};
use uuid::Uuid;

use super::clock::{
    ClockState::{self, Cancelled, Met, Paused, Running},
    Metric,
};

kit::words!(
    /// The order of work.
    Priority {
        /// First.
        P1 = "P1",
        /// Second.
        P2 = "P2",
        /// Third.
        P3 = "P3",
        /// Last.
        P4 = "P4",
    }
);

impl Priority {
    /// The level, 1 to 4; 1 is first.
    #[must_use]
    pub const fn level(self) -> i16 {
        self as i16 + 1
    }

    /// The priority of a level.
    #[must_use]
    pub fn of_level(level: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|priority| priority.level() == level)
    }
}

kit::words!(
    /// Where an incident stands.
    IncidentState {
        /// Nobody has it.
        New = "NEW",
        /// Somebody has it.
        Assigned = "ASSIGNED",
        /// Somebody works on it.
        InProgress = "IN_PROGRESS",
        /// It waits for something outside.
        Pending = "PENDING",
        /// Service is restored.
        Resolved = "RESOLVED",
        /// Over for good.
        Closed = "CLOSED",
        /// It was none.
        Cancelled = "CANCELLED",
    }
);

/// The course: where the response clock stands before and after the acknowledgement, and where the
/// resolution clock, while the incident stands where it does.
pub const COURSE: &[(IncidentState, ClockState, ClockState, ClockState)] = &[
    (IncidentState::New, Running, Met, Running),
    (IncidentState::Assigned, Running, Met, Running),
    (IncidentState::InProgress, Met, Met, Running),
    (IncidentState::Pending, Paused, Met, Paused),
    (IncidentState::Resolved, Met, Met, Met),
    (IncidentState::Closed, Met, Met, Met),
    (IncidentState::Cancelled, Cancelled, Cancelled, Cancelled),
];

/// An incident, as far as clocks need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// The incident.
    pub id: IncidentId,
    /// The owner's revision.
    pub revision: i64,
    /// The number people say.
    pub number: String,
    /// Where it stands.
    pub state: IncidentState,
    /// Whether somebody has acknowledged it.
    pub acknowledged: bool,
    /// The order of work.
    pub priority: Priority,
    /// The service that suffers.
    pub service_id: Option<ServiceId>,
    /// The team that has it.
    pub team_id: Option<TeamId>,
}

/// An incident as an event left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The incident afterwards.
    pub incident: Incident,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// The event.
    pub event_id: Uuid,
}

impl Incident {
    /// Where a clock of this incident stands by the course.
    #[must_use]
    pub fn clock_state(&self, metric: Metric) -> ClockState {
        let row = COURSE.iter().find(|(state, ..)| *state == self.state);
        row.map_or(Running, |(_, unseen, seen, resolution)| match (metric, self.acknowledged) {
            (Metric::Response, false) => *unseen,
            (Metric::Response, true) => *seen,
            (Metric::Resolution, _) => *resolution,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::MOVES;

    #[test]
    fn every_state_has_its_row() {
        for state in IncidentState::ALL {
            assert_eq!(COURSE.iter().filter(|(row, ..)| row == state).count(), 1, "{state:?}");
        }
    }

    #[test]
    fn the_readme_shows_the_tables_as_they_are() {
        let course = COURSE.iter().map(|(state, unseen, seen, resolution)| {
            format!("| {} | {} | {} | {} |", state.name(), unseen.name(), seen.name(), resolution.name())
        });
        let moves =
            MOVES.iter().map(|(metric, from, to)| format!("| {} | {} | {} |", metric.name(), from.name(), to.name()));
        let readme = include_str!("../../README.md");
        for (head, table) in [("|---|---|---|---|", course.collect::<Vec<_>>()), ("|---|---|---|", moves.collect())] {
            let table = format!("\n{head}\n{}\n\n", table.join("\n"));
            assert!(readme.contains(&table), "the README's table must be{table}");
        }
    }
}

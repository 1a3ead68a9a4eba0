//! The record, and what can happen to it.

use chrono::{DateTime, Utc};
use kit::{
    decide::Revised,
    id::{AlertId, CiId, IncidentId, PersonId, ServiceId, TeamId},
};

use super::{
    Decision,
    priority::{Impact, Priority, Urgency, priority},
    state::State,
};

/// How many alerts an incident holds, so that an event stays below its limit.
pub const ALERTS_AT_MOST: usize = 1_000;

kit::words!(
    /// What an incident waits for.
    PendingReason {
        /// An answer of the user.
        User = "USER",
        /// A supplier.
        Supplier = "SUPPLIER",
        /// A change.
        Change = "CHANGE",
        /// The solution of a problem.
        Problem = "PROBLEM",
        /// Something else, said in the note.
        Other = "OTHER",
    }
);
kit::words!(
    /// How an incident ended.
    ResolutionCode {
        /// The cause was removed.
        Fixed = "FIXED",
        /// Service is back by a workaround.
        Workaround = "WORKAROUND",
        /// Its last alert cleared.
        ClearedByMonitoring = "CLEARED_BY_MONITORING",
        /// Another incident covers it.
        Duplicate = "DUPLICATE",
        /// It could not be seen again.
        NotReproducible = "NOT_REPRODUCIBLE",
        /// There was none.
        NoFaultFound = "NO_FAULT_FOUND",
    }
);
kit::words!(
    /// Who resolves an incident.
    ResolutionMode {
        /// It resolves when its last alert clears, unless a person took it over.
        Automatic = "AUTOMATIC",
        /// A person alone.
        Manual = "MANUAL",
    }
);
kit::words!(
    /// How an incident came.
    Channel {
        /// By an alert.
        Alert = "ALERT",
        /// By a program or the command line.
        Api = "API",
        /// By phone.
        Phone = "PHONE",
        /// By mail.
        Mail = "MAIL",
        /// By the portal.
        Portal = "PORTAL",
    }
);

/// An alert that belongs to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertLink {
    /// The alert.
    pub alert_id: AlertId,
    /// Whether it still fires.
    pub active: bool,
    /// When it was linked.
    pub linked_at: DateTime<Utc>,
}

/// How an incident was resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// How it ended.
    pub code: ResolutionCode,
    /// What was done.
    pub notes: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Who has seen it, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Who.
    pub by: PersonId,
    /// When.
    pub at: DateTime<Utc>,
}

/// An unplanned interruption of a service, or a loss of its quality (ITIL).
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// The id.
    pub id: IncidentId,
    /// Counts the changes.
    pub revision: i64,
    /// The number people say.
    pub number: String,
    /// One line.
    pub title: String,
    /// More.
    pub description: String,
    /// Where it stands.
    pub state: State,
    /// What it waits for; set while pending and only then.
    pub pending_reason: Option<PendingReason>,
    /// How much business is hurt.
    pub impact: Impact,
    /// How soon it hurts.
    pub urgency: Urgency,
    /// The order of work.
    pub priority: Priority,
    /// Why the priority is what it is.
    pub priority_reason: String,
    /// Whether a person set the priority.
    pub priority_overridden: bool,
    /// What kind of trouble; empty when not said.
    pub category: String,
    /// The service that suffers.
    pub service_id: Option<ServiceId>,
    /// The configuration item at fault.
    pub ci_id: Option<CiId>,
    /// The team that has it.
    pub assigned_team_id: Option<TeamId>,
    /// The person that has it.
    pub assignee_id: Option<PersonId>,
    /// Who reported it; none for an alert.
    pub reporter_id: Option<PersonId>,
    /// How it came.
    pub channel: Channel,
    /// Who resolves it.
    pub resolution_mode: ResolutionMode,
    /// How it was resolved, while it is.
    pub resolution: Option<Resolution>,
    /// Who has seen it.
    pub acknowledgement: Option<Acknowledgement>,
    /// When it was closed or cancelled.
    pub closed_at: Option<DateTime<Utc>>,
    /// How often it came back.
    pub reopen_count: i32,
    /// Whether a person took it over, so that it no longer resolves by itself.
    pub taken_over: bool,
    /// The alerts that belong to it.
    pub alerts: Vec<AlertLink>,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl Revised for Incident {
    fn revision_mut(&mut self) -> &mut i64 {
        &mut self.revision
    }
}

/// A field from what to what, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// The field.
    pub field: &'static str,
    /// What it was.
    pub from: String,
    /// What it is.
    pub to: String,
}

/// What happened to an incident.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// It was opened.
    Opened,
    /// Somebody has seen it.
    Acknowledged,
    /// It was given to a team or a person.
    Assigned {
        /// The team before.
        previous_team: Option<TeamId>,
        /// The person before.
        previous_assignee: Option<PersonId>,
        /// A note.
        note: String,
    },
    /// Work began.
    Started {
        /// A note.
        note: String,
    },
    /// It waits.
    Held {
        /// A note.
        note: String,
    },
    /// Work goes on.
    Resumed {
        /// A note.
        note: String,
    },
    /// Service is restored.
    Resolved,
    /// It ended for good.
    Closed {
        /// A note.
        note: String,
    },
    /// It was none.
    Cancelled {
        /// Why.
        reason: String,
    },
    /// It came back.
    Reopened {
        /// Why.
        reason: String,
    },
    /// A note was added.
    Noted {
        /// The note.
        text: String,
    },
    /// Fields were changed.
    Changed {
        /// What changed from what to what.
        changes: Vec<FieldChange>,
    },
    /// The priority changed.
    PriorityChanged {
        /// What it was.
        from: Priority,
        /// The matrix cell, or why a person set it.
        reason: String,
    },
    /// An alert joined.
    AlertLinked(AlertId),
    /// One of its alerts cleared.
    AlertCleared(AlertId),
    /// An alert was taken away.
    AlertUnlinked(AlertId),
    /// One of its conditions fires again, by this alert.
    AlertRefired(AlertId),
}

/// What is needed to open an incident.
#[derive(Debug, Clone, PartialEq)]
pub struct NewIncident {
    /// Its id.
    pub id: IncidentId,
    /// Its number.
    pub number: String,
    /// One line.
    pub title: String,
    /// More.
    pub description: String,
    /// How much business is hurt.
    pub impact: Impact,
    /// How soon it hurts.
    pub urgency: Urgency,
    /// What kind of trouble.
    pub category: String,
    /// The service that suffers.
    pub service_id: Option<ServiceId>,
    /// The configuration item at fault.
    pub ci_id: Option<CiId>,
    /// The team that shall have it.
    pub team_id: Option<TeamId>,
    /// Who reported it.
    pub reporter_id: Option<PersonId>,
    /// How it came.
    pub channel: Channel,
    /// Who resolves it.
    pub resolution_mode: ResolutionMode,
    /// The alert that opens it.
    pub alert_id: Option<AlertId>,
}

impl Incident {
    /// Opens an incident. It is new also when a team is known: nobody has taken it yet.
    pub fn open(new: NewIncident, now: DateTime<Utc>) -> Decision {
        let (priority, priority_reason) = priority(new.impact, new.urgency);
        let incident = Self {
            id: new.id,
            revision: 0,
            number: new.number,
            title: new.title,
            description: new.description,
            state: State::New,
            pending_reason: None,
            impact: new.impact,
            urgency: new.urgency,
            priority,
            priority_reason,
            priority_overridden: false,
            category: new.category,
            service_id: new.service_id,
            ci_id: new.ci_id,
            assigned_team_id: new.team_id,
            assignee_id: None,
            reporter_id: new.reporter_id,
            channel: new.channel,
            resolution_mode: new.resolution_mode,
            resolution: None,
            acknowledgement: None,
            closed_at: None,
            reopen_count: 0,
            taken_over: false,
            alerts: new
                .alert_id
                .map(|alert_id| AlertLink { alert_id, active: true, linked_at: now })
                .into_iter()
                .collect(),
            created_at: now,
            updated_at: now,
        };
        Decision::of(incident, What::Opened)
    }

    /// The teams that may work on it.
    #[must_use]
    pub fn teams(&self) -> Vec<TeamId> {
        self.assigned_team_id.into_iter().collect()
    }

    /// Whether it resolves when its last alert clears.
    #[must_use]
    pub fn resolves_by_itself(&self) -> bool {
        self.resolution_mode == ResolutionMode::Automatic && !self.taken_over
    }
}

//! What people can do to an incident.

use chrono::{DateTime, TimeDelta, Utc};
use kit::id::{AlertId, CiId, PersonId, ServiceId, TeamId};

use super::{
    Decision, Refusal,
    incident::{
        ALERTS_AT_MOST, Acknowledgement, AlertLink, FieldChange, Incident, PendingReason, Resolution, ResolutionCode,
        ResolutionMode, What,
    },
    priority::{Impact, Priority, Urgency, priority},
    state::{Move, State, target},
};

type Verdict = Result<Decision, Refusal>;

/// What an update changes; what is none stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// One line.
    pub title: Option<String>,
    /// More.
    pub description: Option<String>,
    /// How much business is hurt.
    pub impact: Option<Impact>,
    /// How soon it hurts.
    pub urgency: Option<Urgency>,
    /// What kind of trouble.
    pub category: Option<String>,
    /// The service that suffers.
    pub service_id: Option<Option<ServiceId>>,
    /// The configuration item at fault.
    pub ci_id: Option<Option<CiId>>,
    /// Who resolves it.
    pub resolution_mode: Option<ResolutionMode>,
}

impl Incident {
    /// The incident after a legal move, with nothing else changed.
    pub(super) fn moved(&self, by: Move, now: DateTime<Utc>) -> Result<Self, Refusal> {
        let state = target(self.state, by).ok_or(Refusal::IllegalMove { state: self.state, by })?;
        let mut next = self.at(now);
        next.state = state;
        if state != State::Pending {
            next.pending_reason = None;
        }
        Ok(next)
    }

    /// The incident, changed now.
    pub(super) fn at(&self, now: DateTime<Utc>) -> Self {
        Self { updated_at: now.max(self.updated_at), ..self.clone() }
    }

    fn not_over(&self) -> Result<(), Refusal> {
        if self.state.is_over() { Err(Refusal::Over(self.state)) } else { Ok(()) }
    }

    /// Says that somebody has seen it; once.
    ///
    /// # Errors
    /// Refused when it is resolved or over.
    pub fn acknowledge(&self, by: PersonId, now: DateTime<Utc>) -> Verdict {
        let mut next = self.moved(Move::Acknowledge, now)?;
        if self.acknowledgement.is_some() {
            return Ok(Decision::unchanged(self.clone()));
        }
        next.acknowledgement = Some(Acknowledgement { by, at: now });
        Ok(Decision::of(next, What::Acknowledged))
    }

    /// Gives it to a team, a person, or both.
    ///
    /// # Errors
    /// Refused when it is resolved or over.
    pub fn assign(
        &self,
        team: Option<TeamId>,
        assignee: Option<PersonId>,
        note: String,
        now: DateTime<Utc>,
    ) -> Verdict {
        let mut next = self.moved(Move::Assign, now)?;
        next.assigned_team_id = team.or(self.assigned_team_id);
        next.assignee_id = assignee;
        if (next.state, next.assigned_team_id, next.assignee_id)
            == (self.state, self.assigned_team_id, self.assignee_id)
        {
            return Ok(Decision::unchanged(self.clone()));
        }
        let what = What::Assigned { previous_team: self.assigned_team_id, previous_assignee: self.assignee_id, note };
        Ok(Decision::of(next, what))
    }

    /// Says that work has begun: a person took it over.
    ///
    /// # Errors
    /// Refused while it waits (resume it), when it is resolved, or over.
    pub fn start(&self, note: String, now: DateTime<Utc>) -> Verdict {
        if self.state == State::InProgress {
            return Ok(Decision::unchanged(self.clone()));
        }
        let mut next = self.moved(Move::Start, now)?;
        next.taken_over = true;
        Ok(Decision::of(next, What::Started { note }))
    }

    /// Lets it wait for something outside: a person took it over.
    ///
    /// # Errors
    /// Refused when it is resolved or over.
    pub fn hold(&self, reason: PendingReason, note: String, now: DateTime<Utc>) -> Verdict {
        if self.state == State::Pending && self.pending_reason == Some(reason) {
            return Ok(Decision::unchanged(self.clone()));
        }
        let mut next = if self.state == State::Pending { self.at(now) } else { self.moved(Move::Hold, now)? };
        next.pending_reason = Some(reason);
        next.taken_over = true;
        Ok(Decision::of(next, What::Held { note }))
    }

    /// Goes on with work after waiting.
    ///
    /// # Errors
    /// Refused unless it waits.
    pub fn resume(&self, note: String, now: DateTime<Utc>) -> Verdict {
        if self.state == State::InProgress {
            return Ok(Decision::unchanged(self.clone()));
        }
        Ok(Decision::of(self.moved(Move::Resume, now)?, What::Resumed { note }))
    }

    /// Says that service is restored.
    ///
    /// # Errors
    /// Refused when it is over.
    pub fn resolve(&self, code: ResolutionCode, notes: String, now: DateTime<Utc>) -> Verdict {
        if self.state == State::Resolved {
            return Ok(Decision::unchanged(self.clone()));
        }
        let mut next = self.moved(Move::Resolve, now)?;
        next.resolution = Some(Resolution { code, notes, at: now });
        Ok(Decision::of(next, What::Resolved))
    }

    /// Ends it for good.
    ///
    /// # Errors
    /// Refused unless it is resolved.
    pub fn close(&self, note: String, now: DateTime<Utc>) -> Verdict {
        if self.state == State::Closed {
            return Ok(Decision::unchanged(self.clone()));
        }
        let mut next = self.moved(Move::Close, now)?;
        next.closed_at = Some(now);
        Ok(Decision::of(next, What::Closed { note }))
    }

    /// Says that it was none.
    ///
    /// # Errors
    /// Refused when it is resolved or closed.
    pub fn cancel(&self, reason: String, now: DateTime<Utc>) -> Verdict {
        if self.state == State::Cancelled {
            return Ok(Decision::unchanged(self.clone()));
        }
        let mut next = self.moved(Move::Cancel, now)?;
        next.closed_at = Some(now);
        Ok(Decision::of(next, What::Cancelled { reason }))
    }

    /// Takes it up again, inside the reopen window: whoever does so has it, and it is seen.
    ///
    /// # Errors
    /// Refused unless it is resolved, and when the window has passed.
    pub fn reopen(&self, by: PersonId, reason: String, window: TimeDelta, now: DateTime<Utc>) -> Verdict {
        let mut next = self.reopened(window, now)?;
        next.taken_over = true;
        next.acknowledgement = self.acknowledgement.or(Some(Acknowledgement { by, at: now }));
        Ok(Decision::of(next, What::Reopened { reason }))
    }

    pub(super) fn reopened(&self, window: TimeDelta, now: DateTime<Utc>) -> Result<Self, Refusal> {
        let mut next = self.moved(Move::Reopen, now)?;
        if self.resolution.as_ref().is_some_and(|resolution| now - resolution.at > window) {
            return Err(Refusal::ReopenWindowPassed { window_minutes: window.num_minutes() });
        }
        next.resolution = None;
        next.reopen_count += 1;
        Ok(next)
    }

    /// Adds a note; also when it is over, since knowledge comes late.
    pub fn add_note(&self, text: String, now: DateTime<Utc>) -> Decision {
        Decision::of(self.at(now), What::Noted { text })
    }

    /// Sets the priority by hand.
    ///
    /// # Errors
    /// Refused when it is over.
    pub fn override_priority(&self, wanted: Priority, reason: String, now: DateTime<Utc>) -> Verdict {
        self.not_over()?;
        if self.priority_overridden && self.priority == wanted {
            return Ok(Decision::unchanged(self.clone()));
        }
        let mut next = self.at(now);
        next.priority = wanted;
        next.priority_overridden = true;
        next.priority_reason = reason.clone();
        Ok(Decision::of(next, What::PriorityChanged { from: self.priority, reason }))
    }

    /// Changes fields; another impact or urgency makes another priority, unless it was overridden.
    ///
    /// # Errors
    /// Refused when it is over.
    pub fn update(&self, update: Update, now: DateTime<Utc>) -> Verdict {
        self.not_over()?;
        let mut next = self.at(now);
        let mut changes = Vec::new();
        macro_rules! set {
            ($field:ident, $text:expr) => {
                if let Some(value) = update.$field
                    && next.$field != value
                {
                    let text = $text;
                    changes.push(FieldChange { field: stringify!($field), from: text(&next.$field), to: text(&value) });
                    next.$field = value;
                }
            };
        }
        set!(title, |value: &String| value.clone());
        set!(description, |value: &String| value.clone());
        set!(category, |value: &String| value.clone());
        set!(impact, |value: &Impact| value.level().to_string());
        set!(urgency, |value: &Urgency| value.level().to_string());
        set!(service_id, |value: &Option<ServiceId>| value.map(|id| id.to_string()).unwrap_or_default());
        set!(ci_id, |value: &Option<CiId>| value.map(|id| id.to_string()).unwrap_or_default());
        set!(resolution_mode, |value: &ResolutionMode| format!("{value:?}").to_uppercase());
        if changes.is_empty() {
            return Ok(Decision::unchanged(self.clone()));
        }
        let decision = Decision::of(next.clone(), What::Changed { changes });
        let (wanted, reason) = priority(next.impact, next.urgency);
        if next.priority_overridden || wanted == next.priority {
            return Ok(decision);
        }
        next.priority = wanted;
        next.priority_reason.clone_from(&reason);
        Ok(decision.then(next, What::PriorityChanged { from: self.priority, reason }))
    }

    /// Adds an alert that belongs to it.
    ///
    /// # Errors
    /// Refused when it is over or full.
    pub fn link_alert(&self, alert_id: AlertId, active: bool, now: DateTime<Utc>) -> Verdict {
        self.not_over()?;
        if self.alerts.iter().any(|link| link.alert_id == alert_id) {
            return Ok(Decision::unchanged(self.clone()));
        }
        if self.alerts.len() >= ALERTS_AT_MOST {
            return Err(Refusal::TooManyAlerts(ALERTS_AT_MOST));
        }
        let mut next = self.at(now);
        next.alerts.push(AlertLink { alert_id, active, linked_at: now });
        Ok(Decision::of(next, What::AlertLinked(alert_id)))
    }

    /// Takes away an alert that does not belong to it.
    ///
    /// # Errors
    /// Refused when it is over, or the alert is not linked.
    pub fn unlink_alert(&self, alert_id: AlertId, now: DateTime<Utc>) -> Verdict {
        self.not_over()?;
        if !self.alerts.iter().any(|link| link.alert_id == alert_id) {
            return Err(Refusal::AlertNotLinked);
        }
        let mut next = self.at(now);
        next.alerts.retain(|link| link.alert_id != alert_id);
        Ok(Decision::of(next, What::AlertUnlinked(alert_id)))
    }
}

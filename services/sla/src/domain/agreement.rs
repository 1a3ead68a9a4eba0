//! The record of an agreement, and what people can do to it: draft, then active, then retired.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use kit::{
    decide::{Decision, Revised},
    id::ServiceId,
};

use super::{
    AgreementDecision, AgreementId, Calendar, CalendarId, CalendarState, Metric, Priority, Refusal, Schedule, Term,
    Terms,
};

kit::words!(
    /// Between whom.
    AgreementKind {
        /// With a customer.
        Sla = "SLA",
        /// With a team inside.
        Ola = "OLA",
        /// With a supplier.
        UnderpinningContract = "UNDERPINNING_CONTRACT",
    }
);

kit::words!(
    /// Whether an agreement starts clocks.
    AgreementState {
        /// Not yet.
        Draft = "DRAFT",
        /// Yes.
        Active = "ACTIVE",
        /// No more; running clocks go on.
        Retired = "RETIRED",
    }
);

/// Targets for one priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The priority.
    pub priority: Priority,
    /// Time to respond, in seconds of the calendar; 0 means no target.
    pub response_seconds: i64,
    /// Time to resolve, in seconds of the calendar; 0 means no target.
    pub resolution_seconds: i64,
    /// The calendar that counts; none means round the clock.
    pub calendar_id: Option<CalendarId>,
    /// The share of the time after which it is at risk, 1 to 99.
    pub at_risk_percent: u8,
}

impl Target {
    /// The time allowed, in seconds of the calendar; 0 means no target.
    #[must_use]
    pub const fn seconds(&self, metric: Metric) -> i64 {
        match metric {
            Metric::Response => self.response_seconds,
            Metric::Resolution => self.resolution_seconds,
        }
    }
}

/// What was agreed for a service, or for all that have no agreement of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// The id.
    pub id: AgreementId,
    /// Counts the changes.
    pub revision: i64,
    /// The name people read.
    pub display_name: String,
    /// Between whom.
    pub kind: AgreementKind,
    /// The service; none is the default for all others.
    pub service_id: Option<ServiceId>,
    /// At most one for each priority.
    pub targets: Vec<Target>,
    /// Whether it starts clocks.
    pub state: AgreementState,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// What happened to an agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgreementWhat {
    /// It was written.
    Created,
    /// It was changed.
    Changed,
    /// It starts clocks now.
    Activated,
    /// It starts no more clocks.
    Retired,
}

/// An agreement that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAgreement {
    /// The name people read.
    pub display_name: String,
    /// Between whom.
    pub kind: AgreementKind,
    /// The service; none is the default for all others.
    pub service_id: Option<ServiceId>,
    /// At most one for each priority.
    pub targets: Vec<Target>,
}

/// What an update changes; what is none stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgreementUpdate {
    /// The name people read.
    pub display_name: Option<String>,
    /// All targets.
    pub targets: Option<Vec<Target>>,
}

/// The calendars that an agreement's targets name.
pub type Calendars = BTreeMap<CalendarId, Calendar>;

type Verdict = Result<AgreementDecision, Refusal>;

impl Revised for Agreement {
    fn revision_mut(&mut self) -> &mut i64 {
        &mut self.revision
    }
}

impl Agreement {
    /// Writes an agreement, as a draft.
    ///
    /// # Errors
    /// Refused when a target cannot be kept to.
    pub fn create(id: AgreementId, wanted: NewAgreement, calendars: &Calendars, now: DateTime<Utc>) -> Verdict {
        let mut agreement = Self {
            id,
            revision: 0,
            display_name: wanted.display_name,
            kind: wanted.kind,
            service_id: wanted.service_id,
            targets: wanted.targets,
            state: AgreementState::Draft,
            created_at: now,
            updated_at: now,
        };
        agreement.targets.sort_unstable_by_key(|target| target.priority);
        agreement.can_be_kept(calendars, now)?;
        Ok(Decision::of(agreement, AgreementWhat::Created))
    }

    /// Changes fields. Running clocks go on with the agreement as it was when they started.
    ///
    /// # Errors
    /// Refused when it is retired, when a target cannot be kept to, or an active one would have none.
    pub fn update(&self, update: AgreementUpdate, calendars: &Calendars, now: DateTime<Utc>) -> Verdict {
        if self.state == AgreementState::Retired {
            return Err(Refusal::AgreementRetired);
        }
        let mut next = self.clone();
        next.display_name = update.display_name.unwrap_or(next.display_name);
        next.targets = update.targets.unwrap_or(next.targets);
        next.targets.sort_unstable_by_key(|target| target.priority);
        if next == *self {
            return Ok(Decision::unchanged(next));
        }
        if next.targets != self.targets {
            next.can_be_kept(calendars, now)?;
        }
        if next.state == AgreementState::Active {
            next.has_targets()?;
        }
        next.updated_at = now;
        Ok(Decision::of(next, AgreementWhat::Changed))
    }

    /// Lets it start clocks. Whoever calls retires the other active one of its service and kind.
    ///
    /// # Errors
    /// Refused when it is retired, has no target, or one that cannot be kept to.
    pub fn activate(&self, calendars: &Calendars, now: DateTime<Utc>) -> Verdict {
        match self.state {
            AgreementState::Active => return Ok(Decision::unchanged(self.clone())),
            AgreementState::Retired => return Err(Refusal::AgreementRetired),
            AgreementState::Draft => {}
        }
        self.has_targets()?;
        self.can_be_kept(calendars, now)?;
        let next = Self { state: AgreementState::Active, updated_at: now, ..self.clone() };
        Ok(Decision::of(next, AgreementWhat::Activated))
    }

    /// Lets it start no more clocks.
    pub fn retire(&self, now: DateTime<Utc>) -> AgreementDecision {
        if self.state == AgreementState::Retired {
            return Decision::unchanged(self.clone());
        }
        let next = Self { state: AgreementState::Retired, updated_at: now, ..self.clone() };
        Decision::of(next, AgreementWhat::Retired)
    }

    fn has_targets(&self) -> Result<(), Refusal> {
        let some = |target: &Target| target.response_seconds > 0 || target.resolution_seconds > 0;
        if self.targets.iter().any(some) { Ok(()) } else { Err(Refusal::NoTarget) }
    }

    fn can_be_kept(&self, calendars: &Calendars, now: DateTime<Utc>) -> Result<(), Refusal> {
        let always = Schedule::round_the_clock();
        for target in &self.targets {
            let calendar = target.calendar_id.and_then(|id| calendars.get(&id));
            if let Some(retired) = calendar.filter(|calendar| calendar.state == CalendarState::Retired) {
                return Err(Refusal::TargetCalendarRetired(retired.name.clone()));
            }
            let schedule = calendar.map_or(&always, |calendar| &calendar.schedule);
            let longest = TimeDelta::seconds(target.response_seconds.max(target.resolution_seconds));
            schedule.add(now, longest).map_err(|_| Refusal::NeverDue(target.priority))?;
        }
        Ok(())
    }

    /// What a clock takes from it when it starts; none when it has no target for what is measured.
    #[must_use]
    pub fn terms(&self, metric: Metric, calendars: &Calendars) -> Option<Terms> {
        let term = |target: &Target| {
            let calendar = target.calendar_id.and_then(|id| calendars.get(&id));
            Term {
                priority: target.priority,
                seconds: target.seconds(metric),
                at_risk_percent: target.at_risk_percent,
                calendar_id: target.calendar_id,
                calendar_name: calendar.map(|calendar| calendar.name.clone()).unwrap_or_default(),
                schedule: calendar.map_or_else(Schedule::round_the_clock, |calendar| calendar.schedule.clone()),
            }
        };
        let terms: Vec<Term> = self.targets.iter().filter(|target| target.seconds(metric) > 0).map(term).collect();
        (!terms.is_empty()).then(|| Terms {
            agreement_id: self.id,
            agreement_revision: self.revision,
            agreement_name: self.display_name.clone(),
            terms,
        })
    }
}

/// The targets that a fresh tenant starts with: the first two priorities round the clock, the
/// others in the given calendar.
#[must_use]
pub fn default_targets(business_hours: CalendarId) -> Vec<Target> {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    let target = |priority, response_seconds, resolution_seconds, calendar_id| Target {
        priority,
        response_seconds,
        resolution_seconds,
        calendar_id,
        at_risk_percent: AT_RISK_PERCENT,
    };
    vec![
        target(Priority::P1, 15 * MINUTE, 4 * HOUR, None),
        target(Priority::P2, 30 * MINUTE, 8 * HOUR, None),
        target(Priority::P3, 2 * HOUR, 24 * HOUR, Some(business_hours)),
        target(Priority::P4, 8 * HOUR, 72 * HOUR, Some(business_hours)),
    ]
}

/// The share of the time after which a clock is at risk, where nothing else is said.
pub const AT_RISK_PERCENT: u8 = 75;

#[cfg(test)]
#[path = "agreement_tests.rs"]
mod tests;

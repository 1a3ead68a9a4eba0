//! A clock: a fold over the events of its incident, which come in order and may come late.
//!
//! It is a list of segments, counted or not, and what follows from them. What was due before an
//! event is told before it ([`Clock::tick`]); an event that came late with an earlier instant takes
//! back a breach that the path no longer has ([`Clock::observe`]). Every judgement is as of the
//! event: a target is kept when not more than its time had counted.

use chrono::{DateTime, TimeDelta, Utc};
use kit::{
    decide::{Decision, Revised},
    id::{IncidentId, ServiceId, TeamId},
};
use uuid::Uuid;

use super::{AgreementId, CalendarId, ClockDecision, ClockId, Priority, Schedule, Seen};

kit::words!(
    /// What a clock measures.
    Metric {
        /// Until somebody has seen it: acknowledged, in progress or resolved, whichever is first.
        Response = "RESPONSE",
        /// Until service is restored.
        Resolution = "RESOLUTION",
    }
);

kit::words!(
    /// Where a clock stands.
    ClockState {
        /// It counts.
        Running = "RUNNING",
        /// It waits with its incident.
        Paused = "PAUSED",
        /// Its end came.
        Met = "MET",
        /// Its incident was none.
        Cancelled = "CANCELLED",
    }
);

kit::words!(
    /// Why a stretch of time counted or not.
    SegmentReason {
        /// It counted.
        Running = "running",
        /// The incident waited for something outside.
        Pending = "pending",
        /// The incident was resolved.
        Resolved = "resolved",
    }
);

/// The moves a clock makes. A response stays met; a resolution goes on when the incident comes back.
pub const MOVES: &[(Metric, ClockState, ClockState)] = &[
    (Metric::Response, ClockState::Running, ClockState::Paused),
    (Metric::Response, ClockState::Running, ClockState::Met),
    (Metric::Response, ClockState::Running, ClockState::Cancelled),
    (Metric::Response, ClockState::Paused, ClockState::Running),
    (Metric::Response, ClockState::Paused, ClockState::Met),
    (Metric::Response, ClockState::Paused, ClockState::Cancelled),
    (Metric::Resolution, ClockState::Running, ClockState::Paused),
    (Metric::Resolution, ClockState::Running, ClockState::Met),
    (Metric::Resolution, ClockState::Running, ClockState::Cancelled),
    (Metric::Resolution, ClockState::Paused, ClockState::Running),
    (Metric::Resolution, ClockState::Paused, ClockState::Met),
    (Metric::Resolution, ClockState::Paused, ClockState::Cancelled),
    (Metric::Resolution, ClockState::Met, ClockState::Running),
    (Metric::Resolution, ClockState::Met, ClockState::Paused),
];

/// The target for one priority, with its calendar as it was when the clock started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// The priority.
    pub priority: Priority,
    /// The time allowed, in seconds of the calendar.
    pub seconds: i64,
    /// The share of the time after which it is at risk, 1 to 99.
    pub at_risk_percent: u8,
    /// The calendar; none means round the clock.
    pub calendar_id: Option<CalendarId>,
    /// Its name.
    pub calendar_name: String,
    /// Its working time.
    pub schedule: Schedule,
}

impl Term {
    /// The time allowed.
    #[must_use]
    pub fn allowed(&self) -> TimeDelta {
        TimeDelta::seconds(self.seconds)
    }

    /// The time after which it is at risk.
    #[must_use]
    pub fn at_risk(&self) -> TimeDelta {
        // A target is at most a year: far from any overflow.
        TimeDelta::milliseconds(self.seconds * i64::from(self.at_risk_percent) * 10)
    }
}

/// The agreement, as far as a clock took it when it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The agreement.
    pub agreement_id: AgreementId,
    /// Its revision then.
    pub agreement_revision: i64,
    /// Its name then.
    pub agreement_name: String,
    /// The target for each priority that has one.
    pub terms: Vec<Term>,
}

/// A stretch of time and whether it counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// From.
    pub start: DateTime<Utc>,
    /// To; none while it lasts.
    pub end: Option<DateTime<Utc>>,
    /// Why it counted or not.
    pub reason: SegmentReason,
    /// The event that began it.
    pub event_id: Uuid,
}

impl Segment {
    /// Whether it counted.
    #[must_use]
    pub fn counted(&self) -> bool {
        self.reason == SegmentReason::Running
    }
}

/// One target of one incident, counting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// The id.
    pub id: ClockId,
    /// Counts the changes.
    pub revision: i64,
    /// The incident.
    pub incident_id: IncidentId,
    /// Its number.
    pub incident_number: String,
    /// What is measured.
    pub metric: Metric,
    /// Where it stands.
    pub state: ClockState,
    /// The priority that chose the target.
    pub priority: Priority,
    /// What was agreed.
    pub terms: Terms,
    /// The service of the incident.
    pub service_id: Option<ServiceId>,
    /// The team that has the incident.
    pub team_id: Option<TeamId>,
    /// How the time was counted.
    pub segments: Vec<Segment>,
    /// The instant it became at risk, if it did.
    pub at_risk_at: Option<DateTime<Utc>>,
    /// The instant it was breached, if it was and that was not taken back.
    pub breached_at: Option<DateTime<Utc>>,
    /// Whether the breach was told while the incident's owner could not be asked.
    pub provisional: bool,
    /// When it was met or cancelled.
    pub stopped_at: Option<DateTime<Utc>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// What happened to a clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClockWhat {
    /// It started.
    Started,
    /// It waits with its incident.
    Paused,
    /// It goes on.
    Resumed,
    /// Another priority, so another target from the start.
    Recomputed {
        /// Why.
        reason: String,
    },
    /// The at-risk share of the time has passed.
    AtRisk,
    /// The time has passed.
    Breached,
    /// What came in late, or another target, shows that it was kept.
    BreachWithdrawn {
        /// Why.
        reason: String,
    },
    /// Its end came.
    Met,
    /// Its incident was none.
    Cancelled,
}

kit::words!(
    /// What a clock waits for.
    TimerKind {
        /// That it is at risk.
        AtRisk = "at_risk",
        /// That its time has passed.
        Due = "due",
    }
);

impl Revised for Clock {
    fn revision_mut(&mut self) -> &mut i64 {
        &mut self.revision
    }
}

impl Clock {
    /// Starts a clock when an incident opens.
    pub fn start(id: ClockId, metric: Metric, terms: Terms, seen: &Seen) -> ClockDecision {
        let segment = Segment { start: seen.at, end: None, reason: SegmentReason::Running, event_id: seen.event_id };
        let clock = Self {
            id,
            revision: 0,
            incident_id: seen.incident.id,
            incident_number: seen.incident.number.clone(),
            metric,
            state: ClockState::Running,
            priority: seen.incident.priority,
            terms,
            service_id: seen.incident.service_id,
            team_id: seen.incident.team_id,
            segments: vec![segment],
            at_risk_at: None,
            breached_at: None,
            provisional: false,
            stopped_at: None,
            created_at: seen.at,
            updated_at: seen.at,
        };
        Decision::of(clock, ClockWhat::Started)
    }

    /// The target for the present priority.
    #[must_use]
    pub fn term(&self) -> Option<&Term> {
        self.terms.terms.iter().find(|term| term.priority == self.priority)
    }

    /// When it started to count.
    #[must_use]
    pub fn started_at(&self) -> DateTime<Utc> {
        self.segments.first().map_or(self.created_at, |segment| segment.start)
    }

    /// What has counted up to an instant, by the calendar of the present target.
    #[must_use]
    pub fn elapsed(&self, at: DateTime<Utc>) -> TimeDelta {
        let Some(term) = self.term() else { return TimeDelta::zero() };
        let counted = self.segments.iter().filter(|segment| segment.counted());
        counted.map(|segment| term.schedule.elapsed(segment.start, segment.end.unwrap_or(at).min(at))).sum()
    }

    /// The instant by which the target's time has counted; none while it waits, without a target,
    /// and when the calendar never gets there.
    #[must_use]
    pub fn due_at(&self) -> Option<DateTime<Utc>> {
        let allowed = self.term()?.allowed();
        self.reached_at(allowed).or_else(|| self.would_be_at(allowed))
    }

    /// The instant by which the at-risk share has counted.
    #[must_use]
    pub fn at_risk_due_at(&self) -> Option<DateTime<Utc>> {
        let at_risk = self.term()?.at_risk();
        self.reached_at(at_risk).or_else(|| self.would_be_at(at_risk))
    }

    /// The instant by which a span has counted, or will if it runs on.
    fn reached_at(&self, span: TimeDelta) -> Option<DateTime<Utc>> {
        let schedule = &self.term()?.schedule;
        let mut rest = span;
        for segment in self.segments.iter().filter(|segment| segment.counted()) {
            let Some(end) = segment.end else { return schedule.add(segment.start, rest).ok() };
            let counted = schedule.elapsed(segment.start, end);
            if counted >= rest {
                return schedule.add(segment.start, rest).ok();
            }
            rest -= counted;
        }
        None
    }

    /// When a met clock would have been due, had it run on. It never was, whatever time passed since.
    fn would_be_at(&self, span: TimeDelta) -> Option<DateTime<Utc>> {
        let schedule = &self.term()?.schedule;
        let counted = self.segments.iter().filter(|segment| segment.counted());
        let ends = counted.map(|segment| segment.end.map(|end| (segment.start, end))).collect::<Option<Vec<_>>>()?;
        let (_, last) = ends.last().filter(|_| self.state == ClockState::Met)?;
        let done = ends.iter().map(|(start, end)| schedule.elapsed(*start, *end)).sum::<TimeDelta>();
        schedule.add(*last, span - done).ok()
    }

    /// The instant that it waits for, of a kind; none when that was told, or it does not count.
    #[must_use]
    pub fn waits_for(&self, kind: TimerKind) -> Option<DateTime<Utc>> {
        let (due, told) = match kind {
            TimerKind::AtRisk => (self.at_risk_due_at(), self.at_risk_at),
            TimerKind::Due => (self.due_at(), self.breached_at),
        };
        due.filter(|_| self.state == ClockState::Running && told.is_none())
    }

    /// What it waits for next.
    #[must_use]
    pub fn next_due(&self) -> Option<(TimerKind, DateTime<Utc>)> {
        TimerKind::ALL.iter().find_map(|kind| self.waits_for(*kind).map(|at| (*kind, at)))
    }

    /// Tells what is due by now, one thing at a time, stamped with the instant it was due.
    /// `provisional` when the incident's owner could not be asked; `team_id` has the incident now.
    pub fn tick(&self, now: DateTime<Utc>, provisional: bool, team_id: Option<TeamId>) -> ClockDecision {
        let Some((kind, at)) = self.next_due().filter(|(_, at)| *at <= now) else {
            return Decision::unchanged(self.clone());
        };
        let mut next = Self { team_id, updated_at: at.max(self.updated_at), ..self.clone() };
        match kind {
            TimerKind::AtRisk => {
                next.at_risk_at = Some(at);
                Decision::of(next, ClockWhat::AtRisk)
            }
            TimerKind::Due => {
                next.breached_at = Some(at);
                next.provisional = provisional;
                Decision::of(next, ClockWhat::Breached)
            }
        }
    }

    /// Follows its incident. What was due before the event must have been told.
    pub fn observe(&self, seen: &Seen) -> ClockDecision {
        let latest = self.segments.last().map_or(self.created_at, |segment| segment.start);
        let at = seen.at.max(latest);
        let mut path = Vec::new();
        let mut next = self.clone();
        next.service_id = seen.incident.service_id;
        next.team_id = seen.incident.team_id;
        next.updated_at = at.max(self.updated_at);
        let wanted = seen.incident.clock_state(self.metric);
        if MOVES.contains(&(self.metric, self.state, wanted)) {
            next.go(wanted, at, seen.event_id);
            path.push((next.clone(), what(wanted)));
        }
        let counts = matches!(next.state, ClockState::Running | ClockState::Paused);
        if counts && next.priority != seen.incident.priority {
            let reason =
                format!("the priority went from {} to {}", self.priority.name(), seen.incident.priority.name());
            next.priority = seen.incident.priority;
            path.push((next.clone(), ClockWhat::Recomputed { reason }));
        }
        if path.is_empty() { Decision::unchanged(self.clone()) } else { self.judged(path, &next, at) }
    }

    fn go(&mut self, to: ClockState, at: DateTime<Utc>, event_id: Uuid) {
        if let Some(open) = self.segments.last_mut().filter(|segment| segment.end.is_none()) {
            open.end = Some(at);
        }
        let reason = match (to, self.metric) {
            (ClockState::Running, _) => Some(SegmentReason::Running),
            (ClockState::Paused, _) => Some(SegmentReason::Pending),
            (ClockState::Met, Metric::Resolution) => Some(SegmentReason::Resolved),
            (ClockState::Met, Metric::Response) | (ClockState::Cancelled, _) => None,
        };
        self.segments.extend(reason.map(|reason| Segment { start: at, end: None, reason, event_id }));
        self.stopped_at = matches!(to, ClockState::Met | ClockState::Cancelled).then_some(at);
        self.state = to;
    }

    /// The steps of a new path, with what it means for what was told: a breach that the new path
    /// does not have is taken back first, one that only the new path has is told last.
    fn judged(&self, path: Vec<(Self, ClockWhat)>, next: &Self, at: DateTime<Utc>) -> ClockDecision {
        let passed = |due: Option<DateTime<Utc>>| due.filter(|due| *due < at);
        let reached = |span: fn(&Term) -> TimeDelta| passed(next.term().and_then(|term| next.reached_at(span(term))));
        let (at_risk, breach) = (reached(Term::at_risk), reached(Term::allowed));
        // What was told stays told, yet at the instant that the new path has for it.
        let (at_risk_at, breached_at) = (self.at_risk_at.and(at_risk), self.breached_at.and(breach));
        let provisional = self.provisional && breached_at.is_some();
        let told = Self { at_risk_at, breached_at, provisional, ..self.clone() };
        let mut decision = Decision::unchanged(self.clone());
        if let Some(breached_at) = self.breached_at.filter(|_| breach.is_none()) {
            let reason = withdrawal(path.last().map(|(_, what)| what), at, breached_at);
            let record = Self { updated_at: next.updated_at, ..told.clone() };
            decision = decision.then(record, ClockWhat::BreachWithdrawn { reason });
        }
        let mut record = told.clone();
        for (step, what) in path {
            record = Self {
                at_risk_at: told.at_risk_at,
                breached_at: told.breached_at,
                provisional: told.provisional,
                ..step
            };
            decision = decision.then(record.clone(), what);
        }
        if at_risk.is_some() && told.at_risk_at.is_none() {
            record.at_risk_at = at_risk;
            decision = decision.then(record.clone(), ClockWhat::AtRisk);
        }
        if breach.is_some() && told.breached_at.is_none() {
            record.breached_at = breach;
            decision = decision.then(record, ClockWhat::Breached);
        }
        decision
    }
}

fn what(to: ClockState) -> ClockWhat {
    match to {
        ClockState::Running => ClockWhat::Resumed,
        ClockState::Paused => ClockWhat::Paused,
        ClockState::Met => ClockWhat::Met,
        ClockState::Cancelled => ClockWhat::Cancelled,
    }
}

fn withdrawal(what: Option<&ClockWhat>, at: DateTime<Utc>, breached_at: DateTime<Utc>) -> String {
    let (at, due) = (super::explanation::instant(at), super::explanation::instant(breached_at));
    match what {
        Some(ClockWhat::Recomputed { reason }) => format!("{reason} at {at}, and with that target it is not breached"),
        Some(ClockWhat::Met) => format!("it was met at {at}, before it was due at {due}"),
        Some(ClockWhat::Cancelled) => format!("its incident was cancelled at {at}, before it was due at {due}"),
        _ => format!("its incident waited from {at}, before it was due at {due}"),
    }
}

#[cfg(test)]
#[path = "clock_tests.rs"]
mod tests;

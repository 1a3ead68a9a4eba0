//! The plan: what an approval holds for. Editing it after it was requested makes another plan, and
//! takes the approval of the old one away.

use chrono::{DateTime, Utc};
use kit::id::{CiId, ServiceId, TeamId};

use super::{
    Decision, Refusal,
    change::{Change, Risk, What},
    state::{Move, State},
};

/// What an update changes; what is none stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// One line.
    pub title: Option<String>,
    /// More.
    pub description: Option<String>,
    /// Why it is wanted.
    pub reason: Option<String>,
    /// What will be done.
    pub implementation_plan: Option<String>,
    /// How it is taken back.
    pub backout_plan: Option<String>,
    /// How it is known to work.
    pub test_plan: Option<String>,
    /// What could go wrong.
    pub risk: Option<Risk>,
    /// The services affected.
    pub service_ids: Option<Vec<ServiceId>>,
    /// The configuration items affected.
    pub ci_ids: Option<Vec<CiId>>,
    /// The team that carries it out.
    pub assigned_team_id: Option<Option<TeamId>>,
}

impl Change {
    /// Changes fields. The approval is taken away before the plan becomes another, so that no
    /// event shows an approved change with a plan that nobody approved.
    ///
    /// # Errors
    /// Refused when it is over, when the plan is being carried out, or when what was requested
    /// would lose what a request needs.
    pub fn update(&self, update: Update, now: DateTime<Utc>) -> Result<Decision, Refusal> {
        if self.state.is_over() {
            return Err(Refusal::Over(self.state));
        }
        let mut next = self.at(now);
        let (plan, rest) = next.set(update);
        if plan.is_empty() && rest.is_empty() {
            return Ok(Decision::unchanged(self.clone()));
        }
        let drafted = matches!(self.state, State::Draft | State::Rejected);
        if !drafted {
            next.complete()?;
        }
        let fields: Vec<&'static str> = plan.iter().chain(&rest).copied().collect();
        if plan.is_empty() {
            return Ok(Decision::of(next, What::Changed { fields }));
        }
        if self.state.has_begun() {
            return Err(Refusal::PlanFixed { state: self.state, fields: plan });
        }
        if self.state == State::Draft {
            return Ok(Decision::of(next, What::Changed { fields }));
        }
        next.plan_revision = self.plan_revision + 1;
        if self.approval.is_none() {
            return Ok(Decision::of(next, What::Changed { fields }));
        }
        let mut voided = self.moved(Move::Void, now)?;
        voided.approval = None;
        voided.plan_revision = next.plan_revision;
        next.approval = None;
        next.state = voided.state;
        next.planned = voided.planned;
        Ok(Decision::of(voided, What::ApprovalVoided).then(next, What::Changed { fields }))
    }

    /// Sets what is another value; says which fields of the plan and which other fields that were.
    fn set(&mut self, update: Update) -> (Vec<&'static str>, Vec<&'static str>) {
        let (mut plan, mut rest) = (Vec::new(), Vec::new());
        macro_rules! set {
            ($names:ident, $field:ident) => {
                if let Some(value) = update.$field
                    && self.$field != value
                {
                    self.$field = value;
                    $names.push(stringify!($field));
                }
            };
        }
        set!(rest, title);
        set!(rest, description);
        set!(rest, reason);
        set!(plan, implementation_plan);
        set!(plan, backout_plan);
        set!(plan, test_plan);
        set!(plan, risk);
        set!(plan, service_ids);
        set!(plan, ci_ids);
        set!(rest, assigned_team_id);
        (plan, rest)
    }

    /// Whether it says all that a request needs.
    pub(super) fn complete(&self) -> Result<(), Refusal> {
        let needed = [
            ("reason", &self.reason),
            ("implementation_plan", &self.implementation_plan),
            ("backout_plan", &self.backout_plan),
        ];
        let missing: Vec<&'static str> =
            needed.iter().filter(|(_, text)| text.trim().is_empty()).map(|(name, _)| *name).collect();
        if missing.is_empty() { Ok(()) } else { Err(Refusal::PlanIncomplete(missing)) }
    }
}

//! Which events are told to whom. The filter is kept as it was written; whoever saves the rule has
//! tried it first.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use kit::{
    decide::{self, Revised},
    id::{PersonId, TeamId},
};

use super::{Method, Refusal, RuleId, TemplateId, event, event::Kind};

kit::words!(
    /// Whether a rule applies.
    State {
        /// Yes.
        Active = "ACTIVE",
        /// No.
        Disabled = "DISABLED",
    }
);

/// Whom to tell; each person once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipients {
    /// The members of the team that has the record.
    pub assigned_team: bool,
    /// The person that has it.
    pub assignee: bool,
    /// The members of these teams.
    pub team_ids: Vec<TeamId>,
    /// These people.
    pub person_ids: Vec<PersonId>,
    /// The administrators when nobody else can be told.
    pub else_administrators: bool,
}

impl Recipients {
    fn nobody(&self) -> bool {
        *self == Self::default()
    }
}

/// What people say of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wording {
    /// The name people read.
    pub display_name: String,
    /// The event.
    pub event_type: String,
    /// Which records; empty for all.
    pub filter: String,
    /// Whom.
    pub recipients: Recipients,
    /// By which ways; empty for every one.
    pub methods: BTreeSet<Method>,
    /// The text; none for the built-in one.
    pub template_id: Option<TemplateId>,
    /// Tell once more after this time while nobody has acknowledged; 0 for never.
    pub repeat_after_seconds: i64,
}

/// Which events are told to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The id.
    pub id: RuleId,
    /// Counts the changes.
    pub revision: i64,
    /// What it says.
    pub wording: Wording,
    /// Whether it applies.
    pub state: State,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl Revised for Rule {
    fn revision_mut(&mut self) -> &mut i64 {
        &mut self.revision
    }
}

/// What happened to a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleWhat {
    /// It was created.
    Created,
    /// It was changed.
    Changed,
    /// It applies no more.
    Disabled,
    /// It applies again.
    Enabled,
}

/// The outcome of a verb on a rule.
pub type Decision = decide::Decision<Rule, RuleWhat>;

impl Wording {
    fn check(&self) -> Result<(), Refusal> {
        let told = event::find(&self.event_type).ok_or_else(|| Refusal::UnknownEvent(self.event_type.clone()))?;
        if self.recipients.nobody() {
            return Err(Refusal::NobodyToTell);
        }
        if self.repeat_after_seconds > 0 && !matches!(told.kind, Kind::Incident | Kind::Clock) {
            return Err(Refusal::NothingToAcknowledge(self.event_type.clone()));
        }
        Ok(())
    }
}

impl Rule {
    /// Creates a rule.
    ///
    /// # Errors
    /// Refused for an event that is none, for nobody, and for a repeat that nothing could end.
    pub fn create(id: RuleId, wording: Wording, now: DateTime<Utc>) -> Result<Decision, Refusal> {
        wording.check()?;
        let rule = Self { id, revision: 0, wording, state: State::Active, created_at: now, updated_at: now };
        Ok(Decision::of(rule, RuleWhat::Created))
    }

    fn at(&self, now: DateTime<Utc>) -> Self {
        Self { updated_at: now.max(self.updated_at), ..self.clone() }
    }

    /// Says something else.
    ///
    /// # Errors
    /// As [`Rule::create`].
    pub fn update(&self, wording: Wording, now: DateTime<Utc>) -> Result<Decision, Refusal> {
        wording.check()?;
        if wording == self.wording {
            return Ok(Decision::unchanged(self.clone()));
        }
        Ok(Decision::of(Self { wording, ..self.at(now) }, RuleWhat::Changed))
    }

    /// Applies it no more.
    pub fn disable(&self, now: DateTime<Utc>) -> Decision {
        if self.state == State::Disabled {
            return Decision::unchanged(self.clone());
        }
        Decision::of(Self { state: State::Disabled, ..self.at(now) }, RuleWhat::Disabled)
    }

    /// Applies it again.
    pub fn enable(&self, now: DateTime<Utc>) -> Decision {
        if self.state == State::Active {
            return Decision::unchanged(self.clone());
        }
        Decision::of(Self { state: State::Active, ..self.at(now) }, RuleWhat::Enabled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn wording(event_type: &str) -> Wording {
        Wording {
            display_name: "a rule".to_owned(),
            event_type: event_type.to_owned(),
            recipients: Recipients { assigned_team: true, ..Recipients::default() },
            ..Wording::default()
        }
    }

    fn create(wording: Wording) -> Result<Decision, Refusal> {
        Rule::create(RuleId::draw(), wording, at(0))
    }

    #[test]
    fn a_rule_that_could_tell_nobody_is_refused() {
        assert_eq!(create(wording("incident.exploded")), Err(Refusal::UnknownEvent("incident.exploded".to_owned())));
        let nobody = Wording { recipients: Recipients::default(), ..wording("incident.opened") };
        assert_eq!(create(nobody), Err(Refusal::NobodyToTell));
        assert!(create(wording("change.requested")).is_ok());
    }

    #[test]
    fn only_what_can_be_acknowledged_repeats() {
        let repeated = |event_type| Wording { repeat_after_seconds: 60, ..wording(event_type) };
        assert!(create(repeated("incident.opened")).is_ok());
        assert!(create(repeated("sla.clock_breached")).is_ok());
        assert_eq!(create(repeated("change.failed")), Err(Refusal::NothingToAcknowledge("change.failed".to_owned())));
    }

    #[test]
    fn verbs_whose_effect_holds_change_nothing() {
        let rule = create(wording("incident.opened")).unwrap().record().clone();
        assert!(rule.enable(at(1)).is_unchanged());
        assert!(rule.update(wording("incident.opened"), at(1)).unwrap().is_unchanged());
        let disabled = rule.disable(at(1)).record().clone();
        assert!(disabled.disable(at(2)).is_unchanged());
        assert_eq!(disabled.enable(at(2)).record().revision, 3);
    }
}

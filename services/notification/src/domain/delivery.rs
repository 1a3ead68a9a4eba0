//! One message to one person by one way about one event. How often it was tried and when it is
//! tried next are measures: they move without a revision or an event.

use chrono::{DateTime, Utc};
use kit::{
    decide::{self, Revised},
    id::{IncidentId, PersonId},
};
use uuid::Uuid;

use super::{ContactMethodId, DeliveryId, Method, Outcome, Refusal, RuleId, retry};

kit::words!(
    /// Where a delivery stands.
    State {
        /// Waits for its first or next attempt.
        Pending = "PENDING",
        /// The receiver took it.
        Delivered = "DELIVERED",
        /// Given up.
        Failed = "FAILED",
        /// No longer needed.
        Cancelled = "CANCELLED",
    }
);

kit::words!(
    /// What moves a delivery from state to state.
    Move {
        /// The receiver took it.
        Deliver = "deliver",
        /// It is given up.
        Fail = "fail",
        /// It is no longer needed.
        Cancel = "cancel",
    }
);

/// The life: from which state which move leads where. What is not here does not happen.
pub const LIFE: &[(State, Move, State)] = &[
    (State::Pending, Move::Deliver, State::Delivered),
    (State::Pending, Move::Fail, State::Failed),
    (State::Pending, Move::Cancel, State::Cancelled),
];

/// Where a move leads.
#[must_use]
pub fn target(state: State, by: Move) -> Option<State> {
    LIFE.iter().find(|(from, its, _)| (*from, *its) == (state, by)).map(|(.., to)| *to)
}

/// The first message.
pub const FIRST: i32 = 1;
/// The one repeat.
pub const REPEAT: i32 = 2;

/// A rendered message; kept beside the record, never in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The subject line.
    pub subject: String,
    /// The text, or the JSON of a webhook.
    pub body: String,
}

/// One message on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The id; also the webhook-id and the Message-ID.
    pub id: DeliveryId,
    /// Counts the changes.
    pub revision: i64,
    /// The rule that asked for it; none for a test.
    pub rule_id: Option<RuleId>,
    /// The event it is about.
    pub event_id: Uuid,
    /// Its type.
    pub event_type: String,
    /// The record that the event happened to.
    pub subject_record_id: Uuid,
    /// Its number, if it has one.
    pub subject_record_number: String,
    /// The incident whose acknowledgement or end makes it needless.
    pub incident_id: Option<IncidentId>,
    /// Who is told.
    pub person_id: PersonId,
    /// By which way of theirs.
    pub contact_method_id: ContactMethodId,
    /// What kind of way.
    pub method: Method,
    /// 1 is the first message, 2 the repeat.
    pub sequence: i32,
    /// After what time it is told once more; 0 for never.
    pub repeat_after_seconds: i64,
    /// Where it stands.
    pub state: State,
    /// Why.
    pub reason: String,
    /// How often it was tried.
    pub attempt_count: i32,
    /// When it is tried next.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// When the receiver took it.
    pub delivered_at: Option<DateTime<Utc>>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl Revised for Delivery {
    fn revision_mut(&mut self) -> &mut i64 {
        &mut self.revision
    }
}

/// What happened to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryWhat {
    /// Somebody shall be told.
    Requested,
    /// The receiver took it.
    Delivered,
    /// It was given up.
    Failed,
    /// It is no longer needed.
    Cancelled,
}

/// The outcome of a verb on a delivery.
pub type Decision = decide::Decision<Delivery, DeliveryWhat>;

/// What is needed to ask for a delivery.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// The rule that asks for it; none for a test.
    pub rule_id: Option<RuleId>,
    /// The event it is about.
    pub event_id: Uuid,
    /// Its type.
    pub event_type: String,
    /// The record that the event happened to.
    pub subject_record_id: Uuid,
    /// Its number, if it has one.
    pub subject_record_number: String,
    /// The incident whose acknowledgement or end makes it needless.
    pub incident_id: Option<IncidentId>,
    /// Who is told.
    pub person_id: PersonId,
    /// By which way of theirs.
    pub contact_method_id: ContactMethodId,
    /// What kind of way.
    pub method: Method,
    /// After what time it is told once more; 0 for never.
    pub repeat_after_seconds: i64,
    /// Which rule, in words.
    pub reason: String,
}

/// What follows from the end of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// The delivery is over.
    Over(Box<Decision>),
    /// It is tried again then.
    Again(DateTime<Utc>),
    /// It was over before; only the attempt log is told.
    Late,
}

impl Delivery {
    /// Asks for a delivery, at once.
    pub fn request(new: NewDelivery, now: DateTime<Utc>) -> Decision {
        let delivery = Self {
            id: new.id,
            revision: 0,
            rule_id: new.rule_id,
            event_id: new.event_id,
            event_type: new.event_type,
            subject_record_id: new.subject_record_id,
            subject_record_number: new.subject_record_number,
            incident_id: new.incident_id,
            person_id: new.person_id,
            contact_method_id: new.contact_method_id,
            method: new.method,
            sequence: FIRST,
            repeat_after_seconds: new.repeat_after_seconds,
            state: State::Pending,
            reason: new.reason,
            attempt_count: 0,
            next_attempt_at: Some(now),
            delivered_at: None,
            created_at: now,
            updated_at: now,
        };
        Decision::of(delivery, DeliveryWhat::Requested)
    }

    /// Tells once more, since nobody has acknowledged; none when the first is still on its way or
    /// no longer needed.
    #[must_use]
    pub fn repeat(&self, id: DeliveryId, now: DateTime<Utc>) -> Option<Decision> {
        if self.sequence != FIRST || !matches!(self.state, State::Delivered | State::Failed) {
            return None;
        }
        let again = Self {
            id,
            revision: 0,
            sequence: REPEAT,
            state: State::Pending,
            reason: format!("nobody acknowledged within {} s", self.repeat_after_seconds),
            attempt_count: 0,
            next_attempt_at: Some(now),
            delivered_at: None,
            created_at: now,
            updated_at: now,
            ..self.clone()
        };
        Some(Decision::of(again, DeliveryWhat::Requested))
    }

    fn moved(&self, by: Move, now: DateTime<Utc>) -> Result<Self, Refusal> {
        let state = target(self.state, by).ok_or(Refusal::DeliveryOver(self.state))?;
        Ok(Self { state, next_attempt_at: None, updated_at: now.max(self.updated_at), ..self.clone() })
    }

    /// Does not send it any more.
    ///
    /// # Errors
    /// Refused when it was delivered or given up.
    pub fn cancel(&self, reason: String, now: DateTime<Utc>) -> Result<Decision, Refusal> {
        if self.state == State::Cancelled {
            return Ok(Decision::unchanged(self.clone()));
        }
        Ok(Decision::of(Self { reason, ..self.moved(Move::Cancel, now)? }, DeliveryWhat::Cancelled))
    }

    /// Gives it up.
    ///
    /// # Errors
    /// Refused when it is over.
    pub fn fail(&self, reason: String, now: DateTime<Utc>) -> Result<Decision, Refusal> {
        Ok(Decision::of(Self { reason, ..self.moved(Move::Fail, now)? }, DeliveryWhat::Failed))
    }

    /// An attempt, its latest, ended like this.
    #[must_use]
    pub fn attempt_ended(&self, outcome: Outcome, detail: &str, now: DateTime<Utc>) -> Ended {
        if outcome == Outcome::Delivered {
            return match self.moved(Move::Deliver, now) {
                Ok(next) => Ended::Over(Box::new(Decision::of(
                    Self { delivered_at: Some(now), ..next },
                    DeliveryWhat::Delivered,
                ))),
                Err(_) => Ended::Late,
            };
        }
        if let Some(rest) = retry::next(self.method, self.attempt_count, outcome) {
            return if self.state == State::Pending { Ended::Again(now + rest) } else { Ended::Late };
        }
        let reason = match outcome {
            Outcome::Gone => format!("the receiver is gone: {detail}"),
            Outcome::Refused => format!("refused: {detail}"),
            Outcome::Delivered | Outcome::Retry(_) | Outcome::Unknown => {
                format!("given up after {} attempts; the last: {detail}", self.attempt_count)
            }
        };
        self.fail(reason, now).map_or(Ended::Late, |decision| Ended::Over(Box::new(decision)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn delivery() -> Delivery {
        let new = NewDelivery {
            id: DeliveryId::draw(),
            rule_id: Some(RuleId::draw()),
            event_id: kit::id::draw(),
            event_type: "incident.opened".to_owned(),
            subject_record_id: kit::id::draw(),
            subject_record_number: "INC0000001".to_owned(),
            incident_id: None,
            person_id: PersonId::draw(),
            contact_method_id: ContactMethodId::draw(),
            method: Method::Webhook,
            repeat_after_seconds: 60,
            reason: "rule".to_owned(),
        };
        Delivery::request(new, at(0)).record().clone()
    }

    fn tried(delivery: &Delivery, times: i32) -> Delivery {
        Delivery { attempt_count: times, ..delivery.clone() }
    }

    #[test]
    fn it_is_given_up_after_the_last_attempt_and_says_how_that_ended() {
        let outcome = Outcome::Retry(None);
        assert_eq!(tried(&delivery(), 1).attempt_ended(outcome, "HTTP 500", at(0)), Ended::Again(at(5)));
        let Ended::Over(decision) = tried(&delivery(), 7).attempt_ended(outcome, "HTTP 500", at(9)) else {
            panic!("goes on")
        };
        assert_eq!(decision.record().state, State::Failed);
        assert_eq!(decision.record().reason, "given up after 7 attempts; the last: HTTP 500");
        assert_eq!(decision.record().next_attempt_at, None);
    }

    #[test]
    fn what_was_cancelled_meanwhile_stays_so() {
        let cancelled = delivery().cancel("acknowledged".to_owned(), at(1)).unwrap().record().clone();
        for outcome in [Outcome::Delivered, Outcome::Retry(None), Outcome::Refused, Outcome::Unknown] {
            assert_eq!(tried(&cancelled, 1).attempt_ended(outcome, "", at(2)), Ended::Late);
        }
        assert!(cancelled.cancel("again".to_owned(), at(2)).unwrap().is_unchanged());
    }

    #[test]
    fn it_repeats_once_and_only_when_the_first_is_through() {
        assert_eq!(delivery().repeat(DeliveryId::draw(), at(60)), None);
        let Ended::Over(decision) = tried(&delivery(), 1).attempt_ended(Outcome::Delivered, "", at(1)) else {
            panic!("goes on")
        };
        let again = decision.record().repeat(DeliveryId::draw(), at(60)).unwrap().record().clone();
        assert_eq!((again.sequence, again.revision, again.state, again.attempt_count), (REPEAT, 1, State::Pending, 0));
        let through = Delivery { state: State::Delivered, ..again };
        assert_eq!(through.repeat(DeliveryId::draw(), at(120)), None);
    }

    proptest! {
        #[test]
        fn only_declared_moves_happen_and_the_events_tell_the_row(
            steps in prop::collection::vec((0..6_u8, 1..8_i32), 0..12)
        ) {
            let mut row = delivery();
            let mut told = row.clone();
            for (second, (verb, count)) in steps.into_iter().enumerate() {
                let now = at(i64::try_from(second).unwrap());
                row.attempt_count = count;
                let outcome = [Outcome::Delivered, Outcome::Retry(None), Outcome::Gone, Outcome::Refused, Outcome::Unknown];
                let decided = match outcome.get(usize::from(verb)) {
                    Some(outcome) => match row.attempt_ended(*outcome, "", now) {
                        Ended::Over(decision) => Some(*decision),
                        Ended::Again(_) | Ended::Late => None,
                    },
                    None => row.cancel("acknowledged".to_owned(), now).ok(),
                };
                let Some(decision) = decided else { continue };
                for step in decision.steps() {
                    let declared = LIFE.iter().any(|(from, _, to)| (*from, *to) == (row.state, step.record.state));
                    prop_assert!(declared, "{:?} to {:?}", row.state, step.record.state);
                    prop_assert_eq!(step.record.revision, told.revision + 1);
                    told = step.record.clone();
                }
                row = decision.record().clone();
            }
            prop_assert_eq!((row.state, row.revision, row.reason), (told.state, told.revision, told.reason));
        }
    }
}

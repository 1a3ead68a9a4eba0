//! The model: the same random news, answers of the receiver, commands and waiting for the pure
//! domain and for the running service on real Postgres and NATS, compared after each step. Every
//! service with a state machine has such a file, and they look alike.
//!
//! `ITSM_PROPTEST_CASES=2000` does more than the few of every run, however long it takes; `PROPTEST_RNG_SEED` repeats one.

mod desk;

use std::{cell::RefCell, collections::BTreeMap, fmt, rc::Rc};

use chrono::{DateTime, TimeDelta, Utc};
use kit::{
    clock::Clock,
    decide::Step,
    id::{IncidentId, PersonId},
    model_testing::play,
    problem::Problem,
    testing::eventually,
};
use notification::{
    api::convert::records,
    domain::{
        ContactMethodId, Delivery, DeliveryId, Method, Outcome,
        delivery::{DeliveryWhat, Ended, FIRST, NewDelivery, REPEAT, State},
    },
    events::publish,
};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use prost::Message;
use proto::{
    incident::v1::{Incident, IncidentState},
    notification::v1::{self as wire, NotificationEvent, notification_event::Record},
};
use sqlx::{PgConnection, Row};
use tokio::{runtime::Runtime, sync::Mutex};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::{
    desk::{Desk as Service, incident, rule},
    sink::{Answer, Sink},
};

use self::desk::Desk;

/// How many deliveries that are no repeats a case has: as many as an endpoint takes at once.
const AT_ONCE: usize = 4;
/// After how long nobody having acknowledged is told once more.
const REPEAT_AFTER_SECONDS: i64 = 600;

#[derive(Debug, Clone)]
enum Command {
    /// An incident opens, and whoever the rule names is told.
    Open,
    /// Something happens to an incident: how much attention it needs from then on.
    News(u8, News),
    /// A person tries the way.
    Test { again: bool },
    /// A person cancels a delivery.
    Cancel { place: u8, stale: bool, again: bool },
    /// The receiver answers like this from now on.
    Answer(Reply),
    /// Time passes, in seconds.
    Wait(i64),
    /// Time passes until the next attempt or repeat, or so many microseconds beside it.
    WaitUntilDue(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum News {
    /// Nobody has it.
    Wanted,
    /// Somebody has seen it.
    Acknowledged,
    /// It is over.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Takes,
    Fails,
    AsksForTime,
    Refuses,
}

impl Reply {
    fn answer(self) -> Answer {
        Answer::Head(match self {
            Self::Takes => "200 OK",
            Self::Fails => "500 Internal Server Error",
            Self::AsksForTime => "429 Too Many Requests\r\nRetry-After: 120",
            Self::Refuses => "404 Not Found",
        })
    }

    fn outcome(self) -> Outcome {
        match self {
            Self::Takes => Outcome::Delivered,
            Self::Fails => Outcome::Retry(None),
            Self::AsksForTime => Outcome::Retry(Some(TimeDelta::seconds(120))),
            Self::Refuses => Outcome::Refused,
        }
    }
}

/// How every case begins.
const FIRST_COMMAND: Command = Command::Open;

fn command() -> impl Strategy<Value = Command> {
    let news = prop::sample::select(&[News::Wanted, News::Acknowledged, News::Over][..]);
    let reply = prop_oneof![
        2 => Just(Reply::Takes),
        3 => Just(Reply::Fails),
        1 => Just(Reply::AsksForTime),
        1 => Just(Reply::Refuses),
    ];
    let again = || prop::bool::weighted(0.3);
    prop_oneof![
        2 => Just(Command::Open),
        2 => (any::<u8>(), news).prop_map(|(place, news)| Command::News(place, news)),
        1 => again().prop_map(|again| Command::Test { again }),
        2 => (any::<u8>(), prop::bool::weighted(0.1), again())
            .prop_map(|(place, stale, again)| Command::Cancel { place, stale, again }),
        4 => reply.prop_map(Command::Answer),
        3 => prop_oneof![1..20_i64, Just(300), Just(600), Just(1_800), Just(40_000)].prop_map(Command::Wait),
        4 => (-1..=1_i64).prop_map(Command::WaitUntilDue),
    ]
}

/// A delivery by the domain, and what the domain leaves to timers and to the log of attempts.
#[derive(Debug, Clone)]
struct Known {
    delivery: Delivery,
    steps: Vec<Step<Delivery, DeliveryWhat>>,
    /// When it is told once more, unless somebody sees it.
    repeat_at: Option<DateTime<Utc>>,
    outcomes: Vec<&'static str>,
}

/// What must be, by the pure domain. Proptest drives one with made-up ids to choose commands; the
/// twin has another with the ids and the time of the service.
#[derive(Clone)]
struct Model {
    now: DateTime<Utc>,
    reply: Reply,
    incidents: Vec<(IncidentId, News, i64)>,
    known: Vec<Known>,
}

impl fmt::Debug for Model {
    /// What proptest shows of how a case begins, which is always the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} deliveries", self.known.len())
    }
}

impl Model {
    fn new(now: DateTime<Utc>) -> Self {
        Self { now, reply: Reply::Takes, incidents: vec![], known: vec![] }
    }

    fn place(&self, number: u8, of: usize) -> usize {
        let back = usize::try_from(number.trailing_zeros()).unwrap();
        of - 1 - back.min(of - 1)
    }

    fn request(&mut self, new: NewDelivery) {
        let repeat = (new.repeat_after_seconds > 0).then(|| TimeDelta::seconds(new.repeat_after_seconds));
        let decision = Delivery::request(new, self.now);
        self.known.push(Known {
            delivery: decision.record().clone(),
            steps: decision.steps().to_vec(),
            repeat_at: repeat.map(|after| self.now + after),
            outcomes: vec![],
        });
    }

    /// News cancel what waits and end the repeats when the incident needs less attention than before.
    fn news(&mut self, place: usize, news: News) {
        let (id, before, revision) = self.incidents[place];
        self.incidents[place] = (id, news, revision + 1);
        if news <= before {
            return;
        }
        let reason = match news {
            News::Wanted | News::Acknowledged => "somebody has seen the incident",
            News::Over => "the incident is resolved",
        };
        let now = self.now;
        for known in self.known.iter_mut().filter(|known| known.delivery.incident_id == Some(id)) {
            known.repeat_at = None;
            if known.delivery.state == State::Pending {
                known.cancel(reason, now).unwrap();
            }
        }
    }

    /// Cancels by hand.
    fn cancel(&mut self, place: usize, stale: bool) -> Result<(), Problem> {
        let (now, known) = (self.now, &mut self.known[place]);
        let revision = known.delivery.revision;
        if stale {
            return Err(Problem::Stale { current: revision, given: revision + 7 });
        }
        known.cancel("cancelled by a person", now)
    }

    /// Which firsts are told once more now: those that are through and that nobody has seen.
    fn repeats(&mut self) {
        for place in 0..self.known.len() {
            let Some(due) = self.known[place].repeat_at.filter(|due| *due <= self.now) else { continue };
            assert!(due <= self.now);
            self.known[place].repeat_at = None;
            let first = &self.known[place].delivery;
            let seen =
                self.incidents.iter().any(|(id, news, _)| Some(*id) == first.incident_id && *news != News::Wanted);
            let id = DeliveryId(Uuid::from_u128(0xf000 + self.known.len() as u128));
            if let Some(decision) = first.repeat(id, self.now).filter(|_| !seen) {
                let (delivery, steps) = (decision.record().clone(), decision.steps().to_vec());
                self.known.push(Known { delivery, steps, repeat_at: None, outcomes: vec![] });
            }
        }
    }

    /// Which deliveries are tried now.
    fn due(&self) -> Vec<usize> {
        let due = |known: &Known| known.delivery.next_attempt_at.is_some_and(|at| at <= self.now);
        (0..self.known.len()).filter(|place| due(&self.known[*place])).collect()
    }

    /// An attempt, which the receiver answers; `detail` is how the sender put it.
    fn tried(&mut self, place: usize, detail: &str) {
        let (now, outcome, known) = (self.now, self.reply.outcome(), &mut self.known[place]);
        known.outcomes.push(outcome.name());
        known.delivery.attempt_count += 1;
        match known.delivery.attempt_ended(outcome, detail, now) {
            Ended::Over(decision) => known.decided(*decision),
            Ended::Again(at) => known.delivery.next_attempt_at = Some(at),
            Ended::Late => panic!("nothing happens while an attempt is under way here"),
        }
    }

    /// How long a command waits.
    fn span(&self, command: &Command) -> TimeDelta {
        match command {
            Command::Wait(seconds) => TimeDelta::seconds(*seconds),
            Command::WaitUntilDue(beside) => {
                let due = |known: &Known| [known.delivery.next_attempt_at, known.repeat_at];
                let next = self.known.iter().flat_map(due).flatten().min();
                let span = next.map_or(TimeDelta::zero(), |at| at - self.now + TimeDelta::microseconds(*beside));
                span.max(TimeDelta::zero())
            }
            _ => TimeDelta::zero(),
        }
    }

    fn originals(&self) -> usize {
        self.known.iter().filter(|known| known.delivery.sequence == FIRST).count()
    }
}

impl Known {
    fn decided(&mut self, decision: notification::domain::delivery::Decision) {
        self.steps.extend(decision.steps().iter().cloned());
        self.delivery = decision.record().clone();
        if self.delivery.state == State::Cancelled {
            self.repeat_at = None;
        }
    }

    fn cancel(&mut self, reason: &str, now: DateTime<Utc>) -> Result<(), Problem> {
        let decision = self.delivery.cancel(reason.to_owned(), now)?;
        self.decided(decision);
        Ok(())
    }

    /// The service drew the id.
    fn named(&mut self, id: DeliveryId) {
        for delivery in self.steps.iter_mut().map(|step| &mut step.record).chain([&mut self.delivery]) {
            delivery.id = id;
        }
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Command;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::apply(Self::new(DateTime::UNIX_EPOCH), &FIRST_COMMAND)).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Command> {
        command().boxed()
    }

    fn apply(mut model: Self, command: &Command) -> Self {
        match command {
            Command::Open => {
                let id = IncidentId(Uuid::from_u128(model.incidents.len() as u128 + 1));
                model.incidents.push((id, News::Wanted, 1));
                model.request(new_delivery(Some(id), &wire::Delivery::default()));
            }
            Command::Test { .. } => model.request(new_delivery(None, &wire::Delivery::default())),
            Command::News(place, news) => {
                let place = model.place(*place, model.incidents.len());
                model.news(place, *news);
            }
            Command::Cancel { place, stale, .. } => {
                let place = model.place(*place, model.known.len());
                // What is refused changes nothing; the twin compares the reason.
                let _ = model.cancel(place, *stale);
            }
            Command::Answer(reply) => model.reply = *reply,
            Command::Wait(_) | Command::WaitUntilDue(_) => {}
        }
        model.now += model.span(command);
        model.repeats();
        for place in model.due() {
            model.tried(place, "");
        }
        model
    }

    fn preconditions(model: &Self, command: &Command) -> bool {
        !matches!(command, Command::Open | Command::Test { .. }) || model.originals() < AT_ONCE
    }
}

/// What was asked for, with the ids that the service drew.
fn new_delivery(incident_id: Option<IncidentId>, said: &wire::Delivery) -> NewDelivery {
    let id = |text: &str| text.parse().unwrap_or_else(|_| Uuid::nil());
    NewDelivery {
        id: DeliveryId(id(&said.id)),
        rule_id: said.rule_id.parse().ok(),
        event_id: id(&said.event_id),
        event_type: said.event_type.clone(),
        subject_record_id: id(&said.subject_record_id),
        subject_record_number: said.subject_record_number.clone(),
        incident_id,
        person_id: PersonId(id(&said.person_id)),
        contact_method_id: ContactMethodId(id(&said.contact_method_id)),
        method: Method::Webhook,
        repeat_after_seconds: if incident_id.is_some() { REPEAT_AFTER_SECONDS } else { 0 },
        reason: said.reason.clone(),
    }
}

thread_local! {
    /// Proptest hands nothing to a case; this ends with the test, and so do its servers.
    static DESK: RefCell<Option<Rc<Desk>>> = const { RefCell::new(None) };
}

/// The model, and the service that must agree with it.
struct Twin {
    desk: Rc<Desk>,
    model: Model,
}

impl Twin {
    fn begin(desk: Rc<Desk>) -> Self {
        desk.sink.answers(Reply::Takes.answer());
        let model = Model::new(desk.service.stage.clock.now());
        let mut twin = Self { desk, model };
        twin.perform(&FIRST_COMMAND);
        twin
    }

    /// Does a command to both, and compares what it says.
    fn perform(&mut self, command: &Command) {
        let (runtime, desk) = (Rc::clone(&self.desk.runtime), Rc::clone(&self.desk));
        runtime.block_on(async {
            match command {
                Command::Open => self.opens().await,
                Command::News(place, news) => self.happens(*place, *news).await,
                Command::Test { again } => {
                    let request_id = kit::id::draw().to_string();
                    let said = desk.test(&request_id).await;
                    self.model.request(new_delivery(None, &said));
                    let wanted = records::delivery(&self.model.known.last().unwrap().delivery);
                    assert_eq!(said, wanted);
                    if *again {
                        assert_eq!(desk.test(&request_id).await, wanted, "the same request again");
                    }
                }
                Command::Cancel { place, stale, again } => self.cancels(*place, *stale, *again).await,
                Command::Answer(reply) => {
                    self.model.reply = *reply;
                    desk.sink.answers(reply.answer());
                }
                Command::Wait(_) | Command::WaitUntilDue(_) => {}
            }
            let span = self.model.span(command);
            self.model.now += span;
            desk.service.stage.clock.advance(span);
            desk.settled().await;
            self.follow().await;
        });
    }

    async fn opens(&mut self) {
        let record = incident(None, 1);
        let id = IncidentId(record.id.parse().unwrap());
        self.model.incidents.push((id, News::Wanted, 1));
        self.desk.service.incident_says(&record, "opened").await;
        self.desk.service.caught_up().await;
        let about = self.desk.about(id).await;
        assert_eq!(about.len(), 1, "the rule tells one person by one way");
        let asked = self.history(&about[0].id).await.remove(0).event.and_then(|event| event.record);
        let Some(Record::Delivery(asked)) = asked else { panic!("a delivery begins with what was asked for") };
        self.model.request(new_delivery(Some(id), &asked));
    }

    /// What happened to a delivery; the first event has it as it was asked for.
    async fn history(&self, id: &str) -> Vec<wire::NotificationEventEntry> {
        let request = wire::ListDeliveryEventsRequest { id: id.to_owned(), ..Default::default() };
        let ask = self.desk.service.stage.request(&self.desk.service.administrator, request);
        let mut client = self.desk.service.client.clone();
        client.list_delivery_events(ask).await.unwrap().into_inner().events
    }

    async fn happens(&mut self, place: u8, news: News) {
        let place = self.model.place(place, self.model.incidents.len());
        self.model.news(place, news);
        let (id, news, revision) = self.model.incidents[place];
        let (state, seen) = match news {
            News::Wanted => (IncidentState::Assigned, None),
            News::Acknowledged => (IncidentState::Assigned, Some(prost_types::Timestamp::default())),
            News::Over => (IncidentState::Resolved, None),
        };
        let record =
            Incident { id: id.to_string(), revision, state: state.into(), acknowledge_time: seen, ..incident(None, 1) };
        self.desk.service.incident_says(&record, "changed").await;
    }

    async fn cancels(&mut self, place: u8, stale: bool, again: bool) {
        let place = self.model.place(place, self.model.known.len());
        let before = self.model.known[place].delivery.clone();
        let (id, revision) = (before.id.to_string(), stale.then_some(before.revision + 7));
        let expected = self.model.cancel(place, stale);
        let request_id = kit::id::draw().to_string();
        let answer = self.desk.cancel(&id, revision, &request_id).await;
        match (&expected, &answer) {
            (Ok(()), Ok(said)) => {
                assert_eq!(*said, records::delivery(&self.model.known[place].delivery));
            }
            (Err(problem), Err(status)) => {
                let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
                assert_eq!((reason.as_str(), status.message()), (problem.reason(), problem.to_string().as_str()));
                assert_ne!(status.code(), Code::Internal);
            }
            _ => panic!("cancel: the domain says {expected:?}, the service {answer:?}"),
        }
        if again {
            let essence = |answer: Result<wire::Delivery, Status>| {
                answer.map_err(|status| (status.code(), status.message().to_owned()))
            };
            let second = self.desk.cancel(&id, revision, &request_id).await;
            assert_eq!(essence(second), essence(answer), "the same request again");
        }
    }

    /// What timers and the receiver did meanwhile: repeats, then attempts.
    async fn follow(&mut self) {
        let before = self.model.known.len();
        self.model.repeats();
        for place in before..self.model.known.len() {
            let record = IncidentId(self.model.known[place].delivery.subject_record_id);
            let about = self.desk.about(record).await;
            let repeat = about.iter().find(|delivery| delivery.sequence == REPEAT).unwrap();
            self.model.known[place].named(repeat.id.parse().unwrap());
        }
        for place in self.model.due() {
            let said = self.desk.service.delivery(&self.model.known[place].delivery.id.to_string()).await;
            let detail = said.attempts.last().map(|attempt| attempt.detail.clone()).unwrap_or_default();
            self.model.tried(place, &detail);
        }
    }

    /// The deliveries are the model's, whole, with their attempts, and nothing more was written.
    fn agrees(&self) {
        self.desk.runtime.block_on(async {
            let ids: Vec<Uuid> = self.model.known.iter().map(|known| known.delivery.id.0).collect();
            let events = self.desk.events(&ids).await;
            for known in &self.model.known {
                let mut said = self.desk.service.delivery(&known.delivery.id.to_string()).await;
                let attempts = std::mem::take(&mut said.attempts);
                assert_eq!(said, records::delivery(&known.delivery));
                assert_eq!(attempts.iter().map(|each| each.outcome.as_str()).collect::<Vec<_>>(), known.outcomes);
                assert_eq!(usize::try_from(events[&known.delivery.id.0]).unwrap(), known.steps.len(), "the journal");
            }
            for (id, ..) in &self.model.incidents {
                let wanted = self.model.known.iter().filter(|known| known.delivery.incident_id == Some(*id)).count();
                assert_eq!(self.desk.about(*id).await.len(), wanted, "nobody is told more often");
            }
        });
    }

    /// The journal, replayed, says each step of the model and ends at the row, but for the measures
    /// that move without an event.
    fn replays(&self) {
        for known in &self.model.known {
            let entries = self.desk.runtime.block_on(self.history(&known.delivery.id.to_string()));
            for (entry, step) in entries.iter().zip(&known.steps) {
                let event = entry.event.clone().unwrap();
                let said = publish::delivery(&step.record, step.what, event.actor.as_ref().unwrap());
                assert_eq!((entry.r#type.as_str(), entry.revision), (said.kind, said.revision));
                assert_eq!(event, NotificationEvent::decode(said.body.as_slice()).unwrap());
            }
            let last = entries.last().and_then(|entry| entry.event.clone()).and_then(|event| event.record);
            let (Some(Record::Delivery(last)), row) = (last, records::delivery(&known.delivery)) else {
                panic!("no delivery")
            };
            assert_eq!((last.revision, last.state, last.reason), (row.revision, row.state, row.reason));
        }
    }

    /// Leaves nothing on its way, which another case would wait for.
    fn end(&self) {
        self.desk.runtime.block_on(async {
            for known in self.model.known.iter().filter(|known| known.delivery.state == State::Pending) {
                self.desk.cancel(&known.delivery.id.to_string(), None, "").await.unwrap();
            }
            for (id, _, revision) in &self.model.incidents {
                let record = Incident {
                    id: id.to_string(),
                    revision: revision + 1,
                    state: IncidentState::Closed.into(),
                    ..incident(None, 1)
                };
                self.desk.service.incident_says(&record, "closed").await;
            }
            self.desk.settled().await;
        });
    }
}

impl StateMachineTest for Twin {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_: &Model) -> Self {
        Self::begin(DESK.with_borrow(|desk| desk.clone()).unwrap())
    }

    fn apply(mut twin: Self, _: &Model, command: Command) -> Self {
        twin.perform(&command);
        twin
    }

    fn check_invariants(twin: &Self, reference: &Model) {
        assert_eq!(twin.model.known.len(), reference.known.len());
        twin.agrees();
    }

    fn teardown(twin: Self, _: Model) {
        twin.replays();
        twin.end();
    }
}

#[test]
fn the_service_tells_as_the_domain_says_whatever_happens() {
    let runtime = Rc::new(Runtime::new().unwrap());
    let desk = runtime.block_on(Desk::open(Rc::clone(&runtime)));
    DESK.set(Some(Rc::new(desk)));
    let played = play(&Model::sequential_strategy(1..30), 16, |config, (model, commands, seen)| {
        Twin::test_sequential(config, model, commands, seen);
    });
    DESK.take();
    played.unwrap();
}

//! The model: the same random commands and waiting for the pure domain and for the running service
//! on real Postgres and NATS, compared after each step. Every service with a state machine has such
//! a file, and they look alike.
//!
//! `ITSM_PROPTEST_CASES=2000` does more than the few of every run, however long it takes; `PROPTEST_RNG_SEED` repeats one.

mod desk;

use std::{cell::RefCell, collections::BTreeMap, fmt, rc::Rc};

use change::{
    MIGRATOR, Settings,
    api::convert,
    domain::{
        Change, ChangeType, Decision, NewChange, Risk, Update, What,
        change::{ChangeId, Window},
    },
    events::publish,
};
use chrono::{DateTime, TimeDelta, Utc};
use kit::{
    caller::Person,
    clock::Clock,
    decide::Step,
    id::{PersonId, TeamId},
    model_testing::play,
    problem::Problem,
    testing::{Stage, eventually},
};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use prost::Message;
use proto::{
    change::v1::{self as wire, ChangeEvent, change_service_client::ChangeServiceClient},
    common::v1::Role,
};
use sqlx::{PgConnection, Row};
use tokio::{runtime::Runtime, sync::Mutex};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;
use uuid::Uuid;

use self::desk::Desk;

#[derive(Debug, Clone)]
enum Command {
    /// The requester or another person does something to one of the changes, by gRPC.
    Do { place: u8, by_requester: bool, verb: Verb, basis: Basis, again: bool },
    /// Time passes, in minutes.
    Wait(i64),
}

#[derive(Debug, Clone)]
enum Verb {
    /// Of a type, with a plan or without.
    Create(ChangeType, bool),
    Update(Edit),
    Request,
    Approve,
    Reject,
    /// From then to then, in hours from now.
    Schedule(i64, i64),
    Start,
    Complete,
    Fail(&'static str),
    Close(&'static str),
    Cancel,
}

/// What an update names: fields of the plan, and others.
#[derive(Debug, Clone)]
enum Edit {
    Title(u8),
    Reason(&'static str),
    Plan(&'static str),
    Risk(Risk),
    TitleAndBackout(u8, &'static str),
}

/// Which revision the caller says to have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Basis {
    Unsaid,
    Current,
    Stale,
}

/// How every case begins.
const FIRST: Command = Command::Do {
    place: 0,
    by_requester: true,
    verb: Verb::Create(ChangeType::Normal, true),
    basis: Basis::Unsaid,
    again: false,
};

fn verb() -> impl Strategy<Value = Verb> {
    let text = || prop::sample::select(&["", "Swap it.", "Swap it, then wait."][..]);
    let edit = prop_oneof![
        (0..3_u8).prop_map(Edit::Title),
        text().prop_map(Edit::Reason),
        text().prop_map(Edit::Plan),
        prop::sample::select(Risk::ALL).prop_map(Edit::Risk),
        ((0..3_u8), text()).prop_map(|(title, plan)| Edit::TitleAndBackout(title, plan)),
    ];
    let notes = || prop::sample::select(&["", "As expected."][..]);
    prop_oneof![
        3 => (prop::sample::select(ChangeType::ALL), prop::bool::weighted(0.8))
            .prop_map(|(kind, planned)| Verb::Create(kind, planned)),
        4 => edit.prop_map(Verb::Update),
        5 => Just(Verb::Request),
        5 => Just(Verb::Approve),
        1 => Just(Verb::Reject),
        4 => (0..5_i64, 0..6_i64).prop_map(|(start, end)| Verb::Schedule(start, end)),
        4 => Just(Verb::Start),
        2 => Just(Verb::Complete),
        2 => notes().prop_map(Verb::Fail),
        3 => notes().prop_map(Verb::Close),
        1 => Just(Verb::Cancel),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let basis = prop_oneof![6 => Just(Basis::Unsaid), 3 => Just(Basis::Current), 1 => Just(Basis::Stale)];
    prop_oneof![
        12 => (any::<u8>(), any::<bool>(), verb(), basis, prop::bool::weighted(0.2)).prop_map(
            |(place, by_requester, verb, basis, again)| Command::Do { place, by_requester, verb, basis, again }
        ),
        1 => (1..600_i64).prop_map(Command::Wait),
    ]
}

/// What must be, by the pure domain. Proptest drives one with made-up ids to choose commands; the
/// twin has another with the ids and the time of the service.
#[derive(Clone)]
struct Model {
    now: DateTime<Utc>,
    requester: PersonId,
    other: PersonId,
    changes: Vec<Change>,
    journals: Vec<Vec<Step<Change, What>>>,
}

impl fmt::Debug for Model {
    /// What proptest shows of how a case begins, which is always the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} changes", self.changes.len())
    }
}

impl Model {
    fn new(now: DateTime<Utc>, requester: PersonId, other: PersonId) -> Self {
        Self { now, requester, other, changes: vec![], journals: vec![] }
    }

    /// Does a command, or says why not.
    fn step(&mut self, command: &Command) -> Result<(), Problem> {
        match command {
            Command::Do { place, by_requester, verb, basis, .. } => {
                let place = (!self.changes.is_empty()).then(|| self.place(*place));
                self.act(place, *by_requester, verb, *basis).map(drop)
            }
            Command::Wait(minutes) => {
                self.now += TimeDelta::minutes(*minutes);
                Ok(())
            }
        }
    }

    /// One of the changes, the latest ones more often.
    fn place(&self, number: u8) -> usize {
        let back = usize::try_from(number.trailing_zeros()).unwrap();
        self.changes.len() - 1 - back.min(self.changes.len() - 1)
    }

    /// What a person does: which change is answered.
    fn act(&mut self, place: Option<usize>, by_requester: bool, verb: &Verb, basis: Basis) -> Result<usize, Problem> {
        let now = self.now;
        let place = match (verb, place) {
            (Verb::Create(kind, planned), _) => return Ok(self.create(*kind, *planned)),
            (_, Some(place)) => place,
            (_, None) => panic!("a case begins with a change"),
        };
        match verb {
            Verb::Schedule(start, end) if start >= end => {
                return Err(Problem::invalid("planned_end_time", "must be after planned_start_time"));
            }
            Verb::Fail("") => return Err(Problem::invalid("outcome_notes", "must have at least 1 characters")),
            _ => {}
        }
        let change = &self.changes[place];
        if basis == Basis::Stale {
            return Err(Problem::Stale { current: change.revision, given: change.revision + 7 });
        }
        let by = if by_requester { self.requester } else { self.other };
        let decision = match verb {
            Verb::Create(..) => unreachable!("handled before"),
            Verb::Update(edit) => change.update(update(edit), now)?,
            Verb::Request => change.request(now)?,
            Verb::Approve => change.approve(by, "Fine.".to_owned(), now)?,
            Verb::Reject => change.reject("Too risky.".to_owned(), now)?,
            Verb::Schedule(start, end) => change.schedule(window(now, *start, *end), now)?,
            Verb::Start => change.start(now)?,
            Verb::Complete => change.complete_as_planned(String::new(), now)?,
            Verb::Fail(notes) => change.fail((*notes).to_owned(), now)?,
            Verb::Close(notes) => change.close((*notes).to_owned(), now)?,
            Verb::Cancel => change.cancel("Not needed.".to_owned(), now)?,
        };
        self.decided(place, decision);
        Ok(place)
    }

    fn create(&mut self, kind: ChangeType, planned: bool) -> usize {
        let id = ChangeId(Uuid::from_u128(self.changes.len() as u128 + 1));
        // Whoever writes it down is its requester.
        let decision = Change::draft(id, String::new(), self.requester, new(kind, planned), self.now);
        self.changes.push(decision.record().clone());
        self.journals.push(decision.steps().to_vec());
        self.changes.len() - 1
    }

    fn decided(&mut self, place: usize, decision: Decision) {
        self.journals[place].extend(decision.steps().iter().cloned());
        self.changes[place] = decision.record().clone();
    }

    /// The service drew the id and the number of a change.
    fn named(&mut self, place: usize, id: ChangeId, number: &str) {
        for change in self.journals[place].iter_mut().map(|step| &mut step.record).chain([&mut self.changes[place]]) {
            change.id = id;
            number.clone_into(&mut change.number);
        }
    }
}

fn titled(number: u8) -> String {
    format!("Replace the disk ({number})")
}

fn new(kind: ChangeType, planned: bool) -> NewChange {
    let plan = |text: &str| if planned { text.to_owned() } else { String::new() };
    NewChange {
        title: titled(0),
        description: String::new(),
        kind,
        risk: Risk::Minor,
        reason: plan("It reports errors."),
        implementation_plan: plan("Swap it, wait for the rebuild."),
        backout_plan: plan("Put the old one back."),
        test_plan: String::new(),
        service_ids: vec![],
        ci_ids: vec![],
        assigned_team_id: None,
    }
}

fn update(edit: &Edit) -> Update {
    let mut update = Update::default();
    match edit {
        Edit::Title(number) => update.title = Some(titled(*number)),
        Edit::Reason(text) => update.reason = Some((*text).to_owned()),
        Edit::Plan(text) => update.implementation_plan = Some((*text).to_owned()),
        Edit::Risk(risk) => update.risk = Some(*risk),
        Edit::TitleAndBackout(number, text) => {
            update.title = Some(titled(*number));
            update.backout_plan = Some((*text).to_owned());
        }
    }
    update
}

fn window(now: DateTime<Utc>, start: i64, end: i64) -> Window {
    Window { start: now + TimeDelta::hours(start), end: now + TimeDelta::hours(end) }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Command;

    fn init_state() -> BoxedStrategy<Self> {
        let (requester, other) = (PersonId(Uuid::from_u128(1)), PersonId(Uuid::from_u128(2)));
        let mut model = Self::new(DateTime::UNIX_EPOCH, requester, other);
        model.step(&FIRST).unwrap();
        Just(model).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Command> {
        command().boxed()
    }

    fn apply(mut model: Self, command: &Command) -> Self {
        // What is refused changes nothing; the twin compares the reason.
        let _ = model.step(command);
        model
    }

    fn preconditions(model: &Self, command: &Command) -> bool {
        !matches!(command, Command::Do { verb: Verb::Create(..), .. }) || model.changes.len() < 4
    }
}

thread_local! {
    /// Proptest hands nothing to a case; this ends with the test, and so do its servers.
    static DESK: RefCell<Option<Rc<Desk>>> = const { RefCell::new(None) };
}

fn risk_on_the_wire(risk: Risk) -> i32 {
    let new = NewChange { risk, ..new(ChangeType::Normal, true) };
    let (id, person) = (ChangeId(Uuid::nil()), PersonId(Uuid::nil()));
    convert::change(Change::draft(id, String::new(), person, new, DateTime::UNIX_EPOCH).record()).risk
}

/// An update as a message.
fn edited(edit: &Edit, id: String, revision: i64, request_id: String) -> wire::UpdateChangeRequest {
    let mut change = wire::Change { id, revision, ..Default::default() };
    let paths: &[&str] = match edit {
        Edit::Title(number) => {
            change.title = titled(*number);
            &["title"]
        }
        Edit::Reason(text) => {
            change.reason = (*text).to_owned();
            &["reason"]
        }
        Edit::Plan(text) => {
            change.implementation_plan = (*text).to_owned();
            &["implementation_plan"]
        }
        Edit::Risk(risk) => {
            change.risk = risk_on_the_wire(*risk);
            &["risk"]
        }
        Edit::TitleAndBackout(number, text) => {
            change.title = titled(*number);
            change.backout_plan = (*text).to_owned();
            &["title", "backout_plan"]
        }
    };
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    wire::UpdateChangeRequest { change: Some(change), update_mask: Some(prost_types::FieldMask { paths }), request_id }
}

/// One case: the model, and the service that must agree with it.
struct Twin {
    desk: Rc<Desk>,
    model: Model,
}

impl Twin {
    fn begin(desk: Rc<Desk>) -> Self {
        let model = Model::new(desk.stage.clock.now(), desk.requester.id, desk.other.id);
        let mut twin = Self { desk, model };
        twin.perform(&FIRST);
        twin
    }

    /// Does a command to both, and compares what it says.
    fn perform(&mut self, command: &Command) {
        let runtime = Rc::clone(&self.desk.runtime);
        runtime.block_on(async {
            match command {
                Command::Do { place, by_requester, verb, basis, again } => {
                    self.ask(*place, *by_requester, verb, *basis, *again).await;
                }
                Command::Wait(minutes) => {
                    self.model.step(command).unwrap();
                    self.desk.stage.clock.advance(TimeDelta::minutes(*minutes));
                }
            }
        });
    }

    /// A person asks by gRPC; the same request again gets the first answer.
    async fn ask(&mut self, place: u8, by_requester: bool, verb: &Verb, basis: Basis, again: bool) {
        let place = (!self.model.changes.is_empty()).then(|| self.model.place(place));
        let seen = place.map_or((String::new(), 0), |place| {
            let change = &self.model.changes[place];
            (change.id.to_string(), change.revision)
        });
        let request_id = kit::id::draw().to_string();
        let expected = self.model.act(place, by_requester, verb, basis);
        let answer = self.desk.send(&seen, by_requester, verb, basis, &request_id).await;
        match (expected, &answer) {
            (Ok(place), Ok(change)) => {
                if matches!(verb, Verb::Create(..)) {
                    self.model.named(place, change.id.parse().unwrap(), &change.number);
                }
                assert_eq!(*change, convert::change(&self.model.changes[place]), "{verb:?}");
            }
            (Err(problem), Err(status)) => {
                let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
                assert_eq!((reason.as_str(), status.message()), (problem.reason(), problem.to_string().as_str()));
                assert_ne!(status.code(), Code::Internal);
            }
            (expected, answer) => panic!("{verb:?}: the domain says {expected:?}, the service {answer:?}"),
        }
        if again {
            let second = self.desk.send(&seen, by_requester, verb, basis, &request_id).await;
            let essence = |answer: Result<wire::Change, Status>| {
                answer.map_err(|status| (status.code(), status.message().to_owned()))
            };
            assert_eq!(essence(second), essence(answer), "the same request again: {verb:?}");
        }
    }

    /// The rows are the model's, and nothing more was written than the model says.
    fn agrees(&self) {
        let ids: Vec<Uuid> = self.model.changes.iter().map(|change| change.id.0).collect();
        let found = self.desk.runtime.block_on(self.desk.rows(&ids));
        for (change, steps) in self.model.changes.iter().zip(&self.model.journals) {
            let events = i64::try_from(steps.len()).unwrap();
            let wanted = (change.state.name().to_owned(), change.revision, events);
            assert_eq!(
                found.get(&change.id.0),
                Some(&wanted),
                "state, revision and length of the journal of {}",
                change.number
            );
        }
    }

    /// The journal, replayed, says each step of the model and ends at the row.
    fn replays(&self) {
        for (change, steps) in self.model.changes.iter().zip(&self.model.journals) {
            let (row, entries) = self.desk.runtime.block_on(self.desk.history(change.id));
            assert_eq!(row, convert::change(change), "the row");
            assert_eq!(entries.len(), steps.len(), "the journal of {}", change.number);
            for (entry, step) in entries.iter().zip(steps) {
                let event = entry.event.clone().unwrap();
                let said = publish::entry(&step.record, &step.what, event.actor.as_ref().unwrap());
                assert_eq!((entry.r#type.as_str(), entry.revision), (said.kind, said.revision));
                assert_eq!(event, ChangeEvent::decode(said.body.as_slice()).unwrap());
            }
            let last = entries.last().and_then(|entry| entry.event.clone()).and_then(|event| event.change);
            assert_eq!(last, Some(row), "the journal ends at the row");
        }
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
        assert_eq!(twin.model.changes.len(), reference.changes.len());
        twin.agrees();
    }

    fn teardown(twin: Self, _: Model) {
        twin.replays();
    }
}

#[test]
fn the_service_does_what_the_domain_says_whatever_is_asked() {
    let runtime = Rc::new(Runtime::new().unwrap());
    let desk = runtime.block_on(Desk::open(Rc::clone(&runtime)));
    DESK.set(Some(Rc::new(desk)));
    let played = play(&Model::sequential_strategy(1..40), 32, |config, (model, commands, seen)| {
        Twin::test_sequential(config, model, commands, seen);
    });
    DESK.take();
    played.unwrap();
}

//! The model: the same random commands, alerts and waiting for the pure domain and for the running
//! service on real Postgres and NATS, compared after each step. The others look alike.
//!
//! `ITSM_PROPTEST_CASES=2000` does more than the few of every run, however long it takes; `PROPTEST_RNG_SEED` repeats one.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod desk;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    rc::Rc,
};

use chrono::{DateTime, TimeDelta, Utc};
use incident::{
    MIGRATOR, Settings,
    api::convert,
    domain::{
        Channel, Decision, Impact, Incident, NewIncident, PendingReason, Priority, Refusal, ResolutionCode,
        ResolutionMode, State, Urgency, What, verbs::Update,
    },
    events::publish,
};
use kit::{
    caller::Person,
    clock::Clock,
    decide::Step,
    id::{AlertId, IncidentId, PersonId, TeamId},
    model_testing::play,
    problem::Problem,
    testing::{Owner, Stage, eventually},
};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use prost::Message;
use proto::{
    alert::v1::{Alert, AlertEvent, AlertState, Cleared, Raised, Severity, SeverityChanged, alert_event},
    common::v1::{FeedEntry, Role},
    directory::v1::{DirectoryEvent, Team, TeamState, directory_event},
    incident::v1::{self as wire, IncidentEvent, incident_service_client::IncidentServiceClient},
};
use sqlx::{PgConnection, Row};
use tokio::{runtime::Runtime, sync::Mutex};
use tonic::{Code, Status, transport::Channel as Connection};
use tonic_types::StatusExt;
use uuid::Uuid;

use desk::Desk;

/// How many alerts a case has; those with the same remainder by two are the same condition.
const ALERTS: u8 = 6;
/// The teams that the directory knows; the one after them it does not.
const TEAMS: u8 = 2;

#[derive(Debug, Clone)]
enum Command {
    /// A person does something to one of the incidents, by gRPC.
    Do { place: u8, verb: Verb, basis: Basis, again: bool },
    /// An alert fires, more or less urgently.
    Raise(u8, i16),
    /// An alert is called more or less urgent.
    Rate(u8, i16),
    /// An alert clears.
    Clear(u8),
    /// Time passes, in minutes.
    Wait(i64),
}

#[derive(Debug, Clone)]
enum Verb {
    Create(i16, i16),
    Acknowledge,
    Assign(u8),
    Start,
    Hold(PendingReason),
    Resume,
    Resolve(ResolutionCode),
    Close,
    Cancel,
    Reopen,
    Note,
    Override(i16),
    Update(Option<i16>, Option<i16>, Option<u8>),
    Link(u8),
    Unlink(u8),
}

/// How every case begins.
const FIRST: Command = Command::Do { place: 0, verb: Verb::Create(2, 2), basis: Basis::Unsaid, again: false };

/// Which revision the caller says to have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Basis {
    Unsaid,
    Current,
    Stale,
}

fn verb() -> impl Strategy<Value = Verb> {
    let level = || 1..=4_i16;
    prop_oneof![
        1 => (level(), level()).prop_map(|(impact, urgency)| Verb::Create(impact, urgency)),
        3 => Just(Verb::Acknowledge),
        3 => (0..=TEAMS).prop_map(Verb::Assign),
        3 => Just(Verb::Start),
        3 => prop::sample::select(PendingReason::ALL).prop_map(Verb::Hold),
        2 => Just(Verb::Resume),
        4 => prop::sample::select(&[ResolutionCode::Fixed, ResolutionCode::Workaround, ResolutionCode::Duplicate][..])
            .prop_map(Verb::Resolve),
        2 => Just(Verb::Close),
        1 => Just(Verb::Cancel),
        4 => Just(Verb::Reopen),
        1 => Just(Verb::Note),
        2 => level().prop_map(Verb::Override),
        3 => (prop::option::of(level()), prop::option::of(level()), prop::option::of(0..3_u8))
            .prop_filter("an update names what changes", |fields| *fields != (None, None, None))
            .prop_map(|(impact, urgency, title)| Verb::Update(impact, urgency, title)),
        4 => (0..ALERTS).prop_map(Verb::Link),
        3 => (0..ALERTS).prop_map(Verb::Unlink),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let basis = prop_oneof![6 => Just(Basis::Unsaid), 3 => Just(Basis::Current), 1 => Just(Basis::Stale)];
    prop_oneof![
        12 => (any::<u8>(), verb(), basis, prop::bool::weighted(0.2))
            .prop_map(|(place, verb, basis, again)| Command::Do { place, verb, basis, again }),
        3 => (0..ALERTS, 1..=4_i16).prop_map(|(alert, urgency)| Command::Raise(alert, urgency)),
        1 => (0..ALERTS, 1..=4_i16).prop_map(|(alert, urgency)| Command::Rate(alert, urgency)),
        3 => (0..ALERTS).prop_map(Command::Clear),
        2 => prop_oneof![1..180_i64, Just(24 * 60), Just(24 * 60 + 1), Just(3 * 24 * 60)].prop_map(Command::Wait),
    ]
}

/// What must be, by the pure domain. Proptest drives one with made-up ids to choose commands; the
/// twin has another with the ids and the time of the service.
#[derive(Clone)]
struct Model {
    now: DateTime<Utc>,
    person: PersonId,
    alerts: Vec<AlertId>,
    /// Which alerts were ever heard of, and whether they fire.
    heard: BTreeMap<u8, bool>,
    incidents: Vec<Incident>,
    journals: Vec<Vec<Step<Incident, What>>>,
    /// Which open incident an alert belongs to, and whether by its condition.
    links: BTreeMap<u8, (usize, bool)>,
    /// Which alerts were taken away from an incident.
    unlinked: BTreeSet<u8>,
}

impl fmt::Debug for Model {
    /// What proptest shows of how a case begins, which is always the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} incidents", self.incidents.len())
    }
}

impl Model {
    fn new(now: DateTime<Utc>, person: PersonId, alerts: Vec<AlertId>) -> Self {
        let (heard, links) = (BTreeMap::new(), BTreeMap::new());
        Self { now, person, alerts, heard, incidents: vec![], journals: vec![], links, unlinked: BTreeSet::new() }
    }

    /// Does a command, or says why not.
    fn step(&mut self, command: &Command) -> Result<(), Problem> {
        match command {
            Command::Do { place, verb, basis, .. } => {
                let place = (!self.incidents.is_empty()).then(|| self.place(*place));
                self.act(place, verb, *basis)?;
            }
            Command::Raise(alert, urgency) => self.raise(*alert, *urgency),
            Command::Rate(alert, urgency) => {
                self.raise(*alert, *urgency);
                if let Some((place, _)) = self.links.get(alert).copied() {
                    let decision = self.incidents[place].alert_rose(Urgency::of(*urgency).unwrap(), self.now);
                    self.decided(place, decision);
                }
            }
            Command::Clear(alert) => {
                self.heard.insert(*alert, false);
                if let Some((place, _)) = self.links.get(alert).copied() {
                    let decision = self.incidents[place].alert_cleared(self.alerts[usize::from(*alert)], self.now);
                    self.decided(place, decision);
                }
            }
            Command::Wait(minutes) => self.wait(*minutes),
        }
        Ok(())
    }

    /// One of the incidents, the latest ones more often.
    fn place(&self, number: u8) -> usize {
        let back = usize::try_from(number.trailing_zeros()).unwrap();
        self.incidents.len() - 1 - back.min(self.incidents.len() - 1)
    }

    /// What a person does: which incident is answered.
    fn act(&mut self, place: Option<usize>, verb: &Verb, basis: Basis) -> Result<usize, Problem> {
        let (person, now) = (self.person, self.now);
        let place = match (verb, place) {
            (Verb::Create(impact, urgency), _) => return Ok(self.open(None, *impact, *urgency, titled(0))),
            (_, Some(place)) => place,
            (_, None) => panic!("a case begins with an incident"),
        };
        match verb {
            Verb::Assign(number) if *number >= TEAMS => {
                return Err(Problem::invalid("team_id", format!("there is no team {}", team(*number))));
            }
            Verb::Link(number) if !self.heard.contains_key(number) => {
                let alert = self.alerts[usize::from(*number)];
                return Err(Problem::invalid("alert_id", format!("there is no alert {alert}")));
            }
            _ => {}
        }
        let incident = &self.incidents[place];
        if basis == Basis::Stale {
            return Err(Problem::Stale { current: incident.revision, given: incident.revision + 7 });
        }
        let decision = match verb {
            Verb::Create(..) => unreachable!("handled before"),
            Verb::Acknowledge => incident.acknowledge(person, now)?,
            Verb::Assign(number) => incident.assign(Some(team(*number)), None, "Yours.".to_owned(), now)?,
            Verb::Start => incident.start(String::new(), now)?,
            Verb::Hold(reason) => incident.hold(*reason, String::new(), now)?,
            Verb::Resume => incident.resume(String::new(), now)?,
            Verb::Resolve(code) => incident.resolve(*code, "Done.".to_owned(), now)?,
            Verb::Close => incident.close(String::new(), now)?,
            Verb::Cancel => incident.cancel("None.".to_owned(), now)?,
            Verb::Reopen => incident.reopen(person, "Not over.".to_owned(), window(), now)?,
            Verb::Note => incident.add_note("Look.".to_owned(), now),
            Verb::Override(level) => {
                incident.override_priority(Priority::of(*level).unwrap(), "Because.".to_owned(), now)?
            }
            Verb::Update(impact, urgency, title) => {
                let update = Update {
                    impact: impact.and_then(Impact::of),
                    urgency: urgency.and_then(Urgency::of),
                    title: title.map(titled),
                    ..Update::default()
                };
                incident.update(update, now)?
            }
            Verb::Link(number) => {
                let alert = self.alerts[usize::from(*number)];
                let decision = incident.link_alert(alert, self.heard[number], now)?;
                match self.links.get(number) {
                    Some((other, _)) if *other != place => {
                        return Err(Refusal::AlertElsewhere(self.incidents[*other].number.clone()).into());
                    }
                    Some(_) => {}
                    None => {
                        self.links.insert(*number, (place, false));
                    }
                }
                decision
            }
            Verb::Unlink(number) => {
                let decision = incident.unlink_alert(self.alerts[usize::from(*number)], now)?;
                self.links.remove(number);
                self.unlinked.insert(*number);
                decision
            }
        };
        self.decided(place, decision);
        Ok(place)
    }

    fn open(&mut self, alert: Option<u8>, impact: i16, urgency: i16, title: String) -> usize {
        let decision = Incident::open(
            NewIncident {
                id: IncidentId(Uuid::from_u128(self.incidents.len() as u128 + 1)),
                number: format!("INC{:07}", self.incidents.len() + 1),
                title,
                description: String::new(),
                impact: Impact::of(impact).unwrap(),
                urgency: Urgency::of(urgency).unwrap(),
                category: String::new(),
                service_id: None,
                ci_id: None,
                team_id: None,
                reporter_id: alert.is_none().then_some(self.person),
                channel: if alert.is_none() { Channel::Api } else { Channel::Alert },
                resolution_mode: ResolutionMode::Automatic,
                alert_id: alert.map(|alert| self.alerts[usize::from(alert)]),
            },
            self.now,
        );
        self.incidents.push(decision.record().clone());
        self.journals.push(decision.steps().to_vec());
        self.incidents.len() - 1
    }

    /// An alert that has no incident joins the latest of its condition, inside the window, or opens one.
    fn raise(&mut self, alert: u8, urgency: i16) {
        self.heard.insert(alert, true);
        if self.links.contains_key(&alert) {
            return;
        }
        let same = |(number, (place, by_condition)): (&u8, &(usize, bool))| {
            (*by_condition && number % 2 == alert % 2).then_some(*place)
        };
        let joined = self.links.iter().filter_map(same).max().and_then(|place| {
            let decision = self.incidents[place].alert_refired(self.alerts[usize::from(alert)], window(), self.now)?;
            self.decided(place, decision);
            Some(place)
        });
        let place = joined.unwrap_or_else(|| self.open(Some(alert), 3, urgency, alert_title(alert)));
        self.links.insert(alert, (place, true));
    }

    /// Time passes; what was resolved long enough ago is closed, at the instant it was due.
    fn wait(&mut self, minutes: i64) {
        self.now += TimeDelta::minutes(minutes);
        for place in 0..self.incidents.len() {
            let incident = &self.incidents[place];
            let resolved = incident.resolution.as_ref().filter(|_| incident.state == State::Resolved);
            let due = resolved.map(|resolution| resolution.at + Settings::default().auto_close_after.delta());
            if let Some(due) = due.filter(|due| *due <= self.now) {
                let decision = incident.close("Closed by itself, since nobody objected.".to_owned(), due).unwrap();
                self.decided(place, decision);
            }
        }
    }

    fn decided(&mut self, place: usize, decision: Decision) {
        self.journals[place].extend(decision.steps().iter().cloned());
        self.incidents[place] = decision.record().clone();
        if self.incidents[place].state.is_over() {
            self.links.retain(|_, (linked, _)| *linked != place);
        }
    }

    /// The service drew the id and the number of an incident.
    fn named(&mut self, place: usize, id: IncidentId, number: &str) {
        for incident in self.journals[place].iter_mut().map(|step| &mut step.record).chain([&mut self.incidents[place]])
        {
            incident.id = id;
            number.clone_into(&mut incident.number);
        }
    }
}

fn team(number: u8) -> TeamId {
    TeamId(Uuid::from_u128(0x7ea0 + u128::from(number)))
}

fn titled(number: u8) -> String {
    format!("Checkout is slow ({number})")
}

fn alert_title(number: u8) -> String {
    format!("Alert {number}")
}

fn window() -> TimeDelta {
    Settings::default().reopen_window.delta()
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Command;

    fn init_state() -> BoxedStrategy<Self> {
        let alerts = (1..=u128::from(ALERTS)).map(|number| AlertId(Uuid::from_u128(number))).collect();
        let mut model = Self::new(DateTime::UNIX_EPOCH, PersonId(Uuid::nil()), alerts);
        model.step(&FIRST).unwrap();
        Just(model).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Command> {
        command().boxed()
    }

    fn apply(mut model: Self, command: &Command) -> Self {
        // What is refused changes nothing.
        let _ = model.step(command);
        model
    }

    fn preconditions(model: &Self, command: &Command) -> bool {
        let opens = matches!(command, Command::Do { verb: Verb::Create(..), .. } | Command::Raise(..));
        let touched = match command {
            Command::Do { verb: Verb::Link(alert), .. } | Command::Raise(alert, _) | Command::Rate(alert, _) => {
                Some(alert)
            }
            _ => None,
        };
        // Known: a link that was taken away does not come back.
        let relinks = touched.is_some_and(|alert| model.unlinked.contains(alert));
        (!opens || model.incidents.len() < 8) && !relinks
    }
}

thread_local! {
    /// Proptest hands nothing to a case; this ends with the test, and so do its servers.
    static DESK: RefCell<Option<Rc<Desk>>> = const { RefCell::new(None) };
}

/// One case: the model, and the service that must agree with it.
struct Twin {
    desk: Rc<Desk>,
    model: Model,
}

impl Twin {
    fn begin(desk: Rc<Desk>) -> Self {
        let alerts = (0..ALERTS).map(|_| AlertId::draw()).collect();
        let model = Model::new(desk.stage.clock.now(), desk.person.id, alerts);
        let mut twin = Self { desk, model };
        twin.perform(&FIRST);
        twin
    }

    /// Does a command to both, and compares what it says.
    fn perform(&mut self, command: &Command) {
        let runtime = Rc::clone(&self.desk.runtime);
        runtime.block_on(async {
            match command {
                Command::Do { place, verb, basis, again } => self.ask(*place, verb, *basis, *again).await,
                Command::Raise(alert, urgency) => {
                    self.tell(command, *alert, "raised", *urgency, alert_event::What::Raised(Raised {})).await;
                }
                Command::Rate(alert, urgency) => {
                    let what = alert_event::What::SeverityChanged(SeverityChanged::default());
                    self.tell(command, *alert, "severity_changed", *urgency, what).await;
                }
                Command::Clear(alert) => {
                    self.tell(command, *alert, "cleared", 1, alert_event::What::Cleared(Cleared {})).await;
                }
                Command::Wait(minutes) => {
                    let _ = self.model.step(command);
                    self.desk.stage.clock.advance(TimeDelta::minutes(*minutes));
                    self.desk.nothing_due().await;
                }
            }
        });
    }

    /// A person asks by gRPC; the same request again gets the first answer.
    async fn ask(&mut self, place: u8, verb: &Verb, basis: Basis, again: bool) {
        let place = (!self.model.incidents.is_empty()).then(|| self.model.place(place));
        let seen = place.map_or((String::new(), 0), |place| {
            let incident = &self.model.incidents[place];
            (incident.id.to_string(), incident.revision)
        });
        let request_id = kit::id::draw().to_string();
        let expected = self.model.act(place, verb, basis);
        let answer = self.desk.send(&seen, verb, basis, &self.model.alerts, &request_id).await;
        match (expected, &answer) {
            (Ok(place), Ok(incident)) => {
                if matches!(verb, Verb::Create(..)) {
                    self.model.named(place, incident.id.parse().unwrap(), &incident.number);
                }
                assert_eq!(*incident, convert::incident(&self.model.incidents[place]), "{verb:?}");
            }
            (Err(problem), Err(status)) => {
                let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
                assert_eq!((reason.as_str(), status.message()), (problem.reason(), problem.to_string().as_str()));
                assert_ne!(status.code(), Code::Internal);
            }
            (expected, answer) => panic!("{verb:?}: the domain says {expected:?}, the service {answer:?}"),
        }
        if again {
            let second = self.desk.send(&seen, verb, basis, &self.model.alerts, &request_id).await;
            let essence = |answer: Result<wire::Incident, Status>| {
                answer.map_err(|status| (status.code(), status.message().to_owned()))
            };
            assert_eq!(essence(second), essence(answer), "the same request again: {verb:?}");
        }
    }

    /// The alert service says something, and says it twice.
    async fn tell(&mut self, command: &Command, number: u8, kind: &str, urgency: i16, what: alert_event::What) {
        let before = self.model.incidents.len();
        let _ = self.model.step(command);
        let id = self.model.alerts[usize::from(number)];
        let alert = Alert {
            id: id.to_string(),
            integration_id: Uuid::from_u128(5).to_string(),
            // A condition of this case's own.
            dedup_key: self.model.alerts[usize::from(number % 2)].to_string(),
            state: if kind == "cleared" { AlertState::Cleared } else { AlertState::Active }.into(),
            severity: [Severity::Critical, Severity::High, Severity::Medium, Severity::Low]
                [usize::try_from(urgency - 1).unwrap()]
            .into(),
            title: alert_title(number),
            opens_incident: true,
            ..Alert::default()
        };
        let event = AlertEvent { record: Some(alert_event::Record::Alert(alert)), actor: None, what: Some(what) };
        let entry = self.desk.alerts.say(id.0, kind, self.model.now, event.encode_to_vec());
        for _ in 0..2 {
            self.desk.alerts.publish(&entry).await;
        }
        self.desk.applied(&entry).await;
        if self.model.incidents.len() > before {
            let (id, number) = self.desk.opened_by(id).await;
            self.model.named(before, id, &number);
        }
    }

    /// The rows are the model's, and nothing more was written than the model says.
    fn agrees(&self) {
        let ids: Vec<Uuid> = self.model.incidents.iter().map(|incident| incident.id.0).collect();
        let found = self.desk.runtime.block_on(self.desk.rows(&ids));
        let place = |id: Uuid| ids.iter().position(|each| *each == id).unwrap();
        for (id, row) in &found {
            let incident = &self.model.incidents[place(*id)];
            let events = i64::try_from(self.model.journals[place(*id)].len()).unwrap();
            assert_eq!(
                (row.0.as_str(), row.1, row.2),
                (incident.state.name(), incident.revision, events),
                "state, revision and length of the journal of {}",
                incident.number
            );
        }
        assert_eq!(found.len(), ids.len());
    }

    /// The journal, replayed, says each step of the model and ends at the row.
    fn replays(&self) {
        for (incident, steps) in self.model.incidents.iter().zip(&self.model.journals) {
            let (row, entries) = self.desk.runtime.block_on(self.desk.history(incident.id));
            assert_eq!(row, convert::incident(incident), "the row");
            assert_eq!(entries.len(), steps.len(), "the journal of {}", incident.number);
            for (entry, step) in entries.iter().zip(steps) {
                let event = entry.event.clone().unwrap();
                let said = publish::entry(&step.record, &step.what, event.actor.as_ref().unwrap());
                assert_eq!((entry.r#type.as_str(), entry.revision), (said.kind, said.revision));
                assert_eq!(event, IncidentEvent::decode(said.body.as_slice()).unwrap());
            }
            let last = entries.last().and_then(|entry| entry.event.clone()).and_then(|event| event.incident);
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
        assert_eq!(twin.model.incidents.len(), reference.incidents.len());
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
    let played = play(&Model::sequential_strategy(1..40), 24, |config, (model, commands, seen)| {
        Twin::test_sequential(config, model, commands, seen);
    });
    DESK.take();
    played.unwrap();
}

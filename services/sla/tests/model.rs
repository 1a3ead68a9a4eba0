//! The model: the same random incidents and waiting for the pure domain and for the running service
//! on real Postgres and NATS, compared after each step. Every service with a state machine has such
//! a file, and they look alike; a clock has no commands, so that here incidents say what happens.
//!
//! `ITSM_PROPTEST_CASES=2000` does more than the few of every run, however long it takes; `PROPTEST_RNG_SEED` repeats one.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    rc::Rc,
};

use chrono::{DateTime, Datelike, TimeDelta, Utc, Weekday};
use kit::{clock::Clock as _, decide::Step, id::IncidentId, model_testing::play, testing::eventually};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use prost::Message;
use proto::{
    common::v1::FeedEntry,
    incident::v1::{self as incident, IncidentEvent, incident_event},
    sla::v1::{self as wire, SlaEvent, sla_event::Record},
};
use sla::{
    api::convert,
    domain::{
        Agreement, AgreementId, AgreementKind, Calendar, CalendarId, Clock, ClockDecision, ClockId, ClockWhat, Hours,
        Incident, IncidentState, Metric, Priority, Schedule, Seen, Terms,
        agreement::{NewAgreement, default_targets},
        calendar::NewCalendar,
    },
    events::publish,
};
use sqlx::{PgConnection, Row};
use tokio::{runtime::Runtime, sync::Mutex};
use uuid::Uuid;

use crate::desk::Desk as Service;

/// How many incidents a case has at most.
const INCIDENTS: usize = 4;

#[derive(Debug, Clone)]
enum Command {
    /// An incident opens.
    Open(Priority),
    /// An incident changes, told so many minutes late.
    Change { place: u8, state: IncidentState, acknowledged: bool, priority: Priority, late: i64 },
    /// Time passes, in minutes.
    Wait(i64),
    /// Time passes until the next clock is due, or so many microseconds beside it.
    WaitUntilDue(i64),
}

/// How every case begins.
const FIRST: Command = Command::Open(Priority::P1);

fn command() -> impl Strategy<Value = Command> {
    let priority = || prop::sample::select(Priority::ALL);
    let late = prop_oneof![3 => Just(0_i64), 1 => 1..300_i64];
    let minutes = prop_oneof![3 => 1..60_i64, 1 => Just(15), 1 => Just(240), 1 => Just(480), 1 => 60..6_000_i64];
    prop_oneof![
        1 => priority().prop_map(Command::Open),
        8 => (any::<u8>(), prop::sample::select(IncidentState::ALL), any::<bool>(), priority(), late).prop_map(
            |(place, state, acknowledged, priority, late)| Command::Change { place, state, acknowledged, priority, late }
        ),
        4 => minutes.prop_map(Command::Wait),
        3 => (-1..=1_i64).prop_map(Command::WaitUntilDue),
    ]
}

/// What must be, by the pure domain. Proptest drives one with made-up ids to choose commands; the
/// twin has another with the ids and the time of the service.
#[derive(Clone)]
struct Model {
    now: DateTime<Utc>,
    /// What the agreement says of each metric.
    terms: Vec<(Metric, Terms)>,
    incidents: Vec<Incident>,
    /// Two of each incident, in order of the metric.
    clocks: Vec<Clock>,
    journals: Vec<Vec<Step<Clock, ClockWhat>>>,
}

impl fmt::Debug for Model {
    /// What proptest shows of how a case begins, which is always the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} incidents", self.incidents.len())
    }
}

impl Model {
    fn new(now: DateTime<Utc>, terms: Vec<(Metric, Terms)>) -> Self {
        Self { now, terms, incidents: vec![], clocks: vec![], journals: vec![] }
    }

    /// What an incident says, if the command is that: which one, when, and how it is afterwards.
    fn said(&self, command: &Command) -> Option<(usize, DateTime<Utc>, Incident)> {
        match command {
            Command::Open(priority) => {
                let incident = Incident {
                    id: IncidentId(Uuid::from_u128(self.incidents.len() as u128 + 1)),
                    revision: 1,
                    number: "INC0000001".to_owned(),
                    state: IncidentState::New,
                    acknowledged: false,
                    priority: *priority,
                    service_id: None,
                    team_id: None,
                };
                Some((self.incidents.len(), self.now, incident))
            }
            Command::Change { place, state, acknowledged, priority, late } => {
                let place = self.place(*place);
                let before = &self.incidents[place];
                let after = Incident {
                    revision: before.revision + 1,
                    state: *state,
                    acknowledged: *acknowledged,
                    priority: *priority,
                    ..before.clone()
                };
                Some((place, self.now - TimeDelta::minutes(*late), after))
            }
            Command::Wait(_) | Command::WaitUntilDue(_) => None,
        }
    }

    /// One of the incidents, the latest ones more often.
    fn place(&self, number: u8) -> usize {
        let back = usize::try_from(number.trailing_zeros()).unwrap();
        self.incidents.len() - 1 - back.min(self.incidents.len() - 1)
    }

    /// An incident says something: what was due before it is told, then its clocks follow.
    fn hear(&mut self, place: usize, seen: &Seen) {
        if place == self.incidents.len() {
            self.incidents.push(seen.incident.clone());
            for (metric, terms) in self.terms.clone() {
                let id = ClockId(Uuid::from_u128(self.clocks.len() as u128 + 1));
                let decision = Clock::start(id, metric, terms, seen);
                self.clocks.push(decision.record().clone());
                self.journals.push(decision.steps().to_vec());
            }
            return;
        }
        self.incidents[place] = seen.incident.clone();
        for place in self.clocks_of(place) {
            // What is due at the very instant is not past.
            self.tell(place, seen.at - TimeDelta::microseconds(1));
            let decision = self.clocks[place].observe(seen);
            self.decided(place, decision);
        }
    }

    fn clocks_of(&self, place: usize) -> std::ops::Range<usize> {
        place * self.terms.len()..(place + 1) * self.terms.len()
    }

    /// Tells all that is due by an instant.
    fn tell(&mut self, place: usize, now: DateTime<Utc>) {
        loop {
            let decision = self.clocks[place].tick(now, false, None);
            if decision.is_unchanged() {
                return;
            }
            self.decided(place, decision);
        }
    }

    /// How long a command waits.
    fn span(&self, command: &Command) -> TimeDelta {
        match command {
            Command::Wait(minutes) => TimeDelta::minutes(*minutes),
            Command::WaitUntilDue(beside) => {
                let due = self.clocks.iter().filter_map(|clock| clock.next_due().map(|(_, at)| at)).min();
                due.map_or(TimeDelta::zero(), |due| due - self.now + TimeDelta::microseconds(*beside))
                    .max(TimeDelta::zero())
            }
            Command::Open(_) | Command::Change { .. } => TimeDelta::zero(),
        }
    }

    fn wait(&mut self, span: TimeDelta) {
        self.now += span;
        for place in 0..self.clocks.len() {
            self.tell(place, self.now);
        }
    }

    fn decided(&mut self, place: usize, decision: ClockDecision) {
        self.journals[place].extend(decision.steps().iter().cloned());
        self.clocks[place] = decision.record().clone();
    }

    /// The service drew the id of a clock.
    fn named(&mut self, place: usize, id: ClockId) {
        for clock in self.journals[place].iter_mut().map(|step| &mut step.record).chain([&mut self.clocks[place]]) {
            clock.id = id;
        }
    }
}

/// What the agreement of a fresh tenant says, as its clocks take it.
fn terms(agreement: &wire::Agreement, calendar: &wire::Calendar) -> Vec<(Metric, Terms)> {
    let week = [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri];
    let hours = week.map(|day| Hours::new(day, 9 * 60, 17 * 60).unwrap()).to_vec();
    let wanted = NewCalendar {
        name: calendar.name.clone(),
        display_name: calendar.display_name.clone(),
        schedule: Schedule::new(chrono_tz::UTC, hours, BTreeSet::new()),
    };
    let id: CalendarId = calendar.id.parse().unwrap_or_else(|_| CalendarId(Uuid::nil()));
    let calendar = Calendar::create(id, wanted, DateTime::UNIX_EPOCH).unwrap().record().clone();
    let wanted = NewAgreement {
        display_name: agreement.display_name.clone(),
        kind: AgreementKind::Sla,
        service_id: None,
        targets: default_targets(id),
    };
    let calendars = BTreeMap::from([(id, calendar)]);
    let id: AgreementId = agreement.id.parse().unwrap_or_else(|_| AgreementId(Uuid::nil()));
    let drafted = Agreement::create(id, wanted, &calendars, DateTime::UNIX_EPOCH).unwrap();
    let agreed = Agreement { revision: agreement.revision, ..drafted.record().clone() };
    Metric::ALL.iter().map(|metric| (*metric, agreed.terms(*metric, &calendars).unwrap())).collect()
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Command;

    fn init_state() -> BoxedStrategy<Self> {
        let terms = terms(&wire::Agreement::default(), &wire::Calendar::default());
        Just(Self::apply(Self::new(DateTime::UNIX_EPOCH, terms), &FIRST)).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Command> {
        command().boxed()
    }

    fn apply(mut model: Self, command: &Command) -> Self {
        if let Some((place, at, incident)) = model.said(command) {
            model.hear(place, &Seen { incident, at, event_id: Uuid::nil() });
        }
        model.wait(model.span(command));
        model
    }

    fn preconditions(model: &Self, command: &Command) -> bool {
        !matches!(command, Command::Open(_)) || model.incidents.len() < INCIDENTS
    }
}

/// The service under test, for all cases: each has incidents of its own.
struct Desk {
    service: Service,
    terms: Vec<(Metric, Terms)>,
    /// Sees everything.
    admin: Mutex<PgConnection>,
    runtime: Rc<Runtime>,
}

thread_local! {
    /// Proptest hands nothing to a case; this ends with the test, and so do its servers.
    static DESK: RefCell<Option<Rc<Desk>>> = const { RefCell::new(None) };
}

impl Desk {
    async fn open(runtime: Rc<Runtime>) -> Self {
        let service = Service::open().await;
        service.seed().await;
        let mut client = service.client.clone();
        let ask = service.stage.request(&service.manager, wire::ListAgreementsRequest::default());
        let agreements = client.list_agreements(ask).await.unwrap().into_inner().agreements;
        let ask = service.stage.request(&service.manager, wire::ListCalendarsRequest::default());
        let calendars = client.list_calendars(ask).await.unwrap().into_inner().calendars;
        let admin = Mutex::new(service.stage.admin().await);
        Self { terms: terms(&agreements[0], &calendars[0]), service, admin, runtime }
    }

    /// Goes to the next Monday, nine o'clock, where every case begins.
    async fn begin(&self) -> DateTime<Utc> {
        let now = self.service.stage.clock.now();
        let days = 7 - i64::from(now.weekday().num_days_from_monday());
        let morning = now.date_naive().and_hms_opt(9, 0, 0).unwrap().and_utc() + TimeDelta::days(days);
        self.service.advance(morning - now);
        self.nothing_due().await;
        morning
    }

    /// Waits until the consumer has applied an event.
    async fn applied(&self, entry: &FeedEntry) {
        eventually("the event's effect", || async {
            let position: i64 = sqlx::query_scalar("select position from sla.lease where name = 'consumer:incident'")
                .fetch_one(&mut *self.admin.lock().await)
                .await
                .unwrap();
            (position >= entry.position).then_some(())
        })
        .await;
    }

    /// Waits until every timer that is due has fired.
    async fn nothing_due(&self) {
        let now = self.service.stage.clock.now();
        eventually("the timers", || async {
            let due: i64 = sqlx::query_scalar("select count(*) from sla.timer where due_at <= $1")
                .bind(now)
                .fetch_one(&mut *self.admin.lock().await)
                .await
                .unwrap();
            (due == 0).then_some(())
        })
        .await;
    }

    /// The clocks of an incident, in order of the metric.
    async fn clocks(&self, id: IncidentId) -> Vec<wire::Clock> {
        let filter = format!("incident_id = \"{id}\"");
        let request = wire::ListClocksRequest { filter, ..Default::default() };
        let ask = self.service.stage.request(&self.service.manager, request);
        let mut clocks = self.service.client.clone().list_clocks(ask).await.unwrap().into_inner().clocks;
        clocks.sort_by_key(|clock| clock.metric);
        clocks
    }

    /// How many events each clock has.
    async fn events(&self, ids: &[Uuid]) -> BTreeMap<Uuid, i64> {
        let rows = sqlx::query(
            "select record_id, count(*) as events from sla.journal where record_id = any ($1) group by record_id",
        )
        .bind(ids)
        .fetch_all(&mut *self.admin.lock().await)
        .await
        .unwrap();
        rows.iter().map(|row| (row.get("record_id"), row.get("events"))).collect()
    }
}

/// An incident as its service would say it.
fn on_the_wire(known: &Incident) -> incident::Incident {
    use incident::IncidentState as State;
    let state = match known.state {
        IncidentState::New => State::New,
        IncidentState::Assigned => State::Assigned,
        IncidentState::InProgress => State::InProgress,
        IncidentState::Pending => State::Pending,
        IncidentState::Resolved => State::Resolved,
        IncidentState::Closed => State::Closed,
        IncidentState::Cancelled => State::Cancelled,
    };
    incident::Incident {
        id: known.id.to_string(),
        revision: known.revision,
        number: known.number.clone(),
        state: state.into(),
        priority: known.priority.level().into(),
        acknowledge_time: known.acknowledged.then(prost_types::Timestamp::default),
        ..Default::default()
    }
}

/// One case: the model, and the service that must agree with it.
struct Twin {
    desk: Rc<Desk>,
    model: Model,
}

impl Twin {
    fn begin(desk: Rc<Desk>) -> Self {
        let now = desk.runtime.block_on(desk.begin());
        let model = Model::new(now, desk.terms.clone());
        let mut twin = Self { desk, model };
        twin.perform(&FIRST);
        twin
    }

    /// Does a command to both.
    fn perform(&mut self, command: &Command) {
        let runtime = Rc::clone(&self.desk.runtime);
        runtime.block_on(async {
            if let Some((place, at, mut incident)) = self.model.said(command) {
                if place == self.model.incidents.len() {
                    incident.id = IncidentId::draw();
                }
                self.tell(place, at, incident).await;
            }
            let span = self.model.span(command);
            self.model.wait(span);
            self.desk.service.advance(span);
            self.desk.nothing_due().await;
        });
    }

    /// The incident service says something, and says it twice.
    async fn tell(&mut self, place: usize, at: DateTime<Utc>, incident: Incident) {
        let opens = place == self.model.incidents.len();
        let (kind, what) = if opens {
            ("opened", incident_event::What::Opened(incident::Opened {}))
        } else {
            ("changed", incident_event::What::Changed(incident::Changed::default()))
        };
        let event = IncidentEvent { incident: Some(on_the_wire(&incident)), actor: None, what: Some(what) };
        let entry = self.desk.service.incidents.say(incident.id.0, kind, at, event.encode_to_vec());
        for _ in 0..2 {
            self.desk.service.incidents.publish(&entry).await;
        }
        self.desk.applied(&entry).await;
        let id = incident.id;
        self.model.hear(place, &Seen { incident, at, event_id: entry.event_id.parse().unwrap() });
        if opens {
            let clocks = self.desk.clocks(id).await;
            assert_eq!(clocks.len(), self.model.terms.len(), "one clock for each target");
            for (place, clock) in self.model.clocks_of(place).zip(clocks) {
                self.model.named(place, clock.id.parse().unwrap());
            }
        }
    }

    /// The clocks are the model's, whole, and nothing more was written than the model says.
    fn agrees(&self) {
        self.desk.runtime.block_on(async {
            let ids: Vec<Uuid> = self.model.clocks.iter().map(|clock| clock.id.0).collect();
            let events = self.desk.events(&ids).await;
            for (place, incident) in self.model.incidents.iter().enumerate() {
                let places = self.model.clocks_of(place);
                let wanted: Vec<_> = self.model.clocks[places.clone()].iter().map(convert::clock).collect();
                assert_eq!(self.desk.clocks(incident.id).await, wanted);
                for place in places {
                    let clock = &self.model.clocks[place];
                    let told = usize::try_from(events[&clock.id.0]).unwrap();
                    assert_eq!(told, self.model.journals[place].len(), "the journal of a {:?} clock", clock.metric);
                }
            }
        });
    }

    /// The journal, replayed, says each step of the model and ends at the row.
    fn replays(&self) {
        for (clock, steps) in self.model.clocks.iter().zip(&self.model.journals) {
            let row = convert::clock(clock);
            let entries = self.desk.runtime.block_on(self.desk.service.history(&row));
            for (entry, step) in entries.iter().zip(steps) {
                let event = entry.event.clone().unwrap();
                let said = publish::clock(&step.record, &step.what, event.actor.as_ref().unwrap());
                assert_eq!((entry.r#type.as_str(), entry.revision), (said.kind, said.revision));
                assert_eq!(event, SlaEvent::decode(said.body.as_slice()).unwrap());
            }
            // A page of history has fifty.
            if entries.len() == steps.len() {
                let last = entries.last().and_then(|entry| entry.event.clone()).and_then(|event| event.record);
                assert_eq!(last, Some(Record::Clock(row)), "the journal ends at the row");
            }
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
fn the_service_counts_as_the_domain_says_whatever_happens() {
    let runtime = Rc::new(Runtime::new().unwrap());
    let desk = runtime.block_on(Desk::open(Rc::clone(&runtime)));
    DESK.set(Some(Rc::new(desk)));
    let played = play(&Model::sequential_strategy(1..40), 20, |config, (model, commands, seen)| {
        Twin::test_sequential(config, model, commands, seen);
    });
    DESK.take();
    played.unwrap();
}

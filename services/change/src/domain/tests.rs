//! The life as properties: only declared moves, no way round approval, and a history that replays.

use chrono::{DateTime, TimeDelta, Utc};
use kit::id::{PersonId, TeamId};
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    Change, ChangeType, Decision, Move, NewChange, Refusal, Risk, State, Update, What,
    change::Window,
    state::{LIFE, legal, target},
};

const REQUESTER: PersonId = PersonId(Uuid::from_u128(1));
const APPROVER: PersonId = PersonId(Uuid::from_u128(2));

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn new(kind: ChangeType) -> NewChange {
    NewChange {
        title: "Replace the disk".to_owned(),
        description: String::new(),
        kind,
        risk: Risk::Minor,
        reason: "it fails".to_owned(),
        implementation_plan: "swap it".to_owned(),
        backout_plan: "swap it back".to_owned(),
        test_plan: String::new(),
        service_ids: Vec::new(),
        ci_ids: Vec::new(),
        assigned_team_id: None,
    }
}

fn drafted(new: NewChange) -> Change {
    let (id, number) = (Uuid::from_u128(7).into(), "CHG0000001".to_owned());
    Change::draft(id, number, REQUESTER, new, noon()).record().clone()
}

fn draft(kind: ChangeType) -> Change {
    drafted(new(kind))
}

fn after(decision: Result<Decision, Refusal>) -> Change {
    decision.unwrap().record().clone()
}

fn window(start: i64, hours: i64) -> Window {
    let start = noon() + TimeDelta::hours(start);
    Window { start, end: start + TimeDelta::hours(hours) }
}

/// Whatever a person can do.
#[derive(Debug, Clone)]
enum Command {
    Request,
    Approve(PersonId),
    Reject,
    Schedule(i64, i64),
    Start,
    Complete,
    Fail(&'static str),
    Close(&'static str),
    Cancel,
    EditPlan(u8),
    EditTitle(u8),
}

fn carry_out(change: &Change, command: &Command, now: DateTime<Utc>) -> Result<Decision, Refusal> {
    match command {
        Command::Request => change.request(now),
        Command::Approve(by) => change.approve(*by, String::new(), now),
        Command::Reject => change.reject("no".to_owned(), now),
        Command::Schedule(start, hours) => change.schedule(window(*start, *hours), now),
        Command::Start => change.start(now),
        Command::Complete => change.complete_as_planned(String::new(), now),
        Command::Fail(notes) => change.fail((*notes).to_owned(), now),
        Command::Close(notes) => change.close((*notes).to_owned(), now),
        Command::Cancel => change.cancel("not needed".to_owned(), now),
        Command::EditPlan(text) => {
            let plan = if *text == 0 { String::new() } else { format!("plan {text}") };
            change.update(Update { implementation_plan: Some(plan), ..Update::default() }, now)
        }
        Command::EditTitle(text) => {
            let assigned_team_id = Some(Some(TeamId(Uuid::from_u128((*text).into()))));
            change.update(Update { title: Some(text.to_string()), assigned_team_id, ..Update::default() }, now)
        }
    }
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let notes = || prop_oneof![Just(""), Just("noted")];
    let command = prop_oneof![
        4 => Just(Command::Request),
        4 => prop_oneof![Just(REQUESTER), Just(APPROVER)].prop_map(Command::Approve),
        1 => Just(Command::Reject),
        3 => (0..5_i64, -1..3_i64).prop_map(|(start, hours)| Command::Schedule(start, hours)),
        4 => Just(Command::Start),
        2 => Just(Command::Complete),
        2 => notes().prop_map(Command::Fail),
        3 => notes().prop_map(Command::Close),
        1 => Just(Command::Cancel),
        3 => (0..4_u8).prop_map(Command::EditPlan),
        1 => (0..3_u8).prop_map(Command::EditTitle),
    ];
    proptest::collection::vec(command, 1..30)
}

fn kinds() -> impl Strategy<Value = ChangeType> {
    proptest::sample::select(ChangeType::ALL.to_vec())
}

/// The move that an event is.
fn by(what: &What) -> Option<Move> {
    match what {
        What::Drafted | What::Changed { .. } => None,
        What::ApprovalVoided => Some(Move::Void),
        What::Requested => Some(Move::Request),
        What::Approved => Some(Move::Approve),
        What::Rejected { .. } => Some(Move::Reject),
        What::Scheduled => Some(Move::Schedule),
        What::Started => Some(Move::Start),
        What::Completed => Some(Move::Complete),
        What::Failed => Some(Move::Fail),
        What::Closed => Some(Move::Close),
        What::Cancelled { .. } => Some(Move::Cancel),
    }
}

fn holds(before: &Change, what: &What, after: &Change) -> Result<(), TestCaseError> {
    // Only declared moves.
    let expected = by(what).map_or(Some(before.state), |by| target(before.kind, before.state, by));
    prop_assert_eq!(Some(after.state), expected, "{:?} from {:?}", what, before.state);
    // One event, one revision; an approval holds for the plan as it is and is nobody's own.
    prop_assert_eq!(after.revision, before.revision + 1);
    prop_assert!(after.plan_revision >= before.plan_revision);
    prop_assert!(after.updated_at >= before.updated_at);
    if let Some(approval) = &after.approval {
        prop_assert_eq!(approval.plan_revision, after.plan_revision);
        prop_assert_ne!(approval.approver_id, Some(after.requester_id));
        prop_assert_eq!(approval.approver_id.is_none(), after.kind == ChangeType::Standard);
    }
    // No way round approval.
    let unapproved = before.approval.is_none() && after.kind != ChangeType::Emergency;
    prop_assert!(!(unapproved && matches!(after.state, State::Scheduled | State::InProgress)), "{:?}", what);
    if after.state == State::Closed {
        prop_assert!(after.is_approved());
        prop_assert!(before.state != State::Failed || !after.review_notes.is_empty());
        prop_assert!(after.kind != ChangeType::Emergency || !after.review_notes.is_empty());
    }
    let rejected = matches!(what, What::Rejected { .. });
    prop_assert!(!rejected || before.approval.is_none());
    // What is set where.
    prop_assert!(after.state != State::Approved || after.is_approved());
    prop_assert!(after.state != State::Failed || !after.outcome_notes.is_empty());
    prop_assert!(after.planned.is_none_or(|window| window.start < window.end));
    prop_assert!(after.state != State::Scheduled || after.planned.is_some());
    prop_assert_eq!(after.closed_at.is_some(), after.state == State::Closed);
    prop_assert_eq!(after.started_at.is_some(), after.state.has_begun());
    let plan = |change: &Change| (change.implementation_plan.clone(), change.plan_revision);
    prop_assert!(!after.state.has_begun() || plan(before) == plan(after));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_sequence_of_commands_leaves_the_life(kind in kinds(), commands in commands()) {
        let mut now = noon();
        let mut change = draft(kind);
        let mut journal = vec![change.clone()];
        for command in commands {
            now += TimeDelta::minutes(1);
            let Ok(decision) = carry_out(&change, &command, now) else { continue };
            prop_assert!(decision.is_unchanged() || !change.state.is_over());
            for step in decision.steps() {
                holds(&change, &step.what, &step.record)?;
                change = step.record.clone();
                journal.push(change.clone());
            }
            // Replay: the last event is the row, and each revision is there once.
            prop_assert_eq!(&change, decision.record());
            // What was done is done: the same command again changes nothing, or is refused.
            if let Ok(again) = carry_out(&change, &command, now) {
                prop_assert!(again.is_unchanged(), "{:?} twice", command);
            }
        }
        let revisions: Vec<i64> = journal.iter().map(|change| change.revision).collect();
        prop_assert_eq!(revisions, (1..=change.revision).collect::<Vec<_>>());
    }
}

#[test]
fn every_state_is_reached_and_the_moves_of_a_state_differ() {
    for (index, row) in LIFE.iter().enumerate() {
        for other in &LIFE[index + 1..] {
            let same = (row.0, row.1) == (other.0, other.1) && row.3.iter().any(|kind| other.3.contains(kind));
            assert!(!same, "{row:?} and {other:?} are one");
        }
    }
    for &kind in ChangeType::ALL {
        let mut reached = vec![State::Draft];
        while let Some(next) =
            LIFE.iter().find(|row| row.3.contains(&kind) && reached.contains(&row.0) && !reached.contains(&row.2))
        {
            reached.push(next.2);
        }
        let rejected = usize::from(kind == ChangeType::Standard);
        assert_eq!(reached.len(), State::ALL.len() - rejected, "{kind:?}");
    }
    assert_eq!(legal(ChangeType::Normal, State::Approved), "schedule, cancel");
    assert_eq!(legal(ChangeType::Normal, State::Closed), "nothing");
}

#[test]
fn the_readme_has_the_table() {
    let table: String = LIFE
        .iter()
        .map(|(from, by, to, kinds)| {
            let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            format!("| {} | {} | {} | {} |\n", from.name(), by.name(), to.name(), kinds.join(", "))
        })
        .collect();
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&format!("|---|---|---|---|\n{table}\n")), "the README's table must be\n{table}");
}

#[test]
fn the_requester_never_approves_and_an_approval_holds_for_one_plan() {
    let requested = after(draft(ChangeType::Normal).request(noon()));
    assert_eq!(requested.approve(REQUESTER, String::new(), noon()), Err(Refusal::SelfApproval));
    let approved = after(requested.approve(APPROVER, "go".to_owned(), noon()));
    let scheduled = after(approved.schedule(window(1, 1), noon()));
    let edit = Update { backout_plan: Some("restore".to_owned()), ..Update::default() };
    let decision = scheduled.update(edit, noon()).unwrap();
    let whats: Vec<&What> = decision.steps().iter().map(|step| &step.what).collect();
    assert_eq!(whats, [&What::ApprovalVoided, &What::Changed { fields: vec!["backout_plan"] }]);
    let edited = decision.record();
    assert_eq!((edited.state, edited.plan_revision, edited.planned), (State::Requested, 2, None));
    assert!(matches!(edited.start(noon()), Err(Refusal::IllegalMove { .. })));
    let again = after(edited.approve(APPROVER, String::new(), noon()));
    assert_eq!(again.approval.unwrap().plan_revision, 2);
}

#[test]
fn a_title_is_no_plan() {
    let approved = after(after(draft(ChangeType::Normal).request(noon())).approve(APPROVER, String::new(), noon()));
    let titled = after(approved.update(Update { title: Some("Disk".to_owned()), ..Update::default() }, noon()));
    assert_eq!((titled.state, titled.plan_revision, titled.is_approved()), (State::Approved, 1, true));
}

#[test]
fn a_standard_change_is_approved_by_its_type_and_drafted_again_by_an_edit() {
    let decision = draft(ChangeType::Standard).request(noon()).unwrap();
    let approved = decision.record();
    assert_eq!((approved.state, decision.steps().len()), (State::Approved, 2));
    assert_eq!(approved.approval.as_ref().unwrap().approver_id, None);
    assert!(approved.start(noon()).is_ok());
    let edited = after(approved.update(Update { risk: Some(Risk::Major), ..Update::default() }, noon()));
    assert_eq!((edited.state, edited.approval), (State::Draft, None));
}

#[test]
fn an_emergency_begins_unapproved_and_ends_only_approved_and_reviewed() {
    let requested = after(draft(ChangeType::Emergency).request(noon()));
    let started = after(after(requested.schedule(window(0, 1), noon())).start(noon()));
    let failed = after(started.fail("the new disk failed too".to_owned(), noon() + TimeDelta::hours(1)));
    assert_eq!(failed.ended_at, Some(noon() + TimeDelta::hours(1)));
    assert_eq!(failed.close("buy other disks".to_owned(), noon()), Err(Refusal::NotApproved));
    let approved = after(failed.approve(APPROVER, String::new(), noon()));
    assert_eq!(approved.state, State::Failed);
    assert_eq!(approved.close(" ".to_owned(), noon()), Err(Refusal::ReviewNotesMissing));
    assert_eq!(after(approved.close("buy other disks".to_owned(), noon())).state, State::Closed);
}

#[test]
fn an_emergency_that_has_a_time_is_approved_or_rejected_once() {
    let requested = after(draft(ChangeType::Emergency).request(noon()));
    let scheduled = after(requested.schedule(window(1, 1), noon()));
    let rejected = after(scheduled.reject("too late".to_owned(), noon()));
    assert_eq!((rejected.state, rejected.planned), (State::Rejected, None));
    let approved = after(scheduled.approve(APPROVER, String::new(), noon()));
    assert_eq!(approved.reject("too late".to_owned(), noon()), Err(Refusal::AlreadyApproved));
    let edit = Update { test_plan: Some("look".to_owned()), ..Update::default() };
    let edited = after(approved.update(edit, noon()));
    assert_eq!((edited.state, edited.planned, edited.approval), (State::Scheduled, Some(window(1, 1)), None));
}

#[test]
fn a_request_needs_reason_and_plans_and_keeps_them() {
    let empty = NewChange { reason: String::new(), backout_plan: " ".to_owned(), ..new(ChangeType::Normal) };
    let refused = drafted(empty).request(noon());
    assert_eq!(refused, Err(Refusal::PlanIncomplete(vec!["reason", "backout_plan"])));
    let requested = after(draft(ChangeType::Normal).request(noon()));
    let blanked = requested.update(Update { reason: Some(String::new()), ..Update::default() }, noon());
    assert_eq!(blanked, Err(Refusal::PlanIncomplete(vec!["reason"])));
}

#[test]
fn a_rejected_change_is_edited_and_requested_again() {
    let rejected = after(after(draft(ChangeType::Normal).request(noon())).reject("too risky".to_owned(), noon()));
    let edit = Update { risk: Some(Risk::Significant), ..Update::default() };
    let again = after(after(rejected.update(edit, noon())).request(noon()));
    assert_eq!((again.state, again.plan_revision), (State::Requested, 2));
    let approved = after(again.approve(APPROVER, String::new(), noon()));
    assert_eq!(
        approved.reject("changed my mind".to_owned(), noon()).unwrap_err(),
        Refusal::IllegalMove { kind: ChangeType::Normal, state: State::Approved, by: Move::Reject }
    );
}

#[test]
fn the_plan_of_what_has_begun_is_fixed() {
    let standard = after(after(draft(ChangeType::Standard).request(noon())).start(noon()));
    let edit = Update { test_plan: Some("look".to_owned()), title: Some("Disk".to_owned()), ..Update::default() };
    let fixed = Refusal::PlanFixed { state: State::InProgress, fields: vec!["test_plan"] };
    assert_eq!(standard.update(edit, noon()), Err(fixed));
    let closed = after(after(standard.complete_as_planned(String::new(), noon())).close(String::new(), noon()));
    let late = closed.update(Update { title: Some("Disk".to_owned()), ..Update::default() }, noon());
    assert_eq!(late, Err(Refusal::Over(State::Closed)));
}

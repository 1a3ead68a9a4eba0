//! The service under test, and how commands reach it.

use super::*;

/// The service under test, for all cases: each has changes of its own.
pub struct Desk {
    pub stage: Stage,
    pub client: ChangeServiceClient<Channel>,
    pub requester: Person,
    pub other: Person,
    /// Sees everything.
    pub admin: Mutex<PgConnection>,
    pub runtime: Rc<Runtime>,
}

impl Desk {
    pub async fn open(runtime: Rc<Runtime>) -> Self {
        let stage = Stage::set(&[("change", &MIGRATOR)]).await;
        for source in ["directory", "catalog"] {
            stage.owner(source).await;
        }
        change::start(stage.context("change").await, Settings::default()).await.unwrap();
        eventually("readiness", || async { stage.readiness.waiting().is_empty().then_some(()) }).await;
        let client = ChangeServiceClient::new(stage.channel("change"));
        let person = || stage.person(Role::Administrator, TeamId::draw());
        let (requester, other, admin) = (person(), person(), Mutex::new(stage.admin().await));
        Self { stage, client, requester, other, admin, runtime }
    }

    /// State, revision and number of events of each.
    pub async fn rows(&self, ids: &[Uuid]) -> BTreeMap<Uuid, (String, i64, i64)> {
        let rows = sqlx::query(
            "select id, state, revision, (select count(*) from change.journal where record_id = id) as events
             from change.changes where id = any ($1)",
        )
        .bind(ids)
        .fetch_all(&mut *self.admin.lock().await)
        .await
        .unwrap();
        rows.iter().map(|row| (row.get("id"), (row.get("state"), row.get("revision"), row.get("events")))).collect()
    }

    /// The change and its whole history.
    pub async fn history(&self, id: ChangeId) -> (wire::Change, Vec<wire::ChangeEventEntry>) {
        let (id, mut client) = (id.to_string(), self.client.clone());
        let get = wire::GetChangeRequest { id: id.clone() };
        let row = client.get_change(self.stage.request(&self.other, get)).await.unwrap().into_inner();
        let list = wire::ListChangeEventsRequest { id, page_size: 200, ..Default::default() };
        let events = client.list_change_events(self.stage.request(&self.other, list)).await.unwrap().into_inner();
        (row, events.events)
    }

    /// Sends a command by gRPC.
    pub async fn send(
        &self,
        (id, seen): &(String, i64),
        by_requester: bool,
        verb: &Verb,
        basis: Basis,
        request_id: &str,
    ) -> Result<wire::Change, Status> {
        let (id, request_id) = (id.clone(), request_id.to_owned());
        let revision = match basis {
            Basis::Unsaid => None,
            Basis::Current => Some(*seen),
            Basis::Stale => Some(seen + 7),
        };
        let person = if by_requester || matches!(verb, Verb::Create(..)) { &self.requester } else { &self.other };
        let mut client = self.client.clone();
        macro_rules! call {
            ($method:ident, $request:ident { $($field:ident: $value:expr),* $(,)? }) => {
                client.$method(self.stage.request(person, wire::$request { id, revision, request_id, $($field: $value),* })).await
            };
        }
        let answer = match verb {
            Verb::Create(kind, planned) => {
                let id = ChangeId(Uuid::nil());
                let drafted = Change::draft(id, String::new(), person.id, new(*kind, *planned), self.stage.clock.now());
                let change = convert::change(drafted.record());
                let message = wire::CreateChangeRequest { change: Some(change), request_id };
                client.create_change(self.stage.request(person, message)).await
            }
            Verb::Update(edit) => {
                let message = edited(edit, id, revision.unwrap_or(*seen), request_id);
                client.update_change(self.stage.request(person, message)).await
            }
            Verb::Request => call!(request_change, RequestChangeRequest {}),
            Verb::Approve => call!(approve_change, ApproveChangeRequest { note: "Fine.".to_owned() }),
            Verb::Reject => call!(reject_change, RejectChangeRequest { reason: "Too risky.".to_owned() }),
            Verb::Schedule(start, end) => {
                let window = window(self.stage.clock.now(), *start, *end);
                call!(
                    schedule_change,
                    ScheduleChangeRequest {
                        planned_start_time: Some(kit::bus::timestamp(window.start)),
                        planned_end_time: Some(kit::bus::timestamp(window.end)),
                    }
                )
            }
            Verb::Start => call!(start_change, StartChangeRequest {}),
            Verb::Complete => call!(complete_change, CompleteChangeRequest { outcome_notes: String::new() }),
            Verb::Fail(notes) => call!(fail_change, FailChangeRequest { outcome_notes: (*notes).to_owned() }),
            Verb::Close(notes) => call!(close_change, CloseChangeRequest { review_notes: (*notes).to_owned() }),
            Verb::Cancel => call!(cancel_change, CancelChangeRequest { reason: "Not needed.".to_owned() }),
        };
        answer.map(tonic::Response::into_inner)
    }
}

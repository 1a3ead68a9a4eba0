//! The service under test, and how commands reach it.

use super::*;

/// The service under test, for all cases: each has incidents and alerts of its own.
pub struct Desk {
    pub stage: Stage,
    pub alerts: Owner,
    pub client: IncidentServiceClient<Connection>,
    pub person: Person,
    /// Sees everything.
    pub admin: Mutex<PgConnection>,
    pub runtime: Rc<Runtime>,
}

impl Desk {
    pub async fn open(runtime: Rc<Runtime>) -> Self {
        let stage = Stage::set(&[("incident", &MIGRATOR)]).await;
        stage.owner("catalog").await;
        let (directory, alerts) = (stage.owner("directory").await, stage.owner("alert").await);
        for number in 0..TEAMS {
            let id = team(number).0;
            let record = Team { id: id.to_string(), revision: 1, state: TeamState::Active.into(), ..Team::default() };
            let event =
                DirectoryEvent { record: Some(directory_event::Record::Team(record)), ..DirectoryEvent::default() };
            directory.say(id, "team_created", stage.clock.now(), event.encode_to_vec());
        }
        incident::start(stage.context("incident").await, Settings::default()).await.unwrap();
        eventually("readiness", || async { stage.readiness.waiting().is_empty().then_some(()) }).await;
        let client = IncidentServiceClient::new(stage.channel("incident"));
        let person = stage.person(Role::Administrator, TeamId::draw());
        let admin = Mutex::new(stage.admin().await);
        Self { stage, alerts, client, person, admin, runtime }
    }

    /// Waits until the consumer has applied an event.
    pub async fn applied(&self, entry: &FeedEntry) {
        eventually("the event's effect", || async {
            let position: i64 = sqlx::query_scalar("select position from incident.lease where name = 'consumer:alert'")
                .fetch_one(&mut *self.admin.lock().await)
                .await
                .unwrap();
            (position >= entry.position).then_some(())
        })
        .await;
    }

    /// Waits until every timer that is due has fired.
    pub async fn nothing_due(&self) {
        let now = self.stage.clock.now();
        eventually("the timers", || async {
            let due: i64 = sqlx::query_scalar("select count(*) from incident.timer where due_at <= $1")
                .bind(now)
                .fetch_one(&mut *self.admin.lock().await)
                .await
                .unwrap();
            (due == 0).then_some(())
        })
        .await;
    }

    /// The incident that an alert opened.
    pub async fn opened_by(&self, alert: AlertId) -> (IncidentId, String) {
        let row = sqlx::query(
            "select id, number from incident.incidents
             where id = (select incident_id from incident.incident_alerts where alert_id = $1 and open)",
        )
        .bind(alert.0)
        .fetch_one(&mut *self.admin.lock().await)
        .await
        .unwrap();
        (IncidentId(row.get("id")), row.get("number"))
    }

    /// State, revision and number of events of each.
    pub async fn rows(&self, ids: &[Uuid]) -> BTreeMap<Uuid, (String, i64, i64)> {
        let rows = sqlx::query(
            "select id, state, revision, (select count(*) from incident.journal where record_id = id) as events
             from incident.incidents where id = any ($1)",
        )
        .bind(ids)
        .fetch_all(&mut *self.admin.lock().await)
        .await
        .unwrap();
        rows.iter().map(|row| (row.get("id"), (row.get("state"), row.get("revision"), row.get("events")))).collect()
    }

    /// The incident and its whole history.
    pub async fn history(&self, id: IncidentId) -> (wire::Incident, Vec<wire::IncidentEventEntry>) {
        let (id, mut client) = (id.to_string(), self.client.clone());
        let get = wire::GetIncidentRequest { id: id.clone() };
        let row = client.get_incident(self.stage.request(&self.person, get)).await.unwrap().into_inner();
        let list = wire::ListIncidentEventsRequest { id, page_size: 200, ..Default::default() };
        let events = client.list_incident_events(self.stage.request(&self.person, list)).await.unwrap().into_inner();
        (row, events.events)
    }

    /// Sends a command by gRPC.
    pub async fn send(
        &self,
        (id, seen): &(String, i64),
        verb: &Verb,
        basis: Basis,
        alerts: &[AlertId],
        request_id: &str,
    ) -> Result<wire::Incident, Status> {
        let (id, request_id) = (id.clone(), request_id.to_owned());
        let revision = match basis {
            Basis::Unsaid => None,
            Basis::Current => Some(*seen),
            Basis::Stale => Some(seen + 7),
        };
        let mut client = self.client.clone();
        let alert = |number: u8| alerts[usize::from(number)].to_string();
        macro_rules! call {
            ($method:ident, $request:ident { $($field:ident: $value:expr),* $(,)? }) => {
                client.$method(self.stage.request(&self.person, wire::$request { id, revision, request_id, $($field: $value),* })).await
            };
        }
        let answer = match verb {
            Verb::Create(impact, urgency) => {
                let incident = wire::Incident {
                    title: titled(0),
                    impact: i32::from(*impact),
                    urgency: i32::from(*urgency),
                    ..Default::default()
                };
                let message = wire::CreateIncidentRequest { incident: Some(incident), request_id };
                client.create_incident(self.stage.request(&self.person, message)).await
            }
            Verb::Update(impact, urgency, title) => {
                let named = [("impact", impact.is_some()), ("urgency", urgency.is_some()), ("title", title.is_some())];
                let paths = named.iter().filter(|(_, given)| *given).map(|(name, _)| (*name).to_owned()).collect();
                let incident = wire::Incident {
                    id,
                    revision: revision.unwrap_or(*seen),
                    impact: impact.map(i32::from).unwrap_or_default(),
                    urgency: urgency.map(i32::from).unwrap_or_default(),
                    title: title.map(titled).unwrap_or_default(),
                    ..Default::default()
                };
                let message = wire::UpdateIncidentRequest {
                    incident: Some(incident),
                    update_mask: Some(prost_types::FieldMask { paths }),
                    request_id,
                };
                client.update_incident(self.stage.request(&self.person, message)).await
            }
            Verb::Acknowledge => call!(acknowledge_incident, AcknowledgeIncidentRequest {}),
            Verb::Assign(number) => call!(
                assign_incident,
                AssignIncidentRequest {
                    team_id: team(*number).to_string(),
                    assignee_id: String::new(),
                    note: "Yours.".to_owned(),
                }
            ),
            Verb::Start => call!(start_incident, StartIncidentRequest { note: String::new() }),
            Verb::Hold(reason) => call!(
                hold_incident,
                HoldIncidentRequest { pending_reason: convert::pending_reason(*reason).into(), note: String::new() }
            ),
            Verb::Resume => call!(resume_incident, ResumeIncidentRequest { note: String::new() }),
            Verb::Resolve(code) => call!(
                resolve_incident,
                ResolveIncidentRequest {
                    resolution_code: convert::resolution_code(*code).into(),
                    resolution_notes: "Done.".to_owned(),
                }
            ),
            Verb::Close => call!(close_incident, CloseIncidentRequest { note: String::new() }),
            Verb::Cancel => call!(cancel_incident, CancelIncidentRequest { reason: "None.".to_owned() }),
            Verb::Reopen => call!(reopen_incident, ReopenIncidentRequest { reason: "Not over.".to_owned() }),
            Verb::Note => call!(add_note, AddNoteRequest { text: "Look.".to_owned() }),
            Verb::Override(level) => call!(
                override_priority,
                OverridePriorityRequest { priority: i32::from(*level), reason: "Because.".to_owned() }
            ),
            Verb::Link(number) => call!(link_alert, LinkAlertRequest { alert_id: alert(*number) }),
            Verb::Unlink(number) => call!(unlink_alert, UnlinkAlertRequest { alert_id: alert(*number) }),
        };
        answer.map(tonic::Response::into_inner)
    }
}

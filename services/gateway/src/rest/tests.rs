//! Transcoding with the real messages of the contract.

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use prost_reflect::{DescriptorPool, DynamicMessage};
use proto::{
    change::v1 as change,
    common::v1::{Impact, Priority},
    incident::v1::{
        AlertLink, CreateIncidentRequest, Incident, IncidentEvent, IncidentEventEntry, IncidentState,
        ListIncidentsRequest, PendingReason, ResolveIncidentRequest, UpdateIncidentRequest, WatchIncidentsRequest,
        incident_event,
    },
};

use super::{
    bind::{Asked, bind},
    json_in::{Reader, too_deep},
    json_out::Shown,
    problem::Problem,
    routes::{Found, Table},
};

fn pool() -> DescriptorPool {
    DescriptorPool::decode(proto::DESCRIPTOR_SET).unwrap()
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(n, v)| (http::HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
}

fn bound_with(method: Method, target: &str, headers: &HeaderMap, body: &str) -> Result<DynamicMessage, Problem> {
    let table = Table::read(&pool()).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match table.find(&method, path) {
        Found::Route(route, bound) => bind(route, &Asked { bound: &bound, query, headers, body: body.as_bytes() }),
        other => panic!("{method} {target}: {other:?}"),
    }
}

fn bound<T: prost::Message + Default>(method: Method, target: &str, body: &str) -> T {
    bound_with(method, target, &HeaderMap::new(), body).unwrap().transcode_to().unwrap()
}

fn refused(method: Method, target: &str, body: &str) -> (u16, String, Vec<(String, String)>) {
    let problem = bound_with(method, target, &HeaderMap::new(), body).unwrap_err();
    (
        problem.status.as_u16(),
        problem.reason.into_string(),
        problem.violations.into_iter().map(|v| (v.field, v.description)).collect(),
    )
}

fn field_of(method: Method, target: &str, body: &str) -> String {
    let (status, reason, violations) = refused(method, target, body);
    assert_eq!((status, reason.as_str(), violations.len()), (400, "INVALID_FIELD", 1), "{violations:?}");
    violations.into_iter().next().unwrap().0
}

fn shown<T: prost::Message>(name: &str, message: &T) -> String {
    let descriptor = pool().get_message_by_name(name).unwrap();
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).unwrap();
    serde_json::to_string(&Shown(&dynamic)).unwrap()
}

#[test]
fn a_body_field_takes_either_spelling_and_either_form_of_an_enum() {
    let created: CreateIncidentRequest = bound(
        Method::POST,
        "/v1/incidents?requestId=r1",
        r#"{"title":"Mail is down","impact":"EXTENSIVE","urgency":"URGENCY_HIGH","service_id":"s","assignedTeamId":"t","description":null}"#,
    );
    let incident = created.incident.unwrap();
    assert_eq!(created.request_id, "r1");
    assert_eq!((incident.title.as_str(), incident.impact, incident.urgency), ("Mail is down", 1, 2));
    assert_eq!((incident.service_id.as_str(), incident.assigned_team_id.as_str()), ("s", "t"));
}

#[test]
fn query_parameters_bind_in_either_spelling() {
    let list: ListIncidentsRequest =
        bound(Method::GET, "/v1/incidents?pageSize=7&filter=state+%3D+%22NEW%22&page_token=p", "");
    assert_eq!((list.page_size, list.filter.as_str(), list.page_token.as_str()), (7, "state = \"NEW\"", "p"));
    let watch: WatchIncidentsRequest =
        bound(Method::GET, "/v1/incidents:watch?startTime=2026-11-22T09:00:00.5%2B01:00", "");
    let start = watch.start_time.unwrap();
    assert_eq!((start.seconds, start.nanos), (1_795_334_400, 500_000_000));
}

#[test]
fn a_patch_takes_its_mask_from_the_query_or_from_what_it_gives() {
    let given: UpdateIncidentRequest = bound(
        Method::PATCH,
        "/v1/incidents/INC7?updateMask=title,serviceId,assigned_team_id",
        r#"{"id":"other","revision":"3","title":"x"}"#,
    );
    assert_eq!(given.update_mask.unwrap().paths, ["title", "service_id", "assigned_team_id"]);
    let incident = given.incident.unwrap();
    assert_eq!((incident.id.as_str(), incident.revision), ("INC7", 3), "the path says which");
    let derived: UpdateIncidentRequest =
        bound(Method::PATCH, "/v1/incidents/INC7", r#"{"revision":3,"title":"x","serviceId":""}"#);
    let mut paths = derived.update_mask.unwrap().paths;
    paths.sort();
    assert_eq!(paths, ["service_id", "title"]);
}

#[test]
fn a_whole_body_may_be_absent_and_headers_fill_what_is_not_said() {
    let retry = headers(&[("idempotency-key", "k1")]);
    let bind = |body: &str| -> ResolveIncidentRequest {
        bound_with(Method::POST, "/v1/incidents/INC7:resolve", &retry, body).unwrap().transcode_to().unwrap()
    };
    assert_eq!((bind("").id.as_str(), bind("").request_id.as_str()), ("INC7", "k1"));
    assert_eq!(bind(r#"{"requestId":"mine"}"#).request_id, "mine");
    let resumed = headers(&[("last-event-id", "c9")]);
    let watch: WatchIncidentsRequest =
        bound_with(Method::GET, "/v1/incidents:watch?cursor=c1", &resumed, "").unwrap().transcode_to().unwrap();
    assert_eq!(watch.cursor, "c9");
}

#[test]
fn faults_name_the_field() {
    assert_eq!(field_of(Method::POST, "/v1/incidents", r#"{"titel":"x"}"#), "incident.titel");
    assert_eq!(field_of(Method::POST, "/v1/incidents", r#"{"title":7}"#), "incident.title");
    assert_eq!(field_of(Method::POST, "/v1/incidents", r#"{"impact":"HUGE"}"#), "incident.impact");
    assert_eq!(field_of(Method::POST, "/v1/incidents", r#"{"impact":99}"#), "incident.impact");
    assert_eq!(field_of(Method::POST, "/v1/incidents", r#"{"revision":1.5}"#), "incident.revision");
    assert_eq!(
        field_of(Method::POST, "/v1/incidents", r#"{"alerts":[{"active":"yes"}]}"#),
        "incident.alerts[0].active"
    );
    assert_eq!(field_of(Method::POST, "/v1/incidents", r#"{"createTime":"yesterday"}"#), "incident.create_time");
    assert_eq!(field_of(Method::POST, "/v1/incidents", r#"{"serviceId":"a","service_id":"b"}"#), "incident.service_id");
    assert_eq!(field_of(Method::POST, "/v1/incidents", "[]"), "incident");
    assert_eq!(field_of(Method::GET, "/v1/incidents?pageSize=many", ""), "pageSize");
    assert_eq!(field_of(Method::GET, "/v1/incidents?nonsense=1", ""), "nonsense");
    assert_eq!(field_of(Method::GET, "/v1/incidents/a?id=b", ""), "id");
    assert_eq!(field_of(Method::POST, "/v1/incidents?incident.title=x", "{}"), "incident.title");
    let (_, _, violations) = refused(Method::POST, "/v1/incidents", r#"{"a":1,"b":2}"#);
    assert_eq!(violations.len(), 2, "all faults are named at once");
    let (_, _, violations) = refused(Method::POST, "/v1/incidents", r#"{"impact":"HUGE"}"#);
    assert_eq!(violations[0].1, "must be one of EXTENSIVE, SIGNIFICANT, MODERATE, MINOR");
}

#[test]
fn what_is_not_json_is_refused_as_such() {
    assert_eq!(refused(Method::POST, "/v1/incidents", "{\"title\":").1, "MALFORMED_BODY");
    assert_eq!(refused(Method::POST, "/v1/incidents", "").1, "MALFORMED_BODY");
    assert_eq!(refused(Method::POST, "/v1/incidents", "{} {}").1, "MALFORMED_BODY");
    assert_eq!(refused(Method::GET, "/v1/incidents", "{}").1, "MALFORMED_BODY");
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(refused(Method::POST, "/v1/incidents", &deep).1, "BODY_TOO_DEEP");
    let xml = headers(&[("content-type", "text/xml")]);
    let problem = bound_with(Method::POST, "/v1/incidents", &xml, "<a/>").unwrap_err();
    assert_eq!(problem.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[test]
fn depth_counts_brackets_outside_of_text_only() {
    assert!(!too_deep(format!("{}{}", "[".repeat(32), "]".repeat(32)).as_bytes()));
    assert!(too_deep("[".repeat(33).as_bytes()));
    assert!(!too_deep(format!("[\"{}\\\"{}\"]", "[".repeat(40), "{".repeat(40)).as_bytes()));
}

#[test]
fn a_record_shows_every_field_that_has_a_value_or_a_default() {
    let incident = Incident {
        id: "i".into(),
        revision: 9_007_199_254_740_993,
        state: IncidentState::InProgress as i32,
        pending_reason: PendingReason::Unspecified as i32,
        impact: Impact::Extensive as i32,
        priority: Priority::P1 as i32,
        channel: 77,
        create_time: Some(prost_reflect::prost_types::Timestamp { seconds: 1_795_334_400, nanos: 120_000_000 }),
        alerts: vec![AlertLink { alert_id: "a".into(), active: true, link_time: None }],
        ..Default::default()
    };
    let json = shown("itsm.incident.v1.Incident", &incident);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["revision"], "9007199254740993");
    assert_eq!(
        (&value["state"], &value["pendingReason"], &value["priority"]),
        (&"IN_PROGRESS".into(), &"UNSPECIFIED".into(), &"P1".into())
    );
    assert_eq!(value["channel"], 77, "a value of a newer service");
    assert_eq!(value["createTime"], "2026-11-22T08:00:00.120Z");
    assert_eq!(value["alerts"], serde_json::json!([{"alertId": "a", "active": true}]));
    assert_eq!((&value["title"], &value["reopenCount"], &value["takenOver"]), (&"".into(), &0.into(), &false.into()));
    assert!(value.get("resolveTime").is_none());
    assert!(json.starts_with(r#"{"id":"i","revision":"#), "in the order of the contract: {json}");
}

#[test]
fn of_a_oneof_only_what_happened_is_shown() {
    let entry = IncidentEventEntry {
        event: Some(IncidentEvent {
            what: Some(incident_event::What::Acknowledged(Default::default())),
            ..Default::default()
        }),
        ..Default::default()
    };
    let value: serde_json::Value = serde_json::from_str(&shown("itsm.incident.v1.IncidentEventEntry", &entry)).unwrap();
    assert_eq!(value["event"], serde_json::json!({"acknowledged": {}}));
}

/// Whatever the gateway shows, it also takes: for every message of the contract, with every field
/// set to something.
#[test]
fn what_is_shown_can_be_sent_back() {
    use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, Value};
    fn single(kind: &Kind, depth: usize) -> Value {
        match kind {
            Kind::Message(inner) => Value::Message(fill(inner, depth + 1)),
            Kind::Enum(values) => Value::EnumNumber(values.values().last().unwrap().number()),
            Kind::String => Value::String("tëxt \"\n".into()),
            Kind::Bytes => Value::Bytes(vec![0, 255, 62].into()),
            Kind::Bool => Value::Bool(true),
            Kind::Int64 => Value::I64(i64::MIN),
            Kind::Int32 => Value::I32(-7),
            Kind::Double => Value::F64(0.1),
            other => panic!("the contract now uses {other:?}: add it here"),
        }
    }
    fn value(field: &FieldDescriptor, depth: usize) -> Option<Value> {
        let kind = field.kind();
        if let (true, Kind::Message(entry)) = (field.is_map(), &kind) {
            let inner = single(&entry.map_entry_value_field().kind(), depth);
            return Some(Value::Map([(prost_reflect::MapKey::String("k".into()), inner)].into()));
        }
        if depth > 6 && matches!(kind, Kind::Message(_)) {
            return None;
        }
        let inner = single(&kind, depth);
        Some(if field.is_list() { Value::List(vec![inner.clone(), inner]) } else { inner })
    }
    fn fill(descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        match descriptor.full_name() {
            "google.protobuf.Timestamp" => {
                message.set_field_by_number(1, Value::I64(1_795_334_400));
                message.set_field_by_number(2, Value::I32(1_000));
            }
            "google.protobuf.FieldMask" => {
                message.set_field_by_number(1, Value::List(vec![Value::String("service_id".into())]))
            }
            _ => {
                for field in descriptor.fields() {
                    if let Some(value) = value(&field, depth) {
                        message.set_field(&field, value);
                    }
                }
            }
        }
        message
    }
    let mut count = 0;
    for descriptor in pool().all_messages().filter(|m| m.full_name().starts_with("itsm.") && !m.is_map_entry()) {
        let message = fill(&descriptor, 0);
        let json = serde_json::to_value(Shown(&message)).unwrap();
        let mut reader = Reader::default();
        let back = reader.message(&descriptor, json.clone(), "");
        reader.finish().unwrap_or_else(|v| panic!("{}: {v:?} in {json}", descriptor.full_name()));
        assert_eq!(back.unwrap(), message, "{}", descriptor.full_name());
        count += 1;
    }
    assert!(count > 200, "{count}");
}

#[test]
fn maps_are_read_and_shown_in_order() {
    let alert = proto::alert::v1::Alert {
        labels: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
        ..Default::default()
    };
    let json = shown("itsm.alert.v1.Alert", &alert);
    assert!(json.contains(r#""labels":{"a":"1","b":"2"}"#), "{json}");
}

#[test]
fn a_change_binds_like_an_incident() {
    let created: change::CreateChangeRequest = bound(Method::POST, "/v1/changes", r#"{"title":"Upgrade"}"#);
    assert_eq!(created.change.unwrap().title, "Upgrade");
}

mod whatever_is_sent {
    use proptest::prelude::*;
    use serde_json::Value as Json;

    use super::*;

    /// JSON of any shape, its names often those of fields.
    fn json() -> impl Strategy<Value = Json> {
        let name = prop_oneof!["title|impact|alerts|alertId|createTime|revision|service_id|takenOver", ".{0,8}"];
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            "P1|EXTENSIVE|IMPACT_MINOR|2026-11-22T08:00:00Z|9999-12-31T23:59:60Z|-7|1e400|.{0,12}".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::hash_map(name.clone(), inner, 0..6)
                    .prop_map(|entries| Json::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

        /// What is taken can be shown, and what is not is told by a field.
        #[test]
        fn is_taken_or_refused_by_name(json in json()) {
            let descriptor = pool_once().get_message_by_name("itsm.incident.v1.Incident").unwrap();
            let mut reader = Reader::default();
            let message = reader.message(&descriptor, json.clone(), "incident");
            match reader.finish() {
                Ok(()) => prop_assert!(serde_json::to_string(&Shown(&message.unwrap())).is_ok()),
                Err(violations) => {
                    prop_assert!(violations.iter().all(|v| v.field.starts_with("incident") && !v.description.is_empty()));
                }
            }
        }

        #[test]
        fn never_breaks_the_table(path in "(/v1)?(/incidents|/[^?]{0,8}){0,4}(:[a-z]{0,6})?", query in ".{0,40}", body in ".{0,40}") {
            let table = table_once();
            for method in [Method::GET, Method::POST, Method::PATCH] {
                if let Found::Route(route, bound) = table.find(&method, &path) {
                    let asked = Asked { bound: &bound, query: &query, headers: &HeaderMap::new(), body: body.as_bytes() };
                    if let Err(problem) = bind(route, &asked) {
                        prop_assert_eq!(problem.status, StatusCode::BAD_REQUEST);
                    }
                }
            }
        }
    }

    fn pool_once() -> &'static DescriptorPool {
        static POOL: std::sync::OnceLock<DescriptorPool> = std::sync::OnceLock::new();
        POOL.get_or_init(pool)
    }

    fn table_once() -> &'static Table {
        static TABLE: std::sync::OnceLock<Table> = std::sync::OnceLock::new();
        TABLE.get_or_init(|| Table::read(pool_once()).unwrap())
    }
}

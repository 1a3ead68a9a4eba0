//! The OpenAPI 3.1 document, written from the same descriptors and routes that requests are served
//! by, so that it cannot say anything else than what happens.

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, ReflectMessage as _, Value};
use serde_json::{Map, Value as Json, json};

use super::{
    json_in::field,
    routes::{BodyRule, Route, Segment, Table},
    schema::{Comments, Schemas},
};

const ABOUT: &str = "IT service management core: alerts become incidents, start SLA clocks and reach the right person.\n\n\
    JSON is ProtoJSON with one deviation: enum values go without their prefix (`NEW`, not `INCIDENT_STATE_NEW`); both are \
    taken. Field names are taken in camelCase and snake_case; unknown fields are refused. 64-bit integers are strings. \
    A PATCH without `updateMask` changes the fields it gives.\n\n\
    Streams (`:watch`) answer one JSON object a line, or Server-Sent Events with `Accept: text/event-stream`; resume them \
    with the last `cursor`, or by `Last-Event-ID`. A stream that ends with an error says `{\"error\": ...}` in its last \
    line, or sends an event named `error`.";

/// Writes the document.
pub fn document(pool: &DescriptorPool, routes: &Table, version: &str) -> Json {
    let comments = Comments::read(pool);
    let mut schemas = Schemas::new(&comments);
    let mut paths: Map<String, Json> = Map::new();
    let mut tags: Map<String, Json> = Map::new();
    for route in routes.iter() {
        let service = route.rpc.parent_service();
        let tag = json!({"name": route.service(), "description": comments.service(service)});
        tags.insert(route.service().to_owned(), tag);
        let operation = operation(pool, route, &comments, &mut schemas);
        let item = paths.entry(path_key(route)).or_insert_with(|| json!({}));
        if let Json::Object(item) = item {
            item.insert(route.method.as_str().to_lowercase(), operation);
        }
    }
    for (path, item) in intake_paths() {
        paths.insert(path, item);
    }
    tags.insert(
        "intake".to_owned(),
        json!({"name": "intake", "description": "Alerts come in, by an integration's key."}),
    );
    let mut all = schemas.into_json();
    all.insert("Problem".to_owned(), problem_schema());
    json!({
        "openapi": "3.1.0",
        "info": {"title": "itsm", "version": version, "description": ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": tags.into_iter().map(|(_, tag)| tag).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": all,
            "securitySchemes": {"key": {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key, such as the one in `admin.key` of the data folder."
            }},
            "parameters": {"IdempotencyKey": {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "A unique key of this request; the same key again gets the first answer. As `requestId`.",
                "schema": {"type": "string"}
            }},
            "responses": {"Problem": {
                "description": "The request was refused or failed; `reason` is stable.",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
            }}
        }
    })
}

fn operation(pool: &DescriptorPool, route: &Route, comments: &Comments, schemas: &mut Schemas<'_>) -> Json {
    let comment = comments.rpc(&route.rpc);
    let summary = comment.split_once(". ").map_or(comment.trim_end_matches('.'), |(first, _)| first);
    let mut operation = json!({
        "operationId": route.rpc.name(),
        "tags": [route.service()],
        "summary": summary,
        "description": format!("{comment}{}", access(pool, route)),
        "parameters": parameters(route, comments, schemas),
        "responses": {
            "200": {"description": "Done.", "content": content(route, schemas)},
            "default": {"$ref": "#/components/responses/Problem"}
        }
    });
    let body = match &route.body {
        BodyRule::None => return operation,
        BodyRule::Whole => schemas.message(&route.rpc.input()),
        BodyRule::Field(field) => schemas.bare(field),
    };
    let required = matches!(route.body, BodyRule::Field(_));
    operation["requestBody"] = json!({"required": required, "content": {"application/json": {"schema": body}}});
    operation
}

fn content(route: &Route, schemas: &mut Schemas<'_>) -> Json {
    let schema = schemas.message(&route.rpc.output());
    if route.rpc.is_server_streaming() {
        json!({"application/x-ndjson": {"schema": schema}, "text/event-stream": {"schema": {"type": "string"}}})
    } else {
        json!({"application/json": {"schema": schema}})
    }
}

/// What the RPC demands, as a sentence.
fn access(pool: &DescriptorPool, route: &Route) -> String {
    let declared = || {
        let option = pool.get_extension_by_name("itsm.common.v1.access")?;
        let options = route.rpc.options();
        let value = options.get_extension(&option);
        let access = value.as_message()?;
        let permission = access.get_field_by_name("permission")?.as_str()?.to_owned();
        let role = access.descriptor().get_field_by_name("role")?;
        let (Kind::Enum(roles), Value::EnumNumber(number)) = (role.kind(), access.get_field(&role).into_owned()) else {
            return None;
        };
        let role = roles.get_value(number)?.name().trim_start_matches("ROLE_").to_lowercase();
        Some(format!("\n\nNeeds the permission `{permission}` and the role {role}."))
    };
    declared().unwrap_or_default()
}

fn parameters(route: &Route, comments: &Comments, schemas: &mut Schemas<'_>) -> Vec<Json> {
    let mut parameters = Vec::new();
    let mut bound = Vec::new();
    for segment in &route.segments {
        let Segment::Variable(path) = segment else { continue };
        let description = target(route, path).map(|field| comments.field(&field).to_owned()).unwrap_or_default();
        parameters.push(json!({
            "name": path.last(), "in": "path", "required": true, "description": description, "schema": {"type": "string"}
        }));
        bound.push(path.clone());
    }
    for field in route.rpc.input().fields() {
        let in_body = match &route.body {
            BodyRule::None => false,
            BodyRule::Whole => true,
            BodyRule::Field(body) => *body == field,
        };
        if in_body || bound.iter().any(|path| path.as_slice() == [field.name()]) || !fits_query(&field) {
            continue;
        }
        parameters.push(json!({
            "name": field.json_name(),
            "in": "query",
            "description": comments.field(&field),
            "schema": schemas.bare(&field)
        }));
    }
    if route.rpc.input().get_field_by_name("request_id").is_some() {
        parameters.push(json!({"$ref": "#/components/parameters/IdempotencyKey"}));
    }
    parameters
}

/// The field that a path variable binds.
fn target(route: &Route, path: &[String]) -> Option<FieldDescriptor> {
    let mut message = route.rpc.input();
    let (last, parents) = path.split_last()?;
    for name in parents {
        match field(&message, name)?.kind() {
            Kind::Message(inner) => message = inner,
            _ => return None,
        }
    }
    field(&message, last)
}

fn fits_query(field: &FieldDescriptor) -> bool {
    match field.kind() {
        Kind::Message(message) => message.full_name().starts_with("google.protobuf.") && !field.is_map(),
        _ => true,
    }
}

/// The template with the last names of its variables, so that one record has one path.
fn path_key(route: &Route) -> String {
    let mut key = String::new();
    for segment in &route.segments {
        key.push('/');
        match segment {
            Segment::Literal(text) => key.push_str(text),
            Segment::Variable(path) => {
                key.push('{');
                key.push_str(path.last().map(String::as_str).unwrap_or_default());
                key.push('}');
            }
        }
    }
    if let Some(verb) = &route.verb {
        key.push(':');
        key.push_str(verb);
    }
    key
}

/// The intakes, which are no RPCs: a sender posts there as it posts anywhere.
fn intake_paths() -> Vec<(String, Json)> {
    let done = json!({"description": "The stream has it for good.", "content": {"application/json": {"schema": {
        "type": "object",
        "properties": {
            "accepted": {"type": "integer", "description": "How many alerts are usable."},
            "rejected": {"type": "array", "items": {"type": "object", "properties": {
                "index": {"type": "integer"}, "field": {"type": "string"},
                "reason": {"type": "string"}, "code": {"type": "string"}
            }}},
            "intakeId": {"type": "string", "description": "The id of this body."}
        }
    }}}});
    let nothing = json!({"description": "The stream has it for good. 400 with a text when some alerts were unusable."});
    let sources = [
        ("alertmanager", "Alertmanager's webhook, version 4", "202", &done),
        ("api/v2/alerts", "What Prometheus posts to Alertmanager", "200", &nothing),
        ("alerts", "An alert in our own JSON, a list of them, or `{\"alerts\": [..]}`", "202", &done),
        ("cloudevents", "CloudEvents 1.0: structured, a batch, or binary", "202", &done),
    ];
    let item = |(path, summary, code, answer): (&str, &str, &str, &Json)| {
        let operation = json!({
            "operationId": format!("Intake{}", path.replace('/', "_")),
            "tags": ["intake"],
            "summary": summary,
            "description": "The good alerts of a body are taken, the bad ones are named. At most 1 MiB, also inflated from \
                gzip. Answered when it is stored; with 503 send it again after `Retry-After`.",
            "security": [],
            "parameters": [{
                "name": "key", "in": "path", "required": true, "description": "The key of an integration.",
                "schema": {"type": "string"}
            }],
            "requestBody": {"required": true, "content": {"application/json": {"schema": {}}}},
            "responses": {code: answer, "default": {"$ref": "#/components/responses/Problem"}}
        });
        (format!("/intake/{{key}}/{path}"), json!({"post": operation}))
    };
    sources.into_iter().map(item).collect()
}

fn problem_schema() -> Json {
    let text = |description: &str| json!({"type": "string", "description": description});
    json!({
        "type": "object",
        "description": "A refusal or failure (RFC 9457).",
        "required": ["type", "title", "status", "detail", "reason", "requestId"],
        "properties": {
            "type": text("Always `about:blank`."),
            "title": text("The HTTP status in words."),
            "status": {"type": "integer", "description": "The HTTP status."},
            "detail": text("One sentence for people."),
            "reason": text("The stable reason, upper snake case; the same as over gRPC."),
            "requestId": text("The id of the request, also in the header `x-request-id`."),
            "fieldViolations": {
                "type": "array",
                "description": "Which fields are wrong.",
                "items": {"type": "object", "properties": {
                    "field": text("The path of the field."), "description": text("What is wrong with it.")
                }}
            },
            "preconditionViolations": {
                "type": "array",
                "description": "Which conditions do not hold, and what would be legal.",
                "items": {"type": "object", "properties": {
                    "type": text("The kind of condition."), "subject": text("What it is about."),
                    "description": text("What would be legal.")
                }}
            },
            "metadata": {
                "type": "object",
                "description": "More about the reason, such as `current_revision`.",
                "additionalProperties": {"type": "string"}
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn written() -> Json {
        let pool = DescriptorPool::decode(proto::DESCRIPTOR_SET).unwrap();
        let routes = Table::read(&pool).unwrap();
        document(&pool, &routes, "0.0.0")
    }

    #[test]
    fn every_public_rpc_is_an_operation() {
        let document = written();
        let mut operations = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap().to_owned();
                assert!(operations.insert(id.clone()), "{id} twice");
                assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path} has no summary");
            }
        }
        let public = proto::METHODS.iter().filter(|m| !m.path.contains(".Internal/"));
        for method in public {
            let name = method.path.rsplit_once('/').unwrap().1;
            assert!(operations.contains(name), "{} is missing", method.path);
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn references<'a>(json: &'a Json, into: &mut BTreeSet<&'a str>) {
            match json {
                Json::Object(object) => {
                    for (key, value) in object {
                        if key == "$ref" {
                            into.insert(value.as_str().unwrap());
                        }
                        references(value, into);
                    }
                }
                Json::Array(items) => items.iter().for_each(|item| references(item, into)),
                _ => {}
            }
        }
        let document = written();
        let mut all = BTreeSet::new();
        references(&document, &mut all);
        assert!(all.len() > 50);
        for reference in all {
            let found = document.pointer(reference.strip_prefix('#').unwrap());
            assert!(found.is_some_and(|schema| !schema.is_null()), "{reference}");
        }
    }

    #[test]
    fn a_part_reads_as_agreed() {
        let document = written();
        let part = json!({
            "get and patch": document["paths"]["/v1/incidents/{id}"],
            "watch": document["paths"]["/v1/incidents:watch"],
            "record": document["components"]["schemas"]["incident.AlertLink"],
            "state": document["components"]["schemas"]["incident.IncidentState"],
        });
        insta::assert_json_snapshot!(part);
    }
}

//! What is asked, read and checked.

use std::collections::BTreeSet;

use kit::problem::Problem;
use prost_types::FieldMask;
use proto::notification::v1 as wire;
use uuid::Uuid;

use super::{id, limited, line, optional_id};
use crate::{
    app::{
        Target,
        commands::{CreateTemplate, UpdateRule},
        ways::Create,
    },
    domain::{Method, Recipients, rule::Wording, template::Update},
};

const NAME: usize = 200;
const FILTER: usize = 2_000;
const RECIPIENTS_AT_MOST: usize = 100;
const SUBJECT: usize = 500;
const BODY_BYTES: usize = 16 * 1024;
/// A year: longer is a misspelling.
const REPEAT_AT_MOST: i64 = 31_536_000;

fn given<T>(field: &str, message: Option<T>) -> Result<T, Problem> {
    message.ok_or_else(|| Problem::invalid(field, "must be given"))
}

/// The record that an update is about, whose revision must be said.
fn updated(record: &str, text: &str, revision: i64) -> Result<Target, Problem> {
    if revision <= 0 {
        return Err(Problem::invalid(format!("{record}.revision"), "must be the revision that the change is based on"));
    }
    Ok(Target { id: id::<Uuid>(&format!("{record}.id"), text)?, revision: Some(revision) })
}

fn paths(mask: Option<FieldMask>, known: &str) -> Result<Vec<String>, Problem> {
    let paths = mask.map(|mask| mask.paths).unwrap_or_default();
    if paths.is_empty() {
        return Err(Problem::invalid("update_mask", format!("must name what changes: {known}")));
    }
    Ok(paths)
}

fn unknown(path: &str, known: &str) -> Problem {
    Problem::invalid("update_mask", format!("`{path}` cannot be changed; what can: {known}"))
}

fn method_of(field: &str, method: wire::Method) -> Result<Method, Problem> {
    match method {
        wire::Method::Mail => Ok(Method::Mail),
        wire::Method::Webhook => Ok(Method::Webhook),
        wire::Method::Unspecified => Err(Problem::invalid(field, "must be one of MAIL, WEBHOOK")),
    }
}

/// A new contact method. Whether its address may be used is judged by the use case, which knows
/// what the settings allow.
///
/// # Errors
/// Invalid fields.
pub fn create_contact_method(way: Option<wire::ContactMethod>) -> Result<Create, Problem> {
    let way = given("contact_method", way)?;
    Ok(Create {
        person_id: optional_id("contact_method.person_id", &way.person_id)?,
        method: method_of("contact_method.method", way.method())?,
        display_name: line("contact_method.display_name", way.display_name, 0, NAME)?,
        address: way.address,
    })
}

const WAY_UPDATABLE: &str = "display_name, address";

/// An update of a contact method: its target, the new name and the new address.
///
/// # Errors
/// Invalid fields, a missing revision, or a mask that names what cannot change.
pub fn update_contact_method(
    way: Option<wire::ContactMethod>,
    mask: Option<FieldMask>,
) -> Result<(Target, Option<String>, Option<String>), Problem> {
    let way = given("contact_method", way)?;
    let target = updated("contact_method", &way.id, way.revision)?;
    let (mut name, mut address) = (None, None);
    for path in paths(mask, WAY_UPDATABLE)? {
        match path.as_str() {
            "display_name" => name = Some(line("contact_method.display_name", way.display_name.clone(), 0, NAME)?),
            "address" => address = Some(way.address.clone()),
            other => return Err(unknown(other, WAY_UPDATABLE)),
        }
    }
    Ok((target, name, address))
}

fn ids<T: std::str::FromStr>(field: &str, texts: &[String]) -> Result<Vec<T>, Problem> {
    if texts.len() > RECIPIENTS_AT_MOST {
        return Err(Problem::invalid(field, format!("must be at most {RECIPIENTS_AT_MOST}")));
    }
    texts.iter().enumerate().map(|(place, text)| id(&format!("{field}[{place}]"), text)).collect()
}

fn recipients(recipients: Option<wire::Recipients>) -> Result<Recipients, Problem> {
    let recipients = recipients.unwrap_or_default();
    Ok(Recipients {
        assigned_team: recipients.assigned_team,
        assignee: recipients.assignee,
        team_ids: ids("rule.recipients.team_ids", &recipients.team_ids)?,
        person_ids: ids("rule.recipients.person_ids", &recipients.person_ids)?,
        else_administrators: recipients.else_administrators,
    })
}

fn methods(rule: &wire::Rule) -> Result<BTreeSet<Method>, Problem> {
    let method = |number: &i32| method_of("rule.methods", wire::Method::try_from(*number).unwrap_or_default());
    rule.methods.iter().map(method).collect()
}

fn repeat(seconds: i64) -> Result<i64, Problem> {
    if (0..=REPEAT_AT_MOST).contains(&seconds) {
        return Ok(seconds);
    }
    Err(Problem::invalid("rule.repeat_after_seconds", format!("must be 0 for never, or up to {REPEAT_AT_MOST}")))
}

/// A new rule.
///
/// # Errors
/// Invalid fields.
pub fn create_rule(rule: Option<wire::Rule>) -> Result<Wording, Problem> {
    let rule = given("rule", rule)?;
    Ok(Wording {
        methods: methods(&rule)?,
        template_id: optional_id("rule.template_id", &rule.template_id)?,
        repeat_after_seconds: repeat(rule.repeat_after_seconds)?,
        display_name: line("rule.display_name", rule.display_name, 1, NAME)?,
        event_type: line("rule.event_type", rule.event_type, 1, NAME)?,
        filter: limited("rule.filter", rule.filter, 0, FILTER)?,
        recipients: recipients(rule.recipients)?,
    })
}

const RULE_UPDATABLE: &str = "display_name, event_type, filter, recipients, methods, template_id, repeat_after_seconds";

/// An update of a rule.
///
/// # Errors
/// Invalid fields, a missing revision, or a mask that names what cannot change.
pub fn update_rule(rule: Option<wire::Rule>, mask: Option<FieldMask>) -> Result<(Target, UpdateRule), Problem> {
    let rule = given("rule", rule)?;
    let target = updated("rule", &rule.id, rule.revision)?;
    let mut update = UpdateRule::default();
    for path in paths(mask, RULE_UPDATABLE)? {
        match path.as_str() {
            "display_name" => {
                update.display_name = Some(line("rule.display_name", rule.display_name.clone(), 1, NAME)?)
            }
            "event_type" => update.event_type = Some(line("rule.event_type", rule.event_type.clone(), 1, NAME)?),
            "filter" => update.filter = Some(limited("rule.filter", rule.filter.clone(), 0, FILTER)?),
            "recipients" => update.recipients = Some(recipients(rule.recipients.clone())?),
            "methods" => update.methods = Some(methods(&rule)?),
            "template_id" => update.template_id = Some(optional_id("rule.template_id", &rule.template_id)?),
            "repeat_after_seconds" => update.repeat_after_seconds = Some(repeat(rule.repeat_after_seconds)?),
            other => return Err(unknown(other, RULE_UPDATABLE)),
        }
    }
    Ok((target, update))
}

fn body(text: String) -> Result<String, Problem> {
    if text.len() > BODY_BYTES {
        return Err(Problem::invalid(
            "template.body",
            format!("must have at most {BODY_BYTES} bytes, not {}", text.len()),
        ));
    }
    limited("template.body", text, 1, BODY_BYTES)
}

/// A new template.
///
/// # Errors
/// Invalid fields.
pub fn create_template(template: Option<wire::Template>) -> Result<CreateTemplate, Problem> {
    let template = given("template", template)?;
    let slug = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if template.name.is_empty() || template.name.len() > 40 || !template.name.chars().all(slug) {
        return Err(Problem::invalid("template.name", "must be 1 to 40 of a-z, 0-9, `-`"));
    }
    Ok(CreateTemplate {
        name: template.name,
        display_name: line("template.display_name", template.display_name, 1, NAME)?,
        subject: line("template.subject", template.subject, 1, SUBJECT)?,
        body: body(template.body)?,
    })
}

const TEMPLATE_UPDATABLE: &str = "display_name, subject, body";

/// An update of a template.
///
/// # Errors
/// Invalid fields, a missing revision, or a mask that names what cannot change.
pub fn update_template(template: Option<wire::Template>, mask: Option<FieldMask>) -> Result<(Target, Update), Problem> {
    let template = given("template", template)?;
    let target = updated("template", &template.id, template.revision)?;
    let mut update = Update::default();
    for path in paths(mask, TEMPLATE_UPDATABLE)? {
        match path.as_str() {
            "display_name" => {
                update.display_name = Some(line("template.display_name", template.display_name.clone(), 1, NAME)?);
            }
            "subject" => update.subject = Some(line("template.subject", template.subject.clone(), 1, SUBJECT)?),
            "body" => update.body = Some(body(template.body.clone())?),
            other => return Err(unknown(other, TEMPLATE_UPDATABLE)),
        }
    }
    Ok((target, update))
}

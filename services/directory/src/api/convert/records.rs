//! Records as on the wire, and events as entries of a history or a watch.

use kit::{
    bus::timestamp,
    filter::{Expression, Field, Value},
    problem::Problem,
    watch::Watched,
};
use prost::Message;
use proto::{
    common::v1::{FeedEntry, Role},
    directory::v1::{self as wire, directory_event::Record},
};

use super::invalid_filter;
use crate::domain::{
    ApiKey, Membership, MembershipState, Person, PersonKind, PersonState, Team, TeamRole, TeamState, Tenant,
    TenantState,
};

/// A tenant as on the wire.
#[must_use]
pub fn tenant(tenant: &Tenant) -> wire::Tenant {
    let state = match tenant.state {
        TenantState::Active => wire::TenantState::Active,
        TenantState::Suspended => wire::TenantState::Suspended,
    };
    wire::Tenant {
        id: tenant.id.to_string(),
        revision: tenant.revision,
        slug: tenant.slug.clone(),
        display_name: tenant.display_name.clone(),
        state: state.into(),
        create_time: Some(timestamp(tenant.created_at)),
        update_time: Some(timestamp(tenant.updated_at)),
    }
}

/// A person as on the wire, with name and address: for those who may read them.
#[must_use]
pub fn person(person: &Person) -> wire::Person {
    let kind = match person.kind {
        PersonKind::Human => wire::PersonKind::Human,
        PersonKind::ServiceAccount => wire::PersonKind::ServiceAccount,
    };
    let state = match person.state {
        PersonState::Active => wire::PersonState::Active,
        PersonState::Deactivated => wire::PersonState::Deactivated,
    };
    wire::Person {
        id: person.id.to_string(),
        revision: person.revision,
        kind: kind.into(),
        display_name: person.display_name.expose().to_owned(),
        email: person.email.expose().to_owned(),
        time_zone: person.time_zone.clone(),
        administrator: person.administrator,
        state: state.into(),
        create_time: Some(timestamp(person.created_at)),
        update_time: Some(timestamp(person.updated_at)),
    }
}

/// A team as on the wire.
#[must_use]
pub fn team(team: &Team) -> wire::Team {
    let state = match team.state {
        TeamState::Active => wire::TeamState::Active,
        TeamState::Retired => wire::TeamState::Retired,
    };
    wire::Team {
        id: team.id.to_string(),
        revision: team.revision,
        name: team.name.clone(),
        display_name: team.display_name.clone(),
        description: team.description.clone(),
        state: state.into(),
        create_time: Some(timestamp(team.created_at)),
        update_time: Some(timestamp(team.updated_at)),
    }
}

/// A membership as on the wire.
#[must_use]
pub fn membership(membership: &Membership) -> wire::Membership {
    let state = match membership.state {
        MembershipState::Active => wire::MembershipState::Active,
        MembershipState::Ended => wire::MembershipState::Ended,
    };
    wire::Membership {
        id: membership.id.to_string(),
        revision: membership.revision,
        team_id: membership.team_id.to_string(),
        person_id: membership.person_id.to_string(),
        role: role(membership.role).into(),
        state: state.into(),
        create_time: Some(timestamp(membership.created_at)),
        update_time: Some(timestamp(membership.updated_at)),
    }
}

/// A role as on the wire.
#[must_use]
pub const fn role(role: TeamRole) -> Role {
    match role {
        TeamRole::Viewer => Role::Viewer,
        TeamRole::Responder => Role::Responder,
        TeamRole::Manager => Role::Manager,
    }
}

/// A key as on the wire; its secret is not in it, and neither is the digest.
#[must_use]
pub fn api_key(key: &ApiKey) -> wire::ApiKey {
    wire::ApiKey {
        id: key.id.to_string(),
        revision: key.revision,
        person_id: key.person_id.to_string(),
        display_name: key.display_name.clone(),
        scopes: key.scopes.iter().map(ToString::to_string).collect(),
        expire_time: key.expires_at.map(timestamp),
        revoke_time: key.revoked_at.map(timestamp),
        hint: key.hint.clone(),
        create_time: Some(timestamp(key.created_at)),
        update_time: Some(timestamp(key.updated_at)),
    }
}

/// The record in the bytes of an event: the kept answer to a request that comes again.
macro_rules! kept {
    ($name:ident, $variant:ident) => {
        /// The record in the bytes of an event.
        ///
        /// # Errors
        /// Fails when the bytes are no event of ours, or one of another record.
        pub fn $name(body: &[u8]) -> Result<wire::$variant, Problem> {
            match wire::DirectoryEvent::decode(body)?.record {
                Some(Record::$variant(record)) => Ok(record),
                _ => Err(Problem::Internal(concat!("a kept answer is no ", stringify!($variant)).into())),
            }
        }
    };
}
kept!(tenant_of, Tenant);
kept!(person_of, Person);
kept!(team_of, Team);
kept!(membership_of, Membership);
kept!(api_key_of, ApiKey);

/// An event with its place.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn entry(entry: FeedEntry, cursor: String) -> Result<wire::DirectoryEventEntry, Problem> {
    Ok(wire::DirectoryEventEntry {
        event_id: entry.event_id,
        r#type: entry.r#type,
        record_id: entry.record_id,
        revision: entry.revision,
        at: entry.at,
        cursor,
        request_id: entry.request_id,
        event: Some(wire::DirectoryEvent::decode(entry.body)?),
    })
}

/// Gives a field of the record that a watch is about, or nothing for a record of another kind.
pub type FieldOf = fn(&Record, &str) -> Option<Option<Value>>;

/// An event of a watch, unless it is about another kind of record or the filter leaves it out.
///
/// # Errors
/// Fails when the bytes are no event of ours.
pub fn watched(
    watched: Watched,
    fields: &[Field],
    field_of: FieldOf,
    filter: Option<&Expression>,
) -> Result<Option<wire::DirectoryEventEntry>, Problem> {
    let entry = entry(watched.entry, watched.cursor)?;
    let Some(record) = entry.event.as_ref().and_then(|event| event.record.as_ref()) else { return Ok(None) };
    if field_of(record, "").is_none() {
        return Ok(None);
    }
    let matches = match filter {
        Some(filter) => filter.matches(fields, &|field| field_of(record, field).flatten()).map_err(invalid_filter)?,
        None => true,
    };
    Ok(matches.then_some(entry))
}

fn word(name: &str, prefix: &str) -> Option<Value> {
    Some(Value::Text(name.trim_start_matches(prefix).to_owned()))
}

fn id(text: &str) -> Option<Value> {
    text.parse().ok().map(Value::Uuid)
}

/// A field of a person, as far as an event has it.
#[must_use]
pub fn person_field(record: &Record, field: &str) -> Option<Option<Value>> {
    let Record::Person(person) = record else { return None };
    Some(match field {
        "state" => word(person.state().as_str_name(), "PERSON_STATE_"),
        "kind" => word(person.kind().as_str_name(), "PERSON_KIND_"),
        "administrator" => Some(Value::Boolean(person.administrator)),
        _ => None,
    })
}

/// A field of a team.
#[must_use]
pub fn team_field(record: &Record, field: &str) -> Option<Option<Value>> {
    let Record::Team(team) = record else { return None };
    Some(match field {
        "state" => word(team.state().as_str_name(), "TEAM_STATE_"),
        "name" => Some(Value::Text(team.name.clone())),
        _ => None,
    })
}

/// A field of a membership.
#[must_use]
pub fn membership_field(record: &Record, field: &str) -> Option<Option<Value>> {
    let Record::Membership(membership) = record else { return None };
    Some(match field {
        "team_id" => id(&membership.team_id),
        "person_id" => id(&membership.person_id),
        "state" => word(membership.state().as_str_name(), "MEMBERSHIP_STATE_"),
        "role" => word(membership.role().as_str_name(), "ROLE_"),
        _ => None,
    })
}

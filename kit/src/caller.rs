//! Who calls and what they may: read from the signed token, checked against the record.

use std::sync::Arc;

use proto::common::v1::{Actor, ActorKind, Role};
use sha2::{Digest, Sha256};
use tonic::Request;

use crate::{
    id::{PersonId, TeamId, Tenant},
    problem::Problem,
};

/// Who calls.
#[derive(Debug, Clone, PartialEq)]
pub enum Caller {
    /// A person or service account of a tenant.
    Person(Arc<Person>),
    /// Another service of the product, by name.
    Service(String),
}

/// A person or service account, as the token says.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// The tenant.
    pub tenant: Tenant,
    /// The person.
    pub id: PersonId,
    /// Whether the person administers the tenant.
    pub administrator: bool,
    /// The roles held, by team.
    pub teams: Vec<(TeamId, Role)>,
    /// What the credential is limited to; empty means nothing.
    pub scopes: Vec<String>,
    /// The API key that was used.
    pub key_id: String,
}

impl Person {
    /// Whether the person holds at least this role in some team.
    #[must_use]
    pub fn holds(&self, role: Role) -> bool {
        match role {
            Role::Unspecified | Role::Service => false,
            Role::Viewer => true,
            Role::Administrator => self.administrator,
            Role::Responder | Role::Manager => {
                self.administrator || self.teams.iter().any(|(_, held)| *held as i32 >= role as i32)
            }
        }
    }

    /// Demands at least this role in one of the teams that a record belongs to; a record without a
    /// team belongs to all.
    ///
    /// # Errors
    /// [`Problem::Denied`], naming the role.
    pub fn require(&self, role: Role, teams: &[TeamId]) -> Result<(), Problem> {
        let held = if teams.is_empty() {
            self.holds(role)
        } else {
            self.administrator
                || self.teams.iter().any(|(team, held)| teams.contains(team) && *held as i32 >= role as i32)
        };
        if held {
            return Ok(());
        }
        let name = role.as_str_name().trim_start_matches("ROLE_").to_lowercase();
        Err(Problem::Denied(format!("this needs the role {name} in a team that the record belongs to")))
    }

    /// Whether the credential's scopes include a permission: `incident.*`, `*.read`, `*`.
    #[must_use]
    pub fn in_scope(&self, permission: &str) -> bool {
        let (service, verb) = permission.split_once('.').unwrap_or((permission, ""));
        self.scopes.is_empty()
            || self.scopes.iter().any(|scope| {
                let (s, v) = scope.split_once('.').unwrap_or((scope, "*"));
                (s == "*" || s == service) && (v == "*" || v == verb)
            })
    }
}

/// One call: who, which method, under which request id, in which trace.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who calls.
    pub person: Arc<Person>,
    /// The method, as `Service/Method`.
    pub method: &'static str,
    /// The key under which the answer is kept, if the caller gave one.
    pub request: Option<RequestKey>,
    /// The id of this call in logs.
    pub call_id: String,
    /// W3C trace context.
    pub trace_parent: String,
}

/// A caller's key for a request, and what the request was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// The key.
    pub id: String,
    /// SHA-256 of the request without its key.
    pub digest: [u8; 32],
}

/// A header as text.
pub fn header<'a, T>(request: &'a Request<T>, name: &str) -> Option<&'a str> {
    request.metadata().get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
}

impl Call {
    /// Reads the call out of a request that passed [`crate::access`].
    ///
    /// # Errors
    /// [`Problem::Denied`] when a service calls what people call; invalid when the key is too long.
    pub fn of<T: prost::Message + Clone>(
        method: &'static str,
        request: &Request<T>,
        without_key: impl FnOnce(&mut T) -> String,
    ) -> Result<Self, Problem> {
        let Some(Caller::Person(person)) = request.extensions().get::<Caller>() else {
            return Err(Problem::Denied("this is for people and service accounts".to_owned()));
        };
        let mut message = request.get_ref().clone();
        let given = without_key(&mut message);
        let id =
            if given.is_empty() { header(request, "idempotency-key").unwrap_or_default().to_owned() } else { given };
        if id.len() > 200 {
            return Err(Problem::invalid("request_id", "must have at most 200 bytes"));
        }
        let request_key =
            (!id.is_empty()).then(|| RequestKey { id, digest: Sha256::digest(message.encode_to_vec()).into() });
        Ok(Self {
            person: Arc::clone(person),
            method,
            request: request_key,
            call_id: header(request, "x-request-id").unwrap_or_default().to_owned(),
            trace_parent: header(request, "traceparent").unwrap_or_default().to_owned(),
        })
    }

    /// The tenant.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.person.tenant
    }

    /// The caller as the actor of an event.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor {
            kind: ActorKind::Person.into(),
            id: self.person.id.to_string(),
            rule: String::new(),
            cause_event_id: String::new(),
        }
    }
}

/// The service as the actor of an event, by a rule, because of an event if there was one.
#[must_use]
pub fn system(service: &str, rule: &str, cause_event_id: Option<uuid::Uuid>) -> Actor {
    Actor {
        kind: ActorKind::System.into(),
        id: service.to_owned(),
        rule: rule.to_owned(),
        cause_event_id: cause_event_id.map(|id| id.to_string()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(administrator: bool, teams: Vec<(TeamId, Role)>, scopes: &[&str]) -> Person {
        Person {
            tenant: Tenant { id: crate::id::draw().into(), slug: "default".to_owned() },
            id: PersonId::draw(),
            administrator,
            teams,
            scopes: scopes.iter().map(|&s| s.to_owned()).collect(),
            key_id: String::new(),
        }
    }

    #[test]
    fn a_role_counts_only_in_a_team_of_the_record() {
        let (mine, other) = (TeamId::draw(), TeamId::draw());
        let responder = person(false, vec![(mine, Role::Responder)], &[]);
        assert!(responder.require(Role::Responder, &[mine, other]).is_ok());
        assert!(responder.require(Role::Responder, &[other]).is_err());
        assert!(responder.require(Role::Manager, &[mine]).is_err());
        assert!(responder.require(Role::Responder, &[]).is_ok());
        assert!(person(true, vec![], &[]).require(Role::Manager, &[other]).is_ok());
        assert!(person(false, vec![], &[]).require(Role::Responder, &[]).is_err());
    }

    #[test]
    fn scopes_limit_and_never_add() {
        assert!(person(false, vec![], &[]).in_scope("incident.write"));
        assert!(person(false, vec![], &["incident.*"]).in_scope("incident.write"));
        assert!(!person(false, vec![], &["incident.*"]).in_scope("change.write"));
        assert!(person(false, vec![], &["*.read"]).in_scope("change.read"));
        assert!(!person(false, vec![], &["*.read"]).in_scope("change.write"));
    }
}

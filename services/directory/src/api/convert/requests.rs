//! What callers want, as commands.

use kit::{
    id::{PersonId, TeamId, TenantId},
    problem::Problem,
};
use prost_types::FieldMask;
use proto::{common::v1::Role, directory::v1 as wire};

use super::{email, id, limited, line, optional_id, paths, slug, time_zone, update_target};
use crate::{
    app::{
        Target,
        api_keys::CreateKey,
        memberships::CreateMembership,
        people::CreatePerson,
        provision::{FirstTeam, Provision},
        teams::CreateTeam,
    },
    domain::{MembershipId, PersonKind, PersonUpdate, Private, Scope, TeamRole, TeamUpdate},
};

/// How many scopes a key may have.
const SCOPES_AT_MOST: usize = 50;

fn given<T>(field: &str, message: Option<T>) -> Result<T, Problem> {
    message.ok_or_else(|| Problem::invalid(field, "must be given"))
}

/// A change of a tenant.
///
/// # Errors
/// Invalid fields, a missing revision, or a mask that names what cannot change.
pub fn update_tenant(
    tenant: Option<wire::Tenant>,
    mask: Option<FieldMask>,
) -> Result<(Target<TenantId>, Option<String>), Problem> {
    let tenant = given("tenant", tenant)?;
    let target = update_target("tenant", &tenant.id, tenant.revision)?;
    paths(mask, &["display_name"])?;
    Ok((target, Some(line("tenant.display_name", tenant.display_name, 1, 200)?)))
}

/// A new person.
///
/// # Errors
/// Invalid fields.
pub fn create_person(person: Option<wire::Person>) -> Result<CreatePerson, Problem> {
    let person = given("person", person)?;
    let kind = match person.kind() {
        wire::PersonKind::Unspecified => Err(Problem::invalid("person.kind", "must be one of HUMAN, SERVICE_ACCOUNT")),
        wire::PersonKind::Human => Ok(PersonKind::Human),
        wire::PersonKind::ServiceAccount => Ok(PersonKind::ServiceAccount),
    }?;
    Ok(CreatePerson {
        kind,
        display_name: Private::new(line("person.display_name", person.display_name, 1, 200)?),
        email: Private::new(email("person.email", person.email)?),
        time_zone: time_zone("person.time_zone", person.time_zone)?,
        administrator: person.administrator,
    })
}

/// A change of a person.
///
/// # Errors
/// Invalid fields, a missing revision, or a mask that names what cannot change.
pub fn update_person(
    person: Option<wire::Person>,
    mask: Option<FieldMask>,
) -> Result<(Target<PersonId>, PersonUpdate), Problem> {
    let person = given("person", person)?;
    let target = update_target("person", &person.id, person.revision)?;
    let mut update = PersonUpdate::default();
    for path in paths(mask, &["display_name", "email", "time_zone", "administrator"])? {
        match path.as_str() {
            "display_name" => {
                let name = line("person.display_name", person.display_name.clone(), 1, 200)?;
                update.display_name = Some(Private::new(name));
            }
            "email" => update.email = Some(Private::new(email("person.email", person.email.clone())?)),
            "time_zone" => update.time_zone = Some(time_zone("person.time_zone", person.time_zone.clone())?),
            _ => update.administrator = Some(person.administrator),
        }
    }
    Ok((target, update))
}

/// A new team.
///
/// # Errors
/// Invalid fields.
pub fn create_team(team: Option<wire::Team>) -> Result<CreateTeam, Problem> {
    let team = given("team", team)?;
    Ok(CreateTeam {
        name: slug("team.name", team.name)?,
        display_name: line("team.display_name", team.display_name, 1, 200)?,
        description: limited("team.description", team.description, 0, 2_000)?,
    })
}

/// A change of a team.
///
/// # Errors
/// Invalid fields, a missing revision, or a mask that names what cannot change.
pub fn update_team(team: Option<wire::Team>, mask: Option<FieldMask>) -> Result<(Target<TeamId>, TeamUpdate), Problem> {
    let team = given("team", team)?;
    let target = update_target("team", &team.id, team.revision)?;
    let mut update = TeamUpdate::default();
    for path in paths(mask, &["display_name", "description"])? {
        match path.as_str() {
            "display_name" => {
                update.display_name = Some(line("team.display_name", team.display_name.clone(), 1, 200)?);
            }
            _ => update.description = Some(limited("team.description", team.description.clone(), 0, 2_000)?),
        }
    }
    Ok((target, update))
}

fn team_role(wanted: Role) -> Result<TeamRole, Problem> {
    match wanted {
        Role::Viewer => Ok(TeamRole::Viewer),
        Role::Responder => Ok(TeamRole::Responder),
        Role::Manager => Ok(TeamRole::Manager),
        Role::Unspecified | Role::Administrator | Role::Service => {
            Err(Problem::invalid("membership.role", "must be one of VIEWER, RESPONDER, MANAGER"))
        }
    }
}

/// A new membership.
///
/// # Errors
/// Invalid fields.
pub fn create_membership(membership: Option<wire::Membership>) -> Result<CreateMembership, Problem> {
    let membership = given("membership", membership)?;
    Ok(CreateMembership {
        team_id: id("membership.team_id", &membership.team_id)?,
        person_id: id("membership.person_id", &membership.person_id)?,
        role: team_role(membership.role())?,
    })
}

/// A change of a membership.
///
/// # Errors
/// Invalid fields, a missing revision, or a mask that names what cannot change.
pub fn update_membership(
    membership: Option<wire::Membership>,
    mask: Option<FieldMask>,
) -> Result<(Target<MembershipId>, Option<TeamRole>), Problem> {
    let membership = given("membership", membership)?;
    let target = update_target("membership", &membership.id, membership.revision)?;
    paths(mask, &["role"])?;
    Ok((target, Some(team_role(membership.role())?)))
}

/// A new key.
///
/// # Errors
/// Invalid fields.
pub fn create_key(key: Option<wire::ApiKey>) -> Result<CreateKey, Problem> {
    let key = given("api_key", key)?;
    if key.scopes.len() > SCOPES_AT_MOST {
        return Err(Problem::invalid("api_key.scopes", format!("must be at most {SCOPES_AT_MOST}")));
    }
    let scope = |(index, text): (usize, &String)| {
        text.parse::<Scope>().map_err(|no| Problem::invalid(format!("api_key.scopes[{index}]"), no.to_string()))
    };
    let expires_at = match key.expire_time {
        Some(at) => Some(kit::bus::time(&at).ok_or_else(|| Problem::invalid("api_key.expire_time", "is no time"))?),
        None => None,
    };
    Ok(CreateKey {
        person_id: optional_id("api_key.person_id", &key.person_id)?,
        display_name: line("api_key.display_name", key.display_name, 1, 200)?,
        scopes: key.scopes.iter().enumerate().map(scope).collect::<Result<_, _>>()?,
        expires_at,
    })
}

/// A tenant to be, with its first administrator.
///
/// # Errors
/// Invalid texts.
pub fn provision(
    tenant: &str,
    display_name: &str,
    administrator_name: &str,
    administrator_email: &str,
    team: Option<(&str, &str)>,
) -> Result<Provision, Problem> {
    let team = match team {
        Some((name, display_name)) => Some(FirstTeam {
            name: slug("team.name", name.to_owned())?,
            display_name: line("team.display_name", display_name.to_owned(), 1, 200)?,
        }),
        None => None,
    };
    Ok(Provision {
        slug: slug("tenant.slug", tenant.to_owned())?,
        display_name: line("tenant.display_name", display_name.to_owned(), 1, 200)?,
        administrator_name: Private::new(line("person.display_name", administrator_name.to_owned(), 1, 200)?),
        administrator_email: Private::new(email("person.email", administrator_email.to_owned())?),
        team,
    })
}

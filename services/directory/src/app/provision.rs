//! The first tenant and its first administrator: what must be there before anybody can sign in.
//! Needs the database alone, so that it works where no service runs yet.

use chrono::{DateTime, Utc};
use kit::{
    caller::system,
    clock::Clock,
    config::Secret,
    db::{Database, Transaction, uncancelled},
    id::{PersonId, TeamId, Tenant as TenantName, TenantId},
    journal::Cause,
    problem::Problem,
};

use super::{App, Error, credential::Credential, people::CreatePerson, teams::CreateTeam};
use crate::{
    api::convert::requests,
    domain::{
        ApiKey, Membership, MembershipId, NewApiKey, NewMembership, NewTenant, Person, PersonKind, Private, Team,
        TeamRole, Tenant, api_key::KeyLimit,
    },
    store::{self, people, tenants},
};

/// A tenant to be.
#[derive(Debug, Clone)]
pub struct Provision {
    /// The name in subjects.
    pub slug: String,
    /// The name people read.
    pub display_name: String,
    /// The name of the first administrator.
    pub administrator_name: Private,
    /// The mail address of the first administrator; empty when there is none.
    pub administrator_email: Private,
    /// A first team, which the administrator manages.
    pub team: Option<FirstTeam>,
}

/// A first team.
#[derive(Debug, Clone)]
pub struct FirstTeam {
    /// The short name.
    pub name: String,
    /// The name people read.
    pub display_name: String,
}

/// What there is afterwards.
#[derive(Debug, Clone)]
pub struct Provisioned {
    /// The tenant.
    pub tenant: TenantName,
    /// What was made; none when an administrator was there already, and nothing was done.
    pub made: Option<Made>,
}

/// What was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// The first administrator.
    pub administrator: PersonId,
    /// The administrator's API key, shown this once.
    pub api_key: Secret,
    /// The first team, if one was wanted.
    pub team: Option<TeamId>,
}

/// Makes a tenant with its first administrator, the administrator's key and a first team
/// (name and display name), in one transaction. Does nothing where the tenant has an
/// administrator.
///
/// The key may be drawn by the caller, with [`Credential::draw`], who can so write it down before
/// it works: nothing is lost when the process dies in between.
///
/// # Errors
/// Invalid texts, or the database is away.
pub async fn provision_tenant(
    database: &Database,
    clock: &dyn Clock,
    slug: &str,
    display_name: &str,
    administrator: (&str, &str),
    team: Option<(&str, &str)>,
    credential: Option<Credential>,
) -> Result<Provisioned, Error> {
    let wanted = requests::provision(slug, display_name, administrator.0, administrator.1, team)?;
    let credential = match credential {
        Some(credential) => credential,
        None => Credential::draw()?,
    };
    let now = clock.now();
    let (first, second) = (database.clone(), database.clone());
    let (wanted_again, credential_again) = (wanted.clone(), credential.clone());
    match uncancelled(provision(first, wanted, credential, now)).await {
        // Somebody else made it at the same time; so it is there now.
        Err(Error::Problem(Problem::Exists { .. })) => {
            uncancelled(provision(second, wanted_again, credential_again, now)).await
        }
        outcome => outcome,
    }
}

impl App {
    /// As [`provision_tenant`].
    ///
    /// # Errors
    /// Invalid texts, or the database is away.
    pub async fn provision_tenant(
        &self,
        slug: &str,
        display_name: &str,
        administrator: (&str, &str),
        team: Option<(&str, &str)>,
    ) -> Result<Provisioned, Error> {
        let outcome =
            provision_tenant(&self.database, self.clock.as_ref(), slug, display_name, administrator, team, None).await;
        self.relay.wake();
        outcome
    }
}

async fn provision(
    database: Database,
    wanted: Provision,
    credential: Credential,
    now: DateTime<Utc>,
) -> Result<Provisioned, Error> {
    let existing = tenants::by_slug(&database, &wanted.slug).await?;
    let name =
        TenantName { id: existing.as_ref().map_or_else(TenantId::draw, |tenant| tenant.id), slug: wanted.slug.clone() };
    let mut tx = database.begin(name.id).await?;
    let cause = Cause {
        tenant: name.clone(),
        actor: system(store::SCHEMA, "provision", None),
        at: now,
        call: None,
        trace_parent: String::new(),
    };
    if existing.is_none() {
        let new = NewTenant { id: name.id, slug: wanted.slug.clone(), display_name: wanted.display_name.clone() };
        store::commit(&mut tx, Tenant::create(new, now), &cause).await?;
    }
    tenants::lock(&mut tx, name.id).await?;
    if people::count_administrators(&mut tx).await? > 0 {
        tx.rollback().await?;
        return Ok(Provisioned { tenant: name, made: None });
    }
    let made = first_administrator(&mut tx, wanted, &credential, &cause).await?;
    tx.commit().await?;
    Ok(Provisioned { tenant: name, made: Some(made) })
}

async fn first_administrator(
    tx: &mut Transaction,
    wanted: Provision,
    credential: &Credential,
    cause: &Cause,
) -> Result<Made, Error> {
    let person = CreatePerson {
        kind: PersonKind::Human,
        display_name: wanted.administrator_name,
        email: wanted.administrator_email,
        time_zone: String::new(),
        administrator: true,
    };
    let person = store::commit(tx, Person::create(person.with_new_id(), cause.at)?, cause).await?;
    let team = match wanted.team {
        Some(FirstTeam { name, display_name }) => {
            let team = CreateTeam { name, display_name, description: String::new() };
            let team = store::commit(tx, Team::create(team.with_new_id(), cause.at), cause).await?;
            let new = NewMembership { id: MembershipId::draw(), role: TeamRole::Manager };
            store::commit(tx, Membership::start(new, &team, &person, cause.at)?, cause).await?;
            Some(team.id)
        }
        None => None,
    };
    let key = NewApiKey {
        id: credential.id(),
        display_name: "first administrator".to_owned(),
        scopes: Vec::new(),
        hint: credential.hint(),
        expires_at: None,
        digest: credential.digest(),
    };
    let limit = KeyLimit { active: 0, most: 1 };
    store::commit(tx, ApiKey::create(key, &person, limit, &[], cause.at)?, cause).await?;
    Ok(Made { administrator: person.id, api_key: credential.text(), team })
}

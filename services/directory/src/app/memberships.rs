//! What managers of a team, and administrators, can do to its memberships.

use futures::FutureExt;
use kit::{
    caller::Call,
    id::{PersonId, TeamId},
    problem::Problem,
};
use proto::common::v1::Role;

use super::{Answer, App, Error, Target, Work};
use crate::{
    domain::{Membership, MembershipId, NewMembership, Person, Team, TeamRole},
    store::{self, Stored},
};

/// What a caller says of a new membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreateMembership {
    /// The team.
    pub team_id: TeamId,
    /// The person.
    pub person_id: PersonId,
    /// What the person may do there.
    pub role: TeamRole,
}

impl App {
    /// A person joins a team.
    ///
    /// # Errors
    /// Not the team's manager, an unknown team or person, a member already, or as the domain
    /// refuses.
    pub async fn create_membership(&self, call: Call, create: CreateMembership) -> Answer<Membership> {
        self.command(call, move |work| {
            async move {
                let tx = &mut work.tx;
                let team = Team::find_for_update(tx, create.team_id.0).await?;
                let team = team.ok_or_else(|| unknown("membership.team_id", "team", create.team_id.0))?;
                work.call.person.require(Role::Manager, &[team.id])?;
                let person = Person::find_for_update(tx, create.person_id.0).await?;
                let person = person.ok_or_else(|| unknown("membership.person_id", "person", create.person_id.0))?;
                let new = NewMembership { id: MembershipId::draw(), role: create.role };
                let decision = Membership::start(new, &team, &person, work.now)?;
                Ok(store::commit(tx, decision, &work.cause).await?)
            }
            .boxed()
        })
        .await
    }

    /// Changes the role.
    ///
    /// # Errors
    /// Not the team's manager, not found, stale, or ended.
    pub async fn update_membership(
        &self,
        call: Call,
        target: Target<MembershipId>,
        role: Option<TeamRole>,
    ) -> Answer<Membership> {
        self.command(call, move |work| {
            async move {
                let membership = managed(work, target).await?;
                let decision = membership.update(role, work.now)?;
                Ok(store::commit(&mut work.tx, decision, &work.cause).await?)
            }
            .boxed()
        })
        .await
    }

    /// Ends a membership.
    ///
    /// # Errors
    /// Not the team's manager, not found, or stale.
    pub async fn end_membership(&self, call: Call, target: Target<MembershipId>) -> Answer<Membership> {
        self.command(call, move |work| {
            async move {
                let membership = managed(work, target).await?;
                let decision = membership.end(work.now);
                Ok(store::commit(&mut work.tx, decision, &work.cause).await?)
            }
            .boxed()
        })
        .await
    }
}

/// Loads a membership for a change by a manager of its team.
async fn managed(work: &mut Work, target: Target<MembershipId>) -> Result<Membership, Error> {
    let found = Membership::find_for_update(&mut work.tx, target.id.0).await?;
    if let Some(membership) = &found {
        work.call.person.require(Role::Manager, &[membership.team_id])?;
    }
    Ok(target.check(found)?)
}

fn unknown(field: &'static str, kind: &str, id: uuid::Uuid) -> Problem {
    Problem::invalid(field, format!("there is no {kind} {id}"))
}

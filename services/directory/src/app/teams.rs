//! What administrators can do to teams.

use futures::FutureExt;
use kit::{caller::Call, id::TeamId};

use super::{Answer, App, Target};
use crate::{
    domain::{NewTeam, Team, TeamUpdate},
    store::{self, Consequence, memberships},
};

/// What a caller says of a new team.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateTeam {
    /// The short name.
    pub name: String,
    /// The name people read.
    pub display_name: String,
    /// What the team does.
    pub description: String,
}

impl CreateTeam {
    pub(super) fn with_new_id(self) -> NewTeam {
        NewTeam { id: TeamId::draw(), name: self.name, display_name: self.display_name, description: self.description }
    }
}

impl App {
    /// Creates a team.
    ///
    /// # Errors
    /// The name is taken, or the database is away.
    pub async fn create_team(&self, call: Call, create: CreateTeam) -> Answer<Team> {
        self.command(call, move |work| {
            async move {
                let decision = Team::create(create.with_new_id(), work.now);
                Ok(store::commit(&mut work.tx, decision, &work.cause).await?)
            }
            .boxed()
        })
        .await
    }

    /// Changes fields.
    ///
    /// # Errors
    /// Not found, stale, or retired.
    pub async fn update_team(&self, call: Call, target: Target<TeamId>, update: TeamUpdate) -> Answer<Team> {
        self.command(call, move |work| {
            async move {
                let team: Team = target.load(&mut work.tx).await?;
                let decision = team.update(update, work.now)?;
                Ok(store::commit(&mut work.tx, decision, &work.cause).await?)
            }
            .boxed()
        })
        .await
    }

    /// Dissolves a team, with its memberships.
    ///
    /// # Errors
    /// Not found, or stale.
    pub async fn retire_team(&self, call: Call, target: Target<TeamId>) -> Answer<Team> {
        self.command(call, move |work| {
            async move {
                let (tx, now) = (&mut work.tx, work.now);
                let team: Team = target.load(tx).await?;
                let decision = team.retire(now);
                let mut consequences = Vec::new();
                if !decision.is_unchanged() {
                    let memberships = memberships::active_for_update(tx, None, Some(team.id)).await?;
                    consequences.extend(memberships.iter().map(|one| Consequence::Membership(one.end(now))));
                }
                Ok(store::commit_with(tx, decision, consequences, &work.cause).await?)
            }
            .boxed()
        })
        .await
    }
}

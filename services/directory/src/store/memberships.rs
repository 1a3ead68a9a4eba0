//! Memberships: found, listed, and those that end with a person or a team.

use chrono::{DateTime, Utc};
use kit::{
    db::Transaction,
    decide::Step,
    filter::{Expression, Field, Kind},
    id::{PersonId, TeamId, TenantId},
    journal::Entry,
    problem::Problem,
};
use proto::common::v1::Actor;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::{Listed, Stored, inconsistent, page};
use crate::{
    domain::{Membership, MembershipState, MembershipWhat, TeamRole},
    events::publish,
};

/// What people filter by.
pub const FIELDS: &[Field] = &[
    Field { name: "team_id", column: "team_id", kind: Kind::Uuid },
    Field { name: "person_id", column: "person_id", kind: Kind::Uuid },
    Field { name: "state", column: "state", kind: Kind::Enum(&[("ACTIVE", "ACTIVE"), ("ENDED", "ENDED")]) },
    Field { name: "role", column: "role", kind: Kind::Ranked(&[("VIEWER", 1), ("RESPONDER", 2), ("MANAGER", 3)]) },
];

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    revision: i64,
    team_id: Uuid,
    person_id: Uuid,
    role: i16,
    state: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Membership {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let wrong = |column| inconsistent("memberships", row.id, column);
        Ok(Self {
            role: TeamRole::of_number(row.role).ok_or_else(|| wrong("role"))?,
            state: MembershipState::of(&row.state).ok_or_else(|| wrong("state"))?,
            id: row.id.into(),
            revision: row.revision,
            team_id: row.team_id.into(),
            person_id: row.person_id.into(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Finds memberships, in order of id.
///
/// # Errors
/// Fails when the database is away.
pub async fn by_ids(tx: &mut Transaction, ids: &[Uuid]) -> Result<Vec<Membership>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "select id, revision, team_id, person_id, role, state, created_at, updated_at
         from directory.memberships where id = any ($1) order by id",
        ids
    )
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Membership::try_from).collect()
}

/// The active memberships of a person or of a team, locked until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn active_for_update(
    tx: &mut Transaction,
    person_id: Option<PersonId>,
    team_id: Option<TeamId>,
) -> Result<Vec<Membership>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "select id, revision, team_id, person_id, role, state, created_at, updated_at
         from directory.memberships where (person_id = $1 or team_id = $2) and state = 'ACTIVE' order by id for update",
        person_id.map(|id| id.0),
        team_id.map(|id| id.0),
    )
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Membership::try_from).collect()
}

impl Stored for Membership {
    const KIND: &'static str = "membership";

    async fn find(tx: &mut Transaction, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        Ok(by_ids(tx, &[id]).await?.pop())
    }

    async fn find_for_update(tx: &mut Transaction, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        sqlx::query!("select id from directory.memberships where id = $1 for update", id)
            .fetch_optional(tx.connection())
            .await?;
        Self::find(tx, id).await
    }

    async fn save(
        &self,
        tx: &mut Transaction,
        tenant: TenantId,
        _steps: &[Step<Self, MembershipWhat>],
    ) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "insert into directory.memberships as m (id, tenant_id, revision, team_id, person_id, role, state, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             on conflict (id) do update set revision = $3, role = $6, state = $7, updated_at = $9
             where m.revision < $3",
            self.id.0,
            tenant.0,
            self.revision,
            self.team_id.0,
            self.person_id.0,
            self.role.number(),
            self.state.name(),
            self.created_at,
            self.updated_at,
        )
        .execute(tx.connection())
        .await?;
        Ok(())
    }

    fn entry(step: &Step<Self, MembershipWhat>, actor: &Actor) -> Entry {
        publish::membership(&step.record, step.what, actor)
    }
}

impl Listed for Membership {
    const FIELDS: &'static [Field] = FIELDS;

    async fn list(
        tx: &mut Transaction,
        filter: Option<&Expression>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Self>, Problem> {
        let query = QueryBuilder::new("select * from directory.memberships where true");
        let rows: Vec<Row> = page(tx, query, FIELDS, filter, after, limit).await?;
        Ok(rows.into_iter().map(Membership::try_from).collect::<Result<_, _>>()?)
    }
}

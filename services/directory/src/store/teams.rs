//! Teams: found and listed.

use chrono::{DateTime, Utc};
use kit::{
    db::Transaction,
    decide::Step,
    filter::{Expression, Field, Kind},
    id::TenantId,
    journal::Entry,
    problem::Problem,
};
use proto::common::v1::Actor;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::{Listed, Stored, inconsistent, page};
use crate::{
    domain::{Team, TeamState, TeamWhat},
    events::publish,
};

/// What people filter by.
pub const FIELDS: &[Field] = &[
    Field { name: "state", column: "state", kind: Kind::Enum(&[("ACTIVE", "ACTIVE"), ("RETIRED", "RETIRED")]) },
    Field { name: "name", column: "name", kind: Kind::Text },
];

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    revision: i64,
    name: String,
    display_name: String,
    description: String,
    state: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Team {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            state: TeamState::of(&row.state).ok_or_else(|| inconsistent("teams", row.id, "state"))?,
            id: row.id.into(),
            revision: row.revision,
            name: row.name,
            display_name: row.display_name,
            description: row.description,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Finds teams, in order of id.
///
/// # Errors
/// Fails when the database is away.
pub async fn by_ids(tx: &mut Transaction, ids: &[Uuid]) -> Result<Vec<Team>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "select id, revision, name, display_name, description, state, created_at, updated_at
         from directory.teams where id = any ($1) order by id",
        ids
    )
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Team::try_from).collect()
}

impl Stored for Team {
    const KIND: &'static str = "team";

    async fn find(tx: &mut Transaction, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        Ok(by_ids(tx, &[id]).await?.pop())
    }

    async fn find_for_update(tx: &mut Transaction, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        sqlx::query!("select id from directory.teams where id = $1 for update", id)
            .fetch_optional(tx.connection())
            .await?;
        Self::find(tx, id).await
    }

    async fn save(
        &self,
        tx: &mut Transaction,
        tenant: TenantId,
        _steps: &[Step<Self, TeamWhat>],
    ) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "insert into directory.teams as t (id, tenant_id, revision, name, display_name, description, state, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             on conflict (id) do update set revision = $3, display_name = $5, description = $6, state = $7, updated_at = $9
             where t.revision < $3",
            self.id.0,
            tenant.0,
            self.revision,
            self.name,
            self.display_name,
            self.description,
            self.state.name(),
            self.created_at,
            self.updated_at,
        )
        .execute(tx.connection())
        .await?;
        Ok(())
    }

    fn entry(step: &Step<Self, TeamWhat>, actor: &Actor) -> Entry {
        publish::team(&step.record, step.what, actor)
    }
}

impl Listed for Team {
    const FIELDS: &'static [Field] = FIELDS;

    async fn list(
        tx: &mut Transaction,
        filter: Option<&Expression>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Self>, Problem> {
        let query = QueryBuilder::new("select * from directory.teams where true");
        let rows: Vec<Row> = page(tx, query, FIELDS, filter, after, limit).await?;
        Ok(rows.into_iter().map(Team::try_from).collect::<Result<_, _>>()?)
    }
}

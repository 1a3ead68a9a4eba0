//! People: found and listed. The only place that knows the columns with names and addresses.

use chrono::{DateTime, Utc};
use kit::{
    db::Transaction,
    decide::Step,
    filter::{Expression, Field, Kind},
    id::{PersonId, TenantId},
    journal::Entry,
    problem::Problem,
};
use proto::common::v1::Actor;
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::{Listed, Stored, inconsistent, page};
use crate::{
    domain::{Person, PersonKind, PersonState, PersonWhat, Private},
    events::publish,
};

/// What people filter people by.
pub const FIELDS: &[Field] = &[STATE, KIND, ADMINISTRATOR, Field { name: "email", column: "email", kind: Kind::Text }];
/// What people filter events of people by: an event has no address.
pub const WATCH_FIELDS: &[Field] = &[STATE, KIND, ADMINISTRATOR];

const STATE: Field = Field { name: "state", column: "state", kind: Kind::Enum(STATES) };
const KIND: Field = Field { name: "kind", column: "kind", kind: Kind::Enum(KINDS) };
const ADMINISTRATOR: Field = Field { name: "administrator", column: "administrator", kind: Kind::Boolean };
const STATES: &[(&str, &str)] = &[("ACTIVE", "ACTIVE"), ("DEACTIVATED", "DEACTIVATED")];
const KINDS: &[(&str, &str)] = &[("HUMAN", "HUMAN"), ("SERVICE_ACCOUNT", "SERVICE_ACCOUNT")];

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    revision: i64,
    kind: String,
    display_name: String,
    email: String,
    time_zone: String,
    administrator: bool,
    state: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Person {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let wrong = |column| inconsistent("people", row.id, column);
        Ok(Self {
            kind: PersonKind::of(&row.kind).ok_or_else(|| wrong("kind"))?,
            state: PersonState::of(&row.state).ok_or_else(|| wrong("state"))?,
            id: row.id.into(),
            revision: row.revision,
            display_name: Private::new(row.display_name),
            email: Private::new(row.email),
            time_zone: row.time_zone,
            administrator: row.administrator,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Finds people, in order of id.
///
/// # Errors
/// Fails when the database is away.
pub async fn by_ids(tx: &mut Transaction, ids: &[Uuid]) -> Result<Vec<Person>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "select id, revision, kind, display_name, email, time_zone, administrator, state, created_at, updated_at
         from directory.people where id = any ($1) order by id",
        ids
    )
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Person::try_from).collect()
}

/// How many active administrators there are; the tenant is locked.
///
/// # Errors
/// Fails when the database is away.
pub async fn count_administrators(tx: &mut Transaction) -> Result<usize, sqlx::Error> {
    other_administrators(tx, PersonId(Uuid::nil())).await
}

/// How many active administrators there are besides this person; the tenant is locked.
///
/// # Errors
/// Fails when the database is away.
pub async fn other_administrators(tx: &mut Transaction, id: PersonId) -> Result<usize, sqlx::Error> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from directory.people where administrator and state = 'ACTIVE' and id <> $1"#,
        id.0
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

impl Stored for Person {
    const KIND: &'static str = "person";

    async fn find(tx: &mut Transaction, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        Ok(by_ids(tx, &[id]).await?.pop())
    }

    async fn find_for_update(tx: &mut Transaction, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        sqlx::query!("select id from directory.people where id = $1 for update", id)
            .fetch_optional(tx.connection())
            .await?;
        Self::find(tx, id).await
    }

    async fn save(
        &self,
        tx: &mut Transaction,
        tenant: TenantId,
        _steps: &[Step<Self, PersonWhat>],
    ) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "insert into directory.people as p (id, tenant_id, revision, kind, display_name, email, time_zone, administrator,
                state, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             on conflict (id) do update set revision = $3, display_name = $5, email = $6, time_zone = $7,
                administrator = $8, state = $9, updated_at = $11
             where p.revision < $3",
            self.id.0,
            tenant.0,
            self.revision,
            self.kind.name(),
            self.display_name.expose(),
            self.email.expose(),
            self.time_zone,
            self.administrator,
            self.state.name(),
            self.created_at,
            self.updated_at,
        )
        .execute(tx.connection())
        .await?;
        Ok(())
    }

    fn entry(step: &Step<Self, PersonWhat>, actor: &Actor) -> Entry {
        publish::person(&step.record, step.what, actor)
    }
}

impl Listed for Person {
    const FIELDS: &'static [Field] = FIELDS;

    async fn list(
        tx: &mut Transaction,
        filter: Option<&Expression>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Self>, Problem> {
        let query = QueryBuilder::new("select * from directory.people where true");
        let rows: Vec<Row> = page(tx, query, FIELDS, filter, after, limit).await?;
        Ok(rows.into_iter().map(Person::try_from).collect::<Result<_, _>>()?)
    }
}

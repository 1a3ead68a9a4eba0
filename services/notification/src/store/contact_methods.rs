//! Contact methods. The sealed secret is written once and read only to sign.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use kit::{
    db::Transaction,
    filter::{Expression, Field, Kind},
    id::{PersonId, Tenant, TenantId},
    journal::Entry,
    problem::Problem,
};
use proto::common::v1::Actor;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::{Stored, wrong};
use crate::{
    domain::{ContactMethod, ContactMethodId, ContactMethodWhat, Method, contact_method::State},
    events::publish,
};

/// What people filter by.
pub const FIELDS: &[Field] = &[
    Field { name: "person_id", column: "person_id", kind: Kind::Uuid },
    Field { name: "method", column: "method", kind: Kind::Enum(&[("MAIL", "MAIL"), ("WEBHOOK", "WEBHOOK")]) },
    Field { name: "state", column: "state", kind: Kind::Enum(&[("ACTIVE", "ACTIVE"), ("DISABLED", "DISABLED")]) },
];

#[derive(Debug, sqlx::FromRow)]
struct Row {
    id: Uuid,
    revision: i64,
    person_id: Uuid,
    method: String,
    display_name: String,
    address: String,
    state: String,
    state_reason: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for ContactMethod {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            method: Method::of(&row.method).ok_or_else(|| wrong(row.id, "method"))?,
            state: State::of(&row.state).ok_or_else(|| wrong(row.id, "state"))?,
            id: row.id.into(),
            revision: row.revision,
            person_id: row.person_id.into(),
            display_name: row.display_name,
            address: row.address,
            state_reason: row.state_reason,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Finds a contact method.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(tx: &mut Transaction, id: ContactMethodId) -> Result<Option<ContactMethod>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "select id, revision, person_id, method, display_name, address, state, state_reason, created_at, updated_at
         from notification.contact_methods where id = $1",
        id.0
    )
    .fetch_optional(tx.connection())
    .await?;
    row.map(ContactMethod::try_from).transpose()
}

/// As [`find`], asked once a transaction: for a sweep over many deliveries.
///
/// # Errors
/// Fails when the database is away.
pub async fn recall(tx: &mut Transaction, id: ContactMethodId) -> Result<Option<ContactMethod>, sqlx::Error> {
    if let Some(way) = tx.memo::<Recalled>().0.get(&id) {
        return Ok(way.clone());
    }
    let way = find(tx, id).await?;
    tx.memo::<Recalled>().0.insert(id, way.clone());
    Ok(way)
}

#[derive(Default)]
struct Recalled(HashMap<ContactMethodId, Option<ContactMethod>>);

/// Finds a contact method and locks it until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_for_update(tx: &mut Transaction, id: ContactMethodId) -> Result<Option<ContactMethod>, sqlx::Error> {
    sqlx::query!("select id from notification.contact_methods where id = $1 for update", id.0)
        .fetch_optional(tx.connection())
        .await?;
    find(tx, id).await
}

/// The usable ways of these people, oldest first.
///
/// # Errors
/// Fails when the database is away.
pub async fn usable(
    tx: &mut Transaction,
    tenant: TenantId,
    people: &[PersonId],
    methods: &[Method],
) -> Result<Vec<ContactMethod>, sqlx::Error> {
    let asked = (tenant, people.to_vec(), methods.to_vec());
    if let Some(ways) = tx.memo::<Usable>().0.get(&asked) {
        return Ok(ways.clone());
    }
    let people: Vec<Uuid> = people.iter().map(|person| person.0).collect();
    let methods: Vec<String> = methods.iter().map(|method| method.name().to_owned()).collect();
    let rows = sqlx::query_as!(
        Row,
        "select id, revision, person_id, method, display_name, address, state, state_reason, created_at, updated_at
         from notification.contact_methods
         where tenant_id = $1 and person_id = any ($2) and state = 'ACTIVE' and ($3::text[] = '{}' or method = any ($3)) order by id",
        tenant.0,
        &people,
        &methods
    )
    .fetch_all(tx.connection())
    .await?;
    let ways = rows.into_iter().map(ContactMethod::try_from).collect::<Result<Vec<_>, _>>()?;
    tx.memo::<Usable>().0.insert(asked, ways.clone());
    Ok(ways)
}

/// The ways that a batch of events asked for.
#[derive(Default)]
struct Usable(HashMap<(TenantId, Vec<PersonId>, Vec<Method>), Vec<ContactMethod>>);

/// Whether a person has a way of this kind, usable or not.
///
/// # Errors
/// Fails when the database is away.
pub async fn exists(
    tx: &mut Transaction,
    tenant: TenantId,
    person: PersonId,
    method: Method,
) -> Result<bool, sqlx::Error> {
    let found = sqlx::query_scalar!(
        r#"select exists (select from notification.contact_methods where tenant_id = $1 and person_id = $2 and method = $3) as "exists!""#,
        tenant.0,
        person.0,
        method.name()
    );
    found.fetch_one(tx.connection()).await
}

/// Keeps the sealed secret of a new webhook.
///
/// # Errors
/// Fails when the database is away.
pub async fn keep_secret(tx: &mut Transaction, id: ContactMethodId, sealed: &[u8]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update notification.contact_methods set sealed_secret = $2 where id = $1 and sealed_secret is null",
        id.0,
        sealed
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The sealed secret of a webhook.
///
/// # Errors
/// Fails when the database is away.
pub async fn secret(tx: &mut Transaction, id: ContactMethodId) -> Result<Option<Vec<u8>>, sqlx::Error> {
    let found = sqlx::query_scalar!("select sealed_secret from notification.contact_methods where id = $1", id.0);
    Ok(found.fetch_optional(tx.connection()).await?.flatten())
}

impl Stored for ContactMethod {
    type What = ContactMethodWhat;

    const KIND: &'static str = "contact method";
    const FIELDS: &'static [Field] = FIELDS;

    async fn find(tx: &mut Transaction, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        find(tx, id.into()).await
    }

    async fn find_for_update(tx: &mut Transaction, id: Uuid) -> Result<Option<Self>, sqlx::Error> {
        find_for_update(tx, id.into()).await
    }

    async fn list(
        tx: &mut Transaction,
        filter: Option<&Expression>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Self>, Problem> {
        let query = QueryBuilder::<Postgres>::new("select * from notification.contact_methods where true");
        let rows: Vec<Row> = super::page(tx, query, FIELDS, filter, after, limit).await?;
        Ok(rows.into_iter().map(ContactMethod::try_from).collect::<Result<_, _>>()?)
    }

    fn place(&self) -> (Uuid, i64) {
        (self.id.0, self.revision)
    }

    fn entry(&self, what: &ContactMethodWhat, actor: &Actor) -> Entry {
        publish::contact_method(self, *what, actor)
    }

    async fn save(&self, tx: &mut Transaction, tenant: &Tenant) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "insert into notification.contact_methods as c (id, tenant_id, revision, person_id, method, display_name, address, state,
                state_reason, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             on conflict (id) do update set revision = $3, display_name = $6, address = $7, state = $8, state_reason = $9, updated_at = $11
             where c.revision < $3",
            self.id.0,
            tenant.id.0,
            self.revision,
            self.person_id.0,
            self.method.name(),
            self.display_name,
            self.address,
            self.state.name(),
            self.state_reason,
            self.created_at,
            self.updated_at
        )
        .execute(tx.connection())
        .await?;
        Ok(())
    }
}

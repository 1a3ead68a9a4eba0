//! Agreements: found, listed, and committed with their events.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use kit::{
    db::Transaction,
    filter::{Field, Kind},
    id::{ServiceId, TenantId},
    journal::{self, Cause, Entry},
    problem::Problem,
};
use sqlx::{Postgres, QueryBuilder, types::Json};
use uuid::Uuid;

use super::{
    Page,
    row::{self, TargetColumn},
};
use crate::{
    domain::{Agreement, AgreementDecision, AgreementId, AgreementKind, AgreementState},
    events::publish,
};

/// What people filter by.
pub const FIELDS: &[Field] = &[
    Field { name: "state", column: "state", kind: Kind::Text },
    Field { name: "kind", column: "kind", kind: Kind::Text },
    Field { name: "service_id", column: "service_id", kind: Kind::Uuid },
];

#[derive(Debug, sqlx::FromRow)]
struct Row {
    id: Uuid,
    revision: i64,
    display_name: String,
    kind: String,
    service_id: Option<Uuid>,
    targets: Json<Vec<TargetColumn>>,
    state: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Agreement {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let wrong = row::wrong("agreements", row.id);
        let targets = row.targets.iter().map(TargetColumn::read).collect::<Option<Vec<_>>>();
        Ok(Self {
            kind: AgreementKind::of(&row.kind).ok_or_else(|| wrong("kind"))?,
            targets: targets.ok_or_else(|| wrong("targets"))?,
            state: AgreementState::of(&row.state).ok_or_else(|| wrong("state"))?,
            id: row.id.into(),
            revision: row.revision,
            display_name: row.display_name,
            service_id: row.service_id.map(Into::into),
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Finds an agreement.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(tx: &mut Transaction, id: AgreementId) -> Result<Option<Agreement>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select id, revision, display_name, kind, service_id, targets as "targets: Json<Vec<TargetColumn>>", state,
                  created_at, updated_at
           from sla.agreements where id = $1"#,
        id.0
    )
    .fetch_optional(tx.connection())
    .await?;
    row.map(Agreement::try_from).transpose()
}

/// Finds an agreement and locks it until the commit, with all others of its service and kind, in
/// order of id: of two that are activated at once one retires the other.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_for_update(tx: &mut Transaction, id: AgreementId) -> Result<Option<Agreement>, sqlx::Error> {
    sqlx::query!(
        "select a.id from sla.agreements a
         join sla.agreements b on b.id = $1 and a.kind = b.kind and a.service_id is not distinct from b.service_id
         order by a.id for update of a",
        id.0
    )
    .fetch_all(tx.connection())
    .await?;
    find(tx, id).await
}

/// The active agreements of a service and those that are the default, or of the default alone.
///
/// # Errors
/// Fails when the database is away.
pub async fn active_for(
    tx: &mut Transaction,
    tenant: TenantId,
    service: Option<ServiceId>,
) -> Result<Vec<Agreement>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select id, revision, display_name, kind, service_id, targets as "targets: Json<Vec<TargetColumn>>", state,
                  created_at, updated_at
           from sla.agreements where tenant_id = $1 and state = 'ACTIVE' and (service_id = $2 or service_id is null) order by id"#,
        tenant.0,
        service.map(|service| service.0)
    )
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter().map(Agreement::try_from).collect()
}

/// As [`active_for`], asked once a transaction: for a batch of events.
///
/// # Errors
/// Fails when the database is away.
pub async fn recall_active_for(
    tx: &mut Transaction,
    tenant: TenantId,
    service: Option<ServiceId>,
) -> Result<Vec<Agreement>, sqlx::Error> {
    if let Some(agreements) = tx.memo::<Recalled>().0.get(&(tenant, service)) {
        return Ok(agreements.clone());
    }
    let agreements = active_for(tx, tenant, service).await?;
    tx.memo::<Recalled>().0.insert((tenant, service), agreements.clone());
    Ok(agreements)
}

#[derive(Default)]
struct Recalled(HashMap<(TenantId, Option<ServiceId>), Vec<Agreement>>);

/// Whether there is any default agreement of a kind, active or not.
///
/// # Errors
/// Fails when the database is away.
pub async fn has_default(tx: &mut Transaction, kind: AgreementKind) -> Result<bool, sqlx::Error> {
    let id = sqlx::query_scalar!(
        "select id from sla.agreements where kind = $1 and service_id is null limit 1",
        kind.name()
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(id.is_some())
}

/// A page of agreements, newest first.
///
/// # Errors
/// An invalid filter, or the database is away.
pub async fn list(tx: &mut Transaction, page: &Page) -> Result<Vec<Agreement>, Problem> {
    let mut query = QueryBuilder::<Postgres>::new("select * from sla.agreements where true");
    if let Some(after) = page.after {
        query.push(" and id < ").push_bind(after);
    }
    if let Some(filter) = &page.filter {
        query.push(" and ");
        filter.push_sql(FIELDS, &mut query).map_err(|error| Problem::invalid("filter", error.to_string()))?;
    }
    query.push(" order by id desc limit ").push_bind(page.limit);
    let rows: Vec<Row> = query.build_query_as().fetch_all(tx.connection()).await?;
    Ok(rows.into_iter().map(Agreement::try_from).collect::<Result<_, _>>()?)
}

/// Saves a decision: the row, its events and their outbox rows, the kept answer.
///
/// # Errors
/// Fails when the database is away.
pub async fn commit(
    tx: &mut Transaction,
    decision: AgreementDecision,
    cause: &Cause,
) -> Result<Agreement, sqlx::Error> {
    let (agreement, steps) = decision.open();
    if !steps.is_empty() {
        save(tx, &agreement, cause).await?;
    }
    let entries: Vec<Entry> =
        steps.iter().map(|step| publish::agreement(&step.record, step.what, &cause.actor)).collect();
    journal::append(tx, cause, (agreement.id.0, agreement.revision), &entries);
    Ok(agreement)
}

async fn save(tx: &mut Transaction, agreement: &Agreement, cause: &Cause) -> Result<(), sqlx::Error> {
    let targets: Vec<TargetColumn> = agreement.targets.iter().map(Into::into).collect();
    sqlx::query!(
        "insert into sla.agreements as a (id, tenant_id, revision, display_name, kind, service_id, targets, state,
            created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         on conflict (id) do update set revision = $3, display_name = $4, targets = $7, state = $8, updated_at = $10
         where a.revision < $3",
        agreement.id.0,
        cause.tenant.id.0,
        agreement.revision,
        agreement.display_name,
        agreement.kind.name(),
        agreement.service_id.map(|id| id.0),
        Json(targets) as _,
        agreement.state.name(),
        agreement.created_at,
        agreement.updated_at,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

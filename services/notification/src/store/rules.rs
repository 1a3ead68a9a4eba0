//! Rules.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};
use kit::{
    db::Transaction,
    filter::{Expression, Field, Kind},
    id::{Tenant, TenantId},
    journal::Entry,
    problem::Problem,
};
use proto::common::v1::Actor;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::{Stored, wrong};
use crate::{
    domain::{
        Method, Recipients, Rule, RuleId, RuleWhat, TemplateId,
        rule::{State, Wording},
    },
    events::publish,
};

/// What people filter by.
pub const FIELDS: &[Field] = &[
    Field { name: "state", column: "state", kind: Kind::Enum(&[("ACTIVE", "ACTIVE"), ("DISABLED", "DISABLED")]) },
    Field { name: "event_type", column: "event_type", kind: Kind::Text },
];

#[derive(Debug, sqlx::FromRow)]
struct Row {
    id: Uuid,
    revision: i64,
    display_name: String,
    event_type: String,
    filter: String,
    to_assigned_team: bool,
    to_assignee: bool,
    to_team_ids: Vec<Uuid>,
    to_person_ids: Vec<Uuid>,
    else_administrators: bool,
    methods: Vec<String>,
    template_id: Option<Uuid>,
    repeat_after_seconds: i64,
    state: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Rule {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let methods = row.methods.iter().map(|method| Method::of(method).ok_or_else(|| wrong(row.id, "methods")));
        Ok(Self {
            wording: Wording {
                methods: methods.collect::<Result<_, _>>()?,
                display_name: row.display_name,
                event_type: row.event_type,
                filter: row.filter,
                recipients: Recipients {
                    assigned_team: row.to_assigned_team,
                    assignee: row.to_assignee,
                    team_ids: row.to_team_ids.into_iter().map(Into::into).collect(),
                    person_ids: row.to_person_ids.into_iter().map(Into::into).collect(),
                    else_administrators: row.else_administrators,
                },
                template_id: row.template_id.map(Into::into),
                repeat_after_seconds: row.repeat_after_seconds,
            },
            state: State::of(&row.state).ok_or_else(|| wrong(row.id, "state"))?,
            id: row.id.into(),
            revision: row.revision,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Finds a rule.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(tx: &mut Transaction, id: RuleId) -> Result<Option<Rule>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        "select id, revision, display_name, event_type, filter, to_assigned_team, to_assignee, to_team_ids, to_person_ids,
                else_administrators, methods, template_id, repeat_after_seconds, state, created_at, updated_at
         from notification.rules where id = $1",
        id.0
    )
    .fetch_optional(tx.connection())
    .await?;
    row.map(Rule::try_from).transpose()
}

/// Finds a rule and locks it until the commit.
///
/// # Errors
/// Fails when the database is away.
pub async fn find_for_update(tx: &mut Transaction, id: RuleId) -> Result<Option<Rule>, sqlx::Error> {
    sqlx::query!("select id from notification.rules where id = $1 for update", id.0)
        .fetch_optional(tx.connection())
        .await?;
    find(tx, id).await
}

/// The rules that apply to an event, oldest first.
///
/// # Errors
/// Fails when the database is away.
pub async fn applying(tx: &mut Transaction, tenant: TenantId, event_type: &str) -> Result<Arc<[Rule]>, sqlx::Error> {
    let asked = (tenant, event_type.to_owned());
    if let Some(rules) = tx.memo::<Applying>().0.get(&asked) {
        return Ok(Arc::clone(rules));
    }
    let rows = sqlx::query_as!(
        Row,
        "select id, revision, display_name, event_type, filter, to_assigned_team, to_assignee, to_team_ids, to_person_ids,
                else_administrators, methods, template_id, repeat_after_seconds, state, created_at, updated_at
         from notification.rules where tenant_id = $1 and event_type = $2 and state = 'ACTIVE' order by id",
        tenant.0,
        event_type
    )
    .fetch_all(tx.connection())
    .await?;
    let rules: Arc<[Rule]> = rows.into_iter().map(Rule::try_from).collect::<Result<_, _>>()?;
    tx.memo::<Applying>().0.insert(asked, Arc::clone(&rules));
    Ok(rules)
}

/// The rules that a batch of events read.
#[derive(Default)]
struct Applying(HashMap<(TenantId, String), Arc<[Rule]>>);

/// The events of the rules that use a template.
///
/// # Errors
/// Fails when the database is away.
pub async fn events_with_template(
    tx: &mut Transaction,
    tenant: TenantId,
    template: TemplateId,
) -> Result<Vec<String>, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "select distinct event_type from notification.rules where tenant_id = $1 and template_id = $2 order by event_type",
        tenant.0,
        template.0
    );
    found.fetch_all(tx.connection()).await
}

/// Whether a tenant has a rule, applying or not.
///
/// # Errors
/// Fails when the database is away.
pub async fn any(tx: &mut Transaction, tenant: TenantId) -> Result<bool, sqlx::Error> {
    let found = sqlx::query_scalar!(
        r#"select exists (select from notification.rules where tenant_id = $1) as "exists!""#,
        tenant.0
    );
    found.fetch_one(tx.connection()).await
}

impl Stored for Rule {
    type What = RuleWhat;

    const KIND: &'static str = "rule";
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
        let query = QueryBuilder::<Postgres>::new("select * from notification.rules where true");
        let rows: Vec<Row> = super::page(tx, query, FIELDS, filter, after, limit).await?;
        Ok(rows.into_iter().map(Rule::try_from).collect::<Result<_, _>>()?)
    }

    fn place(&self) -> (Uuid, i64) {
        (self.id.0, self.revision)
    }

    fn entry(&self, what: &RuleWhat, actor: &Actor) -> Entry {
        publish::rule(self, *what, actor)
    }

    async fn save(&self, tx: &mut Transaction, tenant: &Tenant) -> Result<(), sqlx::Error> {
        let wording = &self.wording;
        let teams: Vec<Uuid> = wording.recipients.team_ids.iter().map(|id| id.0).collect();
        let people: Vec<Uuid> = wording.recipients.person_ids.iter().map(|id| id.0).collect();
        let methods: Vec<String> = wording.methods.iter().map(|method| method.name().to_owned()).collect();
        sqlx::query!(
            "insert into notification.rules as r (id, tenant_id, revision, display_name, event_type, filter, to_assigned_team, to_assignee,
                to_team_ids, to_person_ids, else_administrators, methods, template_id, repeat_after_seconds, state, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
             on conflict (id) do update set revision = $3, display_name = $4, event_type = $5, filter = $6, to_assigned_team = $7,
                to_assignee = $8, to_team_ids = $9, to_person_ids = $10, else_administrators = $11, methods = $12, template_id = $13,
                repeat_after_seconds = $14, state = $15, updated_at = $17
             where r.revision < $3",
            self.id.0,
            tenant.id.0,
            self.revision,
            wording.display_name,
            wording.event_type,
            wording.filter,
            wording.recipients.assigned_team,
            wording.recipients.assignee,
            &teams,
            &people,
            wording.recipients.else_administrators,
            &methods,
            wording.template_id.map(|id| id.0),
            wording.repeat_after_seconds,
            self.state.name(),
            self.created_at,
            self.updated_at
        )
        .execute(tx.connection())
        .await?;
        Ok(())
    }
}

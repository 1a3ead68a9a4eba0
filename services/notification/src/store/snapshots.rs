//! Every record of a tenant as it is now, of whatever kind, in one order; for the other services.

use kit::{db::Transaction, id::TenantId};
use uuid::Uuid;

use super::{contact_methods, deliveries, rules, templates};
use crate::domain::{ContactMethod, Delivery, Rule, Template};

/// A record of any kind.
#[derive(Debug, Clone)]
pub enum AnyRecord {
    /// A contact method.
    ContactMethod(ContactMethod),
    /// A rule.
    Rule(Rule),
    /// A template.
    Template(Template),
    /// A delivery.
    Delivery(Box<Delivery>),
}

impl AnyRecord {
    /// Its id and revision.
    #[must_use]
    pub fn place(&self) -> (Uuid, i64) {
        use super::Stored;
        match self {
            Self::ContactMethod(record) => record.place(),
            Self::Rule(record) => record.place(),
            Self::Template(record) => record.place(),
            Self::Delivery(record) => record.place(),
        }
    }
}

/// Finds a record of whatever kind.
///
/// # Errors
/// Fails when the database is away.
pub async fn find(tx: &mut Transaction, id: Uuid) -> Result<Option<AnyRecord>, sqlx::Error> {
    if let Some(delivery) = deliveries::find(tx, id.into()).await? {
        return Ok(Some(AnyRecord::Delivery(Box::new(delivery))));
    }
    if let Some(method) = contact_methods::find(tx, id.into()).await? {
        return Ok(Some(AnyRecord::ContactMethod(method)));
    }
    if let Some(rule) = rules::find(tx, id.into()).await? {
        return Ok(Some(AnyRecord::Rule(rule)));
    }
    Ok(templates::find(tx, id.into()).await?.map(AnyRecord::Template))
}

/// A page of records, oldest first, after an id.
///
/// # Errors
/// Fails when the database is away.
pub async fn page(
    tx: &mut Transaction,
    tenant: TenantId,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<AnyRecord>, sqlx::Error> {
    let ids = sqlx::query_scalar!(
        r#"select r.id as "id!" from (
            select id from notification.contact_methods where tenant_id = $1
            union all select id from notification.rules where tenant_id = $1
            union all select id from notification.templates where tenant_id = $1
            union all select id from notification.deliveries where tenant_id = $1) r
           where r.id > $2 order by r.id limit $3"#,
        tenant.0,
        after.unwrap_or_default(),
        limit
    )
    .fetch_all(tx.connection())
    .await?;
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        records.extend(find(tx, id).await?);
    }
    Ok(records)
}

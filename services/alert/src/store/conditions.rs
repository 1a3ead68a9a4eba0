//! What is locked while signals are judged: one row for each dedup key of an integration, so that
//! two who take signals of one condition wait for each other, also for the very first.

use std::collections::{BTreeMap, HashMap};

use kit::{db::Transaction, id::TenantId};
use uuid::Uuid;

use super::alerts;
use crate::domain::{Alert, Condition, IntegrationId};

/// Names a condition. In order, because they are locked in order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The tenant.
    pub tenant: TenantId,
    /// The integration.
    pub integration: IntegrationId,
    /// What makes it the same condition.
    pub dedup_key: String,
}

struct Columns {
    tenants: Vec<Uuid>,
    integrations: Vec<Uuid>,
    dedup_keys: Vec<String>,
}

impl Columns {
    fn of<'a>(keys: impl Iterator<Item = &'a Key>) -> Self {
        let mut columns = Self { tenants: Vec::new(), integrations: Vec::new(), dedup_keys: Vec::new() };
        for key in keys {
            columns.tenants.push(key.tenant.0);
            columns.integrations.push(key.integration.0);
            columns.dedup_keys.push(key.dedup_key.clone());
        }
        columns
    }
}

/// Locks conditions until the commit and loads each with its latest alert. `keys` come sorted and
/// each once.
///
/// # Errors
/// Fails when the database is away.
pub async fn lock(tx: &mut Transaction, keys: &[Key]) -> Result<BTreeMap<Key, Condition>, sqlx::Error> {
    let wanted = Columns::of(keys.iter());
    sqlx::query!(
        "insert into alert.conditions (tenant_id, integration_id, dedup_key)
         select * from unnest($1::uuid[], $2::uuid[], $3::text[]) on conflict do nothing",
        &wanted.tenants,
        &wanted.integrations,
        &wanted.dedup_keys
    )
    .execute(tx.connection())
    .await?;
    let rows = sqlx::query!(
        "select c.tenant_id, c.integration_id, c.dedup_key, c.cleared_at, c.alert_id from alert.conditions c
         join unnest($1::uuid[], $2::uuid[], $3::text[]) as w (tenant_id, integration_id, dedup_key)
            on c.tenant_id = w.tenant_id and c.integration_id = w.integration_id and c.dedup_key = w.dedup_key
         order by c.tenant_id, c.integration_id, c.dedup_key for update of c",
        &wanted.tenants,
        &wanted.integrations,
        &wanted.dedup_keys
    )
    .fetch_all(tx.connection())
    .await?;
    let ids: Vec<Uuid> = rows.iter().filter_map(|row| row.alert_id).collect();
    let found = alerts::find_all_for_update(tx, &ids).await?;
    let mut latest: HashMap<Uuid, Alert> = found.into_iter().map(|alert| (alert.id.0, alert)).collect();
    Ok(rows
        .into_iter()
        .map(|row| {
            let key =
                Key { tenant: row.tenant_id.into(), integration: row.integration_id.into(), dedup_key: row.dedup_key };
            let latest = row.alert_id.and_then(|id| latest.remove(&id));
            (key, Condition { cleared_at: row.cleared_at, latest })
        })
        .collect())
}

/// Saves what is known of conditions beyond their alerts.
///
/// # Errors
/// Fails when the database is away.
pub async fn save(tx: &mut Transaction, conditions: &[(&Key, &Condition)]) -> Result<(), sqlx::Error> {
    if conditions.is_empty() {
        return Ok(());
    }
    let wanted = Columns::of(conditions.iter().map(|(key, _)| *key));
    let cleared: Vec<_> = conditions.iter().map(|(_, condition)| condition.cleared_at).collect();
    let alerts: Vec<_> =
        conditions.iter().map(|(_, condition)| condition.latest.as_ref().map(|alert| alert.id.0)).collect();
    sqlx::query!(
        "update alert.conditions c set cleared_at = w.cleared_at, alert_id = w.alert_id
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::uuid[])
            as w (tenant_id, integration_id, dedup_key, cleared_at, alert_id)
         where c.tenant_id = w.tenant_id and c.integration_id = w.integration_id and c.dedup_key = w.dedup_key",
        &wanted.tenants,
        &wanted.integrations,
        &wanted.dedup_keys,
        &cleared as &[Option<chrono::DateTime<chrono::Utc>>],
        &alerts as &[Option<Uuid>]
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

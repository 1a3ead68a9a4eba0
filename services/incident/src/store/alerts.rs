//! Which alert belongs to which incident.

use std::collections::HashMap;

use kit::{
    db::Transaction,
    gather::Gathered,
    id::{AlertId, IncidentId, TenantId},
};

/// The open incident of an alert.
///
/// # Errors
/// Fails when the database is away.
pub async fn open_incident_of_alert(
    tx: &mut Transaction,
    tenant: TenantId,
    alert: AlertId,
) -> Result<Option<IncidentId>, sqlx::Error> {
    tx.flush().await?;
    let id = sqlx::query_scalar!(
        "select incident_id from incident.incident_alerts where tenant_id = $1 and alert_id = $2 and open",
        tenant.0,
        alert.0
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(id.map(Into::into))
}

/// An alert and the condition that it is of.
pub type AlertOf = (TenantId, AlertId, String);

/// The open incidents that the alerts of a batch, and their conditions, belong to.
#[derive(Default)]
struct Known {
    own: HashMap<AlertId, Option<IncidentId>>,
    by_condition: HashMap<(TenantId, String), Option<IncidentId>>,
}

/// Reads at once which open incidents alerts and their conditions belong to.
///
/// # Errors
/// Fails when the database is away.
pub async fn load_open_incidents(tx: &mut Transaction, alerts: &[AlertOf]) -> Result<(), sqlx::Error> {
    tx.flush().await?;
    let rows = sqlx::query!(
        r#"select w.tenant_id as "tenant_id!", w.alert_id as "alert_id!", w.condition as "condition!",
                  (select incident_id from incident.incident_alerts a where a.alert_id = w.alert_id and a.open) as own,
                  (select incident_id from incident.incident_alerts a
                   where a.tenant_id = w.tenant_id and a.condition = w.condition and a.open
                   order by incident_id desc limit 1) as latest
           from unnest($1::uuid[], $2::uuid[], $3::text[]) as w (tenant_id, alert_id, condition)"#,
        &alerts.iter().map(|(tenant, _, _)| tenant.0).collect::<Vec<_>>(),
        &alerts.iter().map(|(_, alert, _)| alert.0).collect::<Vec<_>>(),
        &alerts.iter().map(|(_, _, condition)| condition.clone()).collect::<Vec<_>>()
    )
    .fetch_all(tx.connection())
    .await?;
    let known = tx.memo::<Known>();
    for row in rows {
        known.own.insert(row.alert_id.into(), row.own.map(Into::into));
        known.by_condition.insert((row.tenant_id.into(), row.condition), row.latest.map(Into::into));
    }
    Ok(())
}

/// The open incident of an alert, or else the latest one that its condition belonged to and that is
/// not over; and whether it is the alert's own.
///
/// # Errors
/// Fails when the database is away.
pub async fn open_incident_of_condition(
    tx: &mut Transaction,
    tenant: TenantId,
    alert: AlertId,
    condition: &str,
) -> Result<Option<(IncidentId, bool)>, sqlx::Error> {
    let key = (tenant, condition.to_owned());
    let known = tx.memo::<Known>();
    if !known.own.contains_key(&alert) || !known.by_condition.contains_key(&key) {
        load_open_incidents(tx, &[(tenant, alert, condition.to_owned())]).await?;
    }
    let known = tx.memo::<Known>();
    let own = known.own.get(&alert).copied().flatten();
    let latest = known.by_condition.get(&key).copied().flatten();
    Ok(own.map(|id| (id, true)).or(latest.map(|id| (id, false))))
}

/// A link that waits for the commit.
struct Linked {
    tenant: TenantId,
    alert: AlertId,
    incident: IncidentId,
    condition: String,
}

/// Says with the commit that an alert, which belongs to no open incident, belongs to this one.
pub fn link_free(tx: &mut Transaction, tenant: TenantId, alert: AlertId, incident: IncidentId, condition: String) {
    let known = tx.memo::<Known>();
    known.own.insert(alert, Some(incident));
    let latest = known.by_condition.entry((tenant, condition.clone())).or_default();
    *latest = (*latest).max(Some(incident));
    tx.gathered().insert(alert.0, Linked { tenant, alert, incident, condition });
}

impl Gathered for Linked {
    async fn write(rows: Vec<Self>, tx: &mut Transaction) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "insert into incident.incident_alerts as a (tenant_id, alert_id, incident_id, condition, open)
             select *, true from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[])
             on conflict (alert_id, incident_id) do update set open = true where not a.open",
            &rows.iter().map(|row| row.tenant.0).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.alert.0).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.incident.0).collect::<Vec<_>>(),
            &rows.iter().map(|row| row.condition.clone()).collect::<Vec<_>>()
        )
        .execute(tx.connection())
        .await?;
        Ok(())
    }
}

/// Says that an alert belongs to an incident. False when it belongs to another open one.
///
/// # Errors
/// Fails when the database is away.
pub async fn link(
    tx: &mut Transaction,
    tenant: TenantId,
    alert: AlertId,
    incident: IncidentId,
    condition: &str,
) -> Result<bool, sqlx::Error> {
    tx.flush().await?;
    // One that was taken away may come back, unless it belongs to another meanwhile.
    let done = sqlx::query!(
        "insert into incident.incident_alerts as a (tenant_id, alert_id, incident_id, condition, open)
         select $1, $2, $3, $4, true
         where not exists (select from incident.incident_alerts where tenant_id = $1 and alert_id = $2 and open)
         on conflict (alert_id, incident_id) do update set open = true where not a.open",
        tenant.0,
        alert.0,
        incident.0,
        condition
    )
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Closes the links of an incident that is over, or one that was taken away.
///
/// # Errors
/// Fails when the database is away.
pub async fn close(tx: &mut Transaction, incident: IncidentId, alert: Option<AlertId>) -> Result<(), sqlx::Error> {
    tx.flush().await?;
    *tx.memo::<Known>() = Known::default();
    sqlx::query!(
        "update incident.incident_alerts set open = false where incident_id = $1 and ($2::uuid is null or alert_id = $2) and open",
        incident.0,
        alert.map(|alert| alert.0)
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

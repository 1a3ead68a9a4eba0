//! Which alert belongs to which incident.

use kit::{
    db::Transaction,
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
    let id = sqlx::query_scalar!(
        "select incident_id from incident.incident_alerts where tenant_id = $1 and alert_id = $2 and open",
        tenant.0,
        alert.0
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(id.map(Into::into))
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
    let row = sqlx::query!(
        r#"(select incident_id as "incident_id!", true as "own!" from incident.incident_alerts where alert_id = $2 and open)
           union all
           (select incident_id, false from incident.incident_alerts
            where tenant_id = $1 and condition = $3 and open order by incident_id desc limit 1)
           order by 2 desc limit 1"#,
        tenant.0,
        alert.0,
        condition
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map(|row| (row.incident_id.into(), row.own)))
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
    sqlx::query!(
        "update incident.incident_alerts set open = false where incident_id = $1 and ($2::uuid is null or alert_id = $2) and open",
        incident.0,
        alert.map(|alert| alert.0)
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

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

/// The latest incident that a condition belonged to and that is not over.
///
/// # Errors
/// Fails when the database is away.
pub async fn latest_of_condition(
    tx: &mut Transaction,
    tenant: TenantId,
    condition: &str,
) -> Result<Option<IncidentId>, sqlx::Error> {
    let id = sqlx::query_scalar!(
        "select incident_id from incident.incident_alerts where tenant_id = $1 and condition = $2 and open
         order by incident_id desc limit 1",
        tenant.0,
        condition
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(id.map(Into::into))
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
    let done = sqlx::query!(
        "insert into incident.incident_alerts (tenant_id, alert_id, incident_id, condition, open) values ($1, $2, $3, $4, true)
         on conflict do nothing",
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

-- The latest open incident of a condition is asked for with each alert. With the tenant in front, a
-- plan made while the table was empty took the index of open alerts instead and read all of a tenant's.
drop index incident.incident_alert_condition;
create index incident_alert_condition on incident.incident_alerts (condition, incident_id desc) where open;

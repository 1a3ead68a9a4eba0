-- Incidents, the alerts that belong to them, and what this service keeps of others.

create table incident.incidents (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    number text not null,
    title text not null,
    description text not null,
    state text not null,
    pending_reason text,
    impact smallint not null,
    urgency smallint not null,
    priority smallint not null,
    priority_reason text not null,
    priority_overridden boolean not null,
    category text not null,
    service_id uuid,
    ci_id uuid,
    assigned_team_id uuid,
    assignee_id uuid,
    reporter_id uuid,
    channel text not null,
    resolution_mode text not null,
    resolution_code text,
    resolution_notes text not null,
    acknowledged_by uuid,
    acknowledged_at timestamptz,
    resolved_at timestamptz,
    closed_at timestamptz,
    reopen_count integer not null,
    taken_over boolean not null,
    alerts jsonb not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint incident_number unique (tenant_id, number)
);
create index incident_open on incident.incidents (tenant_id, priority, id) where state not in ('CLOSED', 'CANCELLED');
create index incident_team on incident.incidents (tenant_id, assigned_team_id, id);
comment on table incident.incidents is 'Incidents as they are now; the journal has how they came to be so.';
comment on column incident.incidents.id is 'The id, a UUIDv7. Immutable.';
comment on column incident.incidents.tenant_id is 'The tenant. Immutable.';
comment on column incident.incidents.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column incident.incidents.number is 'The number people say. Immutable.';
comment on column incident.incidents.title is 'One line.';
comment on column incident.incidents.description is 'More.';
comment on column incident.incidents.state is 'NEW, ASSIGNED, IN_PROGRESS, PENDING, RESOLVED, CLOSED or CANCELLED.';
comment on column incident.incidents.pending_reason is 'What it waits for; set while pending and only then.';
comment on column incident.incidents.impact is '1 extensive to 4 minor.';
comment on column incident.incidents.urgency is '1 critical to 4 low.';
comment on column incident.incidents.priority is '1 to 4.';
comment on column incident.incidents.priority_reason is 'The matrix cell, or the reason of the override.';
comment on column incident.incidents.priority_overridden is 'Whether a person set the priority.';
comment on column incident.incidents.category is 'What kind of trouble; empty when not said.';
comment on column incident.incidents.service_id is 'The service that suffers.';
comment on column incident.incidents.ci_id is 'The configuration item at fault.';
comment on column incident.incidents.assigned_team_id is 'The team that has it.';
comment on column incident.incidents.assignee_id is 'The person that has it.';
comment on column incident.incidents.reporter_id is 'Who reported it; none for an alert. Immutable.';
comment on column incident.incidents.channel is 'ALERT, API, PHONE, MAIL or PORTAL. Immutable.';
comment on column incident.incidents.resolution_mode is 'AUTOMATIC or MANUAL.';
comment on column incident.incidents.resolution_code is 'How it ended; set when resolved.';
comment on column incident.incidents.resolution_notes is 'What was done.';
comment on column incident.incidents.acknowledged_by is 'Who acknowledged it.';
comment on column incident.incidents.acknowledged_at is 'When it was acknowledged.';
comment on column incident.incidents.resolved_at is 'When it was resolved.';
comment on column incident.incidents.closed_at is 'When it was closed or cancelled.';
comment on column incident.incidents.reopen_count is 'How often it came back.';
comment on column incident.incidents.taken_over is 'Whether a person took it over, so that it no longer resolves by itself.';
comment on column incident.incidents.alerts is 'The alerts that belong to it: [{"alert_id", "active", "linked_at"}].';
comment on column incident.incidents.created_at is 'When it was opened. Immutable.';
comment on column incident.incidents.updated_at is 'When it last changed.';

create table incident.incident_alerts (
    tenant_id uuid not null,
    alert_id uuid not null,
    incident_id uuid not null references incident.incidents (id),
    condition text not null,
    open boolean not null,
    primary key (alert_id, incident_id)
);
create unique index incident_alert_open on incident.incident_alerts (tenant_id, alert_id) where open;
create index incident_alert_condition on incident.incident_alerts (tenant_id, condition, incident_id desc);
comment on table incident.incident_alerts is 'Which alert belongs to which incident; an alert belongs to at most one that is open.';
comment on column incident.incident_alerts.tenant_id is 'The tenant. Immutable.';
comment on column incident.incident_alerts.alert_id is 'The alert. Immutable.';
comment on column incident.incident_alerts.incident_id is 'The incident. Immutable.';
comment on column incident.incident_alerts.condition is 'Integration and dedup key of the alert: what makes firing again the same. Empty when linked by hand. Immutable.';
comment on column incident.incident_alerts.open is 'Whether the incident is open: not closed, not cancelled.';

create table incident.catalog_services (
    tenant_id uuid not null,
    id uuid not null,
    revision bigint not null,
    support_team_id uuid,
    impact smallint,
    retired boolean not null,
    primary key (tenant_id, id)
);
comment on table incident.catalog_services is 'Read model: the services of the catalog, as far as incidents need them.';
comment on column incident.catalog_services.tenant_id is 'The tenant. Immutable.';
comment on column incident.catalog_services.id is 'The service. Immutable.';
comment on column incident.catalog_services.revision is 'The catalog''s revision that this is.';
comment on column incident.catalog_services.support_team_id is 'The team that its incidents go to.';
comment on column incident.catalog_services.impact is 'The impact of its failure, 1 to 4.';
comment on column incident.catalog_services.retired is 'Whether it is out of use.';

create table incident.directory_members (
    tenant_id uuid not null,
    id uuid not null,
    kind text not null,
    revision bigint not null,
    active boolean not null,
    primary key (tenant_id, id)
);
comment on table incident.directory_members is 'Read model: the people and teams that an incident may be given to.';
comment on column incident.directory_members.tenant_id is 'The tenant. Immutable.';
comment on column incident.directory_members.id is 'The person or team. Immutable.';
comment on column incident.directory_members.kind is 'PERSON or TEAM. Immutable.';
comment on column incident.directory_members.revision is 'The directory''s revision that this is.';
comment on column incident.directory_members.active is 'Whether it takes part.';

do $$
declare
    name text;
begin
    foreach name in array array['incidents', 'incident_alerts', 'catalog_services', 'directory_members'] loop
        execute format('alter table incident.%I enable row level security', name);
        execute format('alter table incident.%I force row level security', name);
        execute format('create policy owner on incident.%I to incident_owner using (true)', name);
        execute format('create policy one_tenant on incident.%I to incident using (tenant_id = (select nullif(current_setting(''itsm.tenant'', true), '''')::uuid))', name);
        execute format('create policy worker on incident.%I to incident_worker using (tenant_id = any ((select string_to_array(nullif(current_setting(''itsm.tenants'', true), ''''), '',''))::uuid[]))', name);
        execute format('grant select, insert, update on incident.%I to incident, incident_worker', name);
    end loop;
end $$;

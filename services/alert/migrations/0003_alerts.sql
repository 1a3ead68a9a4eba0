-- Alerts, and what is known of their conditions beyond the alerts themselves.

create table alert.alerts (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    integration_id uuid not null references alert.integrations (id),
    dedup_key text not null,
    state text not null,
    severity text not null,
    title text not null,
    description text not null,
    labels jsonb not null,
    annotations jsonb not null,
    source_url text not null,
    group_key text not null,
    service_id uuid,
    ci_id uuid,
    team_id uuid,
    impact smallint,
    opens_incident boolean not null,
    decision text not null,
    started_at timestamptz not null,
    cleared_at timestamptz,
    clear_reason text,
    occurrence_count bigint not null,
    last_seen_at timestamptz not null,
    expires_at timestamptz,
    fired_at timestamptz not null,
    heard_at timestamptz not null,
    trace_parent text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
) with (fillfactor = 80);
create unique index alert_active on alert.alerts (tenant_id, integration_id, dedup_key) where state = 'ACTIVE';
create index alert_tenant on alert.alerts (tenant_id, id);
create index alert_service on alert.alerts (tenant_id, service_id, id);
comment on table alert.alerts is 'Alerts, one row for each firing episode; the journal has how they came to be so.';
comment on column alert.alerts.id is 'The id, a UUIDv7. Immutable.';
comment on column alert.alerts.tenant_id is 'The tenant. Immutable.';
comment on column alert.alerts.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column alert.alerts.integration_id is 'The integration it came by. Immutable.';
comment on column alert.alerts.dedup_key is 'What makes it the same condition. Immutable.';
comment on column alert.alerts.state is 'ACTIVE or CLEARED.';
comment on column alert.alerts.severity is 'CRITICAL, HIGH, MEDIUM, LOW or INFO.';
comment on column alert.alerts.title is 'One line.';
comment on column alert.alerts.description is 'More.';
comment on column alert.alerts.labels is 'What identifies the condition: {"name": "value"}.';
comment on column alert.alerts.annotations is 'What explains it: {"name": "value"}.';
comment on column alert.alerts.source_url is 'Where the source shows it.';
comment on column alert.alerts.group_key is 'The source''s own group.';
comment on column alert.alerts.service_id is 'The service it belongs to. Immutable.';
comment on column alert.alerts.ci_id is 'The configuration item it is about. Immutable.';
comment on column alert.alerts.team_id is 'The team to tell. Immutable.';
comment on column alert.alerts.impact is 'The impact of the service, 1 extensive to 4 minor. Immutable.';
comment on column alert.alerts.opens_incident is 'Whether it opens an incident.';
comment on column alert.alerts.decision is 'Why it does or not, in words.';
comment on column alert.alerts.started_at is 'When it began, by the source. Immutable.';
comment on column alert.alerts.cleared_at is 'When it was over, by the source; set when cleared and only then.';
comment on column alert.alerts.clear_reason is 'SOURCE, EXPIRED or PERSON; set when cleared and only then.';
comment on column alert.alerts.occurrence_count is 'A measure, which moves without revision: how often it was said.';
comment on column alert.alerts.last_seen_at is 'A measure: when it was last said.';
comment on column alert.alerts.expires_at is 'A measure: when it is over by itself; null means never.';
comment on column alert.alerts.fired_at is 'A measure: the newest start that the source said.';
comment on column alert.alerts.heard_at is 'A measure: when the signal with that start came in.';
comment on column alert.alerts.trace_parent is 'W3C trace context of the intake that raised it. Immutable.';
comment on column alert.alerts.created_at is 'When it was raised. Immutable.';
comment on column alert.alerts.updated_at is 'When its latest event happened.';

create table alert.conditions (
    tenant_id uuid not null,
    integration_id uuid not null,
    dedup_key text not null,
    cleared_at timestamptz,
    alert_id uuid,
    primary key (tenant_id, integration_id, dedup_key)
) with (fillfactor = 80);
comment on table alert.conditions is 'What a source may fire for: locked while its signals are judged, one row for each dedup key ever said.';
comment on column alert.conditions.tenant_id is 'The tenant. Immutable.';
comment on column alert.conditions.integration_id is 'The integration. Immutable.';
comment on column alert.conditions.dedup_key is 'What makes it the same condition. Immutable.';
comment on column alert.conditions.cleared_at is 'The newest end that the source said; what started before it is old.';
comment on column alert.conditions.alert_id is 'Its latest alert.';

do $$
declare
    name text;
begin
    foreach name in array array['alerts', 'conditions'] loop
        execute format('alter table alert.%I enable row level security', name);
        execute format('alter table alert.%I force row level security', name);
        execute format('create policy owner on alert.%I to alert_owner using (true)', name);
        execute format('create policy one_tenant on alert.%I to alert using (tenant_id = (select nullif(current_setting(''itsm.tenant'', true), '''')::uuid))', name);
        execute format('create policy worker on alert.%I to alert_worker using (tenant_id = any ((select string_to_array(nullif(current_setting(''itsm.tenants'', true), ''''), '',''))::uuid[]))', name);
        execute format('grant select, insert, update on alert.%I to alert, alert_worker', name);
    end loop;
end $$;

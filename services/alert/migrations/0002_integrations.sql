-- Integrations: the sources of alerts, each with its own key.

create table alert.integrations (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    name text not null,
    display_name text not null,
    team_id uuid,
    service_id uuid,
    open_incident_from text not null,
    state text not null,
    key_digest bytea not null,
    key_hint text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint integration_name unique (tenant_id, name),
    constraint integration_key unique (key_digest)
);
comment on table alert.integrations is 'Integrations as they are now; the journal has how they came to be so.';
comment on column alert.integrations.id is 'The id, a UUIDv7. Immutable.';
comment on column alert.integrations.tenant_id is 'The tenant. Immutable.';
comment on column alert.integrations.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column alert.integrations.name is 'The slug, the last token of alerts.<tenant>.<integration>. Immutable.';
comment on column alert.integrations.display_name is 'The name people read.';
comment on column alert.integrations.team_id is 'The team of alerts whose service is not known.';
comment on column alert.integrations.service_id is 'The service of alerts that name none.';
comment on column alert.integrations.open_incident_from is 'The least severity that opens an incident.';
comment on column alert.integrations.state is 'ACTIVE or DISABLED.';
comment on column alert.integrations.key_digest is 'SHA-256 of its key; the key itself is nowhere.';
comment on column alert.integrations.key_hint is 'The first characters of its key.';
comment on column alert.integrations.created_at is 'When it was created. Immutable.';
comment on column alert.integrations.updated_at is 'When it last changed.';

do $$
declare
    name text;
begin
    foreach name in array array['integrations'] loop
        execute format('alter table alert.%I enable row level security', name);
        execute format('alter table alert.%I force row level security', name);
        execute format('create policy owner on alert.%I to alert_owner using (true)', name);
        execute format('create policy one_tenant on alert.%I to alert using (tenant_id = (select nullif(current_setting(''itsm.tenant'', true), '''')::uuid))', name);
        execute format('create policy worker on alert.%I to alert_worker using (tenant_id = any ((select string_to_array(nullif(current_setting(''itsm.tenants'', true), ''''), '',''))::uuid[]))', name);
        execute format('grant select, insert, update on alert.%I to alert, alert_worker', name);
    end loop;
end $$;

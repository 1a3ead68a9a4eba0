-- The raw intake, and what of it could not be used.

create table alert.intake (
    incarnation bigint not null,
    sequence bigint not null,
    received_at timestamptz not null,
    subject text not null,
    tenant_id uuid,
    integration_id uuid,
    format text not null,
    headers jsonb not null,
    body bytea not null,
    outcome text not null,
    primary key (incarnation, sequence, received_at)
);
create index intake_tenant on alert.intake (tenant_id, received_at);
comment on table alert.intake is 'Every message of the intake stream, kept before it is read; by its key a redelivery is known.';
comment on column alert.intake.incarnation is 'Which life of the stream: its creation, in nanoseconds. Immutable.';
comment on column alert.intake.sequence is 'The place in the stream. Immutable.';
comment on column alert.intake.received_at is 'When the stream took it. Immutable.';
comment on column alert.intake.subject is 'alerts.<tenant>.<integration>. Immutable.';
comment on column alert.intake.tenant_id is 'The tenant, if the subject names one. Immutable.';
comment on column alert.intake.integration_id is 'The integration, if the subject names one. Immutable.';
comment on column alert.intake.format is 'The format it was read as. Immutable.';
comment on column alert.intake.headers is 'The headers that say what it is: {"name": "value"}. Immutable.';
comment on column alert.intake.body is 'The body as it came. Changed by redaction alone.';
comment on column alert.intake.outcome is 'What came of it, in words; empty when all of it was taken.';

create table alert.rejected_alerts (
    id uuid primary key,
    tenant_id uuid,
    integration_id uuid,
    incarnation bigint not null,
    sequence bigint not null,
    format text not null,
    field text not null,
    reason text not null,
    raw text not null,
    received_at timestamptz not null
);
create index rejected_alert_tenant on alert.rejected_alerts (tenant_id, id);
comment on table alert.rejected_alerts is 'What came in and could not be used, with the reason.';
comment on column alert.rejected_alerts.id is 'The id, a UUIDv7. Immutable.';
comment on column alert.rejected_alerts.tenant_id is 'The tenant; null when the subject names none that exists, and then only operators see it. Immutable.';
comment on column alert.rejected_alerts.integration_id is 'The integration, if it is known. Immutable.';
comment on column alert.rejected_alerts.incarnation is 'The intake it came with. Immutable.';
comment on column alert.rejected_alerts.sequence is 'The intake it came with. Immutable.';
comment on column alert.rejected_alerts.format is 'The format it claimed. Immutable.';
comment on column alert.rejected_alerts.field is 'Which field or limit. Immutable.';
comment on column alert.rejected_alerts.reason is 'What is wrong with it. Immutable.';
comment on column alert.rejected_alerts.raw is 'The text as it came, cut at 16 KiB. Changed by redaction alone.';
comment on column alert.rejected_alerts.received_at is 'When it came. Immutable.';

do $$
declare
    name text;
begin
    foreach name in array array['intake', 'rejected_alerts'] loop
        execute format('alter table alert.%I enable row level security', name);
        execute format('alter table alert.%I force row level security', name);
        execute format('create policy owner on alert.%I to alert_owner using (true)', name);
        execute format('create policy one_tenant on alert.%I to alert using (tenant_id = (select nullif(current_setting(''itsm.tenant'', true), '''')::uuid))', name);
        -- A message may name no tenant that exists, and is kept nevertheless.
        execute format('create policy worker on alert.%I to alert_worker using (tenant_id is null or tenant_id = any ((select string_to_array(nullif(current_setting(''itsm.tenants'', true), ''''), '',''))::uuid[]))', name);
        execute format('grant select, insert, update on alert.%I to alert_worker', name);
    end loop;
end $$;
grant select on alert.rejected_alerts to alert;

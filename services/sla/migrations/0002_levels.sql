-- Calendars, agreements and clocks, and what this service keeps of others.

create table sla.calendars (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    name text not null,
    display_name text not null,
    time_zone text not null,
    hours jsonb not null,
    holidays date[] not null,
    state text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint calendar_name unique (tenant_id, name)
);
comment on table sla.calendars is 'When time counts.';
comment on column sla.calendars.id is 'The id, a UUIDv7. Immutable.';
comment on column sla.calendars.tenant_id is 'The tenant. Immutable.';
comment on column sla.calendars.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column sla.calendars.name is 'The short name. Immutable.';
comment on column sla.calendars.display_name is 'The name people read.';
comment on column sla.calendars.time_zone is 'An IANA time zone.';
comment on column sla.calendars.hours is 'The working hours: [{"weekday" from 1 Monday, "from" and "to" in minutes of the day}]; empty means round the clock.';
comment on column sla.calendars.holidays is 'Days that do not count.';
comment on column sla.calendars.state is 'ACTIVE or RETIRED.';
comment on column sla.calendars.created_at is 'When it was created. Immutable.';
comment on column sla.calendars.updated_at is 'When it last changed.';

create table sla.agreements (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    display_name text not null,
    kind text not null,
    service_id uuid,
    targets jsonb not null,
    state text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create unique index agreement_active on sla.agreements (tenant_id, kind, service_id) nulls not distinct where state = 'ACTIVE';
create index agreement_service on sla.agreements (tenant_id, service_id, id);
comment on table sla.agreements is 'What was agreed for a service, or for all that have no agreement of their own.';
comment on column sla.agreements.id is 'The id, a UUIDv7. Immutable.';
comment on column sla.agreements.tenant_id is 'The tenant. Immutable.';
comment on column sla.agreements.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column sla.agreements.display_name is 'The name people read.';
comment on column sla.agreements.kind is 'SLA, OLA or UNDERPINNING_CONTRACT. Immutable.';
comment on column sla.agreements.service_id is 'The service; none is the default for all others. Immutable.';
comment on column sla.agreements.targets is 'At most one for each priority: [{"priority", "response_seconds", "resolution_seconds", "calendar_id", "at_risk_percent"}].';
comment on column sla.agreements.state is 'DRAFT, ACTIVE or RETIRED; one is active for a service and kind.';
comment on column sla.agreements.created_at is 'When it was created. Immutable.';
comment on column sla.agreements.updated_at is 'When it last changed.';

create table sla.clocks (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    incident_id uuid not null,
    incident_number text not null,
    agreement_id uuid not null references sla.agreements (id),
    agreement_revision bigint not null,
    metric text not null,
    state text not null,
    priority smallint not null,
    terms jsonb not null,
    service_id uuid,
    assigned_team_id uuid,
    segments jsonb not null,
    at_risk_at timestamptz,
    breached_at timestamptz,
    provisional boolean not null,
    stopped_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint clock_once unique (incident_id, agreement_id, metric)
);
create index clock_tenant on sla.clocks (tenant_id, id);
create index clock_running on sla.clocks (tenant_id, id) where state in ('RUNNING', 'PAUSED');
comment on table sla.clocks is 'One target of one incident, counting.';
comment on column sla.clocks.id is 'The id, a UUIDv7. Immutable.';
comment on column sla.clocks.tenant_id is 'The tenant. Immutable.';
comment on column sla.clocks.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column sla.clocks.incident_id is 'The incident. Immutable.';
comment on column sla.clocks.incident_number is 'Its number. Immutable.';
comment on column sla.clocks.agreement_id is 'The agreement. Immutable.';
comment on column sla.clocks.agreement_revision is 'The revision of the agreement that was taken. Immutable.';
comment on column sla.clocks.metric is 'RESPONSE or RESOLUTION. Immutable.';
comment on column sla.clocks.state is 'RUNNING, PAUSED, MET or CANCELLED.';
comment on column sla.clocks.priority is 'The priority that chose the target, 1 to 4.';
comment on column sla.clocks.terms is 'The agreement as it was when the clock started, for every priority and with its calendars: {"name", "terms": [{"priority", "seconds", "at_risk_percent", "calendar_id", "calendar_name", "time_zone", "hours", "holidays"}]}. Immutable.';
comment on column sla.clocks.service_id is 'The service of the incident, as of the last change.';
comment on column sla.clocks.assigned_team_id is 'The team that has the incident, as of the last change.';
comment on column sla.clocks.segments is 'How the time was counted: [{"start", "end", "reason", "event_id"}].';
comment on column sla.clocks.at_risk_at is 'The instant it became at risk, if it did.';
comment on column sla.clocks.breached_at is 'The instant it was breached, if it was and that was not taken back.';
comment on column sla.clocks.provisional is 'Whether the breach was told while the incident''s owner could not be asked.';
comment on column sla.clocks.stopped_at is 'When it was met or cancelled.';
comment on column sla.clocks.created_at is 'When its incident opened. Immutable.';
comment on column sla.clocks.updated_at is 'When it last changed.';

create table sla.incident_incidents (
    tenant_id uuid not null,
    id uuid not null,
    revision bigint not null,
    number text not null,
    state text not null,
    acknowledged boolean not null,
    priority smallint not null,
    service_id uuid,
    assigned_team_id uuid,
    primary key (tenant_id, id)
);
comment on table sla.incident_incidents is 'Read model: incidents, as far as clocks need them.';
comment on column sla.incident_incidents.tenant_id is 'The tenant. Immutable.';
comment on column sla.incident_incidents.id is 'The incident. Immutable.';
comment on column sla.incident_incidents.revision is 'The incident service''s revision that this is.';
comment on column sla.incident_incidents.number is 'The number people say.';
comment on column sla.incident_incidents.state is 'NEW, ASSIGNED, IN_PROGRESS, PENDING, RESOLVED, CLOSED or CANCELLED.';
comment on column sla.incident_incidents.acknowledged is 'Whether somebody has acknowledged it.';
comment on column sla.incident_incidents.priority is '1 to 4.';
comment on column sla.incident_incidents.service_id is 'The service that suffers.';
comment on column sla.incident_incidents.assigned_team_id is 'The team that has it.';

create table sla.catalog_services (
    tenant_id uuid not null,
    id uuid not null,
    revision bigint not null,
    name text not null,
    retired boolean not null,
    primary key (tenant_id, id)
);
comment on table sla.catalog_services is 'Read model: the services of the catalog that an agreement may be for.';
comment on column sla.catalog_services.tenant_id is 'The tenant. Immutable.';
comment on column sla.catalog_services.id is 'The service. Immutable.';
comment on column sla.catalog_services.revision is 'The catalog''s revision that this is.';
comment on column sla.catalog_services.name is 'The short name.';
comment on column sla.catalog_services.retired is 'Whether it is out of use.';

do $$
declare
    name text;
begin
    foreach name in array array['calendars', 'agreements', 'clocks', 'incident_incidents', 'catalog_services'] loop
        execute format('alter table sla.%I enable row level security', name);
        execute format('alter table sla.%I force row level security', name);
        execute format('create policy owner on sla.%I to sla_owner using (true)', name);
        execute format('create policy one_tenant on sla.%I to sla using (tenant_id = (select nullif(current_setting(''itsm.tenant'', true), '''')::uuid))', name);
        execute format('create policy worker on sla.%I to sla_worker using (tenant_id = any ((select string_to_array(nullif(current_setting(''itsm.tenants'', true), ''''), '',''))::uuid[]))', name);
        execute format('grant select, insert, update on sla.%I to sla, sla_worker', name);
    end loop;
end $$;

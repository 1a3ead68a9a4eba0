-- Services, configuration items, and what this service keeps of the directory.

create table catalog.services (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    name text not null,
    display_name text not null,
    description text not null,
    kind text not null,
    owning_team_id uuid not null,
    support_team_id uuid,
    impact smallint,
    state text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint service_name unique (tenant_id, name)
);
create index service_page on catalog.services (tenant_id, id);
comment on table catalog.services is 'Services as they are now; the journal has how they came to be so.';
comment on column catalog.services.id is 'The id, a UUIDv7. Immutable.';
comment on column catalog.services.tenant_id is 'The tenant. Immutable.';
comment on column catalog.services.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column catalog.services.name is 'The short name, by which alerts find the service. Immutable.';
comment on column catalog.services.display_name is 'The name people read.';
comment on column catalog.services.description is 'What it is.';
comment on column catalog.services.kind is 'BUSINESS or TECHNICAL. Immutable.';
comment on column catalog.services.owning_team_id is 'The team that answers for it.';
comment on column catalog.services.support_team_id is 'The team that its incidents go to; none means the owning team.';
comment on column catalog.services.impact is 'The impact of its failure, 1 extensive to 4 minor; none when not said.';
comment on column catalog.services.state is 'PLANNED, LIVE or RETIRED.';
comment on column catalog.services.created_at is 'When it was created. Immutable.';
comment on column catalog.services.updated_at is 'When it last changed.';

create table catalog.configuration_items (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    name text not null,
    display_name text not null,
    description text not null,
    kind text not null,
    owning_team_id uuid not null,
    support_team_id uuid,
    service_id uuid references catalog.services (id),
    state text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint configuration_item_name unique (tenant_id, name)
);
create index configuration_item_page on catalog.configuration_items (tenant_id, id);
create index configuration_item_service on catalog.configuration_items (tenant_id, service_id, id) where service_id is not null;
comment on table catalog.configuration_items is 'Configuration items as they are now; the journal has how they came to be so.';
comment on column catalog.configuration_items.id is 'The id, a UUIDv7. Immutable.';
comment on column catalog.configuration_items.tenant_id is 'The tenant. Immutable.';
comment on column catalog.configuration_items.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column catalog.configuration_items.name is 'The short name, by which alerts find the item. Immutable.';
comment on column catalog.configuration_items.display_name is 'The name people read.';
comment on column catalog.configuration_items.description is 'What it is.';
comment on column catalog.configuration_items.kind is 'What it is, in one word, such as host or database.';
comment on column catalog.configuration_items.owning_team_id is 'The team that answers for it.';
comment on column catalog.configuration_items.support_team_id is 'The team that its incidents go to; none means the owning team.';
comment on column catalog.configuration_items.service_id is 'The service it is part of.';
comment on column catalog.configuration_items.state is 'PLANNED, LIVE or RETIRED.';
comment on column catalog.configuration_items.created_at is 'When it was created. Immutable.';
comment on column catalog.configuration_items.updated_at is 'When it last changed.';

create table catalog.directory_teams (
    tenant_id uuid not null,
    id uuid not null,
    revision bigint not null,
    active boolean not null,
    primary key (tenant_id, id)
);
comment on table catalog.directory_teams is 'Read model: the teams of the directory, which may own and support.';
comment on column catalog.directory_teams.tenant_id is 'The tenant. Immutable.';
comment on column catalog.directory_teams.id is 'The team. Immutable.';
comment on column catalog.directory_teams.revision is 'The directory''s revision that this is.';
comment on column catalog.directory_teams.active is 'Whether it takes part.';

do $$
declare
    name text;
begin
    foreach name in array array['services', 'configuration_items', 'directory_teams'] loop
        execute format('alter table catalog.%I enable row level security', name);
        execute format('alter table catalog.%I force row level security', name);
        execute format('create policy owner on catalog.%I to catalog_owner using (true)', name);
        execute format('create policy one_tenant on catalog.%I to catalog using (tenant_id = (select nullif(current_setting(''itsm.tenant'', true), '''')::uuid))', name);
        execute format('create policy worker on catalog.%I to catalog_worker using (tenant_id = any ((select string_to_array(nullif(current_setting(''itsm.tenants'', true), ''''), '',''))::uuid[]))', name);
        execute format('grant select, insert, update on catalog.%I to catalog, catalog_worker', name);
    end loop;
end $$;

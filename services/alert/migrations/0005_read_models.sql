-- What is kept of other services: written only where the owner's revision is newer.

create table alert.directory_tenants (
    tenant_id uuid primary key,
    revision bigint not null,
    slug text not null,
    active boolean not null
);
create unique index directory_tenant_slug on alert.directory_tenants (slug);
comment on table alert.directory_tenants is 'Read model: the tenants, by the slug that subjects carry.';
comment on column alert.directory_tenants.tenant_id is 'The tenant. Immutable.';
comment on column alert.directory_tenants.revision is 'The directory''s revision that this is.';
comment on column alert.directory_tenants.slug is 'The name used in subjects. Immutable.';
comment on column alert.directory_tenants.active is 'Whether it may be used.';

create table alert.directory_teams (
    tenant_id uuid not null,
    id uuid not null,
    revision bigint not null,
    active boolean not null,
    primary key (tenant_id, id)
);
comment on table alert.directory_teams is 'Read model: the teams that an integration may name.';
comment on column alert.directory_teams.tenant_id is 'The tenant. Immutable.';
comment on column alert.directory_teams.id is 'The team. Immutable.';
comment on column alert.directory_teams.revision is 'The directory''s revision that this is.';
comment on column alert.directory_teams.active is 'Whether it takes part.';

create table alert.catalog_services (
    tenant_id uuid not null,
    id uuid not null,
    revision bigint not null,
    name text not null,
    team_id uuid,
    impact smallint,
    retired boolean not null,
    primary key (tenant_id, id)
);
create index catalog_service_name on alert.catalog_services (tenant_id, name);
comment on table alert.catalog_services is 'Read model: the services of the catalog, by the name that labels carry.';
comment on column alert.catalog_services.tenant_id is 'The tenant. Immutable.';
comment on column alert.catalog_services.id is 'The service. Immutable.';
comment on column alert.catalog_services.revision is 'The catalog''s revision that this is.';
comment on column alert.catalog_services.name is 'The short name. Immutable.';
comment on column alert.catalog_services.team_id is 'The team that its incidents go to: support, else owner.';
comment on column alert.catalog_services.impact is 'The impact of its failure, 1 extensive to 4 minor.';
comment on column alert.catalog_services.retired is 'Whether it is out of use.';

create table alert.catalog_configuration_items (
    tenant_id uuid not null,
    id uuid not null,
    revision bigint not null,
    name text not null,
    team_id uuid,
    service_id uuid,
    retired boolean not null,
    primary key (tenant_id, id)
);
create index catalog_configuration_item_name on alert.catalog_configuration_items (tenant_id, name);
comment on table alert.catalog_configuration_items is 'Read model: the configuration items of the catalog, by the name that labels carry.';
comment on column alert.catalog_configuration_items.tenant_id is 'The tenant. Immutable.';
comment on column alert.catalog_configuration_items.id is 'The item. Immutable.';
comment on column alert.catalog_configuration_items.revision is 'The catalog''s revision that this is.';
comment on column alert.catalog_configuration_items.name is 'The short name. Immutable.';
comment on column alert.catalog_configuration_items.team_id is 'The team that its incidents go to: support, else owner.';
comment on column alert.catalog_configuration_items.service_id is 'The service it is part of.';
comment on column alert.catalog_configuration_items.retired is 'Whether it is out of use.';

do $$
declare
    name text;
begin
    foreach name in array array['directory_tenants', 'directory_teams', 'catalog_services', 'catalog_configuration_items'] loop
        execute format('alter table alert.%I enable row level security', name);
        execute format('alter table alert.%I force row level security', name);
        execute format('create policy owner on alert.%I to alert_owner using (true)', name);
        execute format('create policy one_tenant on alert.%I to alert using (tenant_id = (select nullif(current_setting(''itsm.tenant'', true), '''')::uuid))', name);
        if name <> 'directory_tenants' then
            execute format('create policy worker on alert.%I to alert_worker using (tenant_id = any ((select string_to_array(nullif(current_setting(''itsm.tenants'', true), ''''), '',''))::uuid[]))', name);
        end if;
        execute format('grant select, insert, update on alert.%I to alert, alert_worker', name);
    end loop;
end $$;

-- The intake and the mirror of keys find a tenant by its slug, before they can name it.
create policy worker on alert.directory_tenants to alert_worker using (true);

-- Tenants, people, teams, memberships and API keys.

create table directory.tenants (
    id uuid primary key,
    tenant_id uuid not null generated always as (id) stored,
    revision bigint not null,
    slug text not null,
    display_name text not null,
    state text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint tenant_slug unique (slug)
);
comment on table directory.tenants is 'Organisations; nobody sees across them.';
comment on column directory.tenants.id is 'The id, a UUIDv7. Immutable.';
comment on column directory.tenants.tenant_id is 'The id again, so that every table has the same policy. Immutable.';
comment on column directory.tenants.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column directory.tenants.slug is 'The name in subjects. Immutable.';
comment on column directory.tenants.display_name is 'The name people read.';
comment on column directory.tenants.state is 'ACTIVE or SUSPENDED; the keys of a suspended one are refused.';
comment on column directory.tenants.created_at is 'When it was created. Immutable.';
comment on column directory.tenants.updated_at is 'When it last changed.';

create table directory.people (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    kind text not null,
    display_name text not null,
    email text not null,
    time_zone text not null,
    administrator boolean not null,
    state text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index people_page on directory.people (tenant_id, id);
create index people_email on directory.people (tenant_id, email) where email <> '';
create index people_administrators on directory.people (tenant_id) where administrator and state = 'ACTIVE';
comment on table directory.people is 'Who acts: human beings and service accounts. Name and address are here and in no event.';
comment on column directory.people.id is 'The id, a UUIDv7. Immutable.';
comment on column directory.people.tenant_id is 'The tenant. Immutable.';
comment on column directory.people.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column directory.people.kind is 'HUMAN or SERVICE_ACCOUNT. Immutable.';
comment on column directory.people.display_name is 'The name people read. Personal: never in the journal.';
comment on column directory.people.email is 'The mail address; empty when there is none. Personal: never in the journal.';
comment on column directory.people.time_zone is 'An IANA time zone; empty means UTC.';
comment on column directory.people.administrator is 'Whether the person administers the tenant.';
comment on column directory.people.state is 'ACTIVE or DEACTIVATED.';
comment on column directory.people.created_at is 'When it was created. Immutable.';
comment on column directory.people.updated_at is 'When it last changed.';

create table directory.teams (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    name text not null,
    display_name text not null,
    description text not null,
    state text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint team_name unique (tenant_id, name)
);
create index teams_page on directory.teams (tenant_id, id);
comment on table directory.teams is 'People who share work.';
comment on column directory.teams.id is 'The id, a UUIDv7. Immutable.';
comment on column directory.teams.tenant_id is 'The tenant. Immutable.';
comment on column directory.teams.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column directory.teams.name is 'The short name, unique in the tenant, also after the team was retired. Immutable.';
comment on column directory.teams.display_name is 'The name people read.';
comment on column directory.teams.description is 'What the team does.';
comment on column directory.teams.state is 'ACTIVE or RETIRED.';
comment on column directory.teams.created_at is 'When it was created. Immutable.';
comment on column directory.teams.updated_at is 'When it last changed.';

create table directory.memberships (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    team_id uuid not null references directory.teams (id),
    person_id uuid not null references directory.people (id),
    role smallint not null,
    state text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create unique index membership_active on directory.memberships (team_id, person_id) where state = 'ACTIVE';
create index memberships_page on directory.memberships (tenant_id, id);
create index memberships_person on directory.memberships (person_id) where state = 'ACTIVE';
comment on table directory.memberships is 'A person''s role in a team; at most one holds at a time.';
comment on column directory.memberships.id is 'The id, a UUIDv7. Immutable.';
comment on column directory.memberships.tenant_id is 'The tenant. Immutable.';
comment on column directory.memberships.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column directory.memberships.team_id is 'The team. Immutable.';
comment on column directory.memberships.person_id is 'The person. Immutable.';
comment on column directory.memberships.role is '1 viewer, 2 responder, 3 manager; each includes those before it.';
comment on column directory.memberships.state is 'ACTIVE or ENDED.';
comment on column directory.memberships.created_at is 'When it began. Immutable.';
comment on column directory.memberships.updated_at is 'When it last changed.';

create table directory.api_keys (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    person_id uuid not null references directory.people (id),
    display_name text not null,
    scopes text[] not null,
    hint text not null,
    digest bytea not null check (octet_length(digest) = 32),
    expires_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index api_keys_page on directory.api_keys (tenant_id, id);
create index api_keys_person on directory.api_keys (person_id) where revoked_at is null;
comment on table directory.api_keys is 'Credentials. The secret is shown once and kept nowhere.';
comment on column directory.api_keys.id is 'The id, a UUIDv7, and part of the key. Immutable.';
comment on column directory.api_keys.tenant_id is 'The tenant. Immutable.';
comment on column directory.api_keys.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column directory.api_keys.person_id is 'Whose key it is. Immutable.';
comment on column directory.api_keys.display_name is 'What it is for. Immutable.';
comment on column directory.api_keys.scopes is 'The permissions it is limited to; empty means all of the person''s. Immutable.';
comment on column directory.api_keys.hint is 'The first characters of the key. Immutable.';
comment on column directory.api_keys.digest is 'SHA-256 of the secret; a call may write it and not read it. Immutable.';
comment on column directory.api_keys.expires_at is 'When it stops working; null means never. Immutable.';
comment on column directory.api_keys.revoked_at is 'When it was revoked; null while it is not.';
comment on column directory.api_keys.created_at is 'When it was created. Immutable.';
comment on column directory.api_keys.updated_at is 'When it last changed.';

-- Here a worker reads records of all tenants, because sign-in happens before the tenant is known:
-- the key leads to it. It writes none, and of people it sees neither name nor address.
do $$
declare
    name text;
begin
    foreach name in array array['tenants', 'people', 'teams', 'memberships', 'api_keys'] loop
        execute format('alter table directory.%I enable row level security', name);
        execute format('alter table directory.%I force row level security', name);
        execute format('create policy owner on directory.%I to directory_owner using (true)', name);
        execute format('create policy one_tenant on directory.%I to directory using (tenant_id = (select nullif(current_setting(''itsm.tenant'', true), '''')::uuid))', name);
        execute format('create policy worker on directory.%I for select to directory_worker using (true)', name);
    end loop;
end $$;

grant select, insert, update on directory.tenants, directory.people, directory.teams, directory.memberships to directory;
grant insert, update on directory.api_keys to directory;
grant select (id, tenant_id, revision, person_id, display_name, scopes, hint, expires_at, revoked_at, created_at, updated_at)
    on directory.api_keys to directory;
grant select on directory.tenants to directory_worker;
grant select (id, tenant_id, administrator, state) on directory.people to directory_worker;
grant select (tenant_id, team_id, person_id, role, state) on directory.memberships to directory_worker;
grant select (id, tenant_id, person_id, scopes, digest, expires_at, revoked_at) on directory.api_keys to directory_worker;

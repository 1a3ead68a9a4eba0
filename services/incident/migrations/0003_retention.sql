-- What retention leaves behind. Only the owner prunes: no service reads or writes the first table.

create table incident.pruned (
    record_id uuid primary key,
    tenant_id uuid not null,
    at timestamptz not null
);
comment on table incident.pruned is 'Records that retention deleted and whose journal rows still stand: those go with their month, once the feed names none of them.';
comment on column incident.pruned.record_id is 'The record. Immutable.';
comment on column incident.pruned.tenant_id is 'The tenant. Immutable.';
comment on column incident.pruned.at is 'When it was deleted, by domain time. Immutable.';

create table incident.past_tenant (
    tenant_id uuid primary key,
    tenant text not null
);
comment on table incident.past_tenant is 'Tenants of events that the feed no longer keeps: their records are there all the same, and a snapshot has them.';
comment on column incident.past_tenant.tenant_id is 'The tenant. Immutable.';
comment on column incident.past_tenant.tenant is 'Its slug. Immutable.';

do $$
declare
    name text;
begin
    foreach name in array array['pruned', 'past_tenant'] loop
        execute format('alter table incident.%I enable row level security', name);
        execute format('alter table incident.%I force row level security', name);
        execute format('create policy owner on incident.%I to incident_owner using (true)', name);
    end loop;
end $$;
create policy worker on incident.past_tenant for select to incident_worker using (true);
grant select on incident.past_tenant to incident_worker;

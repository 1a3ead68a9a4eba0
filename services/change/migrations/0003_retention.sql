-- What retention leaves behind. Only the owner prunes: no service reads or writes the first table.

create table change.pruned (
    record_id uuid primary key,
    tenant_id uuid not null,
    at timestamptz not null
);
comment on table change.pruned is 'Records that retention deleted and whose journal rows still stand: those go with their month, once the feed names none of them.';
comment on column change.pruned.record_id is 'The record. Immutable.';
comment on column change.pruned.tenant_id is 'The tenant. Immutable.';
comment on column change.pruned.at is 'When it was deleted, by domain time. Immutable.';

create table change.past_tenant (
    tenant_id uuid primary key,
    tenant text not null
);
comment on table change.past_tenant is 'Tenants of events that the feed no longer keeps: their records are there all the same, and a snapshot has them.';
comment on column change.past_tenant.tenant_id is 'The tenant. Immutable.';
comment on column change.past_tenant.tenant is 'Its slug. Immutable.';

do $$
declare
    name text;
begin
    foreach name in array array['pruned', 'past_tenant'] loop
        execute format('alter table change.%I enable row level security', name);
        execute format('alter table change.%I force row level security', name);
        execute format('create policy owner on change.%I to change_owner using (true)', name);
    end loop;
end $$;
create policy worker on change.past_tenant for select to change_worker using (true);
grant select on change.past_tenant to change_worker;

-- Changes, and what this service keeps of the catalog and the directory.

create table change.changes (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    number text not null,
    title text not null,
    description text not null,
    type text not null,
    state text not null,
    risk text not null,
    reason text not null,
    implementation_plan text not null,
    backout_plan text not null,
    test_plan text not null,
    service_ids uuid[] not null,
    ci_ids uuid[] not null,
    assigned_team_id uuid,
    requester_id uuid not null,
    plan_revision bigint not null,
    approver_id uuid,
    approved_at timestamptz,
    approved_plan_revision bigint,
    approval_note text not null,
    planned_start_at timestamptz,
    planned_end_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    outcome_notes text not null,
    review_notes text not null,
    closed_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint change_number unique (tenant_id, number),
    constraint change_plan_order check (planned_start_at < planned_end_at)
);
create index change_page on change.changes (tenant_id, id);
create index change_open on change.changes (tenant_id, state, id) where state not in ('CLOSED', 'CANCELLED');
create index change_team on change.changes (tenant_id, assigned_team_id, id);
comment on table change.changes is 'Changes as they are now; the journal has how they came to be so.';
comment on column change.changes.id is 'The id, a UUIDv7. Immutable.';
comment on column change.changes.tenant_id is 'The tenant. Immutable.';
comment on column change.changes.revision is 'Counts the changes of the record; the journal row of the latest has it too.';
comment on column change.changes.number is 'The number people say. Immutable.';
comment on column change.changes.title is 'One line.';
comment on column change.changes.description is 'More.';
comment on column change.changes.type is 'STANDARD, NORMAL or EMERGENCY. Immutable.';
comment on column change.changes.state is 'DRAFT, REQUESTED, APPROVED, REJECTED, SCHEDULED, IN_PROGRESS, COMPLETED, FAILED, CLOSED or CANCELLED.';
comment on column change.changes.risk is 'MINOR, SIGNIFICANT or MAJOR.';
comment on column change.changes.reason is 'Why it is wanted.';
comment on column change.changes.implementation_plan is 'What will be done.';
comment on column change.changes.backout_plan is 'How it is taken back.';
comment on column change.changes.test_plan is 'How it is known to work.';
comment on column change.changes.service_ids is 'The services affected.';
comment on column change.changes.ci_ids is 'The configuration items affected.';
comment on column change.changes.assigned_team_id is 'The team that carries it out.';
comment on column change.changes.requester_id is 'Who asked for it. Immutable.';
comment on column change.changes.plan_revision is 'Counts the edits of the plan after it was first requested.';
comment on column change.changes.approver_id is 'Who approved; none when the type is authorised beforehand.';
comment on column change.changes.approved_at is 'When it was approved; set while an approval holds and only then.';
comment on column change.changes.approved_plan_revision is 'The edit of the plan that the approval holds for.';
comment on column change.changes.approval_note is 'What the approver said.';
comment on column change.changes.planned_start_at is 'When it shall start.';
comment on column change.changes.planned_end_at is 'When it shall be over; after the start.';
comment on column change.changes.started_at is 'When it started.';
comment on column change.changes.ended_at is 'When it was over.';
comment on column change.changes.outcome_notes is 'What came of it.';
comment on column change.changes.review_notes is 'What was learnt.';
comment on column change.changes.closed_at is 'When it was closed.';
comment on column change.changes.created_at is 'When it was written down. Immutable.';
comment on column change.changes.updated_at is 'When it last changed.';

create table change.catalog_services (
    tenant_id uuid not null,
    id uuid not null,
    revision bigint not null,
    active boolean not null,
    primary key (tenant_id, id)
);
comment on table change.catalog_services is 'Read model: the services of the catalog, which a change may affect.';
comment on column change.catalog_services.tenant_id is 'The tenant. Immutable.';
comment on column change.catalog_services.id is 'The service. Immutable.';
comment on column change.catalog_services.revision is 'The catalog''s revision that this is.';
comment on column change.catalog_services.active is 'Whether it is planned or in use: not retired.';

create table change.catalog_configuration_items (
    tenant_id uuid not null,
    id uuid not null,
    revision bigint not null,
    active boolean not null,
    primary key (tenant_id, id)
);
comment on table change.catalog_configuration_items is 'Read model: the configuration items of the catalog, which a change may affect.';
comment on column change.catalog_configuration_items.tenant_id is 'The tenant. Immutable.';
comment on column change.catalog_configuration_items.id is 'The configuration item. Immutable.';
comment on column change.catalog_configuration_items.revision is 'The catalog''s revision that this is.';
comment on column change.catalog_configuration_items.active is 'Whether it is planned or in use: not retired.';

create table change.directory_teams (
    tenant_id uuid not null,
    id uuid not null,
    revision bigint not null,
    active boolean not null,
    primary key (tenant_id, id)
);
comment on table change.directory_teams is 'Read model: the teams of the directory, which may carry out a change.';
comment on column change.directory_teams.tenant_id is 'The tenant. Immutable.';
comment on column change.directory_teams.id is 'The team. Immutable.';
comment on column change.directory_teams.revision is 'The directory''s revision that this is.';
comment on column change.directory_teams.active is 'Whether it takes part.';

do $$
declare
    name text;
begin
    foreach name in array array['changes', 'catalog_services', 'catalog_configuration_items', 'directory_teams'] loop
        execute format('alter table change.%I enable row level security', name);
        execute format('alter table change.%I force row level security', name);
        execute format('create policy owner on change.%I to change_owner using (true)', name);
        execute format('create policy one_tenant on change.%I to change using (tenant_id = (select nullif(current_setting(''itsm.tenant'', true), '''')::uuid))', name);
        execute format('create policy worker on change.%I to change_worker using (tenant_id = any ((select string_to_array(nullif(current_setting(''itsm.tenants'', true), ''''), '',''))::uuid[]))', name);
        execute format('grant select, insert, update on change.%I to change, change_worker', name);
    end loop;
end $$;

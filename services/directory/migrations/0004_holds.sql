-- Legal holds: what retention leaves alone, whatever its age. Placed and lifted by the operator.

create table directory.hold (
    id uuid primary key,
    tenant_id uuid not null references directory.tenants (id),
    record_id uuid,
    placed_by text not null,
    reason text not null,
    placed_at timestamptz not null,
    lifted_by text,
    lift_reason text,
    lifted_at timestamptz
);
create unique index hold_active on directory.hold (tenant_id, record_id) nulls not distinct where lifted_at is null;
comment on table directory.hold is 'Legal holds, lifted ones too. Kept for ever.';
comment on column directory.hold.id is 'The id, a UUIDv7. Immutable.';
comment on column directory.hold.tenant_id is 'The tenant. Immutable.';
comment on column directory.hold.record_id is 'The record of any service; null means everything of the tenant. Immutable.';
comment on column directory.hold.placed_by is 'Who placed it, in words. Immutable.';
comment on column directory.hold.reason is 'Why. Immutable.';
comment on column directory.hold.placed_at is 'When. Immutable.';
comment on column directory.hold.lifted_by is 'Who lifted it; null while it holds.';
comment on column directory.hold.lift_reason is 'Why it was lifted.';
comment on column directory.hold.lifted_at is 'When it was lifted.';

alter table directory.hold enable row level security;
alter table directory.hold force row level security;
create policy owner on directory.hold to directory_owner using (true);

-- The raw intake by day, so that a day goes as a whole. The provisioner makes the days ahead; what
-- falls into none of them is kept all the same, so that intake never waits for housekeeping.

alter table alert.intake rename to intake_whole;
alter index alert.intake_pkey rename to intake_whole_pkey;
alter index alert.intake_tenant rename to intake_whole_tenant;

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
) partition by range (received_at);
create index intake_tenant on alert.intake (tenant_id, received_at);
comment on table alert.intake is 'Every message of the intake stream, kept before it is read; by its key a redelivery is known. Partitioned by the day it came.';
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

set local timezone to 'UTC';
create table alert.intake_rest partition of alert.intake default;
do $$
declare
    day date := greatest(current_date - 60, least(current_date - 1, (select min(received_at) from alert.intake_whole)::date));
begin
    while day <= current_date + 3 loop
        execute format('create table alert.intake_%s partition of alert.intake for values from (%L) to (%L)',
            to_char(day, 'YYYY_MM_DD'), day::timestamptz, (day + 1)::timestamptz);
        day := day + 1;
    end loop;
end $$;
insert into alert.intake select * from alert.intake_whole;
drop table alert.intake_whole;

alter table alert.intake enable row level security;
alter table alert.intake force row level security;
create policy owner on alert.intake to alert_owner using (true);
create policy one_tenant on alert.intake to alert using (tenant_id = (select nullif(current_setting('itsm.tenant', true), '')::uuid));
-- A message may name no tenant that exists, and is kept nevertheless.
create policy worker on alert.intake to alert_worker using (tenant_id is null or tenant_id = any ((select string_to_array(nullif(current_setting('itsm.tenants', true), ''), ','))::uuid[]));
grant select, insert, update on alert.intake to alert_worker;

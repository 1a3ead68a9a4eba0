-- The log of tries by the month of its delivery, which a UUIDv7 carries, so that a month goes as a
-- whole. A try no longer refers to its delivery: either may be gone before the other.

alter table notification.attempts rename to attempts_whole;
alter index notification.attempts_pkey rename to attempts_whole_pkey;

create table notification.attempts (
    tenant_id uuid not null,
    delivery_id uuid not null,
    number integer not null,
    claimant uuid not null,
    started_at timestamptz not null,
    ended_at timestamptz,
    outcome text,
    detail text not null,
    primary key (delivery_id, number)
) partition by range (delivery_id);

comment on table notification.attempts is 'Every try to deliver; the row is committed before anything is sent. Partitioned by the month of the delivery.';
comment on column notification.attempts.tenant_id is 'The tenant. Immutable.';
comment on column notification.attempts.delivery_id is 'The delivery. Immutable.';
comment on column notification.attempts.number is '1 is the first. Immutable.';
comment on column notification.attempts.claimant is 'The process that tries. Immutable.';
comment on column notification.attempts.started_at is 'When it began. Immutable.';
comment on column notification.attempts.ended_at is 'When it ended; none when it never came to an end.';
comment on column notification.attempts.outcome is 'delivered, retry, gone, refused or unknown; none while it runs.';
comment on column notification.attempts.detail is 'What the receiver or the network said.';

set local timezone to 'UTC';
do $$
declare
    -- Of an id the first 48 bits are milliseconds since 1970.
    oldest uuid := (select delivery_id from notification.attempts_whole order by delivery_id limit 1);
    since timestamptz := to_timestamp(('x' || lpad(left(replace(oldest::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0);
    month timestamptz := date_trunc('month', least(since, now() - interval '1 month'));
    low uuid;
    high uuid;
begin
    while month <= now() + interval '3 months' loop
        low := lpad(to_hex((extract(epoch from month) * 1000)::bigint), 12, '0') || repeat('0', 20);
        high := lpad(to_hex((extract(epoch from month + interval '1 month') * 1000)::bigint), 12, '0') || repeat('0', 20);
        execute format('create table notification.attempts_%s partition of notification.attempts for values from (%L) to (%L)',
            to_char(month, 'YYYY_MM'), low, high);
        month := month + interval '1 month';
    end loop;
end $$;
insert into notification.attempts select * from notification.attempts_whole;
drop table notification.attempts_whole;

alter table notification.attempts enable row level security;
alter table notification.attempts force row level security;
create policy owner on notification.attempts to notification_owner using (true);
create policy one_tenant on notification.attempts to notification using (tenant_id = (select nullif(current_setting('itsm.tenant', true), '')::uuid));
create policy worker on notification.attempts to notification_worker using (tenant_id = any ((select string_to_array(nullif(current_setting('itsm.tenants', true), ''), ','))::uuid[]));
grant select, insert, update on notification.attempts to notification, notification_worker;

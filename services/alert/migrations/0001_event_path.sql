-- The event path: the same tables in every service, which only kit reads and writes.
-- In the order of an event's life: journal and outbox (written by the command), feed (numbered by
-- the relay), lease (who is the relay, who consumes what and how far), attempt and dead_letter
-- (events of others that fail here), request (kept answers), timer (what is due), number.

create table alert.journal (
    tenant_id uuid not null,
    tenant text not null,
    record_id uuid not null,
    revision bigint not null,
    event_id uuid not null,
    type text not null,
    body bytea not null,
    actor text not null,
    at timestamptz not null,
    request_id text,
    trace_parent text,
    primary key (record_id, revision)
) partition by range (record_id);
comment on table alert.journal is 'History: every event of every record, never changed. Partitioned by the month of the record''s creation, which a UUIDv7 carries.';
comment on column alert.journal.tenant_id is 'The tenant. Immutable.';
comment on column alert.journal.tenant is 'The tenant''s slug, as in subjects. Immutable.';
comment on column alert.journal.record_id is 'The record that it happened to. Immutable.';
comment on column alert.journal.revision is 'The revision of the record that it made. Immutable.';
comment on column alert.journal.event_id is 'The event. Immutable.';
comment on column alert.journal.type is 'What happened; the last token of the subject. Immutable.';
comment on column alert.journal.body is 'The encoded event message. Changed by redaction alone.';
comment on column alert.journal.actor is 'Who did it: person:<id> or system:<service>/<rule>. Immutable.';
comment on column alert.journal.at is 'When, by domain time. Immutable.';
comment on column alert.journal.request_id is 'The request that caused it, when there was one. Immutable.';
comment on column alert.journal.trace_parent is 'W3C trace context of what caused it. Immutable.';

create table alert.outbox (
    seq bigserial primary key,
    tenant_id uuid not null,
    record_id uuid not null,
    revision bigint not null
);
comment on table alert.outbox is 'Events that are not yet numbered; the relay takes them in order of seq.';
comment on column alert.outbox.seq is 'Drawn while the record is locked, so that it keeps the order of a record''s events.';
comment on column alert.outbox.tenant_id is 'The tenant.';
comment on column alert.outbox.record_id is 'The record.';
comment on column alert.outbox.revision is 'The revision, which is the journal row.';

create table alert.feed (
    position bigint not null,
    tenant_id uuid not null,
    record_id uuid not null,
    revision bigint not null,
    epoch bigint not null,
    at timestamptz not null,
    primary key (position)
) partition by range (position);
create index feed_tenant on alert.feed (tenant_id, position);
comment on table alert.feed is 'The one order of this service''s events, dense, filled by the relay alone.';
comment on column alert.feed.position is 'The place in the order; never reused. Immutable.';
comment on column alert.feed.tenant_id is 'The tenant. Immutable.';
comment on column alert.feed.record_id is 'The record. Immutable.';
comment on column alert.feed.revision is 'The revision, which is the journal row. Immutable.';
comment on column alert.feed.epoch is 'The relay''s lease epoch that numbered it; never falls as position rises. Immutable.';
comment on column alert.feed.at is 'When it was numbered, by the database''s clock. Immutable.';

create table alert.lease (
    name text primary key,
    holder text not null,
    epoch bigint not null,
    expires_at timestamptz not null,
    position bigint not null,
    incarnation uuid not null,
    bootstrapped boolean not null
);
comment on table alert.lease is 'Who is the one relay, or the one consumer of a source, and how far it is.';
comment on column alert.lease.name is 'relay, or consumer:<source>. Immutable.';
comment on column alert.lease.holder is 'The replica that holds it.';
comment on column alert.lease.epoch is 'Counts the holders; an older one writes nothing.';
comment on column alert.lease.expires_at is 'When another may take it, by the database''s clock.';
comment on column alert.lease.position is 'Of the relay: acknowledged by the stream up to here. Of a consumer: applied up to here.';
comment on column alert.lease.incarnation is 'Of the relay: which life of the feed this is. Of a consumer: which one of its source it follows.';
comment on column alert.lease.bootstrapped is 'Whether a consumer''s read model was filled.';

create table alert.attempt (
    source text not null,
    position bigint not null,
    tries integer not null,
    last_error text not null,
    at timestamptz not null,
    primary key (source, position)
);
comment on table alert.attempt is 'Counted tries of events that failed for their own sake.';
comment on column alert.attempt.source is 'The service that said the event.';
comment on column alert.attempt.position is 'Its position in that service''s feed.';
comment on column alert.attempt.tries is 'How often it was tried; committed before each try.';
comment on column alert.attempt.last_error is 'How the try before ended.';
comment on column alert.attempt.at is 'When the latest try began, by the database''s clock.';

create table alert.dead_letter (
    source text not null,
    position bigint not null,
    tenant_id uuid not null,
    tenant text not null,
    record_id uuid not null,
    revision bigint not null,
    event_id uuid not null,
    type text not null,
    body bytea not null,
    event_at timestamptz not null,
    trace_parent text not null,
    reason text not null,
    at timestamptz not null,
    replay boolean not null default false,
    primary key (source, position)
);
create index dead_letter_record on alert.dead_letter (source, record_id);
comment on table alert.dead_letter is 'Events set aside after five tries, and later ones of the same record; a replay takes them out.';
comment on column alert.dead_letter.source is 'The service that said the event.';
comment on column alert.dead_letter.position is 'Its position in that service''s feed.';
comment on column alert.dead_letter.tenant_id is 'The tenant.';
comment on column alert.dead_letter.tenant is 'The tenant''s slug.';
comment on column alert.dead_letter.record_id is 'The record of the source.';
comment on column alert.dead_letter.revision is 'The revision that the event made there.';
comment on column alert.dead_letter.event_id is 'The event.';
comment on column alert.dead_letter.type is 'What happened.';
comment on column alert.dead_letter.body is 'The encoded event message.';
comment on column alert.dead_letter.event_at is 'When it happened.';
comment on column alert.dead_letter.trace_parent is 'W3C trace context.';
comment on column alert.dead_letter.reason is 'Why it was set aside.';
comment on column alert.dead_letter.at is 'When it was set aside, by the database''s clock.';
comment on column alert.dead_letter.replay is 'Whether a person asked to apply it again; the consumer does so, in order.';

create table alert.request (
    tenant_id uuid not null,
    caller text not null,
    method text not null,
    request_id text not null,
    digest bytea not null,
    record_id uuid not null,
    revision bigint not null,
    at timestamptz not null,
    constraint request_pkey primary key (tenant_id, caller, method, request_id)
);
create index request_at on alert.request (at);
comment on table alert.request is 'Kept answers: the same request again gets the record as it was then. Kept for 24 hours.';
comment on column alert.request.tenant_id is 'The tenant. Immutable.';
comment on column alert.request.caller is 'The person. Immutable.';
comment on column alert.request.method is 'The method. Immutable.';
comment on column alert.request.request_id is 'The caller''s key. Immutable.';
comment on column alert.request.digest is 'SHA-256 of the request without its key. Immutable.';
comment on column alert.request.record_id is 'The record answered. Immutable.';
comment on column alert.request.revision is 'The revision answered, which is the journal row. Immutable.';
comment on column alert.request.at is 'When, by domain time. Immutable.';

create table alert.timer (
    tenant_id uuid not null,
    tenant text not null,
    record_id uuid not null,
    kind text not null,
    due_at timestamptz not null,
    retry_at timestamptz,
    primary key (record_id, kind)
);
create index timer_due on alert.timer (due_at);
comment on table alert.timer is 'What is due when; a sweep takes the rows that are due.';
comment on column alert.timer.tenant_id is 'The tenant.';
comment on column alert.timer.tenant is 'The tenant''s slug.';
comment on column alert.timer.record_id is 'The record.';
comment on column alert.timer.kind is 'What for.';
comment on column alert.timer.due_at is 'The instant it is due, by domain time.';
comment on column alert.timer.retry_at is 'Not before this time, after it failed.';

create table alert.number (
    tenant_id uuid not null,
    prefix text not null,
    next bigint not null,
    primary key (tenant_id, prefix)
);
comment on table alert.number is 'The numbers that people say, handed out in blocks.';
comment on column alert.number.tenant_id is 'The tenant.';
comment on column alert.number.prefix is 'Such as INC. Immutable.';
comment on column alert.number.next is 'The first number not yet reserved.';

-- Partitions: the journal's month before, this one and three more; the feed's first three million.
-- The provisioner goes on from there.
set local timezone to 'UTC';
do $$
declare
    month timestamptz := date_trunc('month', now());
    low uuid;
    high uuid;
begin
    for step in -1..3 loop
        low := lpad(to_hex((extract(epoch from month + make_interval(months => step)) * 1000)::bigint), 12, '0') || repeat('0', 20);
        high := lpad(to_hex((extract(epoch from month + make_interval(months => step + 1)) * 1000)::bigint), 12, '0') || repeat('0', 20);
        execute format('create table alert.journal_%s partition of alert.journal for values from (%L) to (%L)',
            to_char(month + make_interval(months => step), 'YYYY_MM'), low, high);
    end loop;
    for step in 0..2 loop
        execute format('create table alert.feed_%s partition of alert.feed for values from (%s) to (%s)',
            step, step * 1000000, (step + 1) * 1000000);
    end loop;
end $$;

-- Row-level security: a call sees its one tenant; a worker sees every event, and records only of
-- the tenants that its transaction names; the owner, who migrates, sees all.
do $$
declare
    one_tenant constant text := 'tenant_id = (select nullif(current_setting(''itsm.tenant'', true), '''')::uuid)';
    event_path constant text[] := array['journal', 'outbox', 'feed', 'dead_letter', 'request', 'timer', 'number'];
    name text;
begin
    foreach name in array event_path loop
        execute format('alter table alert.%I enable row level security', name);
        execute format('alter table alert.%I force row level security', name);
        execute format('create policy owner on alert.%I to alert_owner using (true)', name);
        execute format('create policy one_tenant on alert.%I to alert using (%s)', name, one_tenant);
        execute format('create policy worker on alert.%I to alert_worker using (true)', name);
    end loop;
end $$;

grant usage on schema alert to alert, alert_worker;
grant select, insert on alert.journal to alert, alert_worker;
grant insert on alert.outbox to alert;
grant select, insert, delete on alert.outbox to alert_worker;
grant usage on sequence alert.outbox_seq_seq to alert, alert_worker;
grant select on alert.feed to alert;
grant select, insert on alert.feed to alert_worker;
grant select, insert, update on alert.lease to alert_worker;
grant select, insert, update on alert.attempt to alert_worker;
grant select, insert, update, delete on alert.dead_letter to alert_worker;
grant select, insert on alert.request to alert;
grant select, insert, update, delete on alert.timer to alert, alert_worker;
grant select, insert, update on alert.number to alert, alert_worker;

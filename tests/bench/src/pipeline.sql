-- What the bare pipeline writes: no tenants, no history, no rights.
drop schema if exists incident, sla, notify cascade;
create schema incident;
create schema sla;
create schema notify;
create table incident.incidents (
    id uuid primary key,
    title text not null,
    description text not null,
    severity smallint not null,
    status text not null,
    source text not null,
    fingerprint text not null,
    occurrences integer not null default 1,
    created_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now()
);
create unique index on incident.incidents (fingerprint) where status <> 'closed';
create index on incident.incidents (status, created_at);
create table incident.timeline (
    id bigserial primary key,
    incident_id uuid not null,
    at timestamptz not null default now(),
    kind text not null,
    body jsonb not null
);
create table incident.outbox (
    id bigserial primary key,
    subject text not null,
    payload text not null,
    created_at timestamptz not null default now()
);
create table sla.inbox (msg_id uuid primary key);
create table sla.clocks (
    id bigserial primary key,
    incident_id uuid not null,
    kind text not null,
    due_at timestamptz not null,
    state text not null default 'running'
);
create index on sla.clocks (due_at) where state = 'running';
create table notify.deliveries (
    incident_id uuid primary key,
    channel text not null,
    target text not null,
    status text not null,
    attempts integer not null default 0,
    created_at timestamptz not null default now()
);

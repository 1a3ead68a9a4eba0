-- What one transaction that opens an incident writes, and nothing more.
set client_min_messages = warning;
drop table if exists incidents, timeline, outbox cascade;
create table incidents (
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
create unique index incidents_open_fp on incidents (fingerprint) where status <> 'closed';
create index incidents_status_created on incidents (status, created_at);
create table timeline (
    id bigserial primary key,
    incident_id uuid not null,
    at timestamptz not null default now(),
    kind text not null,
    body jsonb not null
);
create table outbox (
    id bigserial primary key,
    subject text not null,
    payload jsonb not null,
    created_at timestamptz not null default now()
);

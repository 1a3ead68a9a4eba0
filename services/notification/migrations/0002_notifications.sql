-- Ways to reach people, rules, texts, deliveries with their attempts, and what this service keeps
-- of others.

create table notification.contact_methods (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    person_id uuid not null,
    method text not null,
    display_name text not null,
    address text not null,
    sealed_secret bytea,
    state text not null,
    state_reason text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index contact_method_person on notification.contact_methods (tenant_id, person_id);
comment on table notification.contact_methods is 'By which ways a person is reached.';
comment on column notification.contact_methods.id is 'The id, a UUIDv7. Immutable.';
comment on column notification.contact_methods.tenant_id is 'The tenant. Immutable.';
comment on column notification.contact_methods.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column notification.contact_methods.person_id is 'Whom it reaches. Immutable.';
comment on column notification.contact_methods.method is 'MAIL or WEBHOOK. Immutable.';
comment on column notification.contact_methods.display_name is 'What it is.';
comment on column notification.contact_methods.address is 'The mail address or the URL; never in an event or a log.';
comment on column notification.contact_methods.sealed_secret is 'The signing secret of a webhook, sealed with the key of the installation. Immutable.';
comment on column notification.contact_methods.state is 'ACTIVE or DISABLED.';
comment on column notification.contact_methods.state_reason is 'Why it is disabled.';
comment on column notification.contact_methods.created_at is 'When it was added. Immutable.';
comment on column notification.contact_methods.updated_at is 'When it last changed.';

create table notification.rules (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    display_name text not null,
    event_type text not null,
    filter text not null,
    to_assigned_team boolean not null,
    to_assignee boolean not null,
    to_team_ids uuid[] not null,
    to_person_ids uuid[] not null,
    else_administrators boolean not null,
    methods text[] not null,
    template_id uuid,
    repeat_after_seconds bigint not null,
    state text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);
create index rule_event on notification.rules (tenant_id, event_type) where state = 'ACTIVE';
create index rule_template on notification.rules (tenant_id, template_id) where template_id is not null;
comment on table notification.rules is 'Which events are told to whom.';
comment on column notification.rules.id is 'The id, a UUIDv7. Immutable.';
comment on column notification.rules.tenant_id is 'The tenant. Immutable.';
comment on column notification.rules.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column notification.rules.display_name is 'The name people read.';
comment on column notification.rules.event_type is 'The event, <service>.<type>.';
comment on column notification.rules.filter is 'Which records; empty for all.';
comment on column notification.rules.to_assigned_team is 'Whether the members of the team that has the record are told.';
comment on column notification.rules.to_assignee is 'Whether the person that has it is told.';
comment on column notification.rules.to_team_ids is 'The teams whose members are told.';
comment on column notification.rules.to_person_ids is 'The people who are told.';
comment on column notification.rules.else_administrators is 'Whether the administrators are told when nobody else can be.';
comment on column notification.rules.methods is 'By which ways; empty for every way.';
comment on column notification.rules.template_id is 'The text; none for the built-in one.';
comment on column notification.rules.repeat_after_seconds is 'Tell once more after this time while nobody has acknowledged; 0 for never.';
comment on column notification.rules.state is 'ACTIVE or DISABLED.';
comment on column notification.rules.created_at is 'When it was created. Immutable.';
comment on column notification.rules.updated_at is 'When it last changed.';

create table notification.templates (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    name text not null,
    display_name text not null,
    subject text not null,
    body text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint template_name unique (tenant_id, name)
);
comment on table notification.templates is 'The texts of messages.';
comment on column notification.templates.id is 'The id, a UUIDv7. Immutable.';
comment on column notification.templates.tenant_id is 'The tenant. Immutable.';
comment on column notification.templates.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column notification.templates.name is 'The short name. Immutable.';
comment on column notification.templates.display_name is 'The name people read.';
comment on column notification.templates.subject is 'The template of the subject line.';
comment on column notification.templates.body is 'The template of the text.';
comment on column notification.templates.created_at is 'When it was created. Immutable.';
comment on column notification.templates.updated_at is 'When it last changed.';

create table notification.deliveries (
    id uuid primary key,
    tenant_id uuid not null,
    revision bigint not null,
    rule_id uuid,
    event_id uuid not null,
    event_type text not null,
    subject_record_id uuid not null,
    subject_record_number text not null,
    incident_id uuid,
    person_id uuid not null,
    contact_method_id uuid not null references notification.contact_methods (id),
    method text not null,
    sequence integer not null,
    repeat_after_seconds bigint not null,
    state text not null,
    reason text not null,
    attempt_count integer not null,
    next_attempt_at timestamptz,
    delivered_at timestamptz,
    message_subject text not null,
    message_body text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint delivery_once unique (tenant_id, event_id, person_id, contact_method_id, sequence)
);
create index delivery_pending on notification.deliveries (tenant_id, subject_record_id) where state = 'PENDING';
create index delivery_incident on notification.deliveries (tenant_id, incident_id) where incident_id is not null;
create index delivery_subject on notification.deliveries (tenant_id, subject_record_id, id);
comment on table notification.deliveries is 'One message to one person by one way about one event.';
comment on column notification.deliveries.id is 'The id, a UUIDv7; also the webhook-id and the Message-ID. Immutable.';
comment on column notification.deliveries.tenant_id is 'The tenant. Immutable.';
comment on column notification.deliveries.revision is 'Counts the changes; the journal row of the latest has it too.';
comment on column notification.deliveries.rule_id is 'The rule that asked for it; none for a test. Immutable.';
comment on column notification.deliveries.event_id is 'The event it is about. Immutable.';
comment on column notification.deliveries.event_type is 'Its type, <service>.<type>. Immutable.';
comment on column notification.deliveries.subject_record_id is 'The record that the event happened to. Immutable.';
comment on column notification.deliveries.subject_record_number is 'Its number, if it has one. Immutable.';
comment on column notification.deliveries.incident_id is 'The incident whose acknowledgement or end makes it needless, if one. Immutable.';
comment on column notification.deliveries.person_id is 'Who is told. Immutable.';
comment on column notification.deliveries.contact_method_id is 'By which way of theirs. Immutable.';
comment on column notification.deliveries.method is 'MAIL or WEBHOOK. Immutable.';
comment on column notification.deliveries.sequence is '1 is the first message, 2 the repeat. Immutable.';
comment on column notification.deliveries.repeat_after_seconds is 'After what time it is told once more; 0 for never. Immutable.';
comment on column notification.deliveries.state is 'PENDING, DELIVERED, FAILED or CANCELLED.';
comment on column notification.deliveries.reason is 'Which rule asked for it, or why it was given up or cancelled.';
comment on column notification.deliveries.attempt_count is 'How often it was tried; moves without a revision.';
comment on column notification.deliveries.next_attempt_at is 'When it is tried next while pending; moves without a revision.';
comment on column notification.deliveries.delivered_at is 'When the receiver took it.';
comment on column notification.deliveries.message_subject is 'The rendered subject line. Immutable.';
comment on column notification.deliveries.message_body is 'The rendered text, or the JSON of a webhook. Immutable.';
comment on column notification.deliveries.created_at is 'When it was asked for. Immutable.';
comment on column notification.deliveries.updated_at is 'When it last changed.';

create table notification.attempts (
    tenant_id uuid not null,
    delivery_id uuid not null references notification.deliveries (id),
    number integer not null,
    claimant uuid not null,
    started_at timestamptz not null,
    ended_at timestamptz,
    outcome text,
    detail text not null,
    primary key (delivery_id, number)
);
comment on table notification.attempts is 'Every try to deliver; the row is committed before anything is sent.';
comment on column notification.attempts.tenant_id is 'The tenant. Immutable.';
comment on column notification.attempts.delivery_id is 'The delivery. Immutable.';
comment on column notification.attempts.number is '1 is the first. Immutable.';
comment on column notification.attempts.claimant is 'The process that tries. Immutable.';
comment on column notification.attempts.started_at is 'When it began. Immutable.';
comment on column notification.attempts.ended_at is 'When it ended; none when it never came to an end.';
comment on column notification.attempts.outcome is 'delivered, retry, gone, refused or unknown; none while it runs.';
comment on column notification.attempts.detail is 'What the receiver or the network said.';

create table notification.directory_people (
    tenant_id uuid not null,
    id uuid not null,
    revision bigint not null,
    active boolean not null,
    administrator boolean not null,
    primary key (tenant_id, id)
);
comment on table notification.directory_people is 'Read model: the people of the directory, as far as telling them needs it.';
comment on column notification.directory_people.tenant_id is 'The tenant. Immutable.';
comment on column notification.directory_people.id is 'The person. Immutable.';
comment on column notification.directory_people.revision is 'The directory''s revision that this is.';
comment on column notification.directory_people.active is 'Whether the person takes part.';
comment on column notification.directory_people.administrator is 'Whether the person administers the tenant.';

create table notification.directory_teams (
    tenant_id uuid not null,
    id uuid not null,
    revision bigint not null,
    active boolean not null,
    primary key (tenant_id, id)
);
comment on table notification.directory_teams is 'Read model: the teams of the directory.';
comment on column notification.directory_teams.tenant_id is 'The tenant. Immutable.';
comment on column notification.directory_teams.id is 'The team. Immutable.';
comment on column notification.directory_teams.revision is 'The directory''s revision that this is.';
comment on column notification.directory_teams.active is 'Whether it takes part.';

create table notification.directory_memberships (
    tenant_id uuid not null,
    id uuid not null,
    revision bigint not null,
    team_id uuid not null,
    person_id uuid not null,
    active boolean not null,
    primary key (tenant_id, id)
);
create index directory_membership_team on notification.directory_memberships (tenant_id, team_id) where active;
comment on table notification.directory_memberships is 'Read model: who belongs to which team.';
comment on column notification.directory_memberships.tenant_id is 'The tenant. Immutable.';
comment on column notification.directory_memberships.id is 'The membership. Immutable.';
comment on column notification.directory_memberships.revision is 'The directory''s revision that this is.';
comment on column notification.directory_memberships.team_id is 'The team. Immutable.';
comment on column notification.directory_memberships.person_id is 'The person. Immutable.';
comment on column notification.directory_memberships.active is 'Whether it holds.';

create table notification.incident_incidents (
    tenant_id uuid not null,
    id uuid not null,
    revision bigint not null,
    number text not null,
    title text not null,
    attention text not null,
    assignee_id uuid,
    primary key (tenant_id, id)
);
comment on table notification.incident_incidents is 'Read model: which incidents still need somebody''s attention.';
comment on column notification.incident_incidents.tenant_id is 'The tenant. Immutable.';
comment on column notification.incident_incidents.id is 'The incident. Immutable.';
comment on column notification.incident_incidents.revision is 'The incident service''s revision that this is.';
comment on column notification.incident_incidents.number is 'The number people say. Immutable.';
comment on column notification.incident_incidents.title is 'One line.';
comment on column notification.incident_incidents.attention is 'WANTED, ACKNOWLEDGED or OVER.';
comment on column notification.incident_incidents.assignee_id is 'The person that has it.';

do $$
declare
    name text;
begin
    foreach name in array array['contact_methods', 'rules', 'templates', 'deliveries', 'attempts',
            'directory_people', 'directory_teams', 'directory_memberships', 'incident_incidents'] loop
        execute format('alter table notification.%I enable row level security', name);
        execute format('alter table notification.%I force row level security', name);
        execute format('create policy owner on notification.%I to notification_owner using (true)', name);
        execute format('create policy one_tenant on notification.%I to notification using (tenant_id = (select nullif(current_setting(''itsm.tenant'', true), '''')::uuid))', name);
        execute format('create policy worker on notification.%I to notification_worker using (tenant_id = any ((select string_to_array(nullif(current_setting(''itsm.tenants'', true), ''''), '',''))::uuid[]))', name);
        execute format('grant select, insert, update on notification.%I to notification, notification_worker', name);
    end loop;
end $$;

\set s random(1, 1000000000)
begin;
insert into incidents (id, title, description, severity, status, source, fingerprint, occurrences, created_at, last_seen_at) values (gen_random_uuid(), 'disk full on db-1', 'Filesystem /var is 97% full on host db-1 since 3 minutes', 2, 'open', 'prometheus', gen_random_uuid()::text || :s, 1, now(), now());
insert into timeline (incident_id, kind, body) values (gen_random_uuid(), 'created', '{"by":"alert","rule":"DiskFull","host":"db-1"}');
insert into outbox (subject, payload) values ('itsm.incident.created', '{"id":"0190c0de-0000-7000-8000-000000000000","title":"disk full on db-1","severity":2,"source":"prometheus","fingerprint":"abc","created_at":"2026-01-01T00:00:00Z"}');
commit;

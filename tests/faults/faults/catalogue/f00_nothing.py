"""F00: nothing is broken, and then the evidence is: the checker must be quiet first, and then speak.

Each tampering is made in a transaction of its own, shown to the checker, and rolled back.
"""

from __future__ import annotations

import asyncio
from typing import Any, Callable

import psycopg

from .. import checker
from ..context import Context, Stage
from ..report import Report

number, title, selection = "F00", "nothing broken", "ci"

AN_INCIDENT = "(select id from incident.incidents where state <> 'CLOSED' and title not like 'probe%' order by id limit 1)"
A_DELIVERY = "(select id from notification.deliveries where state = 'DELIVERED' and sequence = 1 and method = 'WEBHOOK' and event_type = 'incident.opened' order by id limit 1)"
# What is done, by what statements, and which invariants may say so.
TAMPERINGS: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
    ("an incident is gone", (f"delete from incident.incidents where id = {AN_INCIDENT}",), ("I1",)),
    ("an incident is there twice", (
        f"create temp table twin on commit drop as select * from incident.incidents where id = {AN_INCIDENT}",
        "update twin set id = gen_random_uuid(), number = 'INC9999999'", "insert into incident.incidents select * from twin"), ("I2",)),
    ("the last event of an incident is gone", (
        f"delete from incident.journal j where j.record_id = {AN_INCIDENT} and revision = "
        f"(select max(revision) from incident.journal where record_id = {AN_INCIDENT})",), ("I9",)),
    ("an incident was changed without an event", (f"update incident.incidents set title = 'changed' where id = {AN_INCIDENT}",), ("I9",)),
    ("an event was never numbered", ("delete from incident.feed where position = 10",), ("I3",)),
    ("an old holder numbered an event", ("update incident.feed set epoch = 0 where position = 10",), ("epoch",)),
    ("an event waits for ever", (f"insert into incident.outbox (tenant_id, record_id, revision) select tenant_id, id, 1 from incident.incidents where id = {AN_INCIDENT}",), ("I3",)),
    ("a consumer is behind", ("update sla.lease set position = position - 1 where name = 'consumer:incident'",), ("I4",)),
    ("an event was set aside", (
        "insert into sla.dead_letter (source, position, tenant_id, tenant, record_id, revision, event_id, type, body, event_at, trace_parent, reason, at) "
        "select 'incident', 1, tenant_id, tenant, record_id, revision, event_id, type, body, at, '', 'tampered', at from incident.journal limit 1",), ("I4",)),
    ("an incident has no clock", (f"delete from sla.clocks where incident_id = {AN_INCIDENT} and metric = 'RESPONSE'",), ("I4",)),
    ("a breach was told twice", (
        "create temp table twin on commit drop as select * from sla.journal where type = 'clock_breached' order by record_id, revision limit 1",
        "update twin set event_id = gen_random_uuid(), revision = (select max(revision) + 1 from sla.journal j where j.record_id = twin.record_id)",
        "insert into sla.journal select * from twin"), ("I6",)),
    ("a breach was forgotten", ("update sla.clocks set breached_at = null where breached_at is not null",), ("I6",)),
    ("a revision is missing", ("delete from sla.journal where (record_id, revision) = (select record_id, 1 from sla.clocks c join sla.journal j on j.record_id = c.id where c.revision > 1 limit 1)",), ("I5",)),
    ("nobody was told", (f"delete from notification.attempts where delivery_id = {A_DELIVERY}", f"delete from notification.deliveries where id = {A_DELIVERY}"), ("I7",)),
    ("a message was sent without an attempt", (f"delete from notification.attempts where delivery_id = {A_DELIVERY}",), ("I7",)),
    ("an incident is another tenant's", (f"update incident.incidents i set number = 'INC9999999', tenant_id = (select id from directory.tenants t where t.id <> i.tenant_id limit 1) where id = {AN_INCIDENT}",), ("I8",)),
    ("a read model is behind", (f"update sla.incident_incidents set revision = revision - 1 where id = {AN_INCIDENT}",), ("I10",)),
    ("a raw alert is gone", ("delete from alert.intake where (incarnation, sequence) = (select incarnation, max(sequence) from alert.intake where encode(body, 'escape') not like '%probe%' group by 1 limit 1)",), ("I1",)),
    ("an alert was counted twice", ("update alert.alerts set occurrence_count = occurrence_count + 1 where dedup_key not like 'probe%'",), ("I2",)),
    ("an alert is gone", ("delete from alert.alerts where id = (select id from alert.alerts where dedup_key not like 'probe%' limit 1)",), ("I1",)),
]


def run(context: Context) -> list[Report]:
    """Load, the end, and then what the checker says when the evidence is tampered with."""
    with context.stage() as stage:
        stage.driver.start()
        stage.driver.wait_acknowledged(250)
        stage.drained()
        report = stage.finish()
        return [report] if context.options.selection == "ci" else [report, tampered(stage)]


def tampered(stage: Stage) -> Report:
    """One row for all of them."""
    report = Report(number, "the checker, its evidence tampered with")
    streams = asyncio.run(checker.read_streams(stage.system))
    with stage.system.postgres.connect(autocommit=False) as connection:
        before = _said(checker.Evidence.read(stage, connection, streams))
        connection.rollback()
        for name, statements, invariants in TAMPERINGS:
            # No constraint shall stand in the way.
            connection.execute("set local session_replication_role = replica")
            try:
                for statement in statements:
                    if connection.execute(statement).rowcount == 0:
                        report.misses.append(f"{name}: there was nothing to tamper with")
            except psycopg.Error as error:
                report.misses.append(f"{name}: cannot be done: {error}")
                connection.rollback()
                continue
            _expect(report, name, invariants, before, _said(checker.Evidence.read(stage, connection, streams)))
            connection.rollback()
        in_memory: list[tuple[str, Callable[[Any], object], str]] = [
            ("a copy is missing in a stream", lambda evidence: evidence.streams["incident"].pop(), "I3"),
            ("a message never arrived", lambda evidence: evidence.received.pop(), "I7"),
            ("a message arrived twice", lambda evidence: evidence.received.append(evidence.received[-1]), "I7"),
            ("a stranger's event is in a stream", lambda evidence: evidence.streams["sla"].append({"Nats-Msg-Id": "x", "subject": "y"}), "I3"),
            ("a lease stepped back", lambda evidence: evidence.falls.append("tampered"), "lease"),
        ]
        for name, tamper, invariant in in_memory:
            evidence = checker.Evidence.read(stage, connection, {key: list(value) for key, value in streams.items()})
            tamper(evidence)
            _expect(report, name, (invariant,), before, _said(evidence))
            connection.rollback()
    report.injections = len(TAMPERINGS) + len(in_memory)
    return report


def _said(evidence: Any) -> set[tuple[str, str]]:
    return {(violation.invariant, violation.what) for violation in checker.judge(evidence)}


def _expect(report: Report, name: str, invariants: tuple[str, ...], before: set[tuple[str, str]], after: set[tuple[str, str]]) -> None:
    """Something new must be said, by one of these invariants."""
    new = {invariant for invariant, _ in after - before}
    if not new & set(invariants):
        report.misses.append(f"{name}: {' or '.join(invariants)} should have said so, and {', '.join(sorted(new)) or 'nobody'} did")

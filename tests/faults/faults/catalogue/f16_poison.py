"""F16: events that cannot be applied.

On NATS anything may come: garbage, forged headers, a stream's own acknowledgement. It is counted and
dropped, and nobody waits for it. What the owner's own feed returns cannot be dropped: here an event is
spoiled in the owner's journal while its follower is down. After five tries it is set aside with its
reason, later events of that record behind it, other records go on; repaired and replayed, all is well.
"""
from __future__ import annotations

import asyncio
import json
import random
import subprocess
import time
import uuid
from typing import Any, Dict, List

from ..driver import Worker
from ..report import Report
from ..system import database_url, wait_until

number, title, selection = "F16", "poison events", "normal"
GARBAGE = b"\xff\xff\xff\x07this is no event"
SET_ASIDE_WITHIN = 60.0


async def _throw(system: Any, tenant: Any, position: int, incarnation: str) -> int:
    """Messages that are no events, some of them nearly."""
    event = str(uuid.uuid4())
    good = {"Nats-Msg-Id": event, "ce-id": event, "ce-source": "/itsm/incident", "ce-type": "itsm.incident.v1.opened",
            "Itsm-Position": str(position + 1_000_000), "Itsm-Incarnation": incarnation, "Itsm-Revision": "1",
            "Itsm-Tenant-Id": tenant.id, "ce-subject": str(uuid.uuid4()), "ce-time": "2026-01-01T00:00:00Z"}
    subject = f"itsm.{tenant.slug}.incident.opened"
    bad: List["tuple[str, Dict[str, str], bytes]"] = [
        (subject, {}, GARBAGE),
        (subject, {}, json.dumps({"stream": "INCIDENT", "seq": 7}).encode()),
        (subject, {**good, "Itsm-Position": "-1"}, b""),
        (subject, {**good, "Itsm-Position": "x"}, b""),
        (subject, {**good, "Itsm-Position": str(2 ** 63)}, b""),
        (subject, {**good, "Itsm-Incarnation": str(uuid.uuid4())}, b""),
        (subject, {**good, "ce-source": "/itsm/alert"}, b""),
        (subject, {**good, "Nats-Msg-Id": "another"}, b""),
        (subject, {**good, "Itsm-Tenant-Id": "none"}, b""),
        (f"itsm.{tenant.slug}.incident.opened.more", good, b""),
        ("itsm._feed.incident", {}, GARBAGE),
        ("itsm._wake.incident", {}, GARBAGE * 100),
        # The next position, with a body that is none: the feed is asked before anything counts.
        (subject, {**good, "Itsm-Position": str(position + 1)}, GARBAGE),
    ]
    client = await system.nats_admin()
    try:
        for _ in range(20):
            for where, headers, body in bad:
                await client.publish(where, body, headers=headers or None)
        await client.flush(10)
    finally:
        await client.close()
    return 20 * len(bad)


def run(context: Any) -> Report:
    with context.stage() as stage:
        system, report = stage.system, stage.report
        tenant = stage.world.tenants["default"]
        stage.driver.start()
        stage.driver.wait_acknowledged(40)
        with stage.fault():
            position, incarnation = system.sql("select (select max(position) from incident.feed), incarnation::text from incident.lease where name = 'relay'")[0]
            report.figures["messages that are no events"] = asyncio.run(_throw(system, tenant, position, incarnation))
            stage.driver.wait_acknowledged(40)
        stage.drained()
        letters = _letters(system)
        report.require("events set aside because of messages from NATS", letters, 0, "")
        _spoiled_in_the_journal(stage, tenant)
        stage.driver.wait_acknowledged(20)
        stage.drained()
        # The messages thrown at the stream's subjects are in the stream too: it keeps what an administrator publishes.
        return stage.finish(skip={"journal_feed_and_stream_have_the_same_events"})


def _letters(system: Any) -> int:
    return int(system.sql("select count(*) from incident.dead_letter")[0][0])


def _spoiled_in_the_journal(stage: Any, tenant: Any) -> None:
    system, report = stage.system, stage.report
    worker = Worker(stage.driver, 3000, random.Random(f"{stage.context.seed}/poison"))
    raised = []
    with stage.fault():
        system.kill("incident")
        for _ in range(3):
            operation = worker.operation("alert.raise", tenant, "http")
            worker.carry_out(operation, worker._alert(tenant, operation, "firing"))
            raised.append(operation)
        spoiled = raised[1]
        wait_until("the alerts are stored", lambda: system.sql(
            "select count(*) = 3 from alert.alerts where dedup_key = any(%s)", [[one.key for one in raised]])[0][0], 20)
        clear = worker.operation("alert.clear", tenant, "http", spoiled.key)
        worker.carry_out(clear, worker._alert(tenant, clear, "resolved"))
        record = wait_until("the clearing is stored", lambda: system.sql(
            "select id from alert.alerts where dedup_key = %s and state = 'CLEARED'", [spoiled.key]), 20)[0][0]
        body = system.sql("select body from alert.journal where record_id = %s and type = 'raised'", [record])[0][0]
        system.sql("update alert.journal set body = %s where record_id = %s and type = 'raised'", [GARBAGE, record])
        began = time.monotonic()
        stage.ready(system.restart("incident"))
        wait_until("the spoiled event and the one behind it are set aside", lambda: _letters(system) == 2, SET_ASIDE_WITHIN)
        report.require("set aside after", time.monotonic() - began, SET_ASIDE_WITHIN)
        wait_until("the others opened their incidents", lambda: system.sql(
            "select count(*) = 2 from incident.incidents where title = any(%s)", [[raised[0].key, raised[2].key]])[0][0], 10)
        report.require("the others were held up for", time.monotonic() - began, 10.0)
        reasons = system.sql("select position, reason from incident.dead_letter order by position")
        report.figures["reasons"] = [reason[:80] for _, reason in reasons]
        tries = system.sql("select tries from incident.attempt where source = 'alert' and position = %s", [reasons[0][0]])
        report.figures["tries"] = tries[0][0] - 1 if tries else 0
        if not tries or tries[0][0] - 1 != 5:
            report.misses.append(f"set aside after {tries} counted tries, five wanted")
        env = {**system._environment(None), "DATABASE_URL": database_url(system.data)}
        listed = subprocess.run([str(system.binary), "dead-letter", "list", "--data", str(system.data)], env=env, capture_output=True,
                                text=True, timeout=30, check=False)
        if listed.returncode or str(record) not in listed.stdout and str(reasons[0][0]) not in listed.stdout:
            report.misses.append(f"itsm dead-letter list does not show it: {listed.stdout[-300:]} {listed.stderr[-300:]}")
        system.sql("update alert.journal set body = %s where record_id = %s and type = 'raised'", [body, record])
        system.sql("update incident.dead_letter set body = %s where source = 'alert' and position = %s", [body, reasons[0][0]])
        replayed = subprocess.run([str(system.binary), "dead-letter", "replay", "incident", "alert", "--data", str(system.data)],
                                  env=env, capture_output=True, text=True, timeout=30, check=False)
        if replayed.returncode:
            report.misses.append(f"itsm dead-letter replay: {replayed.stderr[-300:]}")
        wait_until("both were applied again", lambda: _letters(system) == 0, 20)

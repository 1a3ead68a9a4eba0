"""F19: events that never arrive. A fifth is lost on the line to NATS; then messages are deleted from a stream.

Consumers notice by the number that something is missing and fetch it from the owner. What was deleted
from a stream is missing for outsiders alone: consumers inside never read streams.
"""
from __future__ import annotations

import asyncio
import json
import random
import time
from typing import Any

from ..chaos import CLEAN, Line, Mode
from ..report import Report

number, title, selection = "F19", "gaps in what arrives", "ci"
SPEAKERS = ("alert", "incident")
REPAIRED_WITHIN = 2.0
DELETED = 20


async def _delete(system: Any, dice: random.Random) -> int:
    client = await system.nats_admin()
    done = 0
    try:
        info = json.loads((await client.request("$JS.API.STREAM.INFO.INCIDENT", b"", timeout=5)).data)
        first, last = info["state"]["first_seq"], info["state"]["last_seq"]
        for sequence in dice.sample(range(first, last + 1), min(DELETED, last - first + 1)):
            body = json.dumps({"seq": sequence}).encode()
            answer = json.loads((await client.request("$JS.API.STREAM.MSG.DELETE.INCIDENT", body, timeout=5)).data)
            done += bool(answer.get("success"))
    finally:
        await client.close()
    return done


def _worst_delay(system: Any, since: float) -> float:
    """The longest from an incident's opening to its first clock, by the database's clock at the numbering of both."""
    rows = system.sql(
        "select extract(epoch from max(c.at - i.at)) from ("
        " select f.record_id, f.at from incident.feed f where f.revision = 1 and f.at > to_timestamp(%s)) i join ("
        " select k.incident_id, min(f.at) as at from sla.feed f join sla.clocks k on k.id = f.record_id where f.revision = 1 group by 1) c"
        " on c.incident_id = i.record_id", [since])
    return float(rows[0][0] or 0)


def run(context: Any) -> Report:
    with context.stage() as stage:
        line = Line(stage.system.nats.port, context.seed)
        for service in SPEAKERS:
            stage.system.stop(service)
            stage.system.restart(service, env=line.environment(stage.system))
        stage.driver.start()
        stage.driver.wait_acknowledged(50)
        began = time.time()
        with stage.fault():
            line.mode = Mode(drop=0.2)
            stage.driver.wait_acknowledged(1500 if context.long else 200)
            line.mode = CLEAN
        stage.drained()
        stage.report.figures["events lost on the line"] = line.dropped
        stage.report.require("from an opening to its clock, at most", _worst_delay(stage.system, began), REPAIRED_WITHIN)
        if line.dropped < 30:
            stage.report.misses.append(f"only {line.dropped} events were lost: this shows nothing")
        with stage.fault():
            deleted = asyncio.run(_delete(stage.system, random.Random(context.seed)))
            stage.driver.wait_acknowledged(30)
        stage.report.figures["messages deleted from a stream"] = deleted
        stage.drained()
        # The copies for outsiders have the hole that was made; everything else must hold.
        report = stage.finish(skip={"journal_feed_and_stream_have_the_same_events"})
        line.close()
        return report

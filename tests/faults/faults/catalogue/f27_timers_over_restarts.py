"""F27: thousands of timers fall due while `sla` is killed again and again, and while it is down.

Each clock is at risk once and breached once, stamped with the instant that was due and not with that of
the waking. 10,000 instants with LONG=1.
"""
from __future__ import annotations

import random
import time
from typing import Any

from .. import openloop
from ..report import Report
from ..system import wait_until

number, title, selection = "F27", "timers over restarts of sla", "normal"
# When up, and after a start with everything due at once.
LATE_WHEN_UP, LATE_AFTER_START = 1.0, 5.0


def run(context: Any) -> Report:
    incidents = 2_500 if context.long else 400
    response, resolution = (40, 60) if context.long else (12, 20)
    with context.stage(response_seconds=response, resolution_seconds=resolution, rate=5.0) as stage:
        system, report = stage.system, stage.report
        tenant = stage.world.tenants["default"]
        # Who is told is not what this is about, and 5,000 messages would be.
        system.sql("delete from notification.rules")
        made, turn = 0, 0
        while made < incidents:
            turn += 1
            stream = openloop.Stream(f"fill{turn}", "incident", system.key("default"), None, 16, f"default-{9000 + turn}",
                                     {"serviceId": tenant.service_id, "resolutionMode": "MANUAL"})
            result = openloop.run(system.url, 2.0, [stream])[stream.name]
            openloop.book(stage, stream, result)
            made += result.good
        dice = random.Random(f"{context.seed}/timers")
        down = []
        last = float(system.sql("select extract(epoch from max(created_at)) from incident.incidents")[0][0])
        # Over the time in which most is due; the last time over its end, so that much is due at once.
        while time.time() < last + resolution - 3:
            began = time.time()
            with stage.fault():
                system.kill("sla")
                time.sleep(dice.uniform(0, 2))
                stage.ready(system.restart("sla"))
            down.append((began, time.time()))
            time.sleep(dice.uniform(1.0, 3.0))
        with stage.fault():
            began = time.time()
            system.kill("sla")
            wait_until("everything is due", lambda: time.time() > last + resolution + 1, 60)
            due = system.sql("select count(*) from sla.timer where due_at < clock_timestamp()")[0][0]
            stage.ready(system.restart("sla"))
            started = time.time()
            down.append((began, started))
            wait_until("everything due was told", lambda: not system.sql(
                "select exists (select from sla.timer where due_at < %s::timestamptz)", [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(last + resolution))])[0][0],
                60, 0.05)
        report.figures["instants due at the last start"] = due
        report.require("all of them told after", time.time() - started, LATE_AFTER_START)
        _lateness(stage, down)
        stage.drained()
        return stage.finish(skip={"I7"}, quiet_within=60 + resolution)


def _lateness(stage: Any, down: Any) -> None:
    """How late breaches were told that fell due while sla was up: from the due instant to the feed's number."""
    rows = stage.system.sql(
        "select extract(epoch from j.at), extract(epoch from f.at) from sla.journal j "
        "join sla.feed f on f.record_id = j.record_id and f.revision = j.revision where j.type in ('clock_breached', 'clock_at_risk')")
    # A lease of the one before is waited for after a kill, and its backlog worked off: judged above.
    waits = [(began - 0.5, ended + 6.0) for began, ended in down]
    up = [float(told) - float(due) for due, told in rows if not any(began <= float(due) <= ended for began, ended in waits)]
    stage.report.figures["instants told"] = len(rows)
    stage.report.figures["of those due while up"] = len(up)
    if len(up) >= 100:
        stage.report.require("late when up, p99", openloop.percentile(up, 0.99), LATE_WHEN_UP)


__all__ = ["run"]

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
from ..system import HarnessError, wait_until

number, title, selection = "F27", "timers over restarts of sla", "normal"
# When up, and after a start with everything due at once.
LATE_WHEN_UP, LATE_AFTER_START = 1.0, 5.0


def run(context: Any) -> Report:
    # Four instants each: two clocks, at risk and breached. Long enough that all clocks run before the first is due.
    incidents = 2_500 if context.long else 250
    response, resolution = (90, 120) if context.long else (20, 28)
    with context.stage(response_seconds=response, resolution_seconds=resolution, rate=5.0, told=False) as stage:
        system, report = stage.system, stage.report
        tenant = stage.world.tenants["default"]
        made, turn = 0, 0
        while made < incidents:
            turn += 1
            if turn > 60:
                raise HarnessError(f"only {made} of {incidents} incidents could be made")
            stream = openloop.Stream(f"fill{turn}", "incident", system.key("default"), None, 16, f"default-{9000 + turn}",
                                     {"serviceId": tenant.service_id, "resolutionMode": "MANUAL"})
            result = openloop.run(system.url, 2.0, [stream])[stream.name]
            openloop.book(stage, stream, result)
            made += result.good
        stage.driver.start()
        heads = stage.heads()
        wait_until("every clock runs", lambda: not [late for late in stage.behind({"incident": heads["incident"]}) if late.startswith("sla")],
                   response, 0.1)
        dice = random.Random(f"{context.seed}/timers")
        down = []
        last = float(system.sql("select extract(epoch from max(created_at)) from incident.incidents")[0][0])
        wait_until("the first are due", lambda: time.time() > last + 0.75 * response - 2, 120)
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
            stage.driver.stop_event.set()
            due = system.sql("select count(*) from sla.timer where due_at < clock_timestamp()")[0][0]
            stage.ready(system.restart("sla"))
            started = time.time()
            down.append((began, started))
            try:
                wait_until("everything due was told", lambda: not system.sql(
                    "select exists (select from sla.timer where due_at < to_timestamp(%s))", [last + resolution])[0][0], 60, 0.05)
            except HarnessError as late:
                report.misses.append(str(late))
        report.figures["instants due at the last start"] = due
        report.require("all of them told after", time.time() - started, LATE_AFTER_START)
        _lateness(stage, down)
        stage.drained()
        return stage.finish(quiet_within=60 + resolution)


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

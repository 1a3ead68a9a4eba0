"""F15: one consumer is slow: each of its transactions waits for a lock, while events pile up.

Nobody else waits for it: calls, and the consumers of other services, are as fast as ever. Its memory
stays bounded, since NATS drops what it does not take, and afterwards it reads the feed until it has
caught up. 100,000 events with LONG=1.
"""
from __future__ import annotations

import threading
import time
from typing import Any

from .. import openloop, pages
from ..report import Report
from ..system import wait_until
from .f33_huge import resident_mb

number, title, selection = "F15", "slow consumer", "normal"
MEMORY_MB = 64.0
RATIO, NOISE_SECONDS = 1.1, 0.1


class Slow:
    """Holds the clocks' table for most of the time, so that what writes there takes seconds."""

    def __init__(self, system: Any) -> None:
        self._system, self._stop = system, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._system.postgres.connect(autocommit=False) as admin:
                admin.execute("lock table sla.clocks in access exclusive mode")
                self._stop.wait(2.0)
                admin.rollback()
            self._stop.wait(0.05)

    def end(self) -> None:
        """Lets go."""
        self._stop.set()
        self._thread.join(10)


def run(context: Any) -> Report:
    with context.stage(rate=10.0, response_seconds=7200, resolution_seconds=14400) as stage:
        system, report = stage.system, stage.report
        pager = pages.Pager(stage)
        goal = 100_000 if context.long else 800
        usual = pages.tail(pager.wait_told(pager.open(30, 10.0), pager.tenant.hook))
        pid = system.processes[("sla", 1)].pid
        before = resident_mb(pid)
        most, lag = before, 0
        number_of = 0
        with stage.fault():
            slow = Slow(system)
            start = stage.heads()["incident"]
            told = pager.wait_told(pager.open(30, 10.0), pager.tenant.hook)
            while stage.heads()["incident"] - start < goal:
                # Incidents, as fast as they are taken, by sixteen callers.
                number_of += 1
                stream = openloop.Stream(f"fill{number_of}", "incident", system.key("acme"), None, 16, f"acme-{9100 + number_of}")
                openloop.book(stage, stream, openloop.run(system.url, 3.0, [stream])[stream.name])
                most = max(most, resident_mb(pid))
                lag = max(lag, stage.heads()["incident"] - int(system.sql("select position from sla.lease where name = 'consumer:incident'")[0][0]))
            slow.end()
        report.require("page tail beside the slow consumer", pages.tail(told), usual * RATIO + NOISE_SECONDS)
        report.figures["events that waited"] = lag
        if lag < goal / 10:
            report.misses.append(f"only {lag} events waited: this shows nothing")
        began = time.monotonic()
        heads = stage.heads()
        wait_until("it has caught up", lambda: not stage.behind({"incident": heads["incident"]}), 120, 0.2)
        seconds = time.monotonic() - began
        report.figures["caught up, events a second"] = round(lag / max(seconds, 0.001))
        most = max(most, resident_mb(pid))
        report.require("memory of sla grew by", most - before, MEMORY_MB, "MB")
        stage.drained(60)
        return stage.finish()

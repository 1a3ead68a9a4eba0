"""F28: a process is paused until its leases are another's, and then wakes.

Two of each run. The first is stopped in mid-load (SIGSTOP) for longer than a lease lasts; the second
takes over; the first wakes in the middle of what it was doing, and must write nothing by its old right.
"""
from __future__ import annotations

import random
import time
from typing import Any

from ..report import Report
from ..system import HarnessError, wait_until

number, title, selection = "F28", "paused process with stale leases", "normal"
PAUSED = ("sla", "incident", "notification", "alert")
LEASE_SECONDS = 4.0


def _holder_epochs(system: Any, service: str) -> "dict[str, int]":
    return dict(system.sql(f"select name, epoch from {service}.lease"))


def run(context: Any) -> Report:
    with context.stage() as stage:
        for service in PAUSED:
            stage.system.launch(service, 2)
            stage.system.wait_ready(service, 2)
        stage.notification_killed = True  # A sender that sleeps too long has its message sent by the other.
        stage.driver.start()
        stage.driver.wait_acknowledged(50)
        dice = random.Random(context.seed)
        taken_over = 0
        for service in PAUSED:
            before = _holder_epochs(stage.system, service)
            with stage.fault():
                stage.system.pause(service)
                began = time.monotonic()
                try:
                    # At least one lease moves to the second, unless it held all of them by chance.
                    wait_until(f"another holds a lease of {service}", lambda: any(
                        epoch > before.get(name, 0) for name, epoch in _holder_epochs(stage.system, service).items()), 4 * LEASE_SECONDS)
                    taken_over += 1
                except HarnessError:
                    stage.report.figures[f"{service}: the second held every lease"] = True
                most = 60.0 if context.long else LEASE_SECONDS + dice.uniform(1, 3)
                time.sleep(max(0.0, most - (time.monotonic() - began)))
                stage.system.resume(service)
            stage.driver.wait_acknowledged(20)
        stage.report.figures["leases taken over"] = taken_over
        if not taken_over:
            stage.report.misses.append("no lease was taken over: this shows nothing")
        stage.drained()
        return stage.finish()

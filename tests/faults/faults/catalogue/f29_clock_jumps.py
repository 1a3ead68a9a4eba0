"""F29: the wall clock of one host jumps by an hour and by thirty days, forwards and back, and two replicas are
five minutes apart.

Under libfaketime, which bends what processes see of the wall clock and leaves the monotonic one alone.
Domain time follows the database, so nothing may be breached early, late, or by the mass. A process
that starts with a wrong clock must not be led by it either.
"""
from __future__ import annotations

import pathlib
import time
from typing import Any, Optional

from ..report import Report

number, title, selection = "F29", "wall clock jumps", "normal"
JUMPED = ("sla", "incident", "notification", "alert")
JUMPS = ("+3600", "-3600", "+2592000", "-2592000")
PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")


def library() -> Optional[pathlib.Path]:
    """Where libfaketime is."""
    for pattern in PLACES:
        for found in pathlib.Path("/").glob(pattern.lstrip("/")):
            return found
    return None


class Wrist:
    """A wall clock that can be set, for the processes that look at it."""

    def __init__(self, path: pathlib.Path, preload: pathlib.Path) -> None:
        self.path = path
        self.set("+0")
        self.env = {"LD_PRELOAD": str(preload), "FAKETIME_TIMESTAMP_FILE": str(path), "DONT_FAKE_MONOTONIC": "1",
                    "FAKETIME_CACHE_DURATION": "1"}

    def set(self, offset: str) -> None:
        """How far it is from the truth, such as +3600."""
        fresh = self.path.with_suffix(".new")
        fresh.write_text(offset + "\n")
        fresh.rename(self.path)


def run(context: Any) -> Report:
    preload = library()
    if preload is None:
        report = Report(context.number, context.title)
        report.error = "libfaketime is missing; run tools/setup faults"
        return report
    with context.stage() as stage:
        system, report = stage.system, stage.report
        jumping, apart = Wrist(stage.folder / "clock", preload), Wrist(stage.folder / "clock-2", preload)
        for service in JUMPED:
            system.stop(service)
            system.restart(service, env=jumping.env)
        stage.driver.start()
        stage.driver.wait_acknowledged(50)
        for jump in JUMPS:
            with stage.fault():
                jumping.set(jump)
                # The library looks at its file once a second.
                time.sleep(1.5)
                stage.driver.wait_acknowledged(40)
            jumping.set("+0")
            time.sleep(1.5)
        for jump in ("+2592000", "-3600"):
            with stage.fault():
                jumping.set(jump)
                for service in JUMPED:
                    system.stop(service)
                    stage.ready(system.restart(service, env=jumping.env))
                stage.driver.wait_acknowledged(40)
            jumping.set("+0")
        with stage.fault():
            apart.set("+300")
            for service in ("sla", "incident"):
                system.launch(service, 2, env=apart.env)
                system.wait_ready(service, 2)
            stage.driver.wait_acknowledged(40)
            for service in ("sla", "incident"):
                # The one with the wrong clock alone, so that it is the one that decides.
                system.stop(service)
                stage.driver.wait_acknowledged(10)
                system.restart(service)
        stage.drained()
        early = system.sql("select count(*) from sla.clocks where breached_at > clock_timestamp() or breached_at < created_at")[0][0]
        report.require("breaches stamped in the future or before their clock", early, 0, "")
        ahead = system.sql("select count(*) from incident.incidents where created_at > clock_timestamp()")[0][0]
        report.require("incidents created in the future", ahead, 0, "")
        return stage.finish()

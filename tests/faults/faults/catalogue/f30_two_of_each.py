"""F30: two of every service at once, and one that was paused wakes with a lease that is another's by then.

Whoever is paused for longer than the lease lasts (4 s) must do nothing by it when it wakes.
"""

from __future__ import annotations

import random

from ..context import Context, Stage
from ..report import Report
from ..system import PROCESSES, PROVISIONER, SERVICES, wait_until

number, title, selection = "F30", "two of every service, paused ones that wake", "normal"


def run(context: Context) -> Report:
    """Both replicas under load; each service's holder paused once, and some killed."""
    with context.stage() as stage:
        stage.notification_killed = True
        pair(stage, PROCESSES)
        stage.driver.start()
        stage.driver.wait_acknowledged(50)
        dice = random.Random(f"{context.seed}/F30")
        names = list(SERVICES) if context.long else dice.sample(["alert", "change", "incident", "notification", "sla"], 4)
        for name in names:
            sleeper(stage, name)
            stage.driver.wait_acknowledged(15)
        for name in dice.sample(SERVICES, 3):
            with stage.fault():
                stage.system.kill(name, 2)
                stage.ready(stage.system.restart(name, 2))
            stage.driver.wait_acknowledged(15)
        stage.drained()
        return stage.finish()


def pair(stage: Stage, names: list[str]) -> None:
    """A second one of each, beside the first."""
    for name in names:
        stage.system.launch(name, 2)
    for name in names:
        # A second provisioner waits for the lease, and is not ready before it has it.
        if name != PROVISIONER:
            stage.system.wait_ready(name, 2)


def holders(stage: Stage, name: str) -> dict[str, tuple[str, int]]:
    """Who holds each lease of a service, and since which epoch."""
    return {lease: (holder, epoch) for lease, holder, epoch in stage.system.sql(
        f"select name, holder, epoch from {name}.lease where name <> 'provisioner'")}


def sleeper(stage: Stage, name: str) -> None:
    """Pauses one replica until every lease that it held is the other's, and wakes it again."""
    before = holders(stage, name)
    for replica in (1, 2):
        with stage.fault():
            stage.system.pause(name, replica)
            # Those that the other one holds stay; those of the sleeper change hands after four seconds.
            stage.driver.give_up.wait(5.5)
            during = holders(stage, name)
            stage.system.resume(name, replica)
        if during != before:
            stage.report.figures["leases that changed hands"] = stage.report.figures.get("leases that changed hands", 0) + sum(
                during[lease] != before[lease] for lease in before)
            wait_until(f"the woken {name} works", lambda: stage.system.processes[(name, replica)].alive(), 5)
            return
    stage.report.misses.append(f"no lease of {name} changed hands while one replica was paused")

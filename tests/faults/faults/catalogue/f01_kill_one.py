"""F01: kill -9 of one process at a time under load: at random moments, at named fail points, and of the
whole of `itsm up`.

The fail points are compiled in by `--cfg mutants` alone; with another binary their row says so.
"""

from __future__ import annotations

import random
from typing import Sequence

from ..context import Context, Stage
from ..report import Report
from ..system import GATEWAY, PROCESSES, PROVISIONER, HarnessError, wait_until

number, title, selection = "F01", "kill -9 of each process, one at a time", "ci"

KILLS_A_STAGE = 100
USUAL = {"ci": 12, "normal": 60, "long": 300}
POINTS: dict[str, Sequence[str]] = {
    "command.after_begin": ("incident", "change"),
    "command.before_commit": ("incident", "change"),
    "command.after_commit": ("incident", "change"),
    "relay.in_take": ("incident", "alert", "sla"),
    "relay.after_take": ("incident", "alert", "sla"),
    "relay.after_publish": ("incident", "alert", "sla"),
    "consumer.before_commit": ("incident", "sla", "notification"),
    "intake.after_commit": ("alert",),
    "delivery.after_send": ("notification",),
}


def run(context: Context) -> list[Report]:
    """Its three rows."""
    reports = [at_random(context)]
    reports.append(at_fail_points(context))
    if context.options.selection != "ci":
        reports.append(whole(context))
    return reports


def at_random(context: Context, kills: int = 0, among: Sequence[str] = PROCESSES) -> Report:
    """Kills of whichever process comes by the dice."""
    left = kills or context.rounds(USUAL[context.options.selection])
    total = Report(number, "kill -9 at random moments")
    dice = random.Random(f"{context.seed}/F01")
    while left > 0:
        now = min(left, KILLS_A_STAGE)
        left -= now
        with context.stage(title=total.title) as stage:
            stage.notification_killed = True
            stage.driver.start()
            stage.driver.wait_acknowledged(20)
            # Each process once, then as the dice say.
            names = list(among) if now >= len(among) else []
            dice.shuffle(names)
            names += [dice.choice(list(among)) for _ in range(now - len(names))]
            for count, name in enumerate(names):
                stage.driver.wait_acknowledged(dice.randrange(1, 12))
                with stage.fault():
                    stage.system.kill(name)
                    seconds = stage.system.restart(name)
                stage.ready(seconds)
                shown = "slowest ready of the provisioner s" if name == PROVISIONER else "slowest ready of a service s"
                stage.report.figures[shown] = round(max(seconds, stage.report.figures.get(shown, 0)), 2)
                if count % 10 == 9:
                    stage.drained()
            stage.drained()
            report = stage.finish()
            total.add(report)
            judge_times(total, report)
        if not total.passed:
            break
    return total


def judge_times(total: Report, report: Report) -> None:
    """The targets of F01."""
    if (report.ready_seconds or 0) > 2.0:
        total.misses.append(f"ready again after {report.ready_seconds:.2f} s, at most 2 s wanted")
    if (report.drain_seconds or 0) > 10.0:
        total.misses.append(f"drained after {report.drain_seconds:.1f} s, at most 10 s wanted")


def at_fail_points(context: Context) -> Report:
    """Kills at the points where it would hurt most."""
    with context.with_fail_points() as there:
        if not there:
            return Report(number, "kill -9 at named fail points", skipped="no binary with fail points; `make faults` builds one")
        dice = random.Random(f"{context.seed}/F01 points")
        rounds = 1 if context.options.selection == "ci" else max(1, context.options.rounds // 50)
        with context.stage(title="kill -9 at named fail points", rate=10.0) as stage:
            stage.notification_killed = True
            stage.driver.start()
            stage.driver.wait_acknowledged(20)
            plan = [(point, name) for point, names in POINTS.items() for name in names] * rounds
            dice.shuffle(plan)
            for point, name in plan:
                hit(stage, name, f"{point}:{dice.randrange(1, 8)}")
            stage.drained()
            report = stage.finish()
            judge_times(report, report)
            return report


def hit(stage: Stage, name: str, point: str, within: float = 40.0) -> None:
    """Starts a service so that it kills itself at a point, waits until it did, and starts it plainly."""
    with stage.fault():
        stage.system.kill(name)
        stage.system.launch(name, env={"ITSM_FAIL_POINT": point})
        process = stage.system.processes[(name, 1)]
        try:
            wait_until(f"{name} died at {point}", lambda: not process.alive(), within)
        except HarnessError:
            stage.report.misses.append(f"{name} never came to {point} within {within:g} s")
            stage.system.kill(name)
        else:
            code = process.wait(1)
            # It aborts, or is killed: dead on the spot either way.
            if code not in (-6, -9):
                stage.report.misses.append(f"{name} ended with {code} instead of dying at {point}: {process.tail(3)}")
        stage.ready(stage.system.restart(name))


def whole(context: Context) -> Report:
    """`itsm up`, all services in one process and its own servers: killed and started again."""
    dice = random.Random(f"{context.seed}/F01 up")
    with context.stage(title="kill -9 of itsm up", target="up") as stage:
        stage.notification_killed = True
        stage.driver.start()
        for _ in range(max(5, context.options.rounds // 20)):
            stage.driver.wait_acknowledged(dice.randrange(5, 25))
            with stage.fault():
                stage.system.kill("up")
                # Its servers run on without it, and are taken over.
                seconds = stage.system.restart("up")
            stage.ready(seconds)
            stage.drained()
        report = stage.finish()
        if (report.drain_seconds or 0) > 10.0:
            report.misses.append(f"drained after {report.drain_seconds:.1f} s, at most 10 s wanted")
        report.require("slowest ready of itsm up s", report.ready_seconds or 0, 4.0)
        return report


__all__ = ["run", "GATEWAY"]

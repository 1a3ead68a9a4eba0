"""F03 and F04: nats-server killed, and nats-server hanging (connected, and silent).

Postgres is the truth, so calls and pages go on; only the intake of alerts has to say 503, and its
senders come again.
"""

from __future__ import annotations

import statistics
import time
from typing import Callable

from ..context import Context, Stage
from ..report import Report, Violation

number, title, selection = "F03", "nats-server away, nats-server hanging", "ci"


def run(context: Context) -> list[Report]:
    """Both, each with its own installation."""
    killed = {"ci": 5.0, "normal": 5.0, "long": 300.0}[context.options.selection]
    hung = {"ci": 6.0, "normal": 15.0, "long": 60.0}[context.options.selection]
    return [
        outage(context, "F03", f"nats-server killed for {killed:.0f} s", killed, lambda stage: stage.system.nats.kill(),
               lambda stage: stage.system.nats.start()),
        outage(context, "F04", f"nats-server hangs for {hung:.0f} s", hung, lambda stage: stage.system.nats.pause(),
               lambda stage: stage.system.nats.resume()),
    ]


def outage(context: Context, row: str, name: str, seconds: float, begin: Callable[[Stage], object],
           end: Callable[[Stage], object]) -> Report:
    """Load before, during and after; then how the three differ."""
    with context.stage(title=name) as stage:
        stage.report.number = row
        stage.driver.start()
        before = time.time()
        stage.driver.wait_acknowledged(100)
        with stage.fault():
            began = time.time()
            begin(stage)
            stage.driver.give_up.wait(seconds)
            ended = time.time()
            end(stage)
        back = time.monotonic()
        stage.driver.wait_acknowledged(60)
        stage.drained()
        stage.report.figures["after the end until drained s"] = round(time.monotonic() - back, 1)
        report = stage.report
        _calls(stage, began, ended)
        _intake(stage, began, ended)
        usual, during = stage.page_delays(before, began), stage.page_delays(began, ended)
        if usual and during:
            report.figures["a page usually s"] = round(statistics.median(usual), 3)
            report.figures["a page meanwhile s, median"] = round(statistics.median(during), 3)
            report.require("a page later than otherwise", max(during) - statistics.median(usual), 2.0)
        else:
            report.misses.append(f"no pages to compare: {len(usual)} before, {len(during)} during")
        stage.finish()
        if report.figures.get("breaches withdrawn"):
            report.misses.append(f"{report.figures['breaches withdrawn']} breaches were told and taken back")
        return report


def _calls(stage: Stage, began: float, ended: float) -> None:
    """No call of a user may fail because NATS is away."""
    failed = stage.driver.failures(began, ended + 2.0)
    calls = [sample for sample in stage.driver.samples if began <= sample[0] <= ended and sample[2] in ("rest", "grpc")]
    stage.report.figures["calls meanwhile"] = len(calls)
    for sample in failed:
        stage.report.violations.append(Violation("calls", f"{sample[1]} over {sample[2]} failed after {sample[3]:.2f} s: {sample[4][:160]}"))
    if calls:
        slowest = max(sample[3] for sample in calls)
        stage.report.figures["slowest call meanwhile s"] = round(slowest, 2)
    else:
        stage.report.misses.append("no calls while NATS was away")


def _intake(stage: Stage, began: float, ended: float) -> None:
    """Alerts are answered with 503, soon, and nothing else."""
    tries = [sample for sample in list(stage.driver.samples) if began + 0.2 <= sample[0] - sample[3] <= ended and sample[2] == "http"]
    refused = [sample for sample in tries if sample[4].startswith("503")]
    for sample in tries:
        if sample[4] and not sample[4].startswith("503") and sample[0] < ended:
            stage.report.violations.append(Violation("intake", f"an alert was answered after {sample[3]:.2f} s with {sample[4][:160]}"))
    if refused:
        stage.report.figures["alerts answered 503"] = len(refused)
        stage.report.require("noticed after", min(sample[0] for sample in refused) - began, 5.0)
        stage.report.require("slowest 503", max(sample[3] for sample in refused), 5.0)
    else:
        stage.report.misses.append("no alert was tried while NATS was away")

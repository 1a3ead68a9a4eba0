"""F26: one tenant calls twenty times as much as another, and more than can be served.

The other tenant must hardly notice: its calls are at most one and a half times as slow (99th
percentile), and none of them fails or is refused. Alone and beside the noise in alternation.
"""
from __future__ import annotations

import statistics
from typing import Any, List

from .. import openloop
from ..report import Report

number, title, selection = "F26", "one noisy tenant", "normal"
RATIO, TIMES = 1.5, 20
# What the quiet tenant asks for, of the peak: its twentyfold is twice what can be served.
SHARE = 0.1


def run(context: Any) -> Report:
    with context.stage(told=False, response_seconds=7200, resolution_seconds=14400) as stage:
        system, report = stage.system, stage.report
        quiet, noisy = system.key("default"), system.key("acme")
        seconds = 20.0 if context.long else 4.0
        runs = 0

        def load(streams: List[openloop.Stream], seconds: float) -> Any:
            nonlocal runs
            runs += 1
            for stream in streams:
                stream.prefix = f"{'acme' if stream.key == noisy else 'default'}-{9000 + runs}"
            results = openloop.run(system.url, seconds, streams)
            for stream in streams:
                openloop.book(stage, stream, results[stream.name])
            return results

        peak = load([openloop.Stream("peak", "incident", noisy, None, 32)], 4.0)["peak"].goodput(1)
        rate = peak * SHARE
        report.figures["peak, a second"] = round(peak)
        alone, beside, errors, refused = [], [], 0, 0
        for _ in range(3):
            one = load([openloop.Stream("quiet", "incident", quiet, rate, 300)], seconds)["quiet"]
            alone.append(openloop.percentile(one.good_seconds, 0.99))
            with stage.fault():
                both = load([openloop.Stream("quiet", "incident", quiet, rate, 300),
                             openloop.Stream("noisy", "incident", noisy, rate * TIMES, 2000)], seconds)
            beside.append(openloop.percentile(both["quiet"].good_seconds, 0.99))
            for result in (one, both["quiet"]):
                errors += result.failed + result.shed + result.unsent
            refused += both["noisy"].shed
        report.figures["quiet p99 alone"] = [round(one, 3) for one in alone]
        report.figures["quiet p99 beside the noise"] = [round(one, 3) for one in beside]
        report.figures["refused of the noisy one"] = refused
        ratio = statistics.median(with_noise / without for without, with_noise in zip(alone, beside))
        report.require("p99 beside the noise, times that alone (median of pairs)", ratio, RATIO, "times")
        report.require("calls of the quiet tenant that failed or were refused", errors, 0, "")
        if not refused:
            report.misses.append("nothing of the noisy tenant was refused: there was no overload")
        stage.drained(60)
        return stage.finish()

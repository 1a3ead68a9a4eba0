"""F25: two, five and ten times as many calls as can be served, sent without waiting for answers.

What is too much is refused early, with a word that says when to come again; what is taken is answered.
So the rate of calls that succeed stays near its peak, the probes answer, memory stays bounded, and
once it is over everything is as before.
"""
from __future__ import annotations

import threading
import time
from typing import Any, Dict, List

from .. import openloop
from ..report import Report
from ..rest import Rest
from ..system import GATEWAY, HarnessError, wait_until
from .f33_huge import resident_mb

number, title, selection = "F25", "overload", "normal"
FACTORS = (2, 5, 10)
GOODPUT_AT_FIVE = 0.8
SHED_WITHIN, RECOVERED_WITHIN, PROBE_WITHIN = 0.05, 5.0, 1.0
MEMORY_MB = 128.0
CALLERS = 32


class Probe:
    """Asks /healthz five times a second."""

    def __init__(self, port: int) -> None:
        self.slowest, self.failed = 0.0, 0
        self._stop = threading.Event()
        self._rest = Rest(port, timeout=5)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            answer = self._rest.request("GET", "/healthz")
            self.slowest = max(self.slowest, answer.seconds)
            self.failed += not answer.ok

    def end(self) -> None:
        """Stops asking."""
        self._stop.set()
        self._thread.join(10)


def run(context: Any) -> Report:
    # Nobody is told and no clock runs (this tenant has no agreement for what belongs to no service): only calls count.
    with context.stage(told=False) as stage:
        system, report = stage.system, stage.report
        key = system.key("acme")
        seconds = 15.0 if context.long else 3.0
        runs = 0

        def load(name: str, rate: Any, connections: int) -> openloop.Result:
            nonlocal runs
            runs += 1
            stream = openloop.Stream(name, "incident", key, rate, connections, f"acme-{9000 + runs}")
            result = openloop.run(system.url, seconds, [stream])[name]
            openloop.book(stage, stream, result)
            return result

        # The peak is the best of two, so that a slow moment does not make the target easy.
        peaks: List[openloop.Result] = [load("peak", None, CALLERS), load("peak again", None, CALLERS)]
        peak = max(one.goodput(1) for one in peaks)
        report.figures["peak, a second"] = round(peak)
        pid = system.processes[(GATEWAY, 1)].pid
        before = resident_mb(pid)
        shares: Dict[int, float] = {}
        for factor in FACTORS:
            probe = Probe(system.gateway_port)
            with stage.fault():
                result = load(f"{factor} times", peak * factor, 3000)
            probe.end()
            shares[factor] = result.goodput(1) / peak
            lag = openloop.percentile(result.lag_seconds, 0.99)
            report.figures[f"{factor} times"] = (
                f"{shares[factor]:.0%} of peak, {result.by_status}, answered p99 {openloop.percentile(result.good_seconds, 0.99):.2f} s, "
                f"refused p99 {openloop.percentile(result.shed_seconds, 0.99):.3f} s, unsent {result.unsent}, generator late p99 {lag:.3f} s")
            if factor >= 5 and not result.shed:
                report.misses.append(f"{factor} times: nothing was refused, so callers waited instead")
            report.require(f"{factor} times: refused p99", openloop.percentile(result.shed_seconds, 0.99), SHED_WITHIN)
            report.require(f"{factor} times: refused without saying when to come again", result.refused_without_time, 0, "")
            report.require(f"{factor} times: failed otherwise (5xx, cut, unanswered)", result.failed, 0, "")
            report.require(f"{factor} times: probes that failed", probe.failed, 0, "")
            report.require(f"{factor} times: slowest probe", probe.slowest, PROBE_WITHIN)
            began = time.monotonic()
            rest = Rest(system.gateway_port, key, timeout=5)

            def calm() -> bool:
                answer = rest.request("GET", "/v1/incidents?pageSize=1")
                return answer.ok and answer.seconds < 0.25

            try:
                wait_until("calls are as before", calm, 20, 0.05)
            except HarnessError as late:
                report.misses.append(f"{factor} times: {late}")
            rest.close()
            report.require(f"{factor} times: recovered after", time.monotonic() - began, RECOVERED_WITHIN)
        if shares[5] < GOODPUT_AT_FIVE:
            report.misses.append(f"goodput at 5 times is {shares[5]:.0%} of the peak, at least {GOODPUT_AT_FIVE:.0%} wanted")
        report.require("memory of gateway grew by", resident_mb(pid) - before, MEMORY_MB, "MB")
        stage.drained(60)
        return stage.finish()

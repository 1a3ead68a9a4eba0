"""F32: SIGTERM under load, to each process in turn.

What was under way is answered, streams that are open are ended in order, and the process is gone within
ten seconds. A call that comes after the sign may be told to come again (503, UNAVAILABLE), never
anything else: no connection cut in the middle of a call, no other error, nothing without an answer.
"""
from __future__ import annotations

import http.client
import threading
from typing import Any, List

from .. import openloop
from ..report import Report
from ..system import GATEWAY, PROCESSES

number, title, selection = "F32", "SIGTERM under load", "normal"
EXIT_WITHIN = 10.0
WATCHERS = 4


class Watcher:
    """A reader of the stream of incidents, which stays until the server ends it."""

    def __init__(self, port: int, key: str) -> None:
        self.lines, self.ended, self.failed = 0, False, ""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._key = key
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._connection.request("GET", "/v1/incidents:watch", headers={"authorization": f"Bearer {self._key}"})
            response = self._connection.getresponse()
            if response.status != 200:
                self.failed = f"{response.status}"
                return
            while response.readline():
                self.lines += 1
            self.ended = True
        except (OSError, http.client.HTTPException) as error:
            self.failed = f"{type(error).__name__}"

    def done(self, within: float) -> bool:
        """Whether it has ended."""
        self._thread.join(within)
        self._connection.close()
        return not self._thread.is_alive()


def run(context: Any) -> Report:
    with context.stage(rate=15.0) as stage:
        system, report = stage.system, stage.report
        stage.driver.start()
        stage.driver.wait_acknowledged(30)
        slowest, refused, codes = 0.0, 0, {}
        failures: List[str] = []
        for number_of, name in enumerate([one for one in PROCESSES if one != GATEWAY] + [GATEWAY]):
            watchers = [Watcher(system.gateway_port, system.key("default")) for _ in range(WATCHERS)]
            stream = openloop.Stream(name, "incident", system.key("default"), 20.0, 64, f"default-{9000 + number_of}")
            load = openloop.start(system.url, 3.0, [stream])
            stage.driver.wait_acknowledged(5)
            with stage.fault():
                code, seconds = system.stop(name, within=30)
                stage.ready(system.restart(name))
            slowest = max(slowest, seconds)
            if code != 0:
                report.misses.append(f"{name} ended with {code}")
            result = load.wait()[name]
            openloop.book(stage, stream, result)
            refused += result.shed
            for status, count in result.by_status.items():
                codes[status] = codes.get(status, 0) + count
            cut = result.broken if name != GATEWAY else result.cut
            bad = {status: count for status, count in result.by_status.items() if status not in ("200", "503", "429")}
            if cut or bad or result.unanswered:
                failures.append(f"{name}: {cut} cut, {result.unanswered} unanswered, {bad}")
            for watcher in watchers:
                if name in (GATEWAY, "incident") and not watcher.done(5):
                    failures.append(f"{name}: a stream was not ended")
                if watcher.failed and watcher.failed not in ("503",):
                    failures.append(f"{name}: a stream broke: {watcher.failed}")
        report.require("slowest exit", slowest, EXIT_WITHIN)
        report.figures["answers"] = codes
        report.require("calls that failed", len(failures), 0, "")
        report.misses += failures
        stage.drained()
        return stage.finish()


"""Looks at leases and memory while a run goes on: what must never fall is only seen by looking often."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg

from .system import SERVICES, System


class Sampler:
    """A thread that looks ten times a second."""

    def __init__(self, system: System, interval: float = 0.1) -> None:
        self.system, self.interval = system, interval
        self.falls: list[str] = []
        self.relay_falls: list[str] = []
        """A relay's position may go back when its stream was lost, and only then."""
        self.looks = 0
        self.lag: list[tuple[float, int]] = []
        """When, and how many events wait in all outboxes."""
        self._last: dict[tuple[str, str], tuple[int, int, Any]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends."""
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        statement = " union all ".join(
            f"select '{schema}', name, epoch, position, incarnation::text from {schema}.lease" for schema in SERVICES)
        connection = None
        while not self._stop.wait(self.interval):
            self.system.measure()
            try:
                if connection is None or connection.closed:
                    connection = self.system.postgres.connect()
                rows = connection.execute(statement).fetchall()
            except (psycopg.Error, OSError):
                if connection is not None:
                    connection.close()
                connection = None
                continue
            self.looks += 1
            for schema, name, epoch, position, incarnation in rows:
                self._compare((schema, name), (epoch, position, incarnation))
        if connection is not None:
            connection.close()

    def _compare(self, key: tuple[str, str], now: tuple[int, int, str]) -> None:
        before = self._last.get(key)
        self._last[key] = now
        if before is None:
            return
        where = f"{key[0]}.lease {key[1]} at {time.time():.3f}"
        if now[0] < before[0]:
            self.falls.append(f"{where}: epoch fell from {before[0]} to {now[0]}")
        if now[1] < before[1] and now[2] == before[2]:
            text = f"{where}: position fell from {before[1]} to {now[1]}"
            (self.relay_falls if key[1] == "relay" else self.falls).append(text)

"""What was asked for and what was acknowledged, on disk outside the system before it counts.

A line of JSON for each: `intent` before the first try, `ack` or `refused` with the answer, `error` for
a try that ended otherwise. Many writers share one fsync.
"""

from __future__ import annotations

import json
import os
import pathlib
import threading
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Operation:
    """One operation as the ledger knows it."""

    id: str
    """Unique; also the request_id, and the mark inside an alert."""
    kind: str
    """incident.create, incident.verb, change.create, change.verb, alert.raise, alert.repeat, alert.clear."""
    tenant: str
    transport: str
    """rest, grpc, http or nats."""
    key: str
    """The title of what is created, or the dedup key."""
    target: str = ""
    """The record that a verb is for."""
    verb: str = ""
    at: float = 0.0
    must_succeed: bool = True
    """Whether a refusal would be wrong: nobody else touches the record."""
    excused: bool = False
    """Acknowledged by a store that was then taken away on purpose: counted apart."""
    tries: int = 0
    acked_at: float | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    refused: str = ""
    errors: list[str] = field(default_factory=list)

    @property
    def acked(self) -> bool:
        """Whether the system said yes."""
        return self.acked_at is not None


class Ledger:
    """The file, and the same in memory."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.operations: dict[str, Operation] = {}
        self._file = path.open("ab")
        self._lock = threading.Condition()
        self._waiting: list[bytes] = []
        self._asked = self._done = 0
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._thread.start()

    def intend(self, operation: Operation) -> None:
        """Before the first try. Returns when it is on disk."""
        operation.at = time.time()
        with self._lock:
            self.operations[operation.id] = operation
        self._put({"intent": operation.id, "kind": operation.kind, "tenant": operation.tenant, "transport": operation.transport,
                   "key": operation.key, "target": operation.target, "verb": operation.verb, "at": operation.at})

    def acknowledge(self, operation: Operation, answer: dict[str, Any]) -> None:
        """The system said yes. Returns when it is on disk."""
        operation.acked_at, operation.answer = time.time(), answer
        self._put({"ack": operation.id, "at": operation.acked_at, "answer": answer})

    def refuse(self, operation: Operation, reason: str) -> None:
        """The system said no, for good."""
        operation.refused = reason
        self._put({"refused": operation.id, "at": time.time(), "reason": reason})

    def fail(self, operation: Operation, error: str) -> None:
        """A try ended without an answer that counts; it will be tried again."""
        operation.errors.append(error)
        self._put({"error": operation.id, "at": time.time(), "text": error}, wait=False)

    def acknowledged(self) -> int:
        """How many operations were acknowledged."""
        with self._lock:
            return sum(operation.acked for operation in self.operations.values())

    def all(self) -> list[Operation]:
        """Every operation, in order of intent."""
        with self._lock:
            return list(self.operations.values())

    def _put(self, line: dict[str, Any], wait: bool = True) -> None:
        text = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self._waiting.append(text)
            self._asked += 1
            mine = self._asked
            self._lock.notify_all()
            while wait and self._done < mine and not self._closed:
                self._lock.wait(1)

    def _write(self) -> None:
        while True:
            with self._lock:
                while not self._waiting and not self._closed:
                    self._lock.wait(1)
                lines, self._waiting = self._waiting, []
                upto = self._asked
                if not lines and self._closed:
                    return
            self._file.write(b"".join(lines))
            self._file.flush()
            os.fsync(self._file.fileno())
            with self._lock:
                self._done = upto
                self._lock.notify_all()

    def close(self) -> None:
        """Writes what is left."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        self._thread.join(10)
        self._file.close()

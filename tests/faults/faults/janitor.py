"""Ends what the harness started, also when the harness itself is killed.

The harness writes `+PID START` and `-PID START` lines into a pipe; when the pipe ends, whatever is
still there and is still the same process (by its start time in /proc) is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import IO


def start_time(pid: int) -> str:
    """When a process began, in ticks since boot: with the pid, its identity. Empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


class Janitor:
    """The harness' side of the pipe."""

    def __init__(self) -> None:
        # A session of its own, so that Ctrl-C at a terminal does not end it first.
        self._process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__)], stdin=subprocess.PIPE, start_new_session=True, text=True
        )
        self._lock = threading.Lock()

    def _say(self, line: str) -> None:
        pipe: IO[str] | None = self._process.stdin
        assert pipe is not None
        with self._lock:
            pipe.write(line + "\n")
            pipe.flush()

    def watch(self, pid: int) -> None:
        """From now on this process is ended when the harness ends."""
        self._say(f"+{pid} {start_time(pid)}")

    def forget(self, pid: int) -> None:
        """It has ended."""
        self._say(f"-{pid}")

    def close(self) -> None:
        """Ends it, and what is left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)


def main() -> None:
    """The other side."""
    watched: dict[int, str] = {}
    for line in sys.stdin:
        pid, _, started = line[1:].strip().partition(" ")
        if line.startswith("+"):
            watched[int(pid)] = started
        else:
            watched.pop(int(pid), None)
    for pid, started in watched.items():
        if started and start_time(pid) == started:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


if __name__ == "__main__":
    main()

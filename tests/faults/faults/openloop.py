"""A load generator that does not wait: requests leave at their time, whether earlier ones are answered or not.

A process of its own, so that neither the driver nor the checker slows it down: `run(plan)` starts
it, and `python3 -m faults.openloop` is what it starts. A stream with no rate is a closed loop
instead, with so many requests under way: it finds the peak.

It speaks HTTP/1.1 with connections kept open. What is counted: answers by status, whether a refusal
said when to come back, and how long answers took, taken from the time a request was due, so that a
server that stalls the generator is not flattered.
"""
from __future__ import annotations

import asyncio
import dataclasses
import json
import pathlib
import subprocess
import sys
import time
from typing import Any, Dict, List, Optional, Tuple

from .ledger import Operation

TICK_SECONDS = 0.002
# After the last request, how long answers are waited for.
TAIL_SECONDS = 10.0
# A connection that ends so soon after a request was sent was being closed already.
CROSSING_SECONDS = 0.005


@dataclasses.dataclass
class Stream:
    """One source of load."""

    name: str
    kind: str  # "incident" (POST /v1/incidents), "alert" (POST /intake/KEY/alerts), or "get:PATH"
    key: str
    rate: Optional[float]  # a second; none is a closed loop
    connections: int = 1500  # at most, and the number under way in a closed loop
    prefix: str = "default-9000"  # titles are PREFIX-NUMBER, the tenant's slug first, so that the checker knows whose they are
    more: Dict[str, str] = dataclasses.field(default_factory=dict)  # further fields of an incident


@dataclasses.dataclass
class Result:
    """What became of one stream's requests."""

    sent: int = 0
    unsent: int = 0  # no connection was free: the server holds them all
    broken: int = 0  # no connection, or one that ended without an answer
    cut: int = 0  # of those, the connection was there, and ended after the request was sent
    unanswered: int = 0
    by_status: Dict[str, int] = dataclasses.field(default_factory=dict)
    refused_without_time: int = 0  # 429 or 503 that did not say when to come back
    good_seconds: List[float] = dataclasses.field(default_factory=list)
    shed_seconds: List[float] = dataclasses.field(default_factory=list)
    lag_seconds: List[float] = dataclasses.field(default_factory=list)  # how late this generator itself was
    good_at: List[float] = dataclasses.field(default_factory=list)
    acknowledged: Dict[str, str] = dataclasses.field(default_factory=dict)  # ids by titles
    names: List[str] = dataclasses.field(default_factory=list)  # everything sent
    seconds: float = 0.0

    @property
    def good(self) -> int:
        """Answers of 2xx."""
        return sum(count for status, count in self.by_status.items() if status.startswith("2"))

    @property
    def failed(self) -> int:
        """Neither taken nor refused with a clear word: 5xx but 503, broken, unanswered."""
        bad = sum(count for status, count in self.by_status.items() if status.startswith("5") and status != "503")
        return bad + self.broken + self.unanswered

    @property
    def shed(self) -> int:
        """Refused early."""
        return self.by_status.get("429", 0) + self.by_status.get("503", 0)

    def goodput(self, skip: float = 0.0) -> float:
        """Taken a second, without the first seconds."""
        count = sum(skip <= at <= self.seconds for at in self.good_at)
        return count / max(self.seconds - skip, 0.001)


def percentile(values: List[float], share: float) -> float:
    """The value that so many are at most; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def request(stream: Stream, host: str, number: int) -> Tuple[str, bytes]:
    """The id and the bytes of one request."""
    name = f"{stream.prefix}-{number}"
    if stream.kind.startswith("get:"):
        head = f"GET {stream.kind[4:]} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {stream.key}\r\n\r\n"
        return name, head.encode()
    if stream.kind == "alert":
        path, token = f"/intake/{stream.key}/alerts", ""
        body = {"title": name, "dedup_key": name, "severity": "high", "labels": {"host": name}}
    else:
        path, token = "/v1/incidents", f"Authorization: Bearer {stream.key}\r\nIdempotency-Key: {name}\r\n"
        body = {"title": name, **stream.more}
    text = json.dumps(body).encode()
    head = (f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{token}"
            f"Content-Length: {len(text)}\r\n\r\n")
    return name, head.encode() + text


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.transport: Optional[asyncio.Transport] = None
        self.buffer = b""
        self.name, self.due = "", 0.0
        self.busy = False
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def send(self, name: str, data: bytes, due: float) -> None:
        self.name, self.due, self.busy, self.buffer = name, due, True, b""
        assert self.transport is not None
        self.sent = time.monotonic()
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        place = lower.find(b"content-length:")
        if place >= 0:
            length = int(lower[place + 15:].split(b"\r\n", 1)[0])
            if len(body) < length:
                return
        elif b"transfer-encoding: chunked" in lower and not body.endswith(b"0\r\n\r\n"):
            return
        self.busy = False
        self.load.answered(self, int(head[9:12]), b"retry-after:" in lower, body)
        if b"connection: close" in lower and self.transport is not None:
            self.transport.close()
        else:
            self.load.free(self)

    def connection_lost(self, _error: Optional[Exception]) -> None:
        self.load.gone(self)
        self.busy = False
        self.transport = None


class Load:
    """One stream's run."""

    def __init__(self, stream: Stream, host: str, port: int, began: float) -> None:
        self.stream, self.host, self.port, self.began = stream, host, port, began
        self.result = Result()
        self.idle: List[Connection] = []
        self.open = 0
        self.number = 0
        self.under_way = 0
        self.closed_until: Optional[float] = None
        self._connecting: "set[asyncio.Task[None]]" = set()

    def start_one(self, due: float) -> None:
        """Sends one request, or says that it could not."""
        while self.idle:
            connection = self.idle.pop()
            if connection.transport is not None and not connection.transport.is_closing():
                self._send(connection, due)
                return
        if self.open >= self.stream.connections:
            self.result.unsent += 1
            return
        self.open += 1
        self.under_way += 1
        task = asyncio.ensure_future(self._connect(due))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, due: float) -> None:
        try:
            loop = asyncio.get_running_loop()
            _, connection = await asyncio.wait_for(
                loop.create_connection(lambda: Connection(self), self.host, self.port), 10)
        except (OSError, asyncio.TimeoutError):
            self.open -= 1
            self.under_way -= 1
            self.result.sent += 1
            self.result.broken += 1
            return
        self.under_way -= 1
        self._send(connection, due)

    def _send(self, connection: Connection, due: float) -> None:
        self.number += 1
        self.under_way += 1
        self.result.sent += 1
        name, data = request(self.stream, self.host, self.number)
        self.result.names.append(name)
        self.result.lag_seconds.append(max(0.0, time.monotonic() - due))
        connection.send(name, data, due)

    def answered(self, connection: Connection, status: int, says_when: bool, body: bytes) -> None:
        now = time.monotonic()
        result, took = self.result, now - connection.due
        self.under_way -= 1
        result.by_status[str(status)] = result.by_status.get(str(status), 0) + 1
        if 200 <= status < 300:
            result.good_seconds.append(took)
            result.good_at.append(now - self.began)
            if not self.stream.kind.startswith("get:"):
                result.acknowledged[connection.name] = str(json.loads(body).get("id", "")) if body else ""
        elif status in (429, 503):
            # From the sending: this says how early the server refuses, not how busy this generator is.
            result.shed_seconds.append(now - connection.sent)
            result.refused_without_time += not says_when

    def free(self, connection: Connection) -> None:
        if self.closed_until is not None and time.monotonic() < self.closed_until:
            self._send(connection, time.monotonic())
        else:
            self.idle.append(connection)

    def gone(self, connection: Connection) -> None:
        self.open -= 1
        if connection.busy:
            self.under_way -= 1
            self.result.broken += 1
            # A server that closes an idle connection may cross a request; it has read none of it then.
            self.result.cut += time.monotonic() - connection.sent > CROSSING_SECONDS or bool(connection.buffer)

    async def run(self, seconds: float) -> Result:
        end = self.began + seconds
        if self.stream.rate is None:
            self.closed_until = end
            for _ in range(self.stream.connections):
                self.start_one(time.monotonic())
        else:
            planned = 0
            while time.monotonic() < end:
                due_by_now = int((time.monotonic() - self.began) * self.stream.rate)
                while planned < due_by_now:
                    planned += 1
                    self.start_one(self.began + planned / self.stream.rate)
                await asyncio.sleep(TICK_SECONDS)
            # What this generator was too busy for goes out now; it is as late as it is.
            while planned < int(seconds * self.stream.rate):
                planned += 1
                self.start_one(self.began + planned / self.stream.rate)
        await asyncio.sleep(max(0.0, end - time.monotonic()))
        tail = time.monotonic() + TAIL_SECONDS
        while self.under_way and time.monotonic() < tail:
            await asyncio.sleep(0.01)
        self.result.unanswered = self.under_way
        self.result.seconds = seconds
        return self.result


async def generate(plan: Dict[str, Any]) -> Dict[str, Dict[str, Any]]:
    """Runs all streams of a plan at once."""
    began = time.monotonic() + 0.05
    await asyncio.sleep(0.05)
    loads = [Load(Stream(**stream), plan["host"], plan["port"], began) for stream in plan["streams"]]
    results = await asyncio.gather(*(load.run(plan["seconds"]) for load in loads))
    return {load.stream.name: dataclasses.asdict(result) for load, result in zip(loads, results)}


class Running:
    """A generator under way."""

    def __init__(self, plan: Dict[str, Any]) -> None:
        self._plan = plan
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.openloop"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            cwd=pathlib.Path(__file__).resolve().parents[1])
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(plan).encode())
        self._process.stdin.close()
        self._process.stdin = None

    def wait(self) -> Dict[str, Result]:
        """The results by stream, when all is over."""
        limit = self._plan["seconds"] + TAIL_SECONDS + 30
        try:
            out, _ = self._process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise
        if self._process.returncode != 0:
            raise RuntimeError("the load generator failed; its words are above")
        return {name: Result(**one) for name, one in json.loads(out).items()}


def start(url: str, seconds: float, streams: List[Stream]) -> Running:
    """Starts the streams against the public port."""
    host, _, port = url.partition("://")[2].rstrip("/").partition(":")
    return Running({"host": host, "port": int(port), "seconds": seconds,
                    "streams": [dataclasses.asdict(stream) for stream in streams]})


def run(url: str, seconds: float, streams: List[Stream]) -> Dict[str, Result]:
    """Runs the streams against the public port, to the end."""
    return start(url, seconds, streams).wait()


def book(stage: Any, stream: Stream, result: Result) -> None:
    """Puts what a stream asked for into the run's ledger, so that the checker judges it too: after the fact, since
    the generator holds its acknowledgements outside the system itself."""
    slug = stream.prefix.split("-")[0]
    for name in result.names if stream.kind == "incident" else []:
        operation = Operation(f"{stream.name}/{name}", "incident.create", slug, "rest", name, tries=1)
        if name in result.acknowledged:
            operation.acked_at, operation.answer = time.time(), {"id": result.acknowledged[name]}
        stage.ledger.operations[operation.id] = operation


if __name__ == "__main__":
    json.dump(asyncio.run(generate(json.load(sys.stdin))), sys.stdout)

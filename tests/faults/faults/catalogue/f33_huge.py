"""F33: huge and hostile payloads: each is refused at the edge with a clear word, quickly and at little cost."""
from __future__ import annotations

import gzip
import json
import os
import time
from typing import Any, Dict, List, Tuple

import grpc

from .. import contract
from ..report import Report
from ..rest import Rest
from ..system import GATEWAY

number, title, selection = "F33", "huge payloads", "ci"
TIMES = 10
CPU_EACH_SECONDS = 0.05
MEMORY_MB = 32.0
TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid: int) -> float:
    """What a process has used so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mb(pid: int) -> float:
    """Its memory now."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:")) / 1024


def payloads(key: str) -> List[Tuple[str, str, bytes, Dict[str, str]]]:
    """Name, path, body and headers."""
    path = f"/intake/{key}/alerts"
    alert: Dict[str, Any] = {"title": "huge", "dedup_key": "huge", "severity": "high"}
    deep = b'{"title": "deep", "dedup_key": "deep", "labels": ' + b'{"a": ' * 10_000 + b'"x"' + b"}" * 10_000 + b"}"
    bomb = gzip.compress(b'{"title": "' + b"x" * 64 * 1024 * 1024 + b'"}')
    return [
        ("1 MiB and more", path, json.dumps({**alert, "description": "x" * 1_100_000}).encode(), {}),
        ("10,000 labels", path, json.dumps({**alert, "labels": {f"label{number}": "x" for number in range(10_000)}}).encode(), {}),
        ("a key of 64 kB", path, json.dumps({**alert, "labels": {"k" * 65_536: "x"}}).encode(), {}),
        ("a dedup key of 64 kB", path, json.dumps({**alert, "dedup_key": "k" * 65_536}).encode(), {}),
        ("10,000 levels", path, deep, {}),
        ("arrays of 10,000 levels", "/v1/incidents", b'{"title": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", {}),
        ("a bomb of 64 MiB", path, bomb, {"content-encoding": "gzip"}),
        ("half a gzip", path, bomb[: len(bomb) // 2], {"content-encoding": "gzip"}),
        ("a title of 1 MB", "/v1/incidents", json.dumps({"title": "x" * 1_000_000}).encode(), {}),
        ("8 MB to REST", "/v1/incidents", b'{"title": "' + b"x" * 8_000_000 + b'"}', {}),
        ("a header of 100 kB", "/v1/incidents", b"{}", {"x-huge": "x" * 100_000}),
        ("a path of 100 kB", "/v1/incidents/" + "x" * 100_000, b"{}", {}),
        ("a filter of 60 kB", "GET /v1/incidents?filter=" + "a%20%3D%201%20OR%20" * 3_000 + "a%20%3D%201", b"", {}),
        ("a filter of 10,000 brackets", "GET /v1/incidents?filter=" + "(" * 10_000, b"", {}),
    ]


def run(context: Any) -> Report:
    with context.stage() as stage:
        system, report = stage.system, stage.report
        tenant = stage.world.tenants["default"]
        stage.driver.start()
        stage.driver.wait_acknowledged(60)
        # Alone from here, so that the processor's time is theirs.
        stage.driver.stop_event.set()
        for thread in stage.driver._threads:
            thread.join(20)
        processes = {name: process for (name, _), process in system.processes.items() if name in (GATEWAY, "alert", "incident", "directory")}
        before = {name: resident_mb(process.pid) for name, process in processes.items()}
        slowest: Dict[str, float] = {}
        with stage.fault():
            for name, path, body, headers in payloads(tenant.intake_key):
                verb, _, rest_of = path.partition(" ") if path.startswith("GET ") else ("POST", "", path)
                used = sum(processor_seconds(process.pid) for process in processes.values())
                for _ in range(TIMES):
                    rest = Rest(system.gateway_port, tenant.administrator_key, timeout=10)
                    answer = rest.request(verb, rest_of, body or None, headers)
                    rest.close()
                    slowest[name] = max(slowest.get(name, 0.0), answer.seconds)
                    # A server may close on whoever goes on writing after the answer: then there is none to read.
                    # A long key is shortened to a digest, so an alert with one may be taken.
                    if name == "a dedup key of 64 kB" and answer.ok:
                        continue
                    if not (400 <= answer.status < 500 or (answer.status == 0 and ("Pipe" in answer.text or "Reset" in answer.text))):
                        report.misses.append(f"{name}: answered {answer.status} {answer.text[:150]}")
                        break
                cpu = (sum(processor_seconds(process.pid) for process in processes.values()) - used) / TIMES
                if cpu > CPU_EACH_SECONDS:
                    report.misses.append(f"{name}: {cpu * 1000:.0f} ms of processor each, at most {CPU_EACH_SECONDS * 1000:.0f} wanted")
                report.figures[name] = f"{answer.status}, {cpu * 1000:.0f} ms"
            _grpc(stage, tenant, report)
            _nats(stage, tenant, report)
        for name, process in processes.items():
            report.require(f"memory of {name} grew by", resident_mb(process.pid) - before[name], MEMORY_MB, "MB")
        report.figures["slowest answer"] = round(max(slowest.values()), 3)
        health = Rest(system.gateway_port).request("GET", "/healthz")
        if not health.ok:
            report.misses.append(f"/healthz says {health.status} afterwards")
        # What came by NATS and cannot be read is kept and listed; nothing acknowledged was among it.
        return stage.finish(skip={"alerts_are_stored_and_counted_once", "no_record_came_from_nowhere"})


def _grpc(stage: Any, tenant: Any, report: Report) -> None:
    path, ask, answer = contract.method("incident", "CreateIncident")
    channel = grpc.insecure_channel(f"127.0.0.1:{stage.system.gateway_port}", options=[
        ("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)])
    metadata = (("authorization", f"Bearer {tenant.administrator_key}"),)
    for name, size, squeeze in (("gRPC of 5 MB", 5_000_000, None), ("gRPC bomb of 64 MB", 64_000_000, grpc.Compression.Gzip)):
        call = channel.unary_unary(path, request_serializer=ask.SerializeToString, response_deserializer=answer.FromString)
        message = ask()
        message.incident.title = "x" * size
        began = time.monotonic()
        try:
            call(message, timeout=10, metadata=metadata, compression=squeeze)
            report.misses.append(f"{name} was taken")
        except grpc.RpcError as error:
            report.figures[name] = error.code().name
            if error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED):
                report.misses.append(f"{name}: {error.code().name} {error.details()[:150]} after {time.monotonic() - began:.1f} s")
    channel.close()


def _nats(stage: Any, tenant: Any, report: Report) -> None:
    from ..driver import NatsPublisher

    publisher = NatsPublisher(stage.system)
    for name, _, body, headers in payloads("-")[:5]:
        if not headers:
            answer = publisher.publish(tenant.slug, f"alerts.{tenant.slug}.{tenant.integration}", body)
            report.figures[f"NATS: {name}"] = answer.status
    publisher.close()

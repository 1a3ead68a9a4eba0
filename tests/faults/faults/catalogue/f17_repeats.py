"""F17: every event arrives one to five times, and all of them once more later.

First on the line from three services to NATS, while they are new; then an administrator publishes the
whole event streams again, in order, so that every consumer meets what it knows already.
"""
from __future__ import annotations

import asyncio
import json
from typing import Any

from ..chaos import CLEAN, Line, Mode
from ..report import Report

number, title, selection = "F17", "repeated events", "ci"
SPEAKERS = ("alert", "incident", "sla")


async def _again(system: Any, most: int) -> int:
    """Publishes what the streams hold once more; how many messages that was."""
    client = await system.nats_admin()
    count = 0
    try:
        for service in SPEAKERS:
            subscription = await client.subscribe(f"_INBOX_provisioner.again.{service}")
            stream = service.upper()
            made = {"stream_name": stream, "config": {"deliver_subject": f"_INBOX_provisioner.again.{service}", "ack_policy": "none",
                                                      "deliver_policy": "all", "inactive_threshold": 30_000_000_000}}
            info = json.loads((await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=5)).data)
            wanted = min(info["state"]["messages"], most)
            answer = json.loads((await client.request(f"$JS.API.CONSUMER.CREATE.{stream}", json.dumps(made).encode(), timeout=5)).data)
            if "error" in answer:
                raise RuntimeError(f"{stream}: {answer['error']}")
            for _ in range(wanted):
                message = await subscription.next_msg(timeout=10)
                if not message.subject.startswith("itsm."):
                    raise RuntimeError(f"a stream's message came as {message.subject}")
                await client.publish(message.subject, message.data, headers=dict(message.headers or {}))
                count += 1
            await client.flush(10)
            await subscription.unsubscribe()
    finally:
        await client.close()
    return count


def run(context: Any) -> Report:
    with context.stage() as stage:
        line = Line(stage.system.nats.port, context.seed)
        for service in SPEAKERS:
            stage.system.stop(service)
            stage.system.restart(service, env=line.environment(stage.system))
        stage.driver.start()
        stage.driver.wait_acknowledged(50)
        with stage.fault():
            line.mode = Mode(repeat=5)
            stage.driver.wait_acknowledged(2000 if context.long else 250)
            line.mode = CLEAN
        with stage.fault():
            again = asyncio.run(_again(stage.system, 100_000))
        stage.driver.wait_acknowledged(50)
        stage.drained()
        stage.report.figures["events repeated on the line"] = line.repeated
        stage.report.figures["events published again"] = again
        if line.repeated < 300 or again < 300:
            stage.report.misses.append(f"only {line.repeated} and {again} events were repeated: this shows nothing")
        report = stage.finish()
        line.close()
        return report

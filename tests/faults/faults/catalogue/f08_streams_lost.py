"""F08, F09, F10: the streams' copies are lost: deleted, wiped with the whole store, cut short.

The journals are the truth of events, so consumers go on by the owners' feeds and the copies for
outsiders come again. The intake stream is different: what it acknowledged and nobody had taken yet
is nowhere else. How much that is, is measured here.
"""

from __future__ import annotations

import asyncio
import json
import pathlib
import time
from typing import Callable

from ..checker import stored_alerts
from ..context import Context, Stage
from ..report import Report
from ..system import SERVICES, HarnessError, wait_until

number, title, selection = "F08", "event streams deleted, wiped, cut short", "normal"
COPIES_WITHIN = 60.0


def run(context: Context) -> list[Report]:
    """The three rows."""
    return [lose(context, "F08", "event streams deleted", delete_streams),
            lose(context, "F09", "whole NATS store wiped", wipe),
            lose(context, "F10", "event streams cut short", cut)]


def lose(context: Context, row: str, name: str, harm: Callable[[Stage], None]) -> Report:
    """Load before and after; then whether outsiders have everything."""
    with context.stage(title=name) as stage:
        stage.report.number = row
        stage.streams_lost = True
        stage.driver.start()
        stage.driver.wait_acknowledged(150)
        harm(stage)
        back = time.monotonic()
        stage.driver.wait_acknowledged(60)
        stage.drained()
        missing = copies_back(stage)
        stage.report.figures["copies are there again after s"] = round(time.monotonic() - back, 1)
        if missing:
            stage.report.misses.append(f"copies still missing after {COPIES_WITHIN:g} s: {missing}")
        usual = sorted(stage.page_delays(0, stage.fault_times[0][0]))
        after = stage.page_delays(stage.fault_times[0][0], time.time() - 1)
        if usual and after:
            stage.report.figures["a page usually s, at most"] = round(usual[-1], 2)
            stage.report.require("longest pause of a page", max(after), 5.0 + usual[len(usual) // 2])
        return stage.finish()


def ask(stage: Stage, subject: str, body: bytes = b"") -> dict[str, object]:
    """One request with the provisioner's rights."""
    async def work() -> dict[str, object]:
        client = await stage.system.nats_admin()
        try:
            return dict(json.loads((await client.request(subject, body, timeout=5)).data))
        finally:
            await client.close()

    return asyncio.run(work())


def delete_streams(stage: Stage) -> None:
    """By somebody with the rights of an administrator."""
    with stage.fault():
        for service in SERVICES:
            answer = ask(stage, f"$JS.API.STREAM.DELETE.{service.upper()}")
            if not answer.get("success"):
                raise HarnessError(f"cannot delete the stream of {service}: {answer}")
        wait_until("the streams were made again", lambda: all(
            "error" not in ask(stage, f"$JS.API.STREAM.INFO.{service.upper()}") for service in SERVICES), 60, 0.25)


def wipe(stage: Stage) -> None:
    """The server dies and its disk is empty. What the intake had and nobody had taken is gone: it is counted."""
    with stage.fault():
        stage.system.nats.kill()
        # What the alert service had in hand, it stores: until its table stands still.
        seen = [-1, -2]

        def still() -> bool:
            seen.append(stage.system.sql("select count(*) from alert.intake")[0][0])
            return seen[-1] == seen[-2] == seen[-3]

        wait_until("the alert service has stored what it had", still, 10, 0.2)
        stored = stored_alerts(stage.system)
        lost = 0
        for operation in stage.ledger.all():
            if operation.kind.startswith("alert.") and operation.acked and operation.id not in stored:
                operation.excused = True
                lost += 1
        stage.report.figures["acknowledged alerts that the wiped intake had not handed over"] = lost
        stage.system.nats.wipe()
        stage.system.nats.start()


def cut(stage: Stage) -> None:
    """The last third of each event stream's newest block is gone, as after a disk that lied."""
    with stage.fault():
        stage.system.nats.kill()
        store = stage.system.nats.folder / "js"
        cut_streams = 0
        for service in SERVICES:
            for folder in pathlib.Path(store).rglob(f"streams/{service.upper()}"):
                blocks = sorted((folder / "msgs").glob("*.blk"), key=lambda path: int(path.stem))
                if blocks and blocks[-1].stat().st_size > 4096:
                    size = blocks[-1].stat().st_size
                    with blocks[-1].open("r+b") as file:
                        file.truncate(size * 2 // 3)
                    # Its own notes about itself would say otherwise.
                    (folder / "msgs/index.db").unlink(missing_ok=True)
                    cut_streams += 1
        if not cut_streams:
            raise HarnessError(f"found no stream to cut below {store}")
        stage.report.figures["streams cut"] = cut_streams
        stage.system.nats.start()


def copies_back(stage: Stage) -> dict[str, str]:
    """Waits until each stream has as many messages as its feed; what is missing when time is up."""
    missing: dict[str, str] = {}

    def there() -> bool:
        missing.clear()
        heads = stage.heads()
        for service in SERVICES:
            state = ask(stage, f"$JS.API.STREAM.INFO.{service.upper()}").get("state", {})
            count = int(state.get("messages", 0)) if isinstance(state, dict) else 0
            if count < heads[service] - 20:
                missing[service] = f"{count}/{heads[service]}"
        return not missing

    try:
        wait_until("the copies are there again", there, COPIES_WITHIN, 0.5)
    except HarnessError:
        pass
    return missing

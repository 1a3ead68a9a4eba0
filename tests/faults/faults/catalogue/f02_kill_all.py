"""F02: all services at once; Postgres and NATS stay. They come back in any order of start."""

from __future__ import annotations

import random
import signal
import time

from ..context import Context
from ..report import Report
from ..system import PROCESSES

number, title, selection = "F02", "kill -9 of all services at once", "normal"


def run(context: Context) -> Report:
    """Some rounds, each with another order of start."""
    dice = random.Random(f"{context.seed}/F02")
    rounds = context.rounds({"ci": 2, "normal": 5, "long": 20}[context.options.selection])
    with context.stage() as stage:
        stage.notification_killed = True
        stage.driver.start()
        for _ in range(rounds):
            stage.driver.wait_acknowledged(dice.randrange(20, 60))
            order = list(PROCESSES)
            dice.shuffle(order)
            with stage.fault():
                for name in PROCESSES:
                    stage.system.processes[(name, 1)].send(signal.SIGKILL)
                for name in PROCESSES:
                    stage.system.processes[(name, 1)].wait(10)
                began = time.monotonic()
                for name in order:
                    stage.system.launch(name)
                for name in order:
                    stage.system.wait_ready(name)
                seconds = time.monotonic() - began
            stage.ready(seconds)
            if seconds > 5.0:
                stage.report.misses.append(f"ready after {seconds:.1f} s when started as {' '.join(order)}, at most 5 s wanted")
        stage.drained()
        return stage.finish()

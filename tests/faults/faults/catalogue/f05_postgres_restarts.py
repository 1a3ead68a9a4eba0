"""F05: Postgres `restart -m immediate` under load, ten times. Half of the commits that seem to have failed
did happen (E8); with the same request_id the retry takes effect once. Alerts are taken meanwhile."""

from __future__ import annotations

import random
import time

from ..context import Context
from ..report import Report, Violation
from ..system import HarnessError, wait_until

number, title, selection = "F05", "Postgres restarted at once (immediate)", "ci"
DOWN_SECONDS = 1.5


def run(context: Context) -> Report:
    """Rounds of stop and start."""
    dice = random.Random(f"{context.seed}/F05")
    rounds = context.rounds({"ci": 3, "normal": 10, "long": 50}[context.options.selection])
    with context.stage() as stage:
        stage.driver.start()
        accepted = refused = 0
        slowest_back = 0.0
        for _ in range(rounds):
            stage.driver.wait_acknowledged(dice.randrange(15, 50))
            with stage.fault():
                began = time.time()
                stage.system.postgres.stop("immediate")
                stage.driver.give_up.wait(DOWN_SECONDS)
                ended = time.time()
                stage.system.postgres.start()
                back = time.time()

            def answered() -> bool:
                return any(sample[0] > back and not sample[4] and sample[2] in ("rest", "grpc") for sample in list(stage.driver.samples)[-200:])

            try:
                wait_until("a call succeeds after Postgres is back", answered, 30)
                slowest_back = max(slowest_back, time.time() - back)
            except HarnessError as error:
                stage.report.misses.append(str(error))
            for sample in list(stage.driver.samples):
                if sample[2] == "http" and began <= sample[0] - sample[3] and sample[0] <= ended:
                    accepted += not sample[4]
                    refused += bool(sample[4])
                    if sample[4]:
                        stage.report.violations.append(Violation("intake", f"an alert was not taken while Postgres was away: {sample[4][:160]}"))
        stage.report.figures["alerts taken while Postgres was away"] = accepted
        if not accepted:
            stage.report.misses.append("no alert was taken while Postgres was away")
        stage.report.require("calls work again after", slowest_back, 3.0)
        stage.ready(slowest_back)
        stage.drained()
        tries = sum(operation.tries > 1 for operation in stage.ledger.all())
        stage.report.figures["operations tried again"] = tries
        return stage.finish()

"""P5: ten thousand new alerts at once, until the last webhook, beside Alertmanager."""
import time
from typing import Callable, Dict, List, Tuple

from bench import machine
from bench.figures.ceiling import ceiling
from bench.figures.commands import delta
from bench.figures.latency import check
from bench.place import BenchError
from bench.play import Pair, Row, Session
from bench.references import Alertmanager
from bench.world import World

STORM = 10000
CONNECTIONS = 16
OVER_WITHIN = 300


class Storm(Session):
    """One alert a POST, sixteen connections, each alert a message of its own."""

    name = "P5"
    cheap = False
    rows = [Row("P5", "10,000 new alerts until the last webhook, rate / Alertmanager", 0.25, 0.5,
                lambda pair: pair["alertmanager"]["took_s"] / pair["itsm"]["took_s"])]

    def begin(self, world: World) -> None:
        world.end_product()
        _ = world.product
        self.ceiling = ceiling(world)

    def sides(self, world: World) -> List[Tuple[str, Callable[[], Dict]]]:
        return [("alertmanager", lambda: self._alertmanager(world)), ("itsm", lambda: self._product(world))]

    @staticmethod
    def _alertmanager(world: World) -> Dict:
        manager = Alertmanager(world.place, world.sink)
        try:
            return storm(world, manager.target())
        finally:
            manager.stop()

    @staticmethod
    def _product(world: World) -> Dict:
        product = world.product
        if product.profile:
            product.top_statements(1)
        backends, counters, feeds = product.backends(), product.statements(), product.positions()
        itsm, nats = machine.own_cpu(product.child.pid), machine.own_cpu(product.nats)
        told = storm(world, product.by_http())
        stages: Dict = {"itsm_ms": (machine.own_cpu(product.child.pid) - itsm) * 1000 / STORM,
                        "nats_ms": (machine.own_cpu(product.nats) - nats) * 1000 / STORM}
        if product.profile:
            stages["statements"] = product.top_statements(STORM)
        stages.update({f"postgres {name} ms": value * 1000 / STORM
                       for name, value in delta(product.backends(), backends).items()})
        stages.update({name: value / STORM for name, value in delta(product.statements(), counters).items()})
        settled = product.settle()
        events = sum(product.positions().values()) - sum(feeds.values())
        return {**told, "settled_s": settled, "events_per_alert": events / STORM, "stages": stages}

    def remark(self, pairs: List[Pair]) -> str:
        took = ", ".join(f"{side} {pairs[-1][side]['took_s']:.1f} s" for side in ("alertmanager", "itsm"))
        return f"{took}; {self.ceiling.told(pairs[-1]['itsm']['events_per_alert'])}"


def storm(world: World, target: Dict) -> Dict:
    """Posts them all; the time until the last webhook came."""
    world.sink.reset()
    with world.measured() as reading:
        began = time.time_ns()
        told = world.place.load("http", connections=CONNECTIONS, count=STORM, seconds=OVER_WITHIN,
                                first=world.alerts(STORM), **target)
        seen = world.sink.wait(STORM, OVER_WITHIN)
    if told["bad"]:
        raise BenchError(f"{told['bad']} POSTs were refused: {told['first_error']}")
    check(seen, STORM)
    return {**reading, "took_s": (seen["last_ns"] - began) / 1e9, "posts_per_second": told["posts_per_second"]}

"""P2, P13: from an alert over NATS to its webhook, and the processor time of it, beside the bare pipeline."""
from typing import Callable, Dict, List, Tuple

from bench import machine
from bench.figures.ceiling import ceiling
from bench.figures.commands import delta
from bench.place import BenchError
from bench.play import Pair, Row, Session
from bench.references import Floor
from bench.world import World

RATES = (200, 500)
# How long the last webhook may be behind the last alert before the stretch counts as failed.
PATIENCE = 120


def ratio(rate: int, what: str) -> Callable[[Pair], float]:
    """Product by floor at a rate."""
    return lambda pair: pair[f"itsm {rate}"][what] / pair[f"floor {rate}"][what]


class Latency(Session):
    """Open loop at two rates."""

    name = "P2"
    rows = [
        Row("P2", "alert to webhook / floor, p50 at 200/s", 2.5, 1.5, ratio(200, "p50_us"), higher=False),
        Row("P2", "p50 at 500/s", 8, 3, ratio(500, "p50_us"), higher=False),
        Row("P2", "p99 at 200/s", 6, 2.5, ratio(200, "p99_us"), higher=False),
        Row("P2", "p99 at 500/s", 6, 2.5, ratio(500, "p99_us"), higher=False),
        Row("P13", "CPU per alert over all processes at 500/s / floor", 2.5, 1.5, ratio(500, "cpu_ms"), higher=False),
    ]

    def begin(self, world: World) -> None:
        world.end_product()
        product = world.product
        _ = world.postgres
        # The first alerts fill caches and pools that stay full.
        send(world, product.by_nats(), 100, 2)
        product.settle()
        self.ceiling = ceiling(world)

    def sides(self, world: World) -> List[Tuple[str, Callable[[], Dict]]]:
        sides: List[Tuple[str, Callable[[], Dict]]] = []
        for rate in RATES:
            sides.append((f"floor {rate}", lambda rate=rate: self._floor(world, rate)))
            sides.append((f"itsm {rate}", lambda rate=rate: self._product(world, rate)))
        return sides

    @staticmethod
    def _floor(world: World, rate: int) -> Dict:
        floor = Floor(world.place, world.postgres, world.sink, always=False)
        try:
            send(world, floor.target(), 100, 1)
            return send(world, floor.target(), rate, world.lasting("P2", 6), tuple(floor.roots))
        finally:
            floor.stop()

    @staticmethod
    def _product(world: World, rate: int) -> Dict:
        product = world.product
        backends, counters, feeds = product.backends(), product.statements(), product.positions()
        if product.profile:
            product.top_statements(1)
        switches, itsm = machine.switches(product.child.pid), machine.own_cpu(product.child.pid)
        nats = machine.own_cpu(product.nats)
        told = send(world, product.by_nats(), rate, world.lasting("P2", 6), ("itsm",))
        count = told["incidents"]
        stages: Dict = {"itsm_ms": (machine.own_cpu(product.child.pid) - itsm) * 1000 / count,
                  "nats_ms": (machine.own_cpu(product.nats) - nats) * 1000 / count,
                  "switches": (machine.switches(product.child.pid) - switches) / count}
        if product.profile:
            stages["statements"] = product.top_statements(count)
        stages.update({f"postgres {name} ms": value * 1000 / count
                       for name, value in delta(product.backends(), backends).items()})
        stages.update({name: value / count for name, value in delta(product.statements(), counters).items()})
        told["settled_s"] = product.settle()
        if product.profile:
            stages["waits"] = product.waits(count)
        told["events_per_alert"] = (sum(product.positions().values()) - sum(feeds.values())) / count
        told["stages"] = stages
        return told

    def remark(self, pairs: List[Pair]) -> str:
        return self.ceiling.told(pairs[-1]["itsm 500"]["events_per_alert"])


def send(world: World, target: Dict, rate: int, seconds: float, charged: Tuple[str, ...] = ()) -> Dict:
    """Alerts at a rate; what the sink saw of them, and the processor time of those who are charged."""
    count = int(rate * seconds)
    world.sink.reset()
    with world.measured() as reading:
        sent = world.place.load("nats-generate", rate=rate, seconds=seconds, first=world.alerts(count), **target)
        seen = world.sink.wait(count, PATIENCE)
    check(seen, count)
    cpu = sum(reading["cpu_s"][name] for name in reading["cpu_s"] if name in charged or not charged)
    return {**reading, **seen, "sent_per_second": sent["sent_per_second"], "ack_p50_us": sent["p50_us"],
            "cpu_ms": cpu * 1000 / count}


def check(seen: Dict, count: int) -> None:
    """Every alert one incident, every incident one message: anything else is no figure but a finding."""
    if seen["incidents"] != count or seen["repeated"] or seen["unmarked"] or seen["unknown"]:
        raise BenchError(f"{count} alerts, but the sink saw {seen}")

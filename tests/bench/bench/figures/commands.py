"""P1, P1g: opening incidents at the service's own socket and through the public port, beside pgbench."""
from typing import Callable, Dict, List, Tuple

from bench import machine
from bench.play import Pair, Row, Session
from bench.world import World

FLIGHT = 16


def delta(after: Dict[str, float], before: Dict[str, float]) -> Dict[str, float]:
    """What was added in between, without what stayed the same."""
    return {name: round(value - before.get(name, 0.0), 2) for name, value in after.items()
            if value - before.get(name, 0.0) > 0.005}


class Commands(Session):
    """One closed loop with sixteen in flight on each side."""

    name = "P1"
    rows = [
        Row("P1", "CreateIncident at its own socket / pgbench tx3, rate", 0.45, 0.65,
            lambda pair: pair["own"]["rate"] / pair["pgbench"]["rate"]),
        Row("P1", "the same, p50", 2.5, 1.6, lambda pair: pair["own"]["p50_us"] / pair["pgbench"]["p50_us"], higher=False),
        Row("P1g", "through the public port with an API key / pgbench tx3, rate", 0.3, 0.5,
            lambda pair: pair["public"]["rate"] / pair["pgbench"]["rate"]),
    ]

    def begin(self, world: World) -> None:
        product = world.product
        _ = world.postgres
        self.caller = product.caller()
        # The first calls fill caches and pools that stay full.
        self._calls(world, 1.0, address=product.socket("incident"), **self.caller)
        self._calls(world, 1.0, address=product.url, key=product.key)
        product.settle()

    def sides(self, world: World) -> List[Tuple[str, Callable[[], Dict]]]:
        product = world.product
        return [("pgbench", lambda: self._pgbench(world)),
                ("own", lambda: self._create(world, address=product.socket("incident"), **self.caller)),
                ("public", lambda: self._create(world, address=product.url, key=product.key))]

    @staticmethod
    def _calls(world: World, seconds: float, **target) -> Dict:
        return world.place.load("grpc", call="create", flight=FLIGHT, seconds=seconds, **target)

    @staticmethod
    def _pgbench(world: World) -> Dict:
        seconds = world.lasting("P1", 5)
        with world.measured() as reading:
            told = world.postgres.transactions("tx3", FLIGHT, seconds)
        return {**reading, **told}

    def _create(self, world: World, **target) -> Dict:
        product, seconds = world.product, world.lasting("P1", 5)
        backends, counters = product.backends(), product.statements()
        if product.profile:
            product.top_statements(1)
        switches, itsm = machine.switches(product.child.pid), machine.own_cpu(product.child.pid)
        nats = machine.own_cpu(product.nats)
        with world.measured() as reading:
            told = self._calls(world, seconds, **target)
        count = told["count"]
        stages: Dict = {
            "itsm_ms": (machine.own_cpu(product.child.pid) - itsm) * 1000 / count,
            "nats_ms": (machine.own_cpu(product.nats) - nats) * 1000 / count,
            "switches": (machine.switches(product.child.pid) - switches) / count,
            "generator_ms": told["generator_cpu_s"] * 1000 / count,
        }
        if product.profile:
            stages["statements"] = product.top_statements(count)
        stages.update({f"postgres {name} ms": value * 1000 / count
                       for name, value in delta(product.backends(), backends).items()})
        stages.update({name: value / count for name, value in delta(product.statements(), counters).items()})
        drained = product.settle()
        return {**reading, "rate": told["calls_per_second"], "p50_us": told["p50_us"], "p99_us": told["p99_us"],
                "count": count, "settled_s": drained, "stages": stages}

    def remark(self, pairs: List[Pair]) -> str:
        rates = {side: sorted(pair[side]["rate"] for pair in pairs)[len(pairs) // 2] for side in pairs[0]}
        return ", ".join(f"{side} {rate:.0f}/s" for side, rate in rates.items())

"""P4: repeats of a thousand known alerts, beside Alertmanager in memory and NATS that flushes."""
import time
from typing import Callable, Dict, List, Tuple

from bench.place import BenchError, wait_until
from bench.play import Pair, Row, Session
from bench.references import Alertmanager, Nats
from bench.world import World

KNOWN = 1000
CONNECTIONS = 16
APPLIED_WITHIN = 120


class Repeats(Session):
    """A closed loop of one alert a POST. Of the product counts what is applied, not what is only taken."""

    name = "P4"
    rows = [Row("P4", "repeats of 1,000 known alerts / the lower of Alertmanager and NATS", 0.4, 0.8,
                lambda pair: pair["itsm"]["applied"] / min(pair["alertmanager"]["rate"], pair["nats"]["rate"]))]

    def begin(self, world: World) -> None:
        world.sink.reset()
        self._post(world, world.product.by_http(), count=KNOWN)
        world.product.settle()

    def sides(self, world: World) -> List[Tuple[str, Callable[[], Dict]]]:
        return [("alertmanager", lambda: self._alertmanager(world)), ("nats", lambda: self._nats(world)),
                ("itsm", lambda: self._product(world))]

    @staticmethod
    def _post(world: World, target: Dict, **limits) -> Dict:
        told = world.place.load("http", connections=CONNECTIONS, unique=KNOWN, **target, **limits)
        if told["bad"]:
            raise BenchError(f"{told['bad']} POSTs were refused: {told['first_error']}")
        return told

    def _alertmanager(self, world: World) -> Dict:
        manager = Alertmanager(world.place, world.sink)
        try:
            self._post(world, manager.target(), count=KNOWN)
            time.sleep(1)
            with world.measured() as reading:
                told = self._post(world, manager.target(), seconds=world.lasting("P4", 4))
            return {**reading, "rate": told["posts_per_second"]}
        finally:
            manager.stop()

    @staticmethod
    def _nats(world: World) -> Dict:
        nats = Nats(world.place, always=True)
        try:
            with world.measured() as reading:
                told = world.place.load("nats-publish", url=nats.url, count=4000 if world.smoke else 20000, flight=256)
            return {**reading, "rate": told["messages_per_second"]}
        finally:
            nats.stop()

    def _product(self, world: World) -> Dict:
        product = world.product
        before = counted(world)
        with world.measured() as reading:
            began = time.monotonic()
            told = self._post(world, product.by_http(), seconds=world.lasting("P4", 4))
            wait_until(lambda: counted(world) >= before + told["count"], APPLIED_WITHIN, "repeats are applied")
            applied = time.monotonic() - began
        if counted(world) != before + told["count"]:
            raise BenchError(f"{told['count']} repeats were counted as {counted(world) - before}")
        product.settle()
        return {**reading, "rate": told["posts_per_second"], "applied": told["count"] / applied,
                "p50_us": told["p50_us"], "p99_us": told["p99_us"], "count": told["count"]}

    def remark(self, pairs: List[Pair]) -> str:
        last = pairs[-1]
        return (f"Alertmanager {last['alertmanager']['rate']:.0f}/s, NATS {last['nats']['rate']:.0f}/s, itsm took "
                f"{last['itsm']['rate']:.0f}/s and applied {last['itsm']['applied']:.0f}/s")


def counted(world: World) -> int:
    """How often the known alerts were said, as the product knows it."""
    return int(world.product.sql("select coalesce(sum(occurrence_count), 0) from alert.alerts "
                                 "where dedup_key ~ '^fp-[0-9]{1,3}$'")[0])

"""P7: memory with a hundred thousand open incidents, beside Alertmanager with as many alerts."""
from typing import Callable, Dict, List, Tuple

from bench import machine
from bench.figures.commands import FLIGHT
from bench.place import BenchError, wait_until
from bench.play import Pair, Row, Session
from bench.references import Alertmanager
from bench.world import World

MANY = 100_000
CHUNK = 10_000


class Memory(Session):
    """The instance that had all the load before is filled up, so what it did not give back counts too."""

    name = "P7"
    cheap = False
    rows = [Row("P7", "PSS of itsm and nats-server with 100,000 open incidents / Alertmanager with 100,000 alerts", 0.15,
                0.08, lambda pair: pair["itsm"]["pss_mb"] / pair["alertmanager"]["pss_mb"], higher=False)]

    def pairs_wanted(self, world: World) -> int:
        """Memory does not scatter as time does, and filling takes long."""
        return 1

    def sides(self, world: World) -> List[Tuple[str, Callable[[], Dict]]]:
        return [("alertmanager", lambda: self._alertmanager(world)), ("itsm", lambda: self._product(world))]

    @staticmethod
    def _alertmanager(world: World) -> Dict:
        manager = Alertmanager(world.place, world.sink)
        try:
            world.sink.reset()
            told = world.place.load("http", connections=4, batch=100, count=MANY, seconds=300,
                                    first=world.alerts(MANY), **manager.target())
            if told["bad"]:
                raise BenchError(f"Alertmanager refused {told['bad']} POSTs: {told['first_error']}")
            wait_until(lambda: manager.active() >= MANY, 120, "Alertmanager holds 100,000 alerts", every=1)
            world.sink.wait(MANY, 120)
            return {"pss_mb": machine.pss_mb(manager.child.pid)}
        finally:
            manager.stop()

    @staticmethod
    def _product(world: World) -> Dict:
        product, caller = world.product, world.product.caller()
        idle = product.memory_mb()
        missing = MANY - opened(world)
        while missing > 0:
            # In parts, so that the consumers never have more before them than in a bad hour.
            world.place.load("grpc", call="create", flight=FLIGHT, count=min(CHUNK, missing), seconds=300,
                             address=product.socket("incident"), **caller)
            product.settle(300)
            missing = MANY - opened(world)
        return {"pss_mb": product.memory_mb(), "before_mb": idle, "itsm_mb": machine.pss_mb(product.child.pid),
                "nats_mb": machine.pss_mb(product.nats), "open": opened(world)}

    def end(self, world: World) -> None:
        world.end_product()

    def remark(self, pairs: List[Pair]) -> str:
        last = pairs[-1]
        return (f"Alertmanager {last['alertmanager']['pss_mb']:.0f} MB, itsm {last['itsm']['itsm_mb']:.0f} MB and "
                f"nats-server {last['itsm']['nats_mb']:.0f} MB after all the load of the run; one pair")


def opened(world: World) -> int:
    """How many incidents are open."""
    return int(world.product.sql("select count(*) from incident.incidents where state not in "
                                 "('RESOLVED', 'CLOSED', 'CANCELLED')")[0])

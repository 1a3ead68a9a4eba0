"""P11, and P7 idle: how long `itsm up` takes to be ready, and what it holds when nothing happens."""
import time
from typing import Callable, Dict, List, Tuple

from bench.play import Row, Session
from bench.product import Product
from bench.world import World


class Start(Session):
    """A first start with an empty data folder, then a later one."""

    name = "P11"
    rows = [
        Row("P11", "ready after `itsm up`, first start", 8, 4, lambda pair: pair["itsm"]["first_s"], higher=False, unit=" s"),
        Row("P11", "later start", 4, 1.5, lambda pair: pair["itsm"]["later_s"], higher=False, unit=" s"),
        Row("P7", "PSS of itsm and nats-server, idle", 150, 60, lambda pair: pair["itsm"]["idle_mb"], higher=False,
            unit=" MB"),
    ]

    def sides(self, world: World) -> List[Tuple[str, Callable[[], Dict]]]:
        return [("itsm", lambda: self._starts(world))]

    @staticmethod
    def _starts(world: World) -> Dict:
        with world.measured() as reading:
            first = Product(world.place, "start")
        first.settle()
        first.stop()
        with world.measured():
            later = Product(world.place, "start", empty=False)
        try:
            later.settle()
            # What a start needed for a moment is given back in the first seconds.
            time.sleep(1 if world.smoke else 5)
            return {**reading, "first_s": first.ready_s, "later_s": later.ready_s, "idle_mb": later.memory_mb()}
        finally:
            later.stop()

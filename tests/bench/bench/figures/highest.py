"""P3: the highest rate of new alerts that is kept up, beside the bare pipeline on a NATS that flushes."""
import time
from typing import Callable, Dict, List, Tuple

from bench.figures.ceiling import ceiling
from bench.figures.latency import check
from bench.play import Pair, Row, Session
from bench.references import Floor
from bench.world import World

LADDER = (25, 50, 75, 100, 150, 200, 250, 300, 400, 500, 600, 700, 800, 1000, 1200, 1500, 1750, 2000, 2500, 3000, 3500,
          4000, 5000, 6000)
# Kept up means that the last webhook came this soon after the last alert, and that alerts left on time.
BEHIND_AT_MOST = 1.0
ON_TIME = 0.98
DRAINED_WITHIN = 120
# A first look at a rung, before the ten seconds that count.
GLANCE = 2.0


class Highest(Session):
    """Climbs a ladder of rates; a pair begins where the one before ended."""

    name = "P3"
    cheap = False
    rows = [Row("P3", "highest rate of new alerts kept up for 10 s / floor, both flushing", 0.5, 0.9,
                lambda pair: pair["itsm"]["rate"] / pair["floor"]["rate"] if pair["floor"]["rate"] else None)]

    def begin(self, world: World) -> None:
        world.end_product()
        _ = world.product, world.postgres
        self.place_on_ladder: Dict[str, int] = {}
        self.ceiling = ceiling(world)

    def sides(self, world: World) -> List[Tuple[str, Callable[[], Dict]]]:
        return [("floor", lambda: self._floor(world)), ("itsm", lambda: self._product(world))]

    def _floor(self, world: World) -> Dict:
        floor = Floor(world.place, world.postgres, world.sink, always=True)
        try:
            return self._climb(world, "floor", floor.target())
        finally:
            floor.stop()

    def _product(self, world: World) -> Dict:
        feeds = world.product.positions()
        told = self._climb(world, "itsm", world.product.by_nats())
        world.product.settle()
        events = sum(world.product.positions().values()) - sum(feeds.values())
        return {**told, "events_per_alert": events / told["alerts"]}

    def _climb(self, world: World, side: str, target: Dict) -> Dict:
        readings: List[Dict] = []
        seconds = world.lasting("P3", 10)

        def kept(place: int, lasting: float) -> bool:
            readings.append(probe(world, target, LADDER[place], lasting))
            return bool(readings[-1]["kept"])

        if side not in self.place_on_ladder:
            self.place_on_ladder[side] = search(lambda place: kept(place, min(GLANCE, seconds)), len(LADDER))
        place = self.place_on_ladder[side]
        while place > 0 and not kept(place, seconds):
            place -= 1
        # Only what held the full time is built upon; a fall ends the climb.
        if place == self.place_on_ladder[side]:
            while place + 1 < len(LADDER) and kept(place + 1, seconds):
                place += 1
        self.place_on_ladder[side] = place
        return {"rate": LADDER[place], "foreign_cores": max(one["foreign_cores"] for one in readings),
                "alerts": sum(one["count"] for one in readings), "probes": readings}

    def remark(self, pairs: List[Pair]) -> str:
        rates = ", ".join(f"{side} {pairs[-1][side]['rate']}/s" for side in ("floor", "itsm"))
        return f"{rates}; {self.ceiling.told(pairs[-1]['itsm']['events_per_alert'])}"


def search(good: Callable[[int], bool], count: int) -> int:
    """The last place that is good, by halving; good places come before bad ones."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if good(middle) else (low, middle)
    return low


def probe(world: World, target: Dict, rate: int, seconds: float) -> Dict:
    """One rate for so long: whether it was kept up. What was late is waited for before the next."""
    count = int(rate * seconds)
    world.sink.reset()
    with world.measured() as reading:
        sent = world.place.load("nats-generate", rate=rate, seconds=seconds, first=world.alerts(count), **target)
        in_time = world.sink.wait(count, BEHIND_AT_MOST)["incidents"] == count
        ended = time.monotonic()
        seen = world.sink.wait(count, DRAINED_WITHIN)
    check(seen, count)
    return {**reading, "rate": rate, "count": count, "kept": in_time and sent["sent_per_second"] >= ON_TIME * rate,
            "sent_per_second": sent["sent_per_second"], "drained_s": time.monotonic() - ended, "p99_us": seen["p99_us"]}

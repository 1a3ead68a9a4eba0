"""P10: what a hundred times as many alerts and ten times as many incidents cost the paths of every day."""
import json
from typing import Callable, Dict, List, Tuple

from bench.filling import TITLE, fill
from bench.place import HTTP
from bench.play import Pair, Row, Session
from bench.product import Product
from bench.world import World

SIZES = {"small": (10_000, 10_000), "large": (1_000_000, 100_000)}
FLIGHT = 4
ACKNOWLEDGED = 1000
REPEATED = 200
FILTER = 'state = "NEW" AND priority <= 3'


def ratio(path: str) -> Callable[[Pair], float]:
    """p99 of a path, large by small."""
    return lambda pair: pair["large"][path]["p99_us"] / pair["small"][path]["p99_us"]


class Size(Session):
    """Two instances of the product, filled by SQL; the small one is the reference."""

    name = "P10"
    cheap = False
    rows = [
        Row("P10", "p99 of acknowledging, 1 M alerts and 100,000 incidents / 10,000", 2, 1.2, ratio("acknowledge"), False),
        Row("P10", "p99 of List with a filter", 2, 1.2, ratio("list"), False),
        Row("P10", "p99 of the intake of a repeat, until it is counted", 2, 1.2, ratio("repeat"), False),
    ]

    def begin(self, world: World) -> None:
        world.end_product()
        self.instances = {name: self._filled(world, name, *size) for name, size in SIZES.items()}
        self.round = {name: 0 for name in SIZES}

    @staticmethod
    def _filled(world: World, name: str, alerts: int, incidents: int) -> Product:
        product = Product(world.place, name)
        product.stage(world.sink)
        world.sink.reset()
        alert = {"title": TITLE, "severity": "critical", "dedup_key": "copied"}
        HTTP.open(product.by_http()["url"], data=json.dumps(alert).encode(), timeout=20).close()
        world.sink.wait(1, 20)
        product.settle()
        fill(product, alerts // (100 if world.smoke else 1), incidents // (100 if world.smoke else 1))
        return product

    def sides(self, world: World) -> List[Tuple[str, Callable[[], Dict]]]:
        return [(name, lambda name=name: self._paths(world, name)) for name in SIZES]

    def _paths(self, world: World, name: str) -> Dict:
        product, number = self.instances[name], self.round[name]
        self.round[name] += 1
        ids, alerts = world.place.folder / "ids", world.place.folder / "alerts"
        # By digest, so that neighbours in time are not neighbours here.
        ids.write_text("\n".join(product.sql(
            "select id from incident.incidents where number > 'INC50000000' order by md5(number) "
            f"limit {ACKNOWLEDGED} offset {number * ACKNOWLEDGED}")))
        alerts.write_text("\n".join(product.sql(
            "select id || ' ' || dedup_key from alert.alerts where dedup_key like 'big-%' and state = 'ACTIVE' "
            f"order by md5(dedup_key) limit {REPEATED} offset {number * REPEATED}")))
        target = {"address": product.socket("incident"), "flight": FLIGHT, **product.caller()}
        password = (product.data / "postgres.password").read_text().strip()
        socket = (product.data / "postgres.socket").read_text().strip()
        database = f"host={socket} user=itsm password={password} dbname=itsm"
        with world.measured() as reading:
            told = {
                "list": world.place.load("grpc", call="list", filter=FILTER, seconds=world.lasting("P10", 2), **target),
                "acknowledge": world.place.load("grpc", call="acknowledge", ids=ids, seconds=60, **target),
            }
            product.settle()
            told["repeat"] = world.place.load("repeat", url=product.by_http()["url"], alerts=alerts, database=database)
        return {**reading, **told}

    def end(self, world: World) -> None:
        for product in getattr(self, "instances", {}).values():
            product.stop()

    def remark(self, pairs: List[Pair]) -> str:
        last = pairs[-1]
        paths = (f"{path} {last['small'][path]['p99_us'] / 1000:.1f} to {last['large'][path]['p99_us'] / 1000:.1f} ms"
                 for path in ("acknowledge", "list", "repeat"))
        return "p99 " + ", ".join(paths)

"""P12: an RPC that is refused before any database work, beside tonic's echo, sixteen streams each."""
from typing import Callable, Dict, List, Tuple

from bench.play import Pair, Row, Session
from bench.references import Echo
from bench.world import World


class Calls(Session):
    """An incident without a title: the token is checked, the message read and judged, the answer made."""

    name = "P12"
    rows = [Row("P12", "an RPC without database work / tonic echo, rate", 0.7, 0.85,
                lambda pair: pair["refused"]["calls_per_second"] / pair["echo"]["calls_per_second"])]

    def begin(self, world: World) -> None:
        self.echo, self.caller = Echo(world.place), world.product.caller()

    def sides(self, world: World) -> List[Tuple[str, Callable[[], Dict]]]:
        refuse = {"call": "refuse", "address": world.product.socket("incident"), **self.caller}
        return [("echo", lambda: self._calls(world, call="echo", address=self.echo.address)),
                ("refused", lambda: self._calls(world, **refuse))]

    @staticmethod
    def _calls(world: World, **target) -> Dict:
        with world.measured() as reading:
            told = world.place.load("grpc", flight=16, seconds=world.lasting("P12", 3), **target)
        return {**reading, **told}

    def end(self, world: World) -> None:
        self.echo.stop()

    def remark(self, pairs: List[Pair]) -> str:
        return ", ".join(f"{side} {pairs[-1][side]['calls_per_second']:.0f}/s" for side in ("echo", "refused"))

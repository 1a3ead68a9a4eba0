"""What a run has: the place, the references that stay up, patience, and how a measured stretch is read."""
import contextlib
from dataclasses import dataclass, field
from typing import Dict, Iterator, Optional

from bench import machine
from bench.place import Place
from bench.product import Product
from bench.references import Postgres, Sink


@dataclass
class World:
    """Shared by all figures of a run."""

    place: Place
    quiet: machine.Quiet
    pairs: int
    seconds: Dict[str, float]
    smoke: bool
    profile: bool = False
    _sink: Optional[Sink] = None
    _postgres: Optional[Postgres] = None
    _product: Optional[Product] = None
    next_alert: int = 0
    notes: Dict[str, str] = field(default_factory=dict)

    @property
    def sink(self) -> Sink:
        """The receiver of webhooks."""
        self._sink = self._sink or Sink(self.place)
        return self._sink

    @property
    def postgres(self) -> Postgres:
        """The Postgres of the references."""
        self._postgres = self._postgres or Postgres(self.place)
        return self._postgres

    @property
    def product(self) -> Product:
        """itsm, set up for the figures that share one."""
        if self._product is None:
            self._product = Product(self.place, "itsm", profile=self.profile)
            self._product.stage(self.sink)
            self._product.settle()
        return self._product

    def end_product(self) -> None:
        """Ends the shared one; the next figure gets a new one."""
        if self._product is not None:
            self._product.stop()
            self._product = None

    def drop_product(self) -> None:
        """Ends whatever runs of the product after something failed, however it ends."""
        if self._product is not None:
            self.place.end(self._product.child)
            self._product = None

    def lasting(self, figure: str, default: float) -> float:
        """How long one stretch of a figure is."""
        return self.seconds.get(figure, min(default, 2.0) if self.smoke else default)

    def alerts(self, count: int) -> int:
        """The first number of so many alerts that nobody has sent yet."""
        first, self.next_alert = self.next_alert, self.next_alert + count
        return first

    @contextlib.contextmanager
    def measured(self) -> Iterator[Dict]:
        """Waits for quiet, then counts: processor time by process, wall clock, foreign cores."""
        roots = self.place.roots()
        self.quiet.wait(roots.values())
        reading: Dict = {}
        meter = machine.Meter(roots)
        yield reading
        reading.update(meter.read())

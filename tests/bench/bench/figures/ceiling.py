"""The ceiling of a run: what the disk and NATS give at this moment, and what an alert takes of it."""
from dataclasses import dataclass

from bench.references import Nats
from bench.world import World


@dataclass
class Ceiling:
    """Durable messages a second, each flushed."""

    messages_per_second: float

    def told(self, events_per_alert: float) -> str:
        """An alert is one durable message, its intake; its events are copies that the disk may get later."""
        return (f"ceiling: {self.messages_per_second:.0f} durable messages/s; an alert is 1 (its intake), so "
                f"{self.messages_per_second:.0f} alerts/s; {events_per_alert:.1f} events an alert are published besides, "
                "not flushed one by one")


def ceiling(world: World) -> Ceiling:
    """256 in flight, 512 bytes, `sync_interval: always`."""
    nats = Nats(world.place, always=True)
    try:
        with world.measured():
            told = world.place.load("nats-publish", url=nats.url, count=2000 if world.smoke else 10000, flight=256)
        return Ceiling(told["messages_per_second"])
    finally:
        nats.stop()

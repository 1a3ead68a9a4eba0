"""Plays pairs in alternation and judges the median of their ratios."""
import statistics
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Tuple

from bench.world import World

FOREIGN_AT_MOST = 0.2
# How many pairs are played again because somebody else used the machine.
AGAIN_AT_MOST = 2

Pair = Dict[str, Dict]


@dataclass
class Row:
    """One judged figure of a session."""

    figure: str
    title: str
    must: float
    goal: float
    value: Callable[[Pair], Optional[float]]
    higher: bool = True
    unit: str = ""

    def reaches(self, measured: float, wanted: float) -> bool:
        """Whether a figure is good enough."""
        return measured >= wanted if self.higher else measured <= wanted


@dataclass
class Result:
    """A row with what was measured."""

    row: Row
    values: List[float]
    played: int
    busy: bool
    remark: str = ""

    @property
    def median(self) -> Optional[float]:
        """The middle one of the pairs."""
        return statistics.median(self.values) if self.values else None

    @property
    def verdict(self) -> str:
        """Goal, pass, below, or why it is none of them."""
        if self.median is None:
            return "not measured"
        if self.row.reaches(self.median, self.row.goal):
            return "goal"
        return "pass" if self.row.reaches(self.median, self.row.must) else "BELOW"


class Session:
    """Figures that are measured together. A subclass says its rows and its sides, each a function that
    plays one stretch and gives its figures with `foreign_cores`."""

    name = ""
    # Whether the smoke run plays it.
    cheap = True
    rows: List[Row] = []

    def begin(self, world: World) -> None:
        """Before the first pair."""

    def sides(self, world: World) -> List[Tuple[str, Callable[[], Dict]]]:
        """The reference first, then the product."""
        raise NotImplementedError

    def end(self, world: World) -> None:
        """After the last pair."""

    def pairs_wanted(self, world: World) -> int:
        """How many pairs are played."""
        return world.pairs

    def remark(self, pairs: List[Pair]) -> str:
        """What stands beside the figures: the ceiling of the run, the drain, absolute rates."""
        return ""


def foreign(pair: Pair) -> float:
    """The most foreign cores in any stretch of a pair."""
    return max(float(side.get("foreign_cores", 0.0)) for side in pair.values())


def play(session: Session, world: World, say: Callable[[str], None]) -> Tuple[List[Result], List[Pair]]:
    """Plays a session and gives its rows and all its pairs."""
    session.begin(world)
    wanted, pairs = session.pairs_wanted(world), []
    try:
        while True:
            quiet = [pair for pair in pairs if foreign(pair) <= FOREIGN_AT_MOST]
            if len(quiet) >= wanted or len(pairs) >= wanted + (AGAIN_AT_MOST if world.quiet.once else 0):
                break
            sides = session.sides(world)
            # The order changes, so that what grows from stretch to stretch favours nobody.
            ordered = sides if len(pairs) % 2 == 0 else sides[::-1]
            pair = {name: side() for name, side in ordered}
            pairs.append(pair)
            say(f"  {session.name} pair {len(pairs)}: {told(session, pair)} foreign {foreign(pair):.2f}")
    finally:
        session.end(world)
    kept = quiet or pairs
    results = []
    for row in session.rows:
        values = [value for value in map(row.value, kept) if value is not None]
        results.append(Result(row, values, len(pairs), not quiet, session.remark(kept)))
    return results, pairs


def told(session: Session, pair: Pair) -> str:
    """The figures of one pair on one line."""
    values = ((row.title, row.value(pair)) for row in session.rows)
    return ", ".join(f"{title} {value:.2f}" for title, value in values if value is not None)

"""What one fault's run showed: figures, violations, and how they become a row of the table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Violation:
    """Something that must not be: which invariant, what, and of which kind."""

    invariant: str
    """Such as "I1"."""
    what: str
    """One line with ids."""
    kind: str = "other"
    """lost, doubled, order, late or other: the column that counts it."""

    def __str__(self) -> str:
        return f"{self.invariant} {self.kind}: {self.what}"


@dataclass
class Report:
    """One row of the table."""

    number: str
    title: str
    operations: int = 0
    acknowledged: int = 0
    injections: int = 0
    ready_seconds: float | None = None
    """The slowest: from the start of a process, or the end of a fault, until it says that it is ready."""
    drain_seconds: float | None = None
    """From the end of the fault until nothing is under way."""
    memory_mb: float | None = None
    """The highest resident memory of any process of the product."""
    violations: list[Violation] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    """Further figures, by name; printed below the table and kept in the report file."""
    misses: list[str] = field(default_factory=list)
    """Targets that were not met (seconds, ratios), in words. They fail the fault as violations do."""
    skipped: str = ""
    """Why it did not run."""
    error: str = ""
    """The traceback when the harness itself failed."""
    seconds: float = 0.0

    def count(self, kind: str) -> int:
        """How many violations of a kind."""
        return sum(violation.kind == kind for violation in self.violations)

    def require(self, name: str, value: float, most: float, unit: str = "s") -> None:
        """Keeps a figure and notes a miss when it is above what it may be at most."""
        self.figures[name] = round(value, 3)
        if value > most:
            self.misses.append(f"{name} is {value:.2f} {unit}, at most {most:g} {unit} wanted")

    def add(self, other: "Report") -> None:
        """Takes another run's into this one: sums what counts, keeps the worst of what is measured."""
        self.operations += other.operations
        self.acknowledged += other.acknowledged
        self.injections += other.injections
        for name in ("ready_seconds", "drain_seconds", "memory_mb"):
            worst = max((value for value in (getattr(self, name), getattr(other, name)) if value is not None), default=None)
            setattr(self, name, worst)
        self.violations += other.violations
        self.misses += other.misses
        self.seconds += other.seconds
        for name, value in other.figures.items():
            mine = self.figures.get(name)
            both = isinstance(mine, (int, float)) and isinstance(value, (int, float))
            self.figures[name] = value if mine is None else (mine + value if both and isinstance(value, int) else max(mine, value) if both else value)

    @property
    def passed(self) -> bool:
        """Whether everything held."""
        return not (self.violations or self.misses or self.error)

    @property
    def verdict(self) -> str:
        """One word."""
        if self.error:
            return "ERROR"
        if self.skipped:
            return "skipped"
        return "passed" if self.passed else "FAILED"

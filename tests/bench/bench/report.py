"""The table that is printed, and docs/performance.md."""
from typing import List

from bench.play import Result

HEAD = ("#", "figure", "must", "goal", "measured", "spread", "pairs", "verdict")


def number(value: float) -> str:
    """Three digits that matter."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def cells(result: Result) -> List[str]:
    """One row of the table."""
    row, sign = result.row, "≥" if result.row.higher else "≤"
    measured = "-" if result.median is None else number(result.median) + row.unit
    spread = f"{number(min(result.values))} to {number(max(result.values))}" if result.values else "-"
    verdict = result.verdict + (" (busy machine)" if result.busy else "")
    return [row.figure, row.title, f"{sign} {number(row.must)}{row.unit}", f"{sign} {number(row.goal)}{row.unit}",
            measured, spread, f"{len(result.values)} of {result.played}", verdict]


def table(results: List[Result]) -> str:
    """The table in columns."""
    rows = [list(HEAD)] + [cells(result) for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    remarks = dict.fromkeys(f"{result.row.figure}: {result.remark}" for result in results if result.remark)
    return "\n".join(lines + list(remarks))

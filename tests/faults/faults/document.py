"""Prints the rows of report files as the table of docs/reliability.md:
`PYTHONPATH=tests/faults python3 -m faults.document REPORT.json...`; a later file replaces a fault's rows of
an earlier one."""

from __future__ import annotations

import json
import sys
from typing import Any

HEAD = ["fault", "what", "operations", "hits", "lost", "doubled", "order", "late", "other", "ready s", "drained s", "MB", "result"]


def cells(row: dict[str, Any]) -> list[str]:
    """One row."""
    def number(value: Any, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    counts = [str(sum(one["kind"] == kind for one in row["violations"])) for kind in ("lost", "doubled", "order", "late", "other")]
    failed = bool(row["violations"] or row["misses"] or row["error"])
    verdict = "error" if row["error"] else "skipped" if row["skipped"] else "**failed**" if failed else "passed"
    return [row["number"], row["title"], str(row["acknowledged"]), str(row["injections"]), *counts, number(row["ready_seconds"], 2),
            number(row["drain_seconds"], 1), number(row["memory_mb"], 0), verdict]


def main(paths: list[str]) -> None:
    """The table, then the figures."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for row in json.load(file)["faults"]:
                rows[(row["number"], row["title"])] = row
    print("| " + " | ".join(HEAD) + " |")
    print("|" + "---|" * len(HEAD))
    ordered = [rows[key] for key in sorted(rows)]
    for row in ordered:
        print("| " + " | ".join(cells(row)) + " |")
    print()
    for row in ordered:
        said = [f"{name} {value}" for name, value in row["figures"].items()] + row["misses"]
        said += [row["skipped"]] if row["skipped"] else []
        if said:
            print(f"- {row['number']}, {row['title']}: {'; '.join(said)}")


if __name__ == "__main__":
    main(sys.argv[1:])

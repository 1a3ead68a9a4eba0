"""The command: arguments as NAME=VALUE, the schedule, the table, the exit code."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

from . import catalogue, mutants
from .context import Context, Options
from .report import Report

USAGE = "NAME=VALUE of SEED ROUNDS ONLY LONG SELECTION BIN MUTANT MUTANTS CONTROLS POINTS KEEP FOLDER"
SELECTIONS = {"ci": ("ci",), "normal": ("ci", "normal"), "long": ("ci", "normal", "long")}
ROOT = pathlib.Path(__file__).resolve().parents[3]


def arguments(words: list[str]) -> dict[str, str]:
    """The environment's, overridden by the command line's."""
    known = USAGE.split(" of ")[1].split()
    found = {name: os.environ[name] for name in known if os.environ.get(name)}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name.upper() not in known:
            raise SystemExit(f"unknown argument {word!r}; known: {USAGE}")
        found[name.upper()] = value
    return found


def interrupted_by(*_: object) -> None:
    """An end from outside is an orderly one."""
    raise KeyboardInterrupt


def main(words: list[str]) -> int:
    """Runs, and says how it went."""
    given = arguments(words)
    long = given.get("LONG", "") not in ("", "0")
    selection = given.get("SELECTION", "long" if long else "normal")
    only = {name.strip().upper() for name in given.get("ONLY", "").split(",") if name.strip()}
    binary = (ROOT / given.get("BIN", "target/release/itsm")).resolve()
    if not binary.exists():
        raise SystemExit(f"{binary} is not there; build it, or say BIN=path")
    seed = int(given.get("SEED", str(int(time.time()) % 1_000_000)))
    # Short, because sockets have paths of 107 bytes at most; Postgres' user must be able to enter.
    base = pathlib.Path(given["FOLDER"]) if "FOLDER" in given else None
    folder = pathlib.Path(tempfile.mkdtemp(prefix="itsm-faults-", dir=base or "/tmp"))
    os.chmod(folder, 0o711)
    # A copy: the binary may be built anew while the run goes on.
    copy = folder / "itsm"
    shutil.copy2(binary, copy)
    options = Options(seed, int(given.get("ROUNDS", "0")), long, selection, copy, folder, given.get("KEEP", "") not in ("", "0"),
                      given.get("MUTANT", ""))
    points = ROOT / given["POINTS"] if given.get("POINTS") else None
    if points and points.exists():
        options.points = shutil.copy2(points, folder / "itsm-points")
    signal.signal(signal.SIGTERM, interrupted_by)
    # The NATS client tells of each broken connection; here they are broken on purpose.
    for name in ("nats", "nats.aio.client", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    if given.get("MUTANTS", "") not in ("", "0"):
        print(f"seed {seed}, planted faults, {binary}, folder {folder}", flush=True)
        context = Context(options)
        if not options.fail_points:
            raise SystemExit(f"{binary} was not built with --cfg mutants")
        try:
            return mutants.run(context, only, given.get("CONTROLS", "1") != "0")
        except KeyboardInterrupt:
            return 1
        finally:
            context.close()
            if not options.keep:
                shutil.rmtree(folder, ignore_errors=True)
    faults = [fault for fault in catalogue.all_faults()
              if (fault.number.upper() in only if only else fault.selection in SELECTIONS[selection])]
    if only and not faults:
        raise SystemExit(f"no such fault: {', '.join(sorted(only))}")
    print(f"seed {seed}, {len(faults)} faults, {binary}, folder {folder}", flush=True)
    context = Context(options)
    reports: list[Report] = []
    began = time.monotonic()
    interrupted = False
    try:
        for fault in faults:
            reports += run_one(context, fault)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        context.close()
    seconds = time.monotonic() - began
    print(table(reports, seconds), flush=True)
    (folder / "report.json").write_text(json.dumps(
        {"seed": seed, "binary": str(binary), "seconds": seconds, "faults": [dataclasses.asdict(one) for one in reports]}, indent=1, default=str))
    passed = not interrupted and all(report.passed for report in reports)
    if passed and not options.keep and base is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        for name in ("template", "template1"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in ("itsm", "itsm-points"):
            (folder / name).unlink(missing_ok=True)
        print(f"report: {folder}/report.json")
    return 0 if passed else 1


def run_one(context: Context, fault: object) -> list[Report]:
    """One fault's rows."""
    context.number, context.title = fault.number, fault.title  # type: ignore[attr-defined]
    began = time.monotonic()
    if getattr(fault, "needs_root", False) and os.geteuid() != 0:
        return [Report(context.number, context.title, skipped="needs root")]
    print(f"--- {context.number}: {context.title}", flush=True)
    try:
        made = fault.run(context)  # type: ignore[attr-defined]
        reports = made if isinstance(made, list) else [made]
    except KeyboardInterrupt:
        raise
    except Exception:
        reports = [Report(context.number, context.title, error=traceback.format_exc())]
    for report in reports:
        report.seconds = report.seconds or time.monotonic() - began
        print(f"    {report.number} {report.title}: {report.verdict} after {report.seconds:.0f} s", flush=True)
        print(details(report), end="", flush=True)
    return reports


def details(report: Report) -> str:
    """What stands below the table."""
    lines = [f"      violation: {violation}" for violation in map(str, report.violations[:12])]
    if len(report.violations) > 12:
        lines.append(f"      and {len(report.violations) - 12} more violations")
    lines += [f"      missed: {miss}" for miss in report.misses]
    lines += [f"      {line}" for line in report.error.strip().splitlines()]
    return "".join(f"{line}\n" for line in lines)


def table(reports: list[Report], seconds: float) -> str:
    """In plain characters."""
    def number(value: float | None, digits: int = 1) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    rows = [["fault", "what", "ops", "acked", "hits", "lost", "doubled", "order", "late", "other", "ready s", "drain s", "MB", "s", "result"]]
    for one in reports:
        rows.append([one.number, one.title[:44], str(one.operations), str(one.acknowledged), str(one.injections),
                     *(str(one.count(kind)) for kind in ("lost", "doubled", "order", "late", "other")),
                     number(one.ready_seconds, 2), number(one.drain_seconds), number(one.memory_mb, 0), number(one.seconds, 0), one.verdict])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["", "  ".join(cell.ljust(width) if column < 2 else cell.rjust(width) for column, (cell, width) in enumerate(zip(rows[0], widths)))]
    lines.append("  ".join("-" * width for width in widths))
    for row in rows[1:]:
        lines.append("  ".join(cell.ljust(width) if column < 2 else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths))))
    lines.append("")
    for one in reports:
        if one.skipped:
            lines.append(f"{one.number}: skipped: {one.skipped}")
        if one.figures:
            lines.append(f"{one.number}: " + "; ".join(f"{name} {value}" for name, value in one.figures.items()))
    failed = [one.number for one in reports if not one.passed]
    lines.append(f"{len(reports)} rows in {seconds:.0f} s: " + (f"FAILED: {', '.join(failed)}" if failed else "all held"))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The table that is printed, and docs/performance.md."""
import datetime
import statistics
from pathlib import Path
from typing import Dict, List

from bench import machine
from bench.place import BenchError
from bench.play import FOREIGN_AT_MOST, Pair, Result
from bench.references import alertmanager
from bench.world import World

HEAD = ("#", "figure", "must", "goal", "measured", "spread", "pairs", "verdict")
# What stands between these lines is written by people and kept.
BEGIN, END = "<!-- by hand: begin -->", "<!-- by hand: end -->"
# The stretches whose stages are told: session, side, and what one of them is called.
STAGED = (("P1", "own", "CreateIncident at its own socket, 16 in flight", "call"),
          ("P2", "itsm 500", "Alert over NATS to webhook at 500/s", "alert"),
          ("P5", "itsm", "Storm of 10,000 alerts", "alert"))

METHOD = """# Performance

Written by `make bench`; the section between the marks at the end is written by hand and kept.

Every figure but the times and sizes of P7 and P11 is a ratio to a reference that ran in the same session, on the
same machine and disk, in alternation; the order within a pair changes from pair to pair. What stands here is the
median of the pairs, with the least and the most. A pair in which somebody else used more than {foreign} cores is
dropped and played again, at most twice. The machine is waited for until half a second is quiet.

Everything is as it ships and durable: one `itsm up` with its own data folder, Postgres with `synchronous_commit`,
`fsync` and `full_page_writes` on, NATS with `sync_interval: always`, sign-in, forced row-level security, the default
log level. The run reads each of these from the servers and refuses to measure otherwise. The references use the same
programs of Postgres and NATS:

| reference | is |
|---|---|
| pgbench tx3 | three inserts of one incident in one transaction, 16 clients, prepared, a cluster with Postgres' defaults |
| floor | a bare pipeline: alerts by JetStream, one statement for incident, timeline and outbox, events by JetStream, two clocks, one delivery, the POST; no tenants, rights, retries or order. Its NATS flushes as NATS does by default in P2 and P13, each message in P3 |
| NATS | 512 bytes, 256 in flight, `sync_interval: always` |
| Alertmanager | Debian's, in memory, each alert a group of its own |
| tonic echo | one unary call on a Unix socket that gives back what it got |

P1 calls the incident service's own socket with an inner token made from the signing key of the bench's own data folder.
In P2, P3, P5 and P13 every alert makes its own incident, two clocks and one webhook with its own id; the sink counts
distinct incidents, and a run with one missing, doubled or unmarked is no figure but an error. P4 counts what is
applied, not what is only taken. P3 keeps a rate up when alerts leave on time for ten seconds and the last webhook comes
within one second of the last alert. P10 fills two instances by SQL with copies of what one alert left behind.
Load generators, sink and references run on the same cores; P13 charges the servers alone.
"""


def number(value: float) -> str:
    """Three digits that matter."""
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def cells(result: Result) -> List[str]:
    """One row of the table."""
    row, sign = result.row, "≥" if result.row.higher else "≤"
    measured = "-" if result.median is None else number(result.median) + row.unit
    spread = f"{number(min(result.values))} to {number(max(result.values))}" if result.values else "-"
    verdict = result.verdict + (" (busy machine)" if result.busy else "")
    return [row.figure, row.title, f"{sign} {number(row.must)}{row.unit}", f"{sign} {number(row.goal)}{row.unit}",
            measured, spread, f"{len(result.values)} of {result.played}", verdict]


def remarks(results: List[Result]) -> List[str]:
    """What stands beside the figures, each once."""
    return list(dict.fromkeys(f"{result.row.figure}: {result.remark}" for result in results if result.remark))


def table(results: List[Result]) -> str:
    """The table in columns."""
    rows = [list(HEAD)] + [cells(result) for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join(lines + remarks(results))


def markdown(head: List[str], rows: List[List[str]]) -> str:
    """A table of Markdown."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def stages(pairs: Dict[str, List[Pair]]) -> str:
    """Counters by stage of the figures whose limits are looked for: medians of the pairs."""
    parts = []
    for session, side, title, one in STAGED:
        found = [pair[side]["stages"] for pair in pairs.get(session, []) if "stages" in pair.get(side, {})]
        names = dict.fromkeys(name for stage in found for name in stage if name != "statements")
        rows = [[f"{name.removesuffix('_ms').removesuffix(' ms')}, ms of CPU" if name.endswith("ms") else name.replace("_", " "),
                 number(statistics.median(stage.get(name, 0.0) for stage in found))] for name in names]
        if rows:
            parts.append(f"### {session}: {title}\n\n" + markdown(["stage", f"a {one}"], rows))
    return "\n\n".join(parts)


def versions(world: World) -> Dict[str, str]:
    """Who took part."""
    place = world.place
    commands = {"itsm": [place.itsm, "--version"], "Postgres": [place.postgres / "postgres", "--version"],
                "NATS": [place.nats, "--version"], "Alertmanager": [*alertmanager(), "--version"]}
    told = {}
    for name, command in commands.items():
        try:
            told[name] = place.run(command, 20).strip().splitlines()[0].split(" (branch")[0]
        except (BenchError, OSError, IndexError):
            told[name] = "unknown"
    return told


def by_hand(path: Path) -> str:
    """What people wrote, kept as it is."""
    text = path.read_text() if path.exists() else ""
    if BEGIN in text and END in text:
        return text[text.index(BEGIN) + len(BEGIN):text.index(END)].strip("\n")
    return "## Limits\n\nNot written yet."


def write(path: Path, results: List[Result], pairs: Dict[str, List[Pair]], world: World, took_s: float) -> None:
    """Writes docs/performance.md, the hand-written section kept."""
    about = machine.describe()
    programs = ", ".join(f"{name} ({told})" for name, told in versions(world).items())
    when = datetime.datetime.now(datetime.timezone.utc)
    noise = "" if not world.quiet.gave_up else (
        f" Before {world.quiet.gave_up} stretches the machine did not get quiet in time.")
    parts = [
        METHOD.format(foreign=FOREIGN_AT_MOST),
        f"Played on {when:%Y-%m-%d} at {when:%H:%M} UTC in {took_s / 60:.0f} minutes on {about['processor']}, "
        f"{about['memory']}, Linux {about['kernel']}. {programs}.{noise}",
        "## Figures\n\n" + markdown(list(HEAD), [cells(result) for result in results]),
        "\n".join(f"- {remark}" for remark in remarks(results)),
        "## Where the time goes\n\nCounters of the database are its own; those of processes are the kernel's. What runs "
        "beside the measured path (consumers, relays) is charged too.\n\n" + stages(pairs),
        f"{BEGIN}\n{by_hand(path)}\n{END}",
    ]
    path.write_text("\n\n".join(part.strip("\n") for part in parts) + "\n")

"""What the machine does meanwhile: processor time by process, foreign load, memory, quiet."""
import os
import resource
import time
from pathlib import Path
from typing import Dict, Iterable, List, Optional

TICKS = os.sysconf("SC_CLK_TCK")
# A second with less foreign load than this is quiet.
QUIET_CORES = 0.1


def _stat(pid: int) -> Optional[List[str]]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2:].split()


def tree(root: int) -> List[int]:
    """The process and all that descend from it."""
    children: Dict[int, List[int]] = {}
    for name in os.listdir("/proc"):
        fields = _stat(int(name)) if name.isdigit() else None
        if fields:
            children.setdefault(int(fields[1]), []).append(int(name))
    found, todo = [], [root]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += children.get(one, [])
    return found


def own_cpu(pid: int) -> float:
    """Seconds of one process without its children."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS if fields else 0.0


def tree_cpu(root: int) -> float:
    """Seconds of a process, of those that descend from it, and of those of them that have ended."""
    every = (_stat(pid) for pid in tree(root))
    return sum(sum(map(int, fields[11:15])) for fields in every if fields) / TICKS


def busy() -> float:
    """Seconds that all cores together were not idle."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6] + fields[7]) / TICKS


def switches(root: int) -> int:
    """Context switches of all threads of a tree of processes."""
    count = 0
    for pid in tree(root):
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            try:
                lines = status.read_text().splitlines()
            except OSError:
                continue
            count += sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return count


def pss_mb(pid: int) -> float:
    """The proportional memory of one process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} tells no PSS")


def _ours() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Meter:
    """Counts processor time from its making on: of named processes, of this one, and of others."""

    def __init__(self, roots: Dict[str, int]):
        self.roots = roots
        self.began = time.monotonic()
        self.at = {name: tree_cpu(pid) for name, pid in roots.items()}
        self.busy, self.ours = busy(), _ours()

    def read(self) -> Dict:
        """Seconds by name, the wall clock, and the cores that somebody else used."""
        wall = time.monotonic() - self.began
        used = {name: tree_cpu(pid) - self.at[name] for name, pid in self.roots.items()}
        known = sum(used.values()) + _ours() - self.ours
        foreign = max(0.0, busy() - self.busy - known) / wall if wall > 0 else 0.0
        return {"wall_s": wall, "cpu_s": used, "foreign_cores": foreign}


class Quiet:
    """Waits for a quiet machine, each time for so long at most and for so long in all."""

    def __init__(self, once: float, in_all: float):
        self.once, self.left, self.gave_up = once, in_all, 0

    def wait(self, roots: Iterable[int]) -> None:
        """Returns when half a second was quiet, or when the patience is over."""
        end = time.monotonic() + min(self.once, self.left)
        began = time.monotonic()
        named = {str(pid): pid for pid in roots}
        while time.monotonic() < end:
            meter = Meter(named)
            time.sleep(0.5)
            if meter.read()["foreign_cores"] < QUIET_CORES:
                break
        else:
            self.gave_up += 1
        self.left = max(0.0, self.left - max(0.0, time.monotonic() - began - 0.5))


def describe() -> Dict[str, str]:
    """The machine, for whoever reads the figures."""
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown")
    memory = int(Path("/proc/meminfo").read_text().splitlines()[0].split()[1]) // 1024 // 1024
    return {"processor": f"{os.cpu_count()} cores of {model}", "memory": f"{memory} GiB",
            "kernel": os.uname().release}

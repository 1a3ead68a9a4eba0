"""Programs, folders, ports and child processes of a run; whatever it started, it ends by its number."""
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Dict, List, Optional

ROOT = Path(__file__).resolve().parents[3]
HERE = ROOT / "tests" / "bench"
LOOPBACK = "127.0.0.1"
# Loopback is reached without the proxy that the environment may name.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class BenchError(Exception):
    """The run cannot go on, and why."""


def free_port() -> int:
    """A port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def get_json(url: str, timeout: float = 30) -> Dict:
    """What a GET answers."""
    with HTTP.open(url, timeout=timeout) as answer:
        return json.load(answer)


def wait_until(condition, seconds: float, what: str, every: float = 0.05):
    """Waits until a condition gives something, and gives that."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise BenchError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)


def postgres_folder() -> Path:
    """The folder of the newest Postgres, with pgbench in it."""
    folders = [Path(p).resolve().parent for p in [shutil.which("postgres")] if p]
    folders += Path("/usr/lib/postgresql").glob("*/bin")
    folders = [f for f in folders if (f / "pgbench").exists() and (f / "initdb").exists()]
    if not folders:
        raise BenchError("no Postgres with pgbench: run tools/setup bench")
    return max(folders, key=lambda f: int(f.parent.name) if f.parent.name.isdigit() else 0)


class Place:
    """Where a run keeps everything, and what it started."""

    def __init__(self, itsm: Path):
        base = Path(os.environ.get("BENCH_DIR", "/var/tmp"))
        self.folder = Path(tempfile.mkdtemp(prefix="itsm-bench-", dir=base))
        # The database's own user passes through on its way to the data.
        self.folder.chmod(0o711)
        self.itsm = itsm.absolute()
        self.bench = HERE / "target" / "release" / "itsm-bench"
        self.postgres = postgres_folder()
        nats = ROOT / ".tools" / "bin" / "nats-server"
        self.nats = nats if nats.exists() else Path(shutil.which("nats-server") or "nats-server")
        self.children: List[subprocess.Popen] = []
        self.names: Dict[int, str] = {}
        for program in (self.itsm, self.bench):
            if not program.exists():
                raise BenchError(f"{program} is not there: make bench builds it")

    def room(self, name: str) -> Path:
        """A folder of that name, empty."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        folder.chmod(0o711)
        return folder

    def environment(self) -> Dict[str, str]:
        """The environment without what would change the product's or Postgres' settings."""
        foreign = ("ITSM_", "PG", "OTEL_")
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(foreign) and name not in ("DATABASE_URL", "NATS_URL", "RUST_LOG")}
        kept["PATH"] = f"{self.nats.parent}:{kept.get('PATH', '/usr/bin:/bin')}"
        return kept

    def start(self, command: List, log: Path, **options) -> subprocess.Popen:
        """Starts a process of its own group; its first line can be read."""
        with open(log, "ab") as errors:
            child = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
                                     env=options.pop("env", self.environment()), **options)
        self.children.append(child)
        self.names[child.pid] = Path(str(log)).stem
        return child

    def end(self, child: subprocess.Popen, seconds: float = 40) -> None:
        """Ends a process and waits for it."""
        if child in self.children:
            self.children.remove(child)
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if child.stdout:
            child.stdout.close()

    def roots(self) -> Dict[str, int]:
        """Everything that runs here, by name."""
        return {self.names[child.pid]: child.pid for child in self.children}

    def close(self) -> None:
        """Ends what is left and removes the folder; with BENCH_KEEP it stays to be looked at."""
        for child in reversed(list(self.children)):
            with contextlib.suppress(Exception):
                self.end(child)
        if not os.environ.get("BENCH_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, command: List, seconds: float = 300, **options) -> str:
        """Runs to the end and gives what was printed."""
        words = " ".join(str(part) for part in command[:4])
        try:
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=seconds,
                                  env=options.pop("env", self.environment()), **options)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{words} ... did not end within {seconds:.0f} s") from None
        if done.returncode != 0:
            raise BenchError(f"{words} ...: {(done.stderr or done.stdout).strip()[-1500:]}")
        return done.stdout

    def load(self, verb: str, **options) -> Dict:
        """Runs one verb of itsm-bench and gives its figures."""
        command: List = [self.bench, verb]
        for name, value in options.items():
            for one in value if isinstance(value, list) else [value]:
                command += [f"--{name.replace('_', '-')}", one]
        return json.loads(self.run(command).strip().splitlines()[-1])


def unprivileged() -> Dict:
    """How to run Postgres, which refuses root: as a user that owns nothing else."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise BenchError("no user for Postgres: neither postgres nor nobody is there")


def first_line(child: subprocess.Popen, seconds: float, what: str, log: Optional[Path] = None) -> str:
    """The first line that a child prints."""
    import select
    if not child.stdout:
        raise BenchError(f"{what} has no output")
    ready, _, _ = select.select([child.stdout], [], [], seconds)
    line = child.stdout.readline().decode().strip() if ready else ""
    if not line:
        tail = log.read_text(errors="replace")[-2000:] if log and log.exists() else ""
        raise BenchError(f"{what} is not ready within {seconds:.0f} s\n{tail}")
    return line

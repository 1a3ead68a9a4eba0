"""What itsm is compared with: Postgres with pgbench, NATS, the bare pipeline, Alertmanager, an echo."""
import importlib.machinery
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Optional

from bench.place import HERE, LOOPBACK, ROOT, BenchError, Place, first_line, free_port, get_json, unprivileged, wait_until

# Every alert a group of its own, as every alert is an incident of its own here.
ALERTMANAGER = """
route: {{receiver: hook, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 24h}}
receivers: [{{name: hook, webhook_configs: [{{url: 'http://{sink}/hook', send_resolved: false}}]}}]
"""


def reachable(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


class Sink:
    """The measuring receiver of webhooks."""

    def __init__(self, place: Place):
        self.place = place
        self.child = place.start([place.bench, "sink", "--listen", f"{LOOPBACK}:0"], place.folder / "sink.log")
        self.address = json.loads(first_line(self.child, 10, "the sink"))["listening"]

    def reset(self) -> None:
        """Forgets everything."""
        get_json(f"http://{self.address}/reset")

    def stats(self) -> Dict:
        """What came so far."""
        return get_json(f"http://{self.address}/stats")

    def wait(self, incidents: int, seconds: float) -> Dict:
        """What came, as soon as so many distinct incidents did."""
        url = f"http://{self.address}/wait?incidents={incidents}&milliseconds={int(seconds * 1000)}"
        return get_json(url, timeout=seconds + 30)


class Postgres:
    """A cluster of the same version with the defaults of Postgres, durable, at a port of loopback."""

    def __init__(self, place: Place):
        self.place, self.port = place, free_port()
        self.data = place.room("postgres") / "data"
        user = unprivileged()
        if user:
            os.chown(self.data.parent, user["user"], user["group"])
        place.run([place.postgres / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                   "--locale=C.UTF-8", "--no-instructions"], cwd="/", **user)
        command = [place.postgres / "postgres", "-D", self.data, "-p", self.port, "-c", f"listen_addresses={LOOPBACK}",
                   "-c", "unix_socket_directories="]
        self.child = place.start(command, place.folder / "postgres.log", cwd="/", **user)
        wait_until(lambda: reachable(self.port), 30, "the Postgres of the references")
        wait_until(self._answers, 30, "an answer of the Postgres of the references")
        self.check()
        for name in ("bench", "floor"):
            self.sql(f"create database {name}", "postgres")

    def _answers(self) -> bool:
        try:
            return self.sql("select 1", "postgres").strip() == "1"
        except BenchError:
            return False

    def sql(self, text: str, database: str = "bench") -> str:
        """What psql says to it."""
        return self.place.run([self.place.postgres / "psql", "-h", LOOPBACK, "-p", self.port, "-U", "postgres",
                               "-d", database, "-XqAt", "-v", "ON_ERROR_STOP=1", "-c", text])

    def check(self) -> None:
        """A reference that were not durable would be none."""
        told = self.sql("select current_setting('synchronous_commit') || current_setting('fsync')", "postgres").strip()
        if told != "onon":
            raise BenchError(f"the Postgres of the references is not durable: {told}")

    def transactions(self, script: str, clients: int, seconds: float) -> Dict:
        """pgbench with one of the scripts: rate and the median of the latencies."""
        prefix = self.place.room("pgbench") / "log"
        self.sql((HERE / "pg" / "schema.sql").read_text())
        printed = self.place.run([
            self.place.postgres / "pgbench", "-n", "-M", "prepared", "-c", clients, "-j", 2, "-T", int(seconds), "-l",
            f"--log-prefix={prefix}", "-h", LOOPBACK, "-p", self.port, "-U", "postgres",
            "-f", HERE / "pg" / f"{script}.sql", "bench"], seconds + 60)
        rate = next(float(line.split()[2]) for line in printed.splitlines() if line.startswith("tps"))
        lines = (line for log in prefix.parent.glob("log.*") for line in log.read_text().splitlines())
        took = sorted(int(line.split()[2]) for line in lines)
        return {"rate": rate, "p50_us": took[len(took) // 2], "p99_us": took[len(took) * 99 // 100], "count": len(took)}

    @property
    def url(self) -> str:
        """How the bare pipeline reaches it."""
        return f"host={LOOPBACK} port={self.port} user=postgres dbname=floor"


class Nats:
    """A nats-server with file storage; `always` flushes each message, else the server's default holds."""

    def __init__(self, place: Place, always: bool):
        self.place, self.port = place, free_port()
        folder = place.room("nats")
        sync = ", sync_interval: always" if always else ""
        config = folder / "server.conf"
        config.write_text(f'listen: "{LOOPBACK}:{self.port}"\n'
                          f'jetstream {{ store_dir: "{folder}/js", max_mem: 1G, max_file: 20G{sync} }}\n')
        self.child = place.start([place.nats, "-c", config], place.folder / "nats.log")
        wait_until(lambda: reachable(self.port), 10, "the NATS of the references")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"nats://{LOOPBACK}:{self.port}"

    def stop(self) -> None:
        """Ends it."""
        self.place.end(self.child)


class Floor:
    """The bare pipeline with a NATS of its own."""

    def __init__(self, place: Place, postgres: Postgres, sink: Sink, always: bool):
        self.place, self.postgres, self.nats = place, postgres, Nats(place, always)
        self.child = place.start([place.bench, "pipeline", "--database", postgres.url, "--nats", self.nats.url,
                                  "--hook", f"http://{sink.address}/hook"], place.folder / "floor.log")
        first_line(self.child, 20, "the bare pipeline", place.folder / "floor.log")

    @property
    def roots(self) -> Dict[str, int]:
        """Its processes."""
        return {"floor": self.child.pid, "nats-server": self.nats.child.pid, "postgres": self.postgres.child.pid}

    def target(self) -> Dict:
        """Where alerts go."""
        return {"url": self.nats.url, "subject": "alerts.raw", "item": HERE / "items" / "floor.json",
                "message_ids": "true"}

    def stop(self) -> None:
        """Ends both."""
        self.place.end(self.child)
        self.nats.stop()


class Alertmanager:
    """Debian's Alertmanager, without a cluster."""

    def __init__(self, place: Place, sink: Sink):
        self.place, self.port = place, free_port()
        folder = place.room("alertmanager")
        config = folder / "alertmanager.yml"
        config.write_text(ALERTMANAGER.format(sink=sink.address))
        self.child = place.start([
            *alertmanager(), f"--config.file={config}", f"--storage.path={folder}/data",
            f"--web.listen-address={LOOPBACK}:{self.port}", "--cluster.listen-address=", "--log.level=error",
        ], place.folder / "alertmanager.log")
        wait_until(self._ready, 20, "Alertmanager")

    def _ready(self) -> bool:
        try:
            return reachable(self.port) and self.active() >= 0
        except (OSError, StopIteration):
            return False

    def active(self) -> int:
        """How many alerts it holds."""
        from bench.place import HTTP
        with HTTP.open(f"http://{LOOPBACK}:{self.port}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        line = next(line for line in lines if line.startswith('alertmanager_alerts{state="active"}'))
        return int(float(line.split()[1]))

    def target(self) -> Dict:
        """Where alerts go."""
        return {"url": f"http://{LOOPBACK}:{self.port}/api/v2/alerts", "item": HERE / "items" / "alertmanager.json",
                "before": "[", "after": "]"}

    @property
    def roots(self) -> Dict[str, int]:
        """Its process."""
        return {"alertmanager": self.child.pid}

    def stop(self) -> None:
        """Ends it."""
        self.place.end(self.child)


class Echo:
    """tonic with nothing behind it, on a Unix socket."""

    def __init__(self, place: Place):
        self.place = place
        self.socket = place.room("echo") / "echo.sock"
        self.child = place.start([place.bench, "echo", "--socket", self.socket], place.folder / "echo.log")
        first_line(self.child, 10, "the echo")

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"unix:{self.socket}"

    def stop(self) -> None:
        """Ends it."""
        self.place.end(self.child)


def alertmanager() -> List[str]:
    """The command of Debian's Alertmanager, found or unpacked as `make test-senders` does it."""
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("senders", str(ROOT / "tests" / "senders" / "run"))
    spec = importlib.util.spec_from_loader("senders", loader)
    if spec is None:
        raise BenchError("tests/senders/run cannot be read")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module.programs()[1]


def version(command: List[str]) -> Optional[str]:
    """The first line that a program says of itself."""
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().splitlines()[0] if (done.stdout or done.stderr).strip() else None

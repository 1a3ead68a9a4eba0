"""The installation under test: a Postgres, a nats-server and every service as a process of its own.

Everything is in one folder, copied from a template that `itsm up` made, so that keys, accounts and
schemas are as the product sets them up. Processes are ended by the ids recorded here, never by name.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time
from typing import Any, Callable, Sequence

import psycopg

from .janitor import Janitor

SERVICES = ["directory", "catalog", "alert", "incident", "change", "sla", "notification"]
PROVISIONER, GATEWAY = "provisioner", "gateway"
PROCESSES = [PROVISIONER, *SERVICES, GATEWAY]
READY_WITHIN = 60.0
POLL = 0.01
SECOND_TENANT = "acme"


class HarnessError(Exception):
    """The harness cannot go on; not a violation of the product."""


def wait_until(what: str, condition: Callable[[], Any], within: float = 30.0, poll: float = POLL) -> Any:
    """The first true value of a condition; fails after the deadline."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise HarnessError(f"not within {within:g} s: {what}")
        time.sleep(poll)


def free_port() -> int:
    """A free port of loopback, below the range of outgoing connections, so that it stays free over a restart."""
    for _ in range(500):
        port = 20_000 + int.from_bytes(os.urandom(2), "big") % 12_000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise HarnessError("no free port")


class Process:
    """One process that the harness started."""

    def __init__(self, name: str, arguments: Sequence[str], log: pathlib.Path, janitor: Janitor,
                 env: dict[str, str], owner: tuple[int, int] | None = None) -> None:
        self.name, self.log, self._janitor = name, log, janitor
        self.out = log.with_suffix(".out")
        self.started = time.monotonic()
        self.memory_kb = 0
        extra: dict[str, Any] = {}
        if owner and os.geteuid() == 0 and owner[0] != 0:
            extra = {"user": owner[0], "group": owner[1], "extra_groups": []}
        with log.open("ab") as errors, self.out.open("wb") as output:
            self._child = subprocess.Popen(
                list(arguments), stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=env, cwd="/",
                start_new_session=True, **extra,
            )
        self.pid = self._child.pid
        janitor.watch(self.pid)

    def alive(self) -> bool:
        """Whether it runs."""
        return self._child.poll() is None

    def send(self, number: int) -> None:
        """Sends a signal to exactly this process."""
        if self.alive():
            os.kill(self.pid, number)

    def wait(self, within: float) -> int:
        """Its exit code, negative for a signal."""
        try:
            code = self._child.wait(timeout=within)
        except subprocess.TimeoutExpired as error:
            raise HarnessError(f"{self.name} (pid {self.pid}) did not end within {within:g} s") from error
        self._janitor.forget(self.pid)
        return code

    def end(self) -> None:
        """Kills it, if it still runs."""
        self.send(signal.SIGKILL)
        self.send(signal.SIGCONT)
        self.wait(10)

    def measure(self) -> None:
        """Notes the highest resident memory."""
        try:
            with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as file:
                for line in file:
                    if line.startswith("VmHWM:"):
                        self.memory_kb = max(self.memory_kb, int(line.split()[1]))
        except OSError:
            pass

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])


class Template:
    """A data folder as a first start leaves it, with a second tenant; made once, then copied."""

    def __init__(self, folder: pathlib.Path, binary: pathlib.Path, janitor: Janitor) -> None:
        self.folder, self.binary = folder, binary
        log = folder.parent / "template.log"
        env = {**clean_environment(), "RUST_LOG": "info"}
        up = Process("itsm up", [str(binary), "up", "--data", str(folder), "--listen", "127.0.0.1:0"], log, janitor, env)
        try:
            wait_until(f"the first start is ready; see {log}", lambda: "ready http" in up.out.read_text() or not up.alive(), 120)
            if not up.alive():
                raise HarnessError(f"itsm up ended:\n{up.tail()}")
            env["DATABASE_URL"] = database_url(folder)
            made = subprocess.run(
                [str(binary), "provision", "--first-administrator", "Eve", "--email", f"eve@{SECOND_TENANT}.example",
                 "--tenant", SECOND_TENANT, "--key-file", str(folder / f"{SECOND_TENANT}.key"), "--data", str(folder)],
                env=env, capture_output=True, text=True, timeout=60, check=False)
            if made.returncode != 0:
                raise HarnessError(f"itsm provision: {made.stderr}")
            up.send(signal.SIGTERM)
            up.wait(60)
        finally:
            up.end()


def clean_environment() -> dict[str, str]:
    """What processes of the product get: nothing that a developer's shell may have set for them."""
    return {key: value for key, value in os.environ.items()
            if not key.startswith(("ITSM_", "PG", "RUST_", "FAKETIME")) and key not in ("DATABASE_URL", "NATS_URL", "LD_PRELOAD")}


def database_url(folder: pathlib.Path) -> str:
    """The superuser's way in."""
    password = (folder / "postgres.password").read_text().strip()
    return f"postgres://itsm:{password}@localhost/itsm?host={folder}/postgres/run"


def postgres_binaries() -> pathlib.Path:
    """The newest Postgres of this machine."""
    found = sorted(pathlib.Path("/").glob("usr/lib/postgresql/*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    found += sorted(pathlib.Path("/").glob("usr/pgsql-*/bin/postgres"))
    program = shutil.which("postgres")
    if not found and program:
        found = [pathlib.Path(program).resolve()]
    if not found:
        raise HarnessError("no Postgres; run tools/setup")
    return found[-1].parent


class Postgres:
    """The database server of one installation."""

    def __init__(self, folder: pathlib.Path, logs: pathlib.Path, janitor: Janitor) -> None:
        self.data, self.run = folder / "postgres/data", folder / "postgres/run"
        self.log, self._janitor = logs / "postgres.log", janitor
        status = self.data.stat()
        self._owner = (status.st_uid, status.st_gid)
        self.process: Process | None = None
        self.password = (folder / "postgres.password").read_text().strip()

    def start(self) -> float:
        """Starts it; seconds until it takes connections."""
        began = time.monotonic()
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.run), "port": "5432", "max_connections": "400",
                    "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "unix_socket_permissions": "0700",
                    "logging_collector": "off"}
        arguments = [str(postgres_binaries() / "postgres"), "-D", str(self.data)]
        for key, value in settings.items():
            arguments += ["-c", f"{key}={value}"]
        env = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        self.process = Process("postgres", arguments, self.log, self._janitor, env, self._owner)
        process = self.process

        def answers() -> bool:
            if not process.alive():
                raise HarnessError(f"Postgres ended:\n{process.tail()}")
            try:
                self.connect().close()
                return True
            except psycopg.OperationalError:
                return False

        wait_until("Postgres takes connections", answers, 120)
        return time.monotonic() - began

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """A connection as the superuser, who sees all tenants. Autocommit unless said otherwise."""
        options.setdefault("autocommit", True)
        return psycopg.connect(host=str(self.run), port=5432, user="itsm", password=self.password, dbname="itsm",
                               connect_timeout=5, application_name="faults", **options)

    def stop(self, mode: str = "fast") -> None:
        """Stops it: smart, fast or immediate, as pg_ctl has it."""
        if self.process and self.process.alive():
            self.process.send({"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode])
            self.process.wait(60)

    def restart(self, mode: str = "immediate") -> float:
        """Stops and starts it; seconds until it takes connections again, from the stop on."""
        began = time.monotonic()
        self.stop(mode)
        self.start()
        return time.monotonic() - began

    def end(self) -> None:
        """Ends it for good."""
        if self.process and self.process.alive():
            self.process.send(signal.SIGCONT)
            self.process.send(signal.SIGQUIT)
            try:
                self.process.wait(20)
            except HarnessError:
                self.process.end()


class NatsServer:
    """The nats-server of one installation, in operator mode, by the configuration that the product wrote."""

    def __init__(self, folder: pathlib.Path, logs: pathlib.Path, janitor: Janitor) -> None:
        self.folder, self.log, self._janitor = folder / "nats", logs / "nats.log", janitor
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.configuration = self.folder / "server.conf"
        text = self.configuration.read_text()
        lines = []
        for line in text.splitlines():
            if line.startswith("listen:"):
                line = f'listen: "127.0.0.1:{self.port}"'
            elif line.startswith("jetstream {"):
                line = (f'jetstream {{ store_dir: "{self.folder}/js", sync_interval: always, max_memory_store: 64MB, '
                        "max_file_store: 4GB }")
            elif line.startswith("resolver {"):
                line = f'resolver {{ type: full, dir: "{self.folder}/jwt", allow_delete: true, interval: "2m", timeout: "2s" }}'
            lines.append(line)
        self.configuration.write_text("\n".join(lines) + "\n")
        (folder / "nats.url").write_text(self.url + "\n")
        self.process: Process | None = None

    def start(self) -> float:
        """Starts it; seconds until it greets."""
        began = time.monotonic()
        program = shutil.which("nats-server")
        if not program:
            raise HarnessError("no nats-server; run tools/setup")
        self.process = Process("nats-server", [program, "--config", str(self.configuration)], self.log, self._janitor,
                               clean_environment())
        process = self.process

        def greets() -> bool:
            if not process.alive():
                raise HarnessError(f"nats-server ended:\n{process.tail()}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    greeting = connection.recv(4096)
                return greeting.startswith(b"INFO ") and b'"jetstream":true' in greeting
            except OSError:
                return False

        wait_until("nats-server greets", greets, 60)
        return time.monotonic() - began

    def kill(self) -> None:
        """kill -9."""
        if self.process:
            self.process.end()

    def stop(self) -> None:
        """SIGTERM."""
        if self.process and self.process.alive():
            self.process.send(signal.SIGTERM)
            self.process.wait(30)

    def pause(self) -> None:
        """SIGSTOP: connected, and silent."""
        if self.process:
            self.process.send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        if self.process:
            self.process.send(signal.SIGCONT)

    def wipe(self) -> None:
        """Takes away everything that JetStream stored; the server must be down."""
        if self.process and self.process.alive():
            raise HarnessError("wiped a running nats-server")
        shutil.rmtree(self.folder / "js")
        (self.folder / "js").mkdir(mode=0o700)

    def end(self) -> None:
        """Ends it for good."""
        self.kill()


class System:
    """Everything of one installation."""

    def __init__(self, folder: pathlib.Path, template: Template, janitor: Janitor, binary: pathlib.Path,
                 settings: dict[str, dict[str, Any]] | None = None, env: dict[str, str] | None = None,
                 target: str = "serve") -> None:
        folder.mkdir(parents=True, mode=0o711)
        # Postgres' user must be able to enter.
        os.chmod(folder, 0o711)
        self.folder, self.binary, self.target, self._janitor = folder, binary, target, janitor
        self.data, self.logs = folder / "var", folder / "logs"
        self.logs.mkdir()
        subprocess.run(["cp", "-a", str(template.folder), str(self.data)], check=True)
        for name in ("run", "pids", "logs"):
            shutil.rmtree(self.data / name, ignore_errors=True)
        (self.data / "postgres.socket").write_text(f"{self.data}/postgres/run")
        self.gateway_port = free_port()
        self.settings = settings or {}
        self.settings.setdefault("gateway", {})["listen"] = f"127.0.0.1:{self.gateway_port}"
        self.extra_env = dict(env or {})
        self.postgres = Postgres(self.data, self.logs, janitor)
        self.nats = NatsServer(self.data, self.logs, janitor)
        self.processes: dict[tuple[str, int], Process] = {}
        self.highest_kb: dict[str, int] = {}
        self.unexpected_ends: list[str] = []
        self._starts = 0
        self._local = threading.local()

    # ---- what clients need ---------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The public port."""
        return f"http://127.0.0.1:{self.gateway_port}"

    def key(self, tenant: str) -> str:
        """The administrator's API key of a tenant."""
        return (self.data / ("admin.key" if tenant == "default" else f"{tenant}.key")).read_text().strip()

    def sql(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of one statement, as the superuser; by a connection that each thread keeps, since a new one is dear."""
        kept = getattr(self._local, "connection", None)
        if kept is None or kept.closed:
            kept = self._local.connection = self.postgres.connect()
        try:
            cursor = kept.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
        except psycopg.OperationalError:
            # Postgres was restarted since; whoever breaks it on purpose awaits it here.
            kept.close()
            self._local.connection = None
            with self.postgres.connect() as connection:
                cursor = connection.execute(statement, parameters)
                return cursor.fetchall() if cursor.description else []

    async def nats_admin(self, inbox: str = "_INBOX_provisioner") -> Any:
        """A NATS connection with the rights of the provisioner: it may touch every stream."""
        import nats

        return await nats.connect(self.nats.url, user_credentials=str(self.data / "nats/creds/provisioner.creds"),
                                  inbox_prefix=inbox.encode(), connect_timeout=5, max_reconnect_attempts=0)

    # ---- start -----------------------------------------------------------------------------------

    def start(self, names: Sequence[str] = PROCESSES) -> float:
        """Starts servers and services, and waits until all are ready; returns the seconds."""
        began = time.monotonic()
        self._write_settings()
        if self.target == "up":
            self.launch("up")
            self.wait_ready("up")
            return time.monotonic() - began
        self.postgres.start()
        self.nats.start()
        for name in names:
            self.launch(name)
        for name in names:
            self.wait_ready(name)
        return time.monotonic() - began

    def _write_settings(self) -> None:
        lines = []
        for section, values in self.settings.items():
            lines.append(f"[{section}]")
            # JSON's texts, numbers, truths and lists are TOML's too.
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        (self.folder / "itsm.toml").write_text("\n".join(lines) + "\n")

    def _environment(self, env: dict[str, str] | None) -> dict[str, str]:
        made = {**clean_environment(), "ITSM_SETTINGS": str(self.folder / "itsm.toml"), "RUST_LOG": "info"}
        if self.target == "serve":
            made |= {"DATABASE_URL": database_url(self.data), "NATS_URL": self.nats.url}
        # Last, so that one process may be sent by another way, such as a bad line to NATS.
        return made | self.extra_env | (env or {})

    def launch(self, name: str, replica: int = 1, env: dict[str, str] | None = None) -> Process:
        """Starts one process, without waiting. A further replica of a service listens at a port of its own."""
        old = self.processes.get((name, replica))
        if old and old.alive():
            raise HarnessError(f"{name} {replica} runs already")
        if old:
            self._note_memory(name, old)
        made = self._environment(env)
        if replica > 1 and name in SERVICES:
            made[f"ITSM_SERVICES__LISTEN__{name.upper()}"] = f"127.0.0.1:{free_port()}"
        if replica > 1 and name == GATEWAY:
            made["ITSM_GATEWAY__LISTEN"] = f"127.0.0.1:{free_port()}"
        self._starts += 1
        log = self.logs / (f"{name}.log" if replica == 1 else f"{name}-{replica}.log")
        verb = ["up"] if name == "up" else ["serve", name]
        process = Process(name, [str(self.binary), *verb, "--data", str(self.data)], log, self._janitor, made)
        self.processes[(name, replica)] = process
        return process

    def is_ready(self, name: str, replica: int = 1) -> bool:
        """Whether it has said so."""
        process = self.processes[(name, replica)]
        if not process.alive():
            raise HarnessError(f"{name} ended while starting:\n{process.tail()}")
        return process.out.read_bytes().startswith(b"ready")

    def wait_ready(self, name: str, replica: int = 1, within: float = READY_WITHIN) -> float:
        """Seconds from its start until it is ready."""
        process = self.processes[(name, replica)]
        wait_until(f"{name} is ready; see {process.log}", lambda: self.is_ready(name, replica), within)
        return time.monotonic() - process.started

    # ---- faults ----------------------------------------------------------------------------------

    def kill(self, name: str, replica: int = 1) -> None:
        """kill -9."""
        process = self.processes[(name, replica)]
        process.measure()
        process.send(signal.SIGKILL)
        process.wait(10)

    def stop(self, name: str, replica: int = 1, within: float = 30.0) -> tuple[int, float]:
        """SIGTERM; exit code and seconds."""
        process = self.processes[(name, replica)]
        process.measure()
        began = time.monotonic()
        process.send(signal.SIGTERM)
        return process.wait(within), time.monotonic() - began

    def pause(self, name: str, replica: int = 1) -> None:
        """SIGSTOP."""
        self.processes[(name, replica)].send(signal.SIGSTOP)

    def resume(self, name: str, replica: int = 1) -> None:
        """SIGCONT."""
        self.processes[(name, replica)].send(signal.SIGCONT)

    def restart(self, name: str, replica: int = 1, env: dict[str, str] | None = None) -> float:
        """Starts it again after it ended; seconds until ready."""
        self.launch(name, replica, env)
        return self.wait_ready(name, replica)

    def wait_ended(self, name: str, replica: int = 1, within: float = 30.0) -> int:
        """Waits until it ended by itself, as at a fail point; its exit code."""
        return self.processes[(name, replica)].wait(within)

    # ---- figures and the end ---------------------------------------------------------------------

    def running(self) -> list[tuple[str, int]]:
        """Which processes run."""
        return [key for key, process in self.processes.items() if process.alive()]

    def dead(self) -> list[tuple[str, int]]:
        """Which do not."""
        return [key for key, process in self.processes.items() if not process.alive()]

    def measure(self) -> None:
        """Notes the memory of everything that runs."""
        for (name, _), process in list(self.processes.items()):
            process.measure()
            self._note_memory(name, process)

    def _note_memory(self, name: str, process: Process) -> None:
        self.highest_kb[name] = max(self.highest_kb.get(name, 0), process.memory_kb)

    def memory_mb(self) -> float:
        """The highest resident memory of any process so far."""
        self.measure()
        return max(self.highest_kb.values(), default=0) / 1024

    def close(self) -> None:
        """Ends everything."""
        for process in self.processes.values():
            process.measure()
            process.end()
        if self.target == "up":
            self._end_servers_of_up()
        self.nats.end()
        self.postgres.end()

    def _end_servers_of_up(self) -> None:
        """A killed `itsm up` leaves its servers; their ids are in its folder."""
        for path in (self.data / "pids").glob("*.pid"):
            words = path.read_text().replace(",", " ").split()
            pid = next((int(word) for word in words if word.isdigit()), 0)
            try:
                program = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
                if pid and str(self.data).encode() in program:
                    os.kill(pid, signal.SIGQUIT if path.stem == "postgres" else signal.SIGKILL)
            except OSError:
                pass

    def remove(self) -> None:
        """Takes its folder away."""
        shutil.rmtree(self.folder, ignore_errors=True)

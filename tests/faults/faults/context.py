"""What a fault gets: a stage with everything on it, and the judgement at its end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import pathlib
import time
from types import TracebackType
from typing import Any, Iterator, Sequence

from . import checker, sinks as sinks_module, world as world_module
from .driver import Driver
from .janitor import Janitor
from .ledger import Ledger
from .report import Report
from .sampler import Sampler
from .system import GATEWAY, PROVISIONER, SERVICES, HarnessError, System, Template, wait_until

QUIET_WITHIN = 60.0


@dataclasses.dataclass
class Options:
    """The arguments of a run."""

    seed: int
    rounds: int
    long: bool
    selection: str
    binary: pathlib.Path
    folder: pathlib.Path
    keep: bool
    mutant: str = ""
    points: pathlib.Path | None = None
    """A binary with fail points, for the rows that need them."""

    @property
    def fail_points(self) -> bool:
        """Whether the binary was built with named fail points."""
        return b"ITSM_FAIL_POINT" in self.binary.read_bytes()


class Context:
    """One run of the harness; gives each fault its stage."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.janitor = Janitor()
        self.number, self.title = "", ""
        self._templates: dict[pathlib.Path, Template] = {}
        self._stages = 0

    @property
    def seed(self) -> int:
        """Fixes the operations and the order of faults."""
        return self.options.seed

    @property
    def long(self) -> bool:
        """Whether outages have their full length."""
        return self.options.long

    def rounds(self, usual: int) -> int:
        """How many injections: as asked for, else the usual number."""
        return self.options.rounds or usual

    def log(self, text: str) -> None:
        """Says how far it is."""
        print(f"    {self.number}: {text}", flush=True)

    def template(self) -> Template:
        """Made at first use, by the binary that runs."""
        binary = self.options.binary
        if binary not in self._templates:
            name = f"template{len(self._templates) or ''}"
            self._templates[binary] = Template(self.options.folder / name, binary, self.janitor)
        return self._templates[binary]

    @contextlib.contextmanager
    def with_fail_points(self) -> Iterator[bool]:
        """Runs what is inside with the binary that has fail points; says whether there is one."""
        usual = self.options.binary
        if not self.options.fail_points and self.options.points is not None:
            self.options.binary = self.options.points
        try:
            yield self.options.fail_points
        finally:
            self.options.binary = usual

    def stage(self, **wanted: Any) -> "Stage":
        """A fresh installation with load ready to start. Keywords: workers, rate, nats (bool), hooks
        (names of further webhook receivers), settings ({section: {key: value}}), env, target
        ("serve" or "up"), response_seconds, resolution_seconds, told (bool: whether there are rules), sampled
        (bool), title."""
        self._stages += 1
        return Stage(self, self._stages, **wanted)

    def close(self) -> None:
        """Ends what is left."""
        self.janitor.close()


class Stage:
    """An installation, its load and its witnesses. A context manager: it starts and always ends all."""

    def __init__(self, context: Context, count: int, workers: int = 6, rate: float = 15.0, nats: bool = True,
                 hooks: Sequence[str] = (), settings: dict[str, dict[str, Any]] | None = None, env: dict[str, str] | None = None,
                 target: str = "serve", response_seconds: int = world_module.RESPONSE_SECONDS,
                 resolution_seconds: int = world_module.RESOLUTION_SECONDS, sampled: bool = True, title: str = "",
                 told: bool = True) -> None:
        self.context = context
        self.folder = context.options.folder / f"{context.number.lower()}-{count}"
        self._wanted = (workers, rate, nats)
        self._targets = (response_seconds, resolution_seconds, told)
        self._hooks = [*world_module.hooks(), *hooks]
        self._settings, self._env, self._target, self._sampled = settings or {}, dict(env or {}), target, sampled
        self.report = Report(context.number, title or context.title)
        self.fault_times: list[tuple[float, float]] = []
        self.finished = False
        self.streams_lost = False
        """Set by a fault that takes streams away: relays may then go back and publish again."""
        self.notification_killed = False
        """Set by a fault that ends `notification` in the middle of something: a copy more is allowed."""

    def __enter__(self) -> "Stage":
        self._began = time.monotonic()
        template = self.context.template()
        settings = {section: dict(values) for section, values in self._settings.items()}
        self.sinks = sinks_module.start()
        allowed = [self.sinks.webhook_url(name).split("//")[1].split("/")[0] for name in self._hooks]
        told = settings.setdefault("notification", {})
        told.setdefault("smtp_url", self.sinks.mail_url)
        told.setdefault("webhook_allow", allowed)
        self.system = System(self.folder, template, self.context.janitor, self.context.options.binary, settings, self._env, self._target)
        try:
            self.ledger = Ledger(self.folder / "ledger.jsonl")
            self.start_seconds = self.system.start()
            self.world = world_module.build(self.system, self.sinks, *self._targets)
            if self.context.options.mutant:
                self._plant(self.context.options.mutant)
            workers, rate, nats = self._wanted
            self.driver = Driver(self.system, self.world, self.ledger, self.context.seed, workers, rate, nats)
            self.sampler = Sampler(self.system)
            if self._sampled:
                self.sampler.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()
        self.report.seconds = time.monotonic() - self._began
        # A mutant is meant to fail.
        failed = not self.context.options.mutant and (error is not None or not self.report.passed or not self.finished)
        (self.folder / "report.json").write_text(json.dumps(dataclasses.asdict(self.report), indent=1, default=str))
        if failed or self.context.options.keep:
            self.context.log(f"kept: {self.folder}")
        else:
            self.system.remove()

    def _end(self) -> None:
        with contextlib.suppress(Exception):
            self.driver.stop_event.set()
            self.driver.give_up.set()
        for step in ("sampler", "system", "sinks", "ledger"):
            part = getattr(self, step, None)
            with contextlib.suppress(Exception):
                if step == "sampler":
                    if part is not None and self._sampled:
                        part.stop()
                elif step == "sinks":
                    part.stop()
                elif part is not None:
                    part.close()

    def _plant(self, mutant: str) -> None:
        """Every service once more, with a planted fault; setting up was done without it."""
        self.system.extra_env["ITSM_MUTANT"] = mutant
        for name, replica in self.system.running():
            self.system.stop(name, replica)
            self.system.launch(name, replica)
        for name, replica in self.system.running():
            self.system.wait_ready(name, replica)

    # ---- what faults call --------------------------------------------------------------------------

    @contextlib.contextmanager
    def fault(self) -> Iterator[None]:
        """Marks the time in which something is broken, and counts one hit."""
        began = time.time()
        self.report.injections += 1
        self.fault_times.append((began, float("inf")))
        try:
            yield
        finally:
            self.fault_times[-1] = (began, time.time())

    def ready(self, seconds: float) -> None:
        """Keeps the slowest."""
        self.report.ready_seconds = max(self.report.ready_seconds or 0.0, seconds)

    def page_delays(self, since: float, until: float) -> list[float]:
        """Of incidents opened in this time: seconds from the event to the first message about it."""
        rows = self.system.sql(
            "select d.id::text, extract(epoch from j.at)::float8 from notification.deliveries d join incident.journal j on j.event_id = d.event_id "
            "where j.type = 'opened' and extract(epoch from j.at) between %s and %s", [since, until])
        first: dict[str, float] = {}
        for copy in self.sinks.received():
            first.setdefault(copy.id, copy.at)
        return [first[identity] - at for identity, at in rows if identity in first]

    def heads(self) -> dict[str, int]:
        """How far each feed and outbox is: events that exist now."""
        parts = [f"select '{schema}', coalesce((select max(position) from {schema}.feed), 0) + (select count(*) from {schema}.outbox)"
                 for schema in SERVICES]
        return {schema: int(count) for schema, count in self.system.sql(" union all ".join(parts))}

    def behind(self, heads: dict[str, int]) -> list[str]:
        """Which relays and consumers have not come as far as these heads."""
        parts = [f"select '{schema}', name, position from {schema}.lease" for schema in SERVICES]
        late = []
        for schema, name, position in self.system.sql(" union all ".join(parts)):
            source = schema if name == "relay" else name.removeprefix("consumer:") if name.startswith("consumer:") else ""
            if source in heads and position < heads[source]:
                late.append(f"{schema} {name} {position}/{heads[source]}")
        return late

    def drained(self, within: float = 30.0) -> float:
        """Waits until all that exists now was published and applied by everyone; the seconds it took."""
        began = time.monotonic()
        heads = self.heads()
        intake = self.intake_state()[0]

        def done() -> bool:
            return not self.behind(heads) and self.intake_state()[1] >= intake

        try:
            wait_until("the backlog is drained", done, within, 0.1)
        except HarnessError:
            self.report.misses.append(f"not drained within {within:g} s: {self.behind(heads)} intake {self.intake_state()}")
        seconds = time.monotonic() - began
        self.report.drain_seconds = max(self.report.drain_seconds or 0.0, seconds)
        return seconds

    def intake_state(self) -> tuple[int, int, int]:
        """Of the intake stream: its last message, the one up to which all were taken, and how many wait."""
        async def ask() -> tuple[int, int, int]:
            client = await self.system.nats_admin()
            try:
                stream = json.loads((await client.request("$JS.API.STREAM.INFO.ALERTS", b"", timeout=5)).data)
                consumer = json.loads((await client.request("$JS.API.CONSUMER.INFO.ALERTS.alert", b"", timeout=5)).data)
            finally:
                await client.close()
            if "error" in stream or "error" in consumer:
                raise HarnessError(f"the intake: {stream.get('error')} {consumer.get('error')}")
            waiting = consumer["num_pending"] + consumer["num_ack_pending"]
            last = stream["state"]["last_seq"]
            floor = consumer["ack_floor"]["stream_seq"]
            return last, max(floor, last if waiting == 0 else 0), waiting

        return asyncio.run(ask())

    def settled(self) -> list[str]:
        """What is still under way; empty when nothing is."""
        waiting = self.behind(self.heads())
        # Targets are short, so that clocks that still run have their end soon too.
        parts = [f"select '{schema} timers ' || kind, count(*) from {schema}.timer where due_at < now() + interval '60 s' group by kind"
                 for schema in SERVICES]
        parts += [f"select '{schema} outbox', count(*) from {schema}.outbox having count(*) > 0" for schema in SERVICES]
        parts.append("select 'deliveries pending', count(*) from notification.deliveries where state = 'PENDING' having count(*) > 0")
        parts.append("select 'attempts running', count(*) from notification.attempts where outcome is null having count(*) > 0")
        waiting += [f"{what}: {count}" for what, count in self.system.sql(" union all ".join(parts))]
        intake = self.intake_state()
        if intake[2]:
            waiting.append(f"intake: {intake[2]}")
        return waiting

    def quiet(self, within: float = QUIET_WITHIN, stalled_after: float = float("inf")) -> list[str]:
        """Waits until nothing is under way, twice in a row; what still is, when time is up, or when nothing moves."""
        deadline, still = time.monotonic() + within, 0
        last, moved = [""], time.monotonic()
        waiting: list[str] = ["not asked yet"]
        while time.monotonic() < deadline:
            try:
                waiting = self.settled()
            except Exception as error:  # NATS or Postgres may still be coming up.
                waiting = [f"cannot ask: {error!r}"]
            if waiting != last:
                last, moved = waiting, time.monotonic()
            if time.monotonic() - moved > stalled_after:
                return waiting
            still = still + 1 if not waiting else 0
            if still == 2:
                return []
            time.sleep(0.25)
        return waiting

    def finish(self, skip: set[str] | frozenset[str] = frozenset(), quiet_within: float = QUIET_WITHIN,
               stalled_after: float = float("inf")) -> Report:
        """Ends the load, waits until nothing is under way, and lets the checker judge."""
        self.driver.finish()
        for name, replica in self.system.dead():
            if replica == 1:
                self.report.misses.append(f"{name} is not running: {self.system.processes[(name, replica)].tail(3)}")
        if self.notification_killed:
            # A send that was cut is taken for lost after a minute.
            quiet_within = max(quiet_within, 85.0)
        waiting = self.quiet(quiet_within, stalled_after)
        if waiting:
            self.report.misses.append(f"not quiet within {quiet_within:g} s: {'; '.join(waiting[:6])}")
        if self._sampled:
            self.sampler.stop()
        report = self.report
        operations = self.ledger.all()
        report.operations, report.acknowledged = len(operations), sum(operation.acked for operation in operations)
        report.memory_mb = self.system.memory_mb()
        evidence = checker.Evidence.collect(self)
        report.violations += checker.judge(evidence, skip)
        report.figures.update(evidence.figures)
        self.finished = True
        return report


__all__ = ["Context", "Options", "Stage", "GATEWAY", "PROVISIONER", "SERVICES"]

"""Operations through the public API, with a seed: each has a unique key, is in the ledger before its
first try, and is tried again with the same key until the system says yes, or no for good.

A worker is a thread that works alone on the records it made, so it knows which verbs are legal; only
the incidents that alerts opened are also touched by the system itself.
"""

from __future__ import annotations

import asyncio
import collections
import datetime
import json
import random
import threading
import time
import urllib.parse
import uuid
from typing import Any, Callable

import grpc

from . import contract
from .ledger import Ledger, Operation
from .rest import Answer, Rest
from .system import System, wait_until
from .world import TenantWorld, World

TRY_SECONDS = 5.0
RETRY_PAUSES = (0.05, 0.1, 0.2, 0.3)
# gRPC answers that say no for good.
FINAL = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION,
         grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.OUT_OF_RANGE,
         grpc.StatusCode.UNAUTHENTICATED}
# The verb, its body, and the state it leads to, from each state of an incident.
INCIDENT_VERBS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "NEW": [("acknowledge", {}), ("acknowledge", {}), ("assign", {}), ("start", {}), ("resolve", {}), ("hold", {}), ("addNote", {})],
    "ASSIGNED": [("start", {}), ("hold", {}), ("resolve", {}), ("acknowledge", {}), ("addNote", {})],
    "IN_PROGRESS": [("hold", {}), ("resolve", {}), ("resolve", {}), ("addNote", {})],
    "PENDING": [("resume", {}), ("resolve", {}), ("addNote", {})],
    "RESOLVED": [("reopen", {}), ("close", {}), ("close", {})],
}
CHANGE_VERBS = {"DRAFT": "request", "REQUESTED": "approve", "APPROVED": "schedule", "SCHEDULED": "start", "IN_PROGRESS": "complete",
                "COMPLETED": "close"}


class Stopped(Exception):
    """The driver was told to end while an operation had no answer yet."""


class NatsPublisher:
    """Alerts over NATS, by the credentials that the product handed out; in a thread of its own."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="nats", daemon=True).start()
        self._clients: dict[str, Any] = {}
        self.by_duplicate = 0

    async def _client(self, tenant: str) -> Any:
        import nats

        if tenant not in self._clients:
            data = self._system.data
            # A fresh installation has one outside publisher; the other tenant's alerts go by the edge's own user.
            creds, inbox = ((data / "alerts.creds", "_INBOX_demo") if tenant == "default"
                            else (data / "nats/creds/gateway.creds", "_INBOX_gateway"))

            async def quiet(_: Exception) -> None:
                return None

            self._clients[tenant] = await nats.connect(
                self._system.nats.url, user_credentials=str(creds), inbox_prefix=inbox.encode(), max_reconnect_attempts=-1,
                reconnect_time_wait=0.1, connect_timeout=2, error_cb=quiet, ping_interval=5, max_outstanding_pings=1)
        return self._clients[tenant]

    async def _publish(self, tenant: str, subject: str, body: bytes, msg_id: str) -> dict[str, Any]:
        client = await asyncio.wait_for(self._client(tenant), 3)
        headers = {"Nats-Msg-Id": msg_id} if msg_id else None
        reply = await client.request(subject, body, timeout=3, headers=headers)
        return dict(json.loads(reply.data))

    def publish(self, tenant: str, subject: str, body: bytes, msg_id: str = "") -> Answer:
        """One try; 2xx when the stream has it."""
        began = time.monotonic()
        try:
            work = asyncio.run_coroutine_threadsafe(self._publish(tenant, subject, body, msg_id), self._loop)
            reply = work.result(8)
        except Exception as error:  # The client raises a dozen kinds; all mean no answer.
            return Answer(0, f"{type(error).__name__}: {error}", time.monotonic() - began, {})
        if "error" in reply:
            return Answer(503, json.dumps(reply), time.monotonic() - began, {})
        if reply.get("duplicate"):
            # The server still remembered the id; what it did not store was not said.
            self.by_duplicate += 1
            return Answer(503, "the server knew the id", time.monotonic() - began, {})
        return Answer(202, json.dumps(reply), time.monotonic() - began, {})

    def close(self) -> None:
        """Ends the connections."""
        async def end() -> None:
            for client in self._clients.values():
                try:
                    await asyncio.wait_for(client.close(), 2)
                except Exception:
                    pass
            # What a client that was cut off left behind.
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        try:
            asyncio.run_coroutine_threadsafe(end(), self._loop).result(5)
        except Exception:
            pass
        self._loop.call_soon_threadsafe(self._loop.stop)


class Pace:
    """Hands out the moments at which operations begin, evenly, over all workers."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._next = time.monotonic()
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event) -> None:
        """Until it is this caller's turn."""
        with self._lock:
            now = time.monotonic()
            self._next = max(self._next, now - 0.5) + 1 / self.rate
            turn = self._next
        stop.wait(max(0.0, turn - time.monotonic()))


class Driver:
    """The load of one run."""

    def __init__(self, system: System, world: World, ledger: Ledger, seed: int, workers: int = 6, rate: float = 25.0,
                 nats: bool = True) -> None:
        self.system, self.world, self.ledger, self.seed = system, world, ledger, seed
        self.pace = Pace(rate)
        self.nats_wanted = nats
        self.stop_event = threading.Event()
        self.give_up = threading.Event()
        self.publisher = NatsPublisher(system)
        self.channel = grpc.insecure_channel(f"127.0.0.1:{system.gateway_port}", options=[
            ("grpc.initial_reconnect_backoff_ms", 50), ("grpc.min_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 300)])
        self.workers = [Worker(self, number, random.Random(f"{seed}/{number}")) for number in range(workers)]
        self._threads: list[threading.Thread] = []
        self.samples: collections.deque[tuple[float, str, str, float, str]] = collections.deque()
        """Each try: when, kind, transport, seconds, outcome ("" for yes)."""
        self.crashes: list[str] = []

    def start(self) -> None:
        """Begins the load."""
        for worker in self.workers:
            thread = threading.Thread(target=self._run, args=(worker,), name=f"worker {worker.number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _run(self, worker: "Worker") -> None:
        try:
            worker.run()
        except Exception as error:  # A worker that dies must fail the run, not thin out its load.
            import traceback
            self.crashes.append(f"{error!r}\n{traceback.format_exc()}")

    def wait_acknowledged(self, more: int, within: float = 120.0) -> None:
        """Until so many more operations were acknowledged than now."""
        goal = self.ledger.acknowledged() + more
        wait_until(f"{more} more operations acknowledged", lambda: self.ledger.acknowledged() >= goal or self.crashes, within, 0.05)

    def finish(self, within: float = 30.0) -> None:
        """No new operations; those begun are tried until they have an answer, or time is up."""
        self.stop_event.set()
        deadline = time.monotonic() + within
        for thread in self._threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        self.give_up.set()
        for thread in self._threads:
            thread.join(TRY_SECONDS * 2)
        self.publisher.close()
        self.channel.close()
        if self.crashes:
            raise RuntimeError(f"a worker of the driver failed: {self.crashes[0]}")

    def failures(self, since: float = 0.0, until: float = float("inf"), transports: tuple[str, ...] = ("rest", "grpc")) -> list[tuple[float, str, str, float, str]]:
        """Tries that were not answered with yes, by the wall clock."""
        return [sample for sample in list(self.samples)
                if since <= sample[0] <= until and sample[2] in transports and sample[4]]


class Worker:
    """One thread's records, and what it does with them."""

    def __init__(self, driver: Driver, number: int, dice: random.Random) -> None:
        self.driver, self.number, self.dice = driver, number, dice
        self.count = 0
        self.incidents: dict[str, tuple[TenantWorld, str]] = {}
        self.changes: dict[str, tuple[TenantWorld, str]] = {}
        self.active: dict[str, TenantWorld] = {}
        self.cleared: dict[str, TenantWorld] = {}
        self.told: list[tuple[Operation, Callable[[], Answer]]] = []
        self._rest: dict[str, Rest] = {}

    # ---- the loop ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Until the driver says stop."""
        plans: list[tuple[Callable[[], None], int]] = [(self.create_incident, 14), (self.incident_verb, 26), (self.raise_alert, 16), (self.repeat_alert, 8),
                 (self.clear_alert, 8), (self.create_change, 4), (self.change_verb, 12), (self.say_again, 6), (self.touch_alert_incident, 4),
                 (self.reuse_message_id, 5)]
        # A third only calls and a third only sends alerts: an outage of one way must not end the load of the other.
        of_alerts = (self.raise_alert, self.repeat_alert, self.clear_alert, self.reuse_message_id)
        if self.number % 3 == 0:
            plans = [plan for plan in plans if plan[0] not in of_alerts]
        elif self.number % 3 == 1:
            plans = [plan for plan in plans if plan[0] in of_alerts]
        steps, weights = zip(*plans)
        try:
            while not self.driver.stop_event.is_set():
                self.driver.pace.wait(self.driver.stop_event)
                if self.driver.stop_event.is_set():
                    return
                self.dice.choices(steps, weights)[0]()
        except Stopped:
            pass
        finally:
            for rest in self._rest.values():
                rest.close()

    def rest(self, key: str = "") -> Rest:
        """This thread's client for a key."""
        if key not in self._rest:
            self._rest[key] = Rest(self.driver.system.gateway_port, key, TRY_SECONDS)
        return self._rest[key]

    def tenant(self) -> TenantWorld:
        """One of the tenants."""
        return self.dice.choice(list(self.driver.world.tenants.values()))

    def operation(self, kind: str, tenant: TenantWorld, transport: str, key: str = "", **more: Any) -> Operation:
        """A new one. Its title says whose it is, so that it can be looked for where it must not be."""
        self.count += 1
        identity = str(uuid.UUID(int=self.dice.getrandbits(128), version=4))
        return Operation(identity, kind, tenant.slug, transport, key or f"{tenant.slug}-{self.number}-{self.count}", **more)

    def carry_out(self, operation: Operation, attempt: Callable[[], Answer]) -> dict[str, Any] | None:
        """Tries until there is an answer that counts; None when that was no."""
        ledger, driver = self.driver.ledger, self.driver
        ledger.intend(operation)
        while True:
            operation.tries += 1
            answer = attempt()
            outcome = "" if answer.ok else f"{answer.status} {answer.text[:300]}"
            driver.samples.append((time.time(), operation.kind, operation.transport, answer.seconds, outcome))
            if answer.ok:
                found = answer.json()
                ledger.acknowledge(operation, {key: found[key] for key in ("id", "number", "revision", "state", "seq") if key in found})
                self.told.append((operation, attempt))
                del self.told[:-20]
                return found
            if 400 <= answer.status < 500 and answer.status not in (408, 409, 429) or (
                    answer.status == 409 and "RUNNING" not in answer.text and "ABORTED" not in answer.text):
                ledger.refuse(operation, outcome)
                return None
            ledger.fail(operation, outcome)
            if driver.give_up.is_set():
                raise Stopped
            driver.give_up.wait(self.dice.choice(RETRY_PAUSES))

    # ---- transports --------------------------------------------------------------------------------

    def by_rest(self, tenant: TenantWorld, path: str, body: dict[str, Any], operation: Operation, key: str = "") -> Callable[[], Answer]:
        """A POST with the operation's idempotency key."""
        rest = self.rest(key or tenant.administrator_key)
        return lambda: rest.request("POST", path, body, {"idempotency-key": operation.id})

    def by_grpc(self, tenant: TenantWorld, service: str, name: str, fields: dict[str, Any], operation: Operation,
                key: str = "") -> Callable[[], Answer]:
        """An RPC through the public port."""
        path, ask, answer = contract.method(service, name)
        message = ask(request_id=operation.id)
        from google.protobuf import json_format
        json_format.ParseDict(fields, message)
        call = self.driver.channel.unary_unary(path, request_serializer=ask.SerializeToString, response_deserializer=answer.FromString)
        metadata = (("authorization", f"Bearer {key or tenant.administrator_key}"),)

        def attempt() -> Answer:
            began = time.monotonic()
            try:
                found = call(message, timeout=TRY_SECONDS, metadata=metadata)
            except grpc.RpcError as error:
                code = error.code()
                final = code in FINAL
                running = code == grpc.StatusCode.ABORTED
                status = 400 if final else 409 if running else 500 if code == grpc.StatusCode.INTERNAL else 503
                return Answer(status, f"{code.name} {error.details()}", time.monotonic() - began, {})
            return Answer(200, json.dumps(contract.to_json(found)), time.monotonic() - began, {})

        return attempt

    # ---- incidents ---------------------------------------------------------------------------------

    def create_incident(self) -> None:
        """A person writes one down."""
        tenant = self.tenant()
        transport = self.dice.choice(("rest", "grpc"))
        operation = self.operation("incident.create", tenant, transport)
        fields = {"title": operation.key, "serviceId": tenant.service_id, "resolutionMode": "MANUAL", "description": f"of {tenant.slug}"}
        if transport == "rest":
            attempt = self.by_rest(tenant, "/v1/incidents", fields, operation)
        else:
            fields["resolutionMode"] = "RESOLUTION_MODE_MANUAL"
            attempt = self.by_grpc(tenant, "incident", "CreateIncident", {"incident": fields}, operation)
        found = self.carry_out(operation, attempt)
        if found:
            self.incidents[found["id"]] = (tenant, short_state(found))

    def incident_verb(self) -> None:
        """The next step of one of this worker's own."""
        if not self.incidents:
            return
        record = self.dice.choice(sorted(self.incidents))
        tenant, state = self.incidents[record]
        verb, _ = self.dice.choice(INCIDENT_VERBS[state])
        found = self._incident_verb(tenant, record, verb, True)
        after = short_state(found) if found else ""
        if after in ("CLOSED", "CANCELLED", ""):
            del self.incidents[record]
        else:
            self.incidents[record] = (tenant, after)

    def _incident_verb(self, tenant: TenantWorld, record: str, verb: str, own: bool) -> dict[str, Any] | None:
        transport = self.dice.choice(("rest", "rest", "grpc"))
        operation = self.operation("incident.verb", tenant, transport, target=record, verb=verb, must_succeed=own)
        body: dict[str, Any] = {
            "assign": {"teamId": tenant.team_id}, "hold": {"pendingReason": "SUPPLIER", "note": "waits"},
            "resolve": {"resolutionCode": "FIXED", "resolutionNotes": "done"}, "reopen": {"reason": "again"},
            "cancel": {"reason": "none"}, "addNote": {"text": f"note {operation.id}"}}.get(verb, {})
        if transport == "rest":
            return self.carry_out(operation, self.by_rest(tenant, f"/v1/incidents/{record}:{verb}", body, operation))
        names = {"addNote": "AddNote"}
        prefix = {"pendingReason": "PENDING_REASON_", "resolutionCode": "RESOLUTION_CODE_"}
        fields = {"id": record, **{key: prefix.get(key, "") + value for key, value in body.items()}}
        name = names.get(verb, f"{verb.capitalize()}Incident")
        return self.carry_out(operation, self.by_grpc(tenant, "incident", name, fields, operation))

    def touch_alert_incident(self) -> None:
        """A person takes one that an alert opened; the system may have ended it meanwhile."""
        if not self.active:
            return
        tenant = self.active[self.dice.choice(sorted(self.active))]
        query = urllib.parse.urlencode({"pageSize": "50", "filter": 'state = "NEW"'})
        answer = self.rest(tenant.administrator_key).request("GET", f"/v1/incidents?{query}")
        own = [one for one in answer.json().get("incidents", []) if one.get("title") in self.active]
        if own:
            verb = self.dice.choice(("acknowledge", "acknowledge", "start", "addNote"))
            self._incident_verb(tenant, self.dice.choice(own)["id"], verb, False)

    # ---- changes -----------------------------------------------------------------------------------

    def create_change(self) -> None:
        """A standard or a normal one."""
        tenant = self.tenant()
        operation = self.operation("change.create", tenant, self.dice.choice(("rest", "grpc")))
        fields = {"title": operation.key, "type": self.dice.choice(("STANDARD", "NORMAL")), "reason": "wanted", "risk": "MINOR",
                  "implementationPlan": "do", "backoutPlan": "undo", "serviceIds": [tenant.service_id], "assignedTeamId": tenant.team_id}
        if operation.transport == "rest":
            found = self.carry_out(operation, self.by_rest(tenant, "/v1/changes", fields, operation))
        else:
            fields |= {"type": f"CHANGE_TYPE_{fields['type']}", "risk": "RISK_MINOR"}
            found = self.carry_out(operation, self.by_grpc(tenant, "change", "CreateChange", {"change": fields}, operation))
        if found:
            self.changes[found["id"]] = (tenant, short_state(found))

    def change_verb(self) -> None:
        """The next step on the way to its close."""
        if not self.changes:
            return
        record = self.dice.choice(sorted(self.changes))
        tenant, state = self.changes[record]
        verb = CHANGE_VERBS[state]
        now = datetime.datetime.now(datetime.timezone.utc)
        body = {"schedule": {"plannedStartTime": now.isoformat(), "plannedEndTime": (now + datetime.timedelta(hours=1)).isoformat()},
                "complete": {"outcomeNotes": "went well"}, "close": {"reviewNotes": "nothing"}}.get(verb, {})
        # Whoever asked may not approve.
        key = tenant.manager_key if verb == "approve" else ""
        operation = self.operation("change.verb", tenant, "rest", target=record, verb=verb)
        found = self.carry_out(operation, self.by_rest(tenant, f"/v1/changes/{record}:{verb}", body, operation, key))
        if found and short_state(found) in CHANGE_VERBS:
            self.changes[record] = (tenant, short_state(found))
        else:
            del self.changes[record]

    # ---- alerts ------------------------------------------------------------------------------------

    def raise_alert(self) -> None:
        """A new condition, or one that was over fires again."""
        if self.cleared and self.dice.random() < 0.2:
            key = self.dice.choice(sorted(self.cleared))
            tenant = self.cleared.pop(key)
        else:
            tenant, key = self.tenant(), ""
        operation = self.operation("alert.raise", tenant, self._alert_transport(), key)
        if self.carry_out(operation, self._alert(tenant, operation, "firing")) is not None:
            self.active[operation.key] = tenant

    def repeat_alert(self) -> None:
        """Said again."""
        if self.active:
            key = self.dice.choice(sorted(self.active))
            operation = self.operation("alert.repeat", self.active[key], self._alert_transport(), key)
            self.carry_out(operation, self._alert(self.active[key], operation, "firing"))

    def clear_alert(self) -> None:
        """Over."""
        if self.active:
            key = self.dice.choice(sorted(self.active))
            tenant = self.active.pop(key)
            operation = self.operation("alert.clear", tenant, self._alert_transport(), key)
            if self.carry_out(operation, self._alert(tenant, operation, "resolved")) is not None:
                self.cleared[key] = tenant

    def _alert_transport(self) -> str:
        return self.dice.choice(("http", "http", "nats") if self.driver.nats_wanted else ("http",))

    def _alert(self, tenant: TenantWorld, operation: Operation, status: str, msg_id: str = "") -> Callable[[], Answer]:
        severity = "critical"
        generic = {"title": operation.key, "dedup_key": operation.key, "severity": severity, "status": status,
                   "labels": {"service": tenant.service_name}, "annotations": {"op": operation.id}}
        if operation.transport == "nats":
            subject, body = f"alerts.{tenant.slug}.{tenant.integration}", json.dumps(generic).encode()
            return lambda: self.driver.publisher.publish(tenant.slug, subject, body, msg_id)
        form = self.dice.choice(("alerts", "alerts", "cloudevents"))
        rest = self.rest()
        path = f"/intake/{tenant.intake_key}/{form}"
        headers: dict[str, str] = {}
        if form == "alerts":
            return lambda: rest.request("POST", path, generic)
        # The source's own time is taken at each try, as a source that says it again would.
        def attempt() -> Answer:
            now = datetime.datetime.now(datetime.timezone.utc).isoformat()
            event = {"specversion": "1.0", "type": "faults.alert", "source": "/faults", "id": operation.id, "time": now, "data": generic}
            return rest.request("POST", path, json.dumps(event).encode(), {"content-type": "application/cloudevents+json", **headers})

        return attempt

    def reuse_message_id(self) -> None:
        """Three alerts over NATS under one `Nats-Msg-Id`: two of one tenant, one of the other, apart in time.
        The id belongs to the publisher; the product must not take it for the alert's."""
        if not self.driver.nats_wanted:
            return
        msg_id = str(uuid.UUID(int=self.dice.getrandbits(128), version=4))
        tenants = list(self.driver.world.tenants.values())
        for tenant in (tenants[0], tenants[1], tenants[0]):
            operation = self.operation("alert.raise", tenant, "nats")
            if self.carry_out(operation, self._alert(tenant, operation, "firing", msg_id)) is not None:
                self.active[operation.key] = tenant
            # Beyond the server's own window, which forgets ids by a timer of the same length.
            self.driver.give_up.wait(0.35)

    # ---- the same again ----------------------------------------------------------------------------

    def say_again(self) -> None:
        """A caller that lost the answer asks once more: the answer is the first one."""
        again = [(operation, attempt) for operation, attempt in self.told if not operation.kind.startswith("alert")]
        if not again:
            return
        operation, attempt = self.dice.choice(again)
        answer = attempt()
        outcome = "" if answer.ok else f"{answer.status} {answer.text[:300]}"
        self.driver.samples.append((time.time(), "again", operation.transport, answer.seconds, outcome))
        if answer.ok:
            found = answer.json()
            first, second = [str(one.get("id")) + "@" + str(one.get("revision")) for one in (operation.answer, found)]
            if first != second:
                operation.errors.append(f"DIFFERENT {first} then {second}")


def short_state(record: dict[str, Any]) -> str:
    """`NEW` of both forms of JSON."""
    state = str(record.get("state", ""))
    for prefix in ("INCIDENT_STATE_", "CHANGE_STATE_"):
        state = state.removeprefix(prefix)
    return state

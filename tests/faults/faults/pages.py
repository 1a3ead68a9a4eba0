"""Pages: incidents opened one by one, and how long it took until somebody was told of each.

The operations go through the driver's own ledger, so the checker judges them with all others.
"""
from __future__ import annotations

import dataclasses
import random
import re
import threading
import time
from typing import Any, Dict, List, Optional, Sequence

from .driver import Worker
from .rest import Rest
from .sinks import Received
from .system import System, wait_until
from .world import TenantWorld


TITLE = re.compile(r"\b[a-z]+-\d+-\d+\b")
# Further receivers may have any port of loopback.
OPEN = {"notification": {"webhook_allow": ["127.0.0.0/8"]}}


@dataclasses.dataclass(frozen=True)
class Opened:
    """An incident that was acknowledged."""

    id: str
    title: str
    at: float  # when it was asked for


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so many are at most; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def tail(values: Sequence[float]) -> float:
    """The 99th percentile where there are enough values to have one, else the 90th: of thirty, the slowest is chance."""
    return percentile(values, 0.99 if len(values) >= 300 else 0.9)


class Pager:
    """Opens incidents and looks at the ends."""

    def __init__(self, stage: Any, tenant: str = "default") -> None:
        self.stage = stage
        self.tenant: TenantWorld = stage.world.tenants[tenant]
        # Workers of two pagers draw different ids.
        self._number = 1000 * (1 + sorted(stage.world.tenants).index(tenant))

    def worker(self) -> Worker:
        """A hand of the driver's, for this thread alone."""
        self._number += 1
        return Worker(self.stage.driver, self._number, random.Random(f"{self.stage.driver.seed}/{self._number}"))

    def open(self, count: int, rate: float = 20.0, worker: Optional[Worker] = None) -> List[Opened]:
        """Opens so many, evenly."""
        worker = worker or self.worker()
        opened = []
        began = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            operation = worker.operation("incident.create", self.tenant, "rest")
            fields = {"title": operation.key, "serviceId": self.tenant.service_id, "resolutionMode": "MANUAL"}
            at = time.time()
            found = worker.carry_out(operation, worker.by_rest(self.tenant, "/v1/incidents", fields, operation))
            if found:
                opened.append(Opened(found["id"], operation.key, at))
        return opened

    def verb(self, worker: Worker, incident: Opened, verb: str, body: Optional[Dict[str, Any]] = None) -> None:
        """A verb on one of them."""
        operation = worker.operation("incident.verb", self.tenant, "rest", target=incident.id, verb=verb)
        path = f"/v1/incidents/{incident.id}:{verb}"
        worker.carry_out(operation, worker.by_rest(self.tenant, path, body or {}, operation))

    def told(self, incidents: Sequence[Opened], end: str, about: str = "incident.opened") -> Dict[str, List[Received]]:
        """The accepted copies about each, at an end."""
        by_title = {incident.title: incident.id for incident in incidents}
        found: Dict[str, List[Received]] = {}
        for one in self.stage.sinks.received(end):
            if one.accepted and (about in one.body or end == "mail"):
                for title in set(TITLE.findall(one.subject + " " + one.body)) & by_title.keys():
                    found.setdefault(by_title[title], []).append(one)
        return found

    def wait_told(self, incidents: Sequence[Opened], end: str, within: float = 30.0) -> List[float]:
        """Waits until each was told at an end; how long each took."""
        wait_until(f"{len(incidents)} pages at {end}", lambda: len(self.told(incidents, end)) == len(incidents), within, 0.1)
        told = self.told(incidents, end)
        return [min(one.at for one in told[incident.id]) - incident.at for incident in incidents]


class Endpoint:
    """One more person with one webhook or mailbox, told of every incident of the tenant."""

    def __init__(self, stage: Any, tenant: TenantWorld, name: str, method: str = "WEBHOOK") -> None:
        self.name = name
        address = stage.sinks.webhook_url(name) if method == "WEBHOOK" else f"{name}@{tenant.slug}.example"
        rest = Rest(stage.system.gateway_port, tenant.administrator_key)
        person = {"kind": "HUMAN", "displayName": name, "email": f"{name}@{tenant.slug}.example", "timeZone": "UTC"}
        self.person_id = rest.must("POST", "/v1/people", person)["id"]
        wait_until("notification knows the person", lambda: stage.system.sql(
            "select 1 from notification.directory_people where id = %s", [self.person_id]))
        made = rest.must("POST", "/v1/contactMethods", {
            "personId": self.person_id, "method": method, "displayName": name, "address": address})
        if method == "WEBHOOK":
            stage.sinks.secret(name, made["signingSecret"])
        self.method_id = made["contactMethod"]["id"]
        self.rule_id = rest.must("POST", "/v1/notificationRules", {
            "displayName": f"tell {name}", "eventType": "incident.opened", "recipients": {"personIds": [self.person_id]}})["id"]
        rest.close()


def hurry(system: System, kinds: Sequence[str] = ("send", "recover")) -> int:
    """Moves what notification would do later to now, instead of waiting for an hour; how much that was."""
    rows = system.sql("update notification.timer set due_at = clock_timestamp(), retry_at = null "
                      "where kind = any(%s) and due_at > clock_timestamp() returning 1", [list(kinds)])
    return len(rows)


class Hurrying:
    """Hurries every half second, in the background, until left."""

    def __init__(self, system: System, kinds: Sequence[str] = ("send",)) -> None:
        self._system, self._kinds = system, kinds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            try:
                hurry(self._system, self._kinds)
            except Exception:  # The database may be what is broken; the next turn comes.
                pass

    def __enter__(self) -> "Hurrying":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)


def deliveries(system: System, method_id: str) -> Dict[str, int]:
    """How many deliveries of a contact method are in each state."""
    return dict(system.sql("select state, count(*)::int from notification.deliveries where contact_method_id = %s group by 1", [method_id]))

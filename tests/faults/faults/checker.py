"""What must hold after a run, each invariant its own function, from outside: SQL over all schemas, the
streams' contents, what arrived at the mail server and the webhook receivers, and the ledger.

It shares no code with the product. What it knows of it is the published contract (message
descriptors), the tables' documented columns, and the rules that the services' READMEs promise.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import json
import re
from typing import Any, Callable, Iterable

from . import contract
from .ledger import Operation
from .report import Violation
from .system import SERVICES
from .world import RULED_EVENTS

LATE_SECONDS = 10.0
INSTANT = datetime.timedelta(milliseconds=1)
KEY = re.compile(r"\b(default|acme)-\d+-\d+\b")


@dataclasses.dataclass
class Entry:
    """A row of a journal."""

    service: str
    tenant_id: str
    tenant: str
    record: str
    revision: int
    event_id: str
    type: str
    body: bytes
    at: datetime.datetime
    request_id: str | None
    actor: str

    def event(self) -> Any:
        """The decoded event, once."""
        if not hasattr(self, "_event"):
            self._event = contract.event(self.service, self.body)
        return self._event


@dataclasses.dataclass
class Evidence:
    """Everything the invariants look at, collected once, of one moment."""

    operations: list[Operation]
    journals: dict[str, list[Entry]]
    feeds: dict[str, list[tuple[int, str, int, int, str]]]
    """position, record, revision, epoch, tenant."""
    leases: dict[str, list[tuple[str, int, int]]]
    outbox: dict[str, int]
    streams: dict[str, list[dict[str, str]]]
    rows: dict[str, list[dict[str, Any]]]
    received: list[Any]
    world: Any
    falls: list[str]
    relay_falls: list[str]
    streams_lost: bool
    notification_killed: bool
    fault_times: list[tuple[float, float]]
    now: datetime.datetime
    figures: dict[str, Any]
    samples: list[tuple[float, str, str, float, str]]

    def journal(self, service: str) -> dict[str, list[Entry]]:
        """Entries by record, in order of revision."""
        cache = self.__dict__.setdefault("_by_record", {})
        if service not in cache:
            grouped: dict[str, list[Entry]] = collections.defaultdict(list)
            for entry in self.journals[service]:
                grouped[entry.record].append(entry)
            for entries in grouped.values():
                entries.sort(key=lambda entry: entry.revision)
            cache[service] = grouped
        return cache[service]

    @staticmethod
    def collect(stage: Any) -> "Evidence":
        """Reads the database in one snapshot, then the streams."""
        with stage.system.postgres.connect(autocommit=False) as connection:
            connection.execute("set transaction isolation level repeatable read, read only")
            # The snapshot is taken by the first statement; a copy in a stream may only be younger than it.
            connection.execute("select 1")
            return Evidence.read(stage, connection, asyncio.run(read_streams(stage.system)))

    @staticmethod
    def read(stage: Any, connection: Any, streams: dict[str, list[dict[str, str]]]) -> "Evidence":
        """Reads the database by a connection; what else there is to see is the stage's."""
        journals, feeds, leases, outbox = {}, {}, {}, {}
        for schema in SERVICES:
            found = connection.execute(
                f"select tenant_id::text, tenant, record_id::text, revision, event_id::text, type, body, at, request_id, actor "
                f"from {schema}.journal order by record_id, revision").fetchall()
            journals[schema] = [Entry(schema, *row) for row in found]
            feeds[schema] = connection.execute(
                f"select position, record_id::text, revision, epoch, tenant_id::text from {schema}.feed order by position").fetchall()
            leases[schema] = connection.execute(f"select name, epoch, position from {schema}.lease").fetchall()
            outbox[schema] = connection.execute(f"select count(*) from {schema}.outbox").fetchone()[0]
        rows = {}
        for table in TABLES:
            cursor = connection.execute(f"select * from {table}")
            names = [column.name for column in cursor.description]
            rows[table] = [dict(zip(names, row)) for row in cursor.fetchall()]
        now = connection.execute("select now()").fetchone()[0]
        return Evidence(
            stage.ledger.all(), journals, feeds, leases, outbox, streams, rows, stage.sinks.received(), stage.world,
            list(stage.sampler.falls), list(stage.sampler.relay_falls), stage.streams_lost, stage.notification_killed,
            list(stage.fault_times), now, {}, list(stage.driver.samples))


TABLES = [
    "incident.incidents", "alert.alerts", "alert.integrations", "alert.intake", "alert.rejected_alerts", "change.changes",
    "sla.clocks", "sla.agreements", "notification.deliveries", "notification.attempts", "notification.contact_methods",
    "notification.rules", "directory.tenants", "directory.people", "directory.teams", "directory.memberships", "catalog.services",
    "sla.incident_incidents", "notification.incident_incidents", "sla.catalog_services", "incident.catalog_services",
    "alert.catalog_services", "notification.directory_people", "notification.directory_memberships",
] + [f"{schema}.{name}" for schema in SERVICES for name in ("dead_letter", "attempt", "request")]


async def read_streams(system: Any) -> dict[str, list[dict[str, str]]]:
    """The headers and subject of every message in every event stream."""
    from nats.errors import TimeoutError as NatsTimeout

    client = await system.nats_admin()
    streams: dict[str, list[dict[str, str]]] = {}
    try:
        jetstream = client.jetstream(timeout=10)
        for service in SERVICES:
            info = await jetstream.stream_info(service.upper())
            found: list[dict[str, str]] = []
            if info.state.messages:
                subscription = await jetstream.subscribe("", stream=service.upper(), ordered_consumer=True)
                while True:
                    try:
                        message = await subscription.next_msg(timeout=5)
                    except NatsTimeout:
                        break
                    found.append({**(message.headers or {}), "subject": message.subject})
                    if message.metadata.num_pending == 0:
                        break
                await subscription.unsubscribe()
            streams[service] = found
    finally:
        await client.close()
    return streams


# ---- the judge ---------------------------------------------------------------------------------------


def judge(evidence: Evidence, skip: Iterable[str] = ()) -> list[Violation]:
    """All invariants but those skipped."""
    found: list[Violation] = []
    for name, (invariant, function) in INVARIANTS.items():
        if name in skip or invariant in skip:
            continue
        found += function(evidence)
    return found


INVARIANTS: dict[str, tuple[str, Callable[[Evidence], list[Violation]]]] = {}


def invariant(number: str) -> Callable[[Callable[[Evidence], list[Violation]]], Callable[[Evidence], list[Violation]]]:
    """Registers one."""
    def register(function: Callable[[Evidence], list[Violation]]) -> Callable[[Evidence], list[Violation]]:
        INVARIANTS[function.__name__] = (number, function)
        return function
    return register


# ---- I1, I2: operations and their effects -------------------------------------------------------------


@invariant("I1")
def created_records_are_there_once(evidence: Evidence) -> list[Violation]:
    """An acknowledged creation exists once, under the id that was answered; an unanswered one at most once."""
    found = []
    for kind, table in (("incident.create", "incident.incidents"), ("change.create", "change.changes")):
        by_title = collections.defaultdict(list)
        for row in evidence.rows[table]:
            by_title[row["title"]].append(row)
        for operation in evidence.operations:
            if operation.kind != kind:
                continue
            rows = by_title[operation.key]
            if operation.acked and not rows:
                found.append(Violation("I1", f"{operation.transport} {kind} {operation.key} ({operation.id}) was acknowledged as "
                                       f"{operation.answer.get('number')}, and is not there", "lost"))
            elif operation.acked and str(rows[0]["id"]) != operation.answer.get("id") and len(rows) == 1:
                found.append(Violation("I1", f"{kind} {operation.key} was answered with {operation.answer.get('id')}, and is {rows[0]['id']}"))
            if len(rows) > 1:
                numbers = [row["number"] for row in rows]
                found.append(Violation("I2", f"{kind} {operation.key} ({operation.id}, {operation.tries} tries) exists as {numbers}", "doubled"))
    return found


@invariant("I1")
def verbs_took_effect_once(evidence: Evidence) -> list[Violation]:
    """An acknowledged verb is in the journal at the revision that was answered, and no request is there twice."""
    found = []
    by_request: dict[tuple[str, str], list[Entry]] = collections.defaultdict(list)
    for service in ("incident", "change"):
        for entry in evidence.journals[service]:
            if entry.request_id:
                by_request[(service, entry.request_id)].append(entry)
    for operation in evidence.operations:
        if operation.kind not in ("incident.verb", "change.verb"):
            continue
        service = operation.kind.split(".")[0]
        entries = by_request[(service, operation.id)]
        types = collections.Counter(entry.type for entry in entries)
        for kind, count in types.items():
            if count > 1:
                revisions = [entry.revision for entry in entries]
                found.append(Violation("I2", f"{operation.verb} of {operation.target} ({operation.id}, {operation.tries} tries) "
                                       f"happened {count} times, revisions {revisions}", "doubled"))
        if not operation.acked:
            continue
        revision = int(operation.answer.get("revision", 0))
        records = evidence.journal(service).get(operation.target, [])
        at_answer = next((entry for entry in records if entry.revision == revision), None)
        no_change_wanted = operation.verb in ("acknowledge", "assign")
        if at_answer is None or (not entries and not no_change_wanted):
            found.append(Violation("I1", f"{operation.transport} {operation.verb} of {operation.target} ({operation.id}) was acknowledged "
                                   f"at revision {revision}, and the journal does not have it", "lost"))
    return found


@invariant("I1")
def nothing_legal_was_refused(evidence: Evidence) -> list[Violation]:
    """What nobody else could have made illegal is not refused, and no answer is an internal error."""
    found = []
    for operation in evidence.operations:
        if operation.refused and operation.must_succeed:
            found.append(Violation("I1", f"{operation.kind} {operation.verb} {operation.key} {operation.target} ({operation.id}, try "
                                   f"{operation.tries}) was refused: {operation.refused[:200]}; before: {operation.errors[-1:]}"))
        for error in operation.errors:
            if error.startswith("DIFFERENT"):
                found.append(Violation("I2", f"{operation.kind} {operation.verb} ({operation.id}) said again was answered otherwise: {error}", "doubled"))
            elif error.startswith("500") and "INTERNAL" in error.upper():
                found.append(Violation("500", f"{operation.kind} {operation.verb} ({operation.id}): {error[:250]}"))
    return found


def _markers(body: bytes) -> list[str]:
    return [text.decode() for text in re.findall(rb'"op":\s*"([0-9a-f-]{36})"', body)]


def stored_alerts(system: Any) -> set[str]:
    """The marks of all alerts that the raw intake has."""
    return {mark for (body,) in system.sql("select body from alert.intake") for mark in _markers(bytes(body))}


@invariant("I1")
def alerts_are_stored_and_counted_once(evidence: Evidence) -> list[Violation]:
    """Each acknowledged alert is in the raw intake; each stored one counted once; the condition is as last said."""
    found = []
    stored: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for row in evidence.rows["alert.intake"]:
        for mark in _markers(bytes(row["body"])):
            stored[mark].append(row)
    by_key: dict[tuple[str, str], list[dict[str, Any]]] = collections.defaultdict(list)
    slugs = {str(row["id"]): row["slug"] for row in evidence.rows["directory.tenants"]}
    for row in evidence.rows["alert.alerts"]:
        by_key[(slugs[str(row["tenant_id"])], row["dedup_key"])].append(row)
    told: dict[tuple[str, str], list[Operation]] = collections.defaultdict(list)
    excused = {(operation.tenant, operation.key) for operation in evidence.operations if operation.excused}
    for operation in evidence.operations:
        if not operation.kind.startswith("alert.") or (operation.tenant, operation.key) in excused:
            continue
        told[(operation.tenant, operation.key)].append(operation)
        copies = stored[operation.id]
        if operation.acked and not copies:
            found.append(Violation("I1", f"{operation.kind} {operation.key} over {operation.transport} ({operation.id}) was acknowledged, "
                                   "and the raw intake does not have it", "lost"))
        if len(copies) > operation.tries:
            found.append(Violation("I2", f"{operation.kind} {operation.key} ({operation.id}) was sent {operation.tries} times and stored "
                                   f"{len(copies)} times", "doubled"))
    for (tenant, key), operations in told.items():
        rows = by_key[(tenant, key)]
        raises = [operation for operation in operations if operation.kind == "alert.raise"]
        if any(operation.acked for operation in raises) and not rows:
            outcomes = [row["outcome"] for operation in raises for row in stored[operation.id]]
            if outcomes and all("before an end that is known" in outcome for outcome in outcomes):
                # Its end was looked at first: no episode was left to tell, which the rules allow.
                evidence.figures["conditions over before they were looked at"] = evidence.figures.get(
                    "conditions over before they were looked at", 0) + 1
                continue
            found.append(Violation("I1", f"alert {key} was acknowledged, and there is no alert", "lost"))
            continue
        if sum(row["state"] == "ACTIVE" for row in rows) > 1 or len(rows) > len(raises):
            found.append(Violation("I2", f"alert {key} was raised {len(raises)} times and has {len(rows)} episodes", "doubled"))
        counted = sum(row["occurrence_count"] for row in rows)
        firing = [row for operation in operations if operation.kind != "alert.clear" for row in stored[operation.id]]
        meant = sum(not row["outcome"] for row in firing)
        if counted > len(firing):
            found.append(Violation("I2", f"alert {key} was stored {len(firing)} times as firing and counted {counted} times", "doubled"))
        elif counted < meant:
            found.append(Violation("I1", f"alert {key} was stored {meant} times as firing and counted {counted} times", "lost"))
        last = operations[-1]
        if last.acked and rows:
            wanted = "CLEARED" if last.kind == "alert.clear" else "ACTIVE"
            active = any(row["state"] == "ACTIVE" for row in rows)
            if active != (wanted == "ACTIVE"):
                found.append(Violation("I1", f"alert {key} was last said to be {wanted} ({last.id}), and is not", "lost"))
    if evidence.rows["alert.rejected_alerts"]:
        row = evidence.rows["alert.rejected_alerts"][0]
        found.append(Violation("I1", f"{len(evidence.rows['alert.rejected_alerts'])} alerts were rejected, such as {row['reason']} {row['raw'][:80]}", "lost"))
    return found


@invariant("I2")
def one_open_incident_for_a_condition(evidence: Evidence) -> list[Violation]:
    """Each alert that opens one belongs to exactly one incident, and a condition has at most one that is open."""
    found = []
    linked: dict[str, list[str]] = collections.defaultdict(list)
    open_of: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    active_in: dict[str, bool] = {}
    for row in evidence.rows["incident.incidents"]:
        for link in row["alerts"]:
            linked[link.get("alert_id") or link.get("id")].append(row["number"])
            active_in[link.get("alert_id") or link.get("id")] = bool(link.get("active"))
        if row["channel"] == "ALERT" and row["state"] not in ("RESOLVED", "CLOSED", "CANCELLED"):
            open_of[(str(row["tenant_id"]), row["title"])].append(row["number"])
    for alert in evidence.rows["alert.alerts"]:
        if not alert["opens_incident"]:
            continue
        incidents = linked[str(alert["id"])]
        if not incidents:
            found.append(Violation("I1", f"alert {alert['dedup_key']} ({alert['id']}) opens an incident, and none has it", "lost"))
        elif len(incidents) > 1:
            found.append(Violation("I2", f"alert {alert['dedup_key']} ({alert['id']}) belongs to {incidents}", "doubled"))
        elif active_in[str(alert["id"])] != (alert["state"] == "ACTIVE"):
            found.append(Violation("I10", f"alert {alert['dedup_key']} is {alert['state']}, and {incidents[0]} says otherwise", "lost"))
    for (_, title), numbers in open_of.items():
        if len(numbers) > 1:
            found.append(Violation("I2", f"condition {title} has the open incidents {numbers}", "doubled"))
    return found


@invariant("I2")
def no_record_came_from_nowhere(evidence: Evidence) -> list[Violation]:
    """Every incident, change and alert goes back to an operation of the ledger."""
    keys = {operation.key for operation in evidence.operations}
    found = []
    for table, column in (("incident.incidents", "title"), ("change.changes", "title"), ("alert.alerts", "dedup_key")):
        for row in evidence.rows[table]:
            if row[column] not in keys and not row[column].startswith("probe/"):
                found.append(Violation("I2", f"{table} {row['id']}: nobody asked for {row[column]!r}", "doubled"))
    return found


# ---- I3: journal, feed, streams -----------------------------------------------------------------------


@invariant("I3")
def journal_feed_and_stream_have_the_same_events(evidence: Evidence) -> list[Violation]:
    """Nothing waits in an outbox; the feed has each event of the journal once, the stream each at least once."""
    found = []
    copies = 0
    for service in SERVICES:
        if evidence.outbox[service]:
            found.append(Violation("I3", f"{service}.outbox still has {evidence.outbox[service]} rows", "lost"))
        journal = {(entry.record, entry.revision): entry for entry in evidence.journals[service]}
        feed = collections.Counter((record, revision) for _, record, revision, _, _ in evidence.feeds[service])
        for key in journal.keys() - feed.keys():
            found.append(Violation("I3", f"{service}: {journal[key].type} of {key[0]} revision {key[1]} is in the journal and not in the feed", "lost"))
        for key, count in feed.items():
            if key not in journal:
                found.append(Violation("I3", f"{service}: the feed has {key[0]} revision {key[1]}, which the journal has not"))
            if count > 1:
                found.append(Violation("I3", f"{service}: the feed has {key[0]} revision {key[1]} {count} times", "doubled"))
        ids = {entry.event_id: entry for entry in evidence.journals[service]}
        if len(ids) != len(evidence.journals[service]):
            found.append(Violation("I3", f"{service}: an event id is used twice", "doubled"))
        seen = collections.Counter(message.get("Nats-Msg-Id", "") for message in evidence.streams[service])
        missing = ids.keys() - seen.keys()
        for event in sorted(missing)[:50]:
            found.append(Violation("I3", f"{service}: the stream has no copy of {ids[event].type} {event}", "lost"))
        for event in seen.keys() - ids.keys():
            found.append(Violation("I3", f"{service}: the stream has {event!r}, which the journal has not"))
        copies += sum(count - 1 for count in seen.values())
    evidence.figures["extra copies in streams"] = copies
    return found


@invariant("I3")
def feed_is_dense_and_its_epoch_never_falls(evidence: Evidence) -> list[Violation]:
    """Positions are 1, 2, 3, ...; a later position was never numbered by an earlier holder."""
    found = []
    for service in SERVICES:
        last_position, last_epoch = 0, 0
        for position, record, revision, epoch, _ in evidence.feeds[service]:
            if position != last_position + 1:
                found.append(Violation("I3", f"{service}: feed position {position} follows {last_position}", "order"))
            if epoch < last_epoch:
                found.append(Violation("epoch", f"{service}: feed position {position} ({record} revision {revision}) has epoch {epoch} after {last_epoch}", "order"))
            last_position, last_epoch = position, epoch
    return found


@invariant("I3")
def stream_copies_say_their_place(evidence: Evidence) -> list[Violation]:
    """Each copy in a stream carries the position, tenant and subject of its event."""
    found = []
    for service in SERVICES:
        places = {(record, revision): (position, tenant) for position, record, revision, _, tenant in evidence.feeds[service]}
        by_id = {entry.event_id: entry for entry in evidence.journals[service]}
        for message in evidence.streams[service]:
            entry = by_id.get(message.get("Nats-Msg-Id", ""))
            if entry is None:
                continue
            position, tenant = places.get((entry.record, entry.revision), (0, ""))
            subject = f"itsm.{entry.tenant}.{service}.{entry.type}"
            said = (int(message.get("Itsm-Position", 0)), message.get("Itsm-Tenant-Id"), message["subject"])
            if said != (position, tenant, subject):
                found.append(Violation("I3", f"{service}: the copy of {entry.event_id} says {said}, and it is {(position, tenant, subject)}", "order"))
    return found


# ---- I4, I5: consumers --------------------------------------------------------------------------------


@invariant("I4")
def consumers_are_at_the_head(evidence: Evidence) -> list[Violation]:
    """Each consumer applied the whole feed of its source, and each relay published the whole of its own."""
    found = []
    for service in SERVICES:
        for name, _, position in evidence.leases[service]:
            source = service if name == "relay" else name.removeprefix("consumer:") if name.startswith("consumer:") else None
            if source not in evidence.feeds:
                continue
            head = evidence.feeds[source][-1][0] if evidence.feeds[source] else 0
            if position != head:
                found.append(Violation("I4", f"{service} {name} is at {position}, and {source}'s feed at {head}", "lost"))
    return found


@invariant("I4")
def nothing_was_set_aside(evidence: Evidence) -> list[Violation]:
    """No event failed for its own sake."""
    found = []
    for service in SERVICES:
        for row in evidence.rows[f"{service}.dead_letter"]:
            found.append(Violation("I4", f"{service} set aside {row['type']} of {row['source']} at {row['position']}: {row['reason'][:200]}", "lost"))
        tries = sum(row["tries"] for row in evidence.rows[f"{service}.attempt"])
        if tries:
            evidence.figures["tries of failing events"] = evidence.figures.get("tries of failing events", 0) + tries
    return found


@invariant("I4")
def each_incident_has_its_clocks_once(evidence: Evidence) -> list[Violation]:
    """An incident under the agreement has one clock for each metric."""
    found = []
    services = {tenant.service_id for tenant in evidence.world.tenants.values()}
    clocks = collections.Counter((str(row["incident_id"]), row["metric"]) for row in evidence.rows["sla.clocks"]
                                 if str(row["agreement_id"]) in {tenant.agreement_id for tenant in evidence.world.tenants.values()})
    for row in evidence.rows["incident.incidents"]:
        if str(row["service_id"]) not in services:
            continue
        for metric in ("RESPONSE", "RESOLUTION"):
            count = clocks[(str(row["id"]), metric)]
            if count != 1:
                found.append(Violation("I4", f"{row['number']} ({row['id']}) has {count} {metric} clocks", "lost" if count == 0 else "doubled"))
    return found


@invariant("I4")
def one_effect_for_each_cause(evidence: Evidence) -> list[Violation]:
    """What the system did because of an event, it did once: by the cause that each event names."""
    found = []
    for service in SERVICES:
        done: dict[tuple[str, str, str], list[int]] = collections.defaultdict(list)
        for entry in evidence.journals[service]:
            if entry.actor.startswith("system:"):
                cause = entry.event().actor.cause_event_id
                if cause:
                    done[(cause, entry.record, entry.type)].append(entry.revision)
        for (cause, record, kind), revisions in done.items():
            if len(revisions) > 1:
                found.append(Violation("I4", f"{service}: event {cause} caused {kind} of {record} {len(revisions)} times, revisions {revisions}", "doubled"))
    return found


@invariant("I5")
def revisions_are_dense(evidence: Evidence) -> list[Violation]:
    """The journal of each record is 1, 2, 3, ..., in the feed's order too, and never steps back in time."""
    found = []
    for service in SERVICES:
        for record, entries in evidence.journal(service).items():
            revisions = [entry.revision for entry in entries]
            if revisions != list(range(1, len(revisions) + 1)):
                found.append(Violation("I5", f"{service}: {record} has the revisions {revisions[:12]}", "order"))
        last: dict[str, int] = {}
        for position, record, revision, _, _ in evidence.feeds[service]:
            if revision != last.get(record, 0) + 1:
                found.append(Violation("I5", f"{service}: at position {position} revision {revision} of {record} follows {last.get(record, 0)}", "order"))
            last[record] = revision
    return found


# ---- I6: breaches -------------------------------------------------------------------------------------


def expected_breaches(entries: list[Entry], response: float, resolution: float, now: datetime.datetime) -> dict[str, datetime.datetime]:
    """The reference model of a clock round the clock: when each metric was breached, from the incident's history."""
    breached: dict[str, datetime.datetime] = {}
    for metric, seconds in (("RESPONSE", response), ("RESOLUTION", resolution)):
        target, spent = datetime.timedelta(seconds=seconds), datetime.timedelta()
        since: datetime.datetime | None = None
        over = False
        for entry in entries:
            incident = entry.event().incident
            state = contract.to_json(incident).get("state", "").removeprefix("INCIDENT_STATE_")
            if metric == "RESPONSE":
                seen = incident.HasField("acknowledge_time")
                over = over or seen or state not in ("NEW", "ASSIGNED", "PENDING")
                runs = not over and state in ("NEW", "ASSIGNED")
            else:
                runs = state in ("NEW", "ASSIGNED", "IN_PROGRESS")
            if since is not None and spent + (entry.at - since) > target:
                breached.setdefault(metric, since + (target - spent))
            if since is not None:
                spent += entry.at - since
            since = entry.at if runs else None
        if since is not None and spent + (now - since) > target:
            breached.setdefault(metric, since + (target - spent))
    return breached


@invariant("I6")
def breaches_are_those_of_the_reference_model(evidence: Evidence) -> list[Violation]:
    """Each breach told once, with the instant that was due; none told that was not one."""
    found = []
    targets = {}
    for row in evidence.rows["sla.agreements"]:
        targets[str(row["id"])] = {one["priority"]: one for one in row["targets"]}
    wanted: dict[tuple[str, str], datetime.datetime] = {}
    for tenant in evidence.world.tenants.values():
        numbers = next(iter(targets[tenant.agreement_id].values()))
        for row in evidence.rows["incident.incidents"]:
            if str(row["service_id"]) != tenant.service_id:
                continue
            entries = evidence.journal("incident").get(str(row["id"]), [])
            for metric, at in expected_breaches(entries, numbers["response_seconds"], numbers["resolution_seconds"], evidence.now).items():
                wanted[(str(row["id"]), metric)] = at
    agreements = {tenant.agreement_id for tenant in evidence.world.tenants.values()}
    withdrawn = 0
    for clock in evidence.rows["sla.clocks"]:
        if str(clock["agreement_id"]) not in agreements:
            continue
        key = (str(clock["incident_id"]), clock["metric"])
        entries = evidence.journal("sla").get(str(clock["id"]), [])
        told = [entry for entry in entries if entry.type == "clock_breached"]
        taken_back = [entry for entry in entries if entry.type == "clock_breach_withdrawn"]
        withdrawn += len(taken_back)
        name = f"{clock['metric']} of {clock['incident_number']} (clock {clock['id']})"
        if key in wanted and (len(told) == len(taken_back) or clock["breached_at"] is None):
            found.append(Violation("I6", f"{name} was breached at {wanted[key]}, and nobody was told", "lost"))
        elif key in wanted and abs(clock["breached_at"] - wanted[key]) > INSTANT:
            found.append(Violation("I6", f"{name} was breached at {wanted[key]}, and {clock['breached_at']} was told"))
        elif key not in wanted and len(told) > len(taken_back):
            found.append(Violation("I6", f"{name} was kept, and a breach at {clock['breached_at']} was told"))
        if len(told) - len(taken_back) > 1:
            found.append(Violation("I6", f"{name}: the breach was told {len(told)} times, revisions {[entry.revision for entry in told]}", "doubled"))
        for entry in told:
            if entry.event().clock.provisional is False and key not in wanted:
                found.append(Violation("I6", f"{name} was kept, and told as breached, not as provisional"))
        for kind in ("clock_started", "clock_at_risk"):
            count = sum(entry.type == kind for entry in entries)
            if count > 1:
                found.append(Violation("I6", f"{name}: {kind} was told {count} times", "doubled"))
    evidence.figures["breaches"] = len(wanted)
    if withdrawn:
        evidence.figures["breaches withdrawn"] = withdrawn
    return found


# ---- I7: messages -------------------------------------------------------------------------------------


def _delayed(at: float, faults: list[tuple[float, float]]) -> float:
    """When the time allowed begins: at the event, or when the last fault that it fell into was over."""
    for began, ended in sorted(faults):
        if began <= at + LATE_SECONDS and ended > at:
            at = ended
    return at


@invariant("I7")
def everyone_was_told_once(evidence: Evidence) -> list[Violation]:
    """Each event with a rule has one delivery for each person and way; what was delivered arrived; a copy more
    only after a crash, under the same id, and never more copies than attempts."""
    found = []
    deliveries: dict[tuple[str, str], list[dict[str, Any]]] = collections.defaultdict(list)
    by_id = {}
    for row in evidence.rows["notification.deliveries"]:
        deliveries[(str(row["event_id"]), str(row["contact_method_id"]))].append(row)
        by_id[str(row["id"])] = row
    attempts: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for row in evidence.rows["notification.attempts"]:
        attempts[str(row["delivery_id"])].append(row)
    arrived: dict[str, list[Any]] = collections.defaultdict(list)
    for copy in evidence.received:
        arrived[copy.id].append(copy)
    extra = 0
    latest = again = 0.0
    for event, tenant in ruled_events(evidence):
        for way in RULED_EVENTS[f"{event.service}.{event.type}"]:
            method = tenant.methods[way]
            rows = [row for row in deliveries[(event.event_id, method)] if row["sequence"] == 1]
            name = f"{event.service}.{event.type} {event.event_id} by {way}"
            if not rows:
                found.append(Violation("I7", f"{name}: nobody was told", "lost"))
                continue
            if len(rows) > 1:
                found.append(Violation("I7", f"{name}: {len(rows)} deliveries", "doubled"))
            row = rows[0]
            copies = arrived[str(row["id"])]
            if row["state"] == "DELIVERED" and not any(copy.accepted for copy in copies):
                found.append(Violation("I7", f"{name}: delivery {row['id']} counts as delivered, and did not arrive", "lost"))
            elif row["state"] in ("FAILED", "PENDING"):
                found.append(Violation("I7", f"{name}: delivery {row['id']} is {row['state']}: {row['reason'][:100]}", "lost"))
            tries = attempts[str(row["id"])]
            if len(tries) > 1 and copies and any(one["outcome"] in ("unknown", None) for one in tries):
                # Cut by a crash between the attempt and its record: it is told again after a while, and counted apart.
                again = max(again, min(copy.at for copy in copies) - event.at.timestamp())
            elif copies:
                late = min(copy.at for copy in copies) - _delayed(event.at.timestamp(), evidence.fault_times)
                latest = max(latest, late)
                if late > LATE_SECONDS:
                    found.append(Violation("I7", f"{name}: arrived {late:.1f} s after the event or the end of the fault", "late"))
    for identity, copies in arrived.items():
        row = by_id.get(identity)
        if row is None:
            found.append(Violation("I7", f"a message with the id {identity!r} arrived at {copies[0].end}, and there is no such delivery", "doubled"))
            continue
        tries = attempts[identity]
        if len(copies) > len(tries):
            found.append(Violation("I7", f"delivery {identity}: {len(copies)} copies arrived, and {len(tries)} attempts are written down", "doubled"))
        accepted = sum(copy.accepted for copy in copies)
        extra += max(0, accepted - 1)
        crashed = sum(one["outcome"] in ("unknown", None) or one["outcome"] == "retry" for one in tries)
        if accepted > 1 + (crashed if evidence.notification_killed else 0):
            found.append(Violation("I7", f"delivery {identity} arrived {accepted} times; attempts: {[one['outcome'] for one in tries]}", "doubled"))
        for copy in copies:
            if copy.signature_ok is False:
                found.append(Violation("I7", f"delivery {identity}: the signature is wrong"))
    evidence.figures["messages arrived"] = len(evidence.received)
    evidence.figures["slowest message s"] = round(latest, 1)
    if again:
        evidence.figures["slowest message whose send was cut by a crash s"] = round(again, 1)
    if extra:
        evidence.figures["extra copies of messages"] = extra
    return found


def ruled_events(evidence: Evidence) -> list[tuple[Entry, Any]]:
    """The events that the run's rules tell, with their tenant."""
    by_team = {tenant.team_id: tenant for tenant in evidence.world.tenants.values() if evidence.world.told}
    found = []
    for entry in evidence.journals["incident"]:
        if entry.type == "opened":
            tenant = by_team.get(entry.event().incident.assigned_team_id)
            if tenant:
                found.append((entry, tenant))
    for entry in evidence.journals["sla"]:
        if entry.type == "clock_breached":
            tenant = by_team.get(entry.event().clock.assigned_team_id)
            if tenant:
                found.append((entry, tenant))
    return found


# ---- I8: tenants --------------------------------------------------------------------------------------


@invariant("I8")
def nothing_crosses_a_tenant(evidence: Evidence) -> list[Violation]:
    """Rows, events, mails and webhooks hold their own tenant's records alone."""
    found = []
    slugs = {str(row["id"]): row["slug"] for row in evidence.rows["directory.tenants"]}
    for table, column in (("incident.incidents", "title"), ("change.changes", "title"), ("alert.alerts", "dedup_key")):
        for row in evidence.rows[table]:
            key = KEY.search(row[column])
            if key and key.group(1) != slugs[str(row["tenant_id"])]:
                found.append(Violation("I8", f"{table} {row['id']} of {slugs[str(row['tenant_id'])]} is {row[column]}"))
    owners: dict[str, str] = {}
    for service in SERVICES:
        for entry in evidence.journals[service]:
            if slugs.get(entry.tenant_id) != entry.tenant:
                found.append(Violation("I8", f"{service}: event {entry.event_id} says {entry.tenant} and {entry.tenant_id}"))
            if owners.setdefault(entry.record, entry.tenant_id) != entry.tenant_id:
                found.append(Violation("I8", f"{service}: the events of {entry.record} belong to two tenants"))
    references = (("sla.clocks", "incident_id"), ("sla.clocks", "agreement_id"), ("notification.deliveries", "contact_method_id"),
                  ("notification.deliveries", "subject_record_id"), ("notification.deliveries", "person_id"),
                  ("incident.incidents", "assigned_team_id"), ("incident.incidents", "service_id"), ("alert.alerts", "integration_id"),
                  ("alert.alerts", "service_id"), ("alert.alerts", "team_id"), ("change.changes", "assigned_team_id"))
    for table, column in references:
        for row in evidence.rows[table]:
            other = owners.get(str(row[column]))
            if other and other != str(row["tenant_id"]):
                found.append(Violation("I8", f"{table} {row['id']}: {column} {row[column]} is another tenant's"))
    for copy in evidence.received:
        if copy.end == "mail":
            whose = copy.to.partition("@")[2].removesuffix(".example")
        else:
            whose = copy.end.removeprefix("pager-")
        if whose not in ("default", "acme"):
            continue
        strangers = {key for key in KEY.findall(copy.subject + copy.body) if key != whose}
        if strangers:
            found.append(Violation("I8", f"a message to {copy.to} speaks of {strangers}: {copy.subject[:100]}"))
    return found


# ---- I9: the journal replays to the row ---------------------------------------------------------------

COMPARED: dict[str, tuple[str, str, dict[str, str]]] = {
    "incident.incidents": ("incident", "incident", {
        "number": "number", "title": "title", "state": "state", "priority": "priority", "service_id": "serviceId",
        "assigned_team_id": "assignedTeamId", "assignee_id": "assigneeId", "acknowledged_at": "acknowledgeTime",
        "resolved_at": "resolveTime", "closed_at": "closeTime", "reopen_count": "reopenCount", "taken_over": "takenOver"}),
    "change.changes": ("change", "change", {
        "number": "number", "title": "title", "state": "state", "started_at": "actualStartTime", "ended_at": "actualEndTime",
        "closed_at": "closeTime", "planned_start_at": "plannedStartTime", "outcome_notes": "outcomeNotes"}),
    "alert.alerts": ("alert", "alert", {
        "dedup_key": "dedupKey", "title": "title", "state": "state", "severity": "severity", "cleared_at": "clearTime",
        "opens_incident": "opensIncident"}),
    "sla.clocks": ("sla", "clock", {
        "incident_number": "incidentNumber", "metric": "metric", "state": "state", "breached_at": "breachTime", "at_risk_at": "atRiskTime",
        "stopped_at": "stopTime"}),
    "notification.deliveries": ("notification", "delivery", {"state": "state", "event_type": "eventType", "sequence": "sequence"}),
}
ENUM_PREFIX = re.compile(r"^(INCIDENT_STATE|CHANGE_STATE|ALERT_STATE|CLOCK_STATE|DELIVERY_STATE|SEVERITY|METRIC|PRIORITY_P|PRIORITY)_?")


def _same(column: Any, said: Any) -> bool:
    if isinstance(column, datetime.datetime):
        if not said:
            return False
        return abs(column - datetime.datetime.fromisoformat(_micros(str(said)))) < INSTANT
    if column in (None, "", 0, False):
        return said in (None, "", 0, False, "0")
    if isinstance(said, str):
        said = ENUM_PREFIX.sub("", said)
    return str(column) == str(said)


def _micros(text: str) -> str:
    """RFC 3339 as Python 3.9 reads it."""
    text = text.replace("Z", "+00:00")
    match = re.match(r"(.*T\d\d:\d\d:\d\d)(?:\.(\d+))?(.*)", text)
    assert match
    return f"{match[1]}.{(match[2] or '0')[:6].ljust(6, '0')}{match[3]}"


@invariant("I9")
def the_journal_covers_every_change(evidence: Evidence) -> list[Violation]:
    """Each row has the revision of its last event, and is what that event says; each event has its row."""
    found = []
    for table, (service, field, columns) in COMPARED.items():
        known = set()
        for row in evidence.rows[table]:
            record = str(row["id"])
            known.add(record)
            entries = evidence.journal(service).get(record)
            if not entries:
                found.append(Violation("I9", f"{table} {record}: there is no journal of it", "lost"))
                continue
            if entries[-1].revision != row["revision"]:
                found.append(Violation("I9", f"{table} {record} is at revision {row['revision']}, its journal at {entries[-1].revision}", "lost"))
                continue
            said = contract.to_json(getattr(entries[-1].event(), field))
            for column, name in columns.items():
                # What was never read back is no loss; a revision that differs was said above.
                if not _same(row[column], said.get(name)):
                    found.append(Violation("I9", f"{table} {record}: {column} is {row[column]!r}, and its last event says {said.get(name)!r}"))
        for record, entries in evidence.journal(service).items():
            if record not in known and entries[-1].event().HasField(field):
                found.append(Violation("I9", f"{service}: the journal has {entries[0].type} of {record}, and {table} has no such row", "lost"))
    return found


# ---- I10: projections ---------------------------------------------------------------------------------


@invariant("I10")
def read_models_are_what_their_owners_say(evidence: Evidence) -> list[Violation]:
    """What one service keeps of another is at the owner's revision."""
    found = []
    owners = {
        "sla.incident_incidents": "incident.incidents", "notification.incident_incidents": "incident.incidents",
        "sla.catalog_services": "catalog.services", "incident.catalog_services": "catalog.services",
        "alert.catalog_services": "catalog.services", "notification.directory_people": "directory.people",
        "notification.directory_memberships": "directory.memberships"}
    for table, owner in owners.items():
        there = {str(row["id"]): row for row in evidence.rows[table]}
        for row in evidence.rows[owner]:
            kept = there.pop(str(row["id"]), None)
            if kept is None:
                found.append(Violation("I10", f"{table} does not have {row['id']} of {owner}", "lost"))
            elif kept["revision"] != row["revision"]:
                found.append(Violation("I10", f"{table} has {row['id']} at revision {kept['revision']}, {owner} at {row['revision']}", "lost"))
            elif "state" in kept and kept["state"] != row["state"]:
                found.append(Violation("I10", f"{table} has {row['id']} as {kept['state']}, {owner} as {row['state']}"))
        for record in there:
            found.append(Violation("I10", f"{table} has {record}, which {owner} has not", "doubled"))
    return found


@invariant("lease")
def leases_never_step_back(evidence: Evidence) -> list[Violation]:
    """As sampled during the run: epochs and positions only rise; a relay's position falls only after its stream was lost."""
    falls = list(evidence.falls) + ([] if evidence.streams_lost else list(evidence.relay_falls))
    return [Violation("lease", text, "order") for text in falls]


__all__ = ["Evidence", "judge", "INVARIANTS", "json"]

"""itsm as it ships: one `itsm up` with a data folder of its own, and what a user would set up in it."""
import json
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Dict, List, Optional

from bench import machine
from bench.place import HERE, HTTP, LOOPBACK, BenchError, Place, first_line, wait_until
from bench.references import Sink

SERVICES = ("directory", "catalog", "alert", "incident", "change", "sla", "notification")
# Which service follows which: each reads the other's feed and keeps how far it is.
FOLLOWS = {"alert": ("directory", "catalog"), "incident": ("directory", "catalog", "alert"),
           "sla": ("catalog", "incident"), "notification": ("directory", "incident", "change", "alert", "sla")}
READY_SECONDS = 60


class Refused(BenchError):
    """A call that was answered with another status than success."""

    def __init__(self, code: int, text: str):
        super().__init__(text)
        self.code = code


class Product:
    """A running `itsm up`."""

    def __init__(self, place: Place, name: str, empty: bool = True, profile: bool = False):
        self.place, self.name = place, name
        self.data = (place.room(name) if empty else place.folder / name) / "data"
        self.settings = self.data.parent / "settings.toml"
        # The measuring receiver listens on loopback, where webhooks may not go unless it is said.
        self.settings.write_text(f'[notification]\nwebhook_allow = ["{LOOPBACK}/32"]\n')
        self.log = place.folder / f"{name}.log"
        self._begin()
        self.profile = profile
        if profile:
            self._count_statements()

    def _begin(self) -> None:
        place = self.place
        began = time.monotonic()
        self.child = place.start([place.itsm, "up", "--data", self.data, "--settings", self.settings,
                                  "--listen", f"{LOOPBACK}:0"], self.log)
        line = first_line(self.child, READY_SECONDS, "itsm up", self.log)
        self.ready_s = time.monotonic() - began
        if not line.startswith("ready http://"):
            raise BenchError(f"itsm up said {line!r}")
        self.url = line.removeprefix("ready ")
        self.key = (self.data / "admin.key").read_text().strip()
        self._find_servers()
        self.check()

    def _count_statements(self) -> None:
        """Lets Postgres count by statement, which costs a little and so is no part of a judged run."""
        self.stop()
        with open(self.data / "postgres" / "data" / "postgresql.conf", "a") as settings:
            settings.write("shared_preload_libraries = 'pg_stat_statements'\ntrack_io_timing = on\n")
        self._begin()
        self.sql("create extension if not exists pg_stat_statements")

    def top_statements(self, per: float, limit: int = 40) -> List[str]:
        """The statements that took most since the last time: calls and milliseconds, each by `per`."""
        told = self.sql(
            f"select format('%s %s calls, %s ms, %s rows, %s blocks: %s', rpad(r.rolname, 20), "
            f"round(s.calls::numeric / {per}, 2), round((s.total_exec_time / {per})::numeric, 3), "
            f"round(s.rows::numeric / {per}, 2), round((s.shared_blks_hit + s.shared_blks_read)::numeric / {per}, 1), "
            "left(regexp_replace(s.query, '\\s+', ' ', 'g'), 230)) "
            f"from pg_stat_statements s join pg_roles r on r.oid = s.userid order by s.total_exec_time desc limit {limit}")
        self.sql("select pg_stat_statements_reset()")
        return told

    def waits(self, count: int) -> Dict[str, str]:
        """How long after its alert was decided the last `count` alerts reached each stage: median and
        99th percentile in milliseconds, by the services' own stamps."""
        stages = {"alert numbered": "fa", "incident decided": "ji", "incident numbered": "fi",
                  "delivery asked for": "d", "attempt begun": "t", "attempt noted": "e"}
        spans = ", ".join(f"round(extract(epoch from percentile_cont({share}) within group (order by s - a)) * 1000, 1)"
                          for share in (0.5, 0.99))
        parts = [f"select {place}, '{name}', at, {column} from told" for place, (name, column) in
                 enumerate(stages.items())]
        told = self.sql(
            "with told as materialized (select ja.at, fa.at as fa, ji.at as ji, fi.at as fi, d.created_at as d, "
            "t.started_at as t, t.ended_at as e from incident.incident_alerts ia "
            "join alert.journal ja on ja.record_id = ia.alert_id and ja.revision = 1 "
            "join alert.feed fa on fa.record_id = ia.alert_id and fa.revision = 1 "
            "join incident.journal ji on ji.record_id = ia.incident_id and ji.revision = 1 "
            "join incident.feed fi on fi.record_id = ia.incident_id and fi.revision = 1 "
            "join notification.deliveries d on d.incident_id = ia.incident_id and d.sequence = 1 "
            "join notification.attempts t on t.delivery_id = d.id and t.number = 1 "
            f"order by ja.at desc limit {count}), spans (place, name, a, s) as ("
            + " union all ".join(parts)
            + f") select name, {spans} from spans group by place, name order by place")
        return {name: f"{half} / {most}" for name, half, most in (line.split("|") for line in told)}

    def _find_servers(self) -> None:
        children: Dict[str, int] = {}
        for pid in machine.tree(self.child.pid):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            parent = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]
            if int(parent) == self.child.pid:
                children[name] = pid
        if not {"postgres", "nats-server"} <= set(children):
            raise BenchError(f"itsm up has no servers of its own: {children}")
        self.postgres, self.nats = children["postgres"], children["nats-server"]

    def check(self) -> None:
        """Refuses to measure what is not durable, not protected or not as it ships."""
        told = self.sql("select current_setting('synchronous_commit') || ' ' || current_setting('fsync') || ' ' || "
                        "current_setting('full_page_writes')")[0]
        if told != "on on on":
            raise BenchError(f"the product's Postgres is not durable: {told}")
        if "sync_interval: always" not in (self.data / "nats" / "server.conf").read_text():
            raise BenchError("the product's NATS does not flush each message")
        bare = self.sql("select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a "
                        "on a.attrelid = c.oid and a.attname = 'tenant_id' where c.relkind in ('r', 'p') and not "
                        f"c.relispartition and n.nspname in {SERVICES} and not c.relforcerowsecurity")[0]
        if bare != "0":
            raise BenchError(f"{bare} tables of tenants are without forced row-level security")
        try:
            HTTP.open(f"{self.url}/v1/incidents", timeout=10)
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise BenchError(f"a call without a key is answered with {error.code}") from None
        else:
            raise BenchError("a call without a key is answered")

    @property
    def roots(self) -> Dict[str, int]:
        """Its processes; the servers are also descendants of the first, so it alone is the whole."""
        return {"itsm": self.child.pid}

    def sql(self, text: str) -> List[str]:
        """What the superuser's psql says, line by line."""
        environment = self.place.environment()
        environment["PGPASSWORD"] = (self.data / "postgres.password").read_text().strip()
        socket = (self.data / "postgres.socket").read_text().strip()
        return self.place.run([self.place.postgres / "psql", "-h", socket, "-U", "itsm", "-d", "itsm", "-XqAt",
                               "-v", "ON_ERROR_STOP=1", "-c", text], 900, env=environment).splitlines()

    def call(self, path: str, body: Optional[Dict] = None, method: Optional[str] = None) -> Dict:
        """A call of the public API."""
        request = urllib.request.Request(f"{self.url}/v1/{path}", method=method, headers={
            "Authorization": f"Bearer {self.key}", "Content-Type": "application/json"})
        request.data = None if body is None else json.dumps(body).encode()
        try:
            with HTTP.open(request, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refused(error.code, f"{request.get_method()} {path}: {error.code} {error.read().decode()}") from None

    def stage(self, sink: Sink) -> None:
        """One team with one webhook and one rule; the demo integration's alerts are the team's. The rule
        that mails the administrators is switched off, so that each incident makes one message."""
        for rule in self.call("notificationRules")["notificationRules"]:
            self.call(f"notificationRules/{rule['id']}:disable", {})
        team = self.call("teams", {"name": "bench", "displayName": "Bench"})["id"]
        person = self.call("people", {"kind": "HUMAN", "displayName": "Pager", "email": "pager@bench.example"})["id"]
        self.call("contactMethods", {"personId": person, "method": "WEBHOOK", "displayName": "pager",
                                     "address": f"http://{sink.address}/hook"})
        self.call("notificationRules", {"displayName": "tell the pager", "eventType": "incident.opened",
                                        "filter": f'assigned_team_id = "{team}"', "recipients": {"personIds": [person]}})
        demo = next(one for one in self.call("integrations")["integrations"] if one["name"] == "demo")
        change = {"teamId": team, "revision": demo["revision"]}
        wait_until(lambda: self._accepted(f"integrations/{demo['id']}?updateMask=teamId", change), 20,
                   "the team is known to alerts")
        self.team = team

    def _accepted(self, path: str, body: Dict) -> bool:
        try:
            self.call(path, body, "PATCH")
            return True
        except Refused as refused:
            # Not known yet, or changed meanwhile: asked again. Anything else is an error.
            if refused.code in (400, 404, 409):
                return False
            raise

    def caller(self) -> Dict:
        """Options by which itsm-bench calls a service's own socket with an inner token."""
        me = self.call("me")
        return {"keys": self.data / "keys", "person": me["personId"], "tenant": me["tenantId"], "slug": me["tenant"]}

    def socket(self, service: str) -> str:
        """The address of a service's own socket."""
        return f"unix:{self.data}/run/{service}.sock"

    def by_nats(self) -> Dict:
        """Where alerts go over NATS."""
        return {"url": (self.data / "nats.url").read_text().strip(), "credentials": self.data / "alerts.creds",
                "inbox": "_INBOX_demo", "subject": "alerts.default.demo", "item": HERE / "items" / "itsm.json"}

    def by_http(self) -> Dict:
        """Where alerts go over HTTP."""
        key = (self.data / "demo.key").read_text().strip()
        return {"url": f"{self.url}/intake/{key}/alerts", "item": HERE / "items" / "itsm.json"}

    def positions(self) -> Dict[str, int]:
        """The last position of each feed."""
        parts = [f"select '{name}', coalesce(max(position), 0) from {name}.feed" for name in SERVICES]
        return {name: int(value) for name, value in
                (line.split("|") for line in self.sql(" union all ".join(parts)))}

    def behind(self) -> str:
        """What is not yet done, in words; empty when all is quiet."""
        parts = [f"select '{name} outbox', count(*) from {name}.outbox" for name in SERVICES]
        parts += [f"select '{who} of {source}', (select coalesce(max(position), 0) from {source}.feed) - l.position "
                  f"from {who}.lease l where l.name = 'consumer:{source}'"
                  for who, sources in FOLLOWS.items() for source in sources]
        parts.append("select 'deliveries', count(*) from notification.deliveries where state = 'PENDING'")
        found = (line.split("|") for line in self.sql(" union all ".join(parts)))
        return ", ".join(f"{name}: {count}" for name, count in found if int(count) > 0)

    def settle(self, seconds: float = 120) -> float:
        """Waits until nothing is on its way any more; how long that took."""
        began = time.monotonic()
        wait_until(lambda: not self.behind(), seconds, f"{self.name} settles ({self.behind()})", every=0.25)
        return time.monotonic() - began

    def backends(self) -> Dict[str, float]:
        """Processor seconds of the database's processes so far, by what they are for."""
        names = dict(line.split("|", 1) for line in self.sql(
            "select pid, coalesce(nullif(application_name, ''), backend_type) from pg_stat_activity"))
        used: Dict[str, float] = {}
        for pid in machine.tree(self.postgres):
            name = names.get(str(pid), "other")
            used[name] = used.get(name, 0.0) + machine.own_cpu(pid)
        return used

    def statements(self) -> Dict[str, float]:
        """Counters of the database: transactions, rows, blocks; cumulative."""
        line = self.sql("select xact_commit, xact_rollback, tup_inserted, tup_updated, tup_deleted, tup_fetched "
                        "from pg_stat_database where datname = 'itsm'")[0]
        names = ("commits", "rollbacks", "inserted", "updated", "deleted", "fetched")
        wal = self.sql("select wal_records, wal_bytes, wal_sync, wal_write from pg_stat_wal")[0]
        return dict(zip(names + ("wal_records", "wal_bytes", "wal_syncs", "wal_writes"),
                        map(float, line.split("|") + wal.split("|"))))

    def memory_mb(self) -> float:
        """PSS of itsm and nats-server, without Postgres."""
        return machine.pss_mb(self.child.pid) + machine.pss_mb(self.nats)

    def stop(self) -> None:
        """Ends it in good order."""
        self.place.end(self.child)
        if self.child.returncode not in (0, -signal.SIGTERM):
            raise BenchError(f"itsm up ended with {self.child.returncode}: {self.log.read_text()[-1500:]}")

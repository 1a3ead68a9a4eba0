"""F34: somebody locks a table for a minute (shortened unless LONG=1).

Calls that need it are told UNAVAILABLE, soon; calls that do not need it go on; afterwards everything
heals by itself, no event was set aside because of it, and no connection is left in a transaction.
"""
from __future__ import annotations

import time
from typing import Any

from ..report import Report
from ..rest import Rest
from ..system import wait_until

number, title, selection = "F34", "a locked table", "normal"
LOCKS = ("incident.incidents", "sla.clocks", "notification.deliveries", "alert.alerts", "incident.outbox")
# As long as a statement may wait for a lock, or for a connection, and some more.
TOLD_WITHIN = 5.5


def open_transactions(system: Any, older_than: float = 2.0) -> int:
    """Connections of the product that sit in a transaction and do nothing."""
    return int(system.sql("select count(*) from pg_stat_activity where datname = 'itsm' and application_name <> 'faults' "
                          "and state like 'idle in transaction%%' and state_change < clock_timestamp() - make_interval(secs => %s)",
                          [older_than])[0][0])


def run(context: Any) -> Report:
    with context.stage() as stage:
        system, report = stage.system, stage.report
        seconds = 60.0 if context.long else 6.0
        stage.driver.start()
        stage.driver.wait_acknowledged(50)
        rest = Rest(system.gateway_port, system.key("default"), timeout=20.0)
        slowest, healed, kinds = 0.0, 0.0, set()
        for table in LOCKS:
            with stage.fault():
                with system.postgres.connect(autocommit=False) as admin:
                    admin.execute("set lock_timeout = '10s'")
                    admin.execute(f"lock table {table} in access exclusive mode")
                    end = time.monotonic() + seconds
                    while time.monotonic() < end:
                        if table == "incident.incidents":
                            answer = rest.request("GET", "/v1/incidents?pageSize=1")
                            slowest = max(slowest, answer.seconds)
                            kinds.add(answer.status)
                        else:
                            answer = rest.request("GET", "/v1/changes?pageSize=1")
                            if not answer.ok:
                                report.misses.append(f"with {table} locked, changes answered {answer.status} {answer.text[:200]}")
                                break
                            time.sleep(0.2)
                    admin.rollback()
                began = time.monotonic()
                wait_until("incidents answer again", lambda: rest.request("GET", "/v1/incidents?pageSize=1").ok, 20, 0.05)
                healed = max(healed, time.monotonic() - began)
            stage.driver.wait_acknowledged(10)
        rest.close()
        stage.ready(healed)
        report.require("slowest answer about a locked table", slowest, TOLD_WITHIN)
        report.require("until calls worked again", healed, 2.0)
        report.figures["answers about a locked table"] = sorted(kinds)
        wrong = kinds - {503, 504, 429}
        if wrong:
            report.misses.append(f"answers about a locked table were {sorted(wrong)}, UNAVAILABLE wanted")
        stage.drained()
        wait_until("no transaction is left open", lambda: not open_transactions(system), 15, 0.2)
        return stage.finish()

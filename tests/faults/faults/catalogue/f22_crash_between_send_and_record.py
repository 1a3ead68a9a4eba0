"""F22: notification dies after a message is out and before that is written down.

The receivers take messages and answer late; once some were taken, the process is killed. Each of
those may come once more, with the same id, and none may be missing. Without a crash nothing comes twice.
"""
from __future__ import annotations

from typing import Any

from .. import pages
from ..report import Report
from ..system import wait_until

number, title, selection = "F22", "crash between send and record", "normal"
KILLS, PAGES = 4, 6
# To one endpoint four at once, mails sixteen.
UNDER_WAY_AT_MOST = 4 + 16


def run(context: Any) -> Report:
    with context.stage(settings=pages.OPEN) as stage:
        pager, sinks, report = pages.Pager(stage), stage.sinks, stage.report
        hook = pager.tenant.hook
        calm = pager.open(10)
        pager.wait_told(calm, hook)
        pager.wait_told(calm, "mail")
        extra_before = sum(count - 1 for count in sinks.copies().values())
        report.require("extra copies without a crash", extra_before, 0, "")
        slowest = 0.0
        stage.notification_killed = True
        for kill in range(KILLS):
            seen = {end: len(sinks.received(end)) for end in (hook, "mail")}
            sinks.script(hook, "slow:3")
            sinks.script("mail", "ok" if kill % 2 else "slow:3")
            opened = pager.open(PAGES)
            with stage.fault():
                wait_until("a message is at an end, unanswered", lambda: len(sinks.received(hook)) > seen[hook], 20)
                stage.system.kill("notification")
                sinks.script(hook, "ok")
                sinks.script("mail", "ok")
                copies = sinks.copies()
                slowest = max(slowest, stage.system.restart("notification"))
            with pages.Hurrying(stage.system, ("send", "recover")):
                pager.wait_told(opened, hook, 30)
                pager.wait_told(opened, "mail", 30)
                method = list(pager.tenant.methods.values())
                wait_until("nothing is pending", lambda: not any(pages.deliveries(stage.system, one).get("PENDING") for one in method), 30)
            extra = sum(count - 1 for count in sinks.copies().values()) - sum(count - 1 for count in copies.values())
            report.require(f"extra copies after crash {kill + 1}", extra, UNDER_WAY_AT_MOST, "")
        more = [key for key, count in sinks.copies().items() if count > KILLS + 1]
        report.require("messages with more copies than crashes allow", len(more), 0, "")
        stage.ready(slowest)
        report.require("ready", slowest, 2.0)
        return stage.finish()

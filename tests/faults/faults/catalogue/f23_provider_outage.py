"""F23: mail and webhook ends are away for an hour, then back.

What was acknowledged or resolved meanwhile needs nobody's attention any more: its page is not sent.
The rest is. The hour is passed by moving what is due; LONG=1 waits for it.
"""
from __future__ import annotations

import time
from typing import Any

from .. import pages
from ..report import Report
from ..system import wait_until

number, title, selection = "F23", "an hour without mail and webhooks", "normal"
PAGES = 10
HOUR_SECONDS = 3600.0


def run(context: Any) -> Report:
    with context.stage(settings=pages.OPEN, response_seconds=7200, resolution_seconds=14400) as stage:
        pager, sinks, report = pages.Pager(stage), stage.sinks, stage.report
        hook, methods = pager.tenant.hook, list(pager.tenant.methods.values())
        with stage.fault():
            for end in (hook, "mail"):
                sinks.script(end, "refuse")
            waiting, seen, over = pager.open(PAGES), pager.open(PAGES), pager.open(PAGES)
            everything = [one.id for one in waiting + seen + over]
            wait_until("each was tried in vain", lambda: stage.system.sql(
                "select count(*) = %s from notification.deliveries where incident_id::text = any(%s) and attempt_count > 0",
                [2 * len(everything), everything])[0][0], 30)
            worker = pager.worker()
            for one in seen:
                pager.verb(worker, one, "acknowledge")
            for one in over:
                pager.verb(worker, one, "resolve", {"resolutionCode": "FIXED", "resolutionNotes": "done"})
            wait_until("what nobody needs is cancelled", lambda: stage.system.sql(
                "select count(*) = %s from notification.deliveries where incident_id::text = any(%s) and event_type = 'incident.opened' "
                "and state = 'CANCELLED'", [4 * PAGES, [one.id for one in seen + over]])[0][0], 20)
            if context.long:
                time.sleep(HOUR_SECONDS)
            else:
                # Two tries into the outage, so that the timetable is well under way.
                for tries in (2, 3):
                    pages.hurry(stage.system, ("send",))
                    wait_until(f"try {tries} in vain", lambda: stage.system.sql(
                        "select count(*) = 0 from notification.deliveries where state = 'PENDING' and attempt_count < %s", [tries])[0][0], 30)
            for end in (hook, "mail"):
                sinks.script(end, "ok")
        with pages.Hurrying(stage.system):
            wait_until("nothing is pending", lambda: not any(pages.deliveries(stage.system, one).get("PENDING") for one in methods), 60)
        stale = len(pager.told(seen + over, hook))
        # Of those that are over, a mail says that they are.
        stale += len(pager.told(seen, "mail"))
        report.require("stale pages sent", stale, 0, "")
        for end in (hook, "mail"):
            report.require(f"pages missing at {end}", PAGES - len(pager.told(waiting, end)), 0, "")
        return stage.finish()

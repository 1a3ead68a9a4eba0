"""F20: the mail server is away, says later, says no, hangs after DATA, or speaks a byte a second.

Ann is told by mail, Bob by webhook. Bob must hear as soon as ever, whatever the mail server does, and
so must Ann's neighbour when one mailbox alone misbehaves. What was put off comes when its time comes;
what was refused for good is tried once, and said to have failed.
"""
from __future__ import annotations

from typing import Any, List

from .. import pages
from ..report import Report
from ..system import wait_until

number, title, selection = "F20", "mail ends", "normal"
PAGES = 30
# By how much the healthy way may be slower: a tenth, and what a busy machine's scheduler takes.
RATIO, NOISE_SECONDS = 1.1, 0.1


def _healthy(pager: pages.Pager, count: int) -> "tuple[List[pages.Opened], List[float]]":
    opened = pager.open(count)
    return opened, pager.wait_told(opened, pager.tenant.hook)


def run(context: Any) -> Report:
    with context.stage(settings=pages.OPEN) as stage:
        pager, sinks, report = pages.Pager(stage), stage.sinks, stage.report
        mail_method = pager.tenant.methods["mail"]
        baseline: List[float] = []
        put_off: List[pages.Opened] = []
        slowest: dict[str, float] = {}
        refused_for_good = 0
        for behaviour in ("refuse", "4xx", "5xx", "trickle", "hang"):
            _, before = _healthy(pager, PAGES)
            baseline.append(pages.percentile(before, 0.99))
            wait_until("mails are out", lambda: not pages.deliveries(stage.system, mail_method).get("PENDING"), 60)
            failed_before = pages.deliveries(stage.system, mail_method).get("FAILED", 0)
            with stage.fault():
                sinks.script("mail", behaviour)
                opened, during = _healthy(pager, PAGES)
                # Every mail of these has met the fault: those that wait for room have not been tried.
                wait_until("the mails were tried", lambda: stage.system.sql(
                    "select count(*) >= %s from notification.deliveries d where d.contact_method_id = %s and d.attempt_count > 0 "
                    "and d.incident_id::text = any(%s)",
                    [1 if behaviour in ("hang", "trickle") else PAGES, mail_method, [one.id for one in opened]])[0][0], 30)
                slowest[behaviour] = pages.percentile(during, 0.99)
                if behaviour == "5xx":
                    wait_until("refused mails failed", lambda: pages.deliveries(stage.system, mail_method).get("FAILED", 0)
                               >= failed_before + PAGES, 20)
                    tries = stage.system.sql(
                        "select max(attempt_count) from notification.deliveries where contact_method_id = %s and state = 'FAILED'", [mail_method])
                    report.require("tries of what was refused for good", tries[0][0], 1, "")
                    refused_for_good += PAGES
                else:
                    put_off += opened
                sinks.script("mail", "ok")
            with pages.Hurrying(stage.system):
                wait_until(f"mails after {behaviour}", lambda: not pages.deliveries(stage.system, mail_method).get("PENDING"), 60)
        allowed = max(baseline) * RATIO + NOISE_SECONDS
        report.figures["webhook p99 with a good mail server"] = [round(value, 3) for value in baseline]
        for behaviour, seconds in slowest.items():
            report.require(f"webhook p99, mail {behaviour}", seconds, allowed)
        told = pager.told(put_off, "mail")
        report.require("mails put off and never sent", len(put_off) - len(told), 0, "")
        report.require("copies of one mail", max((len({one.id: one for one in copies}) for copies in told.values()), default=0), 1, "")
        _one_mailbox(stage, pager, allowed)
        return stage.finish(skip={"I7"} if refused_for_good else set())


def _one_mailbox(stage: Any, pager: pages.Pager, allowed: float) -> None:
    """The other tenant's mailbox hangs; this one's mails are as fast as ever."""
    other = pages.Pager(stage, "acme")
    good = pager.open(PAGES)
    usual = pages.percentile(pager.wait_told(good, "mail"), 0.99)
    with stage.fault():
        stage.sinks.script(f"mail:{other.tenant.mail_address}", "hang")
        other.open(8)
        opened = pager.open(PAGES)
        during = pages.percentile(pager.wait_told(opened, "mail"), 0.99)
        stage.sinks.script(f"mail:{other.tenant.mail_address}", "ok")
    stage.report.require("mail p99 beside a mailbox that hangs", during, max(usual * RATIO + NOISE_SECONDS, allowed))
    with pages.Hurrying(stage.system):
        wait_until("the hanging mailbox got its mails", lambda: not pages.deliveries(
            stage.system, other.tenant.methods["mail"]).get("PENDING"), 60)

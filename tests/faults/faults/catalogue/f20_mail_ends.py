"""F20: the mail server is away, or says later; one mailbox hangs after DATA, and one says no.

Ann is told by mail, Bob by webhook. Bob must hear as soon as ever, whatever the mail server does, and
so must Ann's neighbour when one mailbox alone misbehaves. What was put off comes when its time comes;
what was refused for good is tried once, and said to have failed. LONG=1 adds a server that hangs for all, and one that speaks a byte a
second.
"""
from __future__ import annotations

from typing import Any, Dict, List

from .. import pages
from ..report import Report
from ..system import wait_until

number, title, selection = "F20", "mail ends", "normal"
PAGES, RATE = 15, 10.0
# By how much the healthy way may be slower: a tenth, and what a busy machine's scheduler takes.
RATIO, NOISE_SECONDS = 1.1, 0.1
# The longest that the product gives one mail, and some more.
ONE_MAIL_SECONDS = 45


def _done(stage: Any, method: str) -> bool:
    return not pages.deliveries(stage.system, method).get("PENDING")


def run(context: Any) -> Report:
    with context.stage(settings=pages.OPEN) as stage:
        pager, sinks, report = pages.Pager(stage), stage.sinks, stage.report
        method = pager.tenant.methods["mail"]
        usual: List[float] = []
        slowest: Dict[str, float] = {}
        put_off: List[pages.Opened] = []
        for behaviour in ["refuse", "4xx"] + (["hang", "trickle"] if context.long else []):
            good = pager.open(PAGES, RATE)
            usual.append(pages.tail(pager.wait_told(good, pager.tenant.hook)))
            wait_until("mails are out", lambda: _done(stage, method), 60)
            with stage.fault():
                sinks.script("mail", behaviour)
                opened = pager.open(PAGES, RATE)
                slowest[behaviour] = pages.tail(pager.wait_told(opened, pager.tenant.hook))
                wait_until("a mail was tried in vain", lambda: stage.system.sql(
                    "select count(*) > 0 from notification.attempts a join notification.deliveries d on d.id = a.delivery_id "
                    "where d.contact_method_id = %s and d.incident_id::text = any(%s) and a.outcome = 'retry'",
                    [method, [one.id for one in opened]])[0][0], ONE_MAIL_SECONDS)
                put_off += opened
                sinks.script("mail", "ok")
                with pages.Hurrying(stage.system):
                    wait_until(f"mails after {behaviour}", lambda: _done(stage, method), 2 * ONE_MAIL_SECONDS)
        # Once more at the end: what the machine does beside this changes while it runs.
        good = pager.open(PAGES, RATE)
        usual.append(pages.tail(pager.wait_told(good, pager.tenant.hook)))
        allowed = max(usual) * RATIO + NOISE_SECONDS
        report.figures["webhook tail with a good mail server"] = [round(value, 3) for value in usual]
        for behaviour, seconds in slowest.items():
            report.require(f"webhook tail, mail {behaviour}", seconds, allowed)
        report.require("mails put off and never sent", len(put_off) - len(pager.told(put_off, "mail")), 0, "")
        _one_mailbox(stage, pager)
        return stage.finish()


def _one_mailbox(stage: Any, pager: pages.Pager) -> None:
    """One mailbox is refused for good and another hangs; the others' mails are as fast as ever."""
    report = stage.report
    gone = pages.Endpoint(stage, pager.tenant, "gone", "MAIL")
    other = pages.Pager(stage, "acme")
    stuck = f"mail:{other.tenant.mail_address}"
    good = pager.open(PAGES, RATE)
    usual = pages.tail(pager.wait_told(good, "mail"))
    with stage.fault():
        stage.sinks.script("mail:gone@default.example", "5xx")
        stage.sinks.script(stuck, "hang")
        other.open(8)
        opened = pager.open(PAGES, RATE)
        during = pages.tail(pager.wait_told(opened, "mail"))
        wait_until("refused mails failed", lambda: pages.deliveries(stage.system, gone.method_id).get("FAILED", 0) >= PAGES, 20)
        tries = stage.system.sql("select max(attempt_count) from notification.deliveries where contact_method_id = %s and state = 'FAILED'",
                                 [gone.method_id])
        report.require("tries of what was refused for good", tries[0][0], 1, "")
        stage.sinks.script(stuck, "ok")
        with pages.Hurrying(stage.system):
            wait_until("the stuck mailbox got its mails", lambda: _done(stage, other.tenant.methods["mail"]), 2 * ONE_MAIL_SECONDS)
    good = pager.open(PAGES, RATE)
    usual = max(usual, pages.tail(pager.wait_told(good, "mail")))
    report.require("mail tail beside a mailbox that hangs and one that refuses", during, usual * RATIO + NOISE_SECONDS)

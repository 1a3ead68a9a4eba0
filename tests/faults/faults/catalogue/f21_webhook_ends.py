"""F21: webhook receivers that are down, fail, ask for time, are gone, redirect, hang, or never end.

Nine people have one bad receiver each, and everybody is told of every incident. Bob, whose receiver
is good, and Ann by mail must hear as soon as ever. Each bad end gets what the timetable says: no more
than four connections, no redirect followed, no answer read without bound, nothing more after 410.
"""
from __future__ import annotations

from typing import Any, Dict, List

from .. import pages
from ..report import Report
from ..sinks import Received
from ..system import wait_until

number, title, selection = "F21", "webhook ends", "normal"
PAGES, RATE = 25, 4.0
RATIO, NOISE_SECONDS = 1.1, 0.1
BAD = {"bad-500": "500", "bad-429": "429:8", "bad-410": "410", "bad-redirect": "redirect", "bad-hang": "hang",
       "bad-endless": "endless", "bad-trickle": "trickle", "bad-refuse": "refuse", "bad-reset": "reset"}


def _by_id(copies: List[Received]) -> Dict[str, List[Received]]:
    found: Dict[str, List[Received]] = {}
    for one in copies:
        found.setdefault(one.id, []).append(one)
    return found


def _first_rest(stage: Any, name: str) -> float:
    """The shortest time between two tries of one message at an end."""
    rests = [after.at - before.at for copies in _by_id(stage.sinks.received(name)).values() for before, after in zip(copies, copies[1:])]
    return min(rests, default=0.0)


def run(context: Any) -> Report:
    with context.stage(settings=pages.OPEN) as stage:
        pager, sinks, report = pages.Pager(stage), stage.sinks, stage.report
        # Good while they are made known, so that both measurements have the same number of receivers.
        ends = {name: pages.Endpoint(stage, pager.tenant, name) for name in BAD}
        usual = []
        for _ in range(2):
            opened = pager.open(PAGES, RATE)
            usual.append(max(pages.tail(pager.wait_told(opened, end)) for end in (pager.tenant.hook, "mail")))
        for end in ends.values():
            pager.wait_told(opened, end.name, 30)
        stage.system.measure()
        memory = stage.system.highest_kb["notification"]
        with stage.fault():
            for name, behaviour in BAD.items():
                sinks.script(name, behaviour)
            hurt = pager.open(PAGES, RATE)
            beside = {end: pages.tail(pager.wait_told(hurt, end)) for end in (pager.tenant.hook, "mail")}
            _judge(stage, pager, ends, hurt)
            stage.system.measure()
            report.require("memory of notification grew by", (stage.system.highest_kb["notification"] - memory) / 1024, 32, "MB")
            for name in BAD:
                sinks.script(name, "ok")
        with pages.Hurrying(stage.system):
            for name in ("bad-500", "bad-429", "bad-hang", "bad-trickle", "bad-refuse", "bad-reset"):
                method = ends[name].method_id
                wait_until(f"{name} is done", lambda: not pages.deliveries(stage.system, method).get("PENDING"), 60)
                missing = len(hurt) - len(pager.told(hurt, name))
                report.require(f"never sent to {name} after it was good again", missing, 0, "")
        # Once more at the end: what the machine does beside this changes while it runs.
        opened = pager.open(PAGES, RATE)
        usual.append(max(pages.tail(pager.wait_told(opened, end)) for end in beside))
        for end, seconds in beside.items():
            report.require(f"tail at {end} beside bad ends", seconds, max(usual) * RATIO + NOISE_SECONDS)
        return stage.finish()


def _judge(stage: Any, pager: pages.Pager, ends: Dict[str, pages.Endpoint], hurt: List[pages.Opened]) -> None:
    report, sinks = stage.report, stage.sinks
    wait_until("410 disabled the receiver", lambda: stage.system.sql(
        "select state <> 'ACTIVE' from notification.contact_methods where id = %s", [ends["bad-410"].method_id])[0][0], 20)
    gone = [one for one in sinks.received("bad-410") if one.behaviour == "410"]
    report.require("sends to 410, of those that were under way", len(gone), 4 + 1, "")
    wait_until("redirects failed", lambda: pages.deliveries(stage.system, ends["bad-redirect"].method_id).get("FAILED", 0) >= len(hurt), 30)
    followed = [one for name in BAD for one in sinks.received(name) if one.to != f"/{name}"]
    report.require("redirects followed", len(followed), 0, "")
    wait_until("endless bodies count as taken", lambda: pages.deliveries(stage.system, ends["bad-endless"].method_id).get("DELIVERED", 0)
               >= len(hurt) + 1, 60)
    report.require("copies of one message at the endless end",
                   max(len(copies) for copies in _by_id(sinks.received("bad-endless")).values()), 1, "")
    wait_until("500 was tried again", lambda: _first_rest(stage, "bad-500"), 20)
    wait_until("429 was tried again", lambda: _first_rest(stage, "bad-429"), 30)
    for name, least in (("bad-500", 5.0), ("bad-429", 8.0)):
        rest = _first_rest(stage, name)
        report.figures[f"first rest of {name}, s"] = round(rest, 2)
        if rest < least - 0.05:
            report.misses.append(f"{name} was tried again after {rest:.2f} s, not before {least:g} s wanted")
    for name in BAD:
        report.require(f"connections to {name} at once", sinks.most_connections(name), 4, "")
    unsigned = [one for one in sinks.received() if one.signature_ok is False]
    report.require("copies whose signature does not verify", len(unsigned), 0, "")

"""F18: events arrive shuffled, within a thousand or 50 ms, and repeated; three instances follow."""
from __future__ import annotations

from typing import Any

from ..chaos import CLEAN, Line, Mode
from ..report import Report

number, title, selection = "F18", "events out of order", "normal"
SPEAKERS = ("alert", "incident", "sla")
FOLLOWERS = ("incident", "sla", "notification")


def run(context: Any) -> Report:
    with context.stage() as stage:
        line = Line(stage.system.nats.port, context.seed)
        for service in SPEAKERS:
            stage.system.stop(service)
            stage.system.restart(service, env=line.environment(stage.system))
        for service in FOLLOWERS:
            for replica in (2, 3):
                stage.system.launch(service, replica, env=line.environment(stage.system))
                stage.system.wait_ready(service, replica)
        stage.driver.start()
        stage.driver.wait_acknowledged(50)
        with stage.fault():
            line.mode = Mode(shuffle=1000)
            stage.driver.wait_acknowledged(1000 if context.long else 150)
            line.mode = Mode(shuffle=1000, repeat=3)
            stage.driver.wait_acknowledged(1000 if context.long else 150)
            line.mode = CLEAN
        stage.driver.wait_acknowledged(30)
        stage.drained()
        stage.report.figures["events moved on the line"] = line.moved
        if line.moved < 200:
            stage.report.misses.append(f"only {line.moved} events were out of order: this shows nothing")
        report = stage.finish()
        line.close()
        return report

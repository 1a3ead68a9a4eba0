"""F00: nothing is broken. What the checker says then is a fault of the checker, or of the product."""

from __future__ import annotations

from ..context import Context
from ..report import Report

number, title, selection = "F00", "nothing broken", "ci"


def run(context: Context) -> Report:
    """Load, and the end."""
    with context.stage() as stage:
        stage.driver.start()
        stage.driver.wait_acknowledged(250)
        stage.drained()
        return stage.finish()

"""Faults planted in the product on purpose, to show that the harness would find them.

Each mutant has a short scenario that makes it hurt, and the invariants that may catch it. Each scenario
also runs without a mutant: a control in which the same invariants must hold.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from typing import Any, Callable

from .catalogue import f01_kill_one as f01
from .catalogue import f30_two_of_each as f30
from .context import Context, Stage
from .report import Report, Violation
from .system import SERVICES, wait_until

QUIET_WITHIN = 200.0
STALLED_AFTER = 30.0
# No clock comes to its end and nobody is told, so that a debug build keeps up with the load.
CALM = {"response_seconds": 900, "resolution_seconds": 1800, "rate": 14.0, "told": False}
TOLD = {**CALM, "told": True}
CUT_SENDS_END_WITHIN = 75.0


@dataclasses.dataclass
class Scenario:
    """A short run that some mutants do not survive."""

    name: str
    play: Callable[[Stage], None]
    stage: dict[str, Any] = dataclasses.field(default_factory=dict)
    quiet_within: float = QUIET_WITHIN


@dataclasses.dataclass
class Mutant:
    """A planted fault, where it shows, and what must say so: invariants, or one of their kinds ("I7 doubled")."""

    name: str
    scenario: Scenario
    caught_by: tuple[str, ...]


def _load(stage: Stage) -> None:
    """Nothing but load, dense."""
    stage.driver.start()
    stage.driver.wait_acknowledged(150)


def _kill_writers(stage: Stage) -> None:
    """The services that answer commands, killed under dense load."""
    stage.driver.start()
    dice = random.Random(stage.context.seed)
    for _ in range(10):
        stage.driver.wait_acknowledged(dice.randrange(6, 20))
        with stage.fault():
            name = dice.choice(["incident", "incident", "incident", "change"])
            stage.system.kill(name)
            stage.system.restart(name)


def _points(*plan: tuple[str, str]) -> Callable[[Stage], None]:
    def play(stage: Stage) -> None:
        stage.driver.start()
        stage.driver.wait_acknowledged(30)
        for count, (point, name) in enumerate(plan):
            f01.hit(stage, name, f"{point}:{2 + count % 3}")
            stage.driver.wait_acknowledged(15)

    return play


def _gaps(stage: Stage) -> None:
    """Consumers that were away, while events go on: what comes next is not the next."""
    stage.driver.start()
    dice = random.Random(stage.context.seed)
    for _ in range(4):
        stage.driver.wait_acknowledged(15)
        with stage.fault():
            name = dice.choice(["sla", "incident", "sla"])
            stage.system.kill(name)
            # Not a number of operations: without incident there may be none.
            stage.driver.give_up.wait(1.5)
            stage.system.restart(name)
        stage.driver.wait_acknowledged(20)
    with stage.fault():
        stage.system.nats.kill()
        stage.driver.give_up.wait(2.0)
        stage.system.nats.start()
    stage.driver.wait_acknowledged(40)


def _repeats(stage: Stage) -> None:
    """Every event of some services is said again, as a server or a person with rights could."""
    stage.driver.start()
    for _ in range(2):
        stage.driver.wait_acknowledged(60)
        with stage.fault():
            asyncio.run(_say_again(stage))
    stage.driver.wait_acknowledged(20)


async def _say_again(stage: Stage) -> None:
    client = await stage.system.nats_admin()
    try:
        jetstream = client.jetstream(timeout=10)
        for service in ("alert", "incident", "sla"):
            subscription = await jetstream.subscribe("", stream=service.upper(), ordered_consumer=True)
            messages = []
            while True:
                message = await subscription.next_msg(timeout=5)
                messages.append(message)
                if message.metadata.num_pending == 0:
                    break
            await subscription.unsubscribe()
            for message in messages:
                await client.publish(message.subject, message.data, headers=message.headers)
            await client.flush()
    finally:
        await client.close()


def _pair_of_notification(stage: Stage) -> None:
    """Two that send. First attempts fail for a moment, so that both wait for the same instants to try again."""
    for service in ("notification", "sla"):
        stage.system.launch(service, 2)
        stage.system.wait_ready(service, 2)
    hooks = [tenant.hook for tenant in stage.world.tenants.values()]
    for hook in hooks:
        stage.sinks.script(hook, "500")
    stage.driver.start()
    wait_until("twenty messages were refused", lambda: len(stage.sinks.received()) >= 20, 60)
    # Before the first is tried again, after five seconds: a second refusal would mean five minutes.
    for hook in hooks:
        stage.sinks.script(hook, "slow:0.4")
    stage.driver.wait_acknowledged(60)


def _sleepers(stage: Stage) -> None:
    """Two of some services; the holder of their leases sleeps and wakes."""
    f30.pair(stage, ["incident", "sla", "alert"])
    stage.driver.start()
    stage.driver.wait_acknowledged(30)
    for name in ("incident", "sla", "alert"):
        f30.sleeper(stage, name)
        stage.driver.wait_acknowledged(15)


LOAD = Scenario("dense load", _load, {**CALM, "rate": 20.0, "workers": 12})
WRITERS = Scenario("kills of those who answer", _kill_writers, {**CALM, "rate": 20.0, "workers": 12})
COMMANDS = Scenario("deaths inside commands", _points(*[("command.before_commit", "incident"), ("command.before_commit", "change")] * 2),
                    CALM)
RELAYS = Scenario("deaths of relays", _points(*[("relay.after_take", name) for name in ("incident", "sla", "alert")]), CALM)
CONSUMERS = Scenario("deaths of consumers", _points(*[("consumer.before_commit", name) for name in ("sla", "incident", "sla")]), CALM)
SENDS = Scenario("deaths after a send", _points(*[("delivery.after_send", "notification")] * 2), TOLD)
GAPS = Scenario("consumers that missed something", _gaps, CALM)
REPEATS = Scenario("events said again", _repeats, CALM)
SENDERS = Scenario("two that send", _pair_of_notification, TOLD)
SLEEPERS = Scenario("holders that sleep", _sleepers, CALM)

MUTANTS = [
    Mutant("feed_by_last_seq", LOAD, ("I3",)),
    Mutant("request_id_ignored", LOAD, ("I2",)),
    Mutant("intake_by_msg_id", LOAD, ("I1",)),
    Mutant("acknowledge_before_commit", WRITERS, ("I1",)),
    Mutant("journal_outside_transaction", COMMANDS, ("I9", "I5", "I1", "I2")),
    Mutant("relay_marks_before_publish", RELAYS, ("I3",)),
    Mutant("gap_ignored", GAPS, ("I10", "I4", "I1")),
    Mutant("position_in_own_transaction", CONSUMERS, ("I4", "I10", "I1")),
    Mutant("no_position_check", REPEATS, ("I4", "I2", "lease", "I10")),
    Mutant("timer_without_compare", SENDERS, ("I7 doubled",)),
    Mutant("stale_lease_acts", SLEEPERS, ("epoch", "I3", "lease")),
    Mutant("send_before_attempt", SENDS, ("I7 doubled",)),
]


def play(context: Context, scenario: Scenario, mutant: str) -> Report:
    """One scenario with a mutant, or without."""
    context.options.mutant = mutant
    context.number, context.title = mutant or "control", scenario.name
    with context.stage(**scenario.stage) as stage:
        if scenario is SENDS or scenario is WRITERS:
            # Only where it is killed may a copy more arrive.
            stage.notification_killed = scenario is SENDS
        try:
            scenario.play(stage)
        except Exception as error:  # A mutant may well break the run itself; the invariants must still say why.
            stage.report.misses.append(f"the scenario did not end: {error}")
        stalled = CUT_SENDS_END_WITHIN if scenario is SENDS else STALLED_AFTER
        return stage.finish(quiet_within=scenario.quiet_within, stalled_after=stalled)


def _names(violation: Violation) -> set[str]:
    return {violation.invariant, f"{violation.invariant} {violation.kind}"}


def run(context: Context, only: set[str], controls: bool = True) -> int:
    """All of them; 0 when each was caught by an invariant that its control kept."""
    chosen = [mutant for mutant in MUTANTS if not only or mutant.name.upper() in only]
    lines: list[tuple[str, str, str, str]] = []
    failed = False
    for scenario in {id(mutant.scenario): mutant.scenario for mutant in chosen}.values():
        here = [mutant for mutant in chosen if mutant.scenario is scenario]
        control = play(context, scenario, "") if controls else Report("control", scenario.name)
        broken = {name for violation in control.violations for name in _names(violation)}
        relevant = sorted(broken & {name for mutant in here for name in mutant.caught_by})
        example = next((str(violation) for violation in control.violations if _names(violation) & set(relevant)), "; ".join(control.misses[:1]))
        lines.append(("no mutant", scenario.name, "not run" if not controls else "held" if not relevant else f"BROKE {', '.join(relevant)}", example))
        context.log(f"{scenario.name}: {lines[-1][2]}; besides: {', '.join(sorted(broken - set(relevant))) or 'nothing'}; {example[:200]}")
        for mutant in here:
            report = play(context, scenario, mutant.name)
            wanted = set(mutant.caught_by) - broken
            found = [violation for violation in report.violations if _names(violation) & wanted]
            by = sorted({name for violation in found for name in _names(violation) & wanted})
            verdict = f"caught by {', '.join(by)}" if by else "NOT CAUGHT"
            # A control that breaks is a fault of its own; what is not caught, or only by what breaks anyway, too.
            failed = failed or not by or bool(relevant)
            lines.append((mutant.name, scenario.name, verdict, str(found[0]) if found else "; ".join(report.misses[:1])))
            context.log(f"{verdict}: {lines[-1][3][:250]}")
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    print()
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)) + "  " + line[3][:150])
    caught = sum(line[2].startswith("caught") for line in lines)
    print(f"\n{caught} of {len(chosen)} mutants caught" + ("; FAILED" if failed else ""))
    return 1 if failed else 0


__all__ = ["run", "SERVICES"]

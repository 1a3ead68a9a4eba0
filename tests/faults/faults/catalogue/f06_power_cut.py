"""F06: the power goes, under NATS and under Postgres, with the settings as shipped.

Both stores lie on a loop device each, whose file system is shut down without flushing its journal
(`powercut.py`): what was not fsynced is gone, which `kill -9` alone cannot show. Then the server and
every service are killed, the device is mounted again as after a cut, and all start anew. What was
acknowledged, alerts included, must be there. Needs root.
"""
from __future__ import annotations

import shutil
import subprocess
from typing import Any

from .. import powercut
from ..report import Report
from ..system import PROCESSES

number, title, selection, needs_root = "F06", "power cut under NATS and Postgres", "normal", True
MEGABYTES = {"nats": 768, "postgres": 1536}


def _move_nats(stage: Any, volume: powercut.Volume) -> None:
    """Puts JetStream's folder on the volume; the server must be down."""
    nats = stage.system.nats
    old = nats.folder / "js"
    subprocess.run(["cp", "-a", str(old), str(volume.mount / "js")], check=True)
    text = nats.configuration.read_text()
    if f'store_dir: "{old}"' not in text or "sync_interval: always" not in text:
        raise RuntimeError(f"{nats.configuration} is not as expected: no store_dir {old}, or not sync_interval: always")
    nats.configuration.write_text(text.replace(f'store_dir: "{old}"', f'store_dir: "{volume.mount}/js"'))


def _move_postgres(stage: Any, volume: powercut.Volume) -> None:
    """Puts the database on the volume; the server must be down."""
    postgres = stage.system.postgres
    subprocess.run(["cp", "-a", str(postgres.data), str(volume.mount / "data")], check=True)
    shutil.move(str(postgres.data), str(postgres.data) + ".moved")
    postgres.data = volume.mount / "data"
    subprocess.run(["sync", "-f", str(volume.mount)], check=True)


def _restart_everything(stage: Any) -> float:
    for name in PROCESSES:
        stage.system.kill(name)
    for name in PROCESSES:
        stage.system.launch(name)
    return max(stage.system.wait_ready(name) for name in PROCESSES)


def _durable(stage: Any) -> None:
    """The settings that a power cut is about, as the servers have them."""
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        value = stage.system.sql(f"show {name}")[0][0]
        if value != "on":
            stage.report.misses.append(f"Postgres runs with {name} = {value}")


def run(context: Any) -> Report:
    reason = powercut.why_not()
    if reason:
        report = Report(context.number, context.title)
        report.error = f"the power cannot be cut here: {reason}"
        return report
    volumes = []
    try:
        with context.stage() as stage:
            system, report = stage.system, stage.report
            stage.notification_killed = True
            # Nothing may run while its store is moved.
            for name in PROCESSES:
                system.stop(name)
            system.nats.stop()
            system.postgres.stop("fast")
            for name, move in (("nats", _move_nats), ("postgres", _move_postgres)):
                volume = powercut.Volume(stage.folder / f"{name}.image", stage.folder / f"{name}-disk", MEGABYTES[name])
                volumes.append(volume)
                move(stage, volume)
            nats_disk, postgres_disk = volumes
            system.postgres.start()
            system.nats.start()
            for name in PROCESSES:
                system.launch(name)
            for name in PROCESSES:
                system.wait_ready(name)
            _durable(stage)
            stage.driver.start()
            for _ in range(context.rounds(1)):
                stage.driver.wait_acknowledged(60)
                with stage.fault():
                    nats_disk.cut()
                    system.nats.kill()
                    nats_disk.detach()
                    nats_disk.attach()
                    system.nats.start()
                stage.driver.wait_acknowledged(60)
                with stage.fault():
                    postgres_disk.cut()
                    powercut.end_with_children(system.postgres.process)
                    postgres_disk.detach(30)
                    postgres_disk.attach()
                    system.postgres.start()
                    stage.ready(_restart_everything(stage))
                stage.driver.wait_acknowledged(40)
                with stage.fault():
                    # Both at once, and every service with them: the machine's plug.
                    for disk in volumes:
                        disk.cut()
                    system.nats.kill()
                    powercut.end_with_children(system.postgres.process)
                    for name in PROCESSES:
                        system.kill(name)
                    for disk in volumes:
                        disk.detach(30)
                        disk.attach()
                    system.postgres.start()
                    system.nats.start()
                    for name in PROCESSES:
                        system.launch(name)
                    stage.ready(max(system.wait_ready(name) for name in PROCESSES))
                stage.driver.wait_acknowledged(40)
            stage.drained(60)
            # Event streams are copies, kept with `persist_mode: async`: what the cut took of them comes again.
            stage.streams_lost = True
            return stage.finish()
    finally:
        for volume in volumes:
            try:
                volume.detach()
            except OSError as error:
                context.log(f"{volume.mount} stays mounted: {error}")

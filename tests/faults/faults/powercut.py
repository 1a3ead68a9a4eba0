"""A disk whose power can be cut: ext4 on a loop device that is shut down without flushing its journal.

What was not fsynced is then gone, as when the plug is pulled; `kill -9` alone cannot show that,
since the page cache survives it. Needs root. It does not model torn sectors or disks that lie.
"""
from __future__ import annotations

import fcntl
import os
import pathlib
import signal
import struct
import subprocess
import tempfile
import time
from typing import Any, Optional

FS_IOC_SHUTDOWN = 0x8004587D
WITHOUT_LOG_FLUSH = 2


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")


class Volume:
    """A file with a file system in it, mounted."""

    def __init__(self, image: pathlib.Path, mount: pathlib.Path, megabytes: int) -> None:
        self.image, self.mount, self._mounted = image, mount, False
        mount.mkdir(parents=True, exist_ok=True)
        with image.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, megabytes * 1024 * 1024)
        _do("mkfs.ext4", "-q", "-F", str(image))
        self.attach()
        os.chmod(mount, 0o755)

    def attach(self) -> None:
        """Mounts it, which replays the file system's journal as after a power cut."""
        if not self._mounted:
            _do("mount", "-o", "loop", str(self.image), str(self.mount))
            self._mounted = True

    def cut(self) -> None:
        """The power is gone: from here on every write fails, and what is not on disk is lost."""
        folder = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, FS_IOC_SHUTDOWN, struct.pack("I", WITHOUT_LOG_FLUSH))
        finally:
            os.close(folder)

    def detach(self, within: float = 10.0) -> None:
        """Unmounts it; whoever had files open must have been ended."""
        end = time.monotonic() + within
        while self._mounted:
            try:
                _do("umount", str(self.mount))
                self._mounted = False
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def close(self) -> None:
        """Unmounts it and removes the file."""
        self.detach()
        self.image.unlink(missing_ok=True)


def end_with_children(process: Any) -> None:
    """Ends a server and the processes it made: Postgres' backends go on for a moment without their parent, and would
    keep the file system busy. Stopped first, so that it makes no more."""
    process.send(signal.SIGSTOP)
    children = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]) == process.pid:
                children.append(int(folder.name))
        except (OSError, ValueError, IndexError):
            continue
    for child in children:
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.end()


def why_not() -> Optional[str]:
    """Why the power cannot be cut on this machine; nothing when it can."""
    if os.geteuid() != 0:
        return "needs root, to mount a loop device and shut its file system down"
    folder = pathlib.Path(tempfile.mkdtemp(prefix="itsm-power-"))
    volume = None
    try:
        volume = Volume(folder / "image", folder / "mount", 16)
        (volume.mount / "kept").write_text("x")
        with (volume.mount / "kept").open("r+") as file:
            os.fsync(file.fileno())
        (volume.mount / "lost").write_text("x")
        volume.cut()
        volume.detach()
        volume.attach()
        kept, lost = (volume.mount / "kept").exists(), not (volume.mount / "lost").exists()
        if not (kept and lost):
            return f"a cut loses the wrong things here (fsynced kept: {kept}, unsynced lost: {lost})"
        return None
    except OSError as error:
        return f"no loop device with a file system that can be shut down: {error}"
    finally:
        if volume is not None:
            try:
                volume.close()
            except OSError:
                pass
        subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=False)


if __name__ == "__main__":
    print(why_not() or "the power can be cut here")

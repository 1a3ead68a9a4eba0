"""A bad line between a service and NATS: events on it are repeated, reordered, or dropped, by a seed.

It stands between one process and the nats-server as a TCP proxy that understands what clients write.
Everything passes as it came, except events (`HPUB itsm.<tenant>.<service>.<what>`): with those it
does what its mode says. So consumers meet real events in a bad order, which nobody could make by
publishing them again later, when they are known already.

    line = Line(nats_port, seed=1)
    system.restart("incident", env=line.environment(system))
    line.mode = Mode(repeat=5, shuffle=1000, drop=0.1)
"""
from __future__ import annotations

import dataclasses
import random
import socket
import threading
import time
from typing import Any, Dict, List, Optional

LONGEST_WAIT_SECONDS = 0.05


@dataclasses.dataclass(frozen=True)
class Mode:
    """What happens to events."""

    repeat: int = 1  # each is sent 1 to so many times
    shuffle: int = 1  # within so many, or those of 50 ms
    drop: float = 0.0  # share that never arrives
    drop_subject: bytes = b""  # only those whose subject holds this


CLEAN = Mode()


def is_event(subject: bytes) -> bool:
    """`itsm.<tenant>.<service>.<what>`, not a heartbeat or a wake-up, whose second token begins with `_`."""
    tokens = subject.split(b".")
    return len(tokens) == 4 and tokens[0] == b"itsm" and not tokens[1].startswith(b"_")


class Line:
    """The proxy. It serves until it is closed."""

    def __init__(self, nats_port: int, seed: int) -> None:
        self._target = ("127.0.0.1", nats_port)
        self._dice = random.Random(f"line/{seed}")
        self.mode = CLEAN
        self.passed = self.repeated = self.dropped = self.moved = 0
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"nats://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name="line", daemon=True).start()

    def environment(self, system: Any) -> Dict[str, str]:
        """What a process needs to come by this line, with the credentials that it has by the straight way."""
        return {"NATS_URL": self.url, "ITSM_NATS__CREDENTIALS_FOLDER": str(system.data / "nats/creds")}

    def close(self) -> None:
        """No new connections; those that are open end with their ends."""
        self._closed = True
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._copy, args=(server, client), daemon=True).start()
            threading.Thread(target=self._guard, args=(client, server), daemon=True).start()

    @staticmethod
    def _end(one: socket.socket, other: socket.socket) -> None:
        for sock in (one, other):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                sink.sendall(data)
        except OSError:
            pass
        self._end(source, sink)

    def _guard(self, client: socket.socket, server: socket.socket) -> None:
        try:
            self._from_client(client, server)
        except OSError:
            pass
        self._end(client, server)

    def _from_client(self, client: socket.socket, server: socket.socket) -> None:
        buffer, held = b"", []  # type: bytes, List[bytes]
        since: Optional[float] = None
        while True:
            client.settimeout(LONGEST_WAIT_SECONDS if held else None)
            try:
                data = client.recv(65536)
                if not data:
                    return
                buffer += data
            except socket.timeout:
                pass
            out: List[bytes] = []
            while True:
                frame, buffer = self._frame(buffer)
                if frame is None:
                    break
                subject = frame.split(b" ", 2)[1] if frame.startswith(b"HPUB ") else b""
                if self.mode == CLEAN or not is_event(subject):
                    out.append(frame)
                    continue
                copies = self._copies(subject)
                held.extend([frame] * copies)
                since = since or time.monotonic()
            if out:
                server.sendall(b"".join(out))
            full = len(held) >= max(self.mode.shuffle, 1)
            if held and (full or self.mode.shuffle <= 1 or time.monotonic() - (since or 0) >= LONGEST_WAIT_SECONDS):
                if self.mode.shuffle > 1:
                    before = list(held)
                    self._dice.shuffle(held)
                    self.moved += sum(one is not other for one, other in zip(before, held))
                server.sendall(b"".join(held))
                held, since = [], None

    def _copies(self, subject: bytes) -> int:
        mode = self.mode
        if mode.drop and mode.drop_subject in subject and self._dice.random() < mode.drop:
            self.dropped += 1
            return 0
        copies = self._dice.randint(1, mode.repeat)
        self.passed += 1
        self.repeated += copies - 1
        return copies

    @staticmethod
    def _frame(buffer: bytes) -> "tuple[Optional[bytes], bytes]":
        """The next whole frame of a client, and the rest."""
        line, found, _ = buffer.partition(b"\r\n")
        if not found:
            return None, buffer
        words = line.split()
        length = len(line) + 2
        if words and words[0].upper() in (b"PUB", b"HPUB"):
            length += int(words[-1]) + 2
            if len(buffer) < length:
                return None, buffer
        return buffer[:length], buffer[length:]

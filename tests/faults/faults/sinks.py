"""The far ends of the system: a mail server and webhook receivers on loopback that misbehave as told.

They run in a thread of their own and remember every copy that reaches them, so that the checker can
count copies by id and a fault can say how long one was on its way. Nothing here knows the product:
SMTP, HTTP and Standard Webhooks are spoken from their specifications.

    sinks = start()
    sinks.mail_url                      smtp://127.0.0.1:PORT, for notification.smtp_url
    sinks.webhook_url("pager")          http://127.0.0.1:PORT/pager; each name has a port of its own
    sinks.secret("pager", "whsec_..")   so that signatures are checked
    sinks.script("pager", "500")        how it behaves from now on; "mail" is the mail server,
                                        "mail:ann@example.com" one recipient of it
    sinks.received()                    every copy, in order of arrival

Behaviours. Webhook: ok, 500 (any status by number), 429:SECONDS (with Retry-After), redirect, hang,
endless (a body without end), trickle (a byte a second), slow:SECONDS, refuse, reset.
Mail: ok, 4xx, 5xx, hang (after DATA), slow:SECONDS (before each answer), trickle, refuse.
A list is one behaviour a message, of which the last stays.
"""
from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
import email
import email.policy
import hashlib
import hmac
import json
import pathlib
import threading
import time
from typing import Dict, List, Optional, Sequence, TextIO, Tuple, Union

LOOPBACK = "127.0.0.1"
LONGEST_BODY = 4 * 1024 * 1024
# How long a misbehaving end holds a connection that nobody closes.
HOLD_SECONDS = 600.0
Behaviour = Union[str, Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Received:
    """One copy of one message, as it came."""

    end: str  # "mail", or the webhook's name
    id: str  # Message-ID without brackets and domain, or webhook-id
    at: float  # seconds since 1970, when it was there whole
    to: str  # the recipient, or the path
    body: str
    subject: str
    behaviour: str  # how the end answered
    accepted: bool  # whether it told the sender that it has it
    signature_ok: Optional[bool]  # None for mail, and where no secret is known
    headers: Dict[str, str]


class Scripts:
    """What each end shall do next."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: Dict[str, List[str]] = {}

    def put(self, end: str, behaviour: Behaviour) -> None:
        steps = [behaviour] if isinstance(behaviour, str) else list(behaviour)
        with self._lock:
            self._next[end] = steps or ["ok"]

    def look(self, end: str) -> str:
        with self._lock:
            return self._next.get(end, ["ok"])[0]

    def take(self, end: str) -> str:
        with self._lock:
            steps = self._next.get(end, ["ok"])
            return steps.pop(0) if len(steps) > 1 else steps[0]


def argument(behaviour: str, default: float) -> float:
    """The number behind the colon."""
    _, _, number = behaviour.partition(":")
    return float(number) if number else default


def signature_fits(secret: str, headers: Dict[str, str], body: bytes) -> bool:
    """Whether one of the signatures is the secret's, by Standard Webhooks."""
    try:
        key = base64.b64decode(secret[len("whsec_"):] if secret.startswith("whsec_") else secret)
    except (binascii.Error, ValueError):
        return False
    signed = f"{headers.get('webhook-id', '')}.{headers.get('webhook-timestamp', '')}.".encode() + body
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    given = [part[3:] for part in headers.get("webhook-signature", "").split() if part.startswith("v1,")]
    return any(hmac.compare_digest(wanted, one) for one in given)


class End:
    """One listening port: a webhook or the mail server. Refusing means that nobody listens."""

    def __init__(self, sinks: "Sinks", name: str) -> None:
        self.sinks, self.name = sinks, name
        self.port = 0
        self.open_now = 0
        self.open_most = 0
        self._server: Optional[asyncio.AbstractServer] = None
        self._tasks: "set[asyncio.Task[None]]" = set()

    async def listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, LOOPBACK, self.port, limit=LONGEST_BODY, backlog=512, reuse_address=True)
            self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stops listening, and breaks what is open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        try:
            await self.serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ValueError):
            pass  # The sender went away, or this end was told to.
        finally:
            self.open_now -= 1
            self._tasks.discard(task)
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class Hook(End):
    """A webhook receiver: just enough HTTP/1.1 to misbehave in every way."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            line = (await reader.readline()).decode("latin-1").split()
            if len(line) != 3:
                return
            headers: Dict[str, str] = {}
            while True:
                text = (await reader.readline()).decode("latin-1").strip()
                if not text:
                    break
                key, _, value = text.partition(":")
                headers[key.strip().lower()] = value.strip()
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            if not await self._answer(writer, line[1], headers, body):
                return

    async def _answer(self, writer: asyncio.StreamWriter, path: str, headers: Dict[str, str], body: bytes) -> bool:
        """Answers as the script says; false when the connection must not be used again."""
        behaviour = "ok" if path != f"/{self.name}" else self.sinks.scripts.take(self.name)
        kind = behaviour.partition(":")[0]
        secret = self.sinks.secrets.get(self.name)
        accepted = kind in ("ok", "slow", "endless") or (kind.isdigit() and 200 <= int(kind) < 300)
        self.sinks.remember(Received(
            end=self.name, id=headers.get("webhook-id", ""), at=time.time(), to=path,
            body=body.decode("utf-8", "replace"), subject="", behaviour=behaviour, accepted=accepted,
            signature_ok=None if secret is None else signature_fits(secret, headers, body), headers=headers))
        if kind == "hang":
            await asyncio.sleep(HOLD_SECONDS)
            return False
        if kind == "reset":
            return False
        if kind == "slow":
            await asyncio.sleep(argument(behaviour, 1.0))
        if kind in ("endless", "trickle"):
            await self._never_done(writer, kind)
            return False
        status, more = ("204 No Content", "") if kind in ("ok", "slow") else (f"{kind} As Told", "")
        if kind == "429":
            more = f"Retry-After: {int(argument(behaviour, 7))}\r\n"
        if kind == "redirect":
            status, more = "302 Found", f"Location: http://{LOOPBACK}:{self.port}/elsewhere\r\n"
        length = "" if status.startswith("204") else "Content-Length: 0\r\n"
        writer.write(f"HTTP/1.1 {status}\r\n{more}{length}\r\n".encode())
        await writer.drain()
        return True

    @staticmethod
    async def _never_done(writer: asyncio.StreamWriter, kind: str) -> None:
        if kind == "endless":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
            end = time.monotonic() + HOLD_SECONDS
            while time.monotonic() < end:
                writer.write(b"x" * 65536)
                await writer.drain()
                await asyncio.sleep(0.01)
            return
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(1.0)


class MailServer(End):
    """A mail server: just enough SMTP to misbehave in every way."""

    # Recipients that were refused, whose message was never seen.
    refused = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behaviour = self.sinks.scripts.look("mail")
        await self._say(writer, behaviour, "220 sink ready")
        to: List[str] = []
        while True:
            line = (await reader.readline()).decode("utf-8", "replace").strip()
            if not line:
                return
            verb = line[:4].upper()
            behaviour = self.sinks.scripts.look("mail")
            if verb == "QUIT":
                await self._say(writer, behaviour, "221 bye")
                return
            if verb in ("EHLO", "HELO"):
                await self._say(writer, behaviour, "250-sink\r\n250-8BITMIME\r\n250 SMTPUTF8")
            elif verb in ("MAIL", "RSET"):
                to = []
                await self._say(writer, behaviour, "250 fine")
            elif verb == "RCPT":
                address = line.partition("<")[2].partition(">")[0]
                one = self.sinks.scripts.take(f"mail:{address}")
                to.append(address)
                if one in ("4xx", "5xx"):
                    self.refused += 1
                await self._say(writer, behaviour, {"4xx": "450 later", "5xx": "550 nobody here"}.get(one, "250 fine"))
            elif verb == "DATA":
                await self._say(writer, behaviour, "354 go on")
                text = await self._text(reader)
                await self._take(writer, self.sinks.scripts.take("mail"), text, to)
            else:
                await self._say(writer, behaviour, "250 fine")

    @staticmethod
    async def _text(reader: asyncio.StreamReader) -> bytes:
        lines = []
        while True:
            line = await reader.readline()
            if line in (b".\r\n", b""):
                return b"".join(lines)
            lines.append(line[1:] if line.startswith(b"..") else line)

    async def _take(self, writer: asyncio.StreamWriter, behaviour: str, text: bytes, to: List[str]) -> None:
        hang = behaviour == "hang" or any(self.sinks.scripts.look(f"mail:{one}") == "hang" for one in to)
        accepted = not hang and behaviour not in ("4xx", "5xx")
        self._note(text, to, "hang" if hang else behaviour, accepted)
        if hang:
            await asyncio.sleep(HOLD_SECONDS)
        await self._say(writer, behaviour, {"4xx": "451 later", "5xx": "554 refused"}.get(behaviour, "250 taken"))

    def _note(self, text: bytes, to: List[str], behaviour: str, accepted: bool) -> None:
        mail = email.message_from_bytes(text, policy=email.policy.default)
        message_id = str(mail.get("Message-ID", "")).strip().strip("<>").partition("@")[0]
        body = mail.get_content() if text and not mail.is_multipart() else ""
        headers = {key.lower(): str(value) for key, value in mail.items()}
        for one in to:
            self.sinks.remember(Received(
                end="mail", id=message_id, at=time.time(), to=one, body=str(body), subject=str(mail.get("Subject", "")),
                behaviour=behaviour, accepted=accepted, signature_ok=None, headers=headers))

    @staticmethod
    async def _say(writer: asyncio.StreamWriter, behaviour: str, text: str) -> None:
        if behaviour.startswith("slow"):
            await asyncio.sleep(argument(behaviour, 1.0))
        if behaviour == "trickle":
            for byte in (text + "\r\n").encode():
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(1.0)
            return
        writer.write((text + "\r\n").encode())
        await writer.drain()


class Sinks:
    """All ends, in a thread of their own."""

    def __init__(self, log: Optional[pathlib.Path] = None) -> None:
        self.scripts = Scripts()
        self.secrets: Dict[str, str] = {}
        self._received: List[Received] = []
        self._lock = threading.Lock()
        self._log: Optional[TextIO] = log.open("a", encoding="utf-8") if log else None
        self._ends: Dict[str, End] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sinks", daemon=True)
        self._thread.start()
        self._end("mail")

    def _run(self, work):  # type: ignore[no-untyped-def]
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    def _end(self, name: str) -> End:
        if name not in self._ends:
            end = MailServer(self, name) if name == "mail" else Hook(self, name)
            self._run(end.listen())
            self._ends[name] = end
        return self._ends[name]

    @property
    def mail_url(self) -> str:
        """For notification.smtp_url."""
        return f"smtp://{LOOPBACK}:{self._end('mail').port}"

    def webhook_url(self, name: str) -> str:
        """The address of a webhook receiver, which listens from now on."""
        return f"http://{LOOPBACK}:{self._end(name).port}/{name}"

    def secret(self, name: str, secret: str) -> None:
        """The signing secret that the product gave this webhook."""
        self.secrets[name] = secret

    def script(self, name: str, behaviour: Behaviour) -> None:
        """How an end behaves from now on."""
        end = self._end("mail" if name.startswith("mail") else name)
        self.scripts.put(name, behaviour)
        refuses = ":" not in name and self.scripts.look(name) == "refuse"
        self._run(end.close() if refuses else end.listen())

    def received(self, end: Optional[str] = None) -> List[Received]:
        """Every copy that came, of one end or all."""
        with self._lock:
            return [one for one in self._received if end is None or one.end == end]

    def most_connections(self, name: str) -> int:
        """How many connections were open to an end at once, at most."""
        return self._end(name).open_most

    def refused_recipients(self) -> int:
        """How often the mail server said no before it saw a message."""
        end = self._end("mail")
        return end.refused if isinstance(end, MailServer) else 0

    def remember(self, one: Received) -> None:
        """Called by the ends."""
        with self._lock:
            self._received.append(one)
            if self._log:
                self._log.write(json.dumps(dataclasses.asdict(one)) + "\n")
                self._log.flush()

    def copies(self) -> Dict[Tuple[str, str], int]:
        """How many copies each accepted message has, by end and id."""
        count: Dict[Tuple[str, str], int] = {}
        for one in self.received():
            if one.accepted:
                count[(one.end, one.id)] = count.get((one.end, one.id), 0) + 1
        return count

    def stop(self) -> None:
        """Closes every end."""
        for end in self._ends.values():
            self._run(end.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        if not self._thread.is_alive():
            self._loop.close()
        if self._log:
            self._log.close()


def start(log: Optional[pathlib.Path] = None) -> Sinks:
    """Opens the mail server; webhook receivers open when they are first named."""
    return Sinks(log)

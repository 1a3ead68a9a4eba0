"""Tests of the harness' own tools: a tool that misses what it is for would make every fault pass.

    PYTHONPATH=tests/faults python3 -m unittest faults.tools_test
"""
from __future__ import annotations

import email.message
import os
import smtplib
import socket
import threading
import unittest
import urllib.error
import urllib.request
from typing import Optional

from . import chaos, openloop, powercut, sinks

# The example of the Standard Webhooks specification.
SECRET, IDENTITY, STAMP = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330"
BODY, SIGNATURE = b'{"test": 2432232314}', "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


class Ends(unittest.TestCase):
    """The mail server and the webhook receivers."""

    def setUp(self) -> None:
        self.sinks = sinks.start()
        self.addCleanup(self.sinks.stop)

    def mail(self, to: str = "ann@example.com") -> None:
        message = email.message.EmailMessage()
        message["Message-ID"], message["Subject"], message["From"], message["To"] = "<one@x>", "hej då", "a@b.example", to
        message.set_content("text\n.a line with a dot\n")
        client = smtplib.SMTP("127.0.0.1", int(self.sinks.mail_url.rsplit(":", 1)[1]), timeout=2)
        try:
            client.send_message(message)
        finally:
            client.close()

    def post(self, signature: str = SIGNATURE, body: bytes = BODY) -> int:
        headers = {"webhook-id": IDENTITY, "webhook-timestamp": STAMP, "webhook-signature": signature}
        request = urllib.request.Request(self.sinks.webhook_url("pager"), body, headers)
        try:
            with urllib.request.urlopen(request, timeout=2) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    def test_a_mail_is_kept_as_it_came(self) -> None:
        self.mail()
        (one,) = self.sinks.received("mail")
        self.assertEqual((one.id, one.to, one.subject, one.accepted), ("one", "ann@example.com", "hej då", True))
        self.assertIn("\n.a line with a dot", one.body.replace("\r", ""))

    def test_mails_are_refused_as_told(self) -> None:
        for behaviour, wanted in (("4xx", smtplib.SMTPDataError), ("5xx", smtplib.SMTPDataError), ("refuse", ConnectionRefusedError),
                                  ("hang", smtplib.SMTPServerDisconnected)):
            self.sinks.script("mail", behaviour)
            with self.subTest(behaviour), self.assertRaises(wanted):
                self.mail()
        self.sinks.script("mail", "ok")
        self.sinks.script("mail:bob@example.com", "5xx")
        with self.assertRaises(smtplib.SMTPRecipientsRefused):
            self.mail("bob@example.com")
        self.mail()
        self.assertEqual(sum(self.sinks.copies().values()), 1)
        self.assertEqual(self.sinks.refused_recipients(), 1)

    def test_a_signature_is_checked(self) -> None:
        self.sinks.secret("pager", SECRET)
        self.post()
        self.post(signature="v1,AAAA")
        self.post(body=b'{"test": 1}')
        self.assertEqual([one.signature_ok for one in self.sinks.received("pager")], [True, False, False])

    def test_webhooks_answer_as_told(self) -> None:
        for behaviour, wanted in (("ok", 204), ("500", 500), ("429:9", 429), ("410", 410)):
            self.sinks.script("pager", behaviour)
            self.assertEqual(self.post(), wanted)
        self.sinks.script("pager", ["500", "ok"])
        self.assertEqual([self.post(), self.post(), self.post()], [500, 204, 204])
        for behaviour in ("hang", "reset", "refuse"):
            self.sinks.script("pager", behaviour)
            with self.subTest(behaviour), self.assertRaises(OSError):
                self.post()
        self.sinks.script("pager", "redirect")
        self.assertEqual(self.post(), 204, "urllib follows")
        self.assertEqual(self.sinks.received("pager")[-1].to, "/elsewhere")


class BadLine(unittest.TestCase):
    """The proxy to NATS."""

    def through(self, mode: chaos.Mode, sent: bytes) -> bytes:
        """What arrives at the other end."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        line = chaos.Line(listener.getsockname()[1], 1)
        self.addCleanup(line.close)
        line.mode = mode
        arrived: "list[bytes]" = []

        def serve() -> None:
            connection, _ = listener.accept()
            connection.settimeout(1.0)
            try:
                while True:
                    data = connection.recv(65536)
                    if not data:
                        break
                    arrived.append(data)
            except socket.timeout:
                pass
            connection.close()

        server = threading.Thread(target=serve)
        server.start()
        with socket.create_connection(("127.0.0.1", int(line.url.rsplit(":", 1)[1]))) as client:
            # In pieces, as a network has it.
            for start in range(0, len(sent), 7):
                client.sendall(sent[start:start + 7])
            server.join(5)
        return b"".join(arrived)

    @staticmethod
    def event(number: int, subject: bytes = b"itsm.acme.incident.opened") -> bytes:
        body = b"NATS/1.0\r\nItsm-Position: %d\r\n\r\nbody\r\n%d" % (number, number)
        return b"HPUB %s %d %d\r\n%s\r\n" % (subject, len(body) - 7, len(body), body)

    def test_clean_it_changes_nothing(self) -> None:
        sent = b"CONNECT {}\r\nPING\r\n" + self.event(1) + b"PUB itsm._feed.incident 3\r\nabc\r\n" + self.event(2)
        self.assertEqual(self.through(chaos.CLEAN, sent), sent)

    def test_only_events_are_touched(self) -> None:
        beat = self.event(7, b"itsm._feed.incident")
        arrived = self.through(chaos.Mode(drop=1.0), b"PING\r\n" + self.event(1) + beat)
        self.assertEqual(arrived, b"PING\r\n" + beat)

    def test_events_are_repeated_and_shuffled_whole(self) -> None:
        events = [self.event(number) for number in range(50)]
        arrived = self.through(chaos.Mode(shuffle=1000), b"".join(events))
        self.assertNotEqual(arrived, b"".join(events))
        self.assertEqual(sorted(arrived.split(b"HPUB ")), sorted(b"".join(events).split(b"HPUB ")))
        repeated = self.through(chaos.Mode(repeat=5), b"".join(events))
        self.assertGreater(repeated.count(b"HPUB "), 60)


class OpenLoop(unittest.TestCase):
    """The load generator."""

    def serve(self, answer: bytes, delay: Optional[threading.Event] = None) -> str:
        """A server that gives every request the same answer."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.addCleanup(listener.close)

        def talk(connection: socket.socket) -> None:
            with connection:
                while connection.recv(65536):
                    if delay is not None:
                        delay.wait(30)
                    connection.sendall(answer)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    def test_it_sends_at_its_rate_and_counts(self) -> None:
        url = self.serve(b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"id":"a-1"}')
        result = openloop.run(url, 2.0, [openloop.Stream("s", "incident", "key", 100.0, 200)])["s"]
        self.assertEqual(result.sent + result.unsent, 200)
        self.assertEqual((result.good, result.failed, set(result.acknowledged.values())), (result.sent, 0, {"a-1"}))

    def test_it_does_not_wait_for_answers(self) -> None:
        hold = threading.Event()
        url = self.serve(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", hold)
        threading.Timer(7.0, hold.set).start()
        result = openloop.run(url, 2.0, [openloop.Stream("s", "incident", "key", 50.0, 500)])["s"]
        self.assertEqual(result.sent, 100)
        self.assertGreater(openloop.percentile(result.good_seconds, 0.5), 1.0, "counted from when it was due")

    def test_a_refusal_without_a_time_is_seen(self) -> None:
        for more, without in ((b"", True), (b"Retry-After: 1\r\n", False)):
            url = self.serve(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n" + more + b"\r\n")
            result = openloop.run(url, 0.5, [openloop.Stream("s", "incident", "key", 50.0, 50)])["s"]
            self.assertEqual(result.shed, result.sent)
            self.assertEqual(result.refused_without_time > 0, without)

    def test_other_failures_are_not_refusals(self) -> None:
        url = self.serve(b"HTTP/1.1 504 Late\r\nContent-Length: 0\r\n\r\n")
        result = openloop.run(url, 0.5, [openloop.Stream("s", "incident", "key", 50.0, 50)])["s"]
        self.assertEqual((result.shed, result.failed), (0, result.sent))


class PowerCut(unittest.TestCase):
    """The disk."""

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_a_cut_keeps_what_was_synced_and_nothing_else(self) -> None:
        self.assertIsNone(powercut.why_not())


if __name__ == "__main__":
    unittest.main()

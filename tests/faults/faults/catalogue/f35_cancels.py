"""F35: callers hang up at random microseconds: gRPC calls cancelled (RST_STREAM), and HTTP connections reset.

A caller who hangs up must not cut a transaction in half: none is left open, no connection goes back to
a pool inside one, and a call asked again with the same request id takes effect once. 100,000 with LONG=1.
"""
from __future__ import annotations

import random
import socket
import struct
import threading
import time
from typing import Any, List

import grpc

from .. import contract, openloop
from ..ledger import Operation
from ..report import Report
from ..system import wait_until
from .f34_table_locked import open_transactions

number, title, selection = "F35", "callers that hang up", "normal"
HANDS = 4


class Hand:
    """One caller that hangs up."""

    def __init__(self, stage: Any, place: int, count: int) -> None:
        self.stage, self.place, self.count = stage, place, count
        self.dice = random.Random(f"{stage.context.seed}/cancel/{place}")
        self.tenant = list(stage.world.tenants.values())[place % 2]
        self.cancelled = self.finished = 0
        self.wrong: List[str] = []
        self.usual = 0.01
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        path, ask, answer = contract.method("incident", "CreateIncident")
        list_path, list_ask, list_answer = contract.method("incident", "ListIncidents")
        channel = grpc.insecure_channel(f"127.0.0.1:{self.stage.system.gateway_port}",
                                        options=[("grpc.use_local_subchannel_pool", 1)])
        create = channel.unary_unary(path, request_serializer=ask.SerializeToString, response_deserializer=answer.FromString)
        lists = channel.unary_unary(list_path, request_serializer=list_ask.SerializeToString, response_deserializer=list_answer.FromString)
        metadata = (("authorization", f"Bearer {self.tenant.administrator_key}"),)
        for number_of in range(self.count):
            # So many callers at once as can be served: this is not about overload.
            time.sleep(self.dice.uniform(0, 0.03))
            kind = self.dice.random()
            if kind < 0.45:
                operation = self._operation(number_of)
                message = ask(request_id=operation.id)
                message.incident.title = operation.key
                self._cancel(create.future(message, timeout=5, metadata=metadata), operation)
            elif kind < 0.9:
                self._cancel(lists.future(list_ask(page_size=50), timeout=5, metadata=metadata), None)
            else:
                self._reset(self._operation(number_of))
        channel.close()

    def _operation(self, number_of: int) -> Operation:
        key = f"{self.tenant.slug}-{8000 + self.place}-{number_of}"
        operation = Operation(f"cancel/{key}", "incident.create", self.tenant.slug, "grpc", key, tries=1)
        # Not acknowledged: it may be there, once at most, and must be whole if it is.
        self.stage.ledger.operations[operation.id] = operation
        return operation

    def _cancel(self, call: Any, operation: Any) -> None:
        """Hangs up at a random moment of the time that such calls take."""
        began = time.monotonic()
        answered: List[float] = []
        call.add_done_callback(lambda _: answered.append(time.monotonic()))
        time.sleep(self.dice.uniform(0, self.usual * 1.5))
        call.cancel()
        try:
            found = call.result()
        except grpc.FutureCancelledError:
            self.cancelled += 1
            return
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
                self.wrong.append(f"{error.code().name} {error.details()}")
            return
        self.finished += 1
        if answered:
            self.usual = 0.95 * self.usual + 0.05 * (answered[0] - began)
        if operation is not None:
            operation.acked_at, operation.answer = time.time(), contract.to_json(found)

    def _reset(self, operation: Operation) -> None:
        """A POST whose connection is reset."""
        stream = openloop.Stream("reset", "incident", self.tenant.administrator_key, None, 1, operation.key.rpartition("-")[0])
        _, data = openloop.request(stream, "127.0.0.1", int(operation.key.rpartition("-")[2]))
        with socket.create_connection(("127.0.0.1", self.stage.system.gateway_port), timeout=5) as connection:
            connection.sendall(data[:self.dice.randint(1, len(data))] if self.dice.random() < 0.3 else data)
            time.sleep(self.dice.uniform(0, self.usual * 1.5))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.cancelled += 1


def run(context: Any) -> Report:
    with context.stage(rate=10.0) as stage:
        report = stage.report
        count = context.rounds(100_000 if context.long else 1_500)
        stage.driver.start()
        stage.driver.wait_acknowledged(20)
        with stage.fault():
            hands = [Hand(stage, place, count // HANDS) for place in range(HANDS)]
            for hand in hands:
                hand.thread.join(3600)
        report.injections = sum(hand.cancelled for hand in hands)
        report.figures["calls cut off"] = report.injections
        report.figures["calls that were answered before"] = sum(hand.finished for hand in hands)
        wrong = [text for hand in hands for text in hand.wrong]
        report.require("INTERNAL or UNKNOWN answers", len(wrong), 0, "")
        report.misses += sorted(set(wrong))[:5]
        if report.injections < count / 3:
            report.misses.append(f"only {report.injections} of {count} calls were cut off: this shows little")
        stage.driver.wait_acknowledged(30)
        stage.drained()
        wait_until("cut calls are over", lambda: not open_transactions(stage.system, 0.5) or None, 5, 0.2)
        report.require("transactions left open", open_transactions(stage.system, 1.0), 0, "")
        return stage.finish()

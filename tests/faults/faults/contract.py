"""The published contract (`proto/buf-image.binpb`), read at run time: messages made and read by their
descriptors, with none of the product's code."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

IMAGE = pathlib.Path(__file__).resolve().parents[3] / "proto/buf-image.binpb"
EVENTS = {"incident": "IncidentEvent", "alert": "AlertEvent", "sla": "SlaEvent", "change": "ChangeEvent",
          "notification": "NotificationEvent", "directory": "DirectoryEvent", "catalog": "CatalogEvent"}


@functools.lru_cache(maxsize=1)
def _pool() -> descriptor_pool.DescriptorPool:
    files = descriptor_pb2.FileDescriptorSet.FromString(IMAGE.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    waiting = {file.name: file for file in files.file}
    added: set[str] = set()

    def add(name: str) -> None:
        if name in added:
            return
        added.add(name)
        for needed in waiting[name].dependency:
            add(needed)
        pool.Add(waiting[name]) if hasattr(pool, "Add") else pool.AddSerializedFile(waiting[name].SerializeToString())

    for name in waiting:
        add(name)
    return pool


@functools.lru_cache(maxsize=None)
def message(name: str) -> Any:
    """The class of a message by its full name."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))


@functools.lru_cache(maxsize=None)
def method(service: str, name: str) -> tuple[str, Any, Any]:
    """Path, request class and answer class of an RPC: `method("incident", "CreateIncident")`."""
    full = f"itsm.{service}.v1.{service.capitalize()}Service"
    found = _pool().FindServiceByName(full).FindMethodByName(name)
    return f"/{full}/{name}", message(found.input_type.full_name), message(found.output_type.full_name)


def to_json(value: Any) -> dict[str, Any]:
    """A message as the REST form has it, but for the names of enumeration values."""
    return json_format.MessageToDict(value)


def event(service: str, body: bytes) -> Any:
    """An event's message from its bytes."""
    return message(f"itsm.{service}.v1.{EVENTS[service]}").FromString(body)

"""What schemathesis must not do to itself, and what it cannot know.

It uses the ids of what it was answered, so that sooner or later it revokes the key that it came with,
or ends the person whose key it is. And in ProtoJSON a field that is null is a field that is not
given: the document says what to send, and null is taken beside it.
"""
from __future__ import annotations

import os
import uuid
from typing import Any

import schemathesis

OWN = set(os.environ["ITSM_OPENAPI_OWN_IDS"].split(","))


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Puts another id where one of our own would end the run."""
    if case.method.upper() == "GET":
        return
    for name, value in (case.path_parameters or {}).items():
        if str(value).lower() in OWN:
            case.path_parameters[name] = str(uuid.uuid5(uuid.NAMESPACE_URL, str(value)))


def has_null(value: Any) -> bool:
    """Whether null stands anywhere in a body."""
    if isinstance(value, dict):
        return any(has_null(each) for each in value.values())
    if isinstance(value, list):
        return any(has_null(each) for each in value)
    return value is None


@schemathesis.hook
def filter_case(_context: Any, case: Any) -> bool:
    """Leaves out what is allowed beside the document."""
    return not has_null(case.body)

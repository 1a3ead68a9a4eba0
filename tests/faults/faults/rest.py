"""REST over one kept connection: the standard library's client, with deadlines and plain outcomes."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import Any


@dataclass
class Answer:
    """What came back. Status 0 means that nothing did, and `text` says why."""

    status: int
    text: str
    seconds: float
    headers: dict[str, str]

    @property
    def ok(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """The body as an object; empty when it is none."""
        try:
            value = json.loads(self.text)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


class Rest:
    """One client for one thread."""

    def __init__(self, port: int, key: str = "", timeout: float = 5.0) -> None:
        self._port, self._key, self._timeout = port, key, timeout
        self._connection: http.client.HTTPConnection | None = None

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """One try."""
        began = time.monotonic()
        made = {"content-type": "application/json", **(headers or {})}
        if self._key:
            made["authorization"] = f"Bearer {self._key}"
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._timeout)
            self._connection.request(method, path, body=data, headers=made)
            response = self._connection.getresponse()
            text = response.read().decode("utf-8", "replace")
            found = {key.lower(): value for key, value in response.getheaders()}
            if response.will_close:
                self.close()
            return Answer(response.status, text, time.monotonic() - began, found)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Answer(0, f"{type(error).__name__}: {error}", time.monotonic() - began, {})

    def close(self) -> None:
        """Closes the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def must(self, method: str, path: str, body: Any = None, within: float = 20.0) -> dict[str, Any]:
        """For setting up: tries again while the system is not there, and fails for every other no."""
        deadline = time.monotonic() + within
        while True:
            answer = self.request(method, path, body)
            if answer.ok:
                return answer.json()
            if (answer.status not in (0, 502, 503, 504) and answer.status < 500) or time.monotonic() > deadline:
                raise RuntimeError(f"{method} {path}: {answer.status} {answer.text[:500]}")
            time.sleep(0.1)

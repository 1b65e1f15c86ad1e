"""Answers, or silence, that a test puts in the place of an endpoint's own."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Union

from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response

from .endpoints import ENDPOINTS, known_endpoint


class ConnectionDropped(Exception):
    """The connection is to be closed without an answer."""


class CannedAnswer:
    """The same answer every time."""

    def __init__(self, status: int, headers: Mapping[str, str], body: object) -> None:
        self._status = status
        self._headers = Headers(dict(headers))
        self._body, media_type = _encoded(body)
        self._headers.setdefault("Content-Type", media_type)

    def respond(self) -> Response | None:
        """The answer."""
        response = Response(self._body, self._status)
        # Only now, so that a wrong length that a test asks for is sent.
        response.headers.update(self._headers)
        return response


def _encoded(body: object) -> tuple[bytes, str]:
    if body is None:
        return b"", "text/plain"
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    return json.dumps(body).encode(), "application/json"


class Drop:
    """No answer: the connection is closed."""

    def respond(self) -> Response | None:
        """Raises :class:`ConnectionDropped`."""
        raise ConnectionDropped


class Hang:
    """No answer until released; then the endpoint's own."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def respond(self) -> Response | None:
        """``None``, once released."""
        self.released.wait()
        return None


Failure = Union[CannedAnswer, Drop, Hang]


def failure_of(failure: int | str, headers: Mapping[str, str] | None, body: object) -> Failure:
    """The failure that a test asked for, by a status or by its name.

    Raises:
        ValueError: ``failure`` is neither a status from 200 to 599 nor ``"drop"`` or ``"hang"``.
    """
    if isinstance(failure, int) and 200 <= failure <= 599:
        return CannedAnswer(failure, headers or {}, body)
    if failure == "drop":
        return Drop()
    if failure == "hang":
        return Hang()
    raise ValueError(f"failure must be a status, 'drop' or 'hang', not {failure!r}")


@dataclass
class _Pending:
    failure: Failure
    times: int | None

    def use_up(self) -> bool:
        if self.times is None:
            return False
        self.times -= 1
        return self.times == 0


class Failures:
    """The failures to come, a queue for each endpoint; usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, deque[_Pending]] = {name: deque() for name in ENDPOINTS}
        self._hangs: dict[str, list[Hang]] = {name: [] for name in ENDPOINTS}

    def add(self, endpoint: str, failure: Failure, times: int | None) -> None:
        """Appends a failure for so many requests; ``None``: for all of them.

        Raises:
            ValueError: ``endpoint`` is unknown, or ``times`` less than 1.
        """
        known_endpoint(endpoint)
        if times is not None and times < 1:
            raise ValueError(f"times must be 1 or more, or None, not {times!r}")
        with self._lock:
            self._queues[endpoint].append(_Pending(failure, times))
            if isinstance(failure, Hang):
                self._hangs[endpoint].append(failure)

    def take(self, endpoint: str) -> Failure | None:
        """What befalls the request that has just arrived; ``None``: nothing."""
        with self._lock:
            queue = self._queues[endpoint]
            if not queue:
                return None
            pending = queue[0]
            if pending.use_up():
                queue.popleft()
            return pending.failure

    def recover(self, endpoint: str | None = None) -> None:
        """Forgets the failures of one endpoint, or of all, and releases what hangs.

        Raises:
            ValueError: ``endpoint`` is unknown.
        """
        for name in ENDPOINTS if endpoint is None else (known_endpoint(endpoint),):
            self._recover_one(name)

    def _recover_one(self, endpoint: str) -> None:
        with self._lock:
            self._queues[endpoint].clear()
            hangs, self._hangs[endpoint] = self._hangs[endpoint], []
        for hang in hangs:
            hang.released.set()

"""What the simulator was asked."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from itertools import count


@dataclass(frozen=True)
class SimulatedRequest:
    """One request as it arrived, and the status that it was answered with.

    Attributes:
        method: as sent, for example ``"POST"``.
        path: without the query.
        query: the text after the question mark, or an empty string.
        headers: by lower-case name; values of a repeated header are joined with a comma.
        body: the whole body, with any chunked encoding removed.
        at: the simulator's clock when the request had arrived, in seconds.
        status: the status of the answer; ``None`` while there is none, and for ever if the
            connection was dropped.
    """

    method: str
    path: str
    query: str
    # Headers and bodies carry secrets, which a failing assertion would otherwise print.
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    at: float
    status: int | None = None


class RequestLog:
    """The requests in order of arrival."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = count()
        self._entries: dict[int, SimulatedRequest] = {}

    def arrived(self, request: SimulatedRequest) -> int:
        """Adds a request; returns the number by which :meth:`answered` knows it."""
        with self._lock:
            number = next(self._numbers)
            self._entries[number] = request
            return number

    def answered(self, number: int, status: int) -> None:
        """Notes the status of an answer, unless the request was forgotten meanwhile."""
        with self._lock:
            request = self._entries.get(number)
            if request is not None:
                self._entries[number] = replace(request, status=status)

    def snapshot(self) -> list[SimulatedRequest]:
        """The requests so far; later ones, and later answers, do not show in the list."""
        with self._lock:
            return list(self._entries.values())

    def clear(self) -> None:
        """Forgets every request."""
        with self._lock:
            self._entries.clear()

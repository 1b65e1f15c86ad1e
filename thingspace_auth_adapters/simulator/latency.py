"""How long each endpoint takes to answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, MutableMapping

from .endpoints import ENDPOINTS, known_endpoint


class Latency(MutableMapping[str, float]):
    """Seconds before an answer, by endpoint name; 0 if nothing was set.

    Every endpoint is always there: deleting one sets it back to 0, and ``popitem`` takes one that
    is not 0. An unknown endpoint, or a time that is negative or not finite, is a ``ValueError``.
    """

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self._seconds: dict[str, float] = dict.fromkeys(ENDPOINTS, 0.0)
        self.update(seconds)

    def __getitem__(self, endpoint: str) -> float:
        return self._seconds[endpoint]

    def __setitem__(self, endpoint: str, seconds: float) -> None:
        known_endpoint(endpoint)
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"latency must be 0 seconds or more, not {seconds!r}")
        self._seconds[endpoint] = seconds

    def __delitem__(self, endpoint: str) -> None:
        self[endpoint] = 0.0

    def popitem(self) -> tuple[str, float]:
        """Set an endpoint back to 0; returns its name and what it was.

        Raises:
            KeyError: all are 0.
        """
        for endpoint, seconds in self.items():
            if seconds:
                del self[endpoint]
                return endpoint, seconds
        raise KeyError("no endpoint has a latency")

    def __iter__(self) -> Iterator[str]:
        return iter(self._seconds)

    def __len__(self) -> int:
        return len(self._seconds)

    def __repr__(self) -> str:
        return repr(self._seconds)

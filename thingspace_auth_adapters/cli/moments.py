"""Moments and durations, for people."""

from __future__ import annotations

import time

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
_NEVER_SECONDS = 50 * 365 * 86400.0
_END_OF_TIME = 4e9
"""In 2096: what no calendar need show."""


def is_near(timestamp: float) -> bool:
    """Whether a time is one that people reckon with."""
    return timestamp - time.time() < _NEVER_SECONDS


def moment(timestamp: float) -> str:
    """A time, in the time zone of all messages, and how far it is away."""
    # A store's content is sealed, but a clock may have been anywhere.
    utc = time.gmtime(min(max(timestamp, 0.0), _END_OF_TIME))
    seconds = timestamp - time.time()
    distance = f"in {_duration(seconds)}" if seconds > 0 else f"{_duration(-seconds)} ago"
    return f"{time.strftime('%Y-%m-%d %H:%M:%S UTC', utc)} ({distance})"


def _duration(seconds: float) -> str:
    size, name = next((unit for unit in _UNITS if seconds >= unit[0]), _UNITS[-1])
    return f"{seconds / size:.0f} {name}"

"""A token as the lifecycle keeps it, and the one answer to "may I use this now?"."""

from __future__ import annotations

import copy
import math
from enum import Enum
from typing import Any, Generic, TypeVar

T = TypeVar("T")

REFRESH_PAUSE_SECONDS = 10.0
"""The pause after a failed refresh of a token that is stale but not expired."""

SUSPICION_PAUSE_SECONDS = 60.0
"""How long a token is not suspected again after that."""


class Status(Enum):
    """Whether a token can be used."""

    FRESH = "fresh"
    STALE = "stale"
    """Usable, and due for a refresh."""
    EXPIRED = "expired"
    MISSING = "missing"


class CachedToken(Generic[T]):
    """A token and its times, all on the wall clock. Two with the same header value are the same.

    Args:
        value: the token as users know it.
        header: the header value that carries it.
        stale_at: unix timestamp from which on it is due for a refresh; at most ``expires_at``.
        expires_at: unix timestamp from which on it must not be used.
        idle_timeout: if given, seconds without use after which it expires.
        touch_at: unix timestamp from which on its store is to be told of its use.
        trusted_until: unix timestamp until which it is not taken to be dead on a mere suspicion.
    """

    __slots__ = (
        "expires_at",
        "header",
        "idle_timeout",
        "stale_at",
        "touch_at",
        "trusted_until",
        "value",
    )

    def __init__(
        self,
        value: T,
        header: str,
        stale_at: float = math.inf,
        expires_at: float = math.inf,
        idle_timeout: float | None = None,
        touch_at: float = math.inf,
        trusted_until: float = -math.inf,
    ) -> None:
        self.value = value
        self.header = header
        self.stale_at = stale_at
        self.expires_at = expires_at
        self.idle_timeout = idle_timeout
        self.touch_at = touch_at
        self.trusted_until = trusted_until

    def use(self, now: float) -> None:
        """Note that it is used at unix time ``now``, if it expires without use."""
        if self.idle_timeout is not None:
            self.expires_at = now + self.idle_timeout
            self.stale_at = min(self.touch_at, self.expires_at)

    def rejected(self) -> CachedToken[T]:
        """The same, not to be used again."""
        return CachedToken(self.value, self.header, -math.inf, -math.inf)

    def put_off(self, now: float) -> CachedToken[T]:
        """The same, not due for a refresh until a pause from unix time ``now`` on is over."""
        put_off = copy.copy(self)
        put_off.touch_at = put_off.stale_at = min(now + REFRESH_PAUSE_SECONDS, self.expires_at)
        return put_off

    def trusted(self, now: float) -> CachedToken[T]:
        """The same, not to be suspected until a pause from unix time ``now`` on is over."""
        trusted = copy.copy(self)
        trusted.trusted_until = now + SUSPICION_PAUSE_SECONDS
        return trusted

    def __reduce__(self) -> tuple[Any, ...]:
        times = (self.stale_at, self.expires_at, self.idle_timeout, self.touch_at)
        return CachedToken, (self.value, self.header, *times, self.trusted_until)

    def __repr__(self) -> str:
        return f"<CachedToken until {self.expires_at}>"


def status(token: CachedToken[Any] | None, now: float) -> Status:
    """Whether a token can be used at unix time ``now``."""
    if token is None:
        return Status.MISSING
    if now < token.stale_at:
        return Status.FRESH
    return Status.STALE if now < token.expires_at else Status.EXPIRED
